//! Recording and verdicts to ranked findings, one file per cause.

mod cause;
mod causes;
mod chain;
mod code;
mod devices;
mod diagnose;
mod experiment;
mod finding;
mod graph;
mod groups;
mod memory;
mod network;
pub mod path;
mod questions;
mod reads;
mod refused;
mod scene;
#[cfg(test)]
mod testing;
mod victim;
mod weigh;

pub use cause::{Cause, Draft, Effect};
pub use causes::baseline;
pub use diagnose::{Diagnosis, diagnose};
pub use experiment::{Accusation, accusations, experiments};
pub use finding::{Conclusion, Confidence, Eliminated, Finding, Party, ShareIs, Untested};
pub use graph::{Whose, WhosePart};
pub use scene::Scene;
pub use victim::Victim;

/// The ids of all causes.
pub fn causes() -> impl Iterator<Item = &'static str> {
    causes::ALL.iter().map(|cause| cause.id)
}
