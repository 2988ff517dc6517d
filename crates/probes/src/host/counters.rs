//! The machine's own counters, read a few times a second.
//!
//! Cost: the files stay open, and one reading of all takes about 0.2 ms on a small machine; each control group that has
//! a quota adds a file. The tree of groups is walked at the start and at the end only.

use super::facts::unreadable;
use crate::{
    host::cgroups::{self, Quota, Quotas},
    roots::Roots,
};
use observe::{Absent, Labels, Point, Recording, Series, catalog};
use procfs::{DiskStats, KernelStats, Meminfo, VmStat, prelude::*};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::File,
    io::{self, Read, Seek},
    path::PathBuf,
    time::Duration,
};

/// Bytes of a sector in `/proc/diskstats`, whatever the device's own sector size.
const SECTOR: f64 = 512.0;
/// Disk times are in milliseconds.
const MILLISECOND: f64 = 1e-3;
/// Where 32-bit counters begin again.
const WRAP: f64 = 4_294_967_296.0;
/// ours: the largest files read here are those of machines with thousands of CPUs or disks.
const LARGEST_FILE: u64 = 16 << 20;
const THROTTLING: [&str; 3] = ["periods", "throttled_periods", "throttled_time"];
const PAGING_TYPES: [(&str, &str); 8] = [
    ("pgfault", "fault"),
    ("pgmajfault", "major_fault"),
    ("pswpin", "swap_in"),
    ("pswpout", "swap_out"),
    ("oom_kill", "oom_kill"),
    ("drop_pagecache", "drop_cache"),
    ("workingset_refault_file", "refault_file"),
    // Before Linux 5.9, when only file pages were counted.
    ("workingset_refault", "refault_file"),
];

