//! Boxes and lines: what is written in them and on them.

use super::{
    Edge, Kind, Node,
    ends::address,
    links::{By, Joined, Key, Links},
    marks::Marks,
    pick::{Picked, WORTH},
    usage::usage,
};
use crate::format;
use observe::{Bytes, Recording};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

/// Makes the boxes and the lines between them.
pub fn draw(
    recording: &Recording,
    links: &Links,
    marks: &Marks,
    used_by: BTreeMap<Key, usize>,
    picked: &Picked,
) -> (Vec<Node>, Vec<Edge>) {
    let mut drawn = Drawn { recording, links, marks, used_by, nodes: Vec::new(), at: BTreeMap::new() };
    for (first, members) in &picked.hosts {
        drawn.host(first, members);
    }
    picked.services.iter().for_each(|at| drawn.service(*at));
    let joined = links.edges.keys().flat_map(|(from, to)| [from, to]);
    for key in joined.chain(&picked.file_systems).collect::<BTreeSet<&Key>>() {
        drawn.store_or_device(key);
    }
    drawn.machine();
    let edges = drawn.edges();
    (drawn.nodes, edges)
}

/// What is drawn so far.
struct Drawn<'a> {
    recording: &'a Recording,
    links: &'a Links,
    marks: &'a Marks,
    used_by: BTreeMap<Key, usize>,
    nodes: Vec<Node>,
    at: BTreeMap<Key, usize>,
}

