//! # One long callback holds up an event loop
//!
//! **Speaks for it:** a thread that serves several connections from a poll works for long on one thing now and then, and
//! requests on the others arrive meanwhile and wait until it comes back to them.
//! **Speaks against it:** a loop whose every request takes as long (that is its code, `cpu.hot-code`), or that has more to do
//! than one CPU can. Blocking on somebody else outside of its poll is never a loop's work, however often.
//! **Experiment:** none from outside.

use super::app_pool::{party, queued};
use crate::{
    Cause, Confidence, Draft, Effect, Party, Scene, Victim,
    cause::{FELT, MATTERS, NOTICED, WORTH_SAYING},
    code::{hot_user_of, own_function},
    path::{POLLS, Removes, Timeline, ns},
};
use checks::Evidence;
use observe::{Pid, Ratio, Request, Tid, TimeClass};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Stands in the registry.
pub const CAUSE: Cause = Cause {
    id: "app.event-loop",
    frozen: Effect::None,
    root_of: &[
        "cpu.hot-code",
        "cpu.kernel-time",
        "app.sleeps",
        "cpu.single-thread",
        "app.waits-for-child",
        "net.peer-slow",
    ],
    judge,
};

/// ours: a callback of less holds up nobody noticeably.
const LONG: Duration = Duration::from_millis(10);

/// ours: one that takes so many times what the thread usually takes between two requests is not its usual work.
const UNUSUAL: u32 = 5;

/// ours: where more than this part of its requests takes as long, that is what its requests take.
const SELDOM: Ratio = Ratio(0.34);

/// ours: of fewer requests in the event window it cannot be told what is usual.
const FEWEST: usize = 20;

/// ours: of fewer it cannot be told whether it blocks at each.
const FEW: usize = 8;

/// A thread that serves from a loop, and what it did to those who waited.
struct Loop {
    pid: Pid,
    tid: Tid,
    /// All time of its requests.
    requests: Duration,
    /// The part of it in which they had not been read, while the thread was at something long.
    held_up: Duration,
    long: Vec<Duration>,
    /// What the event window saw of a long callback that had begun before it, or was not over when it ended.
    cut_off: Duration,
    /// They are spent blocked on somebody else, outside of the poll.
    blocks: bool,
    served: usize,
}

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let Some(timeline) = scene.timeline() else { return Vec::new() };
    let loops = loops(timeline, victim);
    let Some(worst) = loops.into_iter().max_by_key(|l| l.held_up.max(l.cut_off)) else { return Vec::new() };
    let mut share = Ratio::of(worst.held_up, worst.requests);
    let window = Duration::from_nanos(timeline.end - timeline.begin);
    // Whoever waited during a callback that is longer than the event window saw was answered outside of it.
    if Ratio::of(worst.cut_off, window) >= MATTERS
        && let Some((queued, all)) = queued(scene, |pid| victim.contains(pid))
    {
        share = Ratio(share.0.max(Ratio::of(queued, all).0));
    }
    let busy = Ratio::of(worst.long.iter().sum(), window);
    let confidence = match (share, busy) {
        (share, busy) if share >= MATTERS && busy >= FELT => Confidence::Likely,
        (share, busy) if share >= WORTH_SAYING && busy >= NOTICED => Confidence::Possible,
        _ => return Vec::new(),
    };
    let longest = worst.long.iter().max().copied().unwrap_or_default().as_secs_f64() * 1e3;
    let function = function(scene, worst.pid, worst.tid);
    let did = if worst.blocks { "was blocked outside of its poll" } else { "worked" };
    let name = function.as_ref().map_or_else(|| "a callback".to_owned(), |(name, _)| name.clone());
    // What it works at is a function's fault; that it blocks is its own, whatever functions its runtime has.
    let culprit = match worst.blocks {
        true => party(scene, victim, format!("thread {}, blocked in {name}", worst.tid)),
        false => {
            let detail = Some(format!("in thread {}", worst.tid));
            Party { kind: "function".into(), pid: None, name: name.clone(), detail }
        }
    };
    vec![Draft {
        confidence,
        // Of requests, as a part of what they take; the threads' own time knows nothing of it.
        time: victim.active().mul_f64(share.0),
        summary: format!(
            "{} holds up its requests for {share} of their time: thread {} serves them one after another, and {} times \
             it {did} for {:.0} ms or more (the longest {longest:.0} ms) while others waited to be read, mostly in {name}.",
            victim.label(),
            worst.tid,
            worst.long.len(),
            LONG.as_secs_f64() * 1e3,
        ),
        culprit,
        evidence: vec![
            Evidence::new("requests not read while the thread was at something long", worst.held_up.as_secs_f64(), "s")
                .against(format!("of {:.2} s in {} requests", worst.requests.as_secs_f64(), worst.served))
                .at("recording/requests.parquet"),
            Evidence::new("long callbacks", worst.long.len() as f64, "in the event window")
                .against(format!("> {:.0} ms and {UNUSUAL} times the usual", LONG.as_secs_f64() * 1e3)),
            Evidence::new("the longest", longest, "ms"),
        ],
        codepath: function.map(|(_, path)| path).unwrap_or_default(),
        next: vec![
            "look at the callback: what does it compute, or block on, that the loop need not wait for?".to_owned(),
            "move it to a worker thread or process, or cut it into pieces that give way to others".to_owned(),
        ],
        removes: Removes::Unsaid,
        descriptive: false,
    }]
}

