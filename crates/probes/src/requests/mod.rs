//! Requests without instrumentation: what comes in on accepted connections and goes out again, and the exchanges with
//! others meanwhile, from the kernel side's tables to the recording.
//!
//! Cost: 0.25 to 0.4 µs for each time that data arrives, is read or is sent, 0.1 µs of which is the measuring; three of
//! these make a request, and three more the other end's exchange where that is on the same machine. Nothing while they
//! are not followed, which `budget.rs` decides. Where that is in slices, requests of the event window are booked aside: what
//! it costs them would be a larger part of all that was followed than of all that was answered. Once before and once after
//! the window about 0.2 µs for each descriptor.

mod pace;

pub(crate) use pace::{METRICS as PACE_METRICS, Pace};

use crate::{
    bpf::{Frequent, Kernel, rows, types},
    net::{Names, address},
};
use observe::{Absent, AnyMetric, Histogram, Labels, Pid, Recording, Request, Series, Tid, catalog};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::SocketAddr,
    time::Duration,
};

/// What this probe measures.
pub(crate) const METRICS: &[&dyn AnyMetric] = &[
    &catalog::REQUESTS,
    &catalog::REQUEST_TIME,
    &catalog::REQUEST_IO,
    &catalog::REQUESTS_OPEN,
    &catalog::REQUESTS_OPEN_AGE,
    &catalog::UPSTREAM,
    &catalog::UPSTREAM_IO,
    &catalog::UPSTREAM_OPEN,
    &catalog::UPSTREAM_OPEN_AGE,
    &catalog::REQUESTS_TRACED,
    &catalog::EPISODE_REQUESTS,
];

/// `enum request_side`.
const SERVER: u32 = 1;
const ASIDE: u32 = 4;

/// Linear steps in each power of two of `struct request_times`.
const STEPS: u64 = 16;

/// Adds the rows of every table. Where requests were followed for a part of the window only, counts and sums are what the
/// whole window would have had if what was not seen was like what was seen before and after, and the part is told.
/// `streamed` are those of the event window.
pub(crate) fn collect(
    kernel: &Kernel,
    names: &Names,
    length: Duration,
    streamed: Result<Vec<types::request_span>, Absent>,
    into: &mut Recording,
) {
    let traced = kernel.traced_part(Frequent::Requests, length);
    into.set(&catalog::REQUESTS_TRACED, Ok(vec![Series::total(Labels::default(), length, traced)]));
    let part = kernel.seen_part(Frequent::Requests, length);
    let ends: HashMap<u64, types::request_end> = rows(&kernel.maps().request_ends).into_iter().collect();
    let mut rows = rows::<types::request_key, types::request_value>(&kernel.maps().request_rows);
    rows.retain(|(key, _)| key.side & ASIDE == 0);
    let namer = Namer::new(&ends, &rows, names);
    let seen =
        rows.iter().filter(|(key, _)| key.side == SERVER).map(|(key, value)| (namer.labels(key), value.bytes_in));
    let corrected = corrected(seen, part, into);
    into.set(&catalog::REQUESTS, Ok(Vec::new()));
    into.set(&catalog::REQUEST_TIME, Ok(Vec::new()));
    into.set(&catalog::REQUEST_IO, Ok(Vec::new()));
    into.set(&catalog::UPSTREAM, Ok(Vec::new()));
    into.set(&catalog::UPSTREAM_IO, Ok(Vec::new()));
    for (key, value) in &rows {
        let labels = namer.labels(key);
        let service = service_of(&labels, key.side == SERVER);
        let part = service.and_then(|service| corrected.get(service)).copied().unwrap_or(part);
        let (metric, io, parts) = match key.side {
            SERVER => (&catalog::REQUESTS, &catalog::REQUEST_IO, true),
            _ => (&catalog::UPSTREAM, &catalog::UPSTREAM_IO, false),
        };
        into.push(metric, scaled(labels.clone(), &value.time, part));
        let total = |name: &str, what: &str, value: f64| {
            let mut labels = labels.clone();
            labels.0.insert(name.to_owned(), what.to_owned());
            Series::total(labels, length, value / part)
        };
        into.push(io, total("direction", "receive", value.bytes_in as f64));
        into.push(io, total("direction", "transmit", value.bytes_out as f64));
        let times = [
            ("queued", value.queued),
            ("running", value.running),
            ("runnable", value.runnable),
            ("blocked", value.blocked),
            ("elsewhere", value.elsewhere),
        ];
        for (what, ns) in times.into_iter().filter(|_| parts) {
            into.push(&catalog::REQUEST_TIME, total("part", what, ns as f64 / 1e9));
        }
    }
    left(kernel, &namer, length, into);
    into.set(&catalog::EPISODE_REQUESTS, streamed.map(|requests| one_by_one(requests, &namer, kernel.begin())));
}

