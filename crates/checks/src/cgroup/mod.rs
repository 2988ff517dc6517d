//! Control groups: whom their limits of memory and processes hold up.

pub(crate) mod memory_limit;
pub(crate) mod pids;
