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
use observe::{Observed, Recording, catalog};

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
    drawn.unseen = checks::unseen_in_diagram(recording)?;
    Ok(drawn)
}

#[cfg(test)]
mod tests;
