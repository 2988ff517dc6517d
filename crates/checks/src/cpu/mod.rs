//! CPUs: how busy they are, who waits for them, and who takes them away.

pub(crate) mod pressure;
pub(crate) mod run_queue;
pub(crate) mod steal;
pub(crate) mod throttling;
pub(crate) mod utilization;

use crate::{lost::Lost, stall::Stall};
use observe::{Observed, Ratio, Recording, TimeClass};

/// Waiting for a CPU that was there: quotas are another question.
fn for_cpu(class: TimeClass) -> bool {
    class.is_behind_others() || class == TimeClass::RunnablePinned
}

/// The part of the time in which somebody waited for a CPU.
fn stalled(rec: &Recording) -> Observed<Stall> {
    Ok(Stall::counted(rec, "cpu", "some")?.at_most(rec, TimeClass::is_runnable))
}

/// Who waits for CPUs so that it hurts: the machine for this part of the time, or one process that feels it.
fn waiting(rec: &Recording, part: Ratio) -> Option<String> {
    if let Some(stall) = stalled(rec).ok().filter(|stall| stall.share >= part) {
        return Some(format!("somebody waited for a CPU {}", stall.text()));
    }
    Some(Lost::to(rec, for_cpu).ok()?.felt()?.text())
}
