//! How long things took: run queue, block devices, system calls.

use super::absent;
use crate::blocks::{Block, Distribution, Section};
use observe::{Histogram, Labels, Recording, catalog, catalog::Metric};
use std::{cmp::Reverse, collections::BTreeMap};

/// The distributions that hold most time, a few of each metric.
pub fn latency<'a>(recording: &Recording) -> Section<'a> {
    let process = |labels: &Labels| match labels.pid() {
        Some(pid) if recording.is_friday(pid) => None,
        Some(pid) => Some(format!("{} ({pid})", recording.process_name(pid))),
        None => Some("unknown process".to_owned()),
    };
    let device = |labels: &Labels| Some(format!("{} {}", labels.get("device"), labels.get("direction")));
    let syscall = |labels: &Labels| Some(labels.get("syscall").to_owned());
    let mut blocks = Vec::new();
    let mut add = |found: Result<Vec<Distribution>, Block<'a>>| match found {
        Ok(shown) if shown.is_empty() => {}
        Ok(shown) => blocks.push(Block::Distributions(shown)),
        Err(note) => blocks.push(note),
    };
    add(top(recording, &catalog::RUN_QUEUE_WAIT, "Waiting for a CPU", 4, process));
    add(top(recording, &catalog::BLOCK_LATENCY, "Block device requests", 4, device));
    add(top(recording, &catalog::SYSCALL_TIME, "System calls, waiting included", 6, syscall));
    Section::new("latency", "Latency", blocks)
}

/// Merges the rows that `group` names alike and keeps those with the largest sums. What `group` does not name is
/// left out.
fn top<'a>(
    recording: &Recording,
    metric: &Metric<Histogram>,
    about: &'static str,
    most: usize,
    group: impl Fn(&Labels) -> Option<String>,
) -> Result<Vec<Distribution>, Block<'a>> {
    let rows = recording.get(metric).map_err(|why| absent(about, &why))?;
    let mut merged: BTreeMap<String, Histogram> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.count > 0) {
        if let Some(title) = group(&row.labels) {
            merged.entry(title).or_default().merge(row);
        }
    }
    let mut merged: Vec<_> = merged.into_iter().collect();
    merged.sort_by_key(|(_, histogram)| Reverse(histogram.sum));
    merged.truncate(most);
    Ok(merged.into_iter().map(|(title, histogram)| Distribution { about, title, histogram }).collect())
}
