//! Who is asked for what: requests by service, and the exchanges with others that they wait for.

use case::{RequestRow, UpstreamRow};
use observe::{Histogram, Labels, Pid, Ratio, Recording, Series, catalog, catalog::Metric};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

/// ours: the document is read by people and scripts; the recording beside it holds every row.
const MOST_SERVICES: usize = 50;
const MOST_UPSTREAMS: usize = 50;

/// The target's services, or everybody's, the busiest first.
pub(crate) fn services(rec: &Recording) -> Vec<RequestRow> {
    let Ok(rows) = rec.get(&catalog::REQUESTS) else { return Vec::new() };
    let window = rec.window.length.as_secs_f64();
    let followed = rec.get(&catalog::REQUESTS_TRACED).ok().and_then(|rows| rows.first()).map_or(1.0, Series::last);
    let key = |labels: &Labels| Some((labels.get("service").to_owned(), rec.process_name(whose(rec, labels)?)));
    let mut services: BTreeMap<(String, String), Service> = BTreeMap::new();
    for row in rows {
        let Some(key) = key(&row.labels) else { continue };
        let service = services.entry(key).or_default();
        service.time.merge(row);
        service.processes.extend(row.labels.pid());
    }
    for (metric, add) in [
        (&catalog::REQUEST_TIME, Service::add_time as fn(&mut Service, &Series)),
        (&catalog::REQUEST_IO, Service::add_bytes),
        (&catalog::REQUESTS_OPEN, |service, row| service.open += row.last()),
        (&catalog::REQUESTS_OPEN_AGE, |service, row| {
            service.oldest = Some(service.oldest.unwrap_or(0.0).max(row.last()))
        }),
    ] {
        for row in rec.get(metric).into_iter().flatten() {
            if let Some(key) = key(&row.labels) {
                add(services.entry(key).or_default(), row);
            }
        }
    }
    let mut rows: Vec<RequestRow> = services
        .into_iter()
        .map(|((place, name), service)| {
            let total: f64 = service.parts.values().sum();
            let port = place.parse().unwrap_or(0);
            let asked = exchanges(rec, |labels| labels.get("service") == place && key_name(rec, labels) == name);
            RequestRow {
                port,
                path: if port == 0 { place } else { String::new() },
                service: name,
                processes: service.processes.iter().map(|pid| pid.0).collect(),
                count: service.time.count,
                p50_s: quantile(&service.time, 0.5),
                p99_s: quantile(&service.time, 0.99),
                rate: Ratio::of_counts(service.time.count as f64, window).0,
                seconds: total,
                shares: service.parts.into_iter().map(|(part, s)| (part, Ratio::of_counts(s, total).0)).collect(),
                bytes_in: service.bytes[0] as u64,
                bytes_out: service.bytes[1] as u64,
                in_flight: service.open as u64,
                oldest_s: service.oldest,
                followed,
                upstreams: asked,
            }
        })
        .collect();
    rows.sort_by_key(|row| Reverse((row.count, row.in_flight)));
    rows.truncate(MOST_SERVICES);
    rows
}

/// Whom the target asks, or everybody, those first that take most time.
pub(crate) fn upstreams(rec: &Recording) -> Vec<UpstreamRow> {
    exchanges(rec, |_| true)
}

#[derive(Default)]
struct Service {
    time: Histogram,
    processes: BTreeSet<Pid>,
    parts: BTreeMap<String, f64>,
    bytes: [f64; 2],
    open: f64,
    oldest: Option<f64>,
}

impl Service {
    fn add_time(&mut self, row: &Series) {
        *self.parts.entry(row.labels.get("part").to_owned()).or_default() += row.last();
    }

    fn add_bytes(&mut self, row: &Series) {
        self.bytes[usize::from(row.labels.get("direction") == "transmit")] += row.last();
    }
}

#[derive(Default)]
struct Exchange {
    time: Histogram,
    in_requests: u64,
    open: f64,
    oldest: Option<f64>,
}

/// Exchanges by process, peer and who answers, of the rows that count.
fn exchanges(rec: &Recording, counts: impl Fn(&Labels) -> bool) -> Vec<UpstreamRow> {
    let key = |labels: &Labels| {
        let process = rec.process_name(whose(rec, labels)?);
        let server = labels.get("peer_pid").parse().map_or_else(|_| String::new(), |pid| rec.process_name(Pid(pid)));
        counts(labels).then(|| (process, labels.get("peer").to_owned(), server))
    };
    let mut all: BTreeMap<(String, String, String), Exchange> = BTreeMap::new();
    for row in rec.get(&catalog::UPSTREAM).into_iter().flatten() {
        let Some(key) = key(&row.labels) else { continue };
        let exchange = all.entry(key).or_default();
        exchange.time.merge(row);
        if !row.labels.get("service").is_empty() {
            exchange.in_requests += row.sum;
        }
    }
    let open = |metric: &Metric<Series>| rec.get(metric).unwrap_or_default();
    for row in open(&catalog::UPSTREAM_OPEN) {
        if let Some(key) = key(&row.labels) {
            all.entry(key).or_default().open += row.last();
        }
    }
    for row in open(&catalog::UPSTREAM_OPEN_AGE) {
        if let Some(key) = key(&row.labels) {
            let exchange = all.entry(key).or_default();
            exchange.oldest = Some(exchange.oldest.unwrap_or(0.0).max(row.last()));
        }
    }
    let mut all: Vec<_> = all.into_iter().collect();
    all.sort_by_key(|(_, exchange)| (Reverse(exchange.time.sum), Reverse(exchange.open as u64)));
    all.into_iter()
        .take(MOST_UPSTREAMS)
        .map(|((process, peer, server), exchange)| UpstreamRow {
            process,
            peer,
            server,
            count: exchange.time.count,
            p50_s: quantile(&exchange.time, 0.5),
            p99_s: quantile(&exchange.time, 0.99),
            seconds: exchange.time.sum as f64 / 1e9,
            in_requests_s: exchange.in_requests as f64 / 1e9,
            in_flight: exchange.open as u64,
            oldest_s: exchange.oldest,
        })
        .collect()
}

