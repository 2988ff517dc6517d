//! The critical path: what a victim's time in the event window is made of, other threads' doings included.

use super::{Rows, absent, more};
use crate::{
    blocks::{Align, Block, Section, Table},
    format,
};
use case::Document;
use diagnosis::path::{Path, PathRow};
use observe::{Recording, TimeClass, catalog};

/// A table for each of the first victims.
pub fn path<'a>(document: &'a Document, recording: &Recording, victims: Rows, rows: Rows) -> Section<'a> {
    let mut blocks = Vec::new();
    if document.paths.is_empty() {
        blocks.push(match recording.get(&catalog::EPISODES) {
            Err(why) => absent("No critical path", &why),
            Ok(_) => Block::Note("No critical path: no victim's thread was seen in the event window.".to_owned()),
        });
    }
    for path in document.paths.iter().take(victims.0) {
        blocks.push(Block::Text(format!("{}: {}.", path.victim, path.about)));
        blocks.extend(incomplete(path));
        let columns = vec![
            ("Share", Align::Right),
            ("Time", Align::Right),
            ("On the path", Align::Left),
            ("What it did", Align::Left),
            ("Where", Align::Left),
        ];
        let cells = path.rows.iter().take(rows.0).map(|row| {
            vec![
                format::percent(row.share.0),
                format::seconds(row.seconds),
                row.party.clone(),
                doing(row),
                place(&row.codepath),
            ]
        });
        blocks.push(Block::Table(Table { columns, rows: cells.collect() }));
        blocks.extend(more(rows.0, path.rows.len(), ""));
    }
    blocks.extend(more(victims.0, document.paths.len(), " paths"));
    Section::new("path", "Critical path", blocks)
}

fn incomplete<'a>(path: &Path) -> Option<Block<'a>> {
    let lost = format::plural(path.lost, "episode", "episodes");
    (path.lost > 0).then(|| Block::Note(format!("Incomplete: {lost} of the event window did not fit and were lost.")))
}

/// `runs`, `queues behind stress (123)`, `blocked.disk: disk:vda`.
fn doing(row: &PathRow) -> String {
    let behind = if row.by.is_empty() { String::new() } else { format!(" behind {}", row.by) };
    match row.class {
        class if class.is_running() && row.by.is_empty() => match row.alone {
            Some(alone) => format!("runs, alone for {} of it", format::percent(alone.0)),
            None => "runs".to_owned(),
        },
        class if class.is_running() => "queues: it was at something else".to_owned(),
        TimeClass::RunnableThrottled => "is throttled".to_owned(),
        TimeClass::RunnablePinned => format!("queues pinned{behind}"),
        TimeClass::RunnableWaking => "waits for an idle CPU to wake up".to_owned(),
        class if class.is_runnable() => format!("queues{behind}"),
        TimeClass::BlockedIdle if row.by.is_empty() => "waits for a timer, or what comes from outside".to_owned(),
        // Whoever answers has not read it yet, or has sent the answer, and it has not arrived.
        TimeClass::BlockedNetwork if !row.by.is_empty() => {
            format!("on the way to or from {}: {}", row.by, row.resource)
        }
        class => {
            let colon = if row.resource.is_empty() { "" } else { ": " };
            let until = if row.by.is_empty() { String::new() } else { format!(", until {}", row.by) };
            format!("{}{colon}{}{until}", class.name(), row.resource)
        }
    }
}

/// The innermost functions, which say most.
fn place(codepath: &[String]) -> String {
    /// ours: what fits beside the rest of a line.
    const INNERMOST: usize = 2;
    let from = codepath.len().saturating_sub(INNERMOST);
    codepath[from..].join(" → ")
}
