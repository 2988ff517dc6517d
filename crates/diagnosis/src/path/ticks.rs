//! What comes of it when a timer ends the poll of an event loop: it goes on with a request, or it only ticks.

use super::timeline::{Ns, Timeline, ns};
use observe::{Ratio, Tid, TimeClass, Wait};

/// Calls in which an event loop waits for whatever comes next.
pub const POLLS: &[&str] =
    &["epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "ppoll", "select", "pselect6", "io_uring_enter"];

/// ours: where fewer of the requests, by their time, go on after a tick of the loop that serves them, they wait for something
/// else.
const GO_ON: Ratio = Ratio(0.34);

/// Whether the requests that a thread has in hand when a timer ends its poll go on after it: are answered, or asked on about,
/// before it polls again. Otherwise the loop only ticks. `None` where no such request was answered in the event window.
pub fn go_on_after_ticks(timeline: &Timeline, tid: Tid) -> Option<bool> {
    let offs = timeline.thread(tid).map_or(&[][..], |thread| &thread.offs);
    let blocked: Vec<_> = offs.iter().filter(|off| off.blocked).collect();
    let is_tick = |wait: &Wait| wait.class == TimeClass::BlockedSleep && POLLS.contains(&wait.syscall.as_str());
    // What the thread did after each, until it was blocked again.
    let ticks: Vec<(Ns, Ns)> = (0..blocked.len())
        .filter(|n| timeline.wait(blocked[*n]).is_some_and(is_tick))
        .map(|n| (blocked[n].on, blocked.get(n + 1).map_or(timeline.end, |next| next.off)))
        .collect();
    let all = || timeline.earlier.iter().chain(timeline.requests).filter(|r| r.tid == tid);
    let asked: Vec<Ns> = all().filter(|r| !r.served).map(|r| ns(r.begin)).collect();
    let (mut time, mut going_on) = (0, 0);
    for request in all().filter(|r| r.served) {
        let (begin, end) = (ns(request.begin), ns(request.answered));
        let after = |at: Ns| ticks.partition_point(|tick| tick.0 < at);
        let ticks = &ticks[after(begin)..after(end)];
        if ticks.is_empty() {
            continue;
        }
        let does = |(from, to): &(Ns, Ns)| [end].iter().chain(&asked).any(|at| (*from..=*to).contains(at));
        time += end - begin;
        going_on += if ticks.iter().any(does) { end - begin } else { 0 };
    }
    (time > 0).then(|| Ratio::of_counts(going_on as f64, time as f64) >= GO_ON)
}
