//! The blocks that take more than a line of thought in a terminal: findings, tables, lists, days, bars.

use super::{COLUMNS, Ink, Out, Style};
use crate::{
    blocks::{Align, Bar, Item, Table},
    clean,
    content::Rows,
    format,
    wrap::{clip, left, right, width},
};
use case::{Day, Question};
use checks::Light;
use diagnosis::{Confidence, Finding};
use observe::TimeClass;

/// Pieces of evidence shown for a finding.
const EVIDENCE: usize = 3;
/// Next steps shown for a finding.
const STEPS: usize = 3;

pub fn finding(out: &mut Out, style: Style, finding: &Finding) {
    let ink = match finding.confidence {
        Confidence::Confirmed | Confidence::Likely => Ink::Red,
        Confidence::Possible => Ink::Yellow,
    };
    let cause = clip(&clean(&finding.cause), 40);
    let confidence = format::confidence(finding.confidence);
    let start = format!("{}. {cause}", finding.rank);
    let room = COLUMNS.saturating_sub(width(&start) + 2 + confidence.len() + 2);
    let cost = clip(&clean(&format!("{} of the time of {}", format::share(finding), finding.victim.name)), room);
    out.push(format!("{}  {}  {cost}", style.ink(Ink::Bold, &start), style.ink(ink, confidence)));
    out.hanging("   ", &finding.summary, 5);
    out.hanging("   Victim    ", &format::party(&finding.victim), 2);
    out.hanging("   Culprit   ", &format::party(&finding.culprit), 2);
    for (at, evidence) in finding.evidence.iter().take(EVIDENCE).enumerate() {
        let against = evidence.threshold.as_ref().map_or_else(String::new, |threshold| format!(" ({threshold})"));
        let text = format!("{}: {}{against}", evidence.source, format::evidence_value(evidence));
        out.hanging(if at == 0 { "   Evidence  " } else { "             " }, &text, 2);
    }
    if !finding.codepath.is_empty() {
        out.hanging("   Path      ", &finding.codepath.join(" > "), 3);
    }
    if let Some(experiment) = &finding.experiment {
        out.hanging("   Tried     ", experiment, 3);
    }
    for (at, step) in finding.next.iter().take(STEPS).enumerate() {
        out.hanging(if at == 0 { "   Next      " } else { "             " }, step, 3);
    }
}

/// Between two columns.
const GAP: usize = 2;
/// Before the first one.
const INDENT: usize = 2;

pub fn table(out: &mut Out, style: Style, table: &Table) {
    let cells: Vec<Vec<String>> = table.rows.iter().map(|row| row.iter().map(|cell| clean(cell)).collect()).collect();
    let mut widths: Vec<usize> = table.columns.iter().map(|(title, _)| width(title)).collect();
    for row in &cells {
        for (column, cell) in widths.iter_mut().zip(row) {
            *column = (*column).max(width(cell));
        }
    }
    let room = COLUMNS - INDENT - GAP * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() > room {
        let Some(widest) = widths.iter_mut().max() else { break };
        *widest -= 1;
    }
    let line = |cells: &[String]| {
        let fitted: Vec<String> = cells
            .iter()
            .zip(&widths)
            .zip(&table.columns)
            .map(|((cell, columns), (_, align))| match align {
                Align::Left => left(cell, *columns),
                Align::Right => right(cell, *columns),
            })
            .collect();
        format!("{}{}", " ".repeat(INDENT), fitted.join(&" ".repeat(GAP))).trim_end().to_owned()
    };
    let titles: Vec<String> = table.columns.iter().map(|(title, _)| (*title).to_owned()).collect();
    out.push(style.ink(Ink::Dim, &line(&titles)));
    for row in &cells {
        out.push(line(row));
    }
}

