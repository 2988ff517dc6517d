//! The object a thread waited for, as the kernel side noted it, and its name for people.

use super::{ends::Ends, peers::Peers};
use crate::{
    block::Disks,
    bpf::{text, types},
    host::facts::mounts_of,
    roots::Roots,
};
use observe::{TIMER, TimeClass};
use std::{
    collections::{HashMap, HashSet},
    fs,
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::MetadataExt,
    path::Path,
};

/// The kernel side's number of descriptors of an epoll.
const POLL_MANY: u64 = 0xffff;

/// A socket somebody waited on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Socket {
    /// The other end as `address:port`, or the local port of a server; empty for a unix socket.
    pub remote: String,
    pub unix: bool,
    /// The local end is a port this host listens on: the other end is the client.
    pub serving: bool,
    /// The other end is on this host.
    pub loopback: bool,
    pub listening: bool,
}

impl Socket {
    /// What waiting to receive on it means.
    pub fn wait_class(&self) -> TimeClass {
        if self.listening || self.serving {
            TimeClass::BlockedIdle
        } else if self.unix || self.loopback {
            TimeClass::BlockedProcess
        } else {
            TimeClass::BlockedNetwork
        }
    }
}

/// What a thread waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Object {
    None,
    Futex {
        address: u64,
        value: u32,
        operation: u32,
    },
    File {
        inode: u64,
        device: u32,
    },
    Pipe(u64),
    Socket(Socket),
    Disk(u32),
    Child,
    Tty,
    Poll {
        descriptors: Option<u64>,
    },
    /// A lock of the kernel's.
    Lock {
        flags: u32,
    },
    Other,
}

/// Names objects; looks each up once.
pub(crate) struct Namer<'a> {
    roots: &'a Roots,
    disks: &'a mut Disks,
    listening: HashSet<u16>,
    peers: Peers<'a>,
    clients: HashSet<(u32, u32)>,
    ends: Option<Ends>,
    file_names: HashMap<(u64, u64), String>,
    files: HashMap<(u32, u64), OpenFile>,
    /// Where file systems are mounted, by their device.
    places: HashMap<u32, Option<String>>,
}

/// A file that a process had open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OpenFile {
    /// The full path while the process has it open, else where its file system is mounted and the last component that the
    /// kernel side noted: `/srv/…/orders.db-journal`.
    pub path: String,
    /// In bytes, while it is open.
    pub size: Option<u64>,
}

impl<'a> Namer<'a> {
    /// A namer with the file names that the kernel side noted.
    pub fn new(
        roots: &'a Roots,
        disks: &'a mut Disks,
        names: impl IntoIterator<Item = (types::file_key, types::file_name)>,
    ) -> Self {
        let file_names = names.into_iter().map(|(k, v)| ((k.inode, k.device), text(&v.name))).collect();
        let peers = Peers::new(roots);
        Namer {
            roots,
            disks,
            listening: peers.listening().clone(),
            peers,
            clients: HashSet::new(),
            ends: None,
            file_names,
            files: HashMap::new(),
            places: HashMap::new(),
        }
    }

    /// The object of a wait.
    pub fn object(&self, key: &types::wait_key) -> Object {
        match key.object {
            1 => Object::Futex {
                address: key.object_a,
                value: key.object_b as u32,
                operation: (key.object_b >> 32) as u32,
            },
            2 => Object::File { inode: key.object_a, device: key.object_b as u32 },
            3 => Object::Pipe(key.object_a),
            4 => Object::Socket(self.socket(key.object_a, key.object_b)),
            5 => Object::Disk(key.object_a as u32),
            6 => Object::Child,
            7 => Object::Other,
            8 => Object::Tty,
            9 => Object::Poll { descriptors: (key.object_b != POLL_MANY).then_some(key.object_b) },
            10 => Object::Lock { flags: key.object_b as u32 },
            _ => Object::None,
        }
    }

    /// Who holds the ends of pipes and connections; looked up at the first call.
    pub fn ends(&mut self) -> &Ends {
        self.ends.get_or_insert_with(|| Ends::read(self.roots))
    }

    /// Clients and servers that were seen in the window.
    pub fn know(&mut self, clients: HashSet<(u32, u32)>) {
        self.clients = clients;
    }

