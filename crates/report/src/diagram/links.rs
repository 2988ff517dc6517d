//! What joins boxes: links of processes become those of their groups, and short-lived connections are added.

use super::{
    ends::{End, address, end, is_loopback},
    group::Groups,
};
use observe::{Histogram, Labels, Pid, Recording, Series, TimeClass, catalog};
use std::collections::{BTreeMap, BTreeSet};

/// What a box is, before it is drawn.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Client(String),
    Group(usize),
    Server(String),
    FileSystem(String),
    Device(String),
    Interface(String),
    Cpus,
    Memory,
}

/// How two boxes are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    Tcp,
    Udp,
    Unix,
    Pipe,
    File,
    Device,
    /// Lies on.
    On,
    /// Packets leave by.
    Route,
}

/// All that joins two boxes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Joined {
    /// How often, by kind and detail: the server's port, a path, a partition.
    pub parts: BTreeMap<(By, String), f64>,
    /// Seconds that the first waited for the second.
    pub waited: f64,
}

/// Everything that is joined.
pub struct Links {
    pub groups: Groups,
    pub edges: BTreeMap<(Key, Key), Joined>,
    /// Addresses that a group listens on.
    pub listens: BTreeMap<usize, BTreeSet<String>>,
    /// The type of each file system.
    pub types: BTreeMap<String, String>,
    /// By which interface a peer is reached.
    pub routes: BTreeMap<String, String>,
}

impl Links {
    pub fn of(recording: &Recording, rows: &[Series]) -> Links {
        let of_network = rows.iter().filter(|row| matches!(row.labels.get("by"), "tcp" | "udp" | "listens"));
        let ends = of_network.flat_map(|row| [end(row.labels.get("from")), end(row.labels.get("to"))]);
        let connections = ends.filter_map(|end| if let End::Process(pid) = end { Some(pid) } else { None }).collect();
        let mut links = Links {
            groups: Groups::of(recording, &connections),
            edges: BTreeMap::new(),
            listens: BTreeMap::new(),
            types: BTreeMap::new(),
            routes: BTreeMap::new(),
        };
        let disks = disks(rows);
        for row in rows {
            links.add_row(row, &disks);
        }
        links.add_short_lived(recording);
        links
    }

    fn add_row(&mut self, row: &Series, disks: &BTreeMap<&str, &str>) {
        let (from, to) = (end(row.labels.get("from")), end(row.labels.get("to")));
        let (by, what, count) = (row.labels.get("by"), row.labels.get("what"), row.last());
        let own = |pid: Pid| self.groups.holding(pid);
        let disk = |name: &str| disks.get(name).copied().unwrap_or(name).to_owned();
        let connected = match by {
            "tcp" => By::Tcp,
            "udp" => By::Udp,
            "unix" => By::Unix,
            "pipe" => By::Pipe,
            "file" => By::File,
            "device" => By::Device,
            "route" => By::Route,
            _ => By::On,
        };
        let (from, to, what) = match (from, to) {
            (End::Process(pid), End::Nothing) => {
                if let Some(group) = own(pid) {
                    self.listens.entry(group).or_default().insert(what.to_owned());
                }
                return;
            }
            (End::Process(a), End::Process(b)) => match (own(a), own(b)) {
                (Some(a), Some(b)) => (Key::Group(a), Key::Group(b), what.to_owned()),
                _ => return,
            },
            (End::Process(pid), to) => {
                let Some(group) = own(pid) else { return };
                let to = match to {
                    End::Peer(name) => Key::Server(name.to_owned()),
                    End::FileSystem(name) => Key::FileSystem(name.to_owned()),
                    End::Device(name) => Key::Device(disk(name)),
                    _ => return,
                };
                (Key::Group(group), to, what.to_owned())
            }
            (End::Peer(name), End::Process(pid)) => match own(pid) {
                Some(group) => (Key::Client(name.to_owned()), Key::Group(group), what.to_owned()),
                None => return,
            },
            (End::Peer(name), End::Interface(interface)) => {
                self.routes.insert(name.to_owned(), interface.to_owned());
                return;
            }
            (End::FileSystem(name), below) => {
                self.types.insert(name.to_owned(), what.to_owned());
                let from = Key::FileSystem(name.to_owned());
                match below {
                    // Memory is a box of its own, and every machine has files there.
                    End::Device(device) if device != "memory" => {
                        let through = if disk(device) == device { String::new() } else { device.to_owned() };
                        (from, Key::Device(disk(device)), through)
                    }
                    End::FileSystem(below) => (from, Key::FileSystem(below.to_owned()), String::new()),
                    End::Peer(peer) => (from, Key::Server(peer.to_owned()), what.to_owned()),
                    _ => return,
                }
            }
            (End::Device(a), End::Device(b)) if disk(a) != disk(b) => {
                (Key::Device(disk(a)), Key::Device(disk(b)), String::new())
            }
            (End::Interface(a), End::Interface(b)) => {
                (Key::Interface(a.to_owned()), Key::Interface(b.to_owned()), String::new())
            }
            _ => return,
        };
        self.add(from, to, connected, &what, count);
    }

    fn add(&mut self, from: Key, to: Key, by: By, what: &str, count: f64) {
        if from != to {
            *self.edges.entry((from, to)).or_default().parts.entry((by, what.to_owned())).or_default() += count;
        }
    }

