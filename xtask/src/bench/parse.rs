//! Figures in what other programs print.

use serde::{Deserialize, Serialize};

/// Microseconds of one operation, as `perf bench` prints them.
pub fn perf_bench(text: &str) -> Option<f64> {
    text.lines().find_map(|line| line.trim().strip_suffix("usecs/op")?.trim().parse().ok())
}

/// Requests a second over all tests of `redis-benchmark --csv`, each with as many requests as the others.
pub fn redis_benchmark(text: &str) -> Option<f64> {
    let row = |line: &str| line.split(',').nth(1)?.trim().trim_matches('"').parse::<f64>().ok();
    let rates: Vec<f64> = text.lines().filter_map(row).collect();
    let seconds_per_request: f64 = rates.iter().map(|rate| 1.0 / rate).sum();
    let usable = !rates.is_empty() && rates.iter().all(|rate| *rate > 0.0);
    usable.then(|| rates.len() as f64 / seconds_per_request)
}

/// Seconds of a run of `hackbench`.
pub fn hackbench(text: &str) -> Option<f64> {
    text.lines().find_map(|line| line.trim().strip_prefix("Time:")?.trim().parse().ok())
}

/// What friday says about its own cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Overhead {
    /// Percent of the machine's CPU time.
    pub cpu_percent: f64,
    /// Its largest resident set.
    pub rss_bytes: f64,
    /// What it dropped.
    pub lost_events: f64,
    /// All else, kept as it was said: each program's runs, for one.
    #[serde(flatten)]
    pub rest: serde_json::Map<String, serde_json::Value>,
}

/// The cost in friday's JSON.
pub fn overhead(text: &str) -> Result<Overhead, String> {
    #[derive(Deserialize)]
    struct Document {
        overhead: Overhead,
    }
    serde_json::from_str::<Document>(text).map(|document| document.overhead).map_err(|e| format!("friday's JSON: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perf_bench_gives_its_time_per_operation() {
        let text = "# Running 'sched/pipe' benchmark:\n# Executed 20000 pipe operations between two processes\n\n     \
                    Total time: 0.129 [sec]\n\n       6.472850 usecs/op\n         154491 ops/sec\n";
        assert_eq!(perf_bench(text), Some(6.47285));
        assert_eq!(perf_bench("# Running 'sched/pipe' benchmark:\n"), None);
    }

    #[test]
    fn redis_rates_are_added_by_their_time() {
        let head = "\"test\",\"rps\",\"avg_latency_ms\",\"min_latency_ms\"\n";
        let rows = "\"SET\",\"60000.00\",\"0.518\",\"0.096\"\n\"GET\",\"30000.00\",\"0.472\",\"0.088\"\n";
        assert_eq!(redis_benchmark(&format!("{head}{rows}")).map(f64::round), Some(40000.0));
        assert_eq!(redis_benchmark("\"SET\",\"60000.00\"\n").map(f64::round), Some(60000.0));
        assert_eq!(redis_benchmark(head), None);
        assert_eq!(redis_benchmark("\"SET\",\"0.00\"\n"), None);
    }

    #[test]
    fn hackbench_gives_its_seconds() {
        let text = "Running in process mode with 2 groups using 40 file descriptors each (== 80 tasks)\n\
                    Each sender will pass 500 messages of 100 bytes\nTime: 0.778\n";
        assert_eq!(hackbench(text), Some(0.778));
        assert_eq!(hackbench("SENDER: write (error: Broken pipe)\n"), None);
    }

    #[test]
    fn friday_states_its_cost() {
        let text = r#"{ "conclusion": "idle", "overhead":
            { "cpu_percent": 2.5, "rss_bytes": 27262976, "lost_events": 0, "programs": [] } }"#;
        let said = overhead(text).unwrap();
        assert_eq!((said.cpu_percent, said.rss_bytes, said.lost_events), (2.5, 27262976.0, 0.0));
        assert_eq!(said.rest.keys().collect::<Vec<_>>(), ["programs"]);
        assert!(overhead("{}").is_err());
    }
}