    /// Whether one process is a client of another: it asked it in the window, or holds a TCP connection to it now.
    pub fn is_client_of(&mut self, client: u32, server: u32) -> bool {
        self.clients.contains(&(client, server)) || self.peers.is_client_of(client, server)
    }

    fn socket(&self, a: u64, remote: u64) -> Socket {
        const TCP_LISTEN: u64 = 10;
        let (local_port, remote_port) = (a as u16, (a >> 16) as u16);
        let (family, state) = ((a >> 32) as u16, a >> 48);
        let unix = i32::from(family) == libc::AF_UNIX;
        // IPv6 keeps the first and the last 32 bits: enough for loopback and v4-mapped addresses.
        let (address, loopback) = if i32::from(family) == libc::AF_INET {
            let ip = Ipv4Addr::from((remote as u32).to_ne_bytes());
            (IpAddr::V4(ip).to_string(), ip.is_loopback())
        } else {
            let last = Ipv4Addr::from((remote as u32).to_ne_bytes());
            let first = (remote >> 32) as u32;
            let is_loopback = first == 0 && (last == Ipv4Addr::new(0, 0, 0, 1) || last.is_loopback());
            let shown =
                if first == 0 { format!("[::{last}]") } else { format!("[{:x}:…]", u32::from_be(first) >> 16) };
            (shown, is_loopback)
        };
        let serving = if unix { local_port != 0 } else { local_port != 0 && self.listening.contains(&local_port) };
        Socket {
            remote: match (unix, serving) {
                (true, _) => String::new(),
                (false, true) => format!("port {local_port}"),
                (false, false) => format!("{address}:{remote_port}"),
            },
            unix,
            serving,
            loopback,
            listening: state == TCP_LISTEN,
        }
    }

    /// The resource's name: `disk:vda`, `file:/var/lib/x`, `futex:0x7f…`, `tcp:10.0.0.2:5432` …
    pub fn resource(&mut self, class: TimeClass, object: &Object, pid: u32) -> String {
        match (class, object) {
            (TimeClass::BlockedDisk, Object::File { device, .. } | Object::Disk(device)) if *device != 0 => {
                format!("disk:{}", self.disks.name(self.roots, *device))
            }
            (TimeClass::BlockedDisk, _) => "disk".to_owned(),
            (_, Object::File { inode, device }) => format!("file:{}", self.file(pid, *inode, *device).path),
            (TimeClass::BlockedSleep, _) => TIMER.to_owned(),
            (TimeClass::BlockedMemory, _) => "memory".to_owned(),
            (_, Object::Futex { address, .. }) => format!("futex:{address:#x}"),
            (_, Object::Pipe(inode)) => format!("pipe:{inode}"),
            (_, Object::Socket(s)) if s.unix => "unix socket".to_owned(),
            (_, Object::Socket(s)) => format!("tcp:{}", s.remote),
            (_, Object::Disk(device)) if *device != 0 => format!("disk:{}", self.disks.name(self.roots, *device)),
            (_, Object::Child) => "child".to_owned(),
            (_, Object::Tty) => "terminal".to_owned(),
            (_, Object::Poll { .. }) => "descriptors".to_owned(),
            _ => String::new(),
        }
    }

    /// The file that a process waited on.
    pub fn file(&mut self, pid: u32, inode: u64, device: u32) -> &OpenFile {
        let (roots, names, places) = (self.roots, &self.file_names, &mut self.places);
        self.files.entry((pid, inode)).or_insert_with(|| {
            let process = roots.proc.join(pid.to_string());
            opened(&process, inode).or_else(|| mapped(&process, inode)).unwrap_or_else(|| {
                let name = names.get(&(inode, u64::from(device))).filter(|name| !name.is_empty());
                let place = places.entry(device).or_insert_with(|| place(&process, device)).as_deref();
                let path = match (name, place) {
                    (Some(name), Some(place)) => format!("{}/…/{name}", place.trim_end_matches('/')),
                    (Some(name), None) => name.clone(),
                    (None, _) => format!("inode {inode}"),
                };
                OpenFile { path, size: None }
            })
        })
    }
}

