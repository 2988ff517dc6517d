//! A benchmark's result to a light: against what the same machine did when it was well, else against its class.

use super::{Benchmark, Measured};
use checks::{Evidence, Light, Test};
use observe::{Observed, Ratio};
use serde::{Deserialize, Serialize};

/// ours: what takes twice as long as it did, beyond what both vary by, is another component.
const TIMES: f64 = 2.0;

/// ours: who waits for a CPU for this part of a benchmark measures the queue.
const QUEUED: Ratio = Ratio(0.1);

/// A result that was kept while the machine was well.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// Which benchmark.
    pub id: String,
    /// When, RFC 3339.
    pub at: String,
    /// Median.
    pub median: f64,
    /// Smallest.
    pub least: f64,
    /// Largest.
    pub most: f64,
}

/// The light of a result. A micro-benchmark alone gives no more than `maybe`.
pub fn judge(benchmark: &Benchmark, seen: &Observed<Measured>, kept: Option<&Kept>) -> Test {
    let mut test = Test {
        id: benchmark.id.to_owned(),
        group: benchmark.group.to_owned(),
        verdict: Light::Untested,
        why: String::new(),
        evidence: Vec::new(),
        not_here: false,
        remedy: Vec::new(),
    };
    let seen = match seen {
        Ok(seen) => seen,
        Err(why) => {
            test.not_here = matches!(why, observe::Absent::Unsupported(_));
            test.why = why.to_string();
            return test;
        }
    };
    let unit = benchmark.unit;
    let better = |a: f64, b: f64| if benchmark.more_is_better { a > b } else { a < b };
    let mut why = format!(
        "{} {unit} on {} (median of {}, {} to {})",
        digits(seen.median),
        seen.on,
        seen.samples,
        digits(seen.least),
        digits(seen.most)
    );
    let against = kept.filter(|kept| kept.median > 0.0 && seen.median > 0.0);
    let (slow, threshold) = match (against, &seen.slow_from) {
        (Some(kept), _) => {
            let (times, apart) = if benchmark.more_is_better {
                (kept.median / seen.median, seen.most < kept.least)
            } else {
                (seen.median / kept.median, seen.least > kept.most)
            };
            why += &format!("; it was {} {unit} on {}", digits(kept.median), kept.at);
            (
                times >= TIMES && apart,
                format!("{TIMES} times as slow as when it was kept, {} {unit}", digits(kept.median)),
            )
        }
        (None, Some((from, source))) => {
            let beyond = if benchmark.more_is_better { "below" } else { "from" };
            (!better(seen.median, *from), format!("slow {beyond} {} {unit}: {source}", digits(*from)))
        }
        (None, None) => (false, "nothing was kept to compare with".to_owned()),
    };
    test.evidence
        .push(Evidence::new(format!("{}: {}", benchmark.id, benchmark.about), seen.median, unit).against(threshold));
    if let Some(waited) = seen.waited.filter(|waited| Ratio::of(*waited, seen.wall) >= QUEUED) {
        let part = Ratio::of(waited, seen.wall);
        why +=
            &format!("; it waited for a CPU for {part} of that itself, so this is the queue as much as the component");
    }
    if seen.failed > 0 {
        why += &format!("; {} failed", seen.failed);
    }
    test.verdict = if slow || seen.failed > 0 { Light::Maybe } else { Light::Good };
    test.why = why;
    test
}

/// Three significant digits.
fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Place, Values};
    use observe::Absent;
    use std::time::Duration;

    const FSYNC: Benchmark = Benchmark {
        id: "load.x",
        group: "block devices",
        about: "a",
        unit: "ms",
        bound: "b",
        more_is_better: false,
        run: |_: &Place| Ok(Values::new(Vec::new(), "x")),
    };

    fn seen(median: f64) -> Measured {
        Measured {
            median,
            least: median * 0.9,
            most: median * 1.1,
            samples: 5,
            failed: 0,
            on: "x".into(),
            slow_from: Some((10.0, "ours: x".into())),
            wall: Duration::from_secs(1),
            waited: Some(Duration::ZERO),
        }
    }

    fn kept(median: f64) -> Kept {
        Kept { id: "load.x".into(), at: "monday".into(), median, least: median * 0.9, most: median * 1.1 }
    }

    fn light(benchmark: &Benchmark, seen: Measured, kept: Option<&Kept>) -> Light {
        judge(benchmark, &Ok(seen), kept).verdict
    }

    #[test]
    fn without_a_baseline_its_class_decides_at_the_threshold() {
        assert_eq!(light(&FSYNC, seen(9.9), None), Light::Good);
        assert_eq!(light(&FSYNC, seen(10.0), None), Light::Maybe);
        let rate = Benchmark { more_is_better: true, ..FSYNC };
        assert_eq!(light(&rate, seen(10.1), None), Light::Good);
        assert_eq!(light(&rate, seen(9.9), None), Light::Maybe);
        assert_eq!(light(&FSYNC, Measured { slow_from: None, ..seen(99.0) }, None), Light::Good);
    }

    #[test]
    fn a_baseline_decides_before_the_class() {
        assert_eq!(light(&FSYNC, seen(30.0), Some(&kept(20.0))), Light::Good);
        assert_eq!(light(&FSYNC, seen(3.9), Some(&kept(2.0))), Light::Good);
        assert_eq!(light(&FSYNC, seen(4.1), Some(&kept(2.0))), Light::Maybe);
        let wide = Kept { most: 5.0, ..kept(2.0) };
        assert_eq!(light(&FSYNC, seen(4.1), Some(&wide)), Light::Good, "within what it varied by");
        let rate = Benchmark { more_is_better: true, ..FSYNC };
        assert_eq!(light(&rate, seen(4.0), Some(&kept(9.0))), Light::Maybe);
    }

    #[test]
    fn the_queue_failures_and_absence_are_told() {
        let queued = Measured { waited: Some(Duration::from_millis(200)), ..seen(1.0) };
        assert!(judge(&FSYNC, &Ok(queued), None).why.contains("20 % of that itself"));
        assert_eq!(light(&FSYNC, Measured { failed: 1, ..seen(1.0) }, None), Light::Maybe);
        let absent = judge(&FSYNC, &Err(Absent::NoPermission("root".into())), None);
        assert!(absent.verdict == Light::Untested && absent.why.contains("root") && !absent.not_here);
        assert!(judge(&FSYNC, &Err(Absent::Unsupported("no gateway".into())), None).not_here);
    }
}
