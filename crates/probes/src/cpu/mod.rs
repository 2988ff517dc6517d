//! CPU profile, from the kernel side's samples to the recording.

mod interpreted;
mod spin;

pub(crate) use interpreted::Interpreted;

use crate::{
    bpf::{Kernel, rows, types},
    roots::Roots,
    stacks::Stacks,
};
use observe::{AnyMetric, Labels, Pid, Recording, Series, Stack, Tid, catalog};
use std::collections::{BTreeMap, HashMap};

/// What this probe measures.
pub(crate) const METRICS: &[&dyn AnyMetric] = &[&catalog::CPU_STACKS, &catalog::KERNEL_SAMPLES, &catalog::SPIN_SAMPLES];

/// The samples, before their stacks are named.
pub(crate) struct Samples(Vec<(types::sample_key, u64)>);

/// How many samples of a thread there are, and how many of them were in the kernel.
#[derive(Clone, Copy, Default)]
pub(crate) struct Split {
    pub all: u64,
    pub kernel: u64,
}

impl Samples {
    /// Reads them.
    pub fn read(kernel: &Kernel) -> Self {
        Samples(rows(&kernel.maps().samples))
    }

    /// Which process each user stack belongs to.
    pub fn owners(&self) -> impl Iterator<Item = (u64, u32)> + '_ {
        self.0.iter().map(|(key, _)| (key.user_stack, key.tgid))
    }

    /// Each process' samples by stack: user, kernel, count.
    pub fn stacks(&self) -> impl Iterator<Item = (u32, u64, u64, u64)> + '_ {
        self.0.iter().map(|(key, count)| (key.tgid, key.user_stack, key.kernel_stack, *count))
    }

    /// User and kernel samples by thread.
    pub fn split(&self) -> HashMap<u32, Split> {
        let mut split: HashMap<u32, Split> = HashMap::new();
        for (key, count) in &self.0 {
            let entry = split.entry(key.tid).or_default();
            entry.all += count;
            if key.kernel_stack != 0 {
                entry.kernel += count;
            }
        }
        split
    }

    /// Adds them to the recording, what the kernel worked for in each process, and which of them were taken while spinning.
    pub fn collect(&self, stacks: &Stacks, roots: &Roots, into: &mut Recording) {
        spin::collect(self, stacks, roots, into);
        let mut kernel: BTreeMap<(u32, String), u64> = BTreeMap::new();
        for (key, count) in self.0.iter().filter(|(key, _)| key.kernel_stack != 0) {
            let names = stacks.names(stacks.kernel(key.kernel_stack));
            *kernel.entry((key.tgid, worked_for(&names).to_owned())).or_default() += count;
        }
        let length = into.window.length;
        let rows = kernel.into_iter().map(|((pid, what), count)| {
            Series::total(Labels::new([("pid", pid.to_string()), ("for", what)]), length, count as f64)
        });
        into.set(&catalog::KERNEL_SAMPLES, Ok(rows.collect()));
        let rows = self.0.iter().map(|(key, count)| Stack {
            pid: Pid(key.tgid),
            tid: Tid(key.tid),
            samples: *count,
            frames: stacks.both(key.user_stack, key.kernel_stack),
        });
        into.set(&catalog::CPU_STACKS, Ok(rows.collect()));
    }
}

/// What the kernel worked for, by the frames of a stack, outermost first: the innermost entry into the kernel counts, as an
/// interrupt may hit a system call.
fn worked_for<'a>(names: &[&'a str]) -> &'a str {
    const FAULTS: [&str; 3] = ["asm_exc_page_fault", "exc_page_fault", "do_page_fault"];
    const INTERRUPTS: [&str; 4] = ["asm_sysvec_", "asm_common_interrupt", "irq_exit_rcu", "__do_softirq"];
    // x64_sys_call only dispatches.
    const CALLS: [&str; 4] = ["__x64_sys_", "__se_sys_", "__arm64_sys_", "__ia32_sys_"];
    names
        .iter()
        .rev()
        .find_map(|name| {
            if FAULTS.contains(name) {
                return Some("fault");
            }
            if INTERRUPTS.iter().any(|entry| name.starts_with(entry)) {
                return Some("interrupt");
            }
            CALLS.iter().find_map(|prefix| name.strip_prefix(prefix))
        })
        .unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_entry_says_what_the_kernel_works_for() {
        let write = ["entry_SYSCALL_64_after_hwframe", "do_syscall_64", "__x64_sys_write", "ksys_write", "vfs_write"];
        assert_eq!(worked_for(&write), "write");
        let hit = [&write[..], &["asm_sysvec_apic_timer_interrupt", "sysvec_apic_timer_interrupt"]].concat();
        assert_eq!(worked_for(&hit), "interrupt");
        assert_eq!(worked_for(&["asm_exc_page_fault", "exc_page_fault", "handle_mm_fault"]), "fault");
        assert_eq!(worked_for(&["ret_from_fork"]), "other");
    }
}
