//! Processes: how they come and go.

pub(crate) mod churn;
