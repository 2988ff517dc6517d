//! A recording reduced to what can be compared with another: load and cost by service, latency, use of resources, settings,
//! software, hardware.

use crate::{Spread, spread::rates};
use observe::{Histogram, Labels, Pid, Ratio, Recording, Series, catalog};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The schema of a stored summary.
pub const SCHEMA: &str = "friday.summary/2";

/// ours: fewer requests in a second say nothing of what each costs.
const ENOUGH: f64 = 5.0;

/// Facts of the machine that change by themselves, or that others tell better.
const PASSING: [&str; 7] =
    ["uptime_s", "kernel.tainted", "hostname", "boot_id", "os", "kernel.release", "kernel.version"];

/// Words of the kernel's command line that name its file: the kernel's release tells better.
const BOOT_FILES: [&str; 2] = ["BOOT_IMAGE=", "initrd="];

/// Facts that are hardware or what stands for it.
const HARDWARE: [&str; 5] = ["cpu.model", "cpu.online", "cpu.smt", "cpu.max_mhz", "virtualization"];

/// What a recording comes to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// [`SCHEMA`].
    pub schema: String,
    /// The machine's name.
    pub host: String,
    /// Kernel release.
    pub kernel: String,
    /// Length of the window in seconds.
    pub seconds: f64,
    /// Services by name and place, `redis-server 6379`.
    pub services: BTreeMap<String, Service>,
    /// How busy each resource was, 0 to 1, second by second: `cpu`, `disk vda`.
    pub busy: BTreeMap<String, Spread>,
    /// The part of the CPU time that somebody here wanted which the hypervisor took.
    #[serde(default)]
    pub stolen: f64,
    /// Settings of the kernel by name.
    pub settings: BTreeMap<String, String>,
    /// Mount options by place.
    pub mounts: BTreeMap<String, String>,
    /// Limits of each control group that there is, by name: none where it has none.
    pub limits: BTreeMap<String, BTreeMap<String, String>>,
    /// Programs by path.
    pub software: BTreeMap<String, String>,
    /// Hardware by name.
    pub hardware: BTreeMap<String, String>,
}

/// What is asked of one service, and what it costs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Requests per second.
    pub rate: Option<Spread>,
    /// Requests in hand at once, by Little's law.
    pub concurrency: Option<Spread>,
    /// CPU seconds per request, of all its processes.
    pub cost: Option<Spread>,
    /// Mean time of a request in seconds, second by second.
    pub latency: Option<Spread>,
    /// Median time of a request in seconds, over the window.
    pub p50: Option<f64>,
    /// The 99th percentile.
    pub p99: Option<f64>,
    /// Path of the program that answers.
    pub program: Option<String>,
}

impl Summary {
    /// Of a recording.
    pub fn of(rec: &Recording) -> Self {
        Summary {
            schema: SCHEMA.to_owned(),
            host: rec.host.name.clone(),
            kernel: rec.host.kernel.clone(),
            seconds: rec.window.length.as_secs_f64(),
            services: services(rec),
            busy: busy(rec),
            stolen: stolen(rec),
            settings: settings(rec),
            mounts: mounts(rec),
            limits: limits(rec),
            software: facts(rec, &catalog::EXECUTABLE, "path"),
            hardware: hardware(rec),
        }
    }
}

/// A service's name: its program's and where it listens.
fn name(rec: &Recording, labels: &Labels) -> Option<String> {
    let pid = labels.pid()?;
    (!rec.is_friday(pid)).then(|| format!("{} {}", rec.process_name(pid), labels.get("service")))
}

