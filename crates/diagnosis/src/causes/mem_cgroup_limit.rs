//! # A memory cgroup's limit makes the victim reclaim, stall, or read again what was evicted
//!
//! **Speaks for it:** time in which the victim made memory free under its group's limit or was slowed down by it, a group
//! that came up against that limit in the window, and pages that it reads again soon after they were evicted.
//! **Speaks against it:** a group that reads much and only once: its page cache grows up to any limit, and makes room at
//! little cost. Without refaults, its reads are nobody's fault.
//! **Experiment:** raising the limit for a while.

use super::{mem_major_faults::FAULT, mem_swap::SWAP_IN};
use crate::{
    Cause, Confidence, Draft, Effect, Party, Scene, Victim,
    cause::{MATTERS, grade, how_much},
    groups::{Groups, memory_limit},
    memory::{self, PAGE, reclaimed, waited},
    path::{Removes, Waits},
    reads,
};
use checks::Evidence;
use observe::{Bytes, Ratio, Series, TimeClass, catalog};
use std::{collections::BTreeSet, time::Duration};

/// Stands in the registry.
pub const CAUSE: Cause = Cause {
    id: "mem.cgroup-limit",
    frozen: Effect::None,
    root_of: &["mem.major-faults", "mem.swap", "mem.page-faults", "cache.misses", "cpu.kernel-time", "disk.slow"],
    judge,
};

const LIMIT: &str = "memory:cgroup limit";

/// ours: a group that meets its limit less often than this is not held by it. Times a second.
const RATE: f64 = 1.0;

/// What reclaims inside of the measured reclaim; other waits for the limit are the penalty for being above `memory.high`.
const RECLAIM: &str = "try_to_free_mem_cgroup_pages";

/// A group that holds the victim and came up against its limit.
struct Squeeze {
    group: String,
    /// `memory.max 32.0 MiB`.
    limit: String,
    hits: f64,
    /// Most of the limit that was used.
    used: Option<Ratio>,
    /// Processes killed for it.
    kills: f64,
    /// File pages that were read again soon after they were evicted.
    refaults: Bytes,
}

/// What the victim loses to it.
struct Loss {
    reclaiming: Duration,
    rereading: Duration,
    swapping: Duration,
}

impl Loss {
    fn time(&self) -> Duration {
        self.reclaiming + self.rereading + self.swapping
    }
}

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let Some((squeeze, loss)) = weighed(scene, victim) else { return Vec::new() };
    let time = loss.time();
    let killed = (squeeze.kills > 0.0).then_some(Confidence::Likely);
    let Some(confidence) = grade(scene, victim, time).max(killed) else { return Vec::new() };
    let kills = match squeeze.kills {
        0.0 => String::new(),
        kills => format!(" {kills:.0} of its processes were killed for it."),
    };
    let seconds = |time: Duration| time.as_secs_f64();
    let mut evidence = vec![
        Evidence::new("mm_vmscan_memcg_reclaim_begin to _end, and waits for the limit", seconds(loss.reclaiming), "s")
            .at("recording/histograms.parquet"),
        Evidence::new("blocked reading pages that had just been evicted", seconds(loss.rereading), "s")
            .at("recording/waits.parquet"),
        Evidence::new("memory.events high and max, memory.failcnt", squeeze.hits / seconds(scene.window()), "times/s")
            .against(format!("> {RATE}/s"))
            .at("recording/series.parquet"),
        Evidence::new("memory.stat workingset_refault_file", squeeze.refaults.0 as f64, "bytes")
            .at("recording/series.parquet"),
    ];
    if let Some(used) = squeeze.used {
        evidence.push(Evidence::new("most of the limit in use", used.0 * 100.0, "%").at("recording/series.parquet"));
    }
    vec![Draft {
        confidence,
        time,
        summary: format!(
            "{} is held up by the memory limit of {} ({}) for {}: {:.1} s making memory free, {:.1} s reading again what \
             was evicted, {:.1} s swapping in; the limit was met {:.0} times.{kills}",
            victim.label(),
            squeeze.group,
            squeeze.limit,
            how_much(victim, time),
            seconds(loss.reclaiming),
            seconds(loss.rereading),
            seconds(loss.swapping),
            squeeze.hits,
        ),
        next: vec![
            format!("raise the memory limit of {} (now {}), or let it hold less", squeeze.group, squeeze.limit),
            "see what fills it: memory.stat of the group, anon against file".to_owned(),
        ],
        culprit: Party { kind: "cgroup".into(), pid: None, name: squeeze.group, detail: Some(squeeze.limit) },
        evidence,
        codepath: Vec::new(),
        removes: Removes::Waits(Waits {
            classes: vec![TimeClass::BlockedMemory, TimeClass::BlockedDisk],
            work: Ratio::of(
                loss.reclaiming.saturating_sub(waited(scene, victim, LIMIT).time),
                victim.times.sum(TimeClass::is_running),
            )
            .0,
            ..Waits::default()
        }),
        descriptive: false,
    }]
}

