//! Who suffers: the target the user named, or the processes that lose most.

use crate::{
    Party, Scene, causes, chain,
    graph::{Edge, Merged, Part, redistribute},
    network::{Attempts, is_held_up, name_server},
    path::Doing,
    scene::DIALOGUE,
};
use observe::{ClassTimes, Pid, Ratio, Series, TargetKind, TimeClass, Wait, catalog};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Somebody whose time is examined: one process, or all of a named group.
pub struct Victim {
    /// The processes.
    pub pids: Vec<Pid>,
    /// The one process, or the one that started the others.
    first: Option<Pid>,
    /// What people call it.
    pub name: String,
    /// `process`, `cgroup`, `unit` or `command`.
    pub kind: &'static str,
    /// The user named it, or somebody waits for it: it gets told what it spends its time on, even if that is its own
    /// work.
    pub named: bool,
    /// Its time by class, over the threads that do its work. Waits for members of the same group are idle time here.
    pub times: ClassTimes,
    /// The container, pod or unit of a single process, where it has one.
    container: Option<String>,
    /// Processes that it waits for and that idle themselves: all of them wait for work that nobody sends.
    in_vain: BTreeSet<Pid>,
}

impl Victim {
    fn new(scene: &Scene, pids: Vec<Pid>, name: String, kind: &'static str, named: bool) -> Self {
        let mut times = ClassTimes::default();
        for pid in &pids {
            times.add_all(&scene.times(*pid));
        }
        let container = match pids[..] {
            [one] => scene.rec.processes.get(&one).map(|p| p.container.clone()).filter(|name| !name.is_empty()),
            _ => None,
        };
        let first = match pids[..] {
            [one] => Some(one),
            _ => scene.rec.target.pid.filter(|_| named && kind == "process"),
        };
        let mut victim = Victim { pids, first, name, kind, named, times, container, in_vain: BTreeSet::new() };
        if victim.pids.len() > 1 {
            let inside = victim.internal_waits(scene);
            victim.times.move_to_idle(TimeClass::BlockedProcess, inside);
        }
        let in_vain = chain::in_vain(scene, &victim);
        victim.times.move_to_idle(TimeClass::BlockedProcess, in_vain.values().sum());
        victim.in_vain = in_vain.into_keys().collect();
        victim
    }

    /// A process that a victim waits for, or that uses much: what it does is of interest as if it had been named.
    pub fn behind_another(scene: &Scene, pid: Pid) -> Self {
        Victim::new(scene, vec![pid], scene.rec.process_name(pid), "process", true)
    }

    /// Time in which one member of a group waited for another.
    fn internal_waits(&self, scene: &Scene) -> Duration {
        self.waits(scene)
            .filter(|w| w.class == TimeClass::BlockedProcess && !causes::is_lock(scene, w))
            .filter(|w| match w.by {
                Some((by, _)) => self.contains(by),
                None => scene.children(w.pid).any(|child| self.contains(child)),
            })
            .map(|w| w.time)
            .sum()
    }

    /// Whether the process is part of it.
    pub fn contains(&self, pid: Pid) -> bool {
        self.pids.binary_search(&pid).is_ok()
    }

    /// Time in which it did or wanted something, summed over threads.
    pub fn active(&self) -> Duration {
        self.times.active()
    }

    /// A part of that time.
    pub fn share(&self, time: Duration) -> Ratio {
        Ratio(Ratio::of(time, self.active()).0.min(1.0))
    }

