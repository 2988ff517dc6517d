//! The tables on stdout.

use super::figures::{LoadResult, Outcome};
use super::tools::{REFERENCE, Tool};
use crate::results::aligned;

/// Rows are loads, columns are tools: the load alone in its unit, then how many times slower it is beside each tool.
pub fn ratios(loads: &[LoadResult], tools: &[&'static Tool]) -> String {
    let mut rows = vec![std::iter::once("load").chain(tools.iter().map(|tool| tool.name)).map(String::from).collect()];
    rows.extend(loads.iter().map(|load| {
        let mut row = vec![load.load.to_string()];
        row.extend(load.tools.iter().map(|outcome| cell(outcome, load.unit)));
        row
    }));
    let legend = "Times slower than with none: ratio of the medians (smallest-largest ratio within a round).\n";
    aligned(&rows) + legend
}

/// What friday said about itself, and how long it took to end; empty where it was not measured.
pub fn own_cost(loads: &[LoadResult]) -> String {
    let head = ["load", "tool", "cpu %", "MiB", "lost", "seconds to conclude"].map(String::from).to_vec();
    let mut rows = vec![head];
    for load in loads {
        rows.extend(load.tools.iter().filter_map(|outcome| {
            let cost = outcome.overhead.as_ref()?;
            Some(vec![
                load.load.to_string(),
                outcome.tool.to_string(),
                format!("{:.2}", cost.cpu_percent),
                format!("{:.0}", cost.rss_bytes / f64::from(1 << 20)),
                format!("{:.0}", cost.lost_events),
                outcome.exit_seconds.map_or("-".into(), |seconds| format!("{seconds:.1}")),
            ])
        }));
    }
    if rows.len() == 1 {
        String::new()
    } else {
        format!("\n{}Medians of what friday says about itself.\n", aligned(&rows))
    }
}

fn cell(outcome: &Outcome, unit: &str) -> String {
    match (&outcome.slower, outcome.median) {
        (_, Some(median)) if outcome.tool == REFERENCE => format!("{} {unit}", short(median)),
        (Some(slower), _) => format!("{:.2} ({:.2}-{:.2})", slower.ratio, slower.lowest, slower.highest),
        _ => "-".into(),
    }
}

/// A number with as many digits as mean something.
pub fn short(number: f64) -> String {
    let digits = if number < 10.0 {
        3
    } else if number < 1000.0 {
        1
    } else {
        0
    };
    format!("{number:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::super::{figures::Round, loads::LOADS, tools::TOOLS};
    use super::*;

    #[test]
    fn tables_show_every_load_and_tool() {
        let round = |tool, figure| Round { round: 1, tool, figure: Some(figure), ..Round::default() };
        let tools = [&TOOLS[0], &TOOLS[3], &TOOLS[5]];
        let load = LoadResult::of(&LOADS[0], 1000, &tools, vec![round("none", 6.5), round("friday-3", 7.8)]);
        let text = ratios(&[load], &tools);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "load          none         friday-3          bpftrace");
        assert_eq!(lines[1], "switch-storm  6.500 µs/op  1.20 (1.20-1.20)  -");
    }

    #[test]
    fn nothing_is_said_about_friday_where_it_did_not_run() {
        assert_eq!(own_cost(&[]), "");
    }

    #[test]
    fn numbers_are_as_long_as_needed() {
        assert_eq!([6.4728, 81.25, 81967.21].map(short), ["6.473", "81.2", "81967"]);
    }
}
