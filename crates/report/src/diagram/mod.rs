//! The functional diagram: what runs, with whom it talks and on what it rests, drawn from what was seen, with saturation
//! and errors on it where later days know them. Pure: the same recording and conclusions give the same drawing.

mod draw;
mod ends;
mod group;
pub mod layout;
mod links;
mod marks;
mod pick;
mod rank;
mod text;
mod usage;

use case::Document;
use observe::{Absent, Observed, Recording, catalog};
use std::collections::BTreeMap;

pub use links::By;
pub use text::lines;

/// What a box stands for; in the order of the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Hosts that connect to this one.
    Client,
    /// Processes of one service, container or program.
    Service,
    /// Hosts that this one connects to.
    Server,
    /// A file system.
    FileSystem,
    /// A logical volume or RAID.
    Volume,
    /// A disk, or another device that processes have open.
    Device,
    /// A network interface.
    Interface,
    /// The CPUs.
    Cpus,
    /// The memory.
    Memory,
}

/// What is said of a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tone {
    /// Nothing.
    Plain,
    /// A finding says that it loses time.
    Victim,
    /// Perhaps something is wrong with it.
    Maybe,
    /// Something is wrong with it.
    Bad,
}

/// One box. Texts are as the system gave them.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub kind: Kind,
    /// What people call it.
    pub title: String,
    /// What it is made of, and how much of it is used.
    pub lines: Vec<String>,
    /// What later days say about it, the worst first.
    pub marks: Vec<(Tone, String)>,
    /// What was asked about.
    pub is_target: bool,
    /// Column, from the left.
    pub rank: usize,
}

impl Node {
    /// The worst that is said of it.
    pub fn tone(&self) -> Tone {
        self.marks.iter().map(|(tone, _)| *tone).max().unwrap_or(Tone::Plain)
    }
}

/// A line from who asks to who is asked, from who writes to who reads, from what lies on something to that.
#[derive(Clone, Debug, PartialEq)]
pub struct Edge {
    pub from: usize,
    pub to: usize,
    pub by: By,
    /// The other way as well.
    pub both: bool,
    /// In full, for reading.
    pub about: String,
    /// In a word, for drawing; empty when there is nothing to say.
    pub label: String,
    /// Seconds that one end waited for the other, where that is known.
    pub waited: f64,
}

/// The whole drawing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Diagram {
    pub nodes: Vec<Node>,
    pub edges: Vec<Edge>,
    /// What runs and is not drawn.
    pub left_out: Vec<String>,
    /// What could not be seen, and why.
    pub unseen: Vec<String>,
}

/// Draws a recording; with what was concluded from it, where that is there.
pub fn diagram(recording: &Recording, document: Option<&Document>) -> Observed<Diagram> {
    let rows = recording.get(&catalog::TOPOLOGY)?;
    let mut links = links::Links::of(recording, rows);
    links.add_waits(recording);
    let mut drawn = pick::pick(recording, links, document);
    drawn.unseen = unseen(recording)?;
    Ok(drawn)
}

/// In sentences, what is missing.
pub fn unseen(recording: &Recording) -> Observed<Vec<String>> {
    let rows = recording.get(&catalog::TOPOLOGY_UNSEEN)?;
    let counts: BTreeMap<&str, u64> = rows.iter().map(|row| (row.labels.get("what"), row.last() as u64)).collect();
    let say = |(what, count): (&&str, &u64)| {
        let n = crate::format::plural;
        match *what {
            "processes" => format!(
                "The descriptors of {} may not be read: run as root, or with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH.",
                n(*count, "process", "processes")
            ),
            "ends" => {
                format!(
                    "Of {} within the machine, the process at one end is not known.",
                    n(*count, "connection", "connections")
                )
            }
            "namespaces" => {
                format!(
                    "The sockets of {} could not be listed: run as root.",
                    n(*count, "network namespace", "network namespaces")
                )
            }
            "more_processes" => format!("{} more were not looked at.", n(*count, "process", "processes")),
            "more_descriptors" => format!("{} more were not looked at.", n(*count, "descriptor", "descriptors")),
            "more_connections" => format!("{} are too many to list.", n(*count, "connection", "connections")),
            "more_links" => format!("{} more were found and not kept.", n(*count, "link", "links")),
            other => format!("{count} {other}."),
        }
    };
    Ok(counts.iter().filter(|(_, count)| **count > 0).map(say).collect())
}

/// Whether the drawing is complete, or why it is not.
pub fn complete(recording: &Recording) -> Result<(), Vec<String>> {
    let reason = |why: Absent| vec![why.to_string()];
    recording.get(&catalog::TOPOLOGY).map_err(reason)?;
    let unseen = unseen(recording).map_err(reason)?;
    if unseen.is_empty() { Ok(()) } else { Err(unseen) }
}

#[cfg(test)]
mod tests;
