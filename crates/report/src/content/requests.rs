//! Which services were asked for something, how long that took and where that time went, and whom they asked in turn.

use super::{Rows, absent, more};
use crate::{
    blocks::{Align, Block, Section, Table},
    format::{self, percent},
};
use case::{Document, RequestRow, UpstreamRow};
use observe::{Bytes, Recording, catalog};

/// How a request's time can go, in the order in which it does.
const PARTS: [&str; 5] = ["queued", "running", "runnable", "blocked", "elsewhere"];

/// Requests per service and exchanges with others, where they could be seen.
pub fn requests<'a>(document: &Document, recording: &Recording, rows: Rows) -> Section<'a> {
    let title = "Requests";
    if let Err(why) = recording.get(&catalog::REQUESTS) {
        return Section::new("requests", title, vec![absent("Requests were not followed", &why)]);
    }
    let mut blocks = Vec::new();
    if document.requests.is_empty() {
        blocks.push(Block::Note("No request came in on a TCP or unix socket.".to_owned()));
    } else {
        blocks.push(Block::Table(services(&document.requests, rows)));
        blocks.extend(more(rows.0, document.requests.len(), " services"));
        blocks.push(Block::Table(parts(&document.requests, rows)));
        blocks.push(Block::Note(
            "From data in to the last data out on accepted connections. Queued: nobody had read it. Running, runnable, \
             blocked: the thread that had read it. Elsewhere: another thread answered."
                .to_owned(),
        ));
    }
    if let Some(row) = document.requests.first().filter(|row| row.followed < 1.0) {
        blocks.push(Block::Note(format!(
            "Requests were followed for {} of the window: counts are scaled up to all of it, and what takes over 100 ms \
             is seen less than it happens.",
            percent(row.followed)
        )));
    }
    if !document.upstreams.is_empty() {
        blocks.push(Block::Table(upstreams(&document.upstreams, rows)));
        blocks.extend(more(rows.0, document.upstreams.len(), " exchanges with others"));
    }
    Section::new("requests", title, blocks)
}

fn services(all: &[RequestRow], rows: Rows) -> Table {
    let columns = vec![
        ("Service", Align::Left),
        ("On", Align::Left),
        ("Requests", Align::Right),
        ("A second", Align::Right),
        ("p50", Align::Right),
        ("p99", Align::Right),
        ("In", Align::Right),
        ("Out", Align::Right),
        ("In flight", Align::Left),
    ];
    let cells = |row: &RequestRow| {
        vec![
            row.service.clone(),
            place(row),
            format::count(row.count),
            format::digits(rounded(row.rate)),
            time(row.count, row.p50_s),
            time(row.count, row.p99_s),
            Bytes(row.bytes_in).to_string(),
            Bytes(row.bytes_out).to_string(),
            in_flight(row.in_flight, row.oldest_s),
        ]
    };
    Table { columns, rows: all.iter().take(rows.0).map(cells).collect() }
}

/// Where the time of each service's requests went.
fn parts(all: &[RequestRow], rows: Rows) -> Table {
    let columns = vec![
        ("Service", Align::Left),
        ("On", Align::Left),
        ("Time", Align::Right),
        ("Queued", Align::Right),
        ("Running", Align::Right),
        ("Runnable", Align::Right),
        ("Blocked", Align::Right),
        ("Elsewhere", Align::Right),
    ];
    let cells = |row: &RequestRow| {
        let share = |part: &str| row.shares.get(part).copied().filter(|share| *share > 0.0);
        let mut cells = vec![row.service.clone(), place(row), format::seconds(row.seconds)];
        cells.extend(PARTS.map(|part| share(part).map_or_else(String::new, percent)));
        cells
    };
    let answered = all.iter().take(rows.0).filter(|row| row.count > 0);
    Table { columns, rows: answered.map(cells).collect() }
}

fn place(row: &RequestRow) -> String {
    if row.path.is_empty() { row.port.to_string() } else { row.path.clone() }
}

fn upstreams(all: &[UpstreamRow], rows: Rows) -> Table {
    let columns = vec![
        ("Process", Align::Left),
        ("Asked", Align::Left),
        ("Answered by", Align::Left),
        ("Times", Align::Right),
        ("p50", Align::Right),
        ("p99", Align::Right),
        ("Time", Align::Right),
        ("In requests", Align::Right),
        ("In flight", Align::Left),
    ];
    let cells = |row: &UpstreamRow| {
        vec![
            row.process.clone(),
            row.peer.clone(),
            row.server.clone(),
            format::count(row.count),
            time(row.count, row.p50_s),
            time(row.count, row.p99_s),
            format::seconds(row.seconds),
            if row.in_requests_s > 0.0 { percent(row.in_requests_s / row.seconds) } else { String::new() },
            in_flight(row.in_flight, row.oldest_s),
        ]
    };
    Table { columns, rows: all.iter().take(rows.0).map(cells).collect() }
}

/// `2, up to 3.1 s`.
fn in_flight(count: u64, oldest: Option<f64>) -> String {
    match oldest {
        _ if count == 0 => String::new(),
        None => format::count(count),
        Some(oldest) => format!("{}, up to {}", format::count(count), format::seconds(oldest)),
    }
}

/// Nothing where nothing was measured.
fn time(count: u64, seconds: f64) -> String {
    if count == 0 { String::new() } else { format::seconds(seconds) }
}

/// Rates from ten on without a fraction.
fn rounded(rate: f64) -> f64 {
    if rate >= 10.0 { rate.round() } else { rate }
}
