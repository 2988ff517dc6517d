//! How load, concurrency and cost went over the window.

use crate::blocks::{Block, Line, Section};
use observe::{Labels, Pid, Recording, Series, catalog};
use std::collections::{BTreeMap, BTreeSet};

/// ours: more charts are not looked at.
const SERVICES: usize = 4;

/// ours: fewer points are no line.
const POINTS: usize = 4;

/// Lines over the window: CPUs, and of the services that were asked most how often, how many at once, and for what CPU time.
pub fn load<'a>(recording: &Recording) -> Section<'a> {
    let mut lines = Vec::new();
    lines.extend(cpu(recording));
    let mut services: BTreeMap<String, Vec<&Series>> = BTreeMap::new();
    for row in recording.get(&catalog::REQUEST_COUNT).into_iter().flatten() {
        services.entry(name(recording, &row.labels)).or_default().push(row);
    }
    let mut asked: Vec<(f64, String, Vec<&Series>)> = services
        .into_iter()
        .map(|(name, rows)| (rows.iter().map(|row| row.last()).sum(), name, rows))
        .filter(|(count, ..)| *count > 0.0)
        .collect();
    asked.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    for (_, service, rows) in asked.into_iter().take(SERVICES) {
        let rate = rates(&rows);
        let seconds: Vec<&Series> = recording
            .get(&catalog::REQUEST_SECONDS)
            .into_iter()
            .flatten()
            .filter(|row| name(recording, &row.labels) == service)
            .collect();
        let pids: BTreeSet<Pid> = rows.iter().filter_map(|row| row.labels.pid()).collect();
        let cpu: Vec<&Series> = recording
            .get(&catalog::PROCESS_CPU)
            .into_iter()
            .flatten()
            .filter(|row| row.labels.pid().is_some_and(|pid| pids.contains(&pid)))
            .collect();
        let cost = rates(&cpu);
        let each = rate.iter().filter(|(_, rate)| **rate >= 1.0);
        let cost: BTreeMap<u64, f64> = each.filter_map(|(at, rate)| Some((*at, cost.get(at)? / rate * 1e3))).collect();
        lines.extend(line(format!("{service}: requests a second"), &rate));
        lines.extend(line(format!("{service}: requests in hand at once"), &rates(&seconds)));
        lines.extend(line(format!("{service}: CPU time of a request, ms"), &cost));
    }
    let blocks = if lines.is_empty() { Vec::new() } else { vec![Block::Lines(lines)] };
    Section::new("load", "Load over the window", blocks)
}

fn name(recording: &Recording, labels: &Labels) -> String {
    let process = labels.pid().map_or_else(String::new, |pid| recording.process_name(pid));
    format!("{process} {}", labels.get("service"))
}

/// Busy CPUs.
fn cpu(recording: &Recording) -> Option<Line> {
    let rows = recording.get(&catalog::CPU_TIME).ok()?;
    let busy: Vec<&Series> = rows.iter().filter(|row| !matches!(row.labels.get("mode"), "idle" | "iowait")).collect();
    line("busy CPUs".to_owned(), &rates(&busy))
}

/// Growth per second of counters together, by the tenth of a second.
fn rates(rows: &[&Series]) -> BTreeMap<u64, f64> {
    let mut sums = BTreeMap::new();
    for row in rows {
        for pair in row.points.windows(2) {
            let seconds = pair[1].at.saturating_sub(pair[0].at).as_secs_f64();
            if seconds > 0.2 {
                let at = (pair[1].at.as_secs_f64() * 10.0).round() as u64;
                *sums.entry(at).or_default() += (pair[1].value - pair[0].value) / seconds;
            }
        }
    }
    sums
}

fn line(title: String, values: &BTreeMap<u64, f64>) -> Option<Line> {
    let points: Vec<(f64, f64)> =
        values.iter().filter(|(_, value)| value.is_finite()).map(|(at, value)| (*at as f64 / 10.0, *value)).collect();
    (points.len() >= POINTS).then_some(Line { title, points })
}

#[cfg(test)]
mod tests {
    use super::*;
    use observe::{Host, Point, Process, Target, Window};
    use std::time::{Duration, SystemTime};

    #[test]
    fn a_service_has_a_line_of_its_load_and_of_its_cost() {
        let host = Host { name: "h".into(), kernel: "6".into(), cpus: 2, memory_bytes: 1 };
        let window = Window { start: SystemTime::UNIX_EPOCH, length: Duration::from_secs(6) };
        let mut rec = Recording::new(host, Target::system("h"), window);
        assert!(load(&rec).blocks.is_empty());
        rec.processes.insert(Pid(7), Process { pid: Pid(7), name: "shop".into(), ..Process::default() });
        let counter = |per_second: f64| {
            (0..=6).map(|at| Point { at: Duration::from_secs(at), value: per_second * at as f64 }).collect()
        };
        let labels = || Labels::new([("pid", "7".into()), ("service", "80".into())]);
        rec.push(&catalog::REQUEST_COUNT, Series { labels: labels(), points: counter(100.0) });
        rec.push(&catalog::REQUEST_SECONDS, Series { labels: labels(), points: counter(3.0) });
        let cpu = Labels::new([("pid", "7".into())]);
        rec.push(&catalog::PROCESS_CPU, Series { labels: cpu, points: counter(0.2) });
        let section = load(&rec);
        let Some(Block::Lines(lines)) = section.blocks.first() else { panic!("no lines") };
        let of: Vec<(&str, f64)> = lines.iter().map(|line| (line.title.as_str(), line.points[0].1)).collect();
        assert_eq!(of[0], ("shop 80: requests a second", 100.0));
        assert_eq!(of[1], ("shop 80: requests in hand at once", 3.0));
        assert!(of[2].0.contains("CPU time") && (of[2].1 - 2.0).abs() < 1e-9);
    }
}