fn services(rec: &Recording) -> BTreeMap<String, Service> {
    let mut counts: BTreeMap<String, Vec<&Series>> = BTreeMap::new();
    for row in rec.get(&catalog::REQUEST_COUNT).into_iter().flatten() {
        if let Some(name) = name(rec, &row.labels) {
            counts.entry(name).or_default().push(row);
        }
    }
    let mut histograms: BTreeMap<String, Histogram> = BTreeMap::new();
    for row in rec.get(&catalog::REQUESTS).into_iter().flatten() {
        if let Some(name) = name(rec, &row.labels) {
            histograms.entry(name).and_modify(|sum| sum.merge(row)).or_insert_with(|| row.clone());
        }
    }
    let mut all = BTreeMap::new();
    for (service, rows) in counts {
        let rate = summed(&rows);
        let seconds: Vec<&Series> = rec
            .get(&catalog::REQUEST_SECONDS)
            .into_iter()
            .flatten()
            .filter(|row| name(rec, &row.labels).as_ref() == Some(&service))
            .collect();
        let in_hand = summed(&seconds);
        let pids: Vec<Pid> = rows.iter().filter_map(|row| row.labels.pid()).collect();
        let cpu = summed(
            &rec.get(&catalog::PROCESS_CPU)
                .into_iter()
                .flatten()
                .filter(|row| row.labels.pid().is_some_and(|pid| pids.contains(&pid)))
                .collect::<Vec<_>>(),
        );
        let quantile = |part| histograms.get(&service)?.quantile_time(Ratio(part)).map(|time| time.as_secs_f64());
        let values = |rates: &BTreeMap<u64, f64>| Spread::of(rates.values().copied().collect());
        let of = Service {
            rate: values(&rate),
            concurrency: values(&in_hand),
            cost: per(&cpu, &rate),
            latency: per(&in_hand, &rate),
            p50: quantile(0.5),
            p99: quantile(0.99),
            program: program(rec, &pids),
        };
        all.insert(service, of);
    }
    all
}

/// Growth per second of counters together, by the tenth of a second at which it was read.
fn summed(rows: &[&Series]) -> BTreeMap<u64, f64> {
    let mut sums: BTreeMap<u64, f64> = BTreeMap::new();
    for row in rows {
        for (at, rate) in rates(row) {
            *sums.entry((at * 10.0).round() as u64).or_default() += rate;
        }
    }
    sums
}

/// One rate by another, second by second, where there were enough requests.
fn per(what: &BTreeMap<u64, f64>, requests: &BTreeMap<u64, f64>) -> Option<Spread> {
    let each = requests.iter().filter(|(_, rate)| **rate >= ENOUGH);
    Spread::of(each.filter_map(|(at, rate)| Some(what.get(at)? / rate)).collect())
}

fn stolen(rec: &Recording) -> f64 {
    let (mut taken, mut wanted) = (0.0, 0.0);
    for row in rec.get(&catalog::CPU_TIME).into_iter().flatten() {
        let time = row.increase().unwrap_or(0.0);
        let mode = row.labels.get("mode");
        taken += if mode == "steal" { time } else { 0.0 };
        wanted += if matches!(mode, "idle" | "iowait") { 0.0 } else { time };
    }
    if wanted > 0.0 { taken / wanted } else { 0.0 }
}

/// How busy CPUs and disks were, with the work of this machine: what the hypervisor took is nobody's here.
fn busy(rec: &Recording) -> BTreeMap<String, Spread> {
    let mut all = BTreeMap::new();
    let (mut work, mut whole): (BTreeMap<u64, f64>, BTreeMap<u64, f64>) = Default::default();
    for row in rec.get(&catalog::CPU_TIME).into_iter().flatten() {
        let idle = matches!(row.labels.get("mode"), "idle" | "iowait" | "steal");
        for (at, rate) in rates(row) {
            let at = (at * 10.0).round() as u64;
            *whole.entry(at).or_default() += rate;
            *work.entry(at).or_default() += if idle { 0.0 } else { rate };
        }
    }
    let parts =
        whole.iter().filter(|(_, all)| **all > 0.0).map(|(at, all)| work.get(at).map_or(0.0, |work| work / all));
    all.extend(Spread::of(parts.collect()).map(|spread| ("cpu".to_owned(), spread)));
    for row in rec.get(&catalog::DISK_BUSY).into_iter().flatten() {
        let spread = Spread::of_rate(row).filter(|spread| spread.high > 0.0);
        all.extend(spread.map(|spread| (format!("disk {}", row.labels.get("device")), spread)));
    }
    all
}

fn facts(rec: &Recording, metric: &observe::catalog::Metric<observe::Fact>, label: &str) -> BTreeMap<String, String> {
    let rows = rec.get(metric).into_iter().flatten();
    rows.map(|row| (row.labels.get(label).to_owned(), row.value.clone())).collect()
}

