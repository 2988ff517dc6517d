//! The slowest single events: waits for a CPU, block requests, system calls.

use super::absent;
use crate::{
    blocks::{Align, Block, Section, Table},
    format,
};
use observe::{Event, Recording, catalog};

/// Rows shown.
const MOST: usize = 20;

/// The slowest events of all kinds together.
pub fn outliers<'a>(recording: &Recording) -> Section<'a> {
    let mut blocks = Vec::new();
    let mut found: Vec<(&'static str, &Event)> = Vec::new();
    for (what, metric) in [
        ("wait for a CPU", &catalog::SLOW_RUN_QUEUE),
        ("block request", &catalog::SLOW_BLOCK_IO),
        ("system call", &catalog::SLOW_SYSCALL),
    ] {
        match recording.get(metric) {
            Ok(events) => {
                let events = events.iter().filter(|e| !e.pid.is_some_and(|pid| recording.is_friday(pid)));
                found.extend(events.map(|event| (what, event)));
            }
            Err(why) => blocks.push(absent(&format!("No outliers of kind “{what}”"), &why)),
        }
    }
    let all = found.len();
    found.sort_by(|(_, a), (_, b)| b.value.total_cmp(&a.value).then(a.at.cmp(&b.at)));
    if all > 0 {
        let columns = vec![
            ("Took", Align::Right),
            ("What", Align::Left),
            ("Who", Align::Left),
            ("Where", Align::Left),
            ("At", Align::Right),
        ];
        let rows = found.iter().take(MOST).map(|(what, event)| {
            let name = event.labels.get("name");
            let who = match (event.pid, name.is_empty()) {
                (Some(pid), true) => format!("{} ({pid})", recording.process_name(pid)),
                (Some(pid), false) => format!("{name} ({pid})"),
                (None, _) => name.to_owned(),
            };
            let rest = event.labels.0.iter().filter(|(key, value)| key.as_str() != "name" && !value.is_empty());
            let place: Vec<String> = rest
                .map(|(key, value)| if key == "behind" { format!("behind {value}") } else { value.clone() })
                .collect();
            let at = format!("+{:.3} s", event.at.as_secs_f64());
            vec![format::seconds(event.value), (*what).to_owned(), who, place.join(" "), at]
        });
        blocks.insert(0, Block::Table(Table { columns, rows: rows.collect() }));
        if all > MOST {
            let note = format!("The slowest {MOST} of {}.", format::count(all as u64));
            blocks.insert(1, Block::Note(note));
        }
    } else if blocks.is_empty() {
        blocks.push(Block::Note("Nothing took longer than the outlier thresholds.".to_owned()));
    }
    Section::new("outliers", "Outliers", blocks)
}
