//! What an experiment came to: what was changed, what it did to the victim, with its spread, and what that proves.

use crate::Ratio;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a change should do to the victim if the accusation is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Expect {
    /// It gets faster: what was held back competes with it.
    Helps,
    /// It stops, or gets slower: it depends on what was held back.
    Stops,
}

impl Expect {
    /// The opposite.
    pub fn other(self) -> Self {
        match self {
            Expect::Helps => Expect::Stops,
            Expect::Stops => Expect::Helps,
        }
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Expect::Helps => "helps",
            Expect::Stops => "stops",
        })
    }
}

/// What an experiment proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The change moved the victim the expected way, beyond what it does by itself.
    Confirmed,
    /// It did not, and would have been seen.
    Refuted,
    /// The victim varies too much by itself, or there was too little of it to measure.
    Unclear,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Confirmed => "confirmed",
            Verdict::Refuted => "refuted",
            Verdict::Unclear => "unclear",
        })
    }
}

/// One measure of the victim in every phase of a trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// What is measured, such as `time for the same work`.
    pub name: String,
    /// Its unit, in UCUM notation.
    pub unit: String,
    /// More of it is better for the victim.
    pub more_is_better: bool,
    /// In the phases without the change, in their order.
    pub without: Vec<f64>,
    /// In the phases with it.
    pub with: Vec<f64>,
    /// By which part it changed: the median over rounds of `with` against the mean of the two phases beside it.
    pub effect: Ratio,
    /// The smallest and the largest of the rounds' effects.
    pub from: Ratio,
    /// See `from`.
    pub to: Ratio,
    /// How far the phases without the change are apart, as a part of their median: what the victim does by itself.
    pub spread: Ratio,
    /// How often chance alone orders the phases like this or more so (exact one-sided rank-sum test, in the direction in
    /// which it went).
    pub p: f64,
}

/// How the victim answers to its culprit being slowed by so much.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dose {
    /// The part of the time for which the culprit was held, and the measure meanwhile as a part of its median without.
    pub points: Vec<(Ratio, f64)>,
    /// By which part the measure changes when the culprit is held all the time, by least squares.
    pub slope: f64,
    /// 95 % interval of the slope.
    pub from: f64,
    /// See `from`.
    pub to: f64,
}

/// A trial with a control.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Experiment {
    /// What kind of change: `freeze`, `weight`, `sysctl` …
    pub kind: String,
    /// What was done, to whom, with what.
    pub about: String,
    /// The cause that it was to prove; empty where somebody tried by hand.
    pub cause: String,
    /// Who was watched.
    pub victim: u32,
    /// To whom it was done; `None` for a setting.
    pub culprit: Option<u32>,
    /// What was expected; `None` where nobody said.
    pub expect: Option<Expect>,
    /// What it proves.
    pub verdict: Verdict,
    /// One or two sentences: what was tried, what it did, with its spread.
    pub said: String,
    /// What the verdict rests on.
    pub measure: Option<Measured>,
    /// Other measures of the victim, which agree or do not.
    pub beside: Vec<Measured>,
    /// The answer by dose, where the culprit was only slowed.
    pub dose: Option<Dose>,
    /// What became of each change afterwards, and what else is to be known.
    pub notes: Vec<String>,
}
