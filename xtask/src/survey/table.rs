//! The table on stdout, and under it the reasons for everything that is not whole.

use super::compare::Comparison;
use super::figures::{Profiles, Surveyed};
use super::look::{Reason, StackSet};
use crate::results::aligned;

/// ours: a reason with a smaller part is not told.
const TOLD: f64 = 0.002;
/// ours: so many reasons of each kind are told.
const MOST_TOLD: usize = 4;

const HEAD: [&str; 13] = [
    "program",
    "unclassified %",
    "on-CPU %",
    "off-CPU %",
    "waker %",
    "framehop %",
    "perf beside",
    "perf alone",
    "perf itself",
    "friday CPU %",
    "MiB",
    "lost",
    "s to report",
];

const LEGEND: &str = "Stacks: unwound/symbolized, * of the busiest process. framehop: complete stacks, friday's/framehop's, \
and equal ones.\nperf: most points between the shares of a function (by chance, 95 of 100), at the same time and one \
after the other;\nitself: perf's own, as often as friday samples, against perf's at the same time.\n";

/// Rows are programs; below are reasons and shortfalls.
pub fn text(programs: &[Surveyed]) -> String {
    let mut rows = vec![HEAD.map(String::from).to_vec()];
    rows.extend(programs.iter().map(row));
    let mut text = aligned(&rows) + LEGEND;
    programs.iter().for_each(|program| text.push_str(&reasons(program)));
    text
}

fn row(program: &Surveyed) -> Vec<String> {
    let star = if program.many { "*" } else { "" };
    let set = |name| match program.set(name) {
        Some(set) => format!("{:.1}/{:.1}{star}", 100.0 * set.unwound, 100.0 * set.symbolized),
        None => "-".into(),
    };
    let framehop = program.framehop.as_ref().map_or("-".into(), |found| {
        format!("{:.1}/{:.1} {:.1}", found.complete_percent, found.framehop_percent, found.equal_percent)
    });
    let perf = |which: fn(&Profiles) -> &Comparison| {
        let worst = program.perf.as_ref().ok().and_then(|found| which(found).worst());
        worst.map_or("-".into(), |worst| format!("{:.1} (±{:.1})", worst.points, worst.error_points))
    };
    vec![
        program.program.into(),
        format!("{:.2}", program.unknown_percent),
        set("on-CPU"),
        set("off-CPU"),
        set("waker"),
        framehop,
        perf(|found| &found.beside),
        perf(|found| &found.alone),
        perf(|found| &found.itself),
        format!("{:.1}", program.cpu_percent),
        format!("{:.0}", program.rss_bytes / f64::from(1 << 20)),
        format!("{:.0}", program.lost_events),
        format!("{:.1}", program.report_seconds),
    ]
}

/// What is behind the figures of one program.
fn reasons(program: &Surveyed) -> String {
    let mut lines = Vec::new();
    let unknown: Vec<String> =
        program.telling_unknown().map(|part| format!("{} {:.1} %", part.thread, part.percent)).collect();
    if !unknown.is_empty() {
        lines.push(format!("unclassified: {}", unknown.join(", ")));
    }
    for (whose, sets) in [("", &program.stacks), ("machine's ", &program.machine_stacks)] {
        for set in sets {
            lines.extend(told(whose, set, "not unwound", &set.not_unwound));
            lines.extend(told(whose, set, "without a name", &set.not_symbolized));
        }
    }
    if let Ok(found) = &program.perf {
        lines.extend(told_worst("beside", &found.beside));
        lines.extend(told_worst("alone", &found.alone));
        lines.extend(found.itself.worst().map(|worst| {
            let (seldom, often) = (worst.percent, worst.reference_percent);
            format!("perf against itself: {} {seldom:.1} % and {often:.1} %", worst.function)
        }));
        for (who, shares) in [("perf", &found.beside.only_reference), ("friday", &found.beside.only_ours)] {
            let shares: Vec<String> =
                shares.iter().map(|share| format!("{} {:.1} %", share.function, share.percent)).collect();
            if !shares.is_empty() {
                lines.push(format!("only by {who}: {}", shares.join(", ")));
            }
        }
    }
    let lost: Vec<String> = program.lost.iter().map(|(kind, count)| format!("{count:.0} {kind}")).collect();
    if !lost.is_empty() {
        lines.push(format!("lost: {}", lost.join(", ")));
    }
    lines.extend(program.shortfalls().into_iter().map(|short| format!("SHORT: {short}")));
    lines.insert(0, format!("\n{}", program.program));
    lines.join("\n  ") + "\n"
}

fn told_worst(when: &str, found: &Comparison) -> Option<String> {
    let worst = found.worst()?;
    Some(format!(
        "against perf {when}: {} {:.1} % of {} samples, perf {:.1} % of {}",
        worst.function, worst.percent, found.samples, worst.reference_percent, found.reference_samples
    ))
}

fn told(whose: &str, set: &StackSet, what: &str, reasons: &[Reason]) -> Option<String> {
    let reasons = reasons.iter().filter(|reason| reason.part >= TOLD).take(MOST_TOLD);
    let said: Vec<String> = reasons.map(|reason| format!("{} {:.1} %", reason.why, 100.0 * reason.part)).collect();
    (!said.is_empty()).then(|| format!("{whose}{} {what}: {}", set.set, said.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::super::{Seen, compare::Flat, loads::LOADS, look::*, names::Aliases};
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_row_and_its_reasons_are_shown() {
        let shares = BTreeMap::from([("blocked.unknown".to_string(), 0.05)]);
        let mut flat = Flat::default();
        flat.add("read".into(), 100);
        let look = Look {
            threads: vec![Thread { thread: 1, process: 1, name: "io".into(), seconds: 10.0, shares }],
            stacks: vec![StackSet {
                set: "on-CPU".into(),
                weight: 100.0,
                unwound: 0.96,
                symbolized: 1.0,
                not_unwound: vec![Reason { why: "cut".into(), part: 0.04 }],
                not_symbolized: Vec::new(),
            }],
            overhead: Overhead {
                cpu_percent: 2.5,
                own_percent: 1.0,
                rss_bytes: 52428800.0,
                lost_events: 3.0,
                lost: BTreeMap::from([("waits".into(), 3.0)]),
            },
            report_seconds: 0.75,
            on_cpu: flat.clone(),
        };
        let [friday, beside, alone] = [flat.clone(), flat.clone(), flat.clone()];
        let twice = [flat.clone(), flat];
        let seen = Seen { looks: vec![look], friday, beside, alone, twice, ..Seen::default() };
        let found = Surveyed::of(&LOADS[0], seen, &Aliases::default(), Err("none here".into()));
        let text = text(&[found]);
        let lines: Vec<&str> = text.lines().collect();
        let cells: Vec<&str> = lines[1].split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        assert_eq!(
            cells,
            [
                "redis",
                "5.00",
                "96.0/100.0",
                "-",
                "-",
                "-",
                "0.0 (±0.0)",
                "0.0 (±0.0)",
                "0.0 (±0.0)",
                "2.5",
                "50",
                "3",
                "0.8"
            ]
        );
        for line in
            ["unclassified: io 5.0 %", "on-CPU not unwound: cut 4.0 %", "lost: 3 waits", "SHORT: no off-CPU stacks"]
        {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
