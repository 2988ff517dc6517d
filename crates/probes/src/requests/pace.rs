//! How requests come and what they cost over the window: counts read once a second from the kernel side's table, with the
//! CPU time of the processes that answer them. Measured: 0.2 ms each time with a hundred services.

use super::{Namer, SERVER};
use crate::{
    bpf::{Frequent, Kernel, rows, types},
    net::Names,
    roots::Roots,
};
use observe::{AnyMetric, Labels, Pid, Point, Recording, Series, Target, catalog};
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

/// What this measures.
pub(crate) const METRICS: &[&dyn AnyMetric] =
    &[&catalog::REQUEST_COUNT, &catalog::REQUEST_SECONDS, &catalog::PROCESS_CPU];

/// How often it looks, at first.
const EVERY: Duration = Duration::from_secs(1);

/// ours: a line of as many points is drawn; when there are twice as many, every other is left out.
const POINTS: usize = 300;

/// ours: as many processes are enough to tell what a request costs.
const MOST_PROCESSES: usize = 64;

/// ours: less of a second than this that was followed says nothing of it.
const LEAST_FOLLOWED: f64 = 0.02;

/// A row of the table: end, within, process.
type Key = (u64, u64, u32);

struct Tick {
    at: Duration,
    /// For how long requests had been followed by then.
    followed: Duration,
    /// Requests, and their time in nanoseconds.
    requests: HashMap<Key, (u64, u64)>,
    /// CPU time in seconds.
    cpu: BTreeMap<Pid, f64>,
}

/// What was seen so far.
pub(crate) struct Pace {
    ticks: Vec<Tick>,
    every: Duration,
    next: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Pace { ticks: Vec::new(), every: EVERY, next: Duration::ZERO }
    }
}

impl Pace {
    /// Looks when it is time.
    pub(crate) fn look(&mut self, kernel: &Kernel, roots: &Roots, target: &Target, now: Duration) {
        if now < self.next {
            return;
        }
        self.next = now + self.every;
        let requests: HashMap<Key, (u64, u64)> =
            rows::<types::request_key, types::request_value>(&kernel.maps().request_rows)
                .into_iter()
                .filter(|(key, _)| key.side == SERVER)
                .map(|(key, value)| {
                    let count = value.time.slots.iter().map(|slot| u64::from(*slot)).sum();
                    ((key.end, key.within, key.tgid), (count, value.time.sum))
                })
                .collect();
        let mut pids: Vec<Pid> = target.members.clone();
        pids.extend(requests.keys().map(|(_, _, tgid)| Pid(*tgid)).filter(|pid| pid.0 != 0));
        pids.sort_unstable();
        pids.dedup();
        pids.truncate(MOST_PROCESSES);
        let cpu = pids.into_iter().filter_map(|pid| Some((pid, cpu_time(roots, pid)?))).collect();
        self.ticks.push(Tick { at: now, followed: kernel.followed(Frequent::Requests), requests, cpu });
        if self.ticks.len() > 2 * POINTS {
            self.every *= 2;
            let mut at = 0;
            self.ticks.retain(|_| {
                at += 1;
                at % 2 == 1
            });
        }
    }

    /// Looks a last time.
    pub(crate) fn end(&mut self, kernel: &Kernel, roots: &Roots, target: &Target, now: Duration) {
        self.next = Duration::ZERO;
        self.look(kernel, roots, target, now);
    }

    /// Adds what came of it.
    pub(crate) fn finish(self, kernel: &Kernel, names: &Names, into: &mut Recording) {
        let ends: HashMap<u64, types::request_end> = rows(&kernel.maps().request_ends).into_iter().collect();
        let table = rows::<types::request_key, types::request_value>(&kernel.maps().request_rows);
        let namer = Namer::new(&ends, &table, names);
        let labels = |(end, within, tgid): Key| namer.labels(&types::request_key { end, within, tgid, side: SERVER });
        let (mut counts, mut seconds) = (BTreeMap::new(), BTreeMap::new());
        for (key, points) in followed(&self.ticks) {
            let labels = labels(key);
            add(counts.entry(labels.clone()).or_default(), points.iter().map(|p| (p.0, p.1)));
            add(seconds.entry(labels).or_default(), points.iter().map(|p| (p.0, p.2 / 1e9)));
        }
        into.set(&catalog::REQUEST_COUNT, Ok(series(counts)));
        into.set(&catalog::REQUEST_SECONDS, Ok(series(seconds)));
        let mut cpu: BTreeMap<Labels, Vec<Point>> = BTreeMap::new();
        for tick in &self.ticks {
            for (pid, value) in &tick.cpu {
                let labels = Labels::new([("pid", pid.to_string())]);
                cpu.entry(labels).or_default().push(Point { at: tick.at, value: *value });
            }
        }
        into.set(&catalog::PROCESS_CPU, Ok(series(cpu)));
    }
}