/// The open counter files and what was read from them.
///
/// Label values: CPU `mode` user, nice, system, idle, iowait, irq, softirq, steal, and guest on machines that run
/// guests; `cpu` is its number. Pressure `resource` cpu, io, memory and `kind` some, full. Paging `type` fault (all),
/// major_fault, swap_in, swap_out, direct_reclaim, oom_kill, drop_cache, refault_file. Disks are whole ones that have ever done I/O.
pub struct Counters {
    roots: Roots,
    ticks: f64,
    stat: Source,
    meminfo: Source,
    vmstat: Source,
    diskstats: Source,
    pressure: [(&'static str, Source); 3],
    groups: Vec<Group>,
    quotas: Quotas,
    whole_disks: HashMap<String, bool>,
    last: Duration,
    cpu: Table,
    runnable: Table,
    stalls: Table,
    memory: Table,
    paging: Table,
    disk_busy: Table,
    disk_weighted: Table,
    disk_operations: Table,
    disk_io: Table,
    throttling: Table,
}

impl Counters {
    /// Opens what is there. What is not is reported by [`Counters::finish`].
    pub fn new(roots: &Roots) -> Self {
        let proc = |file: &str| Source::new(roots.proc.join(file));
        let quotas = cgroups::quotas(roots);
        let groups = quotas.limited.iter().map(Group::new).collect();
        Counters {
            roots: roots.clone(),
            ticks: procfs::ticks_per_second() as f64,
            stat: proc("stat"),
            meminfo: proc("meminfo"),
            vmstat: proc("vmstat"),
            diskstats: proc("diskstats"),
            pressure: ["cpu", "io", "memory"].map(|resource| (resource, proc(&format!("pressure/{resource}")))),
            groups,
            quotas,
            whole_disks: HashMap::new(),
            last: Duration::ZERO,
            cpu: Table::new(["cpu", "mode"]),
            runnable: Table::new(["", ""]),
            stalls: Table::new(["resource", "kind"]),
            memory: Table::new(["state", ""]),
            paging: Table::new(["type", ""]),
            disk_busy: Table::new(["device", ""]),
            disk_weighted: Table::new(["device", ""]),
            disk_operations: Table::new(["device", "direction"]),
            disk_io: Table::new(["device", "direction"]),
            throttling: Table::new(["cgroup", "what"]),
        }
    }

    /// Reads every counter once; `at` is the time since the window began, ascending from call to call.
    pub fn sample(&mut self, at: Duration) {
        self.last = at;
        self.sample_cpus(at);
        self.sample_memory(at);
        self.sample_pressure(at);
        self.sample_disks(at);
        for group in &mut self.groups {
            group.sample(at, &mut self.throttling);
        }
    }

    /// Puts the series, or the reason why there are none, into the recording. A group that was made with a quota after
    /// the start gets its counters, which began at zero, as of the last sample; one that existed and was given a quota
    /// later gets its last reading only.
    pub fn finish(mut self, into: &mut Recording) {
        let quotas = cgroups::quotas(&self.roots);
        let known: BTreeSet<&PathBuf> = self.quotas.limited.iter().map(|limit| &limit.dir).collect();
        let late: Vec<_> = quotas.limited.iter().filter(|limit| !known.contains(&limit.dir)).collect();
        for limit in late {
            let mut group = Group::new(limit);
            if !self.quotas.groups.contains(&limit.dir) && self.last > Duration::ZERO {
                for what in THROTTLING {
                    self.throttling.add(&limit.cgroup, what, Duration::ZERO, 0.0);
                }
            }
            group.sample(self.last, &mut self.throttling);
        }
        let throttling = if quotas.possible || self.quotas.possible {
            Ok(self.throttling.series())
        } else {
            Err(Absent::Unsupported("no control group hierarchy with a cpu controller is mounted".to_owned()))
        };
        into.set(&catalog::CGROUP_CPU, throttling);

        into.set(&catalog::CPU_TIME, self.cpu.or(&self.stat));
        into.set(&catalog::RUNNABLE, self.runnable.or(&self.stat));
        into.set(&catalog::MEMORY, self.memory.or(&self.meminfo));
        into.set(&catalog::PAGING, self.paging.or(&self.vmstat));
        let stalls = match self.pressure.iter().find(|(_, source)| source.why.is_some()) {
            Some((_, source)) if self.stalls.rows.is_empty() => Err(no_pressure(source)),
            _ => self.stalls.or(&self.pressure[0].1),
        };
        into.set(&catalog::PRESSURE, stalls);

        // A device that never did anything, such as an unused loop device, is no disk.
        let idle = self.disk_operations.never_moved();
        for (metric, table) in [
            (&catalog::DISK_BUSY, self.disk_busy),
            (&catalog::DISK_WEIGHTED, self.disk_weighted),
            (&catalog::DISK_OPERATIONS, self.disk_operations),
            (&catalog::DISK_IO, self.disk_io),
        ] {
            let mut rows = table.or(&self.diskstats);
            if let Ok(rows) = &mut rows {
                rows.retain(|series| !idle.contains(series.labels.get("device")));
            }
            into.set(metric, rows);
        }
    }

    fn sample_cpus(&mut self, at: Duration) {
        let Some(text) = self.stat.read() else { return };
        let Ok(stat) = KernelStats::from_buf_read(text.as_bytes(), procfs::current_system_info()) else { return };
        if let Some(running) = stat.procs_running {
            // The thread that reads this is running, and is friday's.
            self.runnable.add("", "", at, f64::from(running.saturating_sub(1)));
        }
        // procfs leaves the numbers out, in which CPUs that are offline make gaps.
        let rest = text.lines().filter_map(|line| line.strip_prefix("cpu"));
        let numbers = rest.filter(|rest| !rest.starts_with(' ')).filter_map(|rest| rest.split(' ').next());
        for (cpu, time) in numbers.zip(&stat.cpu_time) {
            // Guest time is a part of the first two.
            let [guest, guest_nice] = [time.guest, time.guest_nice].map(Option::unwrap_or_default);
            for (mode, ticks) in [
                ("user", Some(time.user.saturating_sub(guest))),
                ("nice", Some(time.nice.saturating_sub(guest_nice))),
                ("system", Some(time.system)),
                ("idle", Some(time.idle)),
                ("iowait", time.iowait),
                ("irq", time.irq),
                ("softirq", time.softirq),
                ("steal", time.steal),
                ("guest", Some(guest.saturating_add(guest_nice)).filter(|guests| *guests > 0)),
            ] {
                if let Some(ticks) = ticks {
                    self.cpu.add_rising(cpu, mode, at, ticks as f64 / self.ticks);
                }
            }
        }
    }

    fn sample_memory(&mut self, at: Duration) {
        if let Some(memory) = self.meminfo.parse::<Meminfo>() {
            for (state, bytes) in [
                ("total", Some(memory.mem_total)),
                ("available", memory.mem_available),
                ("free", Some(memory.mem_free)),
                ("cached", Some(memory.cached)),
                ("dirty", Some(memory.dirty)),
                ("writeback", Some(memory.writeback)),
                ("swap_total", Some(memory.swap_total)),
                ("swap_free", Some(memory.swap_free)),
            ] {
                if let Some(bytes) = bytes {
                    self.memory.add(state, "", at, bytes as f64);
                }
            }
        }
        if let Some(VmStat(counts)) = self.vmstat.parse() {
            for (name, kind) in PAGING_TYPES {
                if let Some(count) = counts.get(name) {
                    self.paging.add(kind, "", at, *count as f64);
                }
            }
            // One for each zone since Linux 4.10.
            let stalls = counts.iter().filter(|(name, _)| *name == "allocstall" || name.starts_with("allocstall_"));
            if let Some(stalls) = stalls.map(|(_, count)| *count as f64).reduce(|all, count| all + count) {
                self.paging.add("direct_reclaim", "", at, stalls);
            }
        }
    }

    fn sample_pressure(&mut self, at: Duration) {
        for (resource, source) in &mut self.pressure {
            let Some(text) = source.read() else { continue };
            // By lines, as procfs's CpuPressure wants a `full`, which Linux before 5.13 has not.
            for line in text.lines() {
                let kind = match line.split_once(' ') {
                    Some(("some", _)) => "some",
                    Some(("full", _)) => "full",
                    _ => continue,
                };
                if let Ok(record) = procfs::parse_pressure_record(line) {
                    self.stalls.add(resource, kind, at, record.total as f64 / 1e6);
                }
            }
        }
    }

    fn sample_disks(&mut self, at: Duration) {
        let Some(DiskStats(disks)) = self.diskstats.parse() else { return };
        for disk in disks {
            let name = &disk.name;
            let sys = &self.roots.sys;
            let whole = *self.whole_disks.entry(name.clone()).or_insert_with(|| {
                // sysfs writes the slash in cciss/c0d0 as an exclamation mark.
                sys.join("block").join(name.replace('/', "!")).exists()
            });
            if !whole {
                continue;
            }
            let put = |table: &mut Table, direction: &'static str, value: Option<u64>, unit: f64| {
                if let Some(value) = value {
                    table.add_counter(name, direction, at, value as f64, unit);
                }
            };
            put(&mut self.disk_operations, "read", Some(disk.reads), 1.0);
            put(&mut self.disk_operations, "write", Some(disk.writes), 1.0);
            put(&mut self.disk_operations, "discard", disk.discards, 1.0);
            put(&mut self.disk_operations, "flush", disk.flushes, 1.0);
            put(&mut self.disk_io, "read", Some(disk.sectors_read), SECTOR);
            put(&mut self.disk_io, "write", Some(disk.sectors_written), SECTOR);
            put(&mut self.disk_busy, "", Some(disk.time_in_progress), MILLISECOND);
            put(&mut self.disk_weighted, "", Some(disk.weighted_time_in_progress), MILLISECOND);
        }
    }
}

/// A counter file, open.
pub(crate) struct Source {
    path: PathBuf,
    file: Option<File>,
    bytes: Vec<u8>,
    /// Why it could not be read when it was tried last.
    why: Option<io::Error>,
}

impl Source {
    pub(crate) fn new(path: PathBuf) -> Self {
        let (file, why) = match File::open(&path) {
            Ok(file) => (Some(file), None),
            Err(error) => (None, Some(error)),
        };
        Source { path, file, bytes: Vec::new(), why }
    }

