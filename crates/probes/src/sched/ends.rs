//! Who holds the other end: of pipes, unix sockets and local TCP connections, by the descriptors that processes have open.

use super::peers::connections;
use crate::roots::Roots;
use std::{
    collections::HashMap,
    fs,
    time::{Duration, Instant},
};

/// ours: looking through the descriptors of a machine's processes may take so long when a result is read out.
const LONGEST: Duration = Duration::from_millis(300);

/// The ends of pipes and connections, and children, by process.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    pipes: HashMap<u64, Vec<u32>>,
    /// Processes by their sockets' local and remote port.
    connections: HashMap<(u16, u16), u32>,
    /// Processes by the inodes of their other sockets.
    sockets: HashMap<u64, Vec<u32>>,
    children: HashMap<u32, Vec<u32>>,
}

impl Ends {
    /// Looks through all processes, as far as time allows.
    pub fn read(roots: &Roots) -> Self {
        let begun = Instant::now();
        let mut ends = Ends::default();
        let (ports, _) = connections(roots);
        let entries = fs::read_dir(&roots.proc).into_iter().flatten().flatten();
        for pid in entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
            if begun.elapsed() > LONGEST {
                break;
            }
            let process = roots.proc.join(pid.to_string());
            if let Some(stat) = crate::processes::stat(&process) {
                ends.children.entry(stat.ppid as u32).or_default().push(pid);
            }
            let descriptors = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
            for target in descriptors.filter_map(|entry| fs::read_link(entry.path()).ok()) {
                let Some(target) = target.to_str() else { continue };
                let inode = |kind: &str| target.strip_prefix(kind)?.strip_suffix(']')?.parse::<u64>().ok();
                let holds = |holders: &mut Vec<u32>| {
                    if holders.last() != Some(&pid) {
                        holders.push(pid);
                    }
                };
                if let Some(inode) = inode("pipe:[") {
                    holds(ends.pipes.entry(inode).or_default());
                } else if let Some(inode) = inode("socket:[") {
                    match ports.get(&inode) {
                        Some(ports) => _ = ends.connections.insert(*ports, pid),
                        None => holds(ends.sockets.entry(inode).or_default()),
                    }
                }
            }
        }
        ends
    }

    /// The one other process that has a pipe open; `None` when there are several.
    pub fn of_pipe(&self, inode: u64, pid: u32) -> Option<u32> {
        only(self.pipes.get(&inode)?.iter().filter(|holder| **holder != pid))
    }

    /// The one other process that has a socket open, by its inode; `None` when there are several.
    pub fn of_socket(&self, inode: u64, pid: u32) -> Option<u32> {
        only(self.sockets.get(&inode)?.iter().filter(|holder| **holder != pid))
    }

    /// The process at the other end of a local connection, as the kernel side notes it: local port, remote port << 16.
    pub fn of_connection(&self, object: u64) -> Option<u32> {
        let (local, remote) = (object as u16, (object >> 16) as u16);
        self.connections.get(&(remote, local)).copied()
    }

    /// A process' one child; `None` when there are several.
    pub fn only_child(&self, pid: u32) -> Option<u32> {
        only(self.children.get(&pid)?.iter())
    }
}

fn only<'a>(mut all: impl Iterator<Item = &'a u32>) -> Option<u32> {
    let first = all.next().copied();
    if all.next().is_some() { None } else { first }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn the_other_end_is_told_where_it_is_one_process() {
        let dir = tempfile::tempdir().unwrap();
        let rest = "0 ".repeat(48);
        for (pid, parent, files) in [
            (7, 1, &["pipe:[5]", "pipe:[6]"][..]),
            (8, 7, &["pipe:[5]", "socket:[9]"]),
            (9, 1, &["pipe:[6]"]),
            (10, 1, &["pipe:[6]"]),
        ] {
            let process = dir.path().join(pid.to_string());
            fs::create_dir_all(process.join("fd")).unwrap();
            fs::write(process.join("stat"), format!("{pid} (x) S {parent} {rest}\n")).unwrap();
            for (fd, file) in files.iter().enumerate() {
                symlink(file, process.join("fd").join(fd.to_string())).unwrap();
            }
        }
        fs::create_dir_all(dir.path().join("net")).unwrap();
        let row = "  0: 0100007F:18EB 0100007F:C350 01 0:0 00:0 0 0 0 9 1";
        fs::write(dir.path().join("net/tcp"), format!("  sl  local\n{row}\n")).unwrap();
        let ends = Ends::read(&Roots { proc: dir.path().into(), ..Roots::default() });
        assert_eq!([ends.of_pipe(5, 7), ends.of_pipe(5, 8), ends.of_pipe(6, 7)], [Some(8), Some(7), None]);
        assert_eq!(ends.of_connection(0xc350 | 0x18eb << 16), Some(8));
        assert_eq!([ends.only_child(7), ends.only_child(1), ends.only_child(8)], [Some(8), None, None]);
    }
}
