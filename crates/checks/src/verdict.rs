//! What a check says: a light, the number behind it, and what it is compared with.

use serde::{Deserialize, Serialize};

/// A traffic light.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Light {
    /// Measured, and nothing is wrong.
    Good,
    /// A threshold is passed, but nobody's time is known to be hit.
    Maybe,
    /// A threshold is passed and somebody's time is hit, or there is a hard error.
    Bad,
    /// Not measured; the reason is given.
    Untested,
}

/// One number behind a statement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Where it was read: a file and field, a tracepoint, a metric.
    pub source: String,
    /// The value.
    pub value: f64,
    /// Its unit.
    pub unit: String,
    /// What it was compared with; `None` when it was not compared.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub threshold: Option<String>,
    /// Path into the case folder where the data lies.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none", default)]
    pub reference: Option<String>,
}

impl Evidence {
    /// A number with its source and unit.
    pub fn new(source: impl Into<String>, value: f64, unit: impl Into<String>) -> Self {
        Evidence { source: source.into(), value, unit: unit.into(), threshold: None, reference: None }
    }

    /// What the number is compared with.
    #[must_use]
    pub fn against(mut self, threshold: impl Into<String>) -> Self {
        self.threshold = Some(threshold.into());
        self
    }

    /// Where in the case folder the data lies.
    #[must_use]
    pub fn at(mut self, reference: impl Into<String>) -> Self {
        self.reference = Some(reference.into());
        self
    }
}

/// What a check concluded.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The light.
    pub light: Light,
    /// One line with the number, the sample count and what was lost.
    pub why: String,
    /// The numbers.
    pub evidence: Vec<Evidence>,
}

/// A check's verdict under its name, as `days[].tests[]` of the case file holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Test {
    /// The check's id.
    pub id: String,
    /// Where it stands on the board.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The light.
    pub verdict: Light,
    /// One line.
    pub why: String,
    /// The numbers.
    #[serde(default)]
    pub evidence: Vec<Evidence>,
    /// Untested because this machine does not have what is judged; nobody misses it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub not_here: bool,
    /// Commands that would mend it, to be copied as they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remedy: Vec<String>,
}