    /// The whole file as it is now; `None`, with the reason kept, when it cannot be read.
    pub(crate) fn read(&mut self) -> Option<Cow<'_, str>> {
        let mut file = self.file.as_ref()?;
        self.bytes.clear();
        if let Err(error) = file.rewind().and_then(|()| file.take(LARGEST_FILE).read_to_end(&mut self.bytes)) {
            self.why = Some(error);
            return None;
        }
        Some(String::from_utf8_lossy(&self.bytes))
    }

    /// What is in it now; `None` too when procfs cannot make it out.
    pub(crate) fn parse<T: FromBufRead>(&mut self) -> Option<T> {
        T::from_buf_read(self.read()?.as_bytes()).ok()
    }

    /// Why there is nothing from it.
    fn absent(&self) -> Absent {
        match &self.why {
            Some(error) => unreadable(&self.path, error),
            None => Absent::Failed(format!("{} does not hold it", self.path.display())),
        }
    }
}

/// Why there is no pressure information.
fn no_pressure(source: &Source) -> Absent {
    match source.why.as_ref().map(|error| (error.kind(), error.raw_os_error())) {
        Some((io::ErrorKind::NotFound, _)) => {
            Absent::Unsupported("this kernel has no pressure stall information (CONFIG_PSI)".to_owned())
        }
        Some((_, Some(libc::EOPNOTSUPP))) => {
            Absent::Unsupported("pressure stall information is off: boot with psi=1".to_owned())
        }
        _ => source.absent(),
    }
}