    /// The waits of its working threads.
    pub fn waits<'s>(&'s self, scene: &'s Scene) -> impl Iterator<Item = &'s Wait> + 's {
        self.pids.iter().flat_map(move |pid| {
            let workers: Vec<_> = scene.workers(*pid).iter().map(|t| t.tid).collect();
            scene.waits(*pid).iter().copied().filter(move |w| workers.contains(&w.tid))
        })
    }

    /// Its active time by where it rests.
    pub fn redistributed(&self, scene: &Scene) -> Merged {
        let inside = |pid| self.pids.len() > 1 && self.contains(pid);
        let nobodys = |edge: &Edge| edge.to.pid().is_some_and(|pid| inside(pid) || self.in_vain.contains(&pid));
        self.merged(scene, self.split(scene, |edge| edge.class != TimeClass::BlockedProcess || !nobodys(edge)))
    }

    /// Its waiting for other processes by where it rests. Kernel threads are nobody to wait for.
    pub fn awaited(&self, scene: &Scene) -> Merged {
        self.merged(scene, self.awaited_one_by_one(scene))
    }

    /// The same with each process of a service for itself.
    pub fn awaited_one_by_one(&self, scene: &Scene) -> Vec<Part> {
        let others = |pid| !self.contains(pid) && !scene.is_background(pid);
        self.split(scene, |edge| edge.class == TimeClass::BlockedProcess && edge.to.pid().is_some_and(others))
    }

    fn merged(&self, scene: &Scene, parts: Vec<Part>) -> Merged {
        Merged::of(scene, parts, |pid| self.contains(pid))
    }

    fn split(&self, scene: &Scene, keep: impl Fn(&Edge) -> bool) -> Vec<Part> {
        let workers = self.pids.iter().flat_map(|pid| scene.workers(*pid));
        let workers: Vec<_> = workers.map(|t| (t.pid, t.tid)).collect();
        redistribute(scene, &workers, keep)
    }

    /// Whether somebody sends it work: it answers requests, however little it takes.
    pub fn serves(&self, scene: &Scene) -> bool {
        /// ours: a health check now and then is not work.
        const RATE: f64 = 1.0;
        let rows = scene.rec.get(&catalog::REQUESTS).into_iter().flatten();
        let mine = rows.filter(|row| row.labels.pid().is_some_and(|pid| self.contains(pid)));
        mine.map(|row| row.count as f64).sum::<f64>() >= RATE * scene.window().as_secs_f64()
    }

    /// The largest part of the window that one of its threads spent on a CPU. Threads that take turns count as one.
    pub fn busiest_thread(&self, scene: &Scene) -> Ratio {
        let running = |pid: Pid| scene.threads(pid).iter().map(|t| t.classes.sum(TimeClass::is_running));
        let busiest = self.pids.iter().filter_map(|pid| running(*pid).max()).max().unwrap_or_default();
        let in_turns = self.pids.iter().filter(|pid| take_turns(scene, **pid)).map(|pid| running(*pid).sum()).max();
        Ratio::of(busiest.max(in_turns.unwrap_or_default()).min(scene.window()), scene.window())
    }

    /// Whether the threads of one of its processes take turns at one piece of work, as those of a runtime do that hand it on.
    pub fn takes_turns(&self, scene: &Scene) -> bool {
        /// ours: who runs more of it than this does it alone.
        const ALONE: f64 = 0.9;
        let alone = |pid: Pid| {
            let ran: Vec<Duration> = scene.threads(pid).iter().map(|t| t.classes.sum(TimeClass::is_running)).collect();
            ran.iter().max().copied().unwrap_or_default() >= ran.iter().sum::<Duration>().mul_f64(ALONE)
        };
        self.pids.iter().any(|pid| !alone(*pid) && take_turns(scene, *pid))
    }

    /// It as a party of a finding.
    pub fn party(&self) -> Party {
        let pid = self.first.map(|pid| pid.0);
        Party { kind: self.kind.to_owned(), pid, name: self.name.clone(), detail: self.container.clone() }
    }

    /// Name and, for a process, its id.
    pub fn label(&self) -> String {
        match (self.first, self.pids.len()) {
            (Some(one), 0 | 1) => format!("{} (pid {one})", self.name),
            (Some(first), all) => format!("{} (pid {first} with {} of its processes)", self.name, all - 1),
            (None, _) => self.name.clone(),
        }
    }
}

