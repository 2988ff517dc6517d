//! The event window: every time off a CPU, one by one, for a few seconds.

use crate::{Pid, Tid};
use std::time::Duration;

/// What made a thread leave its CPU, or what it did as the event window closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpisodeKind {
    /// It could have gone on.
    Preempted,
    /// It waited for something.
    Blocked,
    /// It did not exist before.
    Born,
    /// It ended.
    Ended,
    /// No episode: it ran as the event window closed, since `on`.
    Running,
}

impl EpisodeKind {
    /// Every kind.
    pub const ALL: [EpisodeKind; 5] =
        [EpisodeKind::Preempted, EpisodeKind::Blocked, EpisodeKind::Born, EpisodeKind::Ended, EpisodeKind::Running];

    /// Its name in stored tables.
    pub fn name(self) -> &'static str {
        match self {
            EpisodeKind::Preempted => "preempted",
            EpisodeKind::Blocked => "blocked",
            EpisodeKind::Born => "born",
            EpisodeKind::Ended => "ended",
            EpisodeKind::Running => "running",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// One time of a thread off the CPUs. Between two of them it runs. Times are since the window (not the event window) began.
#[derive(Clone, Debug, PartialEq)]
pub struct Episode {
    /// The process.
    pub pid: Pid,
    /// The thread.
    pub tid: Tid,
    /// How it began.
    pub kind: EpisodeKind,
    /// When it left the CPU, or was born.
    pub off: Duration,
    /// When it could run again, where it could not; `None`: not before the event window closed.
    pub woken: Option<Duration>,
    /// When it ran again; `None`: not before the event window closed.
    pub on: Option<Duration>,
    /// The CPU on which it ran again.
    pub cpu: u32,
    /// How much of the wait for a CPU its control group was throttled.
    pub throttled: Duration,
    /// How much of it a CPU was idle that it may not use.
    pub pinned: Duration,
    /// Who ended the wait, where it is known and can have done it.
    pub by: Option<(Pid, Tid)>,
    /// What it waited for: a row of `thread.episode.wait`.
    pub wait: Option<u32>,
}
