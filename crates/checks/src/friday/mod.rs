//! friday itself: whether what it saw can be relied on.

pub(crate) mod completeness;
