//! Time lost to the network, and what it is a part of: where threads poll, the ledger calls it idle.

use crate::{Confidence, Scene, Victim, cause::grade_part};
use observe::Ratio;
use std::time::Duration;

/// What a loss is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// The active time of the victim's threads, which were blocked.
    Threads,
    /// The time of the requests that it serves.
    Requests,
    /// The time in which a program that polls works or waits for answers.
    Exchanges,
    /// The time of the requests that it serves, and that until their answers have arrived.
    Answers,
}

/// A loss.
#[derive(Clone, Copy, Debug)]
pub struct Lost {
    /// How long.
    pub time: Duration,
    /// As a part of the whole.
    pub part: Ratio,
    /// What it is a part of.
    pub of: Of,
}

impl Lost {
    /// A part of a whole.
    pub fn new(time: Duration, whole: Duration, of: Of) -> Self {
        Lost { time, part: Ratio(Ratio::of(time, whole).0.min(1.0)), of }
    }

    /// Adds one of the same whole.
    pub fn add(&mut self, other: Lost) {
        self.time += other.time;
        self.part = Ratio((self.part.0 + other.part.0).min(1.0));
    }

    /// The same part of the victim's active time, by which findings are compared.
    pub fn in_time_of(&self, victim: &Victim) -> Duration {
        victim.active().mul_f64(self.part.0)
    }

    /// `likely` where it matters, `None` where it is not worth saying.
    pub fn grade(&self, scene: &Scene) -> Option<Confidence> {
        grade_part(self.part, Ratio::of(self.time, scene.window()))
    }

    /// `62 % of the time of its requests (12.4 s)`.
    pub fn how_much(&self) -> String {
        let of = match self.of {
            Of::Threads => "its active time",
            Of::Requests => "the time of its requests",
            Of::Exchanges => "the time in which it works or waits for answers",
            Of::Answers => "the time until its answers have arrived",
        };
        format!("{} of {of} ({:.1} s)", self.part, self.time.as_secs_f64())
    }
}