/// The throttling counters of one control group.
struct Group {
    cgroup: String,
    source: Source,
}

impl Group {
    fn new(limit: &Quota) -> Self {
        Group { cgroup: limit.cgroup.clone(), source: Source::new(limit.dir.join("cpu.stat")) }
    }

    fn sample(&mut self, at: Duration, into: &mut Table) {
        // procfs has nothing for this file.
        let mut found = [None; 3];
        // A group that was removed ends its series here.
        let Some(text) = self.source.read() else { return };
        for line in text.lines() {
            let Some((key, value)) = line.split_once(' ') else { continue };
            let Ok(value) = value.trim().parse::<f64>() else { continue };
            match key {
                "nr_periods" => found[0] = Some(value),
                "nr_throttled" => found[1] = Some(value),
                "throttled_time" => found[2] = Some(value / 1e9),
                "throttled_usec" => found[2] = Some(value / 1e6),
                _ => {}
            }
        }
        for (what, value) in THROTTLING.into_iter().zip(found) {
            if let Some(value) = value {
                into.add(&self.cgroup, what, at, value);
            }
        }
    }
}

/// One counter or gauge over time.
#[derive(Default)]
struct Row {
    points: Vec<Point>,
    /// What a counter had reached before it wrapped or started again.
    before: f64,
    raw: f64,
}

