//! A root cause with its victim, its culprit, what it costs and what speaks for it.

use checks::Evidence;
use observe::Ratio;
use serde::{Deserialize, Serialize};

/// How sure a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// A correlation or a threshold alone.
    Possible,
    /// The time is measured and the mechanism is seen.
    Likely,
    /// An experiment moved the victim.
    Confirmed,
}

/// What a finding's share rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShareIs {
    /// From the critical path: what would be gained.
    Estimate,
    /// From the ledger alone: an upper bound.
    AtMost,
}

/// Somebody or something: a process, a cgroup, a function, a device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Party {
    /// `process`, `thread`, `cgroup`, `function`, `syscall`, `device`, `file` …
    pub kind: String,
    /// The process id, where it is one.
    pub pid: Option<u32>,
    /// Its name.
    pub name: String,
    /// What else identifies it: arguments, the setting, the code path in a word.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
}

/// A root cause.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// 1 is the one that costs the victim most.
    pub rank: u32,
    /// Cause id, such as `cpu.throttled`.
    pub cause: String,
    /// How sure.
    pub confidence: Confidence,
    /// Part of the victim's time that goes away without the cause, 0 to 1.
    pub share: Ratio,
    /// What the share rests on.
    pub share_is: ShareIs,
    /// Who suffers.
    pub victim: Party,
    /// Who or what causes it.
    pub culprit: Party,
    /// Who, what, how much, in units: one or two sentences.
    pub summary: String,
    /// The numbers.
    pub evidence: Vec<Evidence>,
    /// Code path, outermost first; empty when none is known.
    pub codepath: Vec<String>,
    /// What to do next.
    pub next: Vec<String>,
    /// What was tried, and the measured effect.
    pub experiment: Option<String>,
}

/// What a run ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Conclusion {
    /// At least one finding is likely or confirmed.
    Found,
    /// There are only possible findings.
    Suspected,
    /// The tests ran and none is bad.
    Healthy,
    /// The target waits for work that nobody sends.
    Idle,
    /// Too much is untested to say.
    Unknown,
}

/// Something ruled out, with the reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Eliminated {
    /// The component or cause.
    pub id: String,
    /// Why it is not it.
    pub why: String,
    /// The numbers.
    pub evidence: Vec<Evidence>,
}

/// Something that could not be seen, with the reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Untested {
    /// The component or cause.
    pub id: String,
    /// Why not.
    pub why: String,
}
