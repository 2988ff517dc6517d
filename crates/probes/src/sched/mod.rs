//! Scheduling: where threads' wall time goes, and whom they wait for.

mod classify;
mod ends;
mod ledger;
mod peers;
mod resource;
mod run_queue;
mod waits;

pub(crate) use ledger::{Books, Machine, collect, collect_ledger, default_class, name_waits};
pub(crate) use resource::Namer;
pub(crate) use waits::Classified as Waited;

use observe::{AnyMetric, catalog};

/// What these probes measure.
pub(crate) const METRICS: &[&dyn AnyMetric] = &[
    &catalog::THREAD_TIME,
    &catalog::WAITS,
    &catalog::RUN_QUEUE_WAIT,
    &catalog::SLOW_RUN_QUEUE,
    &catalog::SPIN_TIME,
    &catalog::FILE_WAITS,
    &catalog::FILE_SIZE,
];
