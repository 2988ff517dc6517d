//! # Must programs move memory about before they get any?
//!
//! **Measures** the time in which processes themselves compacted memory, to make free blocks that are large enough.
//! **Matters** because a program that asked for a huge page then copies thousands of small ones first.
//! **Misleads** when something big starts on a machine that has been up for long.
//! **Confirm** by turning defragmentation for huge pages off for 30 seconds (`--allow change`).

use crate::{
    Check, Evidence, Light, Verdict,
    memory::{SOME_STALL, reclaiming},
};
use observe::{Observed, Recording};

/// Stands in the registry.
pub const CHECK: Check = Check {
    id: "memory.compaction",
    group: "memory",
    question: "Must programs move memory about before they get any?",
    source: include_str!("compaction.rs"),
    judge,
};

fn judge(rec: &Recording) -> Observed<Verdict> {
    let compacting = reclaiming(rec, "compaction")?;
    let part = compacting.lost.of_window();
    let felt = compacting.lost.felt();
    let light = match felt {
        Some(_) => Light::Bad,
        None if part > SOME_STALL => Light::Maybe,
        None => Light::Good,
    };
    let mut why = format!("{}, {} of the window", compacting.text("compacted memory"), part);
    if let Some(loss) = felt {
        why += &format!("; {}", loss.text());
    }
    let evidence = Evidence::new("mm_compaction_begin to mm_compaction_end", part.0 * 100.0, "%")
        .against(format!("> {SOME_STALL}"))
        .at("recording/histograms.parquet");
    Ok(Verdict { light, why, evidence: vec![evidence] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, light};
    use observe::{TimeClass, catalog};

    fn compacting(ran: f64, ms: f64) -> Machine {
        let labels = [("pid", "7"), ("kind", "compaction"), ("cgroup", "/")];
        Machine::new().thread(7, "api", &[(TimeClass::RunningKernel, ran)]).histogram(
            &catalog::RECLAIM_TIME,
            &labels,
            10,
            ms,
        )
    }

    #[test]
    fn boundaries() {
        assert_eq!(light(&CHECK, &compacting(5.0, 19.0)), Light::Good);
        assert_eq!(light(&CHECK, &compacting(5.0, 20.0)), Light::Good);
        assert_eq!(light(&CHECK, &compacting(5.0, 21.0)), Light::Maybe);
        assert_eq!(light(&CHECK, &compacting(5.0, 74.0)), Light::Maybe);
        assert_eq!(light(&CHECK, &compacting(5.0, 75.0)), Light::Bad);
        assert_eq!(light(&CHECK, &compacting(5.0, 75.0).friday(7)), Light::Good);
    }

    #[test]
    fn other_kinds_do_not_count_and_absence_is_no_health() {
        let other = Machine::new().thread(7, "api", &[(TimeClass::RunningKernel, 5.0)]).histogram(
            &catalog::RECLAIM_TIME,
            &[("pid", "7"), ("kind", "direct")],
            10,
            100.0,
        );
        assert_eq!(light(&CHECK, &other), Light::Good);
        assert_eq!(light(&CHECK, &Machine::new()), Light::Untested);
    }
}
