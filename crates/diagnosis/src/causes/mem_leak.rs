//! # Resident memory grows without bound
//!
//! **Speaks for it:** a process' own memory grows in every interval of the window, at a rate that uses up what is left
//! within the hour.
//! **Speaks against it:** a process that has just begun, or growth that slackens: a cache that fills and a load of data look
//! alike for a while. One window cannot tell them from a leak, so that only steep growth of what is large already is more
//! than possible. The page cache does not count.
//! **Experiment:** none; another window an hour later shows whether it went on.

use super::{mem_major_faults::FAULT, mem_swap::SWAP_IN};
use crate::{
    Cause, Confidence, Draft, Effect, Scene, Victim,
    cause::{how_much, process},
    groups::{holds, memory_limit},
    memory::{holders, reclaimed, waited},
    path::Removes,
};
use checks::Evidence;
use observe::{Bytes, Pid, Ratio, Series, catalog};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Stands in the registry.
pub const CAUSE: Cause = Cause {
    id: "mem.leak",
    frozen: Effect::None,
    root_of: &["mem.reclaim", "mem.swap", "mem.cgroup-limit", "mem.oom", "mem.page-faults"],
    judge,
};

/// ours: what runs out within the hour is an incident; slower growth needs a longer look.
const RUNS_OUT: Duration = Duration::from_secs(3600);

/// ours: a process that holds less of what there is than this has room to fill a cache in.
const LARGE: Ratio = Ratio(0.25);

/// ours: with fewer readings, two of which are the ends, growth is not known to go on.
const READINGS: usize = 4;

/// ours: every interval grows by at least this part of the mean one.
const STEADY: f64 = 0.25;

/// ours: less growth than this in a window is what allocators do.
const GROWS: Bytes = Bytes(16 << 20);

/// ours: of a process that somebody asks about, growth by this part of what it held, and by this much, is worth a word, however
/// long there is room for it.
const OF_ITS_OWN: f64 = 0.25;
const WORTH_A_WORD: Bytes = Bytes(4 << 20);

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let stalled = stalled(scene, victim);
    // Another's leak is the victim's matter when it lacks memory.
    let concerns = |pid: Pid| victim.contains(pid) || !stalled.is_zero();
    let leaks = holders(scene).into_iter().map(|holder| holder.pid).filter(|pid| concerns(*pid));
    let leaks = leaks.filter_map(|pid| Leak::of(scene, pid, victim.named && victim.contains(pid)));
    let Some(leak) = leaks.min_by_key(|leak| leak.runs_out) else { return Vec::new() };
    let sure = leak.held >= LARGE && leak.runs_out < RUNS_OUT && (victim.named || !stalled.is_zero());
    let minutes = leak.runs_out.as_secs_f64() / 60.0;
    vec![Draft {
        confidence: if sure { Confidence::Likely } else { Confidence::Possible },
        time: stalled,
        summary: format!(
            "{} grows by {} a second without a break, from {} to {}: at that rate {} is used up in {minutes:.0} minutes.{}",
            scene.label(leak.pid),
            Bytes(leak.rate as u64),
            leak.from,
            leak.to,
            leak.of,
            if stalled.is_zero() {
                " One window cannot tell a cache that fills from a leak.".to_owned()
            } else {
                format!(" {} loses {} to want of memory.", victim.label(), how_much(victim, stalled))
            },
        ),
        culprit: process(scene, leak.pid),
        evidence: vec![
            Evidence::new("/proc/PID/status RssAnon + RssShmem + VmSwap", leak.rate, "bytes/s")
                .at("recording/series.parquet"),
            Evidence::new(format!("until {} is used up", leak.of), minutes, "min").against("< 60 min"),
            Evidence::new("held of it at the end", leak.held.0 * 100.0, "%").against(format!("> {LARGE}")),
        ],
        codepath: Vec::new(),
        next: vec![
            format!("look again in an hour: ps -o rss,vsz -p {}", leak.pid),
            format!("find who allocates it: heap profile, or perf record -e page-faults -g -p {}", leak.pid),
        ],
        removes: Removes::Unsaid,
        descriptive: false,
    }]
}

/// Who grows so that memory runs out, the first to use it up first.
pub fn growing(scene: &Scene) -> Vec<Pid> {
    let mut leaks: Vec<Leak> =
        holders(scene).into_iter().filter_map(|holder| Leak::of(scene, holder.pid, false)).collect();
    leaks.sort_by_key(|leak| (leak.runs_out, leak.pid));
    leaks.into_iter().map(|leak| leak.pid).collect()
}