/// Threads that serve several connections, and took long over something while requests waited.
fn loops(timeline: &Timeline, victim: &Victim) -> Vec<Loop> {
    let mut by_thread: BTreeMap<Tid, Vec<&Request>> = BTreeMap::new();
    for request in timeline.requests.iter().filter(|r| r.served && victim.contains(r.pid)) {
        by_thread.entry(request.tid).or_default().push(request);
    }
    let serves_many = |list: &Vec<&Request>| {
        list.len() >= FEW && list.iter().map(|r| r.connection).collect::<BTreeSet<_>>().len() > 1
    };
    by_thread.into_iter().filter(|(_, list)| serves_many(list)).map(|(tid, list)| look(timeline, tid, &list)).collect()
}

fn look(timeline: &Timeline, tid: Tid, requests: &[&Request]) -> Loop {
    let mut gaps = gaps(timeline, tid, requests);
    gaps.sort_by_key(|(from, to)| to - from);
    let usual = gaps.get(gaps.len() / 2).map_or(0, |(from, to)| to - from);
    let least = (ns(LONG)).max(usual.saturating_mul(u64::from(UNUSUAL)));
    let mut long: Vec<(u64, u64)> = gaps.iter().copied().filter(|(from, to)| to - from >= least).collect();
    if requests.len() < FEWEST || Ratio::of_counts(long.len() as f64, requests.len() as f64) > SELDOM {
        long.clear();
    }
    let blocks = long.is_empty() && takes_turns(requests);
    if blocks {
        long =
            gaps.iter().copied().filter(|gap| gap.1 - gap.0 >= ns(LONG) && is_blocked(timeline, tid, *gap)).collect();
    }
    let held_up = |request: &Request| {
        let (begin, read) = (ns(request.begin), ns(request.read));
        long.iter().map(|(from, to)| read.min(*to).saturating_sub(begin.max(*from))).sum::<u64>()
    };
    let open = |(from, to): &(u64, u64)| *from == timeline.begin || *to == timeline.end;
    let cut_off = long.iter().filter(|gap| open(gap)).map(|(from, to)| to - from).max().unwrap_or_default();
    Loop {
        pid: requests[0].pid,
        tid,
        cut_off: Duration::from_nanos(cut_off),
        blocks,
        requests: requests.iter().map(|r| r.answered.saturating_sub(r.begin)).sum(),
        held_up: Duration::from_nanos(requests.iter().map(|r| held_up(r)).sum()),
        long: long.iter().map(|(from, to)| Duration::from_nanos(to - from)).collect(),
        served: requests.len(),
    }
}

/// Whether a thread has several connections at a time, rather than one after the other: each brings requests again.
fn takes_turns(requests: &[&Request]) -> bool {
    let mut seen: BTreeMap<u64, usize> = BTreeMap::new();
    requests.iter().for_each(|r| *seen.entry(r.connection).or_default() += 1);
    seen.values().filter(|count| **count > 1).count() > 1
}

/// Whether a thread is blocked on somebody else for most of a stretch, without polling. Disks and locks have causes of their own.
pub(super) fn is_blocked(timeline: &Timeline, tid: Tid, (from, to): (u64, u64)) -> bool {
    /// ours: what is left is the call's own work.
    const MOST: Ratio = Ratio(0.8);
    let on_others = |wait: &observe::Wait| {
        let other =
            matches!(wait.class, TimeClass::BlockedProcess | TimeClass::BlockedNetwork | TimeClass::BlockedSleep);
        other && !POLLS.contains(&wait.syscall.as_str())
    };
    let offs = timeline.thread(tid).map_or(&[][..], |thread| &thread.offs).iter();
    let blocked = offs.filter(|off| off.blocked && timeline.wait(off).is_some_and(on_others));
    let blocked: u64 = blocked.map(|off| off.on.min(to).saturating_sub(off.off.max(from))).sum();
    Ratio::of_counts(blocked as f64, (to - from) as f64) >= MOST
}