/// Counters as they would be if requests had been followed always: what was seen between two looks is scaled by the part of
/// that time in which they were. Looks between which next to none was are left out.
fn followed(ticks: &[Tick]) -> BTreeMap<Key, Vec<(Duration, f64, f64)>> {
    let mut all: BTreeMap<Key, Vec<(Duration, f64, f64)>> = BTreeMap::new();
    let Some(last) = ticks.last() else { return all };
    for key in last.requests.keys() {
        let seen = |tick: &Tick| tick.requests.get(key).copied().unwrap_or_default();
        let mut before = &ticks[0];
        let mut points = vec![(before.at, 0.0, 0.0)];
        for tick in &ticks[1..] {
            let (time, followed) = (tick.at.saturating_sub(before.at), tick.followed.saturating_sub(before.followed));
            let part = followed.as_secs_f64() / time.as_secs_f64().max(1e-9);
            if part < LEAST_FOLLOWED {
                continue;
            }
            let ((count, sum), (count_before, sum_before)) = (seen(tick), seen(before));
            let (_, total, busy) = points.last().copied().unwrap_or_default();
            let scale = 1.0 / part.min(1.0);
            let grown = |now: u64, then: u64| now.saturating_sub(then) as f64 * scale;
            points.push((tick.at, total + grown(count, count_before), busy + grown(sum, sum_before)));
            before = tick;
        }
        all.insert(*key, points);
    }
    all
}

/// Adds values to others at the same times.
fn add(sum: &mut Vec<Point>, points: impl Iterator<Item = (Duration, f64)>) {
    if sum.is_empty() {
        sum.extend(points.map(|(at, value)| Point { at, value }));
    } else {
        sum.iter_mut().zip(points).for_each(|(sum, (_, value))| sum.value += value);
    }
}

fn series(rows: BTreeMap<Labels, Vec<Point>>) -> Vec<Series> {
    rows.into_iter().map(|(labels, points)| Series { labels, points }).collect()
}

/// User and system time of a process, its ended threads included: proc(5).
fn cpu_time(roots: &Roots, pid: Pid) -> Option<f64> {
    let stat = std::fs::read_to_string(roots.proc.join(pid.to_string()).join("stat")).ok()?;
    // The name may hold anything; what follows its last bracket does not.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    // SAFETY: no memory involved.
    let second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    Some((ticks(11)? + ticks(12)?) / second.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn tick(at: u64, followed: u64, count: u64) -> Tick {
        Tick {
            at: Duration::from_secs(at),
            followed: Duration::from_millis(followed),
            requests: HashMap::from([((1, 0, 7), (count, count * 1000))]),
            cpu: BTreeMap::new(),
        }
    }

    #[test]
    fn what_was_not_followed_is_taken_to_be_like_what_was() {
        let ticks = [tick(0, 0, 0), tick(1, 1000, 100), tick(2, 1100, 110), tick(3, 1100, 110), tick(4, 1300, 130)];
        let points = &followed(&ticks)[&(1, 0, 7)];
        let counts: Vec<(u64, f64)> = points.iter().map(|(at, count, _)| (at.as_secs(), count.round())).collect();
        // The third second says nothing; the fourth stands for both.
        assert_eq!(counts, [(0, 0.0), (1, 100.0), (2, 200.0), (4, 400.0)]);
    }

    #[test]
    fn a_process_time_is_read_behind_whatever_name_it_has() {
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots { proc: dir.path().to_owned(), ..Roots::default() };
        fs::create_dir(dir.path().join("7")).unwrap();
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 1 0 1 1 1";
        fs::write(dir.path().join("7/stat"), stat).unwrap();
        // SAFETY: no memory involved.
        let second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
        assert_eq!(cpu_time(&roots, Pid(7)), Some(200.0 / second));
        assert_eq!(cpu_time(&roots, Pid(8)), None);
    }
}