impl Drawn<'_> {
    fn add(&mut self, keys: &[Key], kind: Kind, title: String, lines: Vec<String>) {
        let mut marks: Vec<_> = keys.iter().flat_map(|key| self.marks.of.get(key)).flatten().cloned().collect();
        marks.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        marks.dedup();
        let is_target = matches!(keys, [Key::Group(at)] if self.links.groups.all[*at].is_target);
        self.at.extend(keys.iter().map(|key| (key.clone(), self.nodes.len())));
        self.nodes.push(Node { kind, title, lines, marks, is_target, rank: 0 });
    }

    fn host(&mut self, key: &Key, members: &[Key]) {
        let name =
            |key: &Key| if let Key::Client(name) | Key::Server(name) = key { name.clone() } else { String::new() };
        let kind = if matches!(key, Key::Client(_)) { Kind::Client } else { Kind::Server };
        let mut lines = Vec::new();
        let title = match members {
            [one] => name(one),
            many => {
                lines.push(format!("{}, {}, …", name(&many[0]), name(&many[1])));
                format!("{} hosts", many.len())
            }
        };
        let interfaces: BTreeSet<&String> =
            members.iter().filter_map(|one| self.links.routes.get(&name(one))).collect();
        if !interfaces.is_empty() {
            let names: Vec<&str> = interfaces.iter().take(3).map(|one| one.as_str()).collect();
            lines.push(format!("by {}", names.join(", ")));
        }
        let resolves = |(_, to): &(Key, Key), joined: &Joined| {
            members.contains(to) && joined.parts.contains_key(&(By::Udp, "53".to_owned()))
        };
        if self.links.edges.iter().any(|(ends, joined)| resolves(ends, joined)) {
            lines.push("name server".to_owned());
        }
        self.add(members, kind, title, lines);
    }

    fn service(&mut self, at: usize) {
        let group = &self.links.groups.all[at];
        let mut programs: Vec<(&String, &u32)> = group.programs.iter().collect();
        programs.sort_by_key(|(name, count)| (Reverse(**count), (*name).clone()));
        let times = |name: &str, count: u32| if count > 1 { format!("{name} ×{count}") } else { name.to_owned() };
        let mut lines = Vec::new();
        let mut title = group.title.clone();
        match programs[..] {
            [(name, count)] if *name == title => title = times(name, *count),
            _ => {
                let some: Vec<String> = programs.iter().take(2).map(|(name, count)| times(name, **count)).collect();
                let more = if programs.len() > 2 { format!(" +{}", programs.len() - 2) } else { String::new() };
                lines.push(format!("{}{more}", some.join(", ")));
            }
        }
        let pid = group.pids.first().map(|pid| pid.0).unwrap_or_default();
        let others = if group.pids.len() > 1 { "…" } else { "" };
        let threads = match group.threads {
            0 => String::new(),
            count => format!(", {}", format::plural(count, "thread", "threads")),
        };
        lines.push(format!("pid {pid}{others}{threads}"));
        if let Some(open) = self.links.listens.get(&at).map(ports).filter(|open| !open.is_empty()) {
            let more = if open.len() > 3 { " …" } else { "" };
            lines.push(format!("listens {}{more}", open.iter().take(3).cloned().collect::<Vec<_>>().join(" ")));
        }
        lines.extend(self.users(&Key::Group(at), "asked by"));
        self.add(&[Key::Group(at)], Kind::Service, title, lines);
    }

    fn users(&self, key: &Key, how: &str) -> Option<String> {
        self.used_by.get(key).map(|count| format!("{how} {}", format::plural(*count as u64, "service", "services")))
    }

    fn store_or_device(&mut self, key: &Key) {
        match key {
            Key::FileSystem(name) => {
                let mut first: Vec<String> =
                    self.links.types.get(name).filter(|kind| !kind.is_empty()).cloned().into_iter().collect();
                first.extend(usage(self.recording, Kind::FileSystem, name));
                let mut lines = if first.is_empty() { Vec::new() } else { vec![first.join(", ")] };
                lines.extend(self.users(key, "files of"));
                self.add(std::slice::from_ref(key), Kind::FileSystem, name.clone(), lines);
            }
            Key::Device(name) => {
                let lies = self.links.edges.keys().any(|(from, to)| from == key && matches!(to, Key::Device(_)));
                let kind = if lies { Kind::Volume } else { Kind::Device };
                self.add(std::slice::from_ref(key), kind, name.clone(), usage(self.recording, kind, name));
            }
            Key::Server(name) if !self.at.contains_key(key) => {
                self.add(std::slice::from_ref(key), Kind::Server, name.clone(), Vec::new())
            }
            _ => {}
        }
    }

    /// Interfaces that drawn hosts are reached by, CPUs, and memory.
    fn machine(&mut self) {
        let name = |key: &Key| if let Key::Client(name) | Key::Server(name) = key { Some(name.clone()) } else { None };
        let hosts: Vec<String> = self.at.keys().filter_map(name).collect();
        let mut interfaces: BTreeSet<&String> = hosts.iter().filter_map(|host| self.links.routes.get(host)).collect();
        for (from, to) in self.links.edges.keys() {
            if let (Key::Interface(from), Key::Interface(to)) = (from, to)
                && interfaces.contains(from)
            {
                interfaces.insert(to);
            }
        }
        for name in interfaces {
            self.add(
                &[Key::Interface(name.clone())],
                Kind::Interface,
                name.clone(),
                usage(self.recording, Kind::Interface, name),
            );
        }
        let host = &self.recording.host;
        let cpus = format::plural(u64::from(host.cpus), "CPU", "CPUs");
        self.add(&[Key::Cpus], Kind::Cpus, cpus, usage(self.recording, Kind::Cpus, ""));
        let memory = format!("Memory {}", Bytes(host.memory_bytes));
        self.add(&[Key::Memory], Kind::Memory, memory, usage(self.recording, Kind::Memory, ""));
    }

    fn edges(&self) -> Vec<Edge> {
        let mut all: BTreeMap<(usize, usize), Joined> = BTreeMap::new();
        let mut put = |from: usize, to: usize, joined: &Joined| {
            let there = all.entry((from, to)).or_default();
            there.waited += joined.waited;
            for (part, count) in &joined.parts {
                *there.parts.entry(part.clone()).or_default() += count;
            }
        };
        for ((from, to), joined) in &self.links.edges {
            if let (Some(from), Some(to)) = (self.at.get(from), self.at.get(to)) {
                put(*from, *to, joined);
            }
        }
        for (host, interface) in &self.links.routes {
            let ends = (self.at.get(&Key::Server(host.clone())), self.at.get(&Key::Interface(interface.clone())));
            if let (Some(from), Some(to)) = ends {
                let parts = BTreeMap::from([((By::Route, String::new()), 1.0)]);
                put(*from, *to, &Joined { parts, waited: 0.0 });
            }
        }
        let is_local = |joined: &Joined| joined.parts.keys().all(|(by, _)| matches!(by, By::Unix | By::Pipe));
        let mut edges = Vec::new();
        for ((from, to), joined) in all.iter().filter(|((from, to), _)| from != to) {
            match all.get(&(*to, *from)).filter(|back| is_local(joined) && is_local(back)) {
                // One line for both, from who waits longer.
                Some(back) if (back.waited, *from) > (joined.waited, *to) => {}
                Some(back) => {
                    let mut joined = joined.clone();
                    for (part, count) in &back.parts {
                        *joined.parts.entry(part.clone()).or_default() += count;
                    }
                    edges.push(Edge { both: true, ..edge(*from, *to, &joined) });
                }
                None => edges.push(edge(*from, *to, joined)),
            }
        }
        edges
    }
}

