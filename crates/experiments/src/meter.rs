//! How a victim fares, from the kernel's cumulative counters: cheap, exact over a phase, and for programs of every kind.
//!
//! Running and queueing come from `/proc/PID/task/TID/schedstat`. Uninterruptible sleep (disks, file systems, locks of the
//! kernel's) has no counter that is switched on everywhere, so the threads' states are looked at a hundred times a second.
//! Measured cost: about 15 µs a thread and look; where that would be more than a fiftieth of a CPU, looks are rarer.

use crate::{
    Roots,
    process::{self, Stat},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

/// How often threads' states are looked at, at most.
const LOOK: Duration = Duration::from_millis(10);
/// How often threads and processes that are new are looked for.
const SCAN: Duration = Duration::from_millis(200);
/// ours: the part of a CPU that looking may take.
const COST: f64 = 0.02;

/// What the victim did in a phase, summed over its threads. Counts since the phase began.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// The length of the phase.
    pub length: Duration,
    /// On a CPU.
    pub running: Duration,
    /// Waiting for one.
    pub queued: Duration,
    /// In uninterruptible sleep; from looks.
    pub blocked: Duration,
    /// Times that threads were given a CPU.
    pub switches: u64,
    /// Calls that read or write, and those that a file system had to do something for in bytes.
    pub calls: u64,
    /// Bytes read from and written to disks.
    pub bytes: u64,
    /// How often the threads were looked at.
    pub looks: u64,
}

impl Sample {
    /// Adds another phase to this.
    pub fn add(&mut self, other: &Sample) {
        self.length += other.length;
        self.running += other.running;
        self.queued += other.queued;
        self.blocked += other.blocked;
        self.switches += other.switches;
        self.calls += other.calls;
        self.bytes += other.bytes;
        self.looks += other.looks;
    }
}

/// Counters as last read.
#[derive(Clone, Copy, Default)]
struct Thread {
    running: u64,
    queued: u64,
    switches: u64,
}

#[derive(Clone, Copy, Default)]
struct Process {
    calls: u64,
    bytes: u64,
}

/// Watches some processes and all that descends from them.
pub struct Meter {
    proc: PathBuf,
    victims: BTreeSet<u32>,
    /// Who is not part of the victim although it descends from it: the culprit, and friday.
    except: BTreeSet<u32>,
    /// By process and thread.
    threads: BTreeMap<(u32, u32), Thread>,
    processes: BTreeMap<u32, Process>,
    /// The phase so far.
    sample: Sample,
    began: Instant,
    looked: Instant,
    scanned: Instant,
    pause: Duration,
    between_scans: Duration,
}

impl Meter {
    /// Of these processes with all their descendants but some.
    pub fn new(roots: &Roots, victims: &[u32], except: &[u32]) -> Meter {
        let now = Instant::now();
        Meter {
            proc: roots.proc.clone(),
            victims: victims.iter().copied().collect(),
            except: except.iter().copied().chain([std::process::id()]).collect(),
            threads: BTreeMap::new(),
            processes: BTreeMap::new(),
            sample: Sample::default(),
            began: now,
            looked: now,
            scanned: now,
            pause: LOOK,
            between_scans: SCAN,
        }
    }

    /// Whether one of the processes that were named is still there.
    pub fn lives(&self) -> bool {
        self.victims.iter().any(|pid| Stat::read(&self.proc, *pid).is_ok_and(|s| !matches!(s.state, 'Z' | 'X')))
    }

    /// A phase begins.
    pub fn begin(&mut self) {
        self.threads.clear();
        self.processes.clear();
        self.scan(true);
        self.sample = Sample::default();
        self.began = Instant::now();
        (self.looked, self.scanned) = (self.began, self.began);
    }

    /// How long until the next look.
    pub fn due(&self) -> Duration {
        self.pause.saturating_sub(self.looked.elapsed())
    }

    /// Looks at the threads' states, and now and then for new threads.
    pub fn look(&mut self) {
        let now = Instant::now();
        let since = now - self.looked;
        self.looked = now;
        let is_blocked = |key: &&(u32, u32)| Stat::read_thread(&self.proc, key.0, key.1).is_ok_and(|s| s.state == 'D');
        let blocked = self.threads.keys().filter(is_blocked).count();
        self.sample.blocked += since * blocked as u32;
        self.sample.looks += 1;
        self.pause = LOOK.max(now.elapsed().div_f64(COST));
        if self.scanned.elapsed() >= self.between_scans {
            let began = Instant::now();
            self.scan(false);
            self.scanned = Instant::now();
            self.between_scans = SCAN.max(began.elapsed().div_f64(COST));
        }
    }

    /// The phase ends.
    pub fn end(&mut self) -> Sample {
        self.scan(false);
        self.sample.length = self.began.elapsed();
        self.sample
    }

