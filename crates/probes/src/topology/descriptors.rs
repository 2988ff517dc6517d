//! What processes hold open: sockets, pipes, files and devices, by their descriptors.

use super::{End, Links};
use crate::{processes, roots::Roots};
use observe::{Absent, Pid, Target};
use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::Path,
};

/// ours: as many processes are looked at, the target's first: 20 ms.
const MOST_PROCESSES: usize = 1000;
/// ours: as many descriptors of one process, so that one with many does not hide the others.
const MOST_OF_ONE: usize = 4096;
/// ours: as many of all: 100 ms at the most.
const MOST_OF_ALL: usize = 40_000;
/// ours: who shares a pipe or socket beyond this is not told.
const MOST_SHARING: usize = 8;

/// Devices that everybody may have open and that say nothing.
const DULL: [&str; 10] = ["null", "zero", "full", "random", "urandom", "tty", "ptmx", "console", "fuse", "kmsg"];

/// What is open, and by whom.
#[derive(Debug, Default)]
pub(super) struct Descriptors {
    pub threads: BTreeMap<Pid, u64>,
    /// Who holds a socket, by its inode.
    pub sockets: HashMap<u32, Vec<Pid>>,
    /// Who writes and who reads, by inode.
    pipes: BTreeMap<u64, [Vec<Pid>; 2]>,
    /// Files by process and by the id of the mount that they are on: open for reading only, and for writing.
    pub files: BTreeMap<(Pid, String), [u64; 2]>,
    /// Names under `/dev`.
    pub devices: BTreeMap<(Pid, String), u64>,
}

impl Descriptors {
    pub fn read(roots: &Roots, target: &Target, links: &mut Links) -> Result<Self, Absent> {
        let entries =
            fs::read_dir(&roots.proc).map_err(|e| Absent::Failed(format!("{}: {e}", roots.proc.display())))?;
        let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid));
        let mut all: Vec<Pid> = numbers.collect();
        all.sort_by_key(|pid| (!target.members.contains(pid), *pid));
        let own = processes::own_pid(roots);
        let exe = |pid: Pid| fs::read_link(roots.proc.join(pid.to_string()).join("exe")).ok();
        let own_exe = exe(own);
        let mut open = Descriptors::default();
        let (mut left, mut looked_at) = (MOST_OF_ALL, 0);
        for pid in all {
            let Some(stat) = processes::stat(&roots.proc.join(pid.to_string())) else { continue };
            let of_friday = pid == own || (processes::parent(&stat) == own && exe(pid) == own_exe);
            if of_friday || processes::is_kernel(&stat) || stat.state == 'Z' {
                continue;
            }
            if looked_at == MOST_PROCESSES {
                links.miss("more_processes", 1);
                continue;
            }
            looked_at += 1;
            open.threads.insert(pid, stat.num_threads.try_into().unwrap_or(1));
            match open.look(&roots.proc.join(pid.to_string()), pid, left, links) {
                Ok(seen) => left -= seen,
                // It may have ended meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(_) => links.miss("processes", 1),
            }
        }
        Ok(open)
    }

    /// Goes through the descriptors of one process; gives how many that were.
    fn look(&mut self, process: &Path, pid: Pid, left: usize, links: &mut Links) -> io::Result<usize> {
        let mut seen = 0;
        for entry in fs::read_dir(process.join("fd"))?.flatten() {
            if seen == MOST_OF_ONE.min(left) {
                links.miss("more_descriptors", 1);
                continue;
            }
            seen += 1;
            let Ok(link) = fs::read_link(entry.path()) else { continue };
            let link = link.to_string_lossy();
            let number =
                |kind: &str| link.strip_prefix(kind)?.strip_prefix(":[")?.strip_suffix(']')?.parse::<u64>().ok();
            if let Some(inode) = number("socket") {
                share(self.sockets.entry(inode as u32).or_default(), pid);
            } else if let Some(inode) = number("pipe") {
                let Some((_, mode)) = about(process, &entry.file_name().to_string_lossy()) else { continue };
                let [writers, readers] = self.pipes.entry(inode).or_default();
                if mode != libc::O_RDONLY {
                    share(writers, pid);
                }
                if mode != libc::O_WRONLY {
                    share(readers, pid);
                }
            } else if let Some(device) = link.strip_prefix("/dev/").filter(|name| !name.starts_with("shm/")) {
                if !DULL.contains(&device) && !device.starts_with("pts/") && !device.starts_with("zero") {
                    *self.devices.entry((pid, device.to_owned())).or_default() += 1;
                }
            } else if link.starts_with('/') && !link.starts_with("/memfd:") {
                let Some((mount, mode)) = about(process, &entry.file_name().to_string_lossy()) else { continue };
                let [reads, writes] = self.files.entry((pid, mount)).or_default();
                *(if mode == libc::O_RDONLY { reads } else { writes }) += 1;
            }
        }
        Ok(seen)
    }

    /// Adds pipes, from each of those that write to each of those that read.
    pub fn join(&self, links: &mut Links) {
        for [writers, readers] in self.pipes.values() {
            for writer in writers {
                for reader in readers.iter().filter(|reader| *reader != writer) {
                    links.add(End::Process(*writer), End::Process(*reader), "pipe", "");
                }
            }
        }
    }
}

