//! The table on stdout.

use super::Scored;
use super::account::Difference;
use crate::results::aligned;

/// ours: friday is right enough with so much of the true time, in percent.
const ENOUGH: f64 = 95.0;
/// ours: smaller differences are not told, in seconds.
const TOLD: f64 = 0.02;

const HEAD: [&str; 6] = ["program", "language", "true s", "right %", "most missed", "most invented"];
const LEGEND: &str = "right: the part of the true time that friday gives to the right process, running, asleep or at the \
disk.\nTime before and after the job, which the programs do not log, is among what is invented.\n";

/// Rows are programs.
pub fn text(programs: &[Scored]) -> String {
    let mut rows = vec![HEAD.map(String::from).to_vec()];
    rows.extend(programs.iter().map(row));
    aligned(&rows) + LEGEND
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