/// Whether a limit explains what the victim reads.
pub fn explains(scene: &Scene, victim: &Victim) -> bool {
    weighed(scene, victim).is_some_and(|(_, loss)| victim.share(loss.time()) >= MATTERS)
}

fn weighed(scene: &Scene, victim: &Victim) -> Option<(Squeeze, Loss)> {
    let squeeze = squeeze(scene, victim)?;
    let penalty = memory::waits(scene, victim, LIMIT)
        .filter(|wait| !wait.stack.iter().any(|id| scene.rec.frame(*id).name == RECLAIM))
        .map(|wait| wait.time);
    let reclaiming = reclaimed(scene, victim, "cgroup").time + penalty.sum::<Duration>();
    let reads = reads::blocked(scene, victim).time + waited(scene, victim, FAULT).time;
    let rereading = reads.mul_f64(reads::again(scene, victim, squeeze.refaults).0);
    let often = squeeze.hits / scene.window().as_secs_f64() > RATE;
    let swapping = if often { waited(scene, victim, SWAP_IN).time } else { Duration::ZERO };
    Some((squeeze, Loss { reclaiming, rereading, swapping }))
}

/// The group that holds the victim and met its limit most often.
fn squeeze(scene: &Scene, victim: &Victim) -> Option<Squeeze> {
    let groups = Groups::of(scene, victim);
    let rows = scene.rec.get(&catalog::CGROUP_EVENTS).ok()?;
    let grown = |group: &str, event: &str| {
        let row = rows.iter().find(|r| r.labels.get("cgroup") == group && r.labels.get("event") == event);
        row.and_then(Series::increase).unwrap_or(0.0)
    };
    let hits = |group: &str| grown(group, "memory.high") + grown(group, "memory.max");
    let names: BTreeSet<&str> = rows.iter().map(|row| row.labels.get("cgroup")).filter(|g| groups.are_in(g)).collect();
    let group = names.into_iter().max_by(|a, b| hits(a).total_cmp(&hits(b)))?;
    let kills = grown(group, "memory.oom_kill");
    if hits(group) <= 0.0 && kills <= 0.0 {
        return None;
    }
    let limit = memory_limit(scene.rec, group);
    let used = scene.rec.get(&catalog::CGROUP_MEMORY).ok().and_then(|rows| {
        let row = rows.iter().find(|row| row.labels.get("cgroup") == group)?;
        Some(Ratio::of_counts(row.max(), limit?.1.0 as f64))
    });
    Some(Squeeze {
        group: group.to_owned(),
        limit: limit.map_or_else(|| "limit not readable".to_owned(), |(name, bytes)| format!("{name} {bytes}")),
        hits: hits(group),
        used,
        kills,
        refaults: Bytes((grown(group, "memory.refault_file") * PAGE) as u64),
    })
}

