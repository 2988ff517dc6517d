//! A cgroup with a CPU quota, by version 1 or 2, removed when dropped.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

/// The kernel's default period, in microseconds.
const PERIOD_US: f64 = 100_000.0;

/// A cgroup that exists.
pub struct Cgroup {
    folder: PathBuf,
}

impl Cgroup {
    /// Makes one that may use this many CPUs' worth of time. `None` where the machine has no CPU controller.
    pub fn with_quota(name: &str, cpus: f64) -> Result<Option<Cgroup>, String> {
        let mounts = fs::read_to_string("/proc/mounts").map_err(|e| format!("/proc/mounts: {e}"))?;
        let Some((root, first)) = controller(&mounts) else { return Ok(None) };
        if !first {
            // Refused where it is on already or not to be had; the quota's file tells.
            let _ = fs::write(root.join("cgroup.subtree_control"), "+cpu");
        }
        let folder = (0..100)
            .map(|n| root.join(if n == 0 { name.to_string() } else { format!("{name}-{n}") }))
            .find(|folder| !folder.exists())
            .ok_or("no free cgroup name")?;
        fs::create_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let made = Cgroup { folder };
        let quota = (cpus * PERIOD_US) as u64;
        let (file, text) =
            if first { ("cpu.cfs_quota_us", quota.to_string()) } else { ("cpu.max", format!("{quota} {PERIOD_US}")) };
        if !made.folder.join(file).exists() {
            return Ok(None);
        }
        fs::write(made.folder.join(file), text).map_err(|e| format!("{}/{file}: {e}", made.folder.display()))?;
        Ok(Some(made))
    }

    /// The file that takes the processes.
    pub fn procs(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The last process may still be on its way out.
        for _ in 0..100 {
            if fs::remove_dir(&self.folder).is_ok() || !self.folder.exists() {
                return;
            }
            sleep(Duration::from_millis(20));
        }
        eprintln!("zoo: could not remove {}", self.folder.display());
    }
}

/// Where the CPU controller is mounted, and whether by version 1.
fn controller(mounts: &str) -> Option<(PathBuf, bool)> {
    let rows = || mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>()).filter(|row| row.len() > 3);
    let first = rows().find(|row| row[2] == "cgroup" && row[3].split(',').any(|option| option == "cpu"));
    let second = || rows().find(|row| row[2] == "cgroup2");
    let place = |row: Vec<&str>| Path::new(row[1]).to_path_buf();
    first.map(|row| (place(row), true)).or_else(|| second().map(|row| (place(row), false)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_one_is_taken_where_it_holds_the_controller() {
        let unified = "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let first = "cgroup /sys/fs/cgroup/cpuset cgroup rw,cpuset 0 0\n\
                     cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\n";
        assert_eq!(controller(&format!("{unified}{first}")), Some(("/sys/fs/cgroup/cpu,cpuacct".into(), true)));
        assert_eq!(controller(unified), Some(("/sys/fs/cgroup/unified".into(), false)));
        assert_eq!(controller("proc /proc proc rw 0 0\n"), None);
    }
}
