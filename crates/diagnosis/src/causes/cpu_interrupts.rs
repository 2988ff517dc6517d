//! # Interrupts take the CPU
//!
//! **Speaks for it:** time in which the victim's thread was on a CPU that served interrupts, hard or soft, or waited while
//! the kernel's own thread served them.
//! **Speaks against it:** the loopback, where the sender's own call delivers: that is counted as the sender's.
//! **Experiment:** moving the interrupt to another CPU helps the victim.

use crate::{
    Cause, Draft, Effect, Party, Scene, Victim,
    cause::{grade, how_much},
    code::hottest,
    path::Removes,
};
use checks::Evidence;
use observe::{FrameId, FrameKind, Pid, Recording, TimeClass, Wait};
use std::time::Duration;

/// Stands in the registry.
pub const CAUSE: Cause =
    Cause { id: "cpu.interrupts", frozen: Effect::None, root_of: &["cpu.saturated", "cpu.pinned"], judge };

/// What the functions that the kernel calls for a soft interrupt serve.
const SOFT: &[(&str, &str)] = &[
    ("net_rx_action", "NET_RX"),
    ("net_tx_action", "NET_TX"),
    ("blk_done_softirq", "BLOCK"),
    ("run_timer_softirq", "TIMER"),
    ("hrtimer_run_softirq", "HRTIMER"),
    ("tasklet_action", "TASKLET"),
    ("tasklet_hi_action", "HI"),
    ("irq_poll_softirq", "IRQ_POLL"),
    ("rcu_core_si", "RCU"),
    ("sched_balance_softirq", "SCHED"),
    ("run_rebalance_domains", "SCHED"),
];

/// What calls the handler of a device's interrupt, on the way there.
const HARD: &[&str] = &["__handle_irq_event_percpu", "handle_irq_event_percpu"];

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let interrupted = victim.times[TimeClass::RunningInterrupted];
    let served = victim.waits(scene).filter(|wait| behind_interrupts(scene, wait)).map(|w| w.time).sum::<Duration>();
    let time = interrupted + served.min(victim.times.sum(TimeClass::is_runnable));
    let Some(confidence) = grade(scene, victim, time) else { return Vec::new() };
    let vector = vector(scene, victim);
    let what = vector.clone().unwrap_or_else(|| "interrupts whose kind was not sampled".to_owned());
    vec![Draft {
        confidence,
        time,
        summary: format!(
            "{} loses {} to interrupts on its CPUs, mostly {what}: {:.2} s while it ran, {:.2} s while it waited for \
             the kernel's thread that serves them.",
            victim.label(),
            how_much(victim, time),
            interrupted.as_secs_f64(),
            served.as_secs_f64(),
        ),
        culprit: Party {
            kind: if vector.as_ref().is_some_and(|v| v.starts_with("device")) { "device" } else { "vector" }.into(),
            pid: None,
            name: what,
            detail: None,
        },
        evidence: vec![
            Evidence::new("ledger: running.interrupted", interrupted.as_secs_f64(), "s").at("recording/ledger.parquet"),
            Evidence::new("sched_switch: runnable behind ksoftirqd", served.as_secs_f64(), "s")
                .at("recording/waits.parquet"),
        ],
        codepath: Vec::new(),
        next: vec![
            "see which: watch -d -n1 'cat /proc/softirqs /proc/interrupts'".to_owned(),
            "spread them: RSS or RPS (rps_cpus), irq affinity (/proc/irq/N/smp_affinity); or move the victim"
                .to_owned(),
        ],
        removes: Removes::Unsaid,
        descriptive: false,
    }]
}

/// Whether the one who ran during a wait for a CPU was the kernel's thread for soft interrupts.
fn behind_interrupts(scene: &Scene, wait: &Wait) -> bool {
    wait.class.is_runnable() && wait.by.is_some_and(|(runner, _)| is_softirqd(scene, runner))
}

fn is_softirqd(scene: &Scene, pid: Pid) -> bool {
    scene.rec.processes.get(&pid).is_some_and(|p| p.is_kernel && p.name.starts_with("ksoftirqd/"))
}

/// What most of the interrupts that hit the victim served, as far as samples tell; else what hit anybody.
fn vector(scene: &Scene, victim: &Victim) -> Option<String> {
    let function = |rec: &Recording, frames: &[FrameId]| {
        let kernel = || frames.iter().rev().copied().filter(|id| rec.frame(*id).kind == FrameKind::Kernel);
        let soft = kernel().find(|id| SOFT.iter().any(|(name, _)| rec.frame(*id).name == *name));
        soft.or_else(|| {
            let below = kernel().position(|id| HARD.contains(&rec.frame(id).name.as_str()))?;
            kernel().nth(below.checked_sub(1)?)
        })
    };
    let of_victim = hottest(scene, |stack| victim.contains(stack.pid), function).ok()?;
    let hot = of_victim.or_else(|| hottest(scene, |_| true, function).ok()?)?;
    let soft = SOFT.iter().find(|(name, _)| hot.function == *name).map(|(_, vector)| format!("softirq {vector}"));
    Some(soft.unwrap_or_else(|| format!("device interrupt ({})", hot.function)))
}

#[cfg(test)]
mod tests {
    use crate::testing::{System, all, one};
    use observe::TimeClass::{RunnableBusy, RunningInterrupted, RunningUser};

    #[test]
    fn what_the_interrupts_serve_is_the_culprit() {
        let rec = System::new()
            .thread(10, "render", &[(RunningUser, 5.0), (RunningInterrupted, 4.0)])
            .kernel_samples(
                10,
                &[("main", "render")],
                &["asm_common_interrupt", "handle_softirqs", "net_rx_action"],
                40,
            )
            .target(10)
            .build();
        let finding = one(&rec, "cpu.interrupts");
        assert_eq!((finding.culprit.kind.as_str(), finding.culprit.name.as_str()), ("vector", "softirq NET_RX"));
    }

    #[test]
    fn waiting_for_the_kernels_thread_counts_and_ordinary_neighbours_do_not() {
        let behind = |name: &str| {
            System::new()
                .cpu_busy(0.9)
                .thread(10, "render", &[(RunningUser, 4.0), (RunnableBusy, 4.0)])
                .thread(20, name, &[(RunningUser, 5.0)])
                .kernel_thread(20)
                .behind(10, 20, 4.0)
                .target(10)
                .build()
        };
        assert_eq!(one(&behind("ksoftirqd/1"), "cpu.interrupts").rank, 1);
        assert!(all(&behind("kworker/1:0"), "cpu.interrupts").is_empty());
    }
}
