//! What was ruled out, what could not be seen, and what the looking cost.

use super::{Rows, more};
use crate::{
    blocks::{Align, Block, Item, Section, Table},
    format,
};
use case::Document;
use observe::Bytes;
use std::time::Duration;

/// What was ruled out.
pub fn eliminated(document: &Document, rows: Rows) -> Section<'_> {
    let items = document.eliminated.iter().map(|e| Item { id: &e.id, why: &e.why });
    list("eliminated", "Ruled out", items.collect(), rows)
}

/// What could not be seen.
pub fn untested(document: &Document, rows: Rows) -> Section<'_> {
    let items = document.untested.iter().map(|u| Item { id: &u.id, why: &u.why });
    list("untested", "Could not be seen", items.collect(), rows)
}

fn list<'a>(id: &'static str, title: &str, mut items: Vec<Item<'a>>, rows: Rows) -> Section<'a> {
    let all = items.len();
    items.truncate(rows.0);
    let mut blocks = Vec::new();
    if all > 0 {
        blocks.push(Block::List(items));
        blocks.extend(more(rows.0, all, ""));
    }
    Section::new(id, title, blocks)
}

/// What the looking cost, with its kernel-side programs if asked.
pub fn overhead(document: &Document, programs: bool) -> Section<'_> {
    let cost = &document.overhead;
    let lost = match cost.lost_events {
        0 => "no events lost".to_owned(),
        lost => {
            let mut kinds: Vec<_> = cost.lost.iter().collect();
            kinds.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
            let named: Vec<String> =
                kinds.iter().take(3).map(|(kind, count)| format!("{} {kind}", format::count(**count))).collect();
            let which = if named.is_empty() { String::new() } else { format!(" ({})", named.join(", ")) };
            format!("{} lost: numbers may be too low{which}", format::plural(lost, "event", "events"))
        }
    };
    let cpu = format::percent(cost.cpu_percent / 100.0);
    let text = format!("friday used {cpu} of the machine's CPU time and {} of memory; {lost}.", Bytes(cost.rss_bytes));
    let mut blocks = vec![Block::Text(text)];
    if programs && !document.armed.is_empty() {
        let columns =
            vec![("Probe", Align::Left), ("Tier", Align::Right), ("Of the window", Align::Right), ("Why", Align::Left)];
        let rows = document.armed.iter().map(|armed| {
            let part = if armed.of_window > 0.0 { format::percent(armed.of_window) } else { "not armed".to_owned() };
            vec![armed.probe.clone(), armed.tier.to_string(), part, armed.why.clone()]
        });
        blocks.push(Block::Table(Table { columns, rows: rows.collect() }));
    }
    if programs && !cost.programs.is_empty() {
        blocks.push(Block::Text(format!(
            "Its kernel-side programs were measured for {} of the window, as measuring makes them slower; arming the \
             probes took {} of CPU time before it.",
            format::seconds(cost.programs_seconds),
            format::seconds(cost.arming_seconds),
        )));
        let columns = vec![
            ("Kernel-side program", Align::Left),
            ("Runs", Align::Right),
            ("Time a run", Align::Right),
            ("Total", Align::Right),
        ];
        let mut ranked: Vec<_> = cost.programs.iter().collect();
        ranked.sort_by_key(|p| std::cmp::Reverse(p.ns_per_run.saturating_mul(p.runs)));
        let rows = ranked.iter().map(|p| {
            let total = Duration::from_nanos(p.ns_per_run.saturating_mul(p.runs));
            vec![
                p.name.clone(),
                format::count(p.runs),
                format::duration(Duration::from_nanos(p.ns_per_run)),
                format::duration(total),
            ]
        });
        blocks.push(Block::Table(Table { columns, rows: rows.collect() }));
    }
    Section::new("overhead", "What the looking cost", blocks)
}
