//! Memory: what is left, who waits for it, what comes back from disk, who was killed.

pub(crate) mod available;
pub(crate) mod direct_reclaim;
pub(crate) mod major_faults;
pub(crate) mod oom;
pub(crate) mod pressure;
pub(crate) mod swapping;

use crate::{counter::Growth, lost::Lost, stall::Stall};
use observe::{Observed, Ratio, Recording, TimeClass, catalog};

/// psi-notify: part of the time in which somebody was stalled on memory.
const STALLED: Ratio = Ratio(0.10);

/// The part of the time in which somebody was stalled on memory. The kernel counts reclaim in the background (kswapd)
/// too, which hurts nobody. Who had to reclaim did so blocked or running in the kernel; where nobody had to, only
/// blocked processes count.
fn stalled(rec: &Recording) -> Observed<Stall> {
    use TimeClass::*;
    let stall = Stall::counted(rec, "memory", "some")?;
    let none_reclaimed = paging(rec, "direct_reclaim").is_ok_and(|growth| growth.by == 0.0);
    Ok(stall.at_most(rec, |class| match class {
        BlockedMemory | BlockedDisk | BlockedFs => true,
        class => !none_reclaimed && (class == RunningKernel || class.is_runnable()),
    }))
}

/// Who is hit by short memory.
fn felt(rec: &Recording) -> Option<String> {
    if let Some(stall) = stalled(rec).ok().filter(|stall| stall.share > STALLED) {
        return Some(format!("somebody was stalled on memory {}", stall.text()));
    }
    let lost = Lost::to(rec, |class| class == TimeClass::BlockedMemory).ok()?;
    lost.felt().map(|loss| format!("blocked on memory, {}", loss.text()))
}

/// A counter of `/proc/vmstat`.
fn paging(rec: &Recording, kind: &str) -> Observed<Growth> {
    Growth::find(rec, &catalog::PAGING, &[("type", kind)])
}
