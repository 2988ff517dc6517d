//! What runs here, with whom it talks and on what it rests: processes, peers, file systems, devices and interfaces, and
//! what joins them. Read once, while the window is open.
//!
//! Cost: about 1 µs for each descriptor that is a socket, 10 µs for one that is a file or a pipe, 20 µs a process, and the
//! kernel's tables of sockets, 3 ms each where memory is large.

mod connections;
mod descriptors;
mod routes;
mod storage;

use crate::roots::Roots;
use connections::Sockets;
use descriptors::Descriptors;
use observe::{Absent, Labels, Pid, Recording, Series, Target, catalog};
use std::{collections::BTreeMap, fmt, time::Duration};

/// ours: what a picture can hold, tenfold.
const MOST_LINKS: usize = 2000;

/// One end of a link, as the recording names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Nothing,
    Process(Pid),
    Peer(String),
    FileSystem(String),
    Device(String),
    Interface(String),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Nothing => Ok(()),
            End::Process(pid) => write!(f, "process:{pid}"),
            End::Peer(name) => write!(f, "peer:{name}"),
            End::FileSystem(name) => write!(f, "filesystem:{name}"),
            End::Device(name) => write!(f, "device:{name}"),
            End::Interface(name) => write!(f, "interface:{name}"),
        }
    }
}

/// What was found, and what was not.
#[derive(Debug, Default)]
struct Links {
    counts: BTreeMap<(End, End, &'static str, String), u64>,
    unseen: BTreeMap<&'static str, u64>,
}

impl Links {
    fn add(&mut self, from: End, to: End, by: &'static str, what: impl Into<String>) {
        self.add_many(from, to, by, what, 1);
    }

    fn add_many(&mut self, from: End, to: End, by: &'static str, what: impl Into<String>, count: u64) {
        let key = (from, to, by, what.into());
        if self.counts.len() >= MOST_LINKS && !self.counts.contains_key(&key) {
            return self.miss("more_links", 1);
        }
        *self.counts.entry(key).or_default() += count;
    }

    /// Adds what only says something about another link: once.
    fn note(&mut self, from: End, to: End, by: &'static str, what: impl Into<String>) {
        let key = (from, to, by, what.into());
        if !self.counts.contains_key(&key) {
            self.add(key.0, key.1, key.2, key.3);
        }
    }

    fn miss(&mut self, what: &'static str, count: u64) {
        if count > 0 {
            *self.unseen.entry(what).or_default() += count;
        }
    }
}

/// Adds what is there now to the recording; the target's links come first where there are too many.
pub fn collect(roots: &Roots, target: &Target, at: Duration, into: &mut Recording) {
    let mut links = Links::default();
    let open = match Descriptors::read(roots, target, &mut links) {
        Ok(open) => open,
        Err(why) => {
            into.set(&catalog::TOPOLOGY, Err(why.clone()));
            into.set(&catalog::TOPOLOGY_UNSEEN, Err(why.clone()));
            return into.set(&catalog::PROCESS_THREADS, Err(why));
        }
    };
    let threads = open
        .threads
        .iter()
        .map(|(pid, threads)| Series::total(Labels::new([("pid", pid.to_string())]), at, *threads as f64));
    into.set(&catalog::PROCESS_THREADS, Ok(threads.collect()));
    finish(Sockets::read(roots, &mut links), &open, roots, links, at, into);
}

fn finish(
    sockets: Result<Sockets, Absent>,
    open: &Descriptors,
    roots: &Roots,
    mut links: Links,
    at: Duration,
    into: &mut Recording,
) {
    match sockets {
        Ok(sockets) => sockets.join(&open.sockets, &mut links),
        Err(_) => links.miss("namespaces", 1),
    }
    open.join(&mut links);
    storage::join(roots, open, &mut links);
    routes::join(roots, &mut links);
    let row = |((from, to, by, what), count): (&(End, End, &str, String), &u64)| {
        let labels =
            [("from", from.to_string()), ("to", to.to_string()), ("by", (*by).to_owned()), ("what", what.clone())];
        Series::total(Labels::new(labels), at, *count as f64)
    };
    into.set(&catalog::TOPOLOGY, Ok(links.counts.iter().map(row).collect()));
    let unseen = links
        .unseen
        .iter()
        .map(|(what, count)| Series::total(Labels::new([("what", (*what).to_owned())]), at, *count as f64));
    into.set(&catalog::TOPOLOGY_UNSEEN, Ok(unseen.collect()));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was found, a line each.
    pub(super) fn lines(links: &Links) -> Vec<String> {
        let line = |((from, to, by, what), count): (&(End, End, &str, String), &u64)| {
            format!("{from} > {to} {by} {what} {count}").replace("  ", " ")
        };
        links.counts.iter().map(line).collect()
    }

    #[test]
    fn more_than_the_most_is_counted_and_what_is_there_still_grows() {
        let mut links = Links::default();
        for pid in 0..MOST_LINKS as u32 + 7 {
            links.add(End::Process(Pid(pid)), End::Nothing, "listens", "");
        }
        links.add(End::Process(Pid(0)), End::Nothing, "listens", "");
        links.note(End::Process(Pid(0)), End::Nothing, "listens", "");
        assert_eq!((links.counts.len(), links.unseen["more_links"]), (MOST_LINKS, 7));
        assert_eq!(links.counts[&(End::Process(Pid(0)), End::Nothing, "listens", String::new())], 2);
    }
}
