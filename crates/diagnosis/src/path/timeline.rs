//! What every thread did in the event window, moment by moment.

use observe::{Episode, EpisodeKind, Observed, Pid, Recording, Request, Tid, Wait, catalog};
use std::collections::HashMap;

/// Nanoseconds since the window began.
pub type Ns = u64;

/// One time off a CPU.
#[derive(Clone, Copy, Debug)]
pub struct Off {
    /// Left its CPU.
    pub off: Ns,
    /// Could run again; as `off` where it always could.
    pub woken: Ns,
    /// Ran again.
    pub on: Ns,
    /// It waited for something.
    pub blocked: bool,
    /// Who ended the wait.
    pub by: Option<Tid>,
    /// Row of the waits.
    pub wait: Option<u32>,
    /// Of the time from `woken` to `on`, from its begin: its control group was held back.
    pub throttled: Ns,
    /// A CPU was idle that it may not use.
    pub pinned: Ns,
    /// On which it ran again.
    pub cpu: u32,
}

/// One thread.
#[derive(Debug, Default)]
pub struct Thread {
    /// Its process.
    pub pid: Pid,
    /// From the event window's begin, or its birth.
    pub from: Ns,
    /// To the event window's end, or its own.
    pub to: Ns,
    /// It ended.
    pub ended: bool,
    /// Who made it, if it was born in the event window.
    pub parent: Option<Tid>,
    /// In order; they do not overlap.
    pub offs: Vec<Off>,
}

/// Who ran on a CPU.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Since when.
    pub from: Ns,
    /// Until when.
    pub to: Ns,
    /// The thread.
    pub tid: Tid,
    /// Its process.
    pub pid: Pid,
}

/// All threads.
pub struct Timeline<'a> {
    /// Begin of the event window.
    pub begin: Ns,
    /// Its end.
    pub end: Ns,
    /// Episodes that were lost: what is said may be wrong.
    pub lost: u64,
    /// What was waited for.
    pub waits: &'a [Wait],
    /// Requests that began in it, in the order in which they did; none where they could not be told.
    pub requests: &'a [Request],
    /// Those that had begun before, and were answered in it.
    pub earlier: &'a [Request],
    threads: HashMap<Tid, Thread>,
    runs: HashMap<u32, Vec<Run>>,
    /// Rows of the requests that came in, by connection.
    served: HashMap<u64, Vec<usize>>,
    /// Rows of those that went out, by connection and begin of the one for whose sake.
    asked: HashMap<(u64, Ns), Vec<usize>>,
}

/// What a thread did for a while.
#[derive(Clone, Copy, Debug)]
pub enum Doing {
    /// It ran.
    Running,
    /// It waited for a CPU.
    Runnable(Off),
    /// It waited for something.
    Blocked(Off),
}