    /// Whoever listens on a port.
    pub fn listener(&self, protocol: &str, port: &str) -> Option<usize> {
        let on = |open: &String| {
            let local = open.strip_prefix(protocol).and_then(|rest| rest.strip_prefix(' '));
            local.and_then(address).is_some_and(|(_, own)| own == port)
        };
        self.listens.iter().find(|(_, addresses)| addresses.iter().any(on)).map(|(group, _)| *group)
    }

    /// Connections that were there in the window, and perhaps not as it was looked.
    fn add_short_lived(&mut self, recording: &Recording) {
        let mut seen: BTreeSet<(Pid, String, Option<Pid>, By)> = BTreeSet::new();
        let histograms = |metric| recording.get(metric).into_iter().flatten();
        let rows: Vec<&Histogram> = histograms(&catalog::UPSTREAM).chain(histograms(&catalog::TCP_CONNECT)).collect();
        for row in rows {
            let Some(pid) = row.labels.pid() else { continue };
            let other = row.labels.get("peer_pid").parse().ok().map(Pid);
            let peer = row.labels.get("peer");
            let by = if peer.starts_with(['/', '@']) { By::Unix } else { By::Tcp };
            seen.insert((pid, peer.to_owned(), other, by));
        }
        for row in recording.get(&catalog::DNS_LOOKUPS).into_iter().flatten() {
            let server = row.labels.get("server");
            let server = if address(server).is_some() { server.to_owned() } else { format!("{server}:53") };
            seen.extend(row.labels.pid().map(|pid| (pid, server, None, By::Udp)));
        }
        for (pid, peer, other, by) in seen {
            let Some(group) = self.groups.holding(pid) else { continue };
            let place = address(&peer);
            let protocol = if by == By::Udp { "udp" } else { "tcp" };
            let local = place.filter(|(host, _)| is_loopback(host)).and_then(|(_, port)| self.listener(protocol, port));
            let to = match (other.and_then(|pid| self.groups.holding(pid)).or(local), place) {
                (Some(other), _) => Key::Group(other),
                (None, Some((host, _))) if !is_loopback(host) => Key::Server(host.to_owned()),
                _ => continue,
            };
            let what = place.map_or(peer.as_str(), |(_, port)| port);
            let known = self.edges.get(&(Key::Group(group), to.clone()));
            if !known.is_some_and(|known| known.parts.contains_key(&(by, what.to_owned()))) {
                self.add(Key::Group(group), to, by, what, 0.0);
            }
        }
    }

    /// Adds for how long one end waited for the other. Where the disk was waited for, that is said of the way to it with
    /// most open files.
    pub fn add_waits(&mut self, recording: &Recording) {
        // Who waited all along waited for what did not come.
        let all_along = recording.window.length.mul_f64(0.9);
        let waits = recording.get(&catalog::WAITS).into_iter().flatten();
        for wait in waits.filter(|wait| wait.longest < all_along) {
            let Some(group) = self.groups.holding(wait.pid) else { continue };
            let seconds = wait.time.as_secs_f64();
            let from = Key::Group(group);
            let others = [TimeClass::BlockedProcess, TimeClass::BlockedNetwork, TimeClass::BlockedLock];
            let to = match (wait.by, wait.class) {
                (Some((by, _)), class) if others.contains(&class) => self.groups.holding(by).map(Key::Group),
                (_, TimeClass::BlockedNetwork) => {
                    let place = wait.resource.split_once(':').and_then(|(_, place)| address(place));
                    place.map(|(host, _)| Key::Server(host.to_owned()))
                }
                (_, TimeClass::BlockedDisk) => wait
                    .resource
                    .strip_prefix("disk:")
                    .and_then(|disk| self.towards(&from, &Key::Device(disk.to_owned()))),
                _ => None,
            };
            let Some(to) = to else { continue };
            if let Some(joined) = self.edges.get_mut(&(from, to)) {
                joined.waited += seconds;
            }
        }
    }

    /// The file system by which a group reaches a disk.
    fn towards(&self, group: &Key, disk: &Key) -> Option<Key> {
        let below = |key: &Key| {
            self.edges.keys().filter(move |(from, _)| from == key).map(|(_, to)| to.clone()).collect::<Vec<_>>()
        };
        let reaches = |start: &Key| {
            let mut ways = vec![start.clone()];
            let mut at = 0;
            while at < ways.len() && at < 64 {
                if ways[at] == *disk {
                    return true;
                }
                ways.extend(below(&ways[at]));
                at += 1;
            }
            false
        };
        let own =
            self.edges.iter().filter(|((from, to), _)| from == group && !matches!(to, Key::Group(_)) && reaches(to));
        let open = |joined: &Joined| joined.parts.values().sum::<f64>();
        own.max_by(|a, b| open(a.1).total_cmp(&open(b.1))).map(|((_, to), _)| to.clone())
    }
}

/// The disk that each partition is of: `vda1` of `vda`, `nvme0n1p2` of `nvme0n1`.
fn disks(rows: &[Series]) -> BTreeMap<&str, &str> {
    let layers = rows.iter().map(|row| &row.labels).filter(|labels| labels.get("by") == "layer");
    layers.filter_map(partition).collect()
}

fn partition(layer: &Labels) -> Option<(&str, &str)> {
    let (End::Device(part), End::Device(disk)) = (end(layer.get("from")), end(layer.get("to"))) else { return None };
    let number = part.strip_prefix(disk)?.trim_start_matches('p');
    number.parse::<u32>().is_ok().then_some((part, disk))
}
