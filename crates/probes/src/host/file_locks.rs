//! Who holds locks on files, and who else has those files open: programs that ask again and again rather than wait show in
//! no wait of the kernel's. Measured: 30 µs twice a second, and 5 ms at the end where there are such locks.

use crate::roots::Roots;
use observe::{Fact, Labels, Pid, Recording, Series, catalog};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt,
    time::Duration,
};

/// ours: a machine with more locks than this is looked at in part.
const MOST_LOCKS: usize = 512;

/// ours: as many processes and descriptors are gone through for their files.
const MOST_PROCESSES: usize = 4000;
const MOST_FILES: usize = 1024;

/// Device and inode.
type File = (u64, u64);

/// What was seen so far.
#[derive(Default)]
pub(crate) struct FileLocks {
    looks: u32,
    /// In how many looks a process held a lock of a file, and whether it kept all others out.
    held: BTreeMap<(Pid, File, bool), u32>,
}

impl FileLocks {
    /// Looks who holds what.
    pub(crate) fn sample(&mut self, roots: &Roots) {
        let Ok(text) = fs::read_to_string(roots.proc.join("locks")) else { return };
        self.looks += 1;
        let held: BTreeSet<(Pid, File, bool)> = text.lines().take(MOST_LOCKS).filter_map(lock).collect();
        for one in held {
            *self.held.entry(one).or_default() += 1;
        }
    }

    /// Adds the holders by file, and those that have the same file open.
    pub(crate) fn finish(self, roots: &Roots, length: Duration, into: &mut Recording) {
        if self.looks == 0 {
            let why = || observe::Absent::Unsupported(format!("{} cannot be read", roots.proc.join("locks").display()));
            into.set(&catalog::FILE_LOCKS, Err(why()));
            return into.set(&catalog::FILE_LOCKED, Err(why()));
        }
        let wanted: BTreeSet<File> = self.held.keys().map(|(_, file, _)| *file).collect();
        let mut names: BTreeMap<File, String> = BTreeMap::new();
        let mut open: BTreeSet<(Pid, File)> = BTreeSet::new();
        if !wanted.is_empty() {
            for pid in processes(roots) {
                for (file, name) in files(roots, pid) {
                    if wanted.contains(&file) {
                        names.entry(file).or_insert(name);
                        open.insert((pid, file));
                    }
                }
            }
        }
        let name = |file: &File| names.get(file).cloned().unwrap_or_else(|| format!("inode {}", file.1));
        let rows = self.held.iter().map(|((pid, file, exclusive), looks)| {
            let mode = if *exclusive { "write" } else { "read" };
            let labels = [("pid", pid.to_string()), ("file", name(file)), ("mode", mode.to_owned())];
            Series::total(Labels::new(labels), length, f64::from(*looks) / f64::from(self.looks))
        });
        into.set(&catalog::FILE_LOCKS, Ok(rows.collect()));
        // Of a file that only its holder has open, nobody is kept out.
        let shared = open.iter().filter(|(pid, file)| {
            self.held.keys().any(|(holder, locked, exclusive)| locked == file && holder != pid && *exclusive)
        });
        let facts = shared.map(|(pid, file)| Fact {
            labels: Labels::new([("pid", pid.to_string()), ("file", name(file))]),
            value: "open".to_owned(),
            source: format!("/proc/{pid}/fd"),
        });
        into.set(&catalog::FILE_LOCKED, Ok(facts.collect()));
    }
}

/// A lock that is held: `1: POSIX  ADVISORY  WRITE 812 fe:00:1310 120 120`; those that wait for it have `->`.
fn lock(line: &str) -> Option<(Pid, File, bool)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, kind, _, mode, pid, place, ..] = words[..] else { return None };
    if kind == "->" || !matches!(kind, "POSIX" | "FLOCK" | "OFDLCK") {
        return None;
    }
    let pid = pid.parse().ok().filter(|pid| *pid > 0).map(Pid)?;
    let mut place = place.split(':');
    let hex = |part: Option<&str>| u64::from_str_radix(part?, 16).ok();
    let (major, minor) = (hex(place.next())?, hex(place.next())?);
    let inode = place.next()?.parse().ok()?;
    let device = libc::makedev(u32::try_from(major).ok()?, u32::try_from(minor).ok()?);
    Some((pid, (device, inode), mode == "WRITE"))
}

