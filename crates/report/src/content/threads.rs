//! Where the threads' time went, and who queued behind whom.

use super::{Rows, more};
use crate::{
    blocks::{Align, Bar, Block, Section, Table},
    format,
};
use case::{Document, LedgerRow, WaitRow};
use observe::{Recording, TimeClass, catalog};

const TITLE: &str = "Where the time went";

/// The ledger of the most active threads.
pub fn ledger<'a>(document: &'a Document, recording: &Recording, rows: Rows) -> Section<'a> {
    let mut blocks = Vec::new();
    if !document.ledger.is_empty() {
        blocks.push(Block::Bars(document.ledger.iter().take(rows.0).map(bar).collect()));
        blocks.extend(more(rows.0, document.ledger.len(), " threads"));
        blocks.extend(coarse(recording));
    }
    Section::new("ledger", TITLE, blocks)
}

/// A remark where the ledger cannot tell all classes apart.
fn coarse<'a>(recording: &Recording) -> Option<Block<'a>> {
    let coarse = recording.get(&catalog::COARSE_LEDGER).is_ok_and(|rows| !rows.is_empty());
    coarse.then(|| {
        let text = "Coarse: waits are from looking a few times a second, and whom they were for is not known.";
        Block::Note(text.to_owned())
    })
}

fn bar(row: &LedgerRow) -> Bar<'_> {
    let known = TimeClass::ALL.iter().filter_map(|class| Some((Some(*class), *row.shares.get(class.name())?)));
    let unknown = row.shares.iter().filter(|(name, _)| TimeClass::from_name(name).is_none()).map(|(_, share)| *share);
    let unknown: f64 = unknown.sum();
    let parts = known.chain((unknown > 0.0).then_some((None, unknown))).filter(|(_, share)| *share > 0.0);
    Bar { name: &row.name, thread: row.thread, seconds: row.seconds, parts: parts.collect() }
}

/// The same as numbers, by group of classes.
pub fn ledger_table<'a>(document: &'a Document, recording: &Recording, rows: Rows) -> Section<'a> {
    let mut blocks = Vec::new();
    if !document.ledger.is_empty() {
        let columns = vec![
            ("Thread", Align::Left),
            ("Wall", Align::Right),
            ("User code", Align::Right),
            ("Kernel", Align::Right),
            ("Waiting for CPU", Align::Right),
            ("Blocked", Align::Right),
            ("Asleep", Align::Right),
            ("Idle", Align::Right),
        ];
        let table_rows = document.ledger.iter().take(rows.0).map(|row| {
            let sum = |keep: fn(TimeClass) -> bool| {
                let shares = row.shares.iter();
                let kept = shares.filter(|(name, _)| TimeClass::from_name(name).is_some_and(keep));
                format::percent(kept.map(|(_, share)| share).sum())
            };
            vec![
                format!("{} ({})", row.name, row.thread),
                format::seconds(row.seconds),
                sum(|class| class == TimeClass::RunningUser),
                sum(|class| class == TimeClass::RunningKernel),
                sum(TimeClass::is_runnable),
                sum(is_blocked),
                sum(|class| class == TimeClass::BlockedSleep),
                sum(TimeClass::is_idle),
            ]
        });
        blocks.push(Block::Table(Table { columns, rows: table_rows.collect() }));
        blocks.extend(more(rows.0, document.ledger.len(), " threads"));
        blocks.extend(coarse(recording));
    }
    Section::new("ledger", TITLE, blocks)
}

fn is_blocked(class: TimeClass) -> bool {
    !class.is_running() && !class.is_runnable() && !class.is_idle() && class != TimeClass::BlockedSleep
}

/// Who queued behind whom.
pub fn waits(document: &Document, rows: Rows) -> Section<'_> {
    let mut blocks = Vec::new();
    if !document.waits.is_empty() {
        let columns = vec![
            ("Who waited", Align::Left),
            ("Behind whom", Align::Left),
            ("For", Align::Left),
            ("Time", Align::Right),
            ("Times", Align::Right),
            ("Longest", Align::Right),
        ];
        let cells = |row: &WaitRow| {
            let by = if row.by.is_empty() { "not known" } else { &row.by };
            let times = if row.count > 0 { format::count(row.count) } else { String::new() };
            let longest = if row.longest_s > 0.0 { format::seconds(row.longest_s) } else { String::new() };
            vec![row.waiter.clone(), by.to_owned(), row.resource.clone(), format::seconds(row.seconds), times, longest]
        };
        let table_rows = document.waits.iter().take(rows.0).map(cells).collect();
        blocks.push(Block::Table(Table { columns, rows: table_rows }));
        blocks.extend(more(rows.0, document.waits.len(), ""));
    }
    Section::new("waits", "Who queued behind whom", blocks)
}