/// A moment of a recording.
pub fn ns(time: std::time::Duration) -> Ns {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl<'a> Timeline<'a> {
    /// Puts the episodes of a recording in order.
    ///
    /// # Errors
    /// The reason why there was no event window.
    pub fn of(rec: &'a Recording) -> Observed<Self> {
        let (episodes, waits) = (rec.get(&catalog::EPISODES)?, rec.get(&catalog::EPISODE_WAITS)?);
        let window = rec.get(&catalog::EVENT_WINDOW)?;
        let value = |what: &str| window.iter().find(|row| row.labels.get("what") == what).map_or(0.0, |row| row.last());
        let (begin, end) = ((value("begin") * 1e9) as Ns, (value("end") * 1e9) as Ns);
        let mut by_thread: HashMap<Tid, Vec<&Episode>> = HashMap::new();
        for episode in episodes.iter().filter(|episode| !rec.is_friday(episode.pid)) {
            by_thread.entry(episode.tid).or_default().push(episode);
        }
        let (mut threads, mut runs) = (HashMap::new(), HashMap::new());
        for (tid, mut list) in by_thread {
            list.sort_by_key(|episode| (episode.off, episode.on));
            let thread = thread(&list, begin, end);
            runs_of(tid, &thread, &list, &mut runs);
            threads.insert(tid, thread);
        }
        runs.values_mut().for_each(|runs: &mut Vec<Run>| runs.sort_by_key(|run| run.from));
        let requests = rec.get(&catalog::EPISODE_REQUESTS).unwrap_or_default();
        let (earlier, requests) = requests.split_at(requests.partition_point(|request| ns(request.begin) < begin));
        let (mut served, mut asked): (HashMap<_, Vec<_>>, HashMap<_, Vec<_>>) = Default::default();
        for (row, request) in requests.iter().enumerate() {
            if request.served {
                served.entry(request.connection).or_default().push(row);
            } else if let Some((connection, begin)) = request.within {
                asked.entry((connection, ns(begin))).or_default().push(row);
            }
        }
        Ok(Timeline { begin, end, lost: value("lost") as u64, waits, requests, earlier, threads, runs, served, asked })
    }

    /// What was asked of others for the sake of a request that came in, by row.
    pub fn asked_for(&self, request: &Request) -> impl Iterator<Item = (usize, &'a Request)> + '_ {
        let rows = self.asked.get(&(request.connection, ns(request.begin)));
        rows.into_iter().flatten().map(|row| (*row, &self.requests[*row]))
    }

    /// The same request as the other end sees it, where that is on this machine.
    pub fn other_end(&self, asked: &Request) -> Option<&'a Request> {
        let rows = self.served.get(&asked.connection)?;
        let after = rows.partition_point(|row| self.requests[*row].begin < asked.answered);
        let last = &self.requests[rows[..after].last().copied()?];
        // It arrives before the call that sends it returns.
        (last.answered > asked.begin).then_some(last)
    }

    /// A thread, if anything was seen of it.
    pub fn thread(&self, tid: Tid) -> Option<&Thread> {
        self.threads.get(&tid)
    }

    /// Every thread.
    pub fn threads(&self) -> impl Iterator<Item = (Tid, &Thread)> {
        self.threads.iter().map(|(tid, thread)| (*tid, thread))
    }

    /// The wait behind an episode.
    pub fn wait(&self, off: &Off) -> Option<&'a Wait> {
        self.waits.get(off.wait? as usize)
    }

    /// Who else ran on a CPU between two moments.
    pub fn ran(&self, cpu: u32, from: Ns, to: Ns) -> impl Iterator<Item = Run> + '_ {
        let runs = self.runs.get(&cpu).map_or(&[][..], Vec::as_slice);
        let first = runs.partition_point(|run| run.to <= from);
        runs[first..].iter().take_while(move |run| run.from < to).map(move |run| Run {
            from: run.from.max(from),
            to: run.to.min(to),
            ..*run
        })
    }

    /// What a thread did between two moments, piece by piece, in order.
    pub fn pieces(&self, tid: Tid, from: Ns, to: Ns) -> Vec<(Ns, Ns, Doing)> {
        let Some(thread) = self.threads.get(&tid) else { return Vec::new() };
        let (from, to) = (from.max(thread.from), to.min(thread.to));
        let mut pieces = Vec::new();
        let mut push = |a: Ns, b: Ns, doing: Doing| {
            let (a, b) = (a.max(from), b.min(to));
            if a < b {
                pieces.push((a, b, doing));
            }
        };
        let first = thread.offs.partition_point(|off| off.on <= from);
        let mut at = from;
        for off in thread.offs[first..].iter().take_while(|off| off.off < to) {
            push(at, off.off, Doing::Running);
            if off.blocked {
                push(off.off, off.woken, Doing::Blocked(*off));
            }
            push(off.woken, off.on, Doing::Runnable(*off));
            at = off.on;
        }
        push(at, to, Doing::Running);
        pieces
    }
}

/// Puts one thread's episodes together. Clocks of two CPUs may seem to differ by a little: nothing overlaps afterwards.
fn thread(list: &[&Episode], begin: Ns, end: Ns) -> Thread {
    let mut thread = Thread { pid: list[0].pid, from: begin, to: end, ..Thread::default() };
    let mut at = begin;
    for episode in list {
        let off = ns(episode.off).clamp(at, end);
        match episode.kind {
            EpisodeKind::Running => {}
            EpisodeKind::Ended => (thread.to, thread.ended) = (off, true),
            kind => {
                let on = episode.on.map_or(end, ns).clamp(off, end);
                let blocked = kind == EpisodeKind::Blocked;
                let woken = if blocked { episode.woken.map_or(on, ns).clamp(off, on) } else { off };
                if kind == EpisodeKind::Born {
                    (thread.from, thread.parent) = (off, episode.by.map(|(_, tid)| tid));
                }
                let wait_for_cpu = on - woken;
                let throttled = ns(episode.throttled).min(wait_for_cpu);
                thread.offs.push(Off {
                    off,
                    woken,
                    on,
                    blocked,
                    by: episode.by.map(|(_, tid)| tid).filter(|_| blocked),
                    wait: episode.wait,
                    throttled,
                    pinned: ns(episode.pinned).min(wait_for_cpu - throttled),
                    cpu: episode.cpu,
                });
                at = on;
            }
        }
    }
    thread
}

/// Adds when and where it ran. On which CPU it ran before its first time off is not known.
fn runs_of(tid: Tid, thread: &Thread, list: &[&Episode], runs: &mut HashMap<u32, Vec<Run>>) {
    let mut add = |cpu: u32, from: Ns, to: Ns| {
        if from < to {
            runs.entry(cpu).or_default().push(Run { from, to, tid, pid: thread.pid });
        }
    };
    for (at, off) in thread.offs.iter().enumerate() {
        add(off.cpu, off.on, thread.offs.get(at + 1).map_or(thread.to, |next| next.off));
    }
    if thread.offs.is_empty() {
        for episode in list.iter().filter(|episode| episode.kind == EpisodeKind::Running) {
            add(episode.cpu, thread.from, thread.to);
        }
    }
}