/// What the victim loses because memory is short.
fn stalled(scene: &Scene, victim: &Victim) -> Duration {
    let reclaiming = ["direct", "cgroup", "compaction"].map(|kind| reclaimed(scene, victim, kind).time);
    let waiting = [SWAP_IN, FAULT].map(|resource| waited(scene, victim, resource).time);
    let sum = reclaiming.iter().chain(&waiting).sum::<Duration>().min(victim.active());
    let matters = victim.share(sum) >= crate::cause::MATTERS && Ratio::of(sum, scene.window()) >= crate::cause::FELT;
    if matters { sum } else { Duration::ZERO }
}

/// A process that grows and grows.
struct Leak {
    pid: Pid,
    /// Bytes a second.
    rate: f64,
    from: Bytes,
    to: Bytes,
    /// What it will use up.
    of: String,
    /// Its part of that.
    held: Ratio,
    runs_out: Duration,
}

impl Leak {
    fn of(scene: &Scene, pid: Pid, asked: bool) -> Option<Self> {
        let points = own_memory(scene, pid, |kind| kind != "file")?;
        let ((begin, from), (end, to)) = (points.first_key_value()?, points.last_key_value()?);
        // One that began inside the window has not shown how it goes on.
        let whole = begin.is_zero() && points.len() >= READINGS;
        let (grown, time) = (to - from, end.saturating_sub(*begin).as_secs_f64());
        if !whole || !steady(&points, grown / time) {
            return None;
        }
        let rate = grown / time;
        let (of, all, left) = room(scene, pid, *to)?;
        let runs_out = Duration::try_from_secs_f64(left / rate).ok()?;
        let soon = grown >= GROWS.0 as f64 && runs_out < RUNS_OUT;
        // Touching memory that others share already is no growth.
        let noticed = asked && grows_alone(scene, pid);
        if !soon && !noticed {
            return None;
        }
        let held = Ratio::of_counts(*to, all);
        Some(Leak { pid, rate, from: Bytes(*from as u64), to: Bytes(*to as u64), of, held, runs_out })
    }
}

/// A process' own memory over time, swapped out or not.
fn own_memory(scene: &Scene, pid: Pid, is: impl Fn(&str) -> bool) -> Option<BTreeMap<Duration, f64>> {
    let mut points: BTreeMap<Duration, f64> = BTreeMap::new();
    let rows = scene.rec.get(&catalog::MEMORY_USAGE).ok()?.iter();
    for row in rows.filter(|row| row.labels.pid() == Some(pid) && is(row.labels.get("kind"))) {
        row.points.iter().for_each(|point| *points.entry(point.at).or_default() += point.value);
    }
    Some(points)
}

/// Whether what a process has for itself alone grows by a part of what that was, without a break.
fn grows_alone(scene: &Scene, pid: Pid) -> bool {
    let Some(points) = own_memory(scene, pid, |kind| kind == "anonymous") else { return false };
    let (Some((begin, from)), Some((end, to))) = (points.first_key_value(), points.last_key_value()) else {
        return false;
    };
    let (grown, time) = (to - from, end.saturating_sub(*begin).as_secs_f64());
    grown >= (from * OF_ITS_OWN).max(WORTH_A_WORD.0 as f64) && steady(&points, grown / time)
}

/// Whether every interval grows by a part of what the mean one does.
fn steady(points: &BTreeMap<Duration, f64>, rate: f64) -> bool {
    let steps = points.iter().zip(points.iter().skip(1));
    steps.into_iter().all(|((a, before), (b, after))| after - before >= (*b - *a).as_secs_f64() * rate * STEADY)
}

