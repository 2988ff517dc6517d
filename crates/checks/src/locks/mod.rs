//! Locks: who waits for them.

pub(crate) mod waits;
