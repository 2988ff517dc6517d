//! What was asked, what the run ends with, why, and how the week went.

use super::{Rows, more};
use crate::{
    blocks::{Block, Section},
    format,
};
use case::Document;

/// Target, window and machine.
pub fn opening(document: &Document) -> Section<'_> {
    let mut pairs = vec![
        ("Target", format::target(&document.target)),
        ("Window", format::window(document)),
        ("Host", format::host(document)),
    ];
    if !document.chosen.is_empty() {
        pairs.push(("Chosen", document.chosen.clone()));
    }
    Section::new("problem", "Problem", vec![Block::Pairs(pairs)])
}

/// The ranked causes.
pub fn findings(document: &Document, rows: Rows) -> Section<'_> {
    let mut blocks: Vec<_> = document.findings.iter().take(rows.0).map(Block::Finding).collect();
    if blocks.is_empty() {
        blocks.push(Block::Note("No cause was found.".to_owned()));
    }
    blocks.extend(more(rows.0, document.findings.len(), ""));
    Section::new("findings", "Causes", blocks)
}

/// What is known at the end of each day.
pub fn week(document: &Document) -> Section<'_> {
    let said = document.days.iter().any(|day| !day.known.is_empty() || !day.tests.is_empty());
    let blocks = if said { vec![Block::Week(&document.days)] } else { Vec::new() };
    Section::new("week", "The week", blocks)
}
