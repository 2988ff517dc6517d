//! Goroutines that wait for locks: which Go programs are followed, and what their rows say.
//!
//! Cost: 4 µs for each time that a goroutine goes to wait for a lock, and for each that one is let go on, its stack
//! included; nothing for locks that are free. A program that has no such waits is not slowed down at all. In a storm of
//! them the probes are attached in slices (`bpf/budget.rs`).

use crate::{
    bpf::{Frequent, Group, Kernel, rows, types},
    roots::Roots,
    stacks::Stacks,
};
use libbpf_rs::{Link, ProgramMut};
use observe::{Absent, AnyMetric, Pid, Recording, Tid, TimeClass, Wait, catalog};
use std::{
    collections::BTreeSet,
    fs::File,
    os::unix::fs::FileExt,
    path::PathBuf,
    time::{Duration, Instant},
};
use symbolize::go;

/// What this probe measures.
pub(crate) const METRICS: &[&dyn AnyMetric] = &[&catalog::GOROUTINE_WAITS, &catalog::GOROUTINE_HOLDERS];

/// Where a goroutine goes to wait for a lock: a mutex, and a read-write lock's two sides since Go 1.20.
const WAITS: &[&str] = &[
    "sync.runtime_SemacquireMutex",
    "internal/sync.runtime_SemacquireMutex",
    "sync.runtime_SemacquireRWMutex",
    "sync.runtime_SemacquireRWMutexR",
];

/// What makes a waiter ready.
const READY: &str = "runtime.readyWithTime";

/// ours: probes are put into so many processes at most, the target's or those that run most.
pub(crate) const MOST: usize = 4;

/// ours: looking for Go programs among so many processes takes some milliseconds.
const MOST_LOOKED_AT: usize = 64;
const LONGEST_LOOK: Duration = Duration::from_millis(100);

/// A process of a Go program, with the places of its functions in the file.
pub(crate) struct GoProgram {
    pub pid: Pid,
    path: PathBuf,
    waits: Vec<u64>,
    ready: u64,
}

impl GoProgram {
    /// Attaches one of the two programs to this process: probes at entries, which the kernel takes out again with the last
    /// descriptor. A process that is gone has none.
    pub fn attach(&self, prog: &ProgramMut<'_>, name: &str) -> Vec<Link> {
        let offsets = if name == "goroutine_waits" { self.waits.as_slice() } else { std::slice::from_ref(&self.ready) };
        let attach = |offset: &u64| prog.attach_uprobe(false, self.pid.0 as i32, &self.path, *offset as usize);
        offsets.iter().filter_map(|offset| attach(offset).ok()).collect()
    }
}

/// The Go programs among some processes.
pub(crate) fn find(roots: &Roots, pids: impl Iterator<Item = Pid>) -> Vec<GoProgram> {
    let began = Instant::now();
    let looked_at = pids.take(MOST_LOOKED_AT).take_while(|_| began.elapsed() < LONGEST_LOOK);
    looked_at.filter_map(|pid| program(roots, pid)).take(MOST).collect()
}

fn program(roots: &Roots, pid: Pid) -> Option<GoProgram> {
    let path = roots.proc.join(format!("{pid}/exe"));
    let wanted: Vec<&str> = WAITS.iter().copied().chain([READY]).collect();
    let mut offsets = go::functions(&File::open(&path).ok()?, &wanted)?;
    let ready = offsets.remove(READY)?;
    let waits: Vec<u64> = offsets.into_values().collect();
    (!waits.is_empty()).then_some(GoProgram { pid, path, waits, ready })
}

/// What was counted, before stacks are named.
pub(crate) struct Counted {
    rows: Vec<(types::goroutine_row_key, types::goroutine_row)>,
    /// Who still waits: its process, the lock, where, and since when, on the kernel's clock.
    waiting: Vec<(types::goroutine_key, types::goroutine_wait)>,
}

