//! The table on stdout.

use super::Scored;
use super::account::Difference;
use super::pair::Compared;
use crate::results::aligned;

/// ours: friday is right enough with so much of the true time, in percent.
const ENOUGH: f64 = 95.0;
/// ours: smaller differences are not told, in seconds.
const TOLD: f64 = 0.02;

const HEAD: [&str; 6] = ["program", "language", "true s", "right %", "most missed", "most invented"];
const LEGEND: &str = "right: the part of the true time that friday gives to the right process, running, asleep or at the \
disk.\nTime before and after the job, which the programs do not log, is among what is invented.\n";

const PAIRS_HEAD: [&str; 7] = ["pair", "own", "waits %", "gains %", "friday %", "points", "causes"];
const PAIRS_LEGEND: &str = "own: the first thread's part of each item. waits: the thread that waits longest. gains: by really \
removing what it waits for.\n";

/// Rows are programs, then variants of pairs; what there is none of is left out.
pub fn text(programs: &[Scored], pairs: &[Compared]) -> String {
    part(&HEAD, programs.iter().map(row), LEGEND) + &part(&PAIRS_HEAD, pairs.iter().map(pair_row), PAIRS_LEGEND)
}

fn part(head: &[&str], rows: impl Iterator<Item = Vec<String>>, legend: &str) -> String {
    let mut all = vec![head.iter().map(|cell| cell.to_string()).collect()];
    all.extend(rows);
    if all.len() > 1 { aligned(&all) + legend } else { String::new() }
}

fn pair_row(one: &Compared) -> Vec<String> {
    let mark = if one.right() { "" } else { " WRONG" };
    let bound = if one.at_most { "at most " } else { "" };
    vec![
        one.pair.into(),
        one.own.to_string(),
        format!("{:.1}", one.waited_percent),
        format!("{:.1}", one.gain_percent),
        format!("{bound}{:.1}", one.share_percent),
        format!("{:+.1}{mark}", one.points()),
        one.causes.join(", "),
    ]
}

fn row(scored: &Scored) -> Vec<String> {
    let [missed, invented] = scored.truth.largest_differences(&scored.friday);
    let mark = if scored.right() { "" } else { " WRONG" };
    vec![
        scored.program.into(),
        scored.language.into(),
        format!("{:.2}", scored.truth.sum()),
        format!("{:.1}{mark}", scored.right_percent),
        told(missed),
        told(invented),
    ]
}

fn told(difference: Option<Difference>) -> String {
    let telling = difference.filter(|one| (one.said - one.truth).abs() >= TOLD);
    telling.map_or(String::new(), |one| format!("{} {:.2} s for {:.2}", one.what, one.said, one.truth))
}

impl Scored {
    /// Whether friday is right enough.
    pub fn right(&self) -> bool {
        self.right_percent >= ENOUGH
    }
}