/// The rows of a metric by the values of its one or two labels.
pub(crate) struct Table {
    labels: [&'static str; 2],
    rows: BTreeMap<String, BTreeMap<&'static str, Row>>,
}

impl Table {
    pub(crate) fn new(labels: [&'static str; 2]) -> Self {
        Table { labels, rows: BTreeMap::new() }
    }

    fn row(&mut self, first: &str, second: &'static str) -> &mut Row {
        if !self.rows.contains_key(first) {
            self.rows.insert(first.to_owned(), BTreeMap::new());
        }
        self.rows.entry(first.to_owned()).or_default().entry(second).or_default()
    }

    pub(crate) fn add(&mut self, first: &str, second: &'static str, at: Duration, value: f64) {
        self.row(first, second).points.push(Point { at, value });
    }

    /// A counter that may step back a little by the way it is computed, as idle and iowait time do.
    fn add_rising(&mut self, first: &str, second: &'static str, at: Duration, value: f64) {
        let row = self.row(first, second);
        let value = row.points.last().map_or(value, |last| value.max(last.value));
        row.points.push(Point { at, value });
    }

    /// A counter that wraps at 32 bits on older kernels, and starts again when its device is replaced.
    pub(crate) fn add_counter(&mut self, first: &str, second: &'static str, at: Duration, raw: f64, unit: f64) {
        let row = self.row(first, second);
        if raw < row.raw {
            let wrapped = row.raw < WRAP && row.raw > WRAP * 0.75 && raw < WRAP * 0.25;
            row.before += if wrapped { WRAP } else { row.raw };
        }
        row.raw = raw;
        row.points.push(Point { at, value: (row.before + raw) * unit });
    }

    /// The first labels' values none of whose rows ever left zero.
    fn never_moved(&self) -> BTreeSet<String> {
        let still = |rows: &BTreeMap<&str, Row>| rows.values().all(|row| row.points.iter().all(|p| p.value == 0.0));
        self.rows.iter().filter(|(_, rows)| still(rows)).map(|(first, _)| first.clone()).collect()
    }

    fn series(self) -> Vec<Series> {
        let [first_name, second_name] = self.labels;
        let mut all = Vec::new();
        for (first, rows) in self.rows {
            for (second, row) in rows {
                let pairs = [(first_name, first.clone()), (second_name, second.to_owned())];
                let named = pairs.into_iter().filter(|(name, _)| !name.is_empty());
                let labels = Labels(named.map(|(name, value)| (name.to_owned(), value)).collect());
                all.push(Series { labels, points: row.points });
            }
        }
        all
    }

    /// The series, or why the source gave none.
    pub(crate) fn or(self, source: &Source) -> Result<Vec<Series>, Absent> {
        if self.rows.is_empty() { Err(source.absent()) } else { Ok(self.series()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use observe::{Host, Target, Window};
    use std::{fs, path::Path, time::SystemTime};

    fn put(base: &Path, file: &str, content: &str) {
        let path = base.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn roots(base: &Path) -> Roots {
        Roots { proc: base.join("proc"), sys: base.join("sys"), btf: base.join("btf") }
    }

    fn recording() -> Recording {
        let host = Host { name: "h".into(), kernel: "6".into(), cpus: 2, memory_bytes: 1 };
        let window = Window { start: SystemTime::UNIX_EPOCH, length: Duration::from_secs(1) };
        Recording::new(host, Target::system("h"), window)
    }

    fn one<'a>(rows: &'a [Series], labels: &[(&str, &str)]) -> &'a Series {
        let wanted = |series: &&Series| labels.iter().all(|(name, value)| series.labels.get(name) == *value);
        let mut found = rows.iter().filter(wanted);
        let series = found.next().unwrap_or_else(|| panic!("{labels:?} in {rows:?}"));
        assert!(found.next().is_none(), "{labels:?} names several");
        series
    }

    /// What every kernel has in them.
    const MEMINFO: &str = "MemTotal: 100 kB\nMemFree: 50 kB\nMemAvailable: 60 kB\nBuffers: 1 kB\nCached: 7 kB\n\
        SwapCached: 0 kB\nActive: 1 kB\nInactive: 1 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\nDirty: 3 kB\n\
        Writeback: 0 kB\nMapped: 1 kB\nSlab: 1 kB\nCommitted_AS: 1 kB\nVmallocTotal: 1 kB\nVmallocUsed: 0 kB\n\
        VmallocChunk: 0 kB\nHugePages_Total: 0\n";

    fn stat(cpus: &str, running: u32) -> String {
        format!("cpu 1 1 1 1\n{cpus}\nintr 1 0\nctxt 1\nbtime 1\nprocesses 1\nprocs_running {running}\n")
    }

    const FIRST: Duration = Duration::from_millis(500);
    const SECOND: Duration = Duration::from_millis(1000);

    #[test]
    fn a_fake_machine_on_version_2() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path();
        put(base, "proc/stat", &stat("cpu0 1000 10 200 5000 30 4 5 6 300 2", 4));
        put(base, "proc/meminfo", MEMINFO);
        put(base, "proc/vmstat", "pgfault 100\npgmajfault 3\nallocstall_dma 1\nallocstall_normal 2\noom_kill 0\n");
        put(base, "proc/pressure/cpu", "some avg10=0.09 avg60=8.55 avg300=8.82 total=1500000\n");
        let io = "some avg10=0.00 avg60=0.00 avg300=0.00 total=10\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=20\n";
        put(base, "proc/pressure/io", io);
        let disks = "8 0 sda 100 0 800 1 50 0 400 1 0 2000 3000 5 0 40 1 7 1\n\
            8 1 sda1 100 0 800 1 50 0 400 1 0 2000 3000\n7 0 loop0 0 0 0 0 0 0 0 0 0 0 0\n";
        put(base, "proc/diskstats", disks);
        put(base, "sys/block/sda/size", "1");
        put(base, "sys/block/loop0/size", "1");
        put(base, "sys/fs/cgroup/cgroup.controllers", "cpu\n");
        put(base, "sys/fs/cgroup/web/cpu.max", "20000 100000\n");
        put(
            base,
            "sys/fs/cgroup/web/cpu.stat",
            "usage_usec 9\nnr_periods 10\nnr_throttled 4\nthrottled_usec 2500000\n",
        );
        put(base, "sys/fs/cgroup/free/cpu.max", "max 100000\n");

        let mut counters = Counters::new(&roots(base));
        counters.ticks = 100.0;
        counters.sample(FIRST);
        put(base, "proc/diskstats", "8 0 sda 150 0 1000 1 50 0 400 1 0 2500 3000 5 0 40 1 7 1\n");
        put(base, "proc/stat", &stat("cpu0 1100 10 200 4999 30 4 5 6 300 2", 0));
        put(base, "sys/fs/cgroup/new/cpu.max", "1000 100000\n");
        put(base, "sys/fs/cgroup/new/cpu.stat", "nr_periods 3\nnr_throttled 3\nthrottled_usec 100\n");
        put(base, "sys/fs/cgroup/free/cpu.max", "5000 100000\n");
        put(base, "sys/fs/cgroup/free/cpu.stat", "nr_periods 1\nnr_throttled 1\nthrottled_usec 7\n");
        counters.sample(SECOND);
        let mut seen = recording();
        counters.finish(&mut seen);

        let cpu = seen.get(&catalog::CPU_TIME).unwrap();
        assert_eq!(one(cpu, &[("cpu", "0"), ("mode", "user")]).points[0].value, 7.0);
        assert_eq!(one(cpu, &[("mode", "user")]).increase(), Some(1.0));
        assert_eq!(one(cpu, &[("mode", "nice")]).last(), 0.08);
        assert_eq!(one(cpu, &[("mode", "idle")]).increase(), Some(0.0));
        assert_eq!(one(cpu, &[("mode", "guest")]).last(), 3.02);
        assert_eq!(one(cpu, &[("mode", "steal")]).last(), 0.06);
        let runnable = seen.get(&catalog::RUNNABLE).unwrap();
        assert_eq!(runnable[0].points.iter().map(|p| p.value).collect::<Vec<_>>(), [3.0, 0.0]);
        assert_eq!(runnable[0].points[1].at, SECOND);

        let memory = seen.get(&catalog::MEMORY).unwrap();
        assert_eq!(one(memory, &[("state", "available")]).last(), 61440.0);
        assert_eq!(one(memory, &[("state", "swap_total")]).last(), 0.0);
        assert_eq!(one(memory, &[("state", "dirty")]).last(), 3.0 * 1024.0);
        let paging = seen.get(&catalog::PAGING).unwrap();
        assert_eq!(one(paging, &[("type", "direct_reclaim")]).last(), 3.0);
        assert_eq!(one(paging, &[("type", "major_fault")]).last(), 3.0);
        let pressure = seen.get(&catalog::PRESSURE).unwrap();
        assert_eq!(one(pressure, &[("resource", "cpu"), ("kind", "some")]).last(), 1.5);
        assert_eq!(one(pressure, &[("resource", "io"), ("kind", "full")]).last(), 20e-6);
        assert_eq!(pressure.len(), 3);

        let busy = seen.get(&catalog::DISK_BUSY).unwrap();
        assert_eq!(busy.len(), 1);
        assert_eq!(one(busy, &[("device", "sda")]).increase(), Some(0.5));
        let operations = seen.get(&catalog::DISK_OPERATIONS).unwrap();
        assert_eq!(one(operations, &[("direction", "read")]).increase(), Some(50.0));
        assert_eq!(one(operations, &[("direction", "discard")]).last(), 5.0);
        assert_eq!(one(operations, &[("direction", "flush")]).last(), 7.0);
        let bytes = seen.get(&catalog::DISK_IO).unwrap();
        assert_eq!(one(bytes, &[("direction", "read")]).increase(), Some(200.0 * 512.0));

        let throttling = seen.get(&catalog::CGROUP_CPU).unwrap();
        assert_eq!(one(throttling, &[("cgroup", "/web"), ("what", "throttled_time")]).last(), 2.5);
        assert_eq!(one(throttling, &[("cgroup", "/web"), ("what", "periods")]).points.len(), 2);
        assert_eq!(one(throttling, &[("cgroup", "/new"), ("what", "throttled_periods")]).increase(), Some(3.0));
        assert_eq!(one(throttling, &[("cgroup", "/free"), ("what", "periods")]).increase(), None);
    }

    #[test]
    fn an_older_kernel_and_a_cpu_that_is_offline() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path();
        put(base, "proc/stat", &stat("cpu0 1 0 0 0\ncpu2 200 0 0 0", 1));
        put(base, "proc/meminfo", &MEMINFO.replace("MemAvailable: 60 kB\n", ""));
        put(base, "proc/vmstat", "pgfault 100\nallocstall 5\n");
        put(base, "proc/diskstats", "8 0 sda 100 0 800 1 50 0 400 1 0 2000 3000\n");
        put(base, "sys/block/sda/size", "1");
        let mut counters = Counters::new(&roots(base));
        counters.ticks = 100.0;
        counters.sample(FIRST);
        let mut seen = recording();
        counters.finish(&mut seen);
        let cpu = seen.get(&catalog::CPU_TIME).unwrap();
        assert_eq!(one(cpu, &[("cpu", "2"), ("mode", "user")]).last(), 2.0);
        assert!(cpu.iter().all(|series| !["1", ""].contains(&series.labels.get("cpu"))));
        assert!(cpu.iter().all(|series| !["steal", "guest"].contains(&series.labels.get("mode"))));
        let memory = seen.get(&catalog::MEMORY).unwrap();
        assert_eq!(one(memory, &[("state", "free")]).last(), 51200.0);
        assert!(memory.iter().all(|series| series.labels.get("state") != "available"));
        let paging = seen.get(&catalog::PAGING).unwrap();
        assert_eq!(one(paging, &[("type", "direct_reclaim")]).last(), 5.0);
        assert!(paging.iter().all(|series| series.labels.get("type") != "oom_kill"));
        assert_eq!(seen.get(&catalog::DISK_OPERATIONS).unwrap().len(), 2);
    }

    #[test]
    fn what_is_missing_has_its_reason_and_is_not_zero() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path();
        put(base, "proc/meminfo", "nothing of use\n");
        let mut counters = Counters::new(&roots(base));
        counters.sample(FIRST);
        let mut seen = recording();
        counters.finish(&mut seen);
        let absent = |why: Absent| why.to_string();
        assert!(absent(seen.get(&catalog::PRESSURE).unwrap_err()).contains("CONFIG_PSI"));
        assert!(absent(seen.get(&catalog::CPU_TIME).unwrap_err()).contains("there is no"));
        assert!(absent(seen.get(&catalog::MEMORY).unwrap_err()).contains("does not hold it"));
        for metric in [&catalog::RUNNABLE, &catalog::PAGING, &catalog::DISK_BUSY, &catalog::DISK_IO] {
            assert!(seen.get(metric).is_err(), "{}", metric.name);
        }
        assert!(matches!(seen.get(&catalog::CGROUP_CPU), Err(Absent::Unsupported(_))));
    }

