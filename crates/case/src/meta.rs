//! `recording/meta.json`: what of a recording is not a table, and why tables are missing.

use crate::shapes::Stored;
use observe::{Absent, Cost, Host, Observed, Recording, Target, Window};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

/// The schema of the recording that this version writes.
pub const SCHEMA: &str = "friday.recording/1";

/// The file's contents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    /// [`SCHEMA`].
    pub schema: String,
    /// The machine.
    pub host: Host,
    /// What was asked about.
    pub target: Target,
    /// Begin of the window, nanoseconds since 1970 UTC.
    pub start_ns: i64,
    /// Its length in nanoseconds.
    pub length_ns: u64,
    /// What the looking cost.
    pub cost: Cost,
    /// By table and metric: seen (then its rows are in the table, if it had any), or why not.
    pub metrics: BTreeMap<String, BTreeMap<String, Seen>>,
}

/// Whether a metric was seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// It was, with so many rows.
    Rows(u64),
    /// It was not.
    Absent(Absent),
}

impl Meta {
    /// Of a recording, still without metrics.
    pub fn of(recording: &Recording) -> Self {
        Meta {
            schema: SCHEMA.to_owned(),
            host: recording.host.clone(),
            target: recording.target.clone(),
            start_ns: since_epoch(recording.window.start),
            length_ns: u64::try_from(recording.window.length.as_nanos()).unwrap_or(u64::MAX),
            cost: recording.cost.clone(),
            metrics: BTreeMap::new(),
        }
    }

    /// Notes which metrics of a shape were seen.
    pub fn note<S: Stored>(&mut self, tables: &BTreeMap<String, Observed<Vec<S>>>) {
        let seen = |rows: &Observed<Vec<S>>| match rows {
            Ok(rows) => Seen::Rows(rows.len() as u64),
            Err(why) => Seen::Absent(why.clone()),
        };
        let noted = tables.iter().map(|(name, rows)| (name.clone(), seen(rows))).collect();
        self.metrics.insert(S::NAME.to_owned(), noted);
    }

    /// The recording without its tables.
    pub fn recording(&self) -> Recording {
        let start = u64::try_from(self.start_ns)
            .ok()
            .map_or_else(
                || SystemTime::UNIX_EPOCH.checked_sub(Duration::from_nanos(self.start_ns.unsigned_abs())),
                |ns| SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(ns)),
            )
            .unwrap_or(SystemTime::UNIX_EPOCH);
        let window = Window { start, length: Duration::from_nanos(self.length_ns) };
        let mut recording = Recording::new(self.host.clone(), self.target.clone(), window);
        recording.cost = self.cost.clone();
        recording
    }
}

fn since_epoch(time: SystemTime) -> i64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |ns| -ns),
    }
}