/// Where a process sees the whole of the file system that is on a device; of several places, the shortest.
fn place(process: &Path, device: u32) -> Option<String> {
    // As the kernel keeps it: 12 bits, 20 bits.
    let number = format!("{}:{}", device >> 20, device & 0xf_ffff);
    let mounts = mounts_of(process).ok()?.into_iter().filter(|mount| mount.number == number && mount.root == "/");
    mounts.map(|mount| mount.mountpoint).min_by_key(String::len)
}

/// A file by one of the process' descriptors.
fn opened(process: &Path, inode: u64) -> Option<OpenFile> {
    fs::read_dir(process.join("fd")).ok()?.flatten().take(4096).find_map(|entry| {
        let about = fs::metadata(entry.path()).ok().filter(|about| about.ino() == inode)?;
        let path = fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned();
        Some(OpenFile { path, size: Some(about.len()) })
    })
}

/// A file by one of the process' mappings; its descriptor may be closed.
fn mapped(process: &Path, inode: u64) -> Option<OpenFile> {
    let maps = fs::read_to_string(process.join("maps")).ok()?;
    maps.lines().find_map(|line| {
        // ADDRESS PERMISSIONS OFFSET DEVICE INODE PATH
        let (rest, path) = line.split_at_checked(line.find('/')?)?;
        if rest.split_ascii_whitespace().nth(4)?.parse() != Ok(inode) {
            return None;
        }
        let size = fs::metadata(process.join("root").join(path.trim_start_matches('/'))).ok().map(|about| about.len());
        Some(OpenFile { path: path.to_owned(), size })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_file_is_known_by_its_inode() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("root/data")).unwrap();
        fs::write(dir.path().join("root/data/the index"), "12345").unwrap();
        let maps = "55d0-55d1 r-xp 00000000 fe:00 77 /usr/bin/x\n7f00-7f80 rw-p 00000000 00:00 0 \n\
            7f80-7f90 r--s 00002000 fe:00 4711                       /data/the index\n";
        fs::write(dir.path().join("maps"), maps).unwrap();
        let known = OpenFile { path: "/data/the index".to_owned(), size: Some(5) };
        assert_eq!(mapped(dir.path(), 4711), Some(known));
        assert_eq!(mapped(dir.path(), 7), None);
    }

    #[test]
    fn a_file_that_is_gone_is_known_by_where_it_was() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("7")).unwrap();
        let mounts = "20 1 254:0 / / rw - ext4 /dev/vda rw\n21 20 254:16 / /srv/shop rw - ext4 /dev/vdb rw,sync\n\
            22 20 254:16 /part /mnt rw - ext4 /dev/vdb rw,sync\n";
        fs::write(dir.path().join("7/mountinfo"), mounts).unwrap();
        let roots = Roots { proc: dir.path().to_owned(), ..Roots::default() };
        let mut disks = Disks::default();
        let mut namer = Namer::new(&roots, &mut disks, []);
        for (inode, device) in [(4711, 254 << 20 | 16), (4712, 254 << 20), (4713, 9)] {
            namer.file_names.insert((inode, device), "orders.db-journal".to_owned());
        }
        assert_eq!(namer.file(7, 4711, 254 << 20 | 16).path, "/srv/shop/…/orders.db-journal");
        assert_eq!(namer.file(7, 4712, 254 << 20).path, "/…/orders.db-journal");
        assert_eq!(namer.file(7, 4713, 9).path, "orders.db-journal");
        assert_eq!(namer.file(7, 4714, 254 << 20).path, "inode 4714");
    }

    #[test]
    fn a_socket_knows_its_side() {
        let roots = Roots::default();
        let mut disks = Disks::default();
        let mut namer = Namer::new(&roots, &mut disks, []);
        namer.listening = HashSet::from([6379]);
        let loopback = u64::from(u32::from_ne_bytes([127, 0, 0, 1]));
        let server = namer.socket(6379 | 50000 << 16 | 2 << 32 | 1 << 48, loopback);
        assert!(server.serving && server.remote == "port 6379");
        let client = namer.socket(50000 | 6379 << 16 | 2 << 32 | 1 << 48, loopback);
        assert!(!client.serving && client.loopback && client.remote == "127.0.0.1:6379");
    }
}
