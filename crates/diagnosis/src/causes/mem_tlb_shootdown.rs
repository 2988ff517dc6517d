//! # Address-space changes interrupt other CPUs
//!
//! **Speaks for it:** CPU samples in which a thread waits until other CPUs have dropped what they knew of memory that was
//! unmapped or protected: the function that sends those interrupts is on the stack.
//! **Speaks against it:** a process on one CPU, which has nobody to tell. Flushing its own CPU does not count.
//! **Experiment:** one CPU for the process (`taskset`) makes the interrupts go away.

use super::mem_page_faults::MAPPING;
use crate::{
    Cause, Draft, Effect, Scene, Victim,
    cause::{grade, how_much, process},
    code::{Hot, hottest, own_function, running},
    path::Removes,
    scene::totals_of,
};
use checks::Evidence;
use observe::{FrameKind, Histogram, Stack, TimeClass, catalog};
use std::{collections::BTreeMap, time::Duration};

/// Stands in the registry.
pub const CAUSE: Cause = Cause {
    id: "mem.tlb-shootdown",
    frozen: Effect::None,
    root_of: &["mem.page-faults", "cpu.kernel-time", "cpu.interrupts"],
    judge,
};

/// What tells other CPUs, on bare metal and under hypervisors, by their names since Linux 5.4.
const SHOOTDOWN: &[&str] = &[
    "native_flush_tlb_multi",
    "native_flush_tlb_others",
    "flush_tlb_multi",
    "kvm_flush_tlb_multi",
    "kvm_flush_tlb_others",
    "xen_flush_tlb_multi",
    "hyperv_flush_tlb_multi",
    "arch_tlbbatch_flush",
];

/// What flushes, wherever; with [`CALLS_OTHERS`] further in, it is others whom it tells. Where the function in between was
/// entered by a tail call, it is not on the stack.
const FLUSHES: &[&str] = &["flush_tlb_mm_range", "flush_tlb_page", "ptep_clear_flush", "flush_tlb_batched_pending"];

/// Makes other CPUs run a function, and waits for them.
const CALLS_OTHERS: &str = "smp_call_function_many_cond";

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let time = time(scene, victim);
    let Some(confidence) = grade(scene, victim, time).filter(|_| victim.named) else { return Vec::new() };
    let Some(pid) = heaviest(scene, victim) else { return Vec::new() };
    let (call, count) = mapping_call(scene, victim);
    let rate = count as f64 / scene.window().as_secs_f64();
    let code = code(scene, victim);
    let in_code = code.as_ref().map_or_else(String::new, |hot| format!(", mostly for {}", hot.function));
    vec![Draft {
        confidence,
        time,
        summary: format!(
            "{} spends {} telling other CPUs that its memory has changed{in_code}: {rate:.0} {call} calls a second in {} \
             threads.",
            victim.label(),
            how_much(victim, time),
            victim.pids.iter().map(|pid| scene.workers(*pid).len()).sum::<usize>(),
        ),
        culprit: process(scene, pid),
        evidence: vec![
            Evidence::new("CPU samples while flushing the TLBs of other CPUs", time.as_secs_f64(), "s")
                .at("cpu.folded"),
            Evidence::new(format!("sys_exit: {call}"), rate, "calls/s").at("recording/histograms.parquet"),
            Evidence::new(
                "ledger: interrupted meanwhile",
                victim.times[TimeClass::RunningInterrupted].as_secs_f64(),
                "s",
            )
            .at("recording/ledger.parquet"),
        ],
        codepath: code.map(|hot| hot.path).unwrap_or_default(),
        next: vec![
            format!("unmap and protect less: fewer, larger {call} calls; keep the memory for reuse"),
            "or processes in place of threads: each then has an address space of its own".to_owned(),
        ],
        removes: Removes::work(victim, time),
        descriptive: false,
    }]
}

/// The victim's running time that goes into telling other CPUs.
pub fn time(scene: &Scene, victim: &Victim) -> Duration {
    let mine = scene.samples(|pid| victim.contains(pid)).unwrap_or_default();
    let samples = mine.into_iter().filter(|stack| is_shootdown(scene, stack)).map(|stack| stack.samples).sum();
    running(scene, victim, samples)
}

