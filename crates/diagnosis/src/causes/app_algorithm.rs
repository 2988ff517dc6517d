//! # The cost per item grows with the number of items
//!
//! **Speaks for it:** a service that computes takes longer for one request after another, steadily, while it computes in one
//! function.
//! **Speaks against it:** a machine that gets slower meanwhile, a load that changes: one window cannot tell these from growth,
//! so this is never more than `possible`. What a job without requests takes for an item is not seen.
//! **Experiment:** half the items: the time for each goes down with them.

use crate::{
    Cause, Confidence, Draft, Effect, Party, Scene, Victim,
    cause::how_much,
    code::hot_user,
    path::{Removes, Timeline, ns},
};
use checks::Evidence;
use observe::{Ratio, Request, TimeClass};

/// Stands in the registry.
pub const CAUSE: Cause = Cause { id: "app.algorithm", frozen: Effect::None, root_of: &[], judge };

/// ours: in so many parts of the event window, chance seldom rises all along.
const PARTS: usize = 10;

/// ours: fewer requests in each part have no mean worth comparing.
const FEWEST: usize = 20;

/// ours: below this growth over the event window, nothing can be said.
const GROWS: f64 = 1.05;

/// ours: rank correlation of cost with time, above which it rises steadily.
const STEADY: f64 = 0.9;

/// ours: a service that runs less is not held up by what it computes.
const COMPUTES: Ratio = Ratio(0.5);

/// ours: some function must stand out: a loop is spread over what it calls.
const ONE_FUNCTION: Ratio = Ratio(0.15);

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let computes = victim.named && victim.busiest_thread(scene) >= COMPUTES;
    let Some(timeline) = scene.timeline().filter(|_| computes) else { return Vec::new() };
    let costs = costs(timeline, victim);
    let (Some(first), Some(last)) = (costs.first(), costs.last()) else { return Vec::new() };
    let growth = last / first;
    if growth < GROWS || rank_correlation(&costs) < STEADY {
        return Vec::new();
    }
    let Ok(Some(hot)) = hot_user(scene, victim) else { return Vec::new() };
    let part = Ratio::of_counts(hot.samples as f64, hot.of as f64);
    if part < ONE_FUNCTION {
        return Vec::new();
    }
    let time = victim.times[TimeClass::RunningUser].mul_f64(part.0);
    let seconds = (timeline.end - timeline.begin) as f64 / 1e9;
    vec![Draft {
        confidence: Confidence::Possible,
        time,
        summary: format!(
            "{} takes longer for one request after another: {:.2} times as long after {seconds:.1} s, as if the cost of \
             each grew with what it has to look through; {} is in {}.",
            victim.label(),
            growth,
            how_much(victim, time),
            hot.function,
        ),
        culprit: Party {
            kind: "function".into(),
            pid: None,
            name: hot.function.clone(),
            detail: Some(hot.module.clone()),
        },
        evidence: vec![
            Evidence::new("mean time of a request at the end against the begin", growth, "times")
                .against(format!("> {GROWS}, rising in each tenth of the event window"))
                .at("recording/requests.parquet"),
            Evidence::new(format!("{} in {}", hot.what(), hot.function), part.0 * 100.0, "%")
                .against(format!("> {ONE_FUNCTION}")),
        ],
        codepath: hot.path,
        next: vec![
            format!("read {}: does it go through all there is, for every request?", hot.function),
            "measure its cost against the number of items; an index, a hash or a limit makes it constant".to_owned(),
        ],
        removes: Removes::Unsaid,
        descriptive: true,
    }]
}

/// The mean time from a request's reading to its answer, in each part of the event window; empty where there are too few.
fn costs(timeline: &Timeline, victim: &Victim) -> Vec<f64> {
    let length = (timeline.end - timeline.begin).max(1);
    let mut sums = [(0usize, 0.0); PARTS];
    for request in timeline.requests.iter().filter(|r| r.served && victim.contains(r.pid)) {
        let at = ns(request.read).saturating_sub(timeline.begin);
        let part = (at as u128 * PARTS as u128 / u128::from(length)) as usize;
        let sum = &mut sums[part.min(PARTS - 1)];
        *sum = (sum.0 + 1, sum.1 + takes(request));
    }
    if sums.iter().any(|(count, _)| *count < FEWEST) {
        return Vec::new();
    }
    sums.iter().map(|(count, sum)| sum / *count as f64).collect()
}

fn takes(request: &Request) -> f64 {
    request.answered.saturating_sub(request.read).as_secs_f64()
}

/// Spearman's, of values with their order. Ties are rare in means.
fn rank_correlation(values: &[f64]) -> f64 {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let n = values.len() as f64;
    let squares: f64 = order.iter().enumerate().map(|(rank, at)| (rank as f64 - *at as f64).powi(2)).sum();
    1.0 - 6.0 * squares / (n * (n * n - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        path::tests::Window,
        testing::{all, one},
    };
    use observe::{Frame, FrameId, FrameKind, Pid, Stack, Tid, catalog};

    fn served(takes: impl Fn(u64) -> u64) -> observe::Recording {
        let mut window = Window::new(&[(10, TimeClass::BlockedIdle)]);
        for n in 0..250 {
            window = window.request(10, n, n * 4, 0, n * 4 + takes(n), None);
        }
        let mut rec = window.running(10, 9.0).build();
        let frame =
            Frame { name: "is_known".into(), module: "app".into(), kind: FrameKind::User, unknown: String::new() };
        rec.frames.push(frame);
        let frames = vec![FrameId(rec.frames.len() as u32 - 1)];
        rec.push(&catalog::CPU_STACKS, Stack { pid: Pid(10), tid: Tid(10), samples: 300, frames });
        rec
    }

    #[test]
    fn requests_that_take_longer_and_longer_are_told_and_nothing_more() {
        let finding = one(&served(|n| 20 + n / 4), "app.algorithm");
        assert_eq!((finding.culprit.name.as_str(), finding.confidence), ("is_known", Confidence::Possible));
        assert!(all(&served(|_| 20), "app.algorithm").is_empty());
        assert!(all(&served(|n| 20 + n * 7 % 11), "app.algorithm").is_empty(), "up and down");
    }

    #[test]
    fn correlation_is_one_where_it_rises_all_along() {
        assert_eq!(rank_correlation(&[1.0, 2.0, 3.0, 5.0]), 1.0);
        assert_eq!(rank_correlation(&[5.0, 3.0, 2.0, 1.0]), -1.0);
    }
}