/// Whether the threads of a process take turns, as far as the event window shows: hardly ever do two of them run at once,
/// though nothing keeps them from it. A runtime that moves its work between threads (Go's) makes one busy thread look like
/// several that are not.
fn take_turns(scene: &Scene, pid: Pid) -> bool {
    /// ours: threads that are independent, and together busy for half the time, overlap for an eighth of theirs.
    const OVERLAP: f64 = 0.05;
    /// ours: who waits for a CPU more than this part of what it runs is kept from running at once.
    const QUEUES: Ratio = Ratio(0.1);
    let times = scene.times(pid);
    let (ran, queued) = (times.sum(TimeClass::is_running), times.sum(TimeClass::is_runnable));
    let Some(timeline) = scene.timeline().filter(|_| scene.rec.host.cpus > 1 && Ratio::of(queued, ran) < QUEUES) else {
        return false;
    };
    let threads = timeline.threads().filter(|(_, thread)| thread.pid == pid);
    let pieces = threads.flat_map(|(tid, thread)| timeline.pieces(tid, thread.from, thread.to));
    let mut runs: Vec<(u64, u64)> =
        pieces.filter(|(_, _, doing)| matches!(doing, Doing::Running)).map(|(from, to, _)| (from, to)).collect();
    runs.sort_unstable();
    let (mut all, mut at_least_one, mut end) = (0, 0, 0);
    for (from, to) in runs {
        all += to - from;
        at_least_one += to.saturating_sub(from.max(end));
        end = end.max(to);
    }
    all > 0 && at_least_one as f64 >= all as f64 * (1.0 - OVERLAP)
}

/// The victims, and one sentence on how they were chosen (empty when the user named the target).
pub fn choose(scene: &Scene) -> (Vec<Victim>, String) {
    let target = &scene.rec.target;
    if target.kind != TargetKind::System {
        let kind = match target.kind {
            TargetKind::Process => "process",
            TargetKind::Cgroup => "cgroup",
            TargetKind::Unit => "unit",
            _ => "command",
        };
        let mut pids: Vec<Pid> = target.members.iter().copied().filter(|pid| !scene.threads(*pid).is_empty()).collect();
        pids.sort_unstable();
        pids.dedup();
        return (vec![Victim::new(scene, pids, target.name.clone(), kind, true)], String::new());
    }
    /// ours: more than a page of victims helps nobody in a crisis.
    const MOST: usize = 5;
    /// ours: less than this part of the window lost to waiting is noise.
    const LOSS: f64 = 0.02;
    let mut losses: Vec<(Duration, Pid)> = scene
        .processes()
        .map(|pid| (loss(scene, pid), pid))
        .filter(|(lost, _)| lost.as_secs_f64() >= scene.window().as_secs_f64() * LOSS)
        .collect();
    losses.sort_by_key(|(lost, pid)| (std::cmp::Reverse(*lost), *pid));
    losses.truncate(MOST);
    // Who fails outright is somebody's trouble, however little time it takes.
    let failing = causes::failing(scene).into_iter().filter(|pid| !losses.iter().any(|(_, known)| known == pid));
    let failing: Vec<Pid> = failing.take(MOST).collect();
    let named: Vec<String> =
        losses.iter().take(3).map(|(lost, pid)| format!("{} {:.1} s", scene.label(*pid), lost.as_secs_f64())).collect();
    let chosen = if named.is_empty() {
        format!(
            "no process lost {} of the window to waiting that is not idleness, among {} processes",
            Ratio(LOSS),
            scene.processes().count()
        )
    } else {
        format!("victims are the processes that lost most time to waiting that is not idleness: {}", named.join(", "))
    };
    let victims = losses
        .into_iter()
        .map(|(_, pid)| pid)
        .chain(failing)
        .map(|pid| Victim::new(scene, vec![pid], scene.rec.process_name(pid), "process", false))
        .collect();
    (victims, chosen)
}