/// The service of this machine that a row is about, if it is: the one that answers.
fn service_of(labels: &Labels, serves: bool) -> Option<&str> {
    if serves {
        return Some(labels.get("service"));
    }
    let (peer, here) = (labels.get("peer"), !labels.get("peer_pid").is_empty());
    here.then(|| peer.rsplit_once(':').map_or(peer, |(_, port)| port))
}

/// Following a request takes time, so a service that is busy all the time answers fewer while it is followed. What came in at its
/// port is counted by the kernel all the time: by service, which part of that was seen.
fn corrected(seen: impl Iterator<Item = (Labels, u64)>, part: f64, rec: &Recording) -> HashMap<String, f64> {
    /// ours: a part further off is none of the slices' making: what came in then is something else than requests.
    const MOST: f64 = 1.25;
    let mut services: HashMap<String, u64> = HashMap::new();
    for (labels, bytes) in seen.filter(|_| part < 1.0) {
        *services.entry(labels.get("service").to_owned()).or_default() += bytes;
    }
    let rows = rec.get(&catalog::TCP_ARRIVED).into_iter().flatten();
    let arrived: HashMap<&str, f64> = rows.map(|row| (row.labels.get("local_port"), row.last())).collect();
    let part_of = |(service, bytes): (String, u64)| {
        let more = part * arrived.get(service.as_str())? / bytes as f64;
        (1.0 / MOST..=MOST).contains(&more).then(|| (service, part / more))
    };
    services.into_iter().filter_map(part_of).collect()
}

/// Who asked whom of this machine, by process: of a service with several processes, each of them.
pub(crate) fn clients(rec: &Recording) -> HashSet<(u32, u32)> {
    let mut servers: HashMap<&str, BTreeSet<u32>> = HashMap::new();
    for row in rec.get(&catalog::REQUESTS).into_iter().flatten() {
        servers.entry(row.labels.get("service")).or_default().extend(row.labels.pid().map(|pid| pid.0));
    }
    let asks = |row: &Histogram| {
        let client = row.labels.pid()?.0;
        let server: u32 = row.labels.get("peer_pid").parse().ok()?;
        let place = row.labels.get("peer");
        let place = if place.starts_with(['/', '@']) { place } else { place.rsplit(':').next().unwrap_or(place) };
        let fellows = servers.get(place).filter(|pids| pids.contains(&server));
        let all: Vec<(u32, u32)> = fellows.into_iter().flatten().chain([&server]).map(|pid| (client, *pid)).collect();
        Some(all)
    };
    rec.get(&catalog::UPSTREAM).into_iter().flatten().filter_map(asks).flatten().collect()
}

/// The event window's: those that were answered in it, by begin.
fn one_by_one(spans: Vec<types::request_span>, namer: &Namer<'_>, began: u64) -> Vec<Request> {
    let at = |ns: u64| Duration::from_nanos(ns.saturating_sub(began));
    let mut places: HashMap<(u64, u32), String> = HashMap::new();
    let mut rows: Vec<Request> = spans
        .into_iter()
        .map(|span| Request {
            served: span.side == SERVER,
            pid: Pid(span.tgid),
            tid: Tid(span.tid),
            connection: span.connection,
            place: places.entry((span.end, span.side)).or_insert_with(|| namer.place(span.end, span.side)).clone(),
            begin: at(span.begin),
            read: at(span.read_at),
            answered: at(span.answered_at),
            within: (span.within != 0).then(|| (span.within, at(span.within_begin))),
        })
        .collect();
    rows.sort_by_key(|row| (row.begin, row.connection, row.served));
    rows
}

/// Adds what was not answered when the window ended.
fn left(kernel: &Kernel, namer: &Namer<'_>, length: Duration, into: &mut Recording) {
    let left = match kernel.requests_left() {
        Ok(left) => left,
        Err(why) => {
            let metrics: [&dyn AnyMetric; 4] = [
                &catalog::REQUESTS_OPEN,
                &catalog::REQUESTS_OPEN_AGE,
                &catalog::UPSTREAM_OPEN,
                &catalog::UPSTREAM_OPEN_AGE,
            ];
            return metrics.iter().for_each(|metric| metric.refuse(into, &why));
        }
    };
    let mut sums: BTreeMap<(bool, Labels), (f64, u64)> = BTreeMap::new();
    for open in left {
        let sum = sums.entry((open.key.side == SERVER, namer.labels(&open.key))).or_default();
        *sum = (sum.0 + 1.0, sum.1.max(open.age));
    }
    for metric in
        [&catalog::REQUESTS_OPEN, &catalog::REQUESTS_OPEN_AGE, &catalog::UPSTREAM_OPEN, &catalog::UPSTREAM_OPEN_AGE]
    {
        into.set(metric, Ok(Vec::new()));
    }
    for ((serves, labels), (count, oldest)) in sums {
        let (counts, ages) = match serves {
            true => (&catalog::REQUESTS_OPEN, &catalog::REQUESTS_OPEN_AGE),
            false => (&catalog::UPSTREAM_OPEN, &catalog::UPSTREAM_OPEN_AGE),
        };
        into.push(counts, Series::total(labels.clone(), length, count));
        into.push(ages, Series::total(labels, length, oldest as f64 / 1e9));
    }
}