fn is_shootdown(scene: &Scene, stack: &Stack) -> bool {
    let frames = stack.frames.iter().map(|id| scene.rec.frame(*id)).filter(|f| f.kind == FrameKind::Kernel);
    let names: Vec<&str> = frames.map(|frame| frame.name.as_str()).collect();
    let flush = names.iter().position(|name| FLUSHES.contains(name));
    names.iter().any(|name| SHOOTDOWN.contains(name)) || flush.is_some_and(|at| names[at..].contains(&CALLS_OTHERS))
}

/// Whose samples most are.
fn heaviest(scene: &Scene, victim: &Victim) -> Option<observe::Pid> {
    let mut by: BTreeMap<observe::Pid, u64> = BTreeMap::new();
    for stack in scene.samples(|pid| victim.contains(pid)).ok()? {
        if is_shootdown(scene, stack) {
            *by.entry(stack.pid).or_default() += stack.samples;
        }
    }
    by.into_iter().max_by_key(|(_, samples)| *samples).map(|(pid, _)| pid)
}

fn code(scene: &Scene, victim: &Victim) -> Option<Hot> {
    hottest(scene, |stack| victim.contains(stack.pid) && is_shootdown(scene, stack), own_function).ok().flatten()
}

/// The mapping call with most CPU time, and how often it was made.
fn mapping_call<'a>(scene: &Scene<'a>, victim: &Victim) -> (&'a str, u64) {
    let mine = |pid| victim.contains(pid);
    let cpu = scene.rec.get(&catalog::SYSCALL_CPU).unwrap_or_default();
    let calls = totals_of(cpu, mine).filter(|row| MAPPING.contains(&row.labels.get("syscall")));
    let most = calls.max_by(|a, b| a.last().total_cmp(&b.last()));
    let call = most.map_or("munmap", |row| row.labels.get("syscall"));
    let times: &[Histogram] = scene.rec.get(&catalog::SYSCALL_TIME).unwrap_or_default();
    let counted = times.iter().filter(|h| h.labels.get("syscall") == call && h.labels.pid().is_some_and(mine));
    (call, counted.map(|h| h.count).sum())
}

#[cfg(test)]
mod tests {
    use crate::{
        Confidence,
        testing::{System, all, one},
    };
    use observe::TimeClass::{RunningKernel, RunningUser};

    fn server(kernel: &[&str]) -> System {
        System::new()
            .thread(10, "gcd", &[(RunningUser, 4.0), (RunningKernel, 4.0)])
            .thread_of(10, 11, "gcd", &[(RunningUser, 4.0), (RunningKernel, 4.0)])
            .calls(10, "madvise", 90_000, 7.0, 0.0)
            .samples(10, &[("main", "gcd")], 500)
            .kernel_samples(10, &[("main", "gcd"), ("release", "gcd"), ("madvise", "libc.so.6")], kernel, 500)
            .target(10)
    }

    #[test]
    fn telling_other_cpus_is_told_apart_from_other_kernel_time() {
        let kernel =
            ["__x64_sys_madvise", "flush_tlb_mm_range", "native_flush_tlb_multi", "smp_call_function_many_cond"];
        let finding = one(&server(&kernel).build(), "mem.tlb-shootdown");
        assert_eq!((finding.culprit.pid, finding.confidence), (Some(10), Confidence::Likely));
        let tail_called =
            ["tlb_finish_mmu", "flush_tlb_mm_range", "on_each_cpu_cond_mask", "smp_call_function_many_cond"];
        assert_eq!(one(&server(&tail_called).build(), "mem.tlb-shootdown").culprit.pid, Some(10));
        assert!(finding.summary.contains("madvise") && finding.summary.contains("release"), "{}", finding.summary);
    }

    #[test]
    fn flushing_ones_own_cpu_and_other_calls_between_cpus_are_none() {
        for kernel in
            [["flush_tlb_mm_range", "flush_tlb_func"], ["membarrier_global_expedited", "smp_call_function_many_cond"]]
        {
            assert!(all(&server(&kernel).build(), "mem.tlb-shootdown").is_empty());
        }
    }
}