fn hardware(rec: &Recording) -> BTreeMap<String, String> {
    let mut all = facts(rec, &catalog::HOST_FACT, "name");
    all.retain(|name, _| HARDWARE.contains(&name.as_str()));
    all.insert("cpus".to_owned(), rec.host.cpus.to_string());
    all.insert("memory".to_owned(), format!("{} MiB", rec.host.memory_bytes >> 20));
    all
}

fn settings(rec: &Recording) -> BTreeMap<String, String> {
    let mut all = facts(rec, &catalog::HOST_FACT, "name");
    all.extend(facts(rec, &catalog::SETTING, "name"));
    all.retain(|name, _| !HARDWARE.contains(&name.as_str()) && !PASSING.contains(&name.as_str()));
    if let Some(line) = all.get_mut("kernel.cmdline") {
        let words = line.split_whitespace().filter(|word| !BOOT_FILES.iter().any(|file| word.starts_with(file)));
        *line = words.collect::<Vec<_>>().join(" ");
    }
    all
}

fn mounts(rec: &Recording) -> BTreeMap<String, String> {
    let rows = rec.get(&catalog::MOUNT).into_iter().flatten();
    rows.map(|row| {
        (row.labels.get("mountpoint").to_owned(), format!("{} {}", row.labels.get("type"), row.value).trim().to_owned())
    })
    .collect()
}

fn limits(rec: &Recording) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut all: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for process in rec.processes.values() {
        // A group that holds a process is there, as are those above it.
        for (at, _) in process.cgroup.match_indices('/').skip(1) {
            all.entry(process.cgroup[..at].to_owned()).or_default();
        }
        if process.cgroup.len() > 1 {
            all.entry(process.cgroup.clone()).or_default();
        }
    }
    for row in rec.get(&catalog::CGROUP_QUOTA).into_iter().flatten() {
        let of = all.entry(row.labels.get("cgroup").to_owned()).or_default();
        of.insert("cpu quota".to_owned(), row.value.clone());
    }
    for row in rec.get(&catalog::CGROUP_LIMIT).into_iter().flatten() {
        let of = all.entry(row.labels.get("cgroup").to_owned()).or_default();
        of.insert(row.labels.get("name").to_owned(), row.value.clone());
    }
    all
}

