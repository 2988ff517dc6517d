//! Why something was not seen. Absence is neither health nor zero, so it carries its reason.

use serde::{Deserialize, Serialize};

/// The reason for missing data, worded so that a person can act on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "kind", content = "detail")]
pub enum Absent {
    /// The kernel refused: root or a capability is missing.
    #[error("no permission: {0}")]
    NoPermission(String),
    /// This kernel or machine does not have it.
    #[error("not available here: {0}")]
    Unsupported(String),
    /// It should have worked and did not.
    #[error("failed: {0}")]
    Failed(String),
    /// Nobody asked for it in this run.
    #[error("not collected: {0}")]
    NotCollected(String),
}

/// Data, or the reason why there is none.
pub type Observed<T> = Result<T, Absent>;
