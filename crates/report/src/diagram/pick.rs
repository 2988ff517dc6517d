//! What of all that is there is drawn: the target and what it depends on first; what is alike as one box; the rest counted.

use super::{
    Diagram,
    draw::draw,
    links::{By, Joined, Key, Links},
    marks::Marks,
    rank::rank,
};
use crate::format;
use case::Document;
use observe::Recording;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

/// ours: what a page can hold and a person can read.
const MOST_SERVICES: usize = 24;
const MOST_HOSTS: usize = 8;
const MOST_FILE_SYSTEMS: usize = 8;
/// ours: so many hosts with the same connections are one box.
const ALIKE: usize = 3;
/// ours: what so many services write to, or speak to by unix sockets, joins everything with everything and says little.
const HUB: usize = 6;
/// ours: shorter waits are not worth a label.
pub const WORTH: f64 = 0.01;

/// What is to be drawn.
pub struct Picked {
    /// Hosts that are one box, under the first of them.
    pub hosts: Vec<(Key, Vec<Key>)>,
    pub services: BTreeSet<usize>,
    pub file_systems: BTreeSet<Key>,
}

/// Chooses and names.
pub fn pick(recording: &Recording, mut links: Links, document: Option<&Document>) -> Diagram {
    let marks = Marks::of(recording, &links, document);
    let mut left_out = Vec::new();
    let services = services(&links, &marks, &mut left_out);
    let used_by = hubs(&links);
    let is_drawn = |key: &Key| !matches!(key, Key::Group(at) if !services.contains(at));
    links.edges.retain(|(from, to), _| is_drawn(from) && is_drawn(to));
    few_file_systems(&mut links, &marks, &mut left_out);
    let file_systems: BTreeSet<Key> =
        links.edges.keys().map(|(_, to)| to).filter(|to| matches!(to, Key::FileSystem(_))).cloned().collect();
    thin_out(&mut links, &used_by);
    let hosts = hosts(&links);
    let (mut nodes, edges) = draw(recording, &links, &marks, used_by, &Picked { hosts, services, file_systems });
    rank(&mut nodes, &edges);
    if !marks.elsewhere.is_empty() {
        left_out.push(format!("Said of nothing drawn here: {}.", marks.elsewhere.join("; ")));
    }
    Diagram { nodes, edges, left_out, unseen: Vec::new() }
}

/// The groups that are drawn.
fn services(links: &Links, marks: &Marks, left_out: &mut Vec<String>) -> BTreeSet<usize> {
    let mut near: BTreeMap<usize, usize> = BTreeMap::new();
    let mut next: Vec<usize> = (0..links.groups.all.len()).filter(|at| links.groups.all[*at].is_target).collect();
    for distance in 0..8 {
        next.retain(|at| !near.contains_key(at));
        near.extend(next.iter().map(|at| (*at, distance)));
        let joined = links.edges.keys().filter_map(|(from, to)| match (from, to) {
            (Key::Group(a), Key::Group(b)) if near.get(a) == Some(&distance) => Some(*b),
            // Of those that ask, only the target's own matter.
            (Key::Group(a), Key::Group(b)) if distance == 0 && near.contains_key(b) => Some(*a),
            _ => None,
        });
        next = joined.collect();
    }
    let weight = |at: usize| {
        let (mut waited, mut connections, mut network, mut files) = (0.0, 0usize, 0usize, 0usize);
        for ((from, to), joined) in &links.edges {
            if *from == Key::Group(at) || *to == Key::Group(at) {
                waited += joined.waited;
                network += joined.parts.keys().filter(|(by, _)| matches!(by, By::Tcp | By::Udp)).count();
                match to {
                    Key::FileSystem(_) => {
                        files += usize::from(joined.parts.contains_key(&(By::File, "write".to_owned())))
                    }
                    _ => connections += 1,
                }
            }
        }
        (waited, connections + usize::from(links.listens.contains_key(&at)), network, files)
    };
    let mut joined = Vec::new();
    let mut alone: Vec<usize> = Vec::new();
    for (at, group) in links.groups.all.iter().enumerate() {
        let (waited, connections, network, files) = weight(at);
        let marked = marks.of.contains_key(&Key::Group(at));
        if group.is_target || marked || connections + files > 0 {
            let of_finding = marks.finds(&Key::Group(at));
            let near = near.get(&at).copied().unwrap_or(usize::MAX);
            let milliseconds = (waited * 1e3) as u64;
            let order = (!group.is_target, !of_finding, near, network == 0, !marked, Reverse(milliseconds));
            joined.push((order, Reverse(connections), Reverse(files), at));
        } else {
            alone.push(at);
        }
    }
    joined.sort();
    let beyond: Vec<usize> = joined.iter().skip(MOST_SERVICES).map(|(.., at)| *at).collect();
    let tell = |which: &[usize], why: &str| {
        let processes: usize = which.iter().map(|at| links.groups.all[*at].pids.len()).sum();
        let names: BTreeSet<&str> = which.iter().map(|at| links.groups.all[*at].title.as_str()).collect();
        let some: Vec<&str> = names.iter().take(6).copied().collect();
        let dots = if names.len() > some.len() { ", …" } else { "" };
        format!("{} {why}: {}{dots}.", format::plural(processes as u64, "process", "processes"), some.join(", "))
    };
    for (which, why) in
        [(&alone, "with no connection and no file open for writing"), (&beyond, "with less to do with others")]
    {
        if !which.is_empty() {
            left_out.push(tell(which, why));
        }
    }
    joined.into_iter().take(MOST_SERVICES).map(|(.., at)| at).collect()
}