/// A distribution of a part of the window, as the whole window would have had it.
fn scaled(labels: Labels, times: &types::request_times, part: f64) -> Histogram {
    let scale = |count: u64| (count as f64 / part).round() as u64;
    let mut all = Histogram::from_steps(labels, &times.slots, STEPS, scale(times.sum), times.max);
    all.buckets.iter_mut().for_each(|bucket| bucket.count = scale(bucket.count));
    all.count = all.buckets.iter().map(|bucket| bucket.count).sum();
    all
}

/// Names services and those they ask.
struct Namer<'a> {
    ends: &'a HashMap<u64, types::request_end>,
    names: &'a Names,
    /// Who answered most of what came in there.
    servers: HashMap<u64, (u64, u32)>,
    /// Ends that are served, by namespace and port.
    ports: HashMap<(u32, u16), u64>,
    paths: HashMap<String, u64>,
}

impl<'a> Namer<'a> {
    fn new(
        ends: &'a HashMap<u64, types::request_end>,
        rows: &[(types::request_key, types::request_value)],
        names: &'a Names,
    ) -> Self {
        let (mut servers, mut ports, mut paths) = (HashMap::new(), HashMap::new(), HashMap::new());
        for (key, value) in rows.iter().filter(|(key, _)| key.side == SERVER) {
            let count = value.time.slots.iter().map(|count| u64::from(*count)).sum();
            let most = servers.entry(key.end).or_insert((count, key.tgid));
            *most = (*most).max((count, key.tgid));
            match ends.get(&key.end) {
                Some(end) if is_unix(end) => drop(paths.insert(path(&end.path), key.end)),
                Some(end) => drop(ports.insert((end.netns, end.port), key.end)),
                None => {}
            }
        }
        Namer { ends, names, servers, ports, paths }
    }

    /// The labels of a row, of either side.
    fn labels(&self, key: &types::request_key) -> Labels {
        if key.side == SERVER {
            let end = self.ends.get(&key.end);
            // Nobody has read it yet: whoever reads there, or listens.
            let pid = match (key.tgid, end) {
                (0, Some(end)) => self.process_at(end, key.end),
                (0, None) => None,
                (pid, _) => Some(Pid(pid)),
            };
            return Labels::new([("pid", shown(pid)), ("service", self.service(key.end))]);
        }
        let (peer, server) = match self.ends.get(&key.end) {
            None => (String::new(), None),
            Some(end) if is_unix(end) => {
                let path = path(&end.path);
                let server = self.paths.get(&path).and_then(|end| self.servers.get(end));
                (path, server.map(|(_, pid)| Pid(*pid)))
            }
            Some(end) => {
                let ip = address(&end.address, end.family).to_canonical();
                // ours: of this machine's addresses only these are sure to be its own.
                let here = ip.is_loopback().then(|| self.ports.get(&(end.netns, end.port)));
                let server = here.and_then(|served| {
                    let reader = served.and_then(|end| self.servers.get(end)).map(|(_, pid)| Pid(*pid));
                    reader.or_else(|| self.names.listener_in(end.netns, end.port))
                });
                (SocketAddr::new(ip, end.port).to_string(), server)
            }
        };
        Labels::new([
            ("pid", key.tgid.to_string()),
            ("peer", peer),
            ("peer_pid", shown(server)),
            ("service", self.service(key.within)),
        ])
    }

    /// Where it comes in, or whom it is asked of.
    fn place(&self, id: u64, side: u32) -> String {
        match self.ends.get(&id) {
            Some(end) if side != SERVER && !is_unix(end) => {
                SocketAddr::new(address(&end.address, end.family).to_canonical(), end.port).to_string()
            }
            _ => self.service(id),
        }
    }

    fn process_at(&self, end: &types::request_end, id: u64) -> Option<Pid> {
        let reader = self.servers.get(&id).map(|(_, pid)| Pid(*pid));
        reader.or_else(|| self.names.listener_in(end.netns, end.port))
    }

