//! Memory: who takes page faults and with which code, who must make memory free first, who is killed, who grows.
//!
//! Measured cost: see the heads of the files.

mod usage;

pub(crate) use usage::Usage;

use crate::{
    bpf::{Frequent, Kernel, rows, text, types},
    process::Lifecycle,
    sched::Books,
    stacks::Stacks,
};
use observe::{Absent, AnyMetric, Event, FrameId, Histogram, Labels, Pid, Recording, Series, Stack, Tid, catalog};
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

/// What these probes measure.
pub(crate) const METRICS: &[&dyn AnyMetric] = &[
    &catalog::FAULT_ACCESSES,
    &catalog::FAULT_STACKS,
    &catalog::FAULTS_TRACED,
    &catalog::RECLAIM_TIME,
    &catalog::OOM_KILL,
];

const OOM_KILL: u32 = 6;

/// Page faults that were looked at, with how many each stands for, before their stacks are named.
pub(crate) struct Faults {
    /// By stack, thread, process and kind.
    seen: HashMap<(u64, u32, u32, u32), u64>,
    /// They were traced for part of the window only.
    in_part: bool,
}

impl Faults {
    /// Reads them; after the window has ended.
    pub fn read(kernel: &Kernel, window: Duration) -> Self {
        let mut faults: HashMap<_, u64> = HashMap::new();
        let mut add = |key: types::fault_key, count: u64| {
            *faults.entry((key.user_stack, key.tid, key.tgid, key.kind)).or_default() += count;
        };
        rows(&kernel.maps().faults).into_iter().for_each(|(key, count)| add(key, count));
        // Those since each CPU's last one.
        for clock in kernel.fault_clocks().into_iter().filter(|clock| clock.last.tgid != 0) {
            add(clock.last, clock.before + clock.passed);
        }
        Faults { seen: faults, in_part: kernel.traced_part(Frequent::Faults, window) < 1.0 }
    }

    /// Which process each user stack belongs to.
    pub fn owners(&self) -> impl Iterator<Item = (u64, u32)> + '_ {
        self.seen.keys().map(|(stack, _, pid, _)| (*stack, *pid))
    }

    /// Brings what the samples of a thread stand for in line with what the kernel counted for it: it may have been
    /// followed by others' faults, and where tracing paused, it stands for those that nobody saw.
    pub fn fit(&mut self, books: &Books) {
        let mut counted: HashMap<(u32, u32), u64> = HashMap::new();
        for times in books.threads() {
            *counted.entry((times.tid, times.tgid)).or_default() += times.minor_faults + times.major_faults;
        }
        let mut estimated: HashMap<(u32, u32), u64> = HashMap::new();
        for ((_, tid, pid, _), count) in &self.seen {
            *estimated.entry((*tid, *pid)).or_default() += count;
        }
        for ((_, tid, pid, _), count) in &mut self.seen {
            let (estimated, counted) = (estimated[&(*tid, *pid)], counted.get(&(*tid, *pid)));
            if let Some(counted) = counted.filter(|counted| **counted < estimated || self.in_part) {
                *count = (*count as f64 * *counted as f64 / estimated as f64).round() as u64;
            }
        }
        self.seen.retain(|_, count| *count > 0);
    }

    /// Adds code paths and kinds to the recording.
    fn collect(&self, stacks: &Stacks, into: &mut Recording) {
        let mut by_stack: BTreeMap<(u32, u32, &[FrameId]), u64> = BTreeMap::new();
        let mut by_access: BTreeMap<(u32, u32), u64> = BTreeMap::new();
        for ((stack, tid, pid, kind), count) in &self.seen {
            *by_stack.entry((*pid, *tid, stacks.user(*stack))).or_default() += count;
            *by_access.entry((*pid, *kind)).or_default() += count;
        }
        let stacks = by_stack.into_iter().map(|((pid, tid, frames), samples)| Stack {
            pid: Pid(pid),
            tid: Tid(tid),
            samples,
            frames: frames.to_vec(),
        });
        into.set(&catalog::FAULT_STACKS, Ok(stacks.collect()));
        let length = into.window.length;
        let accesses = by_access.into_iter().map(|((pid, kind), count)| {
            let labels = Labels::new([("pid", pid.to_string()), ("access", access(kind).to_owned())]);
            Series::total(labels, length, count as f64)
        });
        into.set(&catalog::FAULT_ACCESSES, Ok(accesses.collect()));
    }
}

/// `enum fault_kind` in words.
fn access(kind: u32) -> &'static str {
    match kind {
        0 => "read",
        1 => "write",
        2 => "execute",
        _ => "protected",
    }
}

/// `enum reclaim_kind` in words.
fn reclaim_kind(kind: u32) -> &'static str {
    match kind {
        0 => "direct",
        1 => "cgroup",
        _ => "compaction",
    }
}

