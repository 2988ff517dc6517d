//! Which process grows? Resident and swapped memory by kind, over time.
//!
//! Cost: about 20 µs a process for its status, read of the target's and the largest processes only; finding those takes
//! about 8 µs a process, at begin, at end, and in between on machines with few processes.

use super::fault_rows;
use crate::{processes, roots::Roots};
use observe::{Absent, Labels, Pid, Point, Recording, Series, Target, catalog};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::{self, File},
    io::Read,
    time::Duration,
};

/// ours: what leaks in a window of seconds shows in a handful of points.
const INTERVAL: Duration = Duration::from_secs(2);
/// ours: what is not among these holds little of the machine's memory. Reading them takes some 4 ms.
const MOST: usize = 200;
/// ours: with more processes than this, those that are new are looked for at the end only.
const MOST_SEARCHED: usize = 500;
/// The kinds, with their lines in `/proc/PID/status`.
const KINDS: [(&str, &str); 4] =
    [("anonymous", "RssAnon:"), ("file", "RssFile:"), ("shared", "RssShmem:"), ("swap", "VmSwap:")];

/// Who is watched, and what was read of them.
pub(crate) struct Usage {
    roots: Roots,
    members: Vec<Pid>,
    watched: BTreeSet<Pid>,
    few: bool,
    next: Duration,
    points: BTreeMap<Pid, [Vec<Point>; KINDS.len()]>,
    /// Page faults so far, where nobody else counts them.
    faults: HashMap<Pid, [u64; 2]>,
}

impl Usage {
    /// Takes the first reading. `count_faults` where the kernel side does not.
    pub fn new(roots: &Roots, target: &Target, count_faults: bool) -> Self {
        let mut usage = Usage {
            roots: roots.clone(),
            members: target.members.clone(),
            watched: BTreeSet::new(),
            few: false,
            next: Duration::ZERO,
            points: BTreeMap::new(),
            faults: HashMap::new(),
        };
        usage.search();
        usage.sample(Duration::ZERO);
        if count_faults {
            usage.faults = usage.count_faults();
        }
        usage
    }

    /// Reads those that are watched when it is time; `at` is the time since the window began.
    pub fn sample(&mut self, at: Duration) {
        if at < self.next {
            return;
        }
        self.next = at + INTERVAL;
        if self.few && at > Duration::ZERO {
            self.search();
        }
        self.read(at);
    }

    /// Takes the last reading and adds it all to the recording.
    pub fn finish(mut self, length: Duration, into: &mut Recording) {
        self.search();
        self.read(length);
        if !self.faults.is_empty() {
            let mut rows = Vec::new();
            for (pid, now) in self.count_faults() {
                // Who was not there has counted from nothing.
                let before = self.faults.get(&pid).copied().unwrap_or_default();
                let grown = [0, 1].map(|n| now[n].saturating_sub(before[n]));
                rows.extend(fault_rows(pid, grown, length));
            }
            into.set(&catalog::PROCESS_FAULTS, Ok(rows));
        }
        let mut rows = Vec::new();
        for (pid, kinds) in self.points {
            for ((kind, _), points) in KINDS.into_iter().zip(kinds) {
                if points.iter().any(|point| point.value > 0.0) {
                    let labels = Labels::new([("pid", pid.to_string()), ("kind", kind.to_owned())]);
                    rows.push(Series { labels, points });
                }
            }
        }
        let none = || Absent::Failed("no process's memory could be read".to_owned());
        into.set(&catalog::MEMORY_USAGE, if rows.is_empty() { Err(none()) } else { Ok(rows) });
    }

    /// Adds the largest processes to those that are watched.
    fn search(&mut self) {
        let mut sizes = Vec::new();
        for pid in self.pids() {
            if let Some(pages) = self.file(pid, "statm").and_then(|text| resident(&text)).filter(|pages| *pages > 0) {
                sizes.push((pages, pid));
            }
        }
        self.few = sizes.len() <= MOST_SEARCHED;
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        self.watched.extend(sizes.into_iter().take(MOST).map(|(_, pid)| pid));
        self.watched.extend(&self.members);
    }

    fn pids(&self) -> Vec<Pid> {
        let entries = fs::read_dir(&self.roots.proc).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid)).collect()
    }

    fn read(&mut self, at: Duration) {
        for pid in self.watched.clone() {
            let Some(text) = self.file(pid, "status") else {
                // It has ended; what was read of it stays.
                self.watched.remove(&pid);
                continue;
            };
            if let Some(values) = kinds(&text) {
                let points = self.points.entry(pid).or_default();
                points.iter_mut().zip(values).for_each(|(points, value)| points.push(Point { at, value }));
            }
        }
    }

    fn file(&self, pid: Pid, name: &str) -> Option<String> {
        let mut bytes = [0u8; 4096];
        let mut file = File::open(self.roots.proc.join(pid.to_string()).join(name)).ok()?;
        let length = file.read(&mut bytes).ok().filter(|length| *length > 0)?;
        Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
    }

    fn count_faults(&self) -> HashMap<Pid, [u64; 2]> {
        let count = |pid| processes::stat(&self.roots.proc.join(Pid::to_string(&pid)));
        self.pids().into_iter().filter_map(|pid| count(pid).map(|stat| (pid, [stat.minflt, stat.majflt]))).collect()
    }
}