fn processes(roots: &Roots) -> Vec<Pid> {
    let entries = fs::read_dir(&roots.proc).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid)).take(MOST_PROCESSES).collect()
}

fn files(roots: &Roots, pid: Pid) -> Vec<(File, String)> {
    let entries = fs::read_dir(roots.proc.join(pid.to_string()).join("fd")).into_iter().flatten().flatten();
    let file = |entry: fs::DirEntry| {
        let meta = fs::metadata(entry.path()).ok().filter(fs::Metadata::is_file)?;
        Some(((meta.dev(), meta.ino()), fs::read_link(entry.path()).ok()?.display().to_string()))
    };
    entries.take(MOST_FILES).filter_map(file).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use observe::{Host, Target, Window};
    use std::{os::unix::fs::symlink, time::SystemTime};

    #[test]
    fn holders_are_read_and_those_who_wait_are_not() {
        let (pid, (device, inode), exclusive) = lock("1: POSIX  ADVISORY  WRITE 812 fe:01:1310 120 120").unwrap();
        assert_eq!((pid, libc::major(device), libc::minor(device), inode, exclusive), (Pid(812), 0xfe, 1, 1310, true));
        assert!(!lock("2: FLOCK  ADVISORY  READ 9 00:1b:7 0 EOF").unwrap().2);
        assert_eq!(lock("1: -> POSIX  ADVISORY  WRITE 813 fe:01:1310 120 120"), None);
        assert_eq!(lock("3: LEASE  ACTIVE    READ 9 00:1b:7 0 EOF"), None);
        assert_eq!(lock("4: OFDLCK ADVISORY  WRITE -1 00:1b:7 0 EOF"), None);
        assert_eq!(lock(""), None);
    }

    #[test]
    fn a_lock_has_its_file_and_who_else_has_it_open() {
        let dir = tempfile::tempdir().unwrap();
        let books = dir.path().join("books.db");
        fs::write(&books, "x").unwrap();
        let meta = fs::metadata(&books).unwrap();
        for pid in ["7", "8"] {
            fs::create_dir_all(dir.path().join(pid).join("fd")).unwrap();
            symlink(&books, dir.path().join(pid).join("fd/3")).unwrap();
        }
        let (major, minor) = (libc::major(meta.dev()), libc::minor(meta.dev()));
        let line = format!("1: POSIX  ADVISORY  WRITE 7 {major:02x}:{minor:02x}:{} 120 120\n", meta.ino());
        let roots = Roots { proc: dir.path().to_owned(), ..Roots::default() };
        let mut locks = FileLocks::default();
        fs::write(dir.path().join("locks"), line).unwrap();
        locks.sample(&roots);
        fs::write(dir.path().join("locks"), "").unwrap();
        locks.sample(&roots);
        let host = Host { name: "h".into(), kernel: "6".into(), cpus: 2, memory_bytes: 1 };
        let window = Window { start: SystemTime::UNIX_EPOCH, length: Duration::from_secs(1) };
        let mut rec = Recording::new(host, Target::system("h"), window);
        locks.finish(&roots, Duration::from_secs(1), &mut rec);
        let held = &rec.get(&catalog::FILE_LOCKS).unwrap()[0];
        assert_eq!(
            (held.labels.pid(), held.labels.get("file"), held.last()),
            (Some(Pid(7)), &*books.to_string_lossy(), 0.5)
        );
        let open = rec.get(&catalog::FILE_LOCKED).unwrap();
        assert_eq!((open.len(), open[0].labels.pid()), (1, Some(Pid(8))));
        FileLocks::default().finish(&roots, Duration::from_secs(1), &mut rec);
        assert!(rec.get(&catalog::FILE_LOCKS).is_err());
    }
}
