//! Random systems from a seed, and what must hold of every one of them.

use super::Part;
use crate::{Scene, Victim, testing::System};
use observe::{Pid, Recording, TimeClass};
use std::time::Duration;

/// A linear congruential generator (Knuth, MMIX): the same numbers from the same seed everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % u64::from(end)) as u32
    }
}

/// Up to a dozen processes of one to three threads, which wait for each other and for resources in every way there is.
fn system(seed: u64) -> Recording {
    use TimeClass::*;
    const CLASSES: [(TimeClass, &str); 9] = [
        (RunnableBusy, "cpu"),
        (RunnableThrottled, "cpu quota:/a"),
        (BlockedDisk, "disk:vda"),
        (BlockedLock, "futex:0x1"),
        (BlockedKernelLock, "mmap_lock"),
        (BlockedProcess, "pipe:1"),
        (BlockedProcess, "tcp:127.0.0.1:80"),
        (BlockedNetwork, "tcp:10.0.0.2:5432"),
        (BlockedSleep, "timer"),
    ];
    let mut random = Random(seed);
    let processes = 2 + random.below(11);
    let mut system = System::new();
    for pid in 1..=processes {
        for tid in 0..1 + random.below(3) {
            let mut times = vec![(RunningUser, f64::from(random.below(200)) / 100.0)];
            let tid = if tid == 0 { pid } else { pid * 100 + tid };
            for _ in 0..random.below(6) {
                let (class, resource) = CLASSES[random.below(9) as usize];
                let time = f64::from(random.below(150)) / 100.0;
                // The ledger and the waits need not agree.
                times.push((class, time * f64::from(80 + random.below(40)) / 100.0));
                let other = 1 + random.below(processes + 1);
                let by = (random.below(5) > 0).then_some((other, other));
                system = system.wait_of(pid, tid, class, resource, by, time);
            }
            system = system.thread_of(pid, tid, "thread", &times);
        }
        system = system.queued(pid, "vda", 1 + random.below(processes), 0.5);
    }
    system.target(1).build()
}

fn close(a: Duration, b: Duration) -> bool {
    a.abs_diff(b) < Duration::from_micros(1)
}

#[test]
fn time_is_conserved() {
    for seed in 0..500 {
        let rec = system(seed);
        let scene = Scene::new(&rec);
        for pid in scene.processes() {
            let victim = Victim::behind_another(&scene, pid);
            let parts = victim.redistributed(&scene).parts;
            let sum: Duration = parts.iter().map(|part| part.time).sum();
            let active = victim.active();
            assert!(close(sum, active), "seed {seed}, process {pid}: {sum:?} of {active:?}\n{parts:#?}");
            assert!(parts.iter().all(|part| well_formed(part, pid)), "seed {seed}, process {pid}: {parts:#?}");
        }
    }
}

fn well_formed(part: &Part, victim: Pid) -> bool {
    let mut path = part.path.clone();
    path.sort_unstable();
    path.dedup();
    part.path.first() == Some(&victim) && path.len() == part.path.len()
}

#[test]
fn the_same_recording_gives_the_same_parts() {
    let rec = system(7);
    let split = || {
        let scene = Scene::new(&rec);
        Victim::behind_another(&scene, Pid(1)).redistributed(&scene).parts
    };
    assert_eq!(split(), split());
}

#[test]
fn shares_of_one_victim_do_not_exceed_the_whole() {
    for seed in 0..500 {
        let rec = system(seed);
        let diagnosis = crate::diagnose(&rec, &[]);
        for whose in &diagnosis.whose {
            let sum: f64 = whose.parts.iter().map(|part| part.share).sum();
            assert!((sum - 1.0).abs() < 1e-6, "seed {seed}: {sum}");
        }
        let of = |victim: &crate::Party| -> f64 {
            diagnosis.findings.iter().filter(|f| f.victim == *victim).map(|f| f.share.0).sum()
        };
        assert!(diagnosis.findings.iter().all(|f| of(&f.victim) <= 1.0 + 1e-6), "seed {seed}");
    }
}
