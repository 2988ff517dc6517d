//! Which system calls the target made, what they took, and which of them were useless or failed.

use super::absent;
use crate::{
    blocks::{Align, Block, Section, Table},
    format,
};
use observe::{Bytes, Histogram, Ratio, Recording, Series, catalog, catalog::Metric};
use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

/// Rows shown.
const MOST: usize = 15;

/// The system calls that took most time.
pub fn syscalls<'a>(recording: &Recording) -> Section<'a> {
    let title = "System calls of the target";
    let rows = match recording.get(&catalog::SYSCALL_TIME) {
        Ok(rows) => rows,
        Err(why) => return Section::new("syscalls", title, vec![absent("No system calls", &why)]),
    };
    let mut calls: BTreeMap<&str, Histogram> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.count > 0) {
        calls.entry(row.labels.get("syscall")).or_default().merge(row);
    }
    let mut calls: Vec<_> = calls.into_iter().collect();
    calls.sort_by_key(|(_, histogram)| Reverse(histogram.sum));
    let all = calls.len();
    let cpu = totals(recording, &catalog::SYSCALL_CPU);
    let errors = totals(recording, &catalog::SYSCALL_ERRORS);
    let empty = totals(recording, &catalog::SYSCALL_EMPTY);
    let bytes = totals(recording, &catalog::SYSCALL_BYTES);
    let columns = vec![
        ("Call", Align::Left),
        ("Calls", Align::Right),
        ("Time", Align::Right),
        ("CPU", Align::Right),
        ("p50", Align::Right),
        ("p99", Align::Right),
        ("Longest", Align::Right),
        ("Failed", Align::Right),
        ("Empty", Align::Right),
        ("Data", Align::Right),
    ];
    let cells = |(name, histogram): &(&str, Histogram)| {
        let quantile = |part| histogram.quantile_time(Ratio(part)).map_or_else(String::new, format::duration);
        vec![
            (*name).to_owned(),
            format::count(histogram.count),
            format::duration(Duration::from_nanos(histogram.sum)),
            cell(&cpu, name, format::seconds),
            quantile(0.5),
            quantile(0.99),
            format::duration(Duration::from_nanos(histogram.max)),
            cell(&errors, name, |value| format::count(value as u64)),
            cell(&empty, name, |value| format::count(value as u64)),
            cell(&bytes, name, |value| Bytes(value as u64).to_string()),
        ]
    };
    let rows: Vec<_> = calls.iter().take(MOST).map(cells).collect();
    let mut blocks = Vec::new();
    if rows.is_empty() {
        blocks.push(Block::Note("The target made no system calls.".to_owned()));
    } else {
        blocks.push(Block::Table(Table { columns, rows }));
        blocks.push(Block::Note(
            "Time includes waiting. Empty: the call returned 0 where it counts something. Data: bytes moved."
                .to_owned(),
        ));
        blocks.extend(super::more(MOST, all, " calls"));
    }
    blocks.extend(failures(recording));
    Section::new("syscalls", title, blocks)
}

/// Totals by system call; `None` when the metric was not collected.
fn totals<'a>(recording: &'a Recording, metric: &Metric<Series>) -> Option<BTreeMap<&'a str, f64>> {
    let mut totals = BTreeMap::new();
    for row in recording.get(metric).ok()? {
        *totals.entry(row.labels.get("syscall")).or_default() += row.last();
    }
    Some(totals)
}

/// A dash where it was not collected, nothing where there was none.
fn cell(totals: &Option<BTreeMap<&str, f64>>, name: &str, show: impl Fn(f64) -> String) -> String {
    match totals {
        None => "–".to_owned(),
        Some(totals) => totals.get(name).filter(|value| **value > 0.0).map_or_else(String::new, |value| show(*value)),
    }
}

/// The most frequent failures with the path or address they failed on.
fn failures<'a>(recording: &Recording) -> Option<Block<'a>> {
    let rows = recording.get(&catalog::SYSCALL_ERRORS).ok()?;
    let mut failed: Vec<_> = rows.iter().filter(|row| row.last() > 0.0).collect();
    failed.sort_by(|a, b| b.last().total_cmp(&a.last()));
    let columns = vec![
        ("Failing call", Align::Left),
        ("Error", Align::Left),
        ("On", Align::Left),
        ("Process", Align::Left),
        ("Times", Align::Right),
    ];
    let cells = |row: &&Series| {
        let process = row.labels.pid().map(|pid| format!("{} ({pid})", recording.process_name(pid)));
        vec![
            row.labels.get("syscall").to_owned(),
            row.labels.get("errno").to_owned(),
            row.labels.get("argument").to_owned(),
            process.unwrap_or_default(),
            format::count(row.last() as u64),
        ]
    };
    let rows: Vec<_> = failed.iter().take(10).map(cells).collect();
    (!rows.is_empty()).then_some(Block::Table(Table { columns, rows }))
}
