//! Static facts of the machine: what it is, how it is set, what is mounted, which groups have a quota.
//!
//! Facts by name (`os` is added by `changes`): `hostname`, `uptime_s`, `kernel.release`, `kernel.version`, `kernel.cmdline`, `kernel.tainted`,
//! `virtualization`, `cpu.model`, `cpu.online`, `cpu.governor`, `cpu.driver`, `cpu.max_mhz`, `cpu.limit_mhz`, `cpu.smt`,
//! `cpu.isolated`, `clocksource`, `clocksource.available`, `mitigations`, `thp`, `thp.defrag`, `numa.nodes`, `swap`,
//! `cgroup.version`, `disk.scheduler`, `psi`, and sysctls by their own name (`vm.swappiness`). A fact that this machine
//! does not have is absent.

use crate::{
    host::{cgroups, cpu_ranges, text},
    roots::Roots,
};
use observe::{Absent, Fact, Host, Labels, Recording, catalog};
use procfs::{KernelStats, Uptime, prelude::*};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

/// ours: nodes with many containers mount some thousands of times, nearly all without a device.
const MOST_MOUNTS: usize = 1000;

/// Settings that have explained slowness before, and those that bound what can be seen.
const SYSCTLS: [&str; 27] = [
    "fs.aio-max-nr",
    "fs.file-max",
    "kernel.kptr_restrict",
    "kernel.numa_balancing",
    "kernel.perf_event_paranoid",
    "kernel.pid_max",
    "kernel.sched_autogroup_enabled",
    "kernel.sched_rt_runtime_us",
    "kernel.task_delayacct",
    "kernel.threads-max",
    "net.core.default_qdisc",
    "net.core.netdev_max_backlog",
    "net.core.rmem_max",
    "net.core.somaxconn",
    "net.core.wmem_max",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_congestion_control",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_tw_reuse",
    "vm.dirty_background_ratio",
    "vm.dirty_bytes",
    "vm.dirty_ratio",
    "vm.max_map_count",
    "vm.min_free_kbytes",
    "vm.overcommit_memory",
    "vm.swappiness",
    "vm.zone_reclaim_mode",
];

/// Why not even the machine's identity could be read.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A file that every Linux has.
    #[error("cannot read {}: is procfs mounted there?", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file that does not say what it says on every Linux.
    #[error("{} holds no {what}", path.display())]
    Unexpected {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
}

/// The machine's identity.
///
/// # Errors
/// When procfs is not there, or is none.
pub fn host(roots: &Roots) -> Result<Host, HostError> {
    let read = |file: &str| {
        let path = roots.proc.join(file);
        fs::read_to_string(&path).map_err(|source| HostError::Unreadable { path, source })
    };
    // Not by procfs: the meminfo of gVisor has too little for it, and without this nothing starts.
    let meminfo = read("meminfo")?;
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = total.and_then(|value| value.split_ascii_whitespace().next()?.parse::<u64>().ok());
    let memory_bytes = kibibytes
        .map(|kibibytes| kibibytes.saturating_mul(1024))
        .ok_or_else(|| HostError::Unexpected { path: roots.proc.join("meminfo"), what: "MemTotal" })?;
    let listed = text(&roots.sys.join("devices/system/cpu/online")).map(|list| count(&list)).filter(|cpus| *cpus > 0);
    let cpus = match listed {
        Some(cpus) => cpus,
        None => {
            let stat = read("stat")?;
            let stat = KernelStats::from_buf_read(stat.as_bytes(), procfs::current_system_info()).ok();
            stat.and_then(|stat| u32::try_from(stat.cpu_time.len()).ok())
                .filter(|cpus| *cpus > 0)
                .ok_or_else(|| HostError::Unexpected { path: roots.proc.join("stat"), what: "CPU" })?
        }
    };
    Ok(Host {
        name: read("sys/kernel/hostname")?.trim().to_owned(),
        kernel: read("sys/kernel/osrelease")?.trim().to_owned(),
        cpus,
        memory_bytes,
    })
}

/// Fills `HOST_FACT`, `MOUNT` and `CGROUP_QUOTA`, each with its rows or the reason why there are none.
pub fn facts(roots: &Roots, into: &mut Recording) {
    into.set(&catalog::HOST_FACT, Ok(Collected::new(roots).rows));
    into.set(&catalog::MOUNT, mounts(roots));
    into.set(&catalog::CGROUP_QUOTA, quotas(roots));
}

