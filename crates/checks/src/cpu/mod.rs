//! CPUs: how busy they are, and who waits for them.

pub(crate) mod utilization;