    /// Reads all counters. What is new in the middle of a phase was born in it: all that it did counts.
    fn scan(&mut self, first: bool) {
        let all = process::all(&self.proc);
        let mut pids = process::with_descendants(&all, &self.victims);
        let culprits = process::with_descendants(&all, &self.except);
        pids.retain(|pid| self.victims.contains(pid) || !culprits.contains(pid));
        // What has ended is not met again; its last moments are lost.
        let (threads, processes) = (std::mem::take(&mut self.threads), std::mem::take(&mut self.processes));
        for pid in pids {
            let text = fs::read_to_string(self.proc.join(format!("{pid}/io"))).unwrap_or_default();
            let of = |name: &str| -> u64 {
                text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(": ")?.parse().ok()).unwrap_or(0)
            };
            let now = Process { calls: of("syscr") + of("syscw"), bytes: of("read_bytes") + of("write_bytes") };
            self.processes.insert(pid, now);
            if !first {
                let before = processes.get(&pid).copied().unwrap_or_default();
                self.sample.calls += now.calls.saturating_sub(before.calls);
                self.sample.bytes += now.bytes.saturating_sub(before.bytes);
            }
            for tid in process::threads(&self.proc, pid) {
                let Some(now) = self.schedstat(pid, tid) else { continue };
                self.threads.insert((pid, tid), now);
                if !first {
                    let before = threads.get(&(pid, tid)).copied().unwrap_or_default();
                    self.sample.running += Duration::from_nanos(now.running.saturating_sub(before.running));
                    self.sample.queued += Duration::from_nanos(now.queued.saturating_sub(before.queued));
                    self.sample.switches += now.switches.saturating_sub(before.switches);
                }
            }
        }
    }

    fn schedstat(&self, pid: u32, tid: u32) -> Option<Thread> {
        let text = fs::read_to_string(self.proc.join(format!("{pid}/task/{tid}/schedstat"))).ok()?;
        let mut fields = text.split_whitespace().map(|field| field.parse::<u64>().ok());
        Some(Thread { running: fields.next()??, queued: fields.next()??, switches: fields.next()?? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::tests::fake;

    fn set(proc: &std::path::Path, pid: u32, running: u64, queued: u64, calls: u64) {
        fs::write(proc.join(format!("{pid}/task/{pid}/schedstat")), format!("{running} {queued} {calls}\n")).unwrap();
        let io = format!("rchar: 1\nsyscr: {calls}\nsyscw: 1\nread_bytes: 4096\nwrite_bytes: 0\n");
        fs::write(proc.join(format!("{pid}/io")), io).unwrap();
    }

    #[test]
    fn what_happens_in_a_phase_counts_with_what_was_born_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let proc = dir.path();
        let roots = Roots { proc: proc.to_owned(), sys: proc.to_owned() };
        for (pid, parent) in [(10, 1), (11, 10), (12, 10)] {
            fake(proc, pid, "job", parent, pid, 0);
            set(proc, pid, 1000, 500, 10);
        }
        let mut meter = Meter::new(&roots, &[10], &[12]);
        meter.begin();
        set(proc, 10, 5000, 700, 14);
        set(proc, 11, 2000, 500, 10);
        set(proc, 12, 90_000, 90_000, 99);
        fake(proc, 13, "job", 11, 13, 0);
        set(proc, 13, 300, 30, 3);
        let sample = meter.end();
        assert_eq!(sample.running, Duration::from_nanos(4000 + 1000 + 300), "without the culprit");
        assert_eq!(sample.queued, Duration::from_nanos(200 + 30));
        assert_eq!((sample.switches, sample.calls, sample.bytes), (4 + 3, 4 + 4, 4096));
        assert!(meter.lives());
    }

    #[test]
    fn uninterruptible_sleep_is_told_by_the_threads_states() {
        let dir = tempfile::tempdir().unwrap();
        let proc = dir.path();
        let roots = Roots { proc: proc.to_owned(), sys: proc.to_owned() };
        fake(proc, 10, "db", 1, 10, 0);
        set(proc, 10, 0, 0, 0);
        let mut meter = Meter::new(&roots, &[10], &[]);
        meter.begin();
        std::thread::sleep(Duration::from_millis(12));
        meter.look();
        assert_eq!(meter.end().blocked, Duration::ZERO);
        let stat = proc.join("10/task/10/stat");
        fs::write(&stat, fs::read_to_string(&stat).unwrap().replace(") S ", ") D ")).unwrap();
        meter.begin();
        std::thread::sleep(Duration::from_millis(12));
        meter.look();
        let sample = meter.end();
        assert!(sample.blocked >= Duration::from_millis(12) && sample.blocked <= sample.length, "{sample:?}");
        assert_eq!(sample.looks, 1);
    }
}
