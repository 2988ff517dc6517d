//! What reports say, as blocks: one file per question.

mod compared;
mod diagram;
mod latency;
mod limits;
mod load;
mod outliers;
mod path;
mod requests;
mod summary;
mod syscalls;
mod threads;
mod whose;

pub use compared::{compared, section as compared_section};
pub use diagram::diagram;
pub use latency::latency;
pub use limits::{eliminated, overhead, untested};
pub use load::load;
pub use outliers::outliers;
pub use path::path;
pub use requests::requests;
pub use summary::{findings, opening, review, statement, week};
pub use syscalls::syscalls;
pub use threads::{ledger, ledger_table, waits};
pub use whose::whose;

use crate::{
    blocks::{Block, Section},
    flame::{difference, flame},
    folded::FoldedKind,
    format::{self, percent},
};
use case::{Document, Reason};
use observe::{Absent, Recording, catalog};

/// How much of a list is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows(pub usize);

impl Rows {
    /// All.
    pub const ALL: Rows = Rows(usize::MAX);
}

/// Why a section has no data.
pub fn absent<'a>(what: &str, why: &Absent) -> Block<'a> {
    Block::Note(format!("{what}: {why}."))
}

/// `and 12 more` under a list that was cut.
fn more<'a>(shown: usize, all: usize, where_: &str) -> Option<Block<'a>> {
    let rest = all.checked_sub(shown).filter(|rest| *rest > 0)?;
    Some(Block::Note(format!("and {} more{where_}", crate::format::count(rest as u64))))
}

/// How complete each set of stacks is, in a sentence a set.
fn stack_sets<'a>(document: &Document) -> impl Iterator<Item = Block<'a>> {
    let why = |reasons: &[Reason]| {
        let worst = reasons.iter().filter(|reason| reason.part >= 0.001).take(3);
        let told: Vec<String> = worst.map(|reason| format!("{} {}", reason.why, percent(reason.part))).collect();
        if told.is_empty() { String::new() } else { format!(" ({})", told.join(", ")) }
    };
    document.stacks.iter().map(move |set| {
        let weight = match set.set.as_str() {
            "on-CPU" => format::plural(set.weight as u64, "sample", "samples"),
            _ => format!("{} of waiting", format::seconds(set.weight)),
        };
        Block::Text(format!(
            "{} stacks, {weight}: {} unwound to their root{}; {} of frames have names{}.",
            set.set,
            percent(set.unwound),
            why(&set.not_unwound),
            percent(set.symbolized),
            why(&set.not_symbolized),
        ))
    })
}

/// The CPU, Python, off-CPU and waker flame graphs, and what they are worth.
pub fn flames<'a>(document: &Document, recording: &Recording) -> Section<'a> {
    let mut blocks: Vec<Block> = stack_sets(document).collect();
    let about_sets = blocks.len();
    if let Err(why) = recording.get(&catalog::CPU_STACKS) {
        blocks.push(absent("No CPU flame graph", &why));
    }
    if let Err(why) = recording.get(&catalog::WAITS) {
        blocks.push(absent("No off-CPU flame graphs", &why));
    }
    let kinds = [FoldedKind::Cpu, FoldedKind::Interpreted, FoldedKind::OffCpu, FoldedKind::OffCpuWaker];
    blocks.extend(kinds.into_iter().filter_map(|kind| flame(recording, kind)).map(Block::Flame));
    if blocks.len() == about_sets {
        blocks.push(Block::Note("No stacks were taken: the target neither ran nor waited.".to_owned()));
    }
    Section::new("flames", "Code paths", blocks)
}

/// Flame graphs of the difference between two recordings.
pub fn differences<'a>(before: &Recording, after: &Recording) -> Section<'a> {
    let kinds = [FoldedKind::Cpu, FoldedKind::Interpreted, FoldedKind::OffCpu];
    let graphs = kinds.into_iter().filter_map(|kind| difference(before, after, kind)).map(Block::Flame);
    Section::new("flames", "Code paths, by difference", graphs.collect())
}
