//! # A setting of the kernel's that costs time at every call
//!
//! **Speaks for it:** CPU samples in the functions that only this setting has the kernel run.
//! **Speaks against it:** the setting alone: where nobody spends time in it, it is something to review, not a cause.
//! **Experiment:** switching the clock source back and forth shows its cost; debugging is built in.

use crate::{
    Cause, Draft, Effect, Party, Scene, Victim,
    cause::{grade, how_much},
    code::{self, hottest},
    path::Removes,
};
use checks::Evidence;
use observe::{FrameId, FrameKind, Recording};

/// Stands in the registry.
pub const CLOCKSOURCE: Cause =
    Cause { id: "config.clocksource", frozen: Effect::None, root_of: ROOT_OF, judge: |s, v| judge(s, v, &CLOCK) };

/// Stands in the registry.
pub const DEBUG_KERNEL: Cause =
    Cause { id: "config.debug-kernel", frozen: Effect::None, root_of: ROOT_OF, judge: |s, v| judge(s, v, &DEBUG) };

/// Stands in the registry.
pub const MITIGATIONS: Cause = Cause {
    id: "config.mitigations",
    frozen: Effect::None,
    root_of: ROOT_OF,
    judge: |s, v| judge(s, v, &AGAINST_SPECULATION),
};

/// Stands in the registry.
pub const THP: Cause = Cause {
    id: "config.thp",
    frozen: Effect::None,
    root_of: &["cpu.kernel-time", "mem.page-faults", "mem.reclaim"],
    judge: |s, v| judge(s, v, &HUGE_PAGES),
};

/// Stands in the registry.
pub const AUDIT: Cause =
    Cause { id: "config.audit", frozen: Effect::None, root_of: ROOT_OF, judge: |s, v| judge(s, v, &AUDITING) };

const ROOT_OF: &[&str] = &["cpu.kernel-time", "cpu.hot-code", "app.syscall-storm"];

/// A setting, by what only it runs.
struct Setting {
    /// How the names of these functions begin.
    functions: &'static [&'static str],
    /// The fact that shows it.
    fact: &'static str,
    name: &'static str,
    next: [&'static str; 2],
}

const CLOCK: Setting = Setting {
    functions: &[
        "read_hpet",
        "acpi_pm_read",
        "acpi_pm_read_slow",
        "read_hv_clock_msr",
        "jiffies_read",
        "refined_jiffies",
    ],
    fact: "clocksource",
    name: "the clock source",
    next: [
        "see what there is: cat /sys/devices/system/clocksource/clocksource0/available_clocksource, and dmesg | grep -i tsc",
        "if tsc is there and trusted: echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource",
    ],
};

const DEBUG: Setting = Setting {
    functions: &[
        "lock_acquire",
        "__lock_acquire",
        "lock_release",
        "lockdep_",
        "kasan_",
        "__kasan_",
        "__asan_",
        "kmsan_",
        "__kcsan_",
        "__tsan_",
        "check_poison",
        "kmemleak_",
        "debug_object_",
        "___slab_debug",
        "check_object",
        "kfence_",
    ],
    fact: "kernel",
    name: "a kernel built for debugging",
    next: [
        "see what is built in: grep -E 'LOCKDEP|KASAN|KCSAN|PROVE_LOCKING|DEBUG_PAGEALLOC' /boot/config-$(uname -r)",
        "run production on the distribution's ordinary kernel",
    ],
};

/// What is flushed and filled at each entry into the kernel and each return; see the kernel's admin-guide/hw-vuln.
const AGAINST_SPECULATION: Setting = Setting {
    functions: &[
        "srso_",
        "retbleed_",
        "entry_untrain_ret",
        "clear_bhb_loop",
        "entry_ibpb",
        "write_ibpb",
        "mds_clear_cpu_buffers",
        "__x86_indirect_",
        "__x86_return_thunk",
        "l1d_flush",
    ],
    fact: "mitigations",
    name: "a mitigation of a processor's flaw",
    next: [
        "see which: grep . /sys/devices/system/cpu/vulnerabilities/*",
        "call the kernel less often: larger reads and writes, io_uring; only a machine that trusts all that runs on it goes \
         without (mitigations=off)",
    ],
};

/// What looks for room for huge pages while a process waits, and what copies memory together for them.
const HUGE_PAGES: Setting = Setting {
    functions: &[
        "compact_zone",
        "isolate_migratepages",
        "isolate_freepages",
        "migrate_pages",
        "collapse_huge_page",
        "hpage_collapse_",
    ],
    fact: "thp",
    name: "the wish for transparent huge pages",
    next: [
        "let only those have them that ask: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
        "or none wait for them: echo defer+madvise > /sys/kernel/mm/transparent_hugepage/defrag",
    ],
};