fn count(list: &str) -> u32 {
    cpu_ranges(list).iter().map(|(first, last)| last.saturating_sub(*first).saturating_add(1)).sum()
}

struct Collected<'a> {
    roots: &'a Roots,
    rows: Vec<Fact>,
}

impl<'a> Collected<'a> {
    fn new(roots: &'a Roots) -> Self {
        let mut all = Collected { roots, rows: Vec::new() };
        all.proc("hostname", "sys/kernel/hostname");
        all.proc("kernel.release", "sys/kernel/osrelease");
        all.proc("kernel.version", "version");
        all.proc("kernel.cmdline", "cmdline");
        all.proc("kernel.tainted", "sys/kernel/tainted");
        if let Ok(uptime) = Uptime::from_file(roots.proc.join("uptime")) {
            all.add("uptime_s", uptime.uptime.to_string(), "/proc/uptime");
        }
        all.distribution();
        all.cpu();
        all.sys("clocksource", "devices/system/clocksource/clocksource0/current_clocksource");
        all.sys("clocksource.available", "devices/system/clocksource/clocksource0/available_clocksource");
        all.mitigations();
        all.selected("thp", "kernel/mm/transparent_hugepage/enabled");
        all.selected("thp.defrag", "kernel/mm/transparent_hugepage/defrag");
        all.virtualization();
        all.numa();
        all.swap();
        all.cgroup_version();
        all.schedulers();
        all.psi();
        for name in SYSCTLS {
            all.proc(name, &format!("sys/{}", name.replace('.', "/")));
        }
        all.rows.retain(|row| !row.value.is_empty());
        all
    }

    fn add(&mut self, name: &str, value: String, source: &str) {
        self.rows.push(Fact { labels: Labels::new([("name", name.to_owned())]), value, source: source.to_owned() });
    }

    fn proc(&mut self, name: &str, file: &str) {
        if let Some(value) = text(&self.roots.proc.join(file)) {
            self.add(name, value, &format!("/proc/{file}"));
        }
    }

    fn sys(&mut self, name: &str, file: &str) {
        if let Some(value) = text(&self.roots.sys.join(file)) {
            self.add(name, value, &format!("/sys/{file}"));
        }
    }

    /// What the distribution calls itself and what it is like, as `os-release` has it: `ubuntu debian`.
    fn distribution(&mut self) {
        let file = text(&self.roots.proc.join("self/root/etc/os-release")).unwrap_or_default();
        let ids = ["ID=", "ID_LIKE="].iter().filter_map(|key| file.lines().find_map(|line| line.strip_prefix(key)));
        let ids: Vec<&str> = ids.map(|id| id.trim().trim_matches(['"', '\''])).collect();
        self.add("os.id", ids.join(" "), "/etc/os-release");
    }

    /// The choice in brackets of `always [madvise] never`.
    fn selected(&mut self, name: &str, file: &str) {
        if let Some(value) = text(&self.roots.sys.join(file)).and_then(|choices| bracketed(&choices)) {
            self.add(name, value, &format!("/sys/{file}"));
        }
    }

    fn cpu(&mut self) {
        if let Some(model) = cpu_model(&fs::read_to_string(self.roots.proc.join("cpuinfo")).unwrap_or_default()) {
            self.add("cpu.model", model, "/proc/cpuinfo");
        }
        self.sys("cpu.online", "devices/system/cpu/online");
        self.sys("cpu.isolated", "devices/system/cpu/isolated");
        self.sys("cpu.smt", "devices/system/cpu/smt/control");
        let frequency = "devices/system/cpu/cpuN/cpufreq";
        for (name, file) in [("cpu.governor", "scaling_governor"), ("cpu.driver", "scaling_driver")] {
            if let Some(value) = tally(&self.every_cpu(&format!("cpufreq/{file}"))) {
                self.add(name, value, &format!("/sys/{frequency}/{file}"));
            }
        }
        for (name, file) in [("cpu.max_mhz", "cpuinfo_max_freq"), ("cpu.limit_mhz", "scaling_max_freq")] {
            let values: Vec<String> = self
                .every_cpu(&format!("cpufreq/{file}"))
                .iter()
                .filter_map(|kilohertz| Some((kilohertz.parse::<u64>().ok()? / 1000).to_string()))
                .collect();
            if let Some(value) = tally(&values) {
                self.add(name, value, &format!("/sys/{frequency}/{file}"));
            }
        }
    }

