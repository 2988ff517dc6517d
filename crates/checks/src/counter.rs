//! Reading counters: by how much they grew, over what time, or why that is not known.

use observe::{Absent, Observed, Ratio, Recording, Series, catalog::Metric};
use std::time::Duration;

/// The growth of a counter between its first and its last reading.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Growth {
    /// In the metric's unit.
    pub(crate) by: f64,
    /// Time between the two readings.
    pub(crate) over: Duration,
}

impl Growth {
    /// Of one series.
    pub(crate) fn of(row: &Series) -> Observed<Self> {
        let name = row.labels.0.values().cloned().collect::<Vec<_>>().join(" ");
        let (Some(by), Some(first), Some(last)) = (row.increase(), row.points.first(), row.points.last()) else {
            return Err(Absent::Failed(format!("the counter {name} was read only once")));
        };
        let over = last.at.saturating_sub(first.at);
        if over.is_zero() || by < 0.0 {
            return Err(Absent::Failed(format!("the counter {name} went back, or was read twice at once")));
        }
        Ok(Growth { by, over })
    }

    /// Of the one series with these labels.
    pub(crate) fn find(rec: &Recording, metric: &Metric<Series>, labels: &[(&str, &str)]) -> Observed<Self> {
        Self::of(find(rec, metric, labels)?)
    }

    /// By the second.
    pub(crate) fn rate(self) -> f64 {
        self.by / self.over.as_secs_f64()
    }

    /// Of a counter of time: the part of the time between the readings.
    pub(crate) fn share(self) -> Ratio {
        Ratio::of_counts(self.by, self.over.as_secs_f64())
    }
}

/// The one series with these labels.
pub(crate) fn find<'a>(rec: &'a Recording, metric: &Metric<Series>, labels: &[(&str, &str)]) -> Observed<&'a Series> {
    let has = |row: &&Series| labels.iter().all(|(name, value)| row.labels.get(name) == *value);
    rec.get(metric)?.iter().find(has).ok_or_else(|| {
        let wanted: Vec<&str> = labels.iter().map(|(_, value)| *value).collect();
        Absent::Unsupported(format!("{} has no {}", metric.source, wanted.join(" ")))
    })
}
