//! Requests that a process has read and lets lie until it asks another for them: it has few connections to that one, and
//! whoever has one keeps it, also between its questions (an open transaction, a session).

use super::app_pool::party;
use crate::{
    Confidence, Draft, Scene, Victim,
    cause::MATTERS,
    path::{Removes, ns},
};
use checks::Evidence;
use observe::{Ratio, Request};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// ours: an answer goes on to whoever asked within this after it has come.
const AT_ONCE: u64 = 1_000_000;

/// ours: a request that takes no longer waits for nothing that matters.
const LONG: Duration = Duration::from_millis(5);

/// ours: fewer requests in the event window tell little.
const FEWEST: usize = 20;

/// ours: most of the time that requests take.
const MOSTLY: Ratio = Ratio(0.5);

/// ours: a process that computes more than this has its requests wait for itself.
const COMPUTES: Ratio = Ratio(0.7);

/// What requests waited, as the event window shows it.
#[derive(Default)]
struct Lying {
    requests: usize,
    /// Between being read and being asked about.
    lay: Duration,
    all: Duration,
}

/// Requests that wait for a connection to whom they are handed on to.
pub fn lie(scene: &Scene, victim: &Victim) -> Option<Draft> {
    let timeline = scene.timeline()?;
    let of = |served: bool| timeline.requests.iter().filter(move |r| r.served == served && victim.contains(r.pid));
    let mut asked: Vec<&Request> = of(false).collect();
    asked.sort_by_key(|r| r.answered);
    let lying = lying(of(true), &asked);
    let share = Ratio::of(lying.lay, lying.all);
    let connections: BTreeSet<u64> = asked.iter().map(|r| r.connection).collect();
    let window = Duration::from_nanos(timeline.end - timeline.begin);
    let at_once = lying.lay.as_secs_f64() / window.as_secs_f64().max(1e-9);
    let few = at_once >= 1.0 && lying.requests >= FEWEST;
    // Connections that are asked over all the time are told by that.
    let asking: Duration = asked.iter().map(|r| r.answered.saturating_sub(r.begin)).sum();
    let quiet = Ratio::of(asking, window * connections.len() as u32) < MOSTLY;
    if !few || !quiet || share < MATTERS || victim.busiest_thread(scene) >= COMPUTES {
        return None;
    }
    let whom = asked.last().map(|r| r.place.as_str()).unwrap_or_default();
    let what = format!("{} connections to {whom}", connections.len());
    let name = &victim.name;
    Some(Draft {
        confidence: if share >= MOSTLY { Confidence::Likely } else { Confidence::Possible },
        time: victim.active().mul_f64(share.0),
        summary: format!(
            "{} has requests lie for {share} of their time before it asks another for them: {at_once:.1} at once wait for one \
             of its {what}, whose holders keep them between their questions.",
            victim.label(),
        ),
        culprit: party(scene, victim, format!("{what}, all of them taken")),
        evidence: vec![
            Evidence::new("requests read and not yet handed on", at_once, "at once, in the event window")
                .at("recording/requests.parquet"),
            Evidence::new("of the time that its requests take", share.0 * 100.0, "%").against(format!(">= {MOSTLY}")),
            Evidence::new("connections that it asks over", connections.len() as f64, "connections"),
        ],
        codepath: Vec::new(),
        next: vec![
            format!("allow {name} more connections (pool size, maxconn), as far as {whom} can take"),
            "see who keeps a connection without using it: open transactions, sessions; ask the program for its pools"
                .into(),
        ],
        removes: Removes::Unsaid,
        descriptive: false,
    })
}

/// Each request that took long, with the question whose answer went on to it: the last that was answered just before. One for
/// whose sake the same thread had asked on the same connection before was in work all along.
fn lying<'r>(served: impl Iterator<Item = &'r Request>, asked: &[&Request]) -> Lying {
    let mut lying = Lying::default();
    let mut questions: BTreeMap<_, u32> = BTreeMap::new();
    for question in asked.iter().filter(|r| r.within.is_some()) {
        *questions.entry((question.within, question.tid, question.connection)).or_default() += 1;
    }
    let again: BTreeSet<_> =
        questions.into_iter().filter(|(_, count)| *count > 1).map(|((within, tid, _), _)| (within, tid)).collect();
    for request in served {
        let took = request.answered.saturating_sub(request.begin);
        lying.all += took;
        if again.contains(&(Some((request.connection, request.begin)), request.tid)) {
            continue;
        }
        let (read, end) = (ns(request.read), ns(request.answered));
        let before = asked.partition_point(|r| ns(r.answered) <= end);
        let Some(question) = before.checked_sub(1).map(|at| asked[at]) else { continue };
        if took >= LONG && end - ns(question.answered) <= AT_ONCE && ns(question.begin) >= read {
            lying.requests += 1;
            lying.lay += Duration::from_nanos(ns(question.begin) - read);
        }
    }
    lying
}

#[cfg(test)]
mod tests {
    use crate::{
        path::tests::Window,
        testing::{all, one},
    };
    use observe::TimeClass;

    /// Requests on one connection after the other, every 10 ms, each answered after 100 ms; the question is sent on so many
    /// milliseconds after the request was read.
    fn pooled(after: u64) -> observe::Recording {
        let mut window = Window::new(&[(10, TimeClass::BlockedIdle)]).running(10, 0.5);
        for n in 0..80 {
            let at = n * 10;
            window = window.request(10, 100 + n, at, 0, at + 100, None);
            window = window.request(10, 1 + n % 2, at + after, 0, at + after + 2, Some((100 + n, at)));
        }
        window.blocked(10, TimeClass::BlockedIdle, 0, 1000, None).build()
    }

    #[test]
    fn requests_that_lie_before_they_are_handed_on_wait_for_a_connection() {
        let finding = one(&pooled(98), "app.pool");
        assert!(finding.summary.contains("one of its 2 connections"), "{}", finding.summary);
    }

    #[test]
    fn who_asks_again_and_again_for_one_request_works_on_it() {
        let mut window = Window::new(&[(10, TimeClass::BlockedIdle)]).running(10, 0.5);
        for n in 0..40 {
            let at = n * 20;
            window = window.request(10, 100 + n, at, 0, at + 100, None);
            for question in 0..10 {
                let at = at + question * 10;
                window = window.request(10, 1 + n % 2, at, 0, at + 9, Some((100 + n, n * 20)));
            }
        }
        let rec = window.blocked(10, TimeClass::BlockedIdle, 0, 1000, None).build();
        assert!(all(&rec, "app.pool").is_empty());
    }

    #[test]
    fn who_asks_at_once_and_answers_later_holds_them_for_other_reasons() {
        assert!(all(&pooled(0), "app.pool").is_empty());
    }
}
