//! What the time of a request is made of: its thread's doings, and while it waits for an answer the other end's.

use super::{
    replay::Replayed,
    timeline::{Ns, Timeline, ns},
    walk::{DEEPEST, Segment, critical_path},
};
use crate::Victim;
use observe::{Request, TimeClass};

/// ours: fewer requests tell little about the next one.
const FEWEST: usize = 20;

/// The requests that a victim answered in the event window, in the order in which they began; empty where they are too few.
pub fn of<'a>(timeline: &Timeline<'a>, victim: &Victim) -> Vec<&'a Request> {
    let own = |request: &&Request| request.served && victim.contains(request.pid);
    let own: Vec<_> = timeline.requests.iter().filter(own).collect();
    if own.len() >= FEWEST { own } else { Vec::new() }
}

/// How long it took.
pub fn length(request: &Request) -> Ns {
    ns(request.answered).saturating_sub(ns(request.begin))
}

/// A part of a request.
#[derive(Clone, Copy, Debug)]
enum Stretch<'a> {
    /// Its thread is at it, or at something else.
    Own(Ns, Ns),
    /// It waits for the answer to this one, by row.
    Asked(usize, &'a Request, Ns, Ns),
}

/// Splits a request at what it asked of others: of those that overlap, the one that was answered last held it up.
fn stretches<'a>(timeline: &Timeline<'a>, request: &Request, from: Ns, to: Ns) -> Vec<Stretch<'a>> {
    let mut asked: Vec<_> = timeline.asked_for(request).collect();
    asked.sort_by_key(|(row, asked)| std::cmp::Reverse((asked.answered, *row)));
    let (mut out, mut at) = (Vec::new(), to);
    for (row, asked) in asked {
        let (begin, end) = (ns(asked.begin).max(from), ns(asked.answered).min(at));
        if begin < end {
            if end < at {
                out.push(Stretch::Own(end, at));
            }
            out.push(Stretch::Asked(row, asked, begin, end));
            at = begin;
        }
    }
    if from < at {
        out.push(Stretch::Own(from, at));
    }
    out
}

/// What a request's time is made of. The segments are in no order; they cover the time once.
pub fn request_path(timeline: &Timeline, request: &Request) -> Vec<Segment> {
    let mut out = Vec::new();
    serve(timeline, request, ns(request.begin), ns(request.answered), 0, &mut out);
    out
}

fn serve(timeline: &Timeline, request: &Request, from: Ns, to: Ns, depth: usize, out: &mut Vec<Segment>) {
    for stretch in stretches(timeline, request, from, to) {
        match stretch {
            Stretch::Own(from, to) => own(timeline, request, from, to, depth, out),
            Stretch::Asked(row, asked, from, to) => {
                let waits = |from: Ns, to: Ns| Segment {
                    from,
                    to,
                    tid: asked.tid,
                    pid: asked.pid,
                    class: TimeClass::BlockedNetwork,
                    by: timeline.other_end(asked).map(|other| (other.pid, other.tid)),
                    wait: None,
                    asked: Some(row),
                    depth,
                };
                match timeline.other_end(asked).filter(|_| depth < DEEPEST) {
                    None => out.push(waits(from, to)),
                    Some(other) => {
                        let (begin, end) = (ns(other.begin).clamp(from, to), ns(other.answered).clamp(from, to));
                        serve(timeline, other, begin, end, depth + 1, out);
                        out.extend(
                            [(from, begin), (end, to)].into_iter().filter(|(a, b)| a < b).map(|(a, b)| waits(a, b)),
                        );
                    }
                }
            }
        }
    }
}

/// Until it was read, its thread was at something else.
fn own(timeline: &Timeline, request: &Request, from: Ns, to: Ns, depth: usize, out: &mut Vec<Segment>) {
    let read = ns(request.read).clamp(from, to);
    for (from, to, queued) in [(from, read, true), (read, to, false)] {
        for mut segment in critical_path(timeline, request.tid, from, to, false) {
            if queued && segment.class.is_running() && segment.depth == 0 {
                segment.by = Some((request.pid, request.tid));
            }
            segment.depth += depth;
            out.push(segment);
        }
    }
}

/// What is left of a request in a replay. `gone` says of what went out whether its answer takes no time any more.
pub fn left(timeline: &Timeline, replayed: &Replayed, request: &Request, gone: &dyn Fn(&Request) -> bool) -> f64 {
    part_left(timeline, replayed, request, ns(request.begin), ns(request.answered), 0, gone)
}

fn part_left(
    timeline: &Timeline,
    replayed: &Replayed,
    request: &Request,
    from: Ns,
    to: Ns,
    depth: usize,
    gone: &dyn Fn(&Request) -> bool,
) -> f64 {
    let left = stretches(timeline, request, from, to).into_iter().map(|stretch| match stretch {
        Stretch::Own(from, to) => replayed.left(request.tid, from, to),
        Stretch::Asked(_, asked, _, _) if gone(asked) => 0.0,
        Stretch::Asked(_, asked, from, to) => match timeline.other_end(asked).filter(|_| depth < DEEPEST) {
            None => (to - from) as f64,
            Some(other) => {
                let (begin, end) = (ns(other.begin).clamp(from, to), ns(other.answered).clamp(from, to));
                let between = (begin - from) + (to - end);
                between as f64 + part_left(timeline, replayed, other, begin, end, depth + 1, gone)
            }
        },
    });
    left.sum()
}