impl Counted {
    /// Reads it; after [`Kernel::close`].
    pub fn read(kernel: &Kernel, roots: &Roots) -> Self {
        let followed: BTreeSet<u32> = kernel.go_programs().iter().map(|program| program.pid.0).collect();
        let mut waiting: Vec<(types::goroutine_key, types::goroutine_wait)> = rows(&kernel.maps().goroutines_waiting);
        let memory = |pid: u32| Some((pid, File::open(roots.proc.join(format!("{pid}/mem"))).ok()?));
        let memories: Vec<(u32, File)> = followed.iter().filter_map(|pid| memory(*pid)).collect();
        waiting.retain(|(key, wait)| {
            memories.iter().any(|(pid, memory)| *pid == key.tgid && still_waits(memory, key.g, wait))
        });
        Counted { rows: rows(&kernel.maps().goroutine_rows), waiting }
    }

    /// Which process each user stack belongs to.
    pub fn owners(&self) -> impl Iterator<Item = (u64, u32)> + '_ {
        let waiting = self.waiting.iter().map(|(key, wait)| (wait.stack, key.tgid));
        self.rows.iter().map(|(key, _)| (key.stack, key.tgid)).chain(waiting)
    }

    /// Adds the rows. Where probes were attached in slices, sums are what the whole window would have had.
    pub fn collect(&self, kernel: &Kernel, stacks: &Stacks, length: Duration, into: &mut Recording) {
        let refuse = |why: &Absent, into: &mut Recording| METRICS.iter().for_each(|metric| metric.refuse(into, why));
        if let Some(why) = kernel.absent.get(&Group::Goroutines) {
            return refuse(why, into);
        }
        if kernel.go_programs().is_empty() {
            let why = "no Go program that tells its functions' names was looked at";
            return refuse(&Absent::NotCollected(why.to_owned()), into);
        }
        into.set(&catalog::GOROUTINE_WAITS, Ok(Vec::new()));
        into.set(&catalog::GOROUTINE_HOLDERS, Ok(Vec::new()));
        let part = kernel.traced_part(Frequent::Goroutines, length);
        for (key, row) in &self.rows {
            let metric = match types::goroutine_side(key.side) {
                types::goroutine_side::GOROUTINE_WAITS => &catalog::GOROUTINE_WAITS,
                _ => &catalog::GOROUTINE_HOLDERS,
            };
            let mut wait = wait(key.tgid, key.lock, stacks.user(key.stack));
            wait.time = Duration::from_nanos((row.ns as f64 / part) as u64);
            wait.count = (row.count as f64 / part).round() as u64;
            wait.longest = Duration::from_nanos(row.max);
            into.push(metric, wait);
        }
        let end = kernel.begin() + length.as_nanos() as u64;
        for (key, waits) in &self.waiting {
            let mut wait = wait(key.tgid, waits.lock, stacks.user(waits.stack));
            wait.time = Duration::from_nanos(end.saturating_sub(waits.since));
            (wait.count, wait.longest) = (1, wait.time);
            into.push(&catalog::GOROUTINE_WAITS, wait);
        }
    }
}

fn wait(pid: u32, lock: u64, stack: &[observe::FrameId]) -> Wait {
    Wait {
        pid: Pid(pid),
        tid: Tid(pid),
        class: TimeClass::BlockedLock,
        resource: format!("mutex:{lock:#x}"),
        by: None,
        syscall: String::new(),
        after_failure: false,
        time: Duration::ZERO,
        count: 0,
        longest: Duration::ZERO,
        stack: stack.to_vec(),
        waker_stack: Vec::new(),
    }
}

/// Whether a goroutine is parked where it went to wait: the same test as the kernel side's.
fn still_waits(memory: &File, g: u64, wait: &types::goroutine_wait) -> bool {
    /// Of `struct g`, as in `locks.bpf.c`.
    const SP: u64 = 56;
    const DEEP: u64 = 2048;
    let word = |at: u64| {
        let mut bytes = [0; 8];
        memory.read_exact_at(&mut bytes, at).ok().map(|()| u64::from_ne_bytes(bytes))
    };
    let parked = g.checked_add(SP).and_then(word).and_then(|sp| wait.sp.checked_sub(sp));
    parked.is_some_and(|deep| deep > 0 && deep <= DEEP) && word(wait.sp) == Some(wait.back)
}