/// Whether a line is to a file system, or to another service by what is not the network.
fn is_local(from: &Key, to: &Key, joined: &Joined) -> bool {
    let local = joined.parts.keys().all(|(by, _)| matches!(by, By::Unix | By::Pipe | By::File));
    local && matches!((from, to), (Key::Group(_), Key::Group(_) | Key::FileSystem(_)))
}

/// What everybody uses, and how many that are.
fn hubs(links: &Links) -> BTreeMap<Key, usize> {
    let mut users: BTreeMap<Key, usize> = BTreeMap::new();
    for ((from, to), joined) in &links.edges {
        if is_local(from, to, joined) {
            *users.entry(to.clone()).or_default() += 1;
        }
    }
    users.retain(|_, count| *count >= HUB);
    users
}

/// Takes out the lines to what everybody uses, but for those of the target and those that were waited on.
fn thin_out(links: &mut Links, users: &BTreeMap<Key, usize>) {
    let targets: BTreeSet<usize> = (0..links.groups.all.len()).filter(|at| links.groups.all[*at].is_target).collect();
    let is_target = |key: &Key| matches!(key, Key::Group(at) if targets.contains(at));
    links.edges.retain(|(from, to), joined| {
        let dull = is_local(from, to, joined) && users.contains_key(to);
        !dull || joined.waited >= WORTH || is_target(from) || is_target(to)
    });
}

/// With whom a host has connections, and which.
type With = (Key, Vec<(By, String)>);

/// Hosts that have the same connections are one; and beyond the most, all others are.
fn hosts(links: &Links) -> Vec<(Key, Vec<Key>)> {
    let mut alike: BTreeMap<(bool, Vec<With>), Vec<Key>> = BTreeMap::new();
    let mut connections: BTreeMap<Key, Vec<With>> = BTreeMap::new();
    for ((from, to), joined) in &links.edges {
        let parts: Vec<(By, String)> = joined.parts.keys().cloned().collect();
        match (from, to) {
            (Key::Client(_), other) => connections.entry(from.clone()).or_default().push((other.clone(), parts)),
            (other, Key::Server(_)) => connections.entry(to.clone()).or_default().push((other.clone(), parts)),
            _ => {}
        }
    }
    for (host, with) in connections {
        alike.entry((matches!(host, Key::Client(_)), with)).or_default().push(host);
    }
    let mut found = Vec::new();
    for asking in [true, false] {
        let mut sets: Vec<Vec<Key>> = Vec::new();
        for ((_, _), members) in alike.iter().filter(|((is_client, _), _)| *is_client == asking) {
            match members.len() {
                few if few < ALIKE => sets.extend(members.iter().map(|one| vec![one.clone()])),
                _ => sets.push(members.clone()),
            }
        }
        sets.sort_by_key(|members| Reverse(members.len()));
        if sets.len() > MOST_HOSTS {
            let rest = sets.split_off(MOST_HOSTS - 1).concat();
            sets.push(rest);
        }
        found.extend(sets.into_iter().map(|members| (members[0].clone(), members)));
    }
    found
}

/// Leaves out the file systems with least to do.
fn few_file_systems(links: &mut Links, marks: &Marks, left_out: &mut Vec<String>) {
    let mut weights: BTreeMap<Key, (bool, u64, u64)> = BTreeMap::new();
    for ((from, to), joined) in &links.edges {
        if matches!(to, Key::FileSystem(_)) {
            let weight = weights.entry(to.clone()).or_default();
            weight.0 |= marks.of.contains_key(to) || matches!(from, Key::Group(at) if links.groups.all[*at].is_target);
            weight.1 += (joined.waited * 1e3) as u64;
            weight.2 += joined
                .parts
                .iter()
                .map(|((_, how), n)| if how == "write" { 100 * *n as u64 } else { *n as u64 })
                .sum::<u64>();
        }
    }
    let mut order: Vec<_> = weights.into_iter().map(|(key, weight)| (Reverse(weight), key)).collect();
    order.sort();
    let drop: BTreeSet<Key> =
        order.split_off(order.len().min(MOST_FILE_SYSTEMS)).into_iter().map(|(_, key)| key).collect();
    if !drop.is_empty() {
        left_out.push(format!(
            "{} with fewer open files.",
            format::plural(drop.len() as u64, "file system", "file systems")
        ));
    }
    links.edges.retain(|(from, to), _| !drop.contains(from) && !drop.contains(to));
}
