//! A cgroup with limits, by version 1 or 2, removed when dropped.

use super::scenario::Limit;
use crate::processes::Stop;
use std::fs;
use std::os::linux::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The kernel's default period, in microseconds.
const PERIOD_US: f64 = 100_000.0;

/// A cgroup that exists: one folder, or one for each of version 1's hierarchies that limit it.
pub struct Cgroup {
    folders: Vec<PathBuf>,
}

/// What sets one limit: the controller, and the file and its text by either version.
struct Setting {
    controller: &'static str,
    first: Option<(&'static str, String)>,
    second: (&'static str, String),
}

impl Cgroup {
    /// Makes one. Limits of I/O are for the disk that holds the folder.
    pub fn new(limit: &Limit, folder: &Path) -> Result<Cgroup, Stop> {
        let mounts = fs::read_to_string("/proc/mounts").map_err(|e| format!("/proc/mounts: {e}"))?;
        let mut files = Vec::new();
        for setting in settings(limit, folder)? {
            let Some((root, first)) = controller(&mounts, setting.controller) else {
                return Err(lacking(setting.controller));
            };
            if !first {
                // Refused where it is on already or not to be had; the file tells.
                let _ = fs::write(root.join("cgroup.subtree_control"), format!("+{}", setting.controller));
            }
            let only_second = || Stop::Skip(format!("{} needs version 2 of cgroups", setting.second.0));
            let (file, text) = if first { setting.first.ok_or_else(only_second)? } else { setting.second };
            files.push((setting.controller, root, file, text));
        }
        let mut roots: Vec<PathBuf> = files.iter().map(|(_, root, ..)| root.clone()).collect();
        roots.sort();
        roots.dedup();
        let name = (0..100)
            .map(|n| if n == 0 { limit.name.clone() } else { format!("{}-{n}", limit.name) })
            .find(|name| !roots.iter().any(|root| root.join(name).exists()))
            .ok_or_else(|| "no free cgroup name".to_string())?;
        let mut made = Cgroup { folders: Vec::new() };
        for root in roots {
            let folder = root.join(&name);
            fs::create_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
            made.folders.push(folder);
        }
        for (controller, root, file, text) in files {
            let path = root.join(&name).join(file);
            if !path.exists() {
                return Err(lacking(controller));
            }
            fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
        }
        Ok(made)
    }

    /// The files that take the processes.
    pub fn procs(&self) -> impl Iterator<Item = PathBuf> {
        self.folders.iter().map(|folder| folder.join("cgroup.procs"))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The last process may still be on its way out.
        let end = Instant::now() + Duration::from_secs(2);
        for folder in &self.folders {
            while fs::remove_dir(folder).is_err() && folder.exists() && Instant::now() < end {
                sleep(Duration::from_millis(20));
            }
            if folder.exists() {
                eprintln!("zoo: could not remove {}", folder.display());
            }
        }
    }
}

fn lacking(controller: &str) -> Stop {
    Stop::Skip(format!("no {controller} controller for cgroups here"))
}

/// What sets each of the limits.
fn settings(limit: &Limit, folder: &Path) -> Result<Vec<Setting>, Stop> {
    let mut settings = Vec::new();
    let mut set = |controller, first, second| settings.push(Setting { controller, first, second });
    if let Some(cpus) = limit.cpus {
        let quota = (cpus * PERIOD_US) as u64;
        set("cpu", Some(("cpu.cfs_quota_us", quota.to_string())), ("cpu.max", format!("{quota} {PERIOD_US}")));
    }
    if let Some(weight) = limit.weight {
        set("cpu", Some(("cpu.shares", (weight * 1024 / 100).to_string())), ("cpu.weight", weight.to_string()));
    }
    if let Some(memory) = &limit.memory {
        let bytes = memory.0.to_string();
        set("memory", Some(("memory.limit_in_bytes", bytes.clone())), ("memory.max", bytes));
    }
    if let Some(high) = &limit.memory_high {
        set("memory", None, ("memory.high", high.0.to_string()));
    }
    if let Some(pids) = limit.pids {
        set("pids", Some(("pids.max", pids.to_string())), ("pids.max", pids.to_string()));
    }
    let rates = [
        ("rbps", "blkio.throttle.read_bps_device", limit.read_bps.as_ref().map(|bytes| bytes.0)),
        ("wbps", "blkio.throttle.write_bps_device", limit.write_bps.as_ref().map(|bytes| bytes.0)),
        ("riops", "blkio.throttle.read_iops_device", limit.read_iops),
        ("wiops", "blkio.throttle.write_iops_device", limit.write_iops),
    ];
    for (key, file, rate) in rates {
        if let Some(rate) = rate {
            let disk = disk_of(folder)?;
            set("io", Some((file, format!("{disk} {rate}"))), ("io.max", format!("{disk} {key}={rate}")));
        }
    }
    Ok(settings)
}

/// Where a controller is mounted, and whether by version 1, which calls `io` `blkio`.
fn controller(mounts: &str, name: &str) -> Option<(PathBuf, bool)> {
    let old = if name == "io" { "blkio" } else { name };
    let rows = || mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>()).filter(|row| row.len() > 3);
    let first = rows().find(|row| row[2] == "cgroup" && row[3].split(',').any(|option| option == old));
    let second = || rows().find(|row| row[2] == "cgroup2");
    let place = |row: Vec<&str>| Path::new(row[1]).to_path_buf();
    first.map(|row| (place(row), true)).or_else(|| second().map(|row| (place(row), false)))
}

/// The numbers of the whole disk that holds a folder, as `major:minor`.
fn disk_of(folder: &Path) -> Result<String, Stop> {
    let number = fs::metadata(folder).map_err(|e| format!("{}: {e}", folder.display()))?.st_dev();
    let name = format!("/sys/dev/block/{}:{}", libc::major(number), libc::minor(number));
    let device = fs::canonicalize(name).unwrap_or_default();
    // A partition lies in the folder of its disk.
    let disk = if device.join("partition").exists() { device.parent().unwrap_or(&device) } else { &device };
    let numbers = fs::read_to_string(disk.join("dev"));
    numbers.map(|text| text.trim().to_string()).map_err(|_| Stop::Skip("which disk holds /var/tmp is not known".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_one_is_taken_where_it_holds_the_controller() {
        let unified = "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let first = "cgroup /sys/fs/cgroup/cpuset cgroup rw,cpuset 0 0\n\
                     cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\n\
                     cgroup /sys/fs/cgroup/blkio cgroup rw,blkio 0 0\n";
        let both = format!("{unified}{first}");
        assert_eq!(controller(&both, "cpu"), Some(("/sys/fs/cgroup/cpu,cpuacct".into(), true)));
        assert_eq!(controller(&both, "io"), Some(("/sys/fs/cgroup/blkio".into(), true)));
        assert_eq!(controller(&both, "memory"), Some(("/sys/fs/cgroup/unified".into(), false)));
        assert_eq!(controller(unified, "cpu"), Some(("/sys/fs/cgroup/unified".into(), false)));
        assert_eq!(controller("proc /proc proc rw 0 0\n", "cpu"), None);
    }

    #[test]
    fn each_limit_has_its_file_by_either_version() {
        let limit =
            toml::from_str("name = 'web'\ncpus = 0.4\nweight = 50\nmemory = '64M'\nmemory_high = '32M'\npids = 9");
        let settings = settings(&limit.unwrap(), Path::new("/nowhere")).unwrap();
        let text = |file: &(&str, String)| format!("{} {}", file.0, file.1);
        let first: Vec<String> = settings.iter().filter_map(|setting| setting.first.as_ref().map(text)).collect();
        let second: Vec<String> = settings.iter().map(|setting| text(&setting.second)).collect();
        assert_eq!(first, ["cpu.cfs_quota_us 40000", "cpu.shares 512", "memory.limit_in_bytes 67108864", "pids.max 9"]);
        let expected =
            ["cpu.max 40000 100000", "cpu.weight 50", "memory.max 67108864", "memory.high 33554432", "pids.max 9"];
        assert_eq!(second, expected);
    }

    #[test]
    fn limits_of_io_name_the_disk() {
        let disk = fs::read_dir("/sys/dev/block").ok().and_then(|mut entries| entries.next());
        let limit = toml::from_str("name = 'web'\nwrite_bps = '4M'\nread_iops = 100").unwrap();
        // Neither a container's root nor a machine without disks has one.
        let (Some(_), Ok(settings)) = (disk, settings(&limit, Path::new("/var/tmp"))) else { return };
        let texts: Vec<String> = settings.into_iter().map(|setting| setting.second.1).collect();
        assert!(texts[0].ends_with(" wbps=4194304") && texts[1].ends_with(" riops=100"), "{texts:?}");
    }
}