/// What a process can use up: its group's limit, or the machine's memory; how much that is, and how much is left.
fn room(scene: &Scene, pid: Pid, own: f64) -> Option<(String, f64, f64)> {
    let rec = scene.rec;
    let last =
        |rows: &[Series], label, value: &str| rows.iter().find(|r| r.labels.get(label) == value).map(Series::last);
    let facts = rec.get(&catalog::CGROUP_LIMIT).unwrap_or_default();
    let groups: BTreeSet<&str> = facts.iter().map(|fact| fact.labels.get("cgroup")).collect();
    let limited = groups.into_iter().filter(|group| holds(rec, group, pid)).filter_map(|group| {
        let (_, limit) = memory_limit(rec, group)?;
        Some((group, limit.0 as f64))
    });
    if let Some((group, limit)) = limited.min_by(|a, b| a.1.total_cmp(&b.1)) {
        return Some((format!("the memory limit of {group} ({})", Bytes(limit as u64)), limit, (limit - own).max(0.0)));
    }
    let available = last(rec.get(&catalog::MEMORY).ok()?, "state", "available")?;
    let all = rec.host.memory_bytes as f64;
    Some((format!("the machine's memory ({} available)", Bytes(available as u64)), all, available))
}

#[cfg(test)]
mod tests {
    use crate::{
        Confidence,
        testing::{System, all, one},
    };
    use observe::{
        TimeClass::{BlockedMemory, RunningUser},
        catalog,
    };

    const MIB: f64 = (1 << 20) as f64;

    /// On a machine with 1 GiB.
    fn growing(mib: &[f64]) -> System {
        let values: Vec<f64> = mib.iter().map(|value| value * MIB).collect();
        System::new()
            .thread(10, "sessiond", &[(RunningUser, 4.0)])
            .sampled(&catalog::MEMORY_USAGE, &[("pid", "10"), ("kind", "anonymous")], &values)
            .sampled(&catalog::MEMORY, &[("state", "available")], &[600.0 * MIB, 400.0 * MIB])
            .target(10)
    }

    #[test]
    fn steep_growth_of_what_is_large_is_likely() {
        let finding = one(&growing(&[300.0, 320.0, 340.0, 360.0, 380.0]).build(), "mem.leak");
        assert_eq!((finding.culprit.pid, finding.confidence), (Some(10), Confidence::Likely));
        let small = one(&growing(&[20.0, 40.0, 60.0, 80.0, 100.0]).build(), "mem.leak");
        assert_eq!(small.confidence, Confidence::Possible);
    }

    #[test]
    fn slow_growth_is_worth_a_word_to_who_asks_unless_it_is_memory_that_is_shared() {
        let broker = |kind: &str| {
            let values: Vec<f64> = [10.0, 12.0, 14.0, 16.0, 18.0].map(|mib| mib * MIB).to_vec();
            System::new()
                .thread(10, "broker", &[(RunningUser, 1.0)])
                .sampled(&catalog::MEMORY_USAGE, &[("pid", "10"), ("kind", kind)], &values)
                .sampled(&catalog::MEMORY, &[("state", "available")], &[9e11, 9e11])
        };
        assert_eq!(one(&broker("anonymous").target(10).build(), "mem.leak").confidence, Confidence::Possible);
        assert!(all(&broker("shared").target(10).build(), "mem.leak").is_empty());
        assert!(all(&broker("anonymous").build(), "mem.leak").is_empty(), "nobody asked");
    }

    #[test]
    fn the_limit_of_its_group_is_what_it_uses_up() {
        let rec = growing(&[20.0, 40.0, 60.0, 80.0, 100.0]).cgroup(10, "/web").limit("/web", "memory.max", "134217728");
        let finding = one(&rec.build(), "mem.leak");
        assert_eq!(finding.confidence, Confidence::Likely);
        assert!(finding.summary.contains("/web"), "{}", finding.summary);
    }

    #[test]
    fn growth_that_stops_or_wavers_or_is_small_is_healthy() {
        for mib in [
            &[300.0, 350.0, 380.0, 381.0, 381.0][..],
            &[300.0, 350.0, 320.0, 380.0, 400.0],
            &[300.0, 304.0],
            &[300.0, 301.0, 302.0, 303.0, 304.0],
        ] {
            assert!(all(&growing(mib).build(), "mem.leak").is_empty(), "{mib:?}");
        }
    }

    #[test]
    fn anothers_leak_matters_to_who_lacks_memory() {
        let rec = |stalled: f64| {
            growing(&[300.0, 320.0, 340.0, 360.0, 380.0])
                .thread(20, "api", &[(RunningUser, 3.0), (BlockedMemory, stalled)])
                .wait(20, BlockedMemory, "", "memory:swap-in", None, stalled, 100)
                .target(20)
                .build()
        };
        assert_eq!(one(&rec(3.0), "mem.leak").culprit.pid, Some(10));
        assert!(all(&rec(0.1), "mem.leak").is_empty());
    }
}
