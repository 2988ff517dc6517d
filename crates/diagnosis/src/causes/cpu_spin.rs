//! # It burns CPU waiting
//!
//! **Speaks for it:** samples taken beside the instruction that spin loops relax the CPU with (PAUSE, YIELD), or in a
//! function that gives the CPU up again and again (`sched_yield`).
//! **Speaks against it:** a program that polls a device by design; a short spin before blocking, which costs little. A loop
//! that looks at a word without relaxing looks like any other code and is found as `cpu.hot-code`.
//! **Experiment:** none from outside.

use crate::{
    Cause, Confidence, Draft, Effect, Party, Scene, Victim,
    cause::{grade, how_much},
    code::{self, Hot, hottest, own_function},
    path::Removes,
    scene::totals_of,
};
use checks::Evidence;
use observe::{FrameId, FrameKind, Recording, Series, catalog};

/// Stands in the registry.
pub const CAUSE: Cause = Cause {
    id: "cpu.spin",
    frozen: Effect::None,
    root_of: &["cpu.hot-code", "cpu.kernel-time", "app.syscall-storm"],
    judge,
};

/// ours: fewer samples than this are chance.
const ENOUGH_SAMPLES: u64 = 20;

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    if !victim.named {
        return Vec::new();
    }
    let [relaxing, yielding] = [relaxing(scene, victim), yielding(scene, victim)];
    let Some((hot, how)) = relaxing.into_iter().chain(yielding).max_by_key(|(hot, _)| hot.samples) else {
        return Vec::new();
    };
    let time = code::wanted(scene, victim, hot.samples);
    let Some(confidence) = grade(scene, victim, time).filter(|_| hot.samples >= ENOUGH_SAMPLES) else {
        return Vec::new();
    };
    vec![Draft {
        confidence: if victim.busiest_thread(scene).0 < 0.5 { Confidence::Possible } else { confidence },
        time,
        summary: format!(
            "{} spends {} on a CPU, or waiting for one, only to wait: it spins in {} ({}): {how}.",
            victim.label(),
            how_much(victim, time),
            hot.function,
            hot.module,
        ),
        culprit: Party {
            kind: "function".into(),
            pid: None,
            name: hot.function.clone(),
            detail: Some(format!("{}: {how}", hot.module)),
        },
        evidence: vec![
            Evidence::new("CPU samples taken in the waiting loop", hot.samples as f64, "samples")
                .against(format!("of {}", code::samples(scene, victim)))
                .at("cpu.folded"),
            Evidence::new("time on a CPU or waiting for one that they stand for", time.as_secs_f64(), "s"),
        ],
        next: vec![
            format!("find what {} waits for, and who is slow to provide it", hot.function),
            "block instead of spinning: a futex, a condition variable, an eventfd; spin only where it is short"
                .to_owned(),
        ],
        codepath: hot.path,
        removes: Removes::Unsaid,
        descriptive: false,
    }]
}

/// Where it relaxes the CPU.
fn relaxing(scene: &Scene, victim: &Victim) -> Option<(Hot, String)> {
    let rows = scene.rec.get(&catalog::SPIN_SAMPLES).ok()?;
    let mut functions: Vec<&Series> = totals_of(rows, |pid| victim.contains(pid)).collect();
    functions.sort_by(|a, b| b.last().total_cmp(&a.last()));
    let all: f64 = functions.iter().map(|row| row.last()).sum();
    let spins = |name: &str| functions.iter().any(|row| row.labels.get("function") == name);
    let leaf = |rec: &Recording, frames: &[FrameId]| {
        let leaf = *frames.last()?;
        let frame = rec.frame(leaf);
        let spins = frame.kind == FrameKind::User && spins(&frame.name);
        spins.then(|| own_function(rec, frames).unwrap_or(leaf))
    };
    let hot = hottest(scene, |stack| victim.contains(stack.pid), leaf).ok().flatten()?;
    let part = hot.samples as f64 / hot.of.max(1) as f64;
    // A function may do more than spin: what was sampled beside the instruction counts.
    let samples = (all * part).min(hot.samples as f64) as u64;
    Some((Hot { samples, ..hot }, "a loop that relaxes the CPU between looks".to_owned()))
}

/// Where it gives the CPU up and asks again.
fn yielding(scene: &Scene, victim: &Victim) -> Option<(Hot, String)> {
    let calls = |rec: &Recording, frames: &[FrameId]| {
        frames
            .iter()
            .any(|id| rec.frame(*id).name.ends_with("sys_sched_yield") || rec.frame(*id).name == "do_sched_yield")
    };
    let caller = |rec: &Recording, frames: &[FrameId]| calls(rec, frames).then(|| own_function(rec, frames)).flatten();
    let yields = hottest(scene, |stack| victim.contains(stack.pid), caller).ok().flatten()?;
    // The loop's own part, in user code, belongs to it.
    let in_loop = |rec: &Recording, frames: &[FrameId]| {
        own_function(rec, frames).filter(|id| rec.frame(*id).name == yields.function)
    };
    let whole = hottest(scene, |stack| victim.contains(stack.pid), in_loop).ok().flatten()?;
    Some((Hot { path: yields.path, ..whole }, "a loop of sched_yield".to_owned()))
}

#[cfg(test)]
mod tests {
    use crate::testing::{System, all, one};
    use observe::TimeClass::{RunningKernel, RunningUser};

    fn busy() -> System {
        System::new().thread(10, "matcher", &[(RunningUser, 6.0), (RunningKernel, 3.0)]).target(10)
    }

    #[test]
    fn a_loop_that_relaxes_the_cpu_is_a_wait() {
        let rec = busy()
            .samples(10, &[("main", "matcher"), ("take_ticket", "matcher")], 300)
            .samples(10, &[("main", "matcher"), ("match", "matcher")], 100)
            .spins(10, "take_ticket", 280);
        assert_eq!(one(&rec.build(), "cpu.spin").culprit.name, "take_ticket");
        let rec = busy()
            .samples(10, &[("main", "matcher"), ("take_ticket", "matcher")], 300)
            .spins(10, "take_ticket", 10)
            .build();
        assert!(all(&rec, "cpu.spin").is_empty(), "now and then");
    }

    #[test]
    fn who_gives_up_the_cpu_again_and_again_waits_too() {
        let rec = busy()
            .samples(10, &[("main", "matcher"), ("spin_until", "matcher"), ("__sched_yield", "libc.so.6")], 100)
            .kernel_samples(10, &[("main", "matcher"), ("spin_until", "matcher")], &["__x64_sys_sched_yield"], 200)
            .samples(10, &[("main", "matcher"), ("match", "matcher")], 100);
        let finding = one(&rec.build(), "cpu.spin");
        assert_eq!(finding.culprit.name, "spin_until");
        assert!((finding.share.0 - 0.75).abs() < 0.01, "{}", finding.share);
    }
}