    #[test]
    fn version_1_counts_throttled_time_in_nanoseconds_and_a_removed_group_ends_its_series() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path();
        put(base, "sys/fs/cgroup/cpu/cgroup.procs", "");
        put(base, "sys/fs/cgroup/cpu/web/cpu.cfs_quota_us", "20000\n");
        put(base, "sys/fs/cgroup/cpu/web/cpu.cfs_period_us", "100000\n");
        put(base, "sys/fs/cgroup/cpu/web/cpu.stat", "nr_periods 2\nnr_throttled 1\nthrottled_time 1500000000\n");
        let mut counters = Counters::new(&roots(base));
        counters.sample(FIRST);
        fs::remove_dir_all(base.join("sys/fs/cgroup/cpu/web")).unwrap();
        counters.groups[0].source.file = None;
        counters.sample(SECOND);
        let mut seen = recording();
        counters.finish(&mut seen);
        let rows = seen.get(&catalog::CGROUP_CPU).unwrap();
        let time = one(rows, &[("cgroup", "/web"), ("what", "throttled_time")]);
        assert_eq!(time.points, [Point { at: FIRST, value: 1.5 }]);
    }

    #[test]
    fn counters_never_fall() {
        let mut table = Table::new(["device", ""]);
        for raw in [4_294_967_000.0, 704.0, 1704.0, 4.0] {
            table.add_counter("sda", "", FIRST, raw, 1.0);
        }
        let series = table.series().remove(0);
        let values: Vec<f64> = series.points.iter().map(|p| p.value - series.points[0].value).collect();
        assert_eq!(values, [0.0, 1000.0, 2000.0, 2004.0]);
    }

    #[test]
    fn this_machine_counts() {
        let mut counters = Counters::new(&Roots::default());
        counters.sample(Duration::ZERO);
        let began = std::time::Instant::now();
        for n in 1..=20 {
            counters.sample(FIRST * n);
        }
        let each = began.elapsed() / 20;
        eprintln!("one sample: {each:?}");
        assert!(each < Duration::from_millis(20), "{each:?}");
        let mut seen = recording();
        counters.finish(&mut seen);
        let cpu = seen.get(&catalog::CPU_TIME).unwrap();
        assert!(one(cpu, &[("cpu", "0"), ("mode", "idle")]).points.len() == 21);
    }
}