pub fn list(out: &mut Out, items: &[Item<'_>]) {
    let names: Vec<String> = items.iter().map(|item| clip(&clean(item.id), 28)).collect();
    let column = names.iter().map(|name| width(name)).max().unwrap_or(0);
    for (item, name) in items.iter().zip(&names) {
        out.hanging(&format!("  {}  ", left(name, column)), item.why, 2);
    }
}

/// Lines of a sentence of the statement, where it stands among other things and where it is what was asked for.
const SENTENCE: usize = 3;
const WHOLE_SENTENCE: usize = 8;

pub fn statement(out: &mut Out, questions: &[Question], rows: Rows) {
    for question in questions {
        let name = left(&clean(&format::day(&question.id.replace('_', " "))), 14);
        let blank = " ".repeat(width(&name));
        let said = (!question.said.is_empty()).then(|| format!("\u{201c}{}\u{201d}", question.said.replace('\n', " ")));
        let measured = question.measured.iter().take(rows.0).cloned();
        let rest = question.measured.len().saturating_sub(rows.0);
        let rest = (rest > 0).then(|| format!("and {rest} more"));
        // What is not known stands where nothing else does.
        let unknown = question.unknown.iter().map(|why| format!("not known: {why}"));
        let unknown = unknown.take(if question.measured.is_empty() || rows == Rows::ALL { rows.0 } else { 0 });
        for (at, text) in said.into_iter().chain(measured).chain(rest).chain(unknown).enumerate() {
            let label = format!("  {}  ", if at == 0 { &name } else { &blank });
            out.hanging(&label, &text, if rows == Rows::ALL { WHOLE_SENTENCE } else { SENTENCE });
        }
    }
}

pub fn week(out: &mut Out, days: &[Day]) {
    for day in days.iter().filter(|day| !day.known.is_empty()) {
        let name = left(&clean(&format::day(&day.day)), 11);
        out.hanging(&format!("  {name}  "), &day.known.join("; "), 3);
    }
    let all = days.iter().flat_map(|day| &day.tests).filter(|test| !test.not_here);
    let [mut good, mut maybe, mut bad, mut untested] = [0u64; 4];
    for test in all {
        match test.verdict {
            Light::Good => good += 1,
            Light::Maybe => maybe += 1,
            Light::Bad => bad += 1,
            Light::Untested => untested += 1,
        }
    }
    if good + maybe + bad + untested > 0 {
        out.hanging("  Tests        ", &format!("{bad} bad, {maybe} maybe, {good} good, {untested} untested"), 1);
    }
}

/// Cells of a bar.
const BAR: usize = 28;
/// Columns of a thread's name.
const NAME: usize = 24;

/// The kinds of time that a text bar tells apart, with their cell and ink.
const CELLS: [(char, &str, Ink); 5] = [
    ('█', "own code", Ink::Green),
    ('▓', "kernel", Ink::Blue),
    ('▒', "waiting for a CPU", Ink::Red),
    ('░', "blocked", Ink::Yellow),
    ('·', "asleep or idle", Ink::Dim),
];

fn cell_of(class: Option<TimeClass>) -> usize {
    match class {
        Some(TimeClass::RunningUser) => 0,
        Some(class) if class.is_running() => 1,
        Some(class) if class.is_runnable() => 2,
        Some(TimeClass::BlockedSleep | TimeClass::BlockedIdle) => 4,
        _ => 3,
    }
}

pub fn bars(out: &mut Out, style: Style, bars: &[Bar<'_>]) {
    let legend: Vec<String> =
        CELLS.iter().map(|(cell, name, ink)| format!("{} {name}", style.ink(*ink, &cell.to_string()))).collect();
    out.push(format!("  {}", legend.join("   ")));
    for bar in bars {
        let mut shares = [0.0; CELLS.len()];
        for (class, share) in &bar.parts {
            shares[cell_of(*class)] += share.clamp(0.0, 1.0);
        }
        let drawn: Vec<String> = cells(&shares)
            .iter()
            .zip(CELLS)
            .map(|(count, (cell, _, ink))| style.ink(ink, &cell.to_string().repeat(*count)))
            .collect();
        let blanks = BAR - cells(&shares).iter().sum::<usize>();
        let mut parts: Vec<_> = bar.parts.iter().filter(|(_, share)| *share >= 0.005).collect();
        parts.sort_by(|a, b| b.1.total_cmp(&a.1));
        let words: Vec<String> = parts
            .iter()
            .take(3)
            .map(|(class, share)| {
                let name = class.map_or("unknown class", TimeClass::name);
                format!("{} {}", format::percent(*share), name.split_once('.').map_or(name, |(_, name)| name))
            })
            .collect();
        let id = format!(" {}", bar.thread);
        let name = left(&(clip(&clean(bar.name), NAME - id.len()) + &id), NAME);
        let words = clip(&words.join(", "), COLUMNS - 2 - NAME - 2 - BAR - 2);
        out.push(format!("  {name}  {}{}  {words}", drawn.concat(), " ".repeat(blanks)).trim_end());
    }
}

/// Whole cells for each share, by largest remainder, never more than the bar has.
fn cells(shares: &[f64; CELLS.len()]) -> [usize; CELLS.len()] {
    let total: f64 = shares.iter().sum();
    let scale = BAR as f64 / total.max(1.0);
    let mut counts = shares.map(|share| (share * scale).floor() as usize);
    let wanted = ((total * scale).round() as usize).min(BAR);
    let mut order: Vec<usize> = (0..shares.len()).collect();
    order.sort_by(|a, b| (shares[*b] * scale).fract().total_cmp(&(shares[*a] * scale).fract()));
    let missing = wanted.saturating_sub(counts.iter().sum());
    for at in order.into_iter().take(missing) {
        counts[at] += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_never_overflow_and_round_fairly() {
        assert_eq!(cells(&[0.5, 0.5, 0.0, 0.0, 0.0]), [14, 14, 0, 0, 0]);
        assert_eq!(cells(&[1.0, 1.0, 1.0, 1.0, 1.0]).iter().sum::<usize>(), BAR);
        assert_eq!(cells(&[0.0; 5]), [0; 5]);
        assert_eq!(cells(&[0.34, 0.33, 0.33, 0.0, 0.0]).iter().sum::<usize>(), BAR);
    }
}