fn share(with: &mut Vec<Pid>, pid: Pid) {
    if with.last() != Some(&pid) && with.len() < MOST_SHARING {
        with.push(pid);
    }
}

/// On which mount a descriptor's file is, and how it was opened.
fn about(process: &Path, descriptor: &str) -> Option<(String, i32)> {
    let text = fs::read_to_string(process.join("fdinfo").join(descriptor)).ok()?;
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let flags = i32::from_str_radix(field("flags:")?, 8).ok()?;
    Some((field("mnt_id:").unwrap_or_default().to_owned(), flags & libc::O_ACCMODE))
}

#[cfg(test)]
pub(super) mod tests {
    use super::{super::tests::lines, *};
    use std::os::unix::fs::symlink;

    /// Writes a process with descriptors, as link and `/proc/PID/fdinfo` flags and mount.
    pub(in super::super) fn process(base: &Path, pid: u32, descriptors: &[(&str, &str, &str)]) {
        let dir = base.join("proc").join(pid.to_string());
        for folder in ["fd", "fdinfo"] {
            fs::create_dir_all(dir.join(folder)).unwrap();
        }
        let zeros = " 0".repeat(30);
        fs::write(dir.join("stat"), format!("{pid} (p) S 1 1 1 0 -1 0 0 0 0 0 1 2 0 0 25 5 3 0 7{zeros}\n")).unwrap();
        for (number, (link, flags, mount)) in descriptors.iter().enumerate() {
            symlink(link, dir.join(format!("fd/{number}"))).unwrap();
            let info = format!("pos:\t0\nflags:\t{flags}\nmnt_id:\t{mount}\n");
            fs::write(dir.join(format!("fdinfo/{number}")), info).unwrap();
        }
    }

    pub(in super::super) fn roots(base: &Path) -> Roots {
        Roots { proc: base.join("proc"), sys: base.join("sys"), btf: base.join("btf") }
    }

    #[test]
    fn pipes_lead_from_who_writes_to_who_reads() {
        let dir = tempfile::tempdir().unwrap();
        process(dir.path(), 10, &[("pipe:[7]", "01", "14"), ("socket:[5]", "02", "9"), ("/dev/null", "02", "3")]);
        process(dir.path(), 11, &[("pipe:[7]", "0100000", "14"), ("/var/log/a b (deleted)", "0100001", "27")]);
        process(dir.path(), 12, &[("socket:[5]", "02", "9"), ("/dev/kvm", "02", "3"), ("/etc/x", "0", "27")]);
        process(dir.path(), 13, &[("pipe:[9]", "02", "14"), ("anon_inode:[eventpoll]", "02", "14")]);
        process(dir.path(), 14, &[("pipe:[7]", "00", "14")]);
        fs::remove_dir_all(dir.path().join("proc/14/fd")).unwrap();
        fs::write(dir.path().join("proc/14/fd"), "").unwrap();
        let mut links = Links::default();
        let open = Descriptors::read(&roots(dir.path()), &Target::system("h"), &mut links).unwrap();
        open.join(&mut links);
        assert_eq!(lines(&links), ["process:10 > process:11 pipe 1"]);
        assert_eq!(links.unseen, BTreeMap::from([("processes", 1)]));
        assert_eq!(open.sockets[&5], [Pid(10), Pid(12)]);
        assert_eq!(open.files[&(Pid(11), "27".into())], [0, 1]);
        assert_eq!(open.files[&(Pid(12), "27".into())], [1, 0]);
        assert_eq!(open.devices.keys().collect::<Vec<_>>(), [&(Pid(12), "kvm".to_owned())]);
        assert_eq!(open.threads[&Pid(10)], 3);
    }

    #[test]
    fn no_procfs_says_so() {
        let nowhere = roots(Path::new("/nonexistent"));
        assert!(Descriptors::read(&nowhere, &Target::system("h"), &mut Links::default()).is_err());
    }
}