/// Ports of sockets that are listened on: `:80` on all addresses, else with the address.
fn ports(addresses: &BTreeSet<String>) -> Vec<String> {
    let port = |open: &String| {
        let (protocol, place) = open.split_once(' ')?;
        let (host, port) = address(place)?;
        let any = matches!(host, "0.0.0.0" | "::");
        let suffix = if protocol == "udp" { "/udp" } else { "" };
        Some((
            port.parse::<u16>().ok()?,
            if any { format!(":{port}{suffix}") } else { format!("{host}:{port}{suffix}") },
        ))
    };
    let found: BTreeSet<(u16, String)> = addresses.iter().filter_map(port).collect();
    found.into_iter().map(|(_, text)| text).collect()
}

fn edge(from: usize, to: usize, joined: &Joined) -> Edge {
    let by = joined.parts.keys().next().map_or(By::On, |(by, _)| *by);
    let times = |count: f64| if count > 1.0 { format!(" ×{count:.0}") } else { String::new() };
    let long = |((by, what), count): (&(By, String), &f64)| match by {
        By::Tcp => format!("tcp :{what}{}", times(*count)),
        By::Udp => format!("udp :{what}{}", times(*count)),
        By::Unix if what.is_empty() => format!("unix socket{}", times(*count)),
        By::Unix => format!("unix {what}{}", times(*count)),
        By::Pipe => format!("pipe{}", times(*count)),
        By::File => {
            let files = format::plural(*count as u64, "file", "files");
            format!("{files} open {}", if what == "write" { "for writing" } else { "for reading" })
        }
        By::Device => "open".to_owned(),
        By::On if what.is_empty() => "lies on".to_owned(),
        By::On => format!("lies on {what}"),
        By::Route => "leaves by".to_owned(),
    };
    let mut about: Vec<String> = joined.parts.iter().map(long).collect();
    let first = joined.parts.iter().max_by(|a, b| a.1.total_cmp(b.1));
    let mut label = match first {
        Some(((By::Tcp | By::Udp, what), count)) => format!(":{what}{}", times(*count)),
        Some(((By::Unix, what), _)) => what.rsplit('/').next().unwrap_or(what).to_owned(),
        Some(((By::On, what), _)) => what.clone(),
        Some(((By::Pipe, _), _)) => "pipe".to_owned(),
        _ => String::new(),
    };
    if joined.waited >= WORTH {
        let waited = format!("waited {}", format::seconds(joined.waited));
        about.insert(0, waited.clone());
        label = waited;
    }
    Edge { from, to, by, both: false, about: about.join(", "), label, waited: joined.waited }
}