/// Where the program of some processes lies, where all run the same.
fn program(rec: &Recording, pids: &[Pid]) -> Option<String> {
    let paths = pids.iter().filter_map(|pid| rec.processes.get(pid)).map(|process| &process.exe);
    let mut paths: Vec<&str> = paths.map(|path| path.trim_end_matches(" (deleted)")).collect();
    paths.sort_unstable();
    paths.dedup();
    match paths[..] {
        [path] if !path.is_empty() => Some(path.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use observe::{Bucket, Fact, Host, Point, Process, Target, Window};
    use std::time::{Duration, SystemTime};

    /// Ten seconds of one service: requests a second, CPU milliseconds and seconds in hand for each, and how busy the CPUs
    /// were, with a little noise.
    pub(crate) fn recording(rate: f64, cost_ms: f64, latency: f64, busy: f64) -> Recording {
        let host = Host { name: "h".into(), kernel: "6.18".into(), cpus: 2, memory_bytes: 8 << 30 };
        let window = Window { start: SystemTime::UNIX_EPOCH, length: Duration::from_secs(10) };
        let mut rec = Recording::new(host, Target::system("h"), window);
        let process = Process {
            pid: Pid(7),
            name: "shop".into(),
            exe: "/srv/shop".into(),
            cgroup: "/shop/desk".into(),
            ..Process::default()
        };
        rec.processes.insert(Pid(7), process);
        let labels = || Labels::new([("pid", "7".into()), ("service", "80".into())]);
        let noise = [1.0, 1.03, 0.98, 1.01, 0.97, 1.02, 0.99, 1.0, 1.01, 0.99];
        let counter = |per_second: f64| {
            let mut value = 0.0;
            let mut points = vec![Point { at: Duration::ZERO, value }];
            for (at, noise) in noise.iter().enumerate() {
                value += per_second * noise;
                points.push(Point { at: Duration::from_secs(at as u64 + 1), value });
            }
            points
        };
        rec.push(&catalog::REQUEST_COUNT, Series { labels: labels(), points: counter(rate) });
        rec.push(&catalog::REQUEST_SECONDS, Series { labels: labels(), points: counter(rate * latency) });
        let cpu = Labels::new([("pid", "7".into())]);
        rec.push(&catalog::PROCESS_CPU, Series { labels: cpu, points: counter(rate * cost_ms / 1e3) });
        let mode = |mode: &str| Labels::new([("cpu", "0".into()), ("mode", mode.into())]);
        rec.push(&catalog::CPU_TIME, Series { labels: mode("user"), points: counter(2.0 * busy) });
        rec.push(&catalog::CPU_TIME, Series { labels: mode("idle"), points: counter(2.0 * (1.0 - busy)) });
        let ns = (latency * 1e9) as u64;
        let buckets = vec![Bucket { low: ns, high: ns + 1, count: (rate * 10.0) as u64 }];
        let count = (rate * 10.0) as u64;
        rec.push(&catalog::REQUESTS, Histogram { labels: labels(), count, sum: ns * count, max: ns, buckets });
        let setting = Labels::new([("name", "vm.swappiness".into())]);
        rec.push(&catalog::SETTING, Fact { labels: setting, value: "60".into(), source: "/proc/sys".into() });
        let quota = Labels::new([("cgroup", "/shop/desk".into())]);
        rec.push(
            &catalog::CGROUP_QUOTA,
            Fact { labels: quota, value: "20000 100000".into(), source: "cpu.max".into() },
        );
        let program = Labels::new([("path", "/srv/shop".into())]);
        rec.push(&catalog::EXECUTABLE, Fact { labels: program, value: "build-id 1".into(), source: "x".into() });
        rec
    }

    #[test]
    fn a_service_has_its_load_and_its_cost() {
        let summary = Summary::of(&recording(100.0, 2.0, 0.01, 0.4));
        let shop = &summary.services["shop 80"];
        let close = |spread: Option<Spread>, value: f64| {
            let median = spread.unwrap().median;
            assert!((median - value).abs() < 0.02 * value, "{median} {value}");
        };
        close(shop.rate, 100.0);
        close(shop.concurrency, 1.0);
        close(shop.cost, 0.002);
        close(shop.latency, 0.01);
        assert!((shop.p50.unwrap() - 0.01).abs() < 1e-6);
        close(summary.busy.get("cpu").copied(), 0.4);
        assert_eq!(summary.settings["vm.swappiness"], "60");
        assert_eq!(summary.software["/srv/shop"], "build-id 1");
        assert_eq!(summary.hardware["cpus"], "2");
        assert_eq!(shop.program.as_deref(), Some("/srv/shop"));
        assert_eq!(summary.limits.keys().collect::<Vec<_>>(), ["/shop", "/shop/desk"]);
        assert!(summary.limits["/shop"].is_empty() && summary.limits["/shop/desk"]["cpu quota"] == "20000 100000");
    }

    #[test]
    fn what_changes_by_itself_or_is_told_by_others_is_no_setting() {
        let mut rec = recording(100.0, 2.0, 0.01, 0.4);
        let mut fact = |metric, name: &str, value: &str| {
            let labels = Labels::new([("name", name.into())]);
            rec.push(metric, Fact { labels, value: value.into(), source: "/proc".into() });
        };
        fact(&catalog::HOST_FACT, "kernel.release", "6.18");
        fact(&catalog::HOST_FACT, "kernel.cmdline", "BOOT_IMAGE=/vmlinuz-6.18 root=/dev/vda1 quiet");
        fact(&catalog::SETTING, "kernel.tainted", "512");
        let settings = Summary::of(&rec).settings;
        assert_eq!(settings.keys().collect::<Vec<_>>(), ["kernel.cmdline", "vm.swappiness"]);
        assert_eq!(settings["kernel.cmdline"], "root=/dev/vda1 quiet");
    }

    #[test]
    fn what_was_not_seen_is_not_there() {
        let host = Host { name: "h".into(), kernel: "6.18".into(), cpus: 2, memory_bytes: 8 << 30 };
        let window = Window { start: SystemTime::UNIX_EPOCH, length: Duration::from_secs(10) };
        let summary = Summary::of(&Recording::new(host, Target::system("h"), window));
        assert!(summary.services.is_empty() && summary.busy.is_empty() && summary.settings.is_empty());
    }
}