    fn every_cpu(&self, file: &str) -> Vec<String> {
        let base = self.roots.sys.join("devices/system/cpu");
        names(&base)
            .iter()
            .filter(|name| name.strip_prefix("cpu").is_some_and(|number| number.parse::<u32>().is_ok()))
            .filter_map(|name| text(&base.join(name).join(file)))
            .collect()
    }

    /// What the kernel does against the CPU's own faults, and what it leaves open.
    fn mitigations(&mut self) {
        let base = self.roots.sys.join("devices/system/cpu/vulnerabilities");
        let all: Vec<String> = names(&base)
            .iter()
            .filter_map(|name| Some((name, text(&base.join(name))?)))
            .filter(|(_, state)| state != "Not affected")
            .map(|(name, state)| format!("{name}: {state}"))
            .collect();
        if base.is_dir() {
            let value = if all.is_empty() { "none needed".to_owned() } else { all.join("; ") };
            self.add("mitigations", value, "/sys/devices/system/cpu/vulnerabilities");
        }
    }

    /// What hints at a hypervisor; without any of them, nothing can be said.
    fn virtualization(&mut self) {
        let mut hints = Vec::new();
        if let Some(kind) = text(&self.roots.sys.join("hypervisor/type")) {
            hints.push(kind);
        }
        let dmi = |file: &str| text(&self.roots.sys.join("class/dmi/id").join(file));
        let machine = format!("{} {}", dmi("sys_vendor").unwrap_or_default(), dmi("product_name").unwrap_or_default());
        let known = ["QEMU", "KVM", "VMware", "VirtualBox", "Amazon EC2", "Google Compute", "Virtual Machine", "Xen"];
        if known.iter().any(|name| machine.contains(name)) {
            hints.push(machine.trim().to_owned());
        }
        let cpuinfo = fs::read_to_string(self.roots.proc.join("cpuinfo")).unwrap_or_default();
        let flags = cpuinfo.lines().find(|line| line.starts_with("flags"));
        if flags.is_some_and(|flags| flags.split_ascii_whitespace().any(|flag| flag == "hypervisor")) {
            hints.push("CPU says it is virtual".to_owned());
        }
        if !hints.is_empty() {
            self.add("virtualization", hints.join(", "), "/proc/cpuinfo, /sys/class/dmi/id, /sys/hypervisor");
        }
    }

    fn numa(&mut self) {
        let base = self.roots.sys.join("devices/system/node");
        let nodes = names(&base).iter().filter(|name| is_numbered(name, "node")).count();
        if nodes > 0 {
            self.add("numa.nodes", nodes.to_string(), "/sys/devices/system/node");
        }
    }

    fn swap(&mut self) {
        let Ok(table) = fs::read_to_string(self.roots.proc.join("swaps")) else { return };
        let areas: Vec<&str> = table.lines().skip(1).filter_map(|line| line.split_ascii_whitespace().next()).collect();
        let value = if areas.is_empty() { "none".to_owned() } else { areas.join(" ") };
        self.add("swap", value, "/proc/swaps");
    }

    fn cgroup_version(&mut self) {
        let all = cgroups::hierarchies(self.roots);
        let second = all.iter().any(|h| h.kind == cgroups::Kind::V2);
        let first = all.iter().any(|h| h.kind != cgroups::Kind::V2);
        let value = match (first, second) {
            (true, true) => "1 and 2",
            (true, false) => "1",
            (false, true) => "2",
            (false, false) => return,
        };
        self.add("cgroup.version", value.to_owned(), "/sys/fs/cgroup");
    }

