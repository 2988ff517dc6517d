//! What was asked, what the run ends with, why, and how the week went.

use super::{Rows, more};
use crate::{
    blocks::{Block, Item, Section},
    format,
};
use case::Document;
use checks::{Light, Test};

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

/// The six questions, with what people said and what the data says; so many sentences of each of the latter.
pub fn statement(document: &Document, sentences: Rows) -> Section<'_> {
    let blocks = match &document.statement[..] {
        [] => Vec::new(),
        questions => vec![Block::Statement(questions, sentences)],
    };
    Section::new("statement", "Problem statement", blocks)
}

/// Of Monday's static tuning, what is to be reviewed, the errors first, and how much is not. None of it is a cause: where time
/// rests on a setting, that is among the causes.
pub fn review(document: &Document, rows: Rows) -> Section<'_> {
    let tests = || document.days.iter().filter(|day| day.day == "monday").flat_map(|day| &day.tests);
    let count = |light| tests().filter(|test| test.verdict == light && !test.not_here).count() as u64;
    let mut review: Vec<&Test> = tests().filter(|t| matches!(t.verdict, Light::Maybe | Light::Bad)).collect();
    review.sort_by_key(|test| test.verdict != Light::Bad);
    let (good, untested) = (count(Light::Good), count(Light::Untested));
    let mut blocks = Vec::new();
    if !review.is_empty() || good > 0 {
        blocks.push(Block::Note(format!(
            "{} to review, {good} good, {untested} untested (`friday monday` shows all). Where measured time rests on a setting, it \
             is among the causes; these are not accused.",
            review.len()
        )));
        let items = review.iter().take(rows.0).map(|test| Item { id: &test.id, why: &test.why });
        if !review.is_empty() {
            blocks.push(Block::List(items.collect()));
        }
        blocks.extend(more(rows.0, review.len(), ""));
    }
    Section::new("review", "Config to review", blocks)
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