/// What the audit subsystem does at each system call that a rule is about.
const AUDITING: Setting = Setting {
    functions: &["audit_", "__audit_", "auditd_"],
    fact: "audit",
    name: "a rule of the audit subsystem",
    next: [
        "see the rules: auditctl -l, and what they cost: auditctl -s (lost, backlog)",
        "drop rules about frequent calls, or limit them to who matters (auid, exe)",
    ],
};

fn judge(scene: &Scene, victim: &Victim, setting: &Setting) -> Vec<Draft> {
    let innermost = |rec: &Recording, frames: &[FrameId]| {
        let kernel = frames.iter().rev().copied().take_while(|id| rec.frame(*id).kind == FrameKind::Kernel);
        let ours = |id: &FrameId| setting.functions.iter().any(|name| rec.frame(*id).name.starts_with(name));
        kernel.take(DEEP).find(ours)
    };
    let Some(hot) = hottest(scene, |stack| victim.contains(stack.pid), innermost).ok().flatten() else {
        return Vec::new();
    };
    let time = code::running(scene, victim, hot.of);
    let Some(confidence) = grade(scene, victim, time).filter(|_| hot.of >= ENOUGH_SAMPLES) else { return Vec::new() };
    let value = scene.fact(setting.fact).unwrap_or_default();
    vec![Draft {
        confidence,
        time,
        summary: format!(
            "{} spends {} in {}, which only {} ({value}) has the kernel run.",
            victim.label(),
            how_much(victim, time),
            hot.function,
            setting.name,
        ),
        culprit: Party {
            kind: "setting".into(),
            pid: None,
            name: format!("{}{}{value}", setting.fact, if value.is_empty() { "" } else { "=" }),
            detail: Some(hot.function.clone()),
        },
        evidence: vec![
            Evidence::new(format!("CPU samples in {} and the like", hot.function), hot.of as f64, "samples")
                .against(format!("of {}", code::samples(scene, victim)))
                .at("cpu.folded"),
            Evidence::new("CPU time they stand for", time.as_secs_f64(), "s"),
        ],
        codepath: hot.path,
        next: setting.next.map(str::to_owned).to_vec(),
        removes: Removes::work(victim, time),
        descriptive: false,
    }]
}

/// ours: fewer samples than this are chance.
const ENOUGH_SAMPLES: u64 = 20;

/// ours: what a checker calls in turn is within a few frames.
const DEEP: usize = 4;

#[cfg(test)]
mod tests {
    use crate::testing::{System, all, one};
    use observe::TimeClass::{RunningKernel, RunningUser};

    #[test]
    fn time_in_what_only_the_setting_runs_is_its_doing() {
        let tracer = |reads| {
            System::new()
                .thread(10, "tracer", &[(RunningUser, 2.0), (RunningKernel, 7.0)])
                .fact("clocksource", "hpet")
                .kernel_samples(
                    10,
                    &[("stamp", "tracer")],
                    &["__x64_sys_clock_gettime", "ktime_get", "read_hpet"],
                    reads,
                )
                .samples(10, &[("stamp", "tracer")], 100)
                .target(10)
                .build()
        };
        let finding = one(&tracer(300), "config.clocksource");
        assert_eq!((finding.culprit.name.as_str(), finding.rank), ("clocksource=hpet", 1));
        assert!(all(&tracer(2), "config.clocksource").is_empty());
        assert!(all(&tracer(300), "config.debug-kernel").is_empty());
    }

    #[test]
    fn each_setting_is_told_by_what_only_it_has_the_kernel_run() {
        for (function, cause) in [
            ("audit_filter_syscall", "config.audit"),
            ("srso_alias_untrain_ret", "config.mitigations"),
            ("isolate_migratepages_block", "config.thp"),
            ("lock_acquire", "config.debug-kernel"),
        ] {
            let rec = System::new()
                .thread(10, "api", &[(RunningUser, 2.0), (RunningKernel, 7.0)])
                .kernel_samples(10, &[("main", "api")], &["__x64_sys_read", function], 300)
                .samples(10, &[("main", "api")], 100)
                .target(10)
                .build();
            let finding = one(&rec, cause);
            assert_eq!((finding.culprit.kind.as_str(), finding.rank), ("setting", 1), "{cause}");
        }
    }
}