    fn schedulers(&mut self) {
        let base = self.roots.sys.join("block");
        let all: Vec<String> = names(&base)
            .iter()
            .filter(|name| !is_numbered(name, "loop") && !is_numbered(name, "ram"))
            .filter_map(|name| {
                let choices = text(&base.join(name).join("queue/scheduler"))?;
                Some(format!("{name}:{}", bracketed(&choices).unwrap_or(choices)))
            })
            .collect();
        if !all.is_empty() {
            self.add("disk.scheduler", all.join(" "), "/sys/block/*/queue/scheduler");
        }
    }

    fn psi(&mut self) {
        let value = match fs::read_to_string(self.roots.proc.join("pressure/cpu")) {
            Ok(_) => "on",
            Err(error) if error.kind() == io::ErrorKind::NotFound => "not built in",
            Err(_) => "off",
        };
        self.add("psi", value.to_owned(), "/proc/pressure");
    }
}

/// Names in a directory, in order; none when it is not there.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .map(|entries| entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
        .unwrap_or_default();
    names.sort();
    names
}

fn is_numbered(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|number| number.parse::<u32>().is_ok())
}

fn bracketed(choices: &str) -> Option<String> {
    let (_, rest) = choices.split_once('[')?;
    rest.split_once(']').map(|(choice, _)| choice.to_owned())
}

/// `performance`, or `performance (2), powersave (6)` where CPUs differ.
fn tally(values: &[String]) -> Option<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    match counts.len() {
        0 => None,
        1 => values.first().cloned(),
        _ => Some(counts.iter().map(|(value, count)| format!("{value} ({count})")).collect::<Vec<_>>().join(", ")),
    }
}

// procfs's `CpuInfo` maps every field of every CPU, and knows only blocks that begin with `processor`, unlike s390's.
fn cpu_model(cpuinfo: &str) -> Option<String> {
    let field = |name: &str| {
        cpuinfo.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == name && !value.trim().is_empty()).then(|| value.trim().to_owned())
        })
    };
    // Arm names no model, only who designed the core and which it is.
    field("model name")
        .or_else(|| Some(format!("implementer {} part {}", field("CPU implementer")?, field("CPU part")?)))
        .or_else(|| field("cpu model"))
        .or_else(|| field("cpu"))
}

/// One line of `/proc/PID/mountinfo`.
pub(crate) struct Mount {
    /// Unique on the machine, as `/proc/PID/fdinfo` has it.
    pub id: String,
    /// `254:1`.
    pub number: String,
    pub root: String,
    pub mountpoint: String,
    pub options: String,
    pub kind: String,
    pub source: String,
}

impl Mount {
    /// Whether a block device is behind it.
    pub fn has_device(&self) -> bool {
        // File systems such as btrfs have a number without a device, and name the device.
        !self.number.starts_with("0:") || self.source.starts_with("/dev/")
    }
}

/// Everything mounted.
// procfs's `MountInfo` loses the order of the options, leaves octal escapes in, and fails on one odd line.
pub(crate) fn mounted(roots: &Roots) -> Result<Vec<Mount>, Absent> {
    mounts_of(&roots.proc.join("self"))
}

/// Everything that a process has mounted.
pub(crate) fn mounts_of(process: &Path) -> Result<Vec<Mount>, Absent> {
    let path = process.join("mountinfo");
    let table = fs::read(&path).map_err(|error| unreadable(&path, &error))?;
    let table = String::from_utf8_lossy(&table);
    let mount = |line: &str| {
        // ID PARENT MAJOR:MINOR ROOT MOUNTPOINT OPTIONS [TAGS…] - TYPE SOURCE SUPER-OPTIONS
        let (left, right) = line.split_once(" - ")?;
        let left: Vec<&str> = left.split(' ').collect();
        let right: Vec<&str> = right.split(' ').collect();
        let ([id, _, number, root, mountpoint, options, ..], [kind, source, rest @ ..]) = (&left[..], &right[..])
        else {
            return None;
        };
        let mut all: Vec<&str> = options.split(',').collect();
        for option in rest.first().unwrap_or(&"").split(',') {
            if !option.is_empty() && !all.contains(&option) {
                all.push(option);
            }
        }
        Some(Mount {
            id: (*id).to_owned(),
            number: (*number).to_owned(),
            root: (*root).to_owned(),
            mountpoint: unescaped(mountpoint),
            options: all.join(","),
            kind: (*kind).to_owned(),
            source: unescaped(source),
        })
    };
    Ok(table.lines().filter_map(mount).collect())
}

