//! Whose time it is: on whom each victim's time rests in the end, and the way there.

use super::{Rows, more};
use crate::{
    blocks::{Align, Block, Section, Table},
    format,
};
use case::Document;
use diagnosis::WhosePart;

/// A table for each of the first victims, and the knots in which its time ends.
pub fn whose(document: &Document, victims: Rows, rows: Rows) -> Section<'_> {
    let mut blocks = Vec::new();
    for whose in document.whose.iter().take(victims.0) {
        let name = match whose.victim.pid {
            Some(pid) => format!("{} ({pid})", whose.victim.name),
            None => whose.victim.name.clone(),
        };
        let seconds = format::seconds(whose.seconds);
        blocks.push(Block::Text(format!("{name}: {seconds} of active time, by where it rests in the end.")));
        let columns = vec![
            ("Share", Align::Right),
            ("Time", Align::Right),
            ("Whose, at the end of the way there", Align::Left),
            ("What that one does", Align::Left),
        ];
        let cells = whose.parts.iter().take(rows.0).map(|part| {
            vec![format::percent(part.share), format::seconds(part.seconds), way(part), part.doing.clone()]
        });
        blocks.push(Block::Table(Table { columns, rows: cells.collect() }));
        blocks.extend(more(rows.0, whose.parts.len(), ""));
        blocks.extend(whose.knots.iter().map(|knot| Block::Text(knot.clone())));
    }
    blocks.extend(more(victims.0, document.whose.len(), " victims"));
    Section::new("whose", "Whose time it is", blocks)
}

/// The way to the party. Only the party at its end has its process id: the ways are long, and lines are short.
fn way(part: &WhosePart) -> String {
    let name = |label: &String| label.rsplit_once(" (").map_or(label.as_str(), |(name, _)| name).to_owned();
    let before = part.path.iter().rev().skip(1).rev().map(name);
    before.chain([part.party.clone()]).collect::<Vec<_>>().join(" → ")
}
