//! Recording and verdicts to ranked findings, one file per cause.

mod finding;

pub use finding::{Conclusion, Confidence, Eliminated, Finding, Party, ShareIs, Untested};