/// The processes that use most CPU time, or ever more memory, where nobody asked about one in particular. Work that was
/// made less important than others' is left out.
pub fn busiest(scene: &Scene) -> Vec<Victim> {
    /// ours: who uses less than this part of one CPU is not what a machine is busy with.
    const BUSY: f64 = 0.25;
    /// ours: as few as can be read in a crisis.
    const MOST: usize = 3;
    let running = |pid: Pid| scene.threads(pid).iter().map(|t| t.classes.sum(TimeClass::is_running)).sum::<Duration>();
    let mut busy: Vec<(Duration, Pid)> = scene.processes().map(|pid| (running(pid), pid)).collect();
    busy.retain(|(time, pid)| *time >= scene.window().mul_f64(BUSY) && !causes::gave_way(scene, *pid));
    busy.sort_by_key(|(time, pid)| (std::cmp::Reverse(*time), *pid));
    busy.truncate(MOST);
    let mut pids: Vec<Pid> = busy.into_iter().map(|(_, pid)| pid).collect();
    pids.extend(causes::growing(scene).into_iter().take(MOST).filter(|pid| !pids.contains(pid)).collect::<Vec<_>>());
    pids.into_iter().map(|pid| Victim::behind_another(scene, pid)).collect()
}

/// Time lost to waiting that is certainly not idleness.
///
/// A process with a thread that never stops asking for CPU is a competitor for it, not its victim; one that was made less
/// important than others waits as it was meant to. Waiting for another process counts
/// where that process answered again and again; a shell that waits for its command loses nothing, and so does a job whose
/// processes wait for each other. So does a lock that
/// was handed on again and again, or at which several sessions of one service stand; one that a process alone never gets is
/// somebody's guard against starting twice. Of waits for the network,
/// those count of which it is known what held them up.
fn loss(scene: &Scene, pid: Pid) -> Duration {
    use TimeClass::*;
    /// ours: the part of its wall time that a pure competitor runs or is runnable.
    const ALWAYS: Ratio = Ratio(0.95);
    let workers = scene.workers(pid);
    let gives_way = causes::gave_way(scene, pid);
    let competitor = workers.iter().any(|thread| {
        let asks = thread.classes.sum(|class| class.is_running() || class.is_behind_others());
        Ratio::of(asks, thread.wall) >= ALWAYS
    });
    let held_up: Duration = workers
        .iter()
        .filter(|thread| Ratio::of(thread.wall, scene.window()) >= LIVED)
        .map(|thread| {
            thread.classes.sum(|class| is_held_up_in(class) || class.is_behind_others() && !competitor && !gives_way)
        })
        .sum();
    let mut dialogues: BTreeMap<(TimeClass, Pid), (u64, Duration)> = BTreeMap::new();
    let mut on_stopped = Duration::ZERO;
    let is_another = |by: Pid| !scene.is_background(by) && !scene.is_one_job(pid, by);
    for wait in scene.waits(pid) {
        let Some((by, _)) = wait.by else { continue };
        if wait.class == BlockedProcess && causes::for_good(scene, by) {
            on_stopped += wait.time;
        } else if wait.class == BlockedLock || wait.class == BlockedProcess && by != pid && is_another(by) {
            let dialogue = dialogues.entry((wait.class, by)).or_default();
            dialogue.0 += wait.count;
            dialogue.1 += wait.time;
        }
    }
    let workers: Vec<_> = workers.iter().map(|thread| thread.tid).collect();
    let on_network: Duration = scene
        .waits(pid)
        .iter()
        .filter(|wait| workers.contains(&wait.tid) && is_held_up(wait))
        .map(|wait| wait.time)
        .sum();
    let answered = dialogues.into_values().filter(|(count, _)| *count >= DIALOGUE).map(|(_, time)| time);
    let goroutines: Duration =
        scene.goroutine_waits(pid).filter(|wait| wait.count >= DIALOGUE).map(|wait| wait.time).sum();
    let on_network = on_network.max(lost_to_network(scene, pid));
    let standing = causes::standing(scene, pid) + causes::traced(scene, pid) + on_stopped;
    let lost = held_up + on_network + answered.sum::<Duration>() + goroutines + lost_in_steps(scene, pid) + standing;
    // Of requests, what their threads' own time does not tell: they were not read, or in hand while their thread slept.
    lost.max(requests_waiting(scene, pid))
}

