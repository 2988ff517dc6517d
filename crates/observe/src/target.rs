//! What the user asked about.

use crate::Pid;
use serde::{Deserialize, Serialize};

/// The kinds of target, as `target.kind` in the case file names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetKind {
    /// Nothing was named: the whole machine, and friday chooses the victims.
    System,
    /// One process.
    Process,
    /// Every process of a control group and its children.
    Cgroup,
    /// Every process of a systemd unit.
    Unit,
    /// A command that friday started, with its descendants.
    Command,
}

/// What the user asked about, and which processes that meant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// How it was named.
    pub kind: TargetKind,
    /// The process, where the target is one (or the command's first).
    pub pid: Option<Pid>,
    /// What people call it: the command name, the group's path, the unit.
    pub name: String,
    /// The processes it stood for when the window began or that joined during it; empty for the whole system.
    pub members: Vec<Pid>,
}

impl Target {
    /// The whole machine.
    pub fn system(host: &str) -> Self {
        Target { kind: TargetKind::System, pid: None, name: host.to_owned(), members: Vec::new() }
    }

    /// Whether the user named something, rather than leaving the choice to friday.
    pub fn is_named(&self) -> bool {
        self.kind != TargetKind::System
    }

    /// Whether the process belongs to a named target.
    pub fn contains(&self, pid: Pid) -> bool {
        self.members.contains(&pid)
    }
}
