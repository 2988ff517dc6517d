//! # Direct reclaim or compaction stalls, system wide
//!
//! **Speaks for it:** time in which the victim itself made memory free, or moved pages about, before it got any.
//! **Speaks against it:** reclaim in the background (kswapd), for which nobody waits; reclaim under a group's own limit
//! (`mem.cgroup-limit`).
//! **Experiment:** freezing who takes the memory helps the victim.

use crate::{
    Cause, Draft, Effect, Scene, Victim,
    cause::{grade, how_much, process},
    memory::{eater, paging, reclaimed, waited},
    path::{Removes, Waits},
};
use checks::Evidence;
use observe::{Ratio, TimeClass};

/// Stands in the registry.
pub const CAUSE: Cause = Cause {
    id: "mem.reclaim",
    frozen: Effect::Helps,
    root_of: &["mem.page-faults", "mem.major-faults", "mem.swap", "cpu.kernel-time", "cache.misses"],
    judge,
};

const WAITS: [&str; 2] = ["memory:direct reclaim", "memory:compaction"];

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    // What was measured from begin to end includes what was waited for meanwhile.
    let [reclaim, compaction] = ["direct", "compaction"].map(|kind| reclaimed(scene, victim, kind));
    let [waited_reclaim, waited_compaction] = WAITS.map(|resource| waited(scene, victim, resource).time);
    let reclaiming = reclaim.time.max(waited_reclaim);
    let compacting = compaction.time.max(waited_compaction);
    let time = (reclaiming + compacting).min(victim.active());
    let Some(confidence) = grade(scene, victim, time) else { return Vec::new() };
    let Some(eater) = eater(scene, |holder| holder.taken) else { return Vec::new() };
    let own = victim.contains(eater.pid);
    let (count, longest) = (reclaim.count + compaction.count, reclaim.longest.max(compaction.longest));
    let mut evidence = vec![
        Evidence::new("mm_vmscan_direct_reclaim_begin to _end", reclaiming.as_secs_f64(), "s")
            .at("recording/histograms.parquet"),
        Evidence::new("mm_compaction_begin to _end", compacting.as_secs_f64(), "s").at("recording/histograms.parquet"),
        Evidence::new("memory that the culprit took", eater.taken.0 as f64, "bytes").at("recording/series.parquet"),
    ];
    if let Some(rate) = paging(scene, "direct_reclaim") {
        evidence.push(Evidence::new("/proc/vmstat allocstall", rate, "stalls/s").at("recording/series.parquet"));
    }
    let blocked = waited_reclaim + waited_compaction;
    vec![Draft {
        confidence,
        time,
        summary: format!(
            "{} spends {} making memory free before it gets any ({count} times, the longest {:.1} ms, {:.1} s of it \
             compacting); {} takes most memory ({} in the window, {} held).",
            victim.label(),
            how_much(victim, time),
            longest.as_secs_f64() * 1e3,
            compacting.as_secs_f64(),
            if own { "it itself".to_owned() } else { scene.label(eater.pid) },
            eater.taken,
            eater.held,
        ),
        culprit: process(scene, eater.pid),
        evidence,
        codepath: Vec::new(),
        next: vec![
            format!("limit or stop {} (memory.high on its cgroup), or add memory", scene.label(eater.pid)),
            if compacting > reclaiming {
                "do not compact for huge pages: echo defer > /sys/kernel/mm/transparent_hugepage/defrag".to_owned()
            } else {
                "let the background reclaim begin earlier: raise vm.min_free_kbytes or vm.watermark_scale_factor"
                    .to_owned()
            },
        ],
        removes: Removes::Waits(Waits {
            classes: vec![TimeClass::BlockedMemory],
            resources: WAITS.map(str::to_owned).to_vec(),
            work: Ratio::of(time.saturating_sub(blocked), victim.times.sum(TimeClass::is_running)).0.min(1.0),
            ..Waits::default()
        }),
        descriptive: false,
    }]
}

#[cfg(test)]
mod tests {
    use crate::{
        Confidence,
        testing::{System, all, one},
    };
    use observe::{
        TimeClass::{BlockedMemory, RunningKernel, RunningUser},
        catalog,
    };

    fn api(ms: f64) -> System {
        System::new()
            .thread(10, "api", &[(RunningUser, 3.0), (RunningKernel, 2.0), (BlockedMemory, 1.0)])
            .thread(20, "loader", &[(RunningKernel, 5.0)])
            .durations(&catalog::RECLAIM_TIME, &[("pid", "10"), ("kind", "direct")], &[(100, ms)])
            .total(&catalog::PROCESS_FAULTS, &[("pid", "20"), ("type", "minor")], 500_000.0)
            .sampled(&catalog::MEMORY_USAGE, &[("pid", "10"), ("kind", "anonymous")], &[5e8, 5e8])
            .sampled(&catalog::MEMORY_USAGE, &[("pid", "20"), ("kind", "anonymous")], &[1e8, 1e8])
            .target(10)
    }

    #[test]
    fn who_takes_memory_is_the_culprit() {
        let finding = one(&api(25.0).build(), "mem.reclaim");
        assert_eq!((finding.culprit.pid, finding.confidence), (Some(20), Confidence::Likely));
        assert!((finding.share.0 - 2.5 / 6.0).abs() < 0.01);
    }

    #[test]
    fn a_little_and_somebody_elses_is_nothing() {
        assert!(all(&api(0.5).build(), "mem.reclaim").is_empty());
        let other = System::new()
            .thread(10, "api", &[(RunningUser, 3.0)])
            .durations(&catalog::RECLAIM_TIME, &[("pid", "20"), ("kind", "direct")], &[(100, 25.0)])
            .grows(&catalog::PAGING, &[("type", "direct_reclaim")], 9000.0)
            .target(10);
        assert!(all(&other.build(), "mem.reclaim").is_empty(), "not the victim's");
    }
}
