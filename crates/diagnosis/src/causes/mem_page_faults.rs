//! # Minor page faults take the time
//!
//! **Speaks for it:** CPU samples in the kernel's fault handler and in the calls that map memory and give it back, and
//! thousands of faults a second.
//! **Speaks against it:** memory that stays: a process that starts or fills a cache touches each page once. Short-lived
//! processes do little else (`app.short-lived`). What telling other CPUs of it takes is not counted (`mem.tlb-shootdown`).
//! **Experiment:** none from outside; keeping the memory (`MALLOC_TRIM_THRESHOLD_`) and starting again shows it.

use super::{app_short_lived, mem_tlb_shootdown};
use crate::{
    Cause, Draft, Effect, Party, Scene, Victim,
    cause::{grade, how_much},
    code::{Hot, hottest, hottest_among, own_function, running},
    memory::{self, PAGE},
    path::Removes,
    scene::totals_of,
};
use checks::Evidence;
use observe::{FrameKind, Ratio, Series, catalog};

/// Stands in the registry.
pub const CAUSE: Cause =
    Cause { id: "mem.page-faults", frozen: Effect::None, root_of: &["cpu.kernel-time", "cpu.single-thread"], judge };

/// ours: fewer faults a second cannot cost a noticeable part of a CPU, even with huge pages (0.2 ms each).
const RATE: f64 = 500.0;

/// ours: where faults themselves are less than this part, it is the calls that matter.
const FAULTING: Ratio = Ratio(0.3);

/// ours: when this part of the memory that was faulted in is still there at the end, it is growth.
const STAYS: Ratio = Ratio(0.5);

/// ours: when this part of the faults found the page there already, they copy it.
const COPIES: Ratio = Ratio(0.5);

/// Calls that map memory or give it back.
pub const MAPPING: &[&str] = &["mmap", "munmap", "madvise", "brk", "mremap", "mprotect"];

/// Calls that give it back.
const GIVING_BACK: &[&str] = &["munmap", "madvise", "brk", "mremap"];

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let [faulting, mapping, giving_back] =
        [&["fault"][..], MAPPING, GIVING_BACK].map(|purposes| memory::worked_for(scene, victim, purposes));
    // Those that went to a device are not for new memory.
    let faulting = faulting * (1.0 - memory::major_part(scene, victim).0);
    let time =
        running(scene, victim, (faulting + mapping) as u64).saturating_sub(mem_tlb_shootdown::time(scene, victim));
    let count = memory::faults(scene, victim, "minor");
    let rate = count / scene.window().as_secs_f64();
    let few = rate < RATE || Ratio::of_counts(faulting, faulting + mapping) < FAULTING;
    // Whoever starts processes takes the faults of a fork and an exec each time.
    let of_starts = app_short_lived::time(scene, victim) >= time / 2;
    if few || !victim.named || grows(scene, victim, count) || of_starts {
        return Vec::new();
    }
    let Some(confidence) = grade(scene, victim, time) else { return Vec::new() };
    let copied = Ratio::of_counts(accesses(scene, victim, "protected"), count);
    let (what, next) = if copied >= COPIES {
        (
            "copying pages on the first write, as after a fork",
            "fork less, or earlier; posix_spawn or vfork copy nothing",
        )
    } else if giving_back > 0.0 {
        (
            "touching memory that it gives back and takes anew",
            "keep the memory: reuse buffers, a pool or arena, MALLOC_TRIM_THRESHOLD_ and MALLOC_MMAP_THRESHOLD_ (glibc)",
        )
    } else {
        ("touching new mappings for the first time", "map once and keep it; huge pages (madvise) need fewer faults")
    };
    let code = faulting_code(scene, victim);
    let function = code.as_ref().map_or_else(|| "code that could not be named".to_owned(), |hot| hot.function.clone());
    vec![Draft {
        confidence,
        time,
        summary: format!(
            "{} spends {} in page faults and in mapping memory, {what}: {rate:.0} minor faults a second, most in {function}.",
            victim.label(),
            how_much(victim, time),
        ),
        culprit: Party {
            kind: "function".into(),
            pid: None,
            name: function,
            detail: code.as_ref().map(|hot| hot.module.clone()),
        },
        evidence: vec![
            Evidence::new("CPU samples in page faults", running(scene, victim, faulting as u64).as_secs_f64(), "s")
                .at("recording/series.parquet"),
            Evidence::new(
                "CPU samples in mmap, munmap, madvise, brk",
                running(scene, victim, mapping as u64).as_secs_f64(),
                "s",
            )
            .at("recording/series.parquet"),
            Evidence::new("task_struct min_flt", rate, "faults/s")
                .against(format!("> {RATE}/s"))
                .at("recording/series.parquet"),
            Evidence::new("faults on pages that were there, but protected", copied.0 * 100.0, "%")
                .at("recording/series.parquet"),
        ],
        codepath: code.map(|hot| hot.path).unwrap_or_default(),
        next: vec![
            next.to_owned(),
            match victim.pids.first() {
                Some(pid) => format!("see who asks for it: perf record -e page-faults -g -p {pid}"),
                None => String::new(),
            },
        ],
        removes: Removes::work(victim, time),
        descriptive: false,
    }]
}

