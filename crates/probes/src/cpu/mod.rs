//! CPU profile, from the kernel side's samples to the recording.

use crate::{
    bpf::{Kernel, rows, types},
    stacks::Stacks,
};
use observe::{AnyMetric, Pid, Recording, Stack, Tid, catalog};
use std::collections::HashMap;

/// What this probe measures.
pub(crate) const METRICS: &[&dyn AnyMetric] = &[&catalog::CPU_STACKS];

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

    /// Adds them to the recording.
    pub fn collect(&self, stacks: &Stacks, into: &mut Recording) {
        let rows = self.0.iter().map(|(key, count)| Stack {
            pid: Pid(key.tgid),
            tid: Tid(key.tid),
            samples: *count,
            frames: stacks.both(key.user_stack, key.kernel_stack),
        });
        into.set(&catalog::CPU_STACKS, Ok(rows.collect()));
    }
}