/// The process of a row, if it is one that was asked about.
fn whose(rec: &Recording, labels: &Labels) -> Option<Pid> {
    let pid = labels.pid().unwrap_or(Pid(0));
    let wanted = !rec.is_friday(pid) && (!rec.target.is_named() || rec.target.contains(pid));
    wanted.then_some(pid)
}

fn key_name(rec: &Recording, labels: &Labels) -> String {
    whose(rec, labels).map_or_else(String::new, |pid| rec.process_name(pid))
}

fn quantile(time: &Histogram, part: f64) -> f64 {
    time.quantile_time(Ratio(part)).map_or(0.0, |time| time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use observe::{Host, Process, Target, Window};
    use std::time::{Duration, SystemTime};

    fn recording() -> Recording {
        let host = Host { name: "h".into(), kernel: "6".into(), cpus: 2, memory_bytes: 1 };
        let window = Window { start: SystemTime::UNIX_EPOCH, length: Duration::from_secs(10) };
        let mut rec = Recording::new(host, Target::system("h"), window);
        for (pid, name) in [(7, "web"), (8, "web"), (9, "db")] {
            let process = Process { pid: Pid(pid), name: name.into(), ..Process::default() };
            rec.processes.insert(Pid(pid), process);
        }
        rec
    }

    fn times(labels: Labels, count: u32, slot: usize) -> Histogram {
        let mut slots = [0u32; 160];
        slots[slot] = count;
        let (low, _) = Histogram::bounds(slot);
        Histogram::from_slots(labels, &slots, low * u64::from(count), low)
    }

    fn labels(pid: u32, service: &str) -> Labels {
        Labels::new([("pid", pid.to_string()), ("service", service.to_owned())])
    }

    fn total(metric: &Metric<Series>, labels: Labels, value: f64, rec: &mut Recording) {
        rec.push(metric, Series::total(labels, Duration::from_secs(10), value));
    }

    #[test]
    fn workers_of_one_program_are_one_service() {
        let mut rec = recording();
        for (pid, service, count) in [(7, "80", 30), (8, "80", 10), (7, "/run/admin", 1), (9, "5432", 40)] {
            rec.push(&catalog::REQUESTS, times(labels(pid, service), count, 80));
        }
        for (pid, part, seconds) in [(7, "queued", 3.0), (8, "running", 1.0)] {
            let mut labels = labels(pid, "80");
            labels.0.insert("part".into(), part.into());
            total(&catalog::REQUEST_TIME, labels, seconds, &mut rec);
        }
        total(&catalog::REQUESTS_OPEN, labels(8, "80"), 2.0, &mut rec);
        total(&catalog::REQUESTS_OPEN_AGE, labels(8, "80"), 1.5, &mut rec);
        let rows = services(&rec);
        assert_eq!(rows.len(), 3);
        let web = rows.iter().find(|row| row.port == 80).unwrap();
        assert_eq!((web.service.as_str(), web.count, web.rate), ("web", 40, 4.0));
        assert_eq!((web.processes.as_slice(), web.in_flight, web.oldest_s), ([7, 8].as_slice(), 2, Some(1.5)));
        assert_eq!((web.shares["queued"], web.shares["running"], web.seconds), (0.75, 0.25, 4.0));
        assert_eq!(rows.iter().find(|row| row.port == 0).unwrap().path, "/run/admin");
    }

    #[test]
    fn a_service_has_those_it_asked_while_it_had_requests_in_hand() {
        let mut rec = recording();
        rec.push(&catalog::REQUESTS, times(labels(7, "80"), 5, 80));
        for (service, count) in [("80", 4), ("", 6)] {
            let mut labels = labels(7, service);
            labels.0.insert("peer".into(), "127.0.0.1:5432".into());
            labels.0.insert("peer_pid".into(), "9".into());
            rec.push(&catalog::UPSTREAM, times(labels, count, 60));
        }
        let (web, all) = (&services(&rec)[0], upstreams(&rec));
        assert_eq!((web.upstreams.len(), web.upstreams[0].count, web.upstreams[0].server.as_str()), (1, 4, "db"));
        assert_eq!((all.len(), all[0].count, all[0].process.as_str()), (1, 10, "web"));
        assert!((all[0].in_requests_s / all[0].seconds - 0.4).abs() < 1e-9);
    }

    #[test]
    fn only_what_was_asked_about_is_shown() {
        let mut rec = recording();
        rec.push(&catalog::REQUESTS, times(labels(7, "80"), 5, 80));
        rec.push(&catalog::REQUESTS, times(labels(9, "5432"), 5, 80));
        rec.target.kind = observe::TargetKind::Process;
        rec.target.members = vec![Pid(9)];
        let rows = services(&rec);
        assert_eq!(rows.iter().map(|row| row.port).collect::<Vec<_>>(), [5432]);
        rec.set(&catalog::REQUESTS, Err(observe::Absent::NoPermission("root".into())));
        assert!(services(&rec).is_empty());
    }
}