    /// A port or a path; empty where there is none.
    fn service(&self, id: u64) -> String {
        match self.ends.get(&id) {
            None => String::new(),
            Some(end) if is_unix(end) => path(&end.path),
            Some(end) => end.port.to_string(),
        }
    }
}

fn is_unix(end: &types::request_end) -> bool {
    i32::from(end.family) == libc::AF_UNIX
}

fn shown(pid: Option<Pid>) -> String {
    pid.map(|pid| pid.to_string()).unwrap_or_default()
}

/// The path of a unix socket; an abstract one begins with `@`, as `ss` shows it.
fn path(raw: &[i8]) -> String {
    match raw.split_first() {
        Some((0, name)) => format!("@{}", crate::bpf::text(name)),
        _ => crate::bpf::text(raw),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_shown_as_ss_shows_them() {
        let raw = |text: &str| text.bytes().chain([0, 0]).map(|b| b as i8).collect::<Vec<_>>();
        assert_eq!(path(&raw("/run/x.sock")), "/run/x.sock");
        assert_eq!(path(&raw("\0abstract")), "@abstract");
        assert_eq!(path(&[]), "");
    }

    #[test]
    fn who_asks_a_service_is_a_client_of_all_its_processes() {
        let host = observe::Host { name: "h".into(), kernel: "6".into(), cpus: 2, memory_bytes: 1 };
        let window = observe::Window { start: std::time::SystemTime::UNIX_EPOCH, length: Duration::from_secs(1) };
        let mut rec = Recording::new(host, observe::Target::system("h"), window);
        let row = |labels| Histogram { labels, ..Histogram::default() };
        for (pid, service) in [(20, "5432"), (21, "5432"), (30, "80")] {
            let labels = Labels::new([("pid", pid.to_string()), ("service", service.to_owned())]);
            rec.push(&catalog::REQUESTS, row(labels));
        }
        for (peer, peer_pid) in [("127.0.0.1:5432", "20"), ("10.0.0.9:80", "")] {
            let labels = [("pid", "7"), ("peer", peer), ("peer_pid", peer_pid), ("service", "")];
            rec.push(&catalog::UPSTREAM, row(Labels::new(labels.map(|(name, value)| (name, value.to_owned())))));
        }
        assert_eq!(clients(&rec), HashSet::from([(7, 20), (7, 21)]));
    }

    #[test]
    fn a_service_that_is_slower_while_it_is_followed_had_more_requests() {
        let host = observe::Host { name: "h".into(), kernel: "6".into(), cpus: 2, memory_bytes: 1 };
        let window = observe::Window { start: std::time::SystemTime::UNIX_EPOCH, length: Duration::from_secs(10) };
        let mut rec = Recording::new(host, observe::Target::system("h"), window);
        let arrived = |port: &str, bytes: f64| {
            Series::total(Labels::new([("local_port", port.to_owned())]), window.length, bytes)
        };
        let seen =
            |bytes| [(Labels::new([("pid", "7".to_owned()), ("service", "6379".to_owned())]), bytes)].into_iter();
        // Half of 2200 bytes would be 1100.
        rec.set(&catalog::TCP_ARRIVED, Ok(vec![arrived("6379", 2200.0), arrived("80", 9000.0)]));
        assert_eq!(corrected(seen(1000), 0.5, &rec)["6379"], 0.5 / 1.1);
        assert!(corrected(seen(1000), 1.0, &rec).is_empty(), "all of them were followed");
        assert_eq!(corrected(seen(1200), 0.5, &rec)["6379"], 0.5 / (1100.0 / 1200.0), "less came beside the slices");
        assert!(corrected(seen(500), 0.5, &rec).is_empty(), "that is something else");
    }

    #[test]
    fn who_asks_here_has_as_many_answers_as_who_is_asked() {
        let of = |peer: &str, pid: &str, service: &str, serves| {
            let labels = [("peer", peer), ("peer_pid", pid), ("service", service)];
            let labels = Labels::new(labels.map(|(name, value)| (name, value.to_owned())));
            service_of(&labels, serves).map(str::to_owned)
        };
        assert_eq!(of("", "", "80", true).as_deref(), Some("80"));
        assert_eq!(of("127.0.0.1:6379", "7", "80", false).as_deref(), Some("6379"));
        assert_eq!(of("10.0.0.9:6379", "", "80", false), None);
    }

    #[test]
    fn what_was_followed_in_part_stands_for_the_whole_window() {
        let mut hist = types::request_times { sum: 3_000, max: 1_100, slots: [0; 544] };
        hist.slots[100] = 3;
        let all = scaled(Labels::default(), &hist, 0.25);
        assert_eq!((all.count, all.sum, all.max, all.buckets[0].count), (12, 12_000, 1_100, 12));
        assert_eq!(scaled(Labels::default(), &hist, 1.0).count, 3);
    }
}
