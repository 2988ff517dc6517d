//! Scheduling: where threads' wall time goes, and whom they wait for.

mod classify;
mod ledger;
mod peers;
mod resource;

pub(crate) use ledger::{Books, collect};
pub(crate) use resource::Namer;