/// Adds what the kernel side saw. `groups` are the memory control groups by the number of their directory.
pub(crate) fn collect(
    kernel: &Kernel,
    faults: &Faults,
    stacks: &Stacks,
    lifecycle: &Lifecycle,
    groups: &HashMap<u64, String>,
    into: &mut Recording,
) {
    if kernel.serves("memory_fault_user") {
        faults.collect(stacks, into);
        let part = kernel.traced_part(Frequent::Faults, into.window.length);
        into.set(&catalog::FAULTS_TRACED, Ok(vec![Series::total(Labels::default(), into.window.length, part)]));
    } else {
        let why = || Absent::Unsupported("this kernel has no tracepoint for page faults (x86 has)".to_owned());
        into.set(&catalog::FAULT_STACKS, Err(why()));
        into.set(&catalog::FAULT_ACCESSES, Err(why()));
        into.set(&catalog::FAULTS_TRACED, Err(why()));
    }
    let group = |number: u64| groups.get(&number).cloned().unwrap_or_default();
    let reclaims = rows::<types::reclaim_key, types::hist>(&kernel.maps().reclaims).into_iter().map(|(key, hist)| {
        let labels = Labels::new([
            ("pid", key.tgid.to_string()),
            ("kind", reclaim_kind(key.kind).to_owned()),
            ("cgroup", group(key.group)),
        ]);
        Histogram::from_slots(labels, &hist.slots, hist.sum, hist.max)
    });
    let mut reclaims: Vec<Histogram> = reclaims.collect();
    reclaims.sort_by(|a, b| a.labels.cmp(&b.labels));
    into.set(&catalog::RECLAIM_TIME, Ok(reclaims));
    let kills = lifecycle.of_kind(OOM_KILL).map(|event| {
        let pid = Pid(event.tgid);
        let name = match text(&event.comm) {
            comm if comm.is_empty() => into.process_name(pid),
            comm => comm,
        };
        let labels = Labels::new([
            ("name", name),
            ("asking", event.other.to_string()),
            ("asking_name", text(&event.other_comm)),
            ("cgroup", group(event.duration)),
        ]);
        Event { at: Duration::from_nanos(event.at.saturating_sub(kernel.begin())), pid: Some(pid), labels, value: 1.0 }
    });
    let kills = kills.collect();
    into.set(&catalog::OOM_KILL, Ok(kills));
}

/// Adds every process' page faults, as the kernel counted them for its threads.
pub(crate) fn collect_faults(books: &Books, into: &mut Recording) {
    let mut by_process: BTreeMap<u32, [u64; 2]> = BTreeMap::new();
    for times in books.threads() {
        let counts = by_process.entry(times.tgid).or_default();
        counts[0] += times.minor_faults;
        counts[1] += times.major_faults;
    }
    let rows = by_process.into_iter().flat_map(|(pid, counts)| fault_rows(Pid(pid), counts, into.window.length));
    let rows = rows.collect();
    into.set(&catalog::PROCESS_FAULTS, Ok(rows));
}

/// A process' minor and major faults, those that there were.
fn fault_rows(pid: Pid, counts: [u64; 2], length: Duration) -> impl Iterator<Item = Series> {
    let rows = ["minor", "major"].into_iter().zip(counts).filter(|(_, count)| *count > 0);
    rows.map(move |(kind, count)| {
        let labels = Labels::new([("pid", pid.to_string()), ("type", kind.to_owned())]);
        Series::total(labels, length, count as f64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_stand_for_as_many_faults_as_there_were() {
        let thread = |tid, minor_faults, major_faults| types::thread_times {
            tid,
            tgid: 7,
            minor_faults,
            major_faults,
            ..Default::default()
        };
        let books = Books::of(vec![thread(7, 90, 10), thread(8, 50, 0), thread(8, 50, 0)], Vec::new());
        let key = |stack, tid, kind| (stack, tid, 7, kind);
        let counts = [(key(1, 7, 0), 150), (key(2, 7, 1), 50), (key(3, 8, 0), 50), (key(4, 9, 0), 5)];
        let fitted = |in_part| {
            let mut faults = Faults { seen: HashMap::from(counts), in_part };
            faults.fit(&books);
            let mut fitted: Vec<_> = faults.seen.into_iter().map(|((stack, ..), count)| (stack, count)).collect();
            fitted.sort_unstable();
            fitted
        };
        // One whose thread is not in the books stays as it is.
        assert_eq!(fitted(false), [(1, 75), (2, 25), (3, 50), (4, 5)]);
        assert_eq!(fitted(true), [(1, 75), (2, 25), (3, 100), (4, 5)]);
    }
}
