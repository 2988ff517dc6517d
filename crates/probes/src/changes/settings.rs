//! Files below `/etc` that were written recently, the kernel that runs, and when the machine was started. Measured: 5 ms for
//! 1,300 files.

use super::{Change, Found, recent};
use std::{fs, os::unix::fs::MetadataExt, path::Path};

/// ours: a machine has fewer files below /etc; beyond that, something else lives there.
const MOST_ENTRIES: usize = 20_000;

/// ours: an image that is made anew has hundreds; the newest tell.
const MOST: usize = 60;

/// Written by the system itself while it runs, or a copy of what was there before.
fn is_passing(name: &str) -> bool {
    const KNOWN: [&str; 5] = ["mtab", "ld.so.cache", "adjtime", ".pwd.lock", ".updated"];
    let copy = [".dpkg-old", ".dpkg-dist", ".dpkg-new", ".rpmnew", ".rpmsave", ".apk-new", ".pacnew", "~", "-"];
    KNOWN.contains(&name) || copy.iter().any(|end| name.ends_with(end))
}

/// The recently written files below `/etc`, newest first.
pub(super) fn read(root: &Path, now: i64) -> Found {
    let etc = root.join("etc");
    let (mut folders, mut seen) = (vec![etc.clone()], 0);
    let (mut all, mut why) = (Vec::new(), String::new());
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if folder == etc => return Found::new(all, MOST, format!("/etc: {error}")),
            Err(_) => {
                why = "some folders below /etc cannot be read: run as root".to_owned();
                continue;
            }
        };
        for entry in entries.flatten() {
            seen += 1;
            if seen > MOST_ENTRIES {
                return Found::new(all, MOST, format!("only {MOST_ENTRIES} files below /etc were looked at"));
            }
            // Of a link, when the link was made.
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                folders.push(entry.path());
            } else if recent(meta.mtime(), now) && !is_passing(&entry.file_name().to_string_lossy()) {
                let path = entry.path();
                let below = path.strip_prefix(root).unwrap_or(&path).display();
                all.push(Change::new("config", format!("/{below}"), "written", meta.mtime(), "mtime"));
            }
        }
    }
    Found::new(all, MOST, why)
}

/// When the machine was started and, if that was recently, when its kernel came.
pub(super) fn system(root: &Path, proc: &Path, now: i64) -> (Found, Found) {
    let release = fs::read_to_string(proc.join("sys/kernel/osrelease")).unwrap_or_default();
    let release = release.trim();
    let stat = fs::read_to_string(proc.join("stat")).unwrap_or_default();
    let booted = boot(&stat).filter(|at| recent(*at, now));
    let boots = booted.map(|at| Change::new("boot", "this machine".to_owned(), "started", at, "/proc/stat btime"));
    let places =
        [format!("boot/vmlinuz-{release}"), format!("lib/modules/{release}"), format!("usr/lib/modules/{release}")];
    // The file keeps the time at which it was built; its inode says when it came here.
    let came = places.iter().filter(|_| !release.is_empty()).find_map(|place| {
        let at = fs::metadata(root.join(place)).ok()?.ctime();
        Some((at, place))
    });
    let why = if came.is_some() { "" } else { "neither image nor modules of the kernel that runs are here" };
    let kernel = came
        .filter(|(at, _)| recent(*at, now))
        .map(|(at, place)| Change::new("kernel", release.to_owned(), "put here", at, format!("ctime of /{place}")));
    (
        Found::new(boots.into_iter().collect(), MOST, String::new()),
        Found::new(kernel.into_iter().collect(), MOST, why.to_owned()),
    )
}

/// When the machine was started, in seconds since 1970.
pub(super) fn boot(stat: &str) -> Option<i64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    #[test]
    fn what_was_written_recently_is_told_and_what_the_system_writes_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let now = 1_795_219_200;
        let put = |name: &str, ago: u64| {
            let path = dir.path().join("etc").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "x").unwrap();
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(now as u64 - ago);
            fs::File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
        };
        put("sysctl.d/90-mine.conf", 60);
        put("fstab", 3600);
        put("hosts", 15 * 86_400);
        put("ld.so.cache", 5);
        put("passwd-", 5);
        let found = read(dir.path(), now);
        let told: Vec<(&str, i64)> = found.changes.iter().map(|c| (c.of.as_str(), now - c.at)).collect();
        assert_eq!(told, [("/etc/sysctl.d/90-mine.conf", 60), ("/etc/fstab", 3600)]);
        assert!(found.why.is_empty());
        assert!(read(&dir.path().join("nowhere"), now).why.contains("/etc"));
    }

    #[test]
    fn a_start_and_a_new_kernel_are_changes() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
        };
        // The time at which an inode changed is not for a test to choose: it is now.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64;
        put("proc/stat", &format!("cpu 1 2\nbtime {}\n", now - 100));
        put("proc/sys/kernel/osrelease", "6.8.0-1\n");
        put("boot/vmlinuz-6.8.0-1", "");
        let (boot, kernel) = system(dir.path(), &dir.path().join("proc"), now);
        assert_eq!(boot.changes[0].at, now - 100);
        assert_eq!((kernel.changes[0].of.as_str(), kernel.why.as_str()), ("6.8.0-1", ""));
        let later = now + 20 * 86_400;
        let (boot, kernel) = system(dir.path(), &dir.path().join("proc"), later);
        assert!(boot.changes.is_empty() && kernel.changes.is_empty() && kernel.why.is_empty());
        let (_, kernel) = system(&dir.path().join("nowhere"), &dir.path().join("proc"), now);
        assert!(kernel.changes.is_empty() && kernel.why.contains("kernel"));
    }
}