/// ours: who lived for less of the window than this is a step of a job; the job is the victim.
const LIVED: Ratio = Ratio(0.5);

/// Whether time of a class is lost without any doubt.
fn is_held_up_in(class: TimeClass) -> bool {
    use TimeClass::*;
    let on_cpu = matches!(class, RunnablePinned | RunnableThrottled | RunningStolen | RunningInterrupted);
    on_cpu || matches!(class, BlockedDisk | BlockedFs | BlockedMemory | BlockedKernelLock | BlockedThread)
}

/// What the short-lived processes lose that a job starts one after the other, and awaits.
fn lost_in_steps(scene: &Scene, pid: Pid) -> Duration {
    let threads = scene.children(pid).flat_map(|child| scene.threads(child));
    let steps = threads.filter(|thread| Ratio::of(thread.wall, scene.window()) < LIVED);
    let lost = |class| is_held_up_in(class) || class == TimeClass::BlockedLock;
    let lost: Duration = steps.map(|thread| thread.classes.sum(lost)).sum();
    let awaited = scene.waits(pid).iter().filter(|wait| wait.class == TimeClass::BlockedProcess).map(|wait| wait.time);
    lost.min(awaited.sum())
}

/// What a process loses to the network. Who tries to connect in vain, or to learn an address, always does. Whatever else may
/// hold it up counts where it hardly does anything but wait for the network: who asks something of another in passing, from
/// far away perhaps, loses nothing that somebody waits for.
fn lost_to_network(scene: &Scene, pid: Pid) -> Duration {
    /// ours: the part of the window in which one of its threads is blocked on the network.
    const MOSTLY: f64 = 0.5;
    let names: Duration = scene.waits(pid).iter().filter(|w| name_server(w).is_some()).map(|w| w.time).sum();
    let victim = Victim::new(scene, vec![pid], scene.rec.process_name(pid), "process", false);
    let tries: Duration = Attempts::of(scene, &victim).values().map(Attempts::lost).sum();
    let in_vain = names.max(tries).min(scene.window());
    let blocked = scene.workers(pid).iter().map(|thread| thread.classes[TimeClass::BlockedNetwork]).max();
    if blocked.unwrap_or_default() < scene.window().mul_f64(MOSTLY) {
        return in_vain;
    }
    in_vain.max(causes::lost_to_network(scene, &victim))
}

/// For how long at least one request of a process was not read, or in hand while its thread waited, as far as sums tell.
fn requests_waiting(scene: &Scene, pid: Pid) -> Duration {
    let rows = scene.rec.get(&catalog::REQUEST_TIME).into_iter().flatten();
    let waiting = rows.filter(|row| row.labels.pid() == Some(pid));
    let waiting = waiting.filter(|row| matches!(row.labels.get("part"), "queued" | "blocked"));
    Duration::try_from_secs_f64(waiting.map(Series::last).sum()).unwrap_or_default().min(scene.window())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::tests::Window;

    #[test]
    fn threads_that_take_turns_are_as_busy_as_one() {
        let busiest = |second: (u64, u64)| {
            let idle = TimeClass::BlockedIdle;
            let window = Window::new(&[(10, idle), (101, idle), (102, idle)]).blocked(10, idle, 0, 1000, None);
            let window = window.running(10, 0.0).running(101, 4.0).running(102, 3.0);
            let window = window.blocked(101, idle, 0, 500, None).blocked(102, idle, second.0, second.1, None);
            let rec = window.build();
            let scene = Scene::new(&rec);
            choose(&scene).0[0].busiest_thread(&scene)
        };
        assert_eq!(busiest((500, 1000)), Ratio(0.7), "one after the other");
        assert_eq!(busiest((0, 500)), Ratio(0.4), "at once");
    }
}
