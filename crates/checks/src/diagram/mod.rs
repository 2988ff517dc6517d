//! The functional diagram, as far as the recording lets it be drawn.

pub(crate) mod complete;
