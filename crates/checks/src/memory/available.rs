//! # Is there memory left for programs?
//!
//! **Measures** available memory: what programs can still get without swapping; the page cache counts as available.
//! **Matters** because below it lie reclaim, swapping and kills.
//! **Misleads** on big machines, where a tenth is a lot, and when free memory is read instead: a full page cache is
//! health.
//! **Confirm** by relaxing the limit of the group that is short (`--allow change`).

use crate::{Check, Evidence, Light, Verdict, counter::find, memory::felt};
use observe::{Absent, Bytes, Observed, Ratio, Recording, catalog};

/// Stands in the registry.
pub const CHECK: Check = Check {
    id: "memory.available",
    group: "memory",
    question: "Is there memory left for programs?",
    source: include_str!("available.rs"),
    judge,
};

/// Netdata, awesome-prometheus-alerts: available part of all memory.
const MAYBE: Ratio = Ratio(0.10);

fn judge(rec: &Recording) -> Observed<Verdict> {
    let available = find(rec, &catalog::MEMORY, &[("state", "available")])?;
    let total = find(rec, &catalog::MEMORY, &[("state", "total")])?.last();
    let readings = available.points.len();
    if readings == 0 || total <= 0.0 {
        return Err(Absent::Failed("memory was not read".into()));
    }
    let part = |value: f64| Ratio::of_counts(value, total);
    let short = available.points.iter().filter(|point| part(point.value) < MAYBE).count();
    let lowest = available.points.iter().map(|point| point.value).fold(f64::INFINITY, f64::min);
    let last = available.last();
    // A dip is no shortage.
    let is_short = short * 2 >= readings;
    let felt = if is_short { felt(rec) } else { None };
    let light = match (is_short, &felt) {
        (false, _) => Light::Good,
        (true, None) => Light::Maybe,
        (true, Some(_)) => Light::Bad,
    };
    let mut why = format!(
        "{} of {} available ({}), lowest {}, below {MAYBE} in {short} of {readings} readings",
        Bytes(last as u64),
        Bytes(total as u64),
        part(last),
        part(lowest),
    );
    if let Some(felt) = felt {
        why += &format!("; {felt}");
    }
    let evidence = Evidence::new("/proc/meminfo MemAvailable", part(last).0 * 100.0, "%").against(format!("< {MAYBE}"));
    Ok(Verdict { light, why, evidence: vec![evidence.at("recording/series.parquet")] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, light};

    #[test]
    fn boundaries() {
        assert_eq!(light(&CHECK, &Machine::new().memory(&[0.11])), Light::Good);
        assert_eq!(light(&CHECK, &Machine::new().memory(&[0.10])), Light::Good);
        assert_eq!(light(&CHECK, &Machine::new().memory(&[0.09])), Light::Maybe);
        assert_eq!(light(&CHECK, &Machine::new().memory(&[0.5, 0.09, 0.5])), Light::Good, "a dip");
        assert_eq!(light(&CHECK, &Machine::new().memory(&[0.5, 0.09])), Light::Maybe);
    }

    #[test]
    fn bad_when_somebody_is_stalled() {
        let short = |part| Machine::new().memory(&[0.05]).pressure("memory", "some", part);
        assert_eq!(light(&CHECK, &short(0.10)), Light::Maybe);
        assert_eq!(light(&CHECK, &short(0.11)), Light::Bad);
        let plenty = Machine::new().memory(&[0.5]).pressure("memory", "some", 0.5);
        assert_eq!(light(&CHECK, &plenty), Light::Good, "another check's question");
    }
}