/// Resident pages, the second number of `/proc/PID/statm`.
fn resident(statm: &str) -> Option<u64> {
    statm.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Bytes by kind; `None` of a process without memory of its own: a kernel thread, or one that has ended.
fn kinds(status: &str) -> Option<[f64; KINDS.len()]> {
    let mut found = [None; KINDS.len()];
    for line in status.lines() {
        // The name comes first and has its line ends escaped, so that no line but the right one begins so.
        for (place, (_, key)) in found.iter_mut().zip(KINDS) {
            if let Some(rest) = line.strip_prefix(key) {
                *place = rest.trim().strip_suffix(" kB").and_then(|number| number.trim().parse::<u64>().ok());
            }
        }
    }
    found[0]?;
    Some(found.map(|kib| kib.unwrap_or_default() as f64 * 1024.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use observe::{Host, Window};
    use std::{path::Path, time::SystemTime};

    fn put(base: &Path, pid: u32, anonymous: u32) {
        let dir = base.join(format!("proc/{pid}"));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("statm"), format!("900 {} 3 1 0 40 0\n", anonymous / 4 + 7)).unwrap();
        let status = format!(
            "Name:\tRssAnon:9\nVmRSS:\t9 kB\nRssAnon:\t{anonymous} kB\nRssFile:\t  28 kB\nRssShmem:\t0 kB\nVmSwap:\t8 kB\n"
        );
        fs::write(dir.join("status"), status).unwrap();
    }

    fn recording() -> Recording {
        let host = Host { name: "h".into(), kernel: "6".into(), cpus: 2, memory_bytes: 1 };
        let window = Window { start: SystemTime::UNIX_EPOCH, length: Duration::from_secs(5) };
        Recording::new(host, Target::system("h"), window)
    }

    #[test]
    fn growth_shows_as_points_and_nothing_is_no_row() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path();
        let roots = Roots { proc: base.join("proc"), sys: base.join("sys"), btf: base.join("btf") };
        put(base, 7, 400);
        put(base, 8, 40);
        fs::create_dir_all(base.join("proc/2")).unwrap();
        fs::write(base.join("proc/2/statm"), "0 0 0 0 0 0 0\n").unwrap();
        fs::write(base.join("proc/2/status"), "Name:\tkthreadd\n").unwrap();
        let mut usage = Usage::new(&roots, &Target::system("h"), false);
        put(base, 7, 800);
        usage.sample(Duration::from_millis(500));
        usage.sample(Duration::from_secs(2));
        put(base, 9, 4);
        fs::remove_dir_all(base.join("proc/8")).unwrap();
        let mut rec = recording();
        usage.finish(Duration::from_secs(5), &mut rec);
        let rows = rec.get(&catalog::MEMORY_USAGE).unwrap();
        let of = |pid: u32, kind: &str| {
            let row = rows.iter().find(|r| r.labels.pid() == Some(Pid(pid)) && r.labels.get("kind") == kind)?;
            Some(row.points.iter().map(|p| (p.at.as_secs(), p.value as u64 / 1024)).collect::<Vec<_>>())
        };
        assert_eq!(of(7, "anonymous").unwrap(), [(0, 400), (2, 800), (5, 800)]);
        assert_eq!(of(7, "file").unwrap(), [(0, 28), (2, 28), (5, 28)]);
        assert_eq!(of(7, "swap").unwrap()[0], (0, 8));
        assert_eq!(of(7, "shared"), None);
        assert_eq!(of(8, "anonymous").unwrap(), [(0, 40), (2, 40)], "what was read of one that is gone stays");
        assert_eq!(of(9, "anonymous").unwrap(), [(5, 4)]);
        assert_eq!(of(2, "anonymous"), None);
    }

    #[test]
    fn without_the_kernel_side_faults_are_counted_from_outside() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path();
        let roots = Roots { proc: base.join("proc"), sys: base.join("sys"), btf: base.join("btf") };
        let stat = |pid: u32, minor: u32, major: u32| {
            put(base, pid, 4);
            let zeros = " 0".repeat(30);
            let line = format!("{pid} (a) S 1 1 1 0 -1 0 {minor} 0 {major} 0 0 0 0 0 20 0 1 0 5{zeros}\n");
            fs::write(base.join(format!("proc/{pid}/stat")), line).unwrap();
        };
        stat(7, 100, 3);
        let usage = Usage::new(&roots, &Target::system("h"), true);
        stat(7, 150, 3);
        stat(8, 30, 2);
        let mut rec = recording();
        usage.finish(Duration::from_secs(5), &mut rec);
        let mut rows: Vec<_> = rec.get(&catalog::PROCESS_FAULTS).unwrap().iter().collect();
        rows.sort_by(|a, b| a.labels.cmp(&b.labels));
        let seen: Vec<_> = rows.iter().map(|r| (r.labels.get("pid"), r.labels.get("type"), r.last() as u64)).collect();
        assert_eq!(seen, [("7", "minor", 50), ("8", "major", 2), ("8", "minor", 30)]);
    }
}
