//! What is different from a case that was known to be good.

use super::Rows;
use crate::blocks::{Align, Block, Section, Table};
use case::{Compared, Document};
use compare::{Change, Kind};

/// The differences from the baseline, where there is one.
pub fn compared<'a>(document: &Document, rows: Rows) -> Section<'a> {
    document
        .compared
        .as_ref()
        .map_or_else(|| Section::new("compared", "", Vec::new()), |compared| section(compared, rows))
}

/// The same of two cases.
pub fn section<'a>(compared: &Compared, rows: Rows) -> Section<'a> {
    let title = format!("Compared with {}", compared.with);
    if compared.changes.is_empty() {
        let note = "Nothing is different beyond what both vary by: load, cost and time of requests, use of resources, \
                    settings, programs, hardware, as far as both cases have them.";
        return Section::new("compared", title, vec![Block::Note(note.to_owned())]);
    }
    let columns = vec![
        ("What", Align::Left),
        ("Of", Align::Left),
        ("Was", Align::Left),
        ("Is", Align::Left),
        ("Times", Align::Right),
    ];
    let cells = |change: &Change| {
        let times = change.times.map_or_else(String::new, |times| format!("{times:.2}"));
        vec![what(change.kind).to_owned(), change.of.clone(), change.before.clone(), change.after.clone(), times]
    };
    let table = Table { columns, rows: compared.changes.iter().take(rows.0).map(cells).collect() };
    let mut blocks = vec![Block::Table(table)];
    blocks.extend(super::more(rows.0, compared.changes.len(), " differences"));
    blocks.push(Block::Note(
        "Numbers differ where they lie outside of what both vary by from second to second, and by a tenth at least."
            .to_owned(),
    ));
    Section::new("compared", title, blocks)
}

fn what(kind: Kind) -> &'static str {
    match kind {
        Kind::Load => "load",
        Kind::Cost => "cost",
        Kind::Latency => "time",
        Kind::Busy => "resource",
        Kind::Config => "setting",
        Kind::Software => "program",
        Kind::Hardware => "hardware",
    }
}
