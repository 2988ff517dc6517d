//! # Anonymous pages come back from swap
//!
//! **Speaks for it:** time blocked or running in faults on pages that had been swapped out, while pages are read from swap.
//! **Speaks against it:** swap that is used and left alone: what went out long ago and stays there costs nothing. A memory
//! group at its limit is the root (`mem.cgroup-limit`).
//! **Experiment:** stopping who takes the memory helps the victim; so does protecting it (`memory.low`).

use crate::{
    Cause, Confidence, Draft, Effect, Scene, Victim,
    cause::{grade, how_much, process},
    code::{running, through},
    memory::{eater, paging, waited},
    path::{Removes, Waits},
};
use checks::Evidence;
use observe::{Ratio, TimeClass};

/// Stands in the registry.
pub const CAUSE: Cause =
    Cause { id: "mem.swap", frozen: Effect::Helps, root_of: &["mem.page-faults", "cpu.kernel-time"], judge };

/// How waits for such pages are called.
pub const SWAP_IN: &str = "memory:swap-in";

/// PCP pmie: pages a second.
const RATE: f64 = 5.0;

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let blocked = waited(scene, victim, SWAP_IN);
    // Swap in memory (zram) answers without anybody blocking.
    let ran = running(scene, victim, through(scene, victim, "do_swap_page").map_or(0, |(hits, _)| hits));
    let time = blocked.time + ran;
    let Some(mut confidence) = grade(scene, victim, time) else { return Vec::new() };
    let rate = paging(scene, "swap_in");
    if rate.is_none_or(|rate| rate < RATE) {
        confidence = Confidence::Possible;
    }
    let Some(eater) = eater(scene, |holder| holder.grown) else { return Vec::new() };
    let own = victim.contains(eater.pid);
    let mut evidence = vec![
        Evidence::new("sched_switch: blocked in do_swap_page", blocked.time.as_secs_f64(), "s")
            .at("recording/waits.parquet"),
        Evidence::new("CPU samples in do_swap_page", ran.as_secs_f64(), "s").at("cpu.folded"),
        Evidence::new("memory of the culprit", eater.held.0 as f64, "bytes").at("recording/series.parquet"),
    ];
    if let Some(rate) = rate {
        let rate = Evidence::new("/proc/vmstat pswpin", rate, "pages/s").against(format!(">= {RATE} pages/s"));
        evidence.push(rate.at("recording/series.parquet"));
    }
    vec![Draft {
        confidence,
        time,
        summary: format!(
            "{} waits for its memory to come back from swap for {}: {} waits; {} holds {} of memory.",
            victim.label(),
            how_much(victim, time),
            blocked.count,
            if own { "it".to_owned() } else { scene.label(eater.pid) },
            eater.held,
        ),
        culprit: process(scene, eater.pid),
        evidence,
        codepath: Vec::new(),
        next: vec![
            format!(
                "give back memory: limit or stop {} (memory.high on its cgroup), or add memory",
                scene.label(eater.pid)
            ),
            format!("protect {}: memory.low on its cgroup, or mlock what must not wait", victim.name),
        ],
        removes: Removes::Waits(Waits {
            classes: vec![TimeClass::BlockedMemory],
            resources: vec![SWAP_IN.to_owned()],
            work: Ratio::of(ran, victim.times.sum(TimeClass::is_running)).0,
            ..Waits::default()
        }),
        descriptive: false,
    }]
}

#[cfg(test)]
mod tests {
    use super::SWAP_IN;
    use crate::{
        Confidence,
        testing::{System, all, one},
    };
    use observe::{
        TimeClass::{BlockedMemory, RunningUser},
        catalog,
    };

    fn cache(blocked: f64, swap_ins: f64) -> System {
        let held = |pid: &'static str| [("pid", pid), ("kind", "anonymous")];
        System::new()
            .thread(10, "cache", &[(RunningUser, 2.0), (BlockedMemory, blocked)])
            .thread(20, "hog", &[(RunningUser, 1.0)])
            .wait(10, BlockedMemory, "", SWAP_IN, None, blocked, 900)
            .grows(&catalog::PAGING, &[("type", "swap_in")], swap_ins)
            .sampled(&catalog::MEMORY_USAGE, &held("10"), &[1e8, 1e8])
            .sampled(&catalog::MEMORY_USAGE, &held("20"), &[9e8, 9e8])
            .target(10)
    }

    #[test]
    fn who_holds_the_memory_is_the_culprit() {
        let finding = one(&cache(6.0, 9000.0).build(), "mem.swap");
        assert_eq!((finding.culprit.pid, finding.confidence), (Some(20), Confidence::Likely));
    }

    #[test]
    fn without_pages_coming_in_it_is_only_possible() {
        assert_eq!(one(&cache(6.0, 40.0).build(), "mem.swap").confidence, Confidence::Possible);
    }

    #[test]
    fn swap_that_is_used_and_left_alone_is_healthy() {
        let labels = [("pid", "10"), ("kind", "swap")];
        let rec = cache(0.0, 0.0).sampled(&catalog::MEMORY_USAGE, &labels, &[5e8, 5e8]).build();
        assert!(all(&rec, "mem.swap").is_empty());
    }
}