/// The stretches of a thread's time between two moments at which it read or answered a request, or waited for more. Waiting
/// for a CPU is nobody's callback.
fn gaps(timeline: &Timeline, tid: Tid, requests: &[&Request]) -> Vec<(u64, u64)> {
    let mut moments: Vec<u64> = requests.iter().flat_map(|r| [ns(r.read), ns(r.answered)]).collect();
    moments.extend([timeline.begin, timeline.end]);
    let mut polls: Vec<(u64, u64)> = Vec::new();
    for off in timeline.thread(tid).map_or(&[][..], |thread| &thread.offs) {
        let polled = |wait: &observe::Wait| wait.class.is_idle() || POLLS.contains(&wait.syscall.as_str());
        if off.blocked && timeline.wait(off).is_some_and(polled) {
            polls.push((off.off, off.on));
            moments.extend([off.off, off.on]);
        } else if off.on - off.woken >= QUEUED {
            polls.push((off.woken, off.on));
            moments.extend([off.woken, off.on]);
        }
    }
    moments.sort_unstable();
    moments.dedup();
    moments.retain(|moment| (timeline.begin..=timeline.end).contains(moment));
    let polling: BTreeSet<u64> = polls.iter().map(|(from, _)| *from).collect();
    moments.windows(2).filter(|pair| !polling.contains(&pair[0])).map(|pair| (pair[0], pair[1])).collect()
}

/// ours: being taken off the CPU for a shorter while does not split what it does.
const QUEUED: u64 = 1_000_000;

/// Where the thread's CPU time is, and the way there; else where it blocks longest outside of polls.
fn function(scene: &Scene, pid: Pid, tid: Tid) -> Option<(String, Vec<String>)> {
    let hot = hot_user_of(scene, |stack| stack.tid == tid).ok().flatten();
    let thread = scene.threads(pid).iter().find(|t| t.tid == tid)?;
    let ran = thread.classes.sum(TimeClass::is_running);
    let blocked = scene
        .waits(pid)
        .iter()
        .filter(|w| w.tid == tid && !POLLS.contains(&w.syscall.as_str()) && !w.class.is_runnable())
        .max_by_key(|w| w.time);
    match blocked {
        Some(wait) if wait.time > ran => {
            let id = own_function(scene.rec, &wait.stack)?;
            Some((scene.rec.frame(id).name.clone(), crate::code::path(scene.rec, &wait.stack)))
        }
        _ => hot.map(|hot| (hot.function, hot.path)),
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        path::tests::Window,
        testing::{System, all, one},
    };
    use observe::{TimeClass, catalog};

    /// Every 20 ms a request on each of two connections; the second one's waits until the first one's callback is over.
    fn served(takes: impl Fn(u64) -> u64) -> observe::Recording {
        let mut window = Window::new(&[(10, TimeClass::BlockedIdle)]);
        for n in 0..50 {
            let (at, takes) = (n * 20, takes(n));
            window = window.request(10, 1, at, 0, at + takes, None).request(10, 2, at, takes, at + takes + 1, None);
            window = window.blocked(10, TimeClass::BlockedIdle, at + takes + 1, at + 20, None);
        }
        window.build()
    }

    #[test]
    fn a_long_callback_now_and_then_holds_up_the_others() {
        let rec = served(|n| if n % 5 == 0 { 15 } else { 1 });
        let finding = one(&rec, "app.event-loop");
        assert!(finding.summary.contains("10 times it worked for 10 ms"), "{}", finding.summary);
    }

    #[test]
    fn a_loop_that_blocks_on_somebody_else_holds_up_the_others_every_time() {
        let mut window = Window::new(&[(10, TimeClass::BlockedIdle)]);
        for n in 0..50 {
            let at = n * 20;
            window = window.request(10, 1 + n % 2, at, 0, at + 19, None).request(10, 3 + n % 2, at, 19, at + 20, None);
            window = window.blocked(10, TimeClass::BlockedNetwork, at, at + 19, None);
        }
        let finding = one(&window.build(), "app.event-loop");
        assert!(finding.summary.contains("was blocked outside of its poll"), "{}", finding.summary);
    }

    /// Every 20 ms two quick requests, so many times; then nothing is seen until the event window ends after a second. Of all
    /// requests' time, eight tenths passed before they were read.
    fn cut_off_after(times: u64) -> observe::Recording {
        let mut window = Window::new(&[(10, TimeClass::RunningUser)]);
        for n in 0..times {
            let at = n * 20;
            window = window.request(10, 1, at, 0, at + 1, None).request(10, 2, at, 1, at + 2, None);
            window = window.blocked(10, TimeClass::BlockedIdle, at + 2, at + 20, None);
        }
        let of = |part| [("pid", "10"), ("service", "80"), ("part", part)];
        let system = System::with(window.build()).total(&catalog::REQUEST_TIME, &of("queued"), 8.0);
        system.total(&catalog::REQUEST_TIME, &of("running"), 2.0).build()
    }

    #[test]
    fn a_callback_that_outlasts_the_event_window_counts() {
        let finding = one(&cut_off_after(30), "app.event-loop");
        assert!(finding.summary.contains("for 80 % of their time"), "{}", finding.summary);
    }

    #[test]
    fn what_the_ends_of_the_event_window_cut_off_does_not_speak_for_the_rest() {
        assert!(all(&cut_off_after(49), "app.event-loop").is_empty(), "20 ms at the end");
    }

    #[test]
    fn requests_that_all_take_as_long_are_its_work() {
        assert!(all(&served(|_| 15), "app.event-loop").is_empty());
        assert!(all(&served(|_| 1), "app.event-loop").is_empty());
    }
}
