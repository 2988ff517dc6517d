//! The ledger without anything attached: what every task is doing, looked at a few times a second, and the scheduler's own
//! account of each thread. It serves where nothing should be attached, and where the traced programs cannot be loaded.
//!
//! Cost: about 1 µs a task each time; the pace is kept so that it stays under half a percent of a CPU.

use crate::{
    bpf::{snapshot, types},
    cpu::Split,
    roots::Roots,
    sched::{Books, Machine, Namer, collect_ledger},
    stacks::Stacks,
    threads::Totals,
};
use observe::{Absent, Labels, Point, Recording, Series, Target, catalog};
use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    time::{Duration, Instant},
};
use symbolize::Symbolizer;

/// How often tasks are looked at, at most.
const INTERVAL: Duration = Duration::from_millis(250);

/// ours: part of one CPU that looking may take.
const SHARE: f64 = 0.005;

/// What was seen of the tasks so far.
pub(crate) struct Snapshots {
    iterator: Result<snapshot::Iterator, Absent>,
    /// The waits seen, how often, by thread, and their kernel stacks.
    waits: HashMap<u64, (types::wait_key, u64)>,
    stacks: HashMap<u64, Vec<u64>>,
    /// How often each thread was seen blocked.
    blocked: HashMap<u32, u64>,
    before: Totals,
    next: Instant,
}

impl Snapshots {
    /// Begins with a first look.
    pub fn start(roots: &Roots, target: &Target) -> Self {
        let mut snapshots = Snapshots {
            iterator: snapshot::Iterator::load(roots, &target.members),
            waits: HashMap::new(),
            stacks: HashMap::new(),
            blocked: HashMap::new(),
            before: Totals::read(roots, target),
            next: Instant::now(),
        };
        snapshots.look();
        snapshots
    }

    /// Looks, when it is time.
    pub fn look(&mut self) {
        let begun = Instant::now();
        let Some(iterator) = self.iterator.as_ref().ok().filter(|_| begun >= self.next) else { return };
        match iterator.take() {
            Ok(rows) => rows.iter().for_each(|row| self.count(row)),
            Err(why) => self.iterator = Err(why),
        }
        self.next = begun + INTERVAL.max(begun.elapsed().div_f64(SHARE));
    }

    fn count(&mut self, row: &types::snapshot) {
        if row.blocked == 0 {
            return;
        }
        *self.blocked.entry(row.key.tid).or_default() += 1;
        let ips = &row.ips[..(row.depth as usize).min(row.ips.len())];
        let mut hasher = DefaultHasher::new();
        ips.hash(&mut hasher);
        let stack = if ips.is_empty() { 0 } else { hasher.finish() };
        if stack != 0 {
            self.stacks.entry(stack).or_insert_with(|| ips.to_vec());
        }
        let key = types::wait_key { kernel_stack: stack, ..row.key };
        crate::bpf::bytes_of(&[key]).hash(&mut hasher);
        self.waits.entry(hasher.finish()).or_insert((key, 0)).1 += 1;
    }

    /// Adds the ledger and the waits to the recording; `namer` names what was waited for.
    pub fn finish(
        self,
        roots: &Roots,
        target: &Target,
        symbolizer: &mut Symbolizer,
        namer: &mut Namer,
        into: &mut Recording,
    ) {
        let length = into.window.length;
        let (threads, samples) = self.before.until_now(roots, target, length);
        if threads.is_empty() {
            return;
        }
        let blocked: HashMap<u32, u64> = threads.iter().map(|times| (times.tid, times.blocked)).collect();
        let waits = self.waits.into_values().map(|(key, seen)| {
            let all = self.blocked.get(&key.tid).copied().unwrap_or(seen).max(1);
            let time = blocked.get(&key.tid).copied().unwrap_or_default() as f64 * seen as f64 / all as f64;
            (key, types::wait_value { ns: time as u64, count: seen, ..Default::default() })
        });
        let books = Books::of(threads, waits.filter(|(_, value)| value.ns > 0).collect());
        let stacks = Stacks::of_kernel(self.stacks, symbolizer);
        let samples: HashMap<u32, Split> = samples;
        let machine = Machine { traced: 1.0, ..Machine::default() };
        collect_ledger(&books, &stacks, namer, &samples, machine, into);
        into.frames = stacks.into_frames();
        let row = Series { labels: Labels::default(), points: vec![Point { at: length, value: 1.0 }] };
        into.set(&catalog::COARSE_LEDGER, Ok(vec![row]));
        if let Err(why) = self.iterator {
            into.set(&catalog::WAITS, Err(why));
        }
    }
}
