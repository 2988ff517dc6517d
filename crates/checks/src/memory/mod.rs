//! Memory: what is left, who waits or works for it, what comes back from disk, who was killed.

pub(crate) mod available;
pub(crate) mod compaction;
pub(crate) mod direct_reclaim;
pub(crate) mod major_faults;
pub(crate) mod oom;
pub(crate) mod page_faults;
pub(crate) mod pressure;
pub(crate) mod swapping;

use crate::{
    counter::Growth,
    lost::{Lost, is_ordinary},
    stall::Stall,
};
use observe::{Labels, Observed, Pid, Ratio, Recording, TimeClass, catalog};
use std::{collections::BTreeMap, time::Duration};

/// psi-notify: part of the time in which somebody was stalled on memory.
pub(crate) const STALLED: Ratio = Ratio(0.10);

/// Coroot: part of the time in which somebody is stalled on memory that is worth a look.
const SOME_STALL: Ratio = Ratio(0.02);

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

/// What processes lost by making memory free themselves, as the kernel side measured it.
struct Reclaiming {
    lost: Lost,
    count: u64,
    longest: Duration,
}

/// In one way: `direct`, `cgroup` or `compaction`.
///
/// # Errors
/// The reason why it was not measured, or why there is no ledger.
fn reclaiming(rec: &Recording, kind: &str) -> Observed<Reclaiming> {
    let times = reclaim_times(rec, |labels| labels.get("kind") == kind)?;
    let mine = rec
        .get(&catalog::RECLAIM_TIME)?
        .iter()
        .filter(|row| row.labels.get("kind") == kind && row.labels.pid().is_some_and(|pid| is_ordinary(rec, pid)));
    let (count, longest) = mine.fold((0, 0), |(count, longest), row| (count + row.count, row.max.max(longest)));
    Ok(Reclaiming { lost: Lost::of_times(rec, &times)?, count, longest: Duration::from_nanos(longest) })
}

/// Time spent so by process, of the rows whose labels are wanted.
///
/// # Errors
/// The reason why it was not measured.
pub(crate) fn reclaim_times(rec: &Recording, wanted: impl Fn(&Labels) -> bool) -> Observed<BTreeMap<Pid, Duration>> {
    let mut times: BTreeMap<Pid, Duration> = BTreeMap::new();
    for row in rec.get(&catalog::RECLAIM_TIME)?.iter().filter(|row| wanted(&row.labels)) {
        if let Some(pid) = row.labels.pid() {
            *times.entry(pid).or_default() += Duration::from_nanos(row.sum);
        }
    }
    Ok(times)
}

impl Reclaiming {
    /// `3 processes compacted memory 12 times, for 0.50 s in all, 90.0 ms at most`.
    fn text(&self, what: &str) -> String {
        let all: Duration = self.lost.losses.iter().map(|loss| loss.time).sum();
        let who = if self.lost.losses.len() == 1 { "process" } else { "processes" };
        format!(
            "{} {who} {what} {} times, for {:.2} s in all, {:.1} ms at most",
            self.lost.losses.len(),
            self.count,
            all.as_secs_f64(),
            self.longest.as_secs_f64() * 1e3,
        )
    }
}

/// A counter of `/proc/vmstat`.
fn paging(rec: &Recording, kind: &str) -> Observed<Growth> {
    Growth::find(rec, &catalog::PAGING, &[("type", kind)])
}
