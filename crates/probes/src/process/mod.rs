//! Processes that came and went, and the outliers that the kernel side reported one by one.

use crate::{
    block::{Disks, direction},
    bpf::{text, types},
    roots::Roots,
    syscalls,
};
use observe::{AnyMetric, Event, Labels, Pid, Process, Recording, catalog};
use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

const EXEC: u32 = 1;
const EXIT: u32 = 2;
const SLOW_RUN_QUEUE: u32 = 3;
const SLOW_BLOCK: u32 = 4;
const SLOW_SYSCALL: u32 = 5;

/// Most rows of one kind of event that a recording keeps; the kernel side keeps the totals.
const MOST: usize = 20_000;

/// What this probe measures.
pub(crate) const METRICS: &[&dyn AnyMetric] = &[&catalog::PROCESS_EXIT];

/// Collects events as they come.
#[derive(Default)]
pub(crate) struct Lifecycle {
    executed: HashSet<u32>,
    events: Vec<types::event>,
    /// Names of processes that may be gone when the window ends.
    names: BTreeMap<u32, (String, u32)>,
    dropped: u64,
}

impl Lifecycle {
    /// Takes some events; returns the processes that began a new program, so that their maps can be kept.
    pub fn take(&mut self, events: Vec<types::event>) -> Vec<Pid> {
        let mut began = Vec::new();
        for event in events {
            match event.kind {
                EXEC => {
                    self.executed.insert(event.tgid);
                    self.names.insert(event.tgid, (text(&event.comm), event.other));
                    began.push(Pid(event.tgid));
                }
                EXIT => {
                    self.names.insert(event.tgid, (text(&event.comm), event.other));
                    self.keep(event);
                }
                _ => self.keep(event),
            }
        }
        began
    }

    fn keep(&mut self, event: types::event) {
        if self.events.len() < MOST * 4 {
            self.events.push(event);
        } else {
            self.dropped += 1;
        }
    }

    /// Events that were dropped here.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The events of another kind.
    pub fn of_kind(&self, kind: u32) -> impl Iterator<Item = &types::event> {
        self.events.iter().filter(move |event| event.kind == kind)
    }

    /// Adds the identity of processes that were gone before they could be looked at.
    pub fn identify(&self, processes: &mut BTreeMap<Pid, Process>) {
        for (pid, (name, parent)) in &self.names {
            let process = processes.entry(Pid(*pid)).or_insert_with(|| Process {
                pid: Pid(*pid),
                parent: Pid(*parent),
                name: name.clone(),
                ..Process::default()
            });
            if process.name.is_empty() {
                process.name.clone_from(name);
            }
        }
        for event in self.events.iter().filter(|e| e.kind == EXIT) {
            if let Some(process) = processes.get_mut(&Pid(event.tgid)) {
                process.life = Some(Duration::from_nanos(event.duration));
            }
        }
    }

    /// Adds the events to the recording; call after the processes have their names.
    pub fn collect(&self, roots: &Roots, disks: &mut Disks, begin: u64, into: &mut Recording) {
        for metric in
            [&catalog::PROCESS_EXIT, &catalog::SLOW_RUN_QUEUE, &catalog::SLOW_BLOCK_IO, &catalog::SLOW_SYSCALL]
        {
            into.set(metric, Ok(Vec::new()));
        }
        for event in &self.events {
            let pid = Pid(event.tgid);
            let name = match text(&event.comm) {
                comm if comm.is_empty() => into.process_name(pid),
                comm => comm,
            };
            let (metric, labels) = match event.kind {
                EXIT => (
                    &catalog::PROCESS_EXIT,
                    Labels::new([
                        ("name", name),
                        ("parent", event.other.to_string()),
                        ("parent_name", text(&event.other_comm)),
                        ("exec", if self.executed.contains(&event.tgid) { "yes" } else { "no" }.to_owned()),
                        ("code", (event.detail >> 8 & 0xff).to_string()),
                        ("signal", (event.detail & 0x7f).to_string()),
                    ]),
                ),
                SLOW_RUN_QUEUE => (
                    &catalog::SLOW_RUN_QUEUE,
                    Labels::new([("name", name), ("behind", into.process_name(Pid(event.other)))]),
                ),
                SLOW_BLOCK => (
                    &catalog::SLOW_BLOCK_IO,
                    Labels::new([
                        ("device", disks.name(roots, event.other)),
                        ("direction", direction(event.detail as u32).to_owned()),
                        ("name", name),
                    ]),
                ),
                SLOW_SYSCALL => (
                    &catalog::SLOW_SYSCALL,
                    Labels::new([("name", name), ("syscall", syscalls::name(event.detail as u32))]),
                ),
                _ => continue,
            };
            let at = Duration::from_nanos(event.at.saturating_sub(begin));
            into.push(
                metric,
                Event { at, pid: Some(pid), labels, value: Duration::from_nanos(event.duration).as_secs_f64() },
            );
        }
    }
}