/// Mounts with a block device behind them.
fn mounts(roots: &Roots) -> Result<Vec<Fact>, Absent> {
    let mut rows = Vec::new();
    let mut devices_seen = BTreeSet::new();
    for mount in mounted(roots)?.into_iter().filter(Mount::has_device) {
        // A part of a file system shown at a second place is a bind mount, of which containers have thousands.
        if !devices_seen.insert(mount.number.clone()) && mount.root != "/" && mount.kind != "btrfs" {
            continue;
        }
        let by_number = fs::read_link(roots.sys.join("dev/block").join(&mount.number)).ok();
        let device = by_number
            .as_ref()
            .and_then(|link| link.file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_else(|| mount.source.strip_prefix("/dev/").unwrap_or(&mount.source).to_owned());
        rows.push(Fact {
            labels: Labels::new([("mountpoint", mount.mountpoint), ("type", mount.kind), ("device", device)]),
            value: mount.options,
            source: "/proc/self/mountinfo".to_owned(),
        });
        if rows.len() == MOST_MOUNTS {
            break;
        }
    }
    Ok(rows)
}

/// mountinfo writes blank, tab, line end and backslash in octal.
fn unescaped(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(field.to_owned(), |text, (escape, plain)| text.replace(escape, plain))
}

fn quotas(roots: &Roots) -> Result<Vec<Fact>, Absent> {
    let found = cgroups::quotas(roots);
    if !found.possible {
        return Err(Absent::Unsupported("no control group hierarchy with a cpu controller is mounted".to_owned()));
    }
    Ok(found
        .limited
        .into_iter()
        .map(|limit| Fact {
            labels: Labels::new([("cgroup", limit.cgroup)]),
            value: format!("{} {}", limit.quota, limit.period),
            source: limit.source.to_owned(),
        })
        .collect())
}

pub(super) fn unreadable(path: &Path, error: &io::Error) -> Absent {
    let file = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => Absent::Unsupported(format!("there is no {file}")),
        io::ErrorKind::PermissionDenied => Absent::NoPermission(format!("{file}: run as root")),
        _ => Absent::Failed(format!("{file}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use observe::{Target, Window};
    use std::time::{Duration, SystemTime};

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

    fn fact(recording: &Recording, name: &str) -> String {
        let rows = recording.get(&catalog::HOST_FACT).unwrap();
        rows.iter().find(|row| row.labels.get("name") == name).map(|row| row.value.clone()).unwrap_or_default()
    }

    #[test]
    fn a_fake_machine() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path();
        put(base, "proc/meminfo", "MemTotal:       24684092 kB\nMemFree: 1 kB\n");
        put(base, "proc/sys/kernel/hostname", "db1\n");
        put(base, "proc/sys/kernel/osrelease", "6.8.0-generic\n");
        put(base, "proc/sys/vm/swappiness", "60\n");
        put(base, "proc/self/root/etc/os-release", "NAME=\"Rocky\"\nID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n");
        put(base, "proc/uptime", "123.45 200.00\n");
        put(base, "proc/cpuinfo", "processor\t: 0\nmodel name\t: Xeon\nflags\t\t: fpu hypervisor sse\n");
        put(base, "proc/swaps", "Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n");
        put(base, "sys/devices/system/cpu/online", "0-2,5\n");
        put(base, "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n");
        put(base, "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "performance\n");
        put(base, "sys/devices/system/cpu/cpu1/cpufreq/cpuinfo_max_freq", "3500000\n");
        put(base, "sys/devices/system/cpu/cpufreq/scaling_governor", "not a CPU\n");
        put(base, "sys/devices/system/cpu/vulnerabilities/mds", "Not affected\n");
        put(base, "sys/devices/system/cpu/vulnerabilities/retbleed", "Mitigation: IBRS\n");
        put(base, "sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
        put(base, "sys/block/sda/queue/scheduler", "none [mq-deadline]\n");
        put(base, "sys/fs/cgroup/cgroup.controllers", "cpu memory\n");
        put(base, "sys/fs/cgroup/web/cpu.max", "20000 100000\n");
        let roots = roots(base);
        let host = host(&roots).unwrap();
        assert_eq!((host.name.as_str(), host.kernel.as_str(), host.cpus), ("db1", "6.8.0-generic", 4));
        assert_eq!(host.memory_bytes, 24684092 * 1024);

        let mut seen = recording();
        facts(&roots, &mut seen);
        assert_eq!(fact(&seen, "cpu.model"), "Xeon");
        assert_eq!(fact(&seen, "os.id"), "rocky rhel centos fedora");
        assert_eq!(fact(&seen, "cpu.governor"), "performance (1), powersave (1)");
        assert_eq!(fact(&seen, "cpu.max_mhz"), "3500");
        assert_eq!(fact(&seen, "uptime_s"), "123.45");
        assert_eq!(fact(&seen, "mitigations"), "retbleed: Mitigation: IBRS");
        assert_eq!(fact(&seen, "thp"), "madvise");
        assert_eq!(fact(&seen, "vm.swappiness"), "60");
        assert_eq!(fact(&seen, "virtualization"), "CPU says it is virtual");
        assert_eq!(fact(&seen, "swap"), "/dev/sda2");
        assert_eq!(fact(&seen, "disk.scheduler"), "sda:mq-deadline");
        assert_eq!(fact(&seen, "psi"), "not built in");
        assert_eq!(fact(&seen, "clocksource"), "");
        let quotas = seen.get(&catalog::CGROUP_QUOTA).unwrap();
        assert_eq!((quotas[0].labels.get("cgroup"), quotas[0].value.as_str()), ("/web", "20000 100000"));
        assert!(matches!(seen.get(&catalog::MOUNT), Err(Absent::Unsupported(_))));
    }

    #[test]
    fn mounts_are_those_with_a_device() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path();
        let table = "22 27 0:21 / /proc rw,relatime - proc proc rw\n\
            27 1 254:1 / / rw,relatime shared:1 - ext4 /dev/root rw,discard\n\
            28 27 254:1 /var/lib/c /pod/etc ro - ext4 /dev/root rw,discard\n\
            29 27 0:45 /@home /home\\040x rw - btrfs /dev/mapper/x rw,subvol=/@home\n\
            30 27 0:50 / /net rw - nfs4 server:/x rw\n\
            garbage\n31 27 - x\n";
        put(base, "proc/self/mountinfo", table);
        fs::create_dir_all(base.join("sys/dev/block")).unwrap();
        std::os::unix::fs::symlink("../../devices/virtual/block/vda/vda1", base.join("sys/dev/block/254:1")).unwrap();
        let rows = mounts(&roots(base)).unwrap();
        let shown: Vec<_> = rows
            .iter()
            .map(|row| (row.labels.get("mountpoint"), row.labels.get("device"), row.value.as_str()))
            .collect();
        assert_eq!(shown, [("/", "vda1", "rw,relatime,discard"), ("/home x", "mapper/x", "rw,subvol=/@home")]);
    }

    #[test]
    fn a_machine_without_procfs_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(host(&roots(dir.path())), Err(HostError::Unreadable { .. })));
        put(dir.path(), "proc/meminfo", "nothing\n");
        assert!(matches!(host(&roots(dir.path())), Err(HostError::Unexpected { what: "MemTotal", .. })));
        let mut seen = recording();
        facts(&roots(dir.path()), &mut seen);
        assert!(matches!(seen.get(&catalog::CGROUP_QUOTA), Err(Absent::Unsupported(_))));
    }

    #[test]
    fn this_machine_is_one() {
        let roots = Roots::default();
        let host = host(&roots).unwrap();
        assert!(host.cpus > 0 && host.memory_bytes > 1 << 20);
        let mut seen = recording();
        facts(&roots, &mut seen);
        assert_eq!(fact(&seen, "kernel.release"), host.kernel);
        assert!(fact(&seen, "uptime_s").parse::<f64>().unwrap() > 0.0);
    }

    #[test]
    fn processors_are_named_on_every_architecture() {
        assert_eq!(
            cpu_model("processor: 0\nCPU implementer : 0x41\nCPU part : 0xd0c\n").unwrap(),
            "implementer 0x41 part 0xd0c"
        );
        assert_eq!(cpu_model("cpu\t\t: POWER9\n").unwrap(), "POWER9");
        assert_eq!(cpu_model(""), None);
    }
}
