//! The recording as a diagnosis reads it: processes with their time, whom they wait for, and what runs.

use crate::{
    causes::for_good,
    graph::WaitGraph,
    path::{POLLS, Timeline, go_on_after_ticks},
};
use observe::{
    Absent, ClassTimes, Histogram, Observed, Pid, Ratio, Recording, Series, Stack, ThreadTime, Tid, TimeClass, Wait,
    catalog,
};
use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// A recording with its ledger grouped by process.
pub struct Scene<'a> {
    /// Everything seen.
    pub rec: &'a Recording,
    /// Threads that answered other processes, with the time those had waited.
    answers: BTreeMap<(Pid, Tid), Duration>,
    threads: BTreeMap<Pid, Vec<&'a ThreadTime>>,
    waits: BTreeMap<Pid, Vec<&'a Wait>>,
    ledger: Observed<()>,
    graph: OnceCell<WaitGraph>,
    timeline: Option<Timeline<'a>>,
    /// Threads whose pauses are nothing but the ticks of an event loop.
    ticking: OnceCell<BTreeSet<Tid>>,
}

/// ours: fewer answers than this in a window are not a dialogue.
pub const DIALOGUE: u64 = 5;

impl<'a> Scene<'a> {
    /// Groups a recording.
    pub fn new(rec: &'a Recording) -> Self {
        let mut threads: BTreeMap<Pid, Vec<&ThreadTime>> = BTreeMap::new();
        let mut waits: BTreeMap<Pid, Vec<&Wait>> = BTreeMap::new();
        let rows = rec.get(&catalog::THREAD_TIME);
        for row in rows.iter().copied().flatten() {
            threads.entry(row.pid).or_default().push(row);
        }
        let mut answers: BTreeMap<(Pid, Tid), (u64, Duration)> = BTreeMap::new();
        for wait in rec.get(&catalog::WAITS).into_iter().flatten() {
            waits.entry(wait.pid).or_default().push(wait);
            if let Some(by) = wait.by.filter(|(pid, _)| *pid != wait.pid && wait.class == TimeClass::BlockedProcess) {
                let answered = answers.entry(by).or_default();
                answered.0 += wait.count;
                answered.1 += wait.time;
            }
        }
        // A server with a thread a request answers once a thread, and again and again as a process.
        let mut by_process: BTreeMap<Pid, u64> = BTreeMap::new();
        for ((pid, _), (count, _)) in &answers {
            *by_process.entry(*pid).or_default() += count;
        }
        let answers = answers
            .into_iter()
            .filter(|((pid, _), _)| by_process.get(pid).is_some_and(|count| *count >= DIALOGUE))
            .map(|(by, (_, time))| (by, time))
            .collect();
        Scene {
            rec,
            answers,
            threads,
            waits,
            ledger: rows.map(|_| ()),
            graph: OnceCell::new(),
            timeline: Timeline::of(rec).ok(),
            ticking: OnceCell::new(),
        }
    }

    /// Who waits for whom.
    pub fn graph(&self) -> &WaitGraph {
        self.graph.get_or_init(|| WaitGraph::of(self))
    }

