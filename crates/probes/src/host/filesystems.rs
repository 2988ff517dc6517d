//! How full are the file systems?
//!
//! Cost: a call for each, of some 5 µs. Only those on a local device or in memory are asked: others may not answer. Where one
//! is full, the files of all processes are gone through, in some 10 ms.

use super::facts::mounted;
use crate::roots::Roots;
use observe::{Labels, Recording, Series, catalog};
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::CString,
    fs,
    os::unix::fs::MetadataExt,
    time::Duration,
};

/// ours: where less than a thousandth is left, whoever needs a block finds none.
const FULL: f64 = 0.001;

/// ours: as many processes and descriptors are gone through for their files.
const MOST_PROCESSES: usize = 4000;
const MOST_FILES: usize = 1024;

/// Adds the use of space and inodes to the recording.
pub(crate) fn collect(roots: &Roots, length: Duration, into: &mut Recording) {
    let (mut space, mut inodes) = (Vec::new(), Vec::new());
    let mounts = match mounted(roots) {
        Ok(mounts) => mounts,
        Err(why) => {
            into.set(&catalog::FILESYSTEM_USAGE, Err(why.clone()));
            return into.set(&catalog::FILESYSTEM_INODES, Err(why));
        }
    };
    let mut seen = BTreeSet::new();
    let mut full: BTreeMap<u64, String> = BTreeMap::new();
    for mount in mounts.iter().filter(|mount| mount.has_device() || mount.kind == "tmpfs") {
        if !seen.insert(&mount.number) {
            continue;
        }
        // Nobody can fill what can only be read.
        let Some(about) = statistics(&mount.mountpoint).ok().filter(|about| about.f_flag & libc::ST_RDONLY == 0) else {
            continue;
        };
        let add = |rows: &mut Vec<Series>, state: &str, value: f64| {
            let labels = Labels::new([
                ("mountpoint", mount.mountpoint.clone()),
                ("type", mount.kind.clone()),
                ("state", state.to_owned()),
            ]);
            rows.push(Series::total(labels, length, value));
        };
        let block = about.f_frsize as f64;
        if about.f_blocks > 0 {
            add(&mut space, "used", about.f_blocks.saturating_sub(about.f_bfree) as f64 * block);
            add(&mut space, "free", about.f_bavail as f64 * block);
        }
        let part = |free: u64, all: u64| all > 0 && (free as f64) < FULL * all as f64;
        if part(about.f_bavail, about.f_blocks) || part(about.f_favail, about.f_files) {
            full.extend(fs::metadata(&mount.mountpoint).map(|meta| (meta.dev(), mount.mountpoint.clone())));
        }
        if about.f_files > 0 {
            add(&mut inodes, "used", about.f_files.saturating_sub(about.f_ffree) as f64);
            add(&mut inodes, "free", about.f_favail as f64);
        }
    }
    into.set(&catalog::FILESYSTEM_USAGE, Ok(space));
    into.set(&catalog::FILESYSTEM_INODES, Ok(inodes));
    into.set(&catalog::FILESYSTEM_WRITERS, Ok(writers(roots, &full, length)));
}

/// Who has files open for writing on these devices.
fn writers(roots: &Roots, full: &BTreeMap<u64, String>, length: Duration) -> Vec<Series> {
    if full.is_empty() {
        return Vec::new();
    }
    let mut counts: BTreeMap<(u32, &str), f64> = BTreeMap::new();
    let processes = fs::read_dir(&roots.proc).into_iter().flatten().flatten();
    for process in processes.take(MOST_PROCESSES) {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let descriptors = fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        for descriptor in descriptors.take(MOST_FILES) {
            let Ok(meta) = fs::metadata(descriptor.path()) else { continue };
            let Some(mountpoint) = full.get(&meta.dev()).filter(|_| meta.is_file()) else { continue };
            let info = fs::read_to_string(process.path().join("fdinfo").join(descriptor.file_name()));
            if info.is_ok_and(|info| writes(&info)) {
                *counts.entry((pid, mountpoint)).or_default() += 1.0;
            }
        }
    }
    let row = |((pid, mountpoint), count): ((u32, &str), f64)| {
        let labels = Labels::new([("pid", pid.to_string()), ("mountpoint", mountpoint.to_owned())]);
        Series::total(labels, length, count)
    };
    counts.into_iter().map(row).collect()
}

/// Whether a descriptor may write: `flags:\t0100001`, in octal digits.
fn writes(info: &str) -> bool {
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| matches!(flags & libc::O_ACCMODE, libc::O_WRONLY | libc::O_RDWR))
}

fn statistics(mountpoint: &str) -> Result<libc::statvfs, std::io::Error> {
    let path = CString::new(mountpoint)?;
    // SAFETY: all zeros is a valid `statvfs`; the path is a C string, and the call fills a valid place.
    unsafe {
        let mut about: libc::statvfs = std::mem::zeroed();
        match libc::statvfs(path.as_ptr(), &mut about) {
            0 => Ok(about),
            _ => Err(std::io::Error::last_os_error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use observe::{Host, Target, Window};
    use std::time::SystemTime;

    #[test]
    fn a_descriptor_says_whether_it_may_write() {
        assert!(writes("pos:\t0\nflags:\t0100001\n") && writes("flags:\t02100002\n"));
        assert!(!writes("flags:\t0100000\n") && !writes("pos:\t1\n"));
    }

    #[test]
    fn local_ones_are_asked_once() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path();
        let place = base.to_string_lossy();
        let table = format!(
            "27 1 254:1 / {place} rw shared:1 - ext4 /dev/root rw\n28 27 254:1 /var /pod ro - ext4 /dev/root rw\n\
             30 27 0:50 / /net rw - nfs4 server:/x rw\n31 27 0:51 / /gone/away rw - tmpfs tmpfs rw\n"
        );
        fs::create_dir_all(base.join("proc/self")).unwrap();
        fs::write(base.join("proc/self/mountinfo"), table).unwrap();
        let roots = Roots { proc: base.join("proc"), sys: base.join("sys"), btf: base.join("btf") };
        let host = Host { name: "h".into(), kernel: "6".into(), cpus: 2, memory_bytes: 1 };
        let window = Window { start: SystemTime::UNIX_EPOCH, length: Duration::from_secs(1) };
        let mut rec = Recording::new(host, Target::system("h"), window);
        collect(&roots, Duration::from_secs(1), &mut rec);
        let rows = rec.get(&catalog::FILESYSTEM_USAGE).unwrap();
        let states: Vec<_> = rows.iter().map(|row| (row.labels.get("mountpoint"), row.labels.get("state"))).collect();
        assert_eq!(states, [(&*place, "used"), (&*place, "free")]);
        assert!(rows[0].last() + rows[1].last() > 0.0);
    }
}
