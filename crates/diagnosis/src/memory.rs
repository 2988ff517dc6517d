//! Memory: who had to make it free, who waited for it, who takes most of it.

use crate::{Scene, Victim, scene::totals_of};
use observe::{Bytes, Pid, Ratio, Series, TimeClass, Wait, catalog};
use std::{collections::BTreeMap, time::Duration};

/// Time spent one way, in how many pieces, and the longest of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Summed.
    pub time: Duration,
    /// How often.
    pub count: u64,
    /// The longest.
    pub longest: Duration,
}

impl Spent {
    /// Adds some pieces.
    pub fn add(&mut self, time: Duration, count: u64, longest: Duration) {
        self.time += time;
        self.count += count;
        self.longest = self.longest.max(longest);
    }
}

/// Time in which a victim made memory free before it got any: `direct`, `cgroup` or `compaction`.
pub fn reclaimed(scene: &Scene, victim: &Victim, kind: &str) -> Spent {
    let mut spent = Spent::default();
    let rows = scene.rec.get(&catalog::RECLAIM_TIME).into_iter().flatten();
    for row in rows.filter(|row| row.labels.get("kind") == kind) {
        if row.labels.pid().is_some_and(|pid| victim.contains(pid)) {
            spent.add(Duration::from_nanos(row.sum), row.count, Duration::from_nanos(row.max));
        }
    }
    spent
}

/// A victim's waits for memory of one kind, such as `memory:swap-in`.
pub fn waits<'s>(scene: &'s Scene, victim: &'s Victim, resource: &str) -> impl Iterator<Item = &'s Wait> {
    victim.waits(scene).filter(move |w| w.class == TimeClass::BlockedMemory && w.resource == resource)
}

/// Their sum.
pub fn waited(scene: &Scene, victim: &Victim, resource: &str) -> Spent {
    let mut spent = Spent::default();
    waits(scene, victim, resource).for_each(|wait| spent.add(wait.time, wait.count, wait.longest));
    spent
}

/// Faults of a victim, `minor` or `major`.
pub fn faults(scene: &Scene, victim: &Victim, kind: &str) -> f64 {
    let rows = scene.rec.get(&catalog::PROCESS_FAULTS).into_iter().flatten();
    let mine = rows.filter(|row| row.labels.get("type") == kind);
    mine.filter(|row| row.labels.pid().is_some_and(|pid| victim.contains(pid))).map(Series::last).sum()
}

/// How often the kernel counted something of paging in a second, where it was read.
pub fn paging(scene: &Scene, kind: &str) -> Option<f64> {
    scene.rec.get(&catalog::PAGING).ok()?.iter().find(|row| row.labels.get("type") == kind)?.rate()
}

/// Bytes of a page, on the machines this runs on.
pub const PAGE: f64 = 4096.0;

/// A process' memory in the window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Holder {
    /// The process.
    pub pid: Pid,
    /// The most that it had of its own: in memory, shared, and swapped out.
    pub held: Bytes,
    /// By how much that grew.
    pub grown: Bytes,
    /// What it took in page faults, given back meanwhile or not.
    pub taken: Bytes,
}

/// Every process that memory was read of and that is neither the kernel's nor friday.
pub fn holders(scene: &Scene) -> Vec<Holder> {
    let mut series: BTreeMap<Pid, BTreeMap<Duration, f64>> = BTreeMap::new();
    for row in scene.rec.get(&catalog::MEMORY_USAGE).into_iter().flatten() {
        let Some(pid) = row.labels.pid().filter(|pid| !scene.is_background(*pid)) else { continue };
        if row.labels.get("kind") != "file" {
            let points = series.entry(pid).or_default();
            row.points.iter().for_each(|point| *points.entry(point.at).or_default() += point.value);
        }
    }
    let rows = scene.rec.get(&catalog::PROCESS_FAULTS).unwrap_or_default();
    let of = |(pid, points): (Pid, BTreeMap<Duration, f64>)| {
        let first = points.first_key_value().map_or(0.0, |(at, value)| if at.is_zero() { *value } else { 0.0 });
        let most = points.values().copied().fold(0.0, f64::max);
        let minor = totals_of(rows, |other| other == pid).filter(|row| row.labels.get("type") == "minor");
        let faulted = minor.map(Series::last).sum::<f64>() * PAGE;
        let grown = (most - first).max(0.0);
        Holder { pid, held: Bytes(most as u64), grown: Bytes(grown as u64), taken: Bytes(faulted.max(grown) as u64) }
    };
    series.into_iter().map(of).collect()
}

/// The part of the victim's page faults that went to a device.
pub fn major_part(scene: &Scene, victim: &Victim) -> Ratio {
    let [minor, major] = ["minor", "major"].map(|kind| faults(scene, victim, kind));
    Ratio::of_counts(major, minor + major)
}

/// Samples of the victim in the kernel that worked for one of some purposes: `fault`, or a system call.
pub fn worked_for(scene: &Scene, victim: &Victim, purposes: &[&str]) -> f64 {
    let rows = scene.rec.get(&catalog::KERNEL_SAMPLES).unwrap_or_default();
    let mine = totals_of(rows, |pid| victim.contains(pid));
    mine.filter(|row| purposes.contains(&row.labels.get("for"))).map(Series::last).sum()
}

/// Who makes memory scarce: who takes most of it now, or, where nobody takes much, who holds most.
pub fn eater(scene: &Scene, by: impl Fn(&Holder) -> Bytes) -> Option<Holder> {
    /// ours: who takes less than this part of the machine's memory in a window did not make it scarce now.
    const TAKES: Ratio = Ratio(0.05);
    let holders = holders(scene);
    let taker = holders.iter().max_by_key(|holder| by(holder)).copied();
    let all = scene.rec.host.memory_bytes as f64;
    let takes = |holder: &Holder| Ratio::of_counts(by(holder).0 as f64, all) >= TAKES;
    taker.filter(takes).or_else(|| holders.into_iter().max_by_key(|holder| holder.held))
}
