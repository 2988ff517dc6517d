//! Pressure stall information, with what kernel threads and friday waited taken out where the ledger allows it.

use crate::{
    Evidence,
    counter::Growth,
    lost::{Lost, full_ledger},
};
use observe::{Observed, Ratio, Recording, TimeClass, catalog};
use std::time::Duration;

/// The part of the time in which tasks were stalled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Stall {
    /// Ordinary processes' part, at most.
    pub(crate) share: Ratio,
    /// As the kernel counts it, kernel threads and friday included.
    pub(crate) counted: Ratio,
    /// Time between the readings.
    pub(crate) over: Duration,
}

impl Stall {
    /// Of a resource, as `/proc/pressure` counts it.
    ///
    /// # Errors
    /// The reason why there is no pressure information.
    pub(crate) fn counted(rec: &Recording, resource: &str, kind: &str) -> Observed<Self> {
        let growth = Growth::find(rec, &catalog::PRESSURE, &[("resource", resource), ("kind", kind)])?;
        Ok(Stall { share: growth.share(), counted: growth.share(), over: growth.over })
    }

    /// No more than ordinary processes lost to these classes in all: the kernel counts its own threads and friday too.
    #[must_use]
    pub(crate) fn at_most(mut self, rec: &Recording, is: impl Fn(TimeClass) -> bool) -> Self {
        if let (Ok(()), Ok(lost)) = (full_ledger(rec), Lost::to(rec, is)) {
            self.share = Ratio(self.share.0.min(lost.of_window().0));
        }
        self
    }

    /// `12 % of 20.0 s`, with the kernel's own count where that differs.
    pub(crate) fn text(&self) -> String {
        let own = format!("{} of {:.1} s", self.share, self.over.as_secs_f64());
        if self.share == self.counted {
            return own;
        }
        format!("at most {own} ({} with kernel threads and friday)", self.counted)
    }

    /// The number behind it.
    pub(crate) fn evidence(&self, resource: &str, kind: &str, threshold: Ratio) -> Evidence {
        Evidence::new(format!("/proc/pressure/{resource} {kind}"), self.counted.0 * 100.0, "%")
            .against(format!("> {threshold}"))
            .at("recording/series.parquet")
    }
}