#[cfg(test)]
mod tests {
    use super::super::mem_major_faults::FAULT;
    use crate::{
        Confidence,
        testing::{System, all, one},
    };
    use observe::{
        TimeClass::{BlockedDisk, BlockedMemory, RunningKernel, RunningUser},
        catalog,
    };

    fn limited(hits: f64) -> System {
        System::new()
            .thread(10, "api", &[(RunningUser, 3.0), (RunningKernel, 2.0), (BlockedDisk, 4.0)])
            .member("/web/api", 10)
            .limit("/web", "memory.limit_in_bytes", "33554432")
            .sampled(&catalog::CGROUP_MEMORY, &[("cgroup", "/web")], &[3.3e7, 3.35e7])
            .grows(&catalog::CGROUP_EVENTS, &[("cgroup", "/web"), ("event", "memory.max")], hits)
            .target(10)
    }

    fn reclaiming(system: System, ms: f64) -> System {
        let labels = [("pid", "10"), ("kind", "cgroup"), ("cgroup", "/web/api")];
        system.durations(&catalog::RECLAIM_TIME, &labels, &[(1000, ms)])
    }

    #[test]
    fn reclaim_under_the_limit_of_a_group_above_is_that_groups() {
        let finding = one(&reclaiming(limited(900.0), 2.0).build(), "mem.cgroup-limit");
        assert_eq!((finding.culprit.name.as_str(), finding.confidence), ("/web", Confidence::Likely));
        assert_eq!(finding.culprit.detail.as_deref(), Some("memory.limit_in_bytes 32.0 MiB"));
        assert!((finding.share.0 - 2.0 / 9.0).abs() < 0.01);
    }

    #[test]
    fn reading_again_what_was_evicted_counts_and_reading_once_does_not() {
        let reads = |refaults: f64| {
            let bytes = [("pid", "10"), ("device", "vda"), ("direction", "read")];
            limited(900.0)
                .wait(10, BlockedDisk, "pread64", "disk:vda", None, 4.0, 4000)
                .waiting_in_kernel(&["filemap_read", "io_schedule"])
                .total(&catalog::BLOCK_ISSUED, &bytes, 4.096e8)
                .grows(&catalog::CGROUP_EVENTS, &[("cgroup", "/web"), ("event", "memory.refault_file")], refaults)
                .build()
        };
        let finding = one(&reads(100_000.0), "mem.cgroup-limit");
        assert_eq!((finding.confidence, finding.rank), (Confidence::Likely, 1));
        assert!((finding.share.0 - 4.0 / 9.0).abs() < 0.01);
        assert!(all(&reads(100.0), "mem.cgroup-limit").is_empty());
    }

    #[test]
    fn mapped_files_that_were_evicted_follow_from_it() {
        let rec = System::new()
            .thread(10, "api", &[(RunningUser, 3.0), (BlockedMemory, 4.0)])
            .cgroup(10, "/web")
            .wait(10, BlockedMemory, "", FAULT, None, 4.0, 4000)
            .grows(&catalog::CGROUP_EVENTS, &[("cgroup", "/web"), ("event", "memory.max")], 900.0)
            .grows(&catalog::CGROUP_EVENTS, &[("cgroup", "/web"), ("event", "memory.refault_file")], 1e5)
            .target(10)
            .build();
        assert_eq!(one(&rec, "mem.cgroup-limit").rank, 1);
        assert!(one(&rec, "mem.major-faults").summary.contains("It follows from mem.cgroup-limit"));
    }

    #[test]
    fn other_groups_and_limits_that_were_not_met_are_healthy() {
        assert!(all(&reclaiming(limited(0.0), 2.0).build(), "mem.cgroup-limit").is_empty());
        let other = System::new().thread(10, "api", &[(RunningUser, 3.0)]).cgroup(10, "/webber").target(10);
        let labels = [("cgroup", "/web"), ("event", "memory.max")];
        assert!(all(&other.grows(&catalog::CGROUP_EVENTS, &labels, 900.0).build(), "mem.cgroup-limit").is_empty());
    }
}
