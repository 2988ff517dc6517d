//! How much of a box is used, where that was recorded: utilisation, saturation and errors.

use super::Kind;
use crate::format;
use observe::{Bytes, Recording, Series, catalog, catalog::Metric};

/// Lines for a box.
pub fn usage(recording: &Recording, kind: Kind, name: &str) -> Vec<String> {
    match kind {
        Kind::Device | Kind::Volume => disk(recording, name),
        Kind::Interface => interface(recording, name),
        Kind::FileSystem => full(recording, name).into_iter().collect(),
        Kind::Cpus => cpus(recording).into_iter().collect(),
        Kind::Memory => memory(recording).into_iter().collect(),
        Kind::Client | Kind::Service | Kind::Server => Vec::new(),
    }
}

fn rows<'a>(
    recording: &'a Recording,
    metric: &Metric<Series>,
    label: &'a str,
    name: &'a str,
) -> impl Iterator<Item = &'a Series> {
    recording.get(metric).unwrap_or_default().iter().filter(move |row| row.labels.get(label) == name)
}

fn disk(recording: &Recording, name: &str) -> Vec<String> {
    let rate = |metric| rows(recording, metric, "device", name).find_map(Series::rate);
    let Some(busy) = rate(&catalog::DISK_BUSY) else { return Vec::new() };
    let mut lines = vec![format!("busy {}", format::percent(busy.min(1.0)))];
    if let Some(queue) = rate(&catalog::DISK_WEIGHTED).filter(|queue| *queue >= 0.1) {
        lines[0].push_str(&format!(", queue {queue:.1}"));
    }
    lines
}

fn interface(recording: &Recording, name: &str) -> Vec<String> {
    let way = |metric, direction: &str| {
        let mut all = rows(recording, metric, "device", name).filter(|row| row.labels.get("direction") == direction);
        all.find_map(Series::rate)
    };
    let mut lines = Vec::new();
    if let (Some(receive), Some(transmit)) = (way(&catalog::NET_IO, "receive"), way(&catalog::NET_IO, "transmit")) {
        let each = |rate: f64| format!("{}/s", Bytes(rate as u64));
        lines.push(format!("in {}, out {}", each(receive), each(transmit)));
    }
    let lost = |metric| rows(recording, metric, "device", name).filter_map(Series::increase).sum::<f64>();
    for (metric, what) in [(&catalog::NET_ERRORS, "errors"), (&catalog::NET_DROPPED, "dropped")] {
        let count = lost(metric);
        if count > 0.0 {
            lines.push(format!("{} {what}", format::count(count as u64)));
        }
    }
    lines
}

fn full(recording: &Recording, name: &str) -> Option<String> {
    let state = |state: &str| {
        rows(recording, &catalog::FILESYSTEM_USAGE, "mountpoint", name)
            .find(|row| row.labels.get("state") == state)
            .map(Series::last)
    };
    let (used, free) = (state("used")?, state("free")?);
    (used + free > 0.0).then(|| format!("{} full", format::percent(used / (used + free))))
}

fn cpus(recording: &Recording) -> Option<String> {
    let times = recording.get(&catalog::CPU_TIME).ok()?;
    let mut idle = 0.0;
    let mut all = 0.0;
    for row in times {
        let time = row.increase()?;
        all += time;
        if matches!(row.labels.get("mode"), "idle" | "iowait") {
            idle += time;
        }
    }
    (all > 0.0).then(|| format!("busy {}", format::percent(1.0 - idle / all)))
}

fn memory(recording: &Recording) -> Option<String> {
    let lowest =
        rows(recording, &catalog::MEMORY, "state", "available").flat_map(|row| &row.points).map(|point| point.value);
    let lowest = lowest.reduce(f64::min)?;
    Some(format!("{} available", Bytes(lowest as u64)))
}