fn accesses(scene: &Scene, victim: &Victim, access: &str) -> f64 {
    let rows = scene.rec.get(&catalog::FAULT_ACCESSES).unwrap_or_default();
    let mine = totals_of(rows, |pid| victim.contains(pid));
    mine.filter(|row| row.labels.get("access") == access).map(Series::last).sum()
}

/// Whether the memory that was faulted in stayed.
fn grows(scene: &Scene, victim: &Victim, faults: f64) -> bool {
    let rows = scene.rec.get(&catalog::MEMORY_USAGE).unwrap_or_default();
    let growth = |row: &Series| {
        // Who began inside the window began with nothing.
        let first = row.points.first().filter(|point| point.at.is_zero()).map_or(0.0, |point| point.value);
        row.last() - first
    };
    let resident = totals_of(rows, |pid| victim.contains(pid)).filter(|row| row.labels.get("kind") != "swap");
    Ratio::of_counts(resident.map(growth).sum(), faults * PAGE) >= STAYS
}

/// The victim's own function that takes most faults.
fn faulting_code(scene: &Scene, victim: &Victim) -> Option<Hot> {
    let stacks = scene.rec.get(&catalog::FAULT_STACKS).unwrap_or_default();
    let mine = stacks.iter().filter(|stack| victim.contains(stack.pid));
    hottest_among(scene.rec, mine, own_function).or_else(|| {
        let in_fault = |stack: &observe::Stack| {
            let mut frames = stack.frames.iter().map(|id| scene.rec.frame(*id));
            victim.contains(stack.pid)
                && frames.any(|f| f.kind == FrameKind::Kernel && f.name.ends_with("exc_page_fault"))
        };
        hottest(scene, in_fault, own_function).ok().flatten()
    })
}

#[cfg(test)]
mod tests {
    use crate::{
        Confidence,
        testing::{System, all, one},
    };
    use observe::{
        TimeClass::{RunningKernel, RunningUser},
        catalog,
    };

    /// Half of its samples are in faults, at this many a second.
    fn renderer(rate: f64) -> System {
        System::new()
            .thread(10, "renderd", &[(RunningUser, 4.0), (RunningKernel, 4.0)])
            .samples(10, &[("main", "renderd")], 400)
            .kernel_samples(10, &[("main", "renderd")], &["asm_exc_page_fault"], 400)
            .total(&catalog::KERNEL_SAMPLES, &[("pid", "10"), ("for", "fault")], 300.0)
            .total(&catalog::PROCESS_FAULTS, &[("pid", "10"), ("type", "minor")], rate * 10.0)
            .target(10)
    }

    #[test]
    fn who_touches_memory_anew_is_the_culprit() {
        let rec = renderer(50_000.0)
            .total(&catalog::KERNEL_SAMPLES, &[("pid", "10"), ("for", "munmap")], 100.0)
            .faulted(10, &[("main", "renderd"), ("paint", "renderd"), ("memset", "libc.so.6")], 9)
            .sampled(&catalog::MEMORY_USAGE, &[("pid", "10"), ("kind", "anonymous")], &[1e8, 1.1e8, 1e8])
            .build();
        let finding = one(&rec, "mem.page-faults");
        assert_eq!((finding.culprit.name.as_str(), finding.confidence), ("paint", Confidence::Likely));
        assert!(finding.summary.contains("gives back"), "{}", finding.summary);
        assert!((finding.share.0 - 0.5).abs() < 0.01);
    }

    #[test]
    fn copies_after_a_fork_are_told_apart() {
        let labels = [("pid", "10"), ("access", "protected")];
        let rec = renderer(50_000.0).total(&catalog::FAULT_ACCESSES, &labels, 400_000.0).build();
        assert!(one(&rec, "mem.page-faults").summary.contains("after a fork"));
    }

    #[test]
    fn growth_and_a_few_faults_are_none() {
        let labels = [("pid", "10"), ("kind", "anonymous")];
        let grown = 50_000.0 * 10.0 * 4096.0;
        let rec = renderer(50_000.0).sampled(&catalog::MEMORY_USAGE, &labels, &[1e6, grown * 0.6]).build();
        assert!(all(&rec, "mem.page-faults").is_empty(), "it stays");
        assert!(all(&renderer(100.0).build(), "mem.page-faults").is_empty());
    }
}
