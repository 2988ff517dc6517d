//! System calls of the target: what they cost and how they end.

pub(crate) mod failures;
