//! What looked, how deep, for how long, and why: deeper probes cost more, and are armed for as long as that is worth it.

use case::Armed;
use observe::{Observed, Recording, Series, catalog};

/// The groups of probes, the cheapest first.
pub(crate) fn probes(rec: &Recording) -> Vec<Armed> {
    let always = |probe: &str, tier, seen: Observed<()>, why: &str| match seen {
        Ok(()) => armed(probe, tier, 1.0, why),
        Err(absent) => armed(probe, tier, 0.0, &absent.to_string()),
    };
    let whom = if rec.target.is_named() { "the target's" } else { "everybody's" };
    vec![
        always("counters", 1, rec.get(&catalog::CPU_TIME).map(drop), "read once a second"),
        always("threads' time", 2, rec.get(&catalog::WAITS).map(drop), "sums of every switch between threads"),
        always("block requests", 2, rec.get(&catalog::BLOCK_LATENCY).map(drop), "sums of every request to a device"),
        in_slices(rec, &catalog::SYSCALL_TRACED, "system calls", 2, whom),
        in_slices(rec, &catalog::REQUESTS_TRACED, "requests", 2, "everybody's"),
        always("goroutines' locks", 2, rec.get(&catalog::GOROUTINE_WAITS).map(drop), "sums, of Go programs"),
        in_slices(rec, &catalog::FAULTS_TRACED, "page faults", 2, whom),
        always("stacks", 3, rec.get(&catalog::CPU_STACKS).map(drop), "on the CPU at a fixed rate; of long waits"),
        events(rec),
    ]
}

fn armed(probe: &str, tier: u8, of_window: f64, why: &str) -> Armed {
    Armed { probe: probe.to_owned(), tier, of_window, why: why.to_owned() }
}

/// Probes of frequent events, which are taken off for a while when they cost too much.
fn in_slices(rec: &Recording, traced: &catalog::Metric<Series>, probe: &str, tier: u8, whom: &str) -> Armed {
    match rec.get(traced).map(|rows| rows.first().map_or(1.0, Series::last)) {
        Ok(part) if part < 0.995 => {
            let why = format!("{whom}; in slices, as all of them would cost more than the part of a CPU that they may");
            armed(probe, tier, part, &why)
        }
        Ok(part) => armed(probe, tier, part.min(1.0), &format!("{whom}, all of them")),
        Err(absent) => armed(probe, tier, 0.0, &absent.to_string()),
    }
}

/// The event window.
fn events(rec: &Recording) -> Armed {
    const PROBE: &str = "event window";
    match rec.get(&catalog::EVENT_WINDOW) {
        Ok(rows) => {
            let at = |what: &str| rows.iter().find(|row| row.labels.get("what") == what).map_or(0.0, Series::last);
            let part = (at("end") - at("begin")) / rec.window.length.as_secs_f64().max(1e-9);
            let why = "somebody was at work: what would be gained without a cause shows only in the order of things";
            armed(PROBE, 4, part.clamp(0.0, 1.0), why)
        }
        Err(absent) => armed(PROBE, 4, 0.0, &absent.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use observe::{Absent, Host, Labels, Target, Window};
    use std::time::{Duration, SystemTime};

    #[test]
    fn what_did_not_look_says_why_and_what_looked_for_how_long() {
        let host = Host { name: "h".into(), kernel: "6".into(), cpus: 2, memory_bytes: 1 };
        let window = Window { start: SystemTime::UNIX_EPOCH, length: Duration::from_secs(10) };
        let mut rec = Recording::new(host, Target::system("h"), window);
        rec.push(&catalog::SYSCALL_TRACED, Series::total(Labels::default(), Duration::ZERO, 0.25));
        rec.set(&catalog::EVENT_WINDOW, Err(Absent::NotCollected("not opened: idle".into())));
        let probes = probes(&rec);
        let of = |probe: &str| probes.iter().find(|armed| armed.probe == probe).unwrap();
        assert_eq!(of("system calls").of_window, 0.25);
        assert!(of("system calls").why.contains("in slices"));
        assert_eq!(of("event window").of_window, 0.0);
        assert!(of("event window").why.contains("not opened: idle"));
    }
}