    /// The event window, if there was one.
    pub fn timeline(&self) -> Option<&Timeline<'a>> {
        self.timeline.as_ref()
    }

    /// The window's length.
    pub fn window(&self) -> Duration {
        self.rec.window.length
    }

    /// Whether blocked time is told apart, or why not.
    ///
    /// # Errors
    /// The reason why there is no full ledger.
    pub fn full_ledger(&self) -> Observed<()> {
        self.ledger.clone()?;
        if self.rec.get(&catalog::COARSE_LEDGER).is_ok() {
            return self.rec.get(&catalog::WAITS).map(|_| ());
        }
        Ok(())
    }

    /// Every process with a ledger.
    pub fn all_processes(&self) -> impl Iterator<Item = Pid> + '_ {
        self.threads.keys().copied()
    }

    /// Every process with a ledger that is neither a kernel thread nor friday.
    pub fn processes(&self) -> impl Iterator<Item = Pid> + '_ {
        self.threads.keys().copied().filter(|pid| !self.is_background(*pid))
    }

    /// Kernel threads and friday itself: never victims.
    pub fn is_background(&self, pid: Pid) -> bool {
        self.rec.processes.get(&pid).is_some_and(|p| p.is_kernel || p.is_friday)
    }

    /// The threads of a process that do its work: those that ran, or wanted to and were held up, for at least a tenth of
    /// the busiest one's time. The long pauses of helper threads, and their waits for others, would drown everything
    /// else. Threads that answer other processes are workers whatever they do, and those that somebody holds up who was stopped.
    pub fn workers(&self, pid: Pid) -> Vec<&'a ThreadTime> {
        /// ours: a helper thread is one that does less than a tenth of the busiest thread's work.
        const PART: f64 = 0.1;
        let Some(threads) = self.threads.get(&pid) else { return Vec::new() };
        let most = threads.iter().map(|t| work(&t.classes)).max().unwrap_or_default();
        let works = |t: &&ThreadTime| work(&t.classes).as_secs_f64() >= most.as_secs_f64() * PART;
        let answers = |t: &ThreadTime| self.answers(t.pid, t.tid).is_some();
        threads.iter().copied().filter(|t| works(t) || answers(t) || self.is_held_up_by_stopped(t)).collect()
    }

    /// Whether a thread waits all the time for a process that was stopped.
    fn is_held_up_by_stopped(&self, thread: &ThreadTime) -> bool {
        let stopped = |by: Pid| by != thread.pid && for_good(self, by);
        let all_along =
            |w: &&&Wait| w.tid == thread.tid && w.class == TimeClass::BlockedProcess && w.time * 2 > thread.wall;
        self.waits(thread.pid).iter().filter(all_along).any(|w| w.by.is_some_and(|(by, _)| stopped(by)))
    }

    /// Every thread of a process.
    pub fn threads(&self, pid: Pid) -> &[&'a ThreadTime] {
        self.threads.get(&pid).map_or(&[], Vec::as_slice)
    }

    /// The waits of a process, all threads.
    pub fn waits(&self, pid: Pid) -> &[&'a Wait] {
        self.waits.get(&pid).map_or(&[], Vec::as_slice)
    }

    /// The waits of a process' goroutines for locks, which no thread of it shows.
    pub fn goroutine_waits(&self, pid: Pid) -> impl Iterator<Item = &'a Wait> {
        let rows = self.rec.get(&catalog::GOROUTINE_WAITS).into_iter().flatten();
        rows.filter(move |wait| wait.pid == pid)
    }

    /// Time of a process by class, over its working threads. Pauses that do not matter are idle time.
    pub fn times(&self, pid: Pid) -> ClassTimes {
        let pauses_matter = self.pausing(pid);
        let mut times = ClassTimes::default();
        for thread in self.workers(pid) {
            let mut classes = thread.classes;
            if !pauses_matter(thread) {
                classes.move_to_idle(TimeClass::BlockedSleep, classes[TimeClass::BlockedSleep]);
            }
            times.add_all(&classes);
        }
        // Goroutines are Go's threads: what they wait is time of the process as well.
        times.add(TimeClass::BlockedLock, self.goroutine_waits(pid).map(|wait| wait.time).sum());
        times
    }

    /// Whether anybody can be held up by the pauses of a process' threads. Where some threads of it answer other processes,
    /// or take up work as it comes, the pauses of the others are housekeeping; so are the ticks of an event loop.
    pub fn pausing(&self, pid: Pid) -> impl Fn(&ThreadTime) -> bool {
        let threads = self.threads(pid);
        let running: Duration = threads.iter().map(|t| t.classes.sum(TimeClass::is_running)).sum();
        let takes_work = |t: &&&ThreadTime| {
            /// ours: who is woken for work less often than this in a window does not serve.
            const OFTEN: u64 = 20;
            t.switches >= OFTEN
                && Ratio::of(t.classes[TimeClass::BlockedIdle], t.wall) >= Ratio(0.2)
                && Ratio::of(t.classes.sum(TimeClass::is_running), running) >= Ratio(0.2)
        };
        let answers = |t: &&&ThreadTime| self.answers(t.pid, t.tid).is_some();
        let mut serve: BTreeSet<Tid> = threads.iter().filter(answers).map(|t| t.tid).collect();
        if serve.is_empty() {
            serve = threads.iter().filter(takes_work).map(|t| t.tid).collect();
        }
        move |thread| (serve.is_empty() || serve.contains(&thread.tid)) && !self.ticking().contains(&thread.tid)
    }

    fn ticking(&self) -> &BTreeSet<Tid> {
        self.ticking.get_or_init(|| {
            /// ours: a thread that pauses outside of its polls more than now and then does so for a reason.
            const MOSTLY: Ratio = Ratio(0.9);
            let Some(timeline) = &self.timeline else { return BTreeSet::new() };
            let all = timeline.earlier.iter().chain(timeline.requests);
            let serving: BTreeSet<(Pid, Tid)> = all.filter(|r| r.served).map(|r| (r.pid, r.tid)).collect();
            let polls = |(pid, tid): (Pid, Tid)| {
                let pauses = self.waits(pid).iter().filter(|w| w.tid == tid && w.class == TimeClass::BlockedSleep);
                let (mut all, mut polled) = (Duration::ZERO, Duration::ZERO);
                for pause in pauses {
                    all += pause.time;
                    polled += if POLLS.contains(&pause.syscall.as_str()) { pause.time } else { Duration::ZERO };
                }
                !all.is_zero() && Ratio::of(polled, all) >= MOSTLY
            };
            let ticks = |(_, tid): &(Pid, Tid)| go_on_after_ticks(timeline, *tid) == Some(false);
            serving.into_iter().filter(|thread| polls(*thread)).filter(ticks).map(|(_, tid)| tid).collect()
        })
    }

    /// Time in which a process did or wanted something itself, rather than wait for another: its busiest thread's, or that
    /// of its short-lived threads together, which take turns.
    pub fn at_work(&self, pid: Pid) -> Duration {
        let own = |class: TimeClass| !class.is_idle() && class != TimeClass::BlockedProcess;
        let threads = || self.threads(pid).iter().map(|t| (t.wall, t.classes.sum(own)));
        let busiest = threads().map(|(_, time)| time).max().unwrap_or_default();
        let in_turns: Duration = threads().filter(|(wall, _)| *wall < self.window() / 2).map(|(_, time)| time).sum();
        busiest.max(in_turns.min(self.window()))
    }

    /// For how long other processes waited until this thread answered, if its process did so again and again.
    pub fn answers(&self, pid: Pid, tid: Tid) -> Option<Duration> {
        self.answers.get(&(pid, tid)).copied()
    }

    /// Whether a thread serves others' requests, as far as is known.
    pub fn serves(&self, pid: Pid, tid: Tid) -> bool {
        let served = |timeline: &Timeline| timeline.requests.iter().any(|r| r.served && r.tid == tid);
        self.answers(pid, tid).is_some() || self.timeline().is_some_and(served)
    }

    /// Whether one of two processes answers the other again and again: they are ends of one dialogue.
    pub fn partners(&self, a: Pid, b: Pid) -> bool {
        let waits_for = |one: Pid, other: Pid| {
            let dialogue = |w: &&&Wait| !w.class.is_runnable() && w.by.is_some_and(|(by, _)| by == other);
            let waits = self.waits(one).iter().filter(dialogue);
            waits.map(|w| w.count).sum::<u64>() >= DIALOGUE
        };
        waits_for(a, b) || waits_for(b, a)
    }

    /// Processes whose parent this is.
    pub fn children(&self, pid: Pid) -> impl Iterator<Item = Pid> + '_ {
        self.rec.processes.values().filter(move |p| p.parent == pid).map(|p| p.pid)
    }

    /// Whether two processes are copies of one program under one parent: one service.
    pub fn siblings(&self, a: Pid, b: Pid) -> bool {
        match (self.rec.processes.get(&a), self.rec.processes.get(&b)) {
            (Some(a), Some(b)) => a.parent.0 != 0 && a.parent == b.parent && a.name == b.name && a.exe == b.exe,
            _ => false,
        }
    }

    /// Whether two processes are the parts of one job: a program that forked itself.
    pub fn is_one_job(&self, a: Pid, b: Pid) -> bool {
        let origin = |pid: Pid| {
            let of = self.rec.processes.get(&pid)?;
            let parent = self.rec.processes.get(&of.parent);
            Some(parent.filter(|parent| !of.exe.is_empty() && parent.exe == of.exe).map_or(pid, |parent| parent.pid))
        };
        let (Some(of_a), Some(of_b)) = (origin(a), origin(b)) else { return false };
        of_a == of_b || of_a == b || of_b == a
    }

    /// A name with the process id, for people.
    pub fn label(&self, pid: Pid) -> String {
        format!("{} (pid {pid})", self.rec.process_name(pid))
    }

    /// CPU samples of some processes.
    ///
    /// # Errors
    /// The reason why there is no profile.
    pub fn samples(&self, of: impl Fn(Pid) -> bool) -> Observed<Vec<&'a Stack>> {
        Ok(self.rec.get(&catalog::CPU_STACKS)?.iter().filter(|s| of(s.pid)).collect())
    }

    /// The busy part of the whole machine's CPU time.
    ///
    /// # Errors
    /// The reason why CPU counters are missing.
    pub fn cpu_busy(&self) -> Observed<Ratio> {
        let rows = self.rec.get(&catalog::CPU_TIME)?;
        let (mut busy, mut all) = (0.0, 0.0);
        for row in rows {
            let spent = row.increase().ok_or_else(|| Absent::Failed("CPU counters were read only once".into()))?;
            all += spent;
            if !matches!(row.labels.get("mode"), "idle" | "iowait") {
                busy += spent;
            }
        }
        Ok(Ratio::of_counts(busy, all))
    }

    /// A static fact of the machine, as read.
    pub fn fact(&self, name: &str) -> Option<&'a str> {
        let facts = self.rec.get(&catalog::HOST_FACT).ok()?;
        facts.iter().find(|fact| fact.labels.get("name") == name).map(|fact| fact.value.as_str())
    }

    /// The latency distribution of a process' waits for a CPU; `None` when it never waited.
    pub fn run_queue(&self, pid: Pid) -> Option<&'a Histogram> {
        self.rec.get(&catalog::RUN_QUEUE_WAIT).ok()?.iter().find(|h| h.labels.pid() == Some(pid))
    }
}

/// Time in which a thread ran, or was held up by something of its own: not idling, pausing, or waiting for others.
fn work(times: &ClassTimes) -> Duration {
    times.sum(|class| {
        !class.is_idle()
            && !matches!(
                class,
                TimeClass::BlockedSleep
                    | TimeClass::BlockedStopped
                    | TimeClass::BlockedProcess
                    | TimeClass::BlockedThread
                    | TimeClass::BlockedNetwork
                    | TimeClass::BlockedUnknown
            )
    })
}

/// The rows of a per-process total that belong to some processes.
pub fn totals_of(rows: &[Series], of: impl Fn(Pid) -> bool) -> impl Iterator<Item = &Series> {
    rows.iter().filter(move |row| row.labels.pid().is_some_and(&of))
}
