//! # Must programs free memory before they get any?
//!
//! **Measures** direct reclaim: allocations that found no free page and had to make one, by the second, and the time
//! that took.
//! **Matters** because it turns an allocation into a walk over page lists, or into a disk write.
//! **Misleads** when it is a handful under a group's own limit, or at the start of something big.
//! **Confirm** by turning defragmentation for huge pages off for 30 seconds (`--allow change`).

use crate::{
    Check, Evidence, Light, Verdict,
    memory::{felt, paging, reclaiming},
};
use observe::{Observed, Recording};

/// Stands in the registry.
pub const CHECK: Check = Check {
    id: "memory.direct_reclaim",
    group: "memory",
    question: "Must programs free memory before they get any?",
    source: include_str!("direct_reclaim.rs"),
    judge,
};

/// ours: nobody publishes a band; a machine whose background reclaim keeps up has none at all. Stalls a second.
const MAYBE: f64 = 1.0;

fn judge(rec: &Recording) -> Observed<Verdict> {
    let stalls = paging(rec, "direct_reclaim")?;
    let measured = reclaiming(rec, "direct").ok();
    // Measured time says whom it hit; without it, only that memory is short and somebody waits for it.
    let felt = match &measured {
        _ if stalls.rate() <= MAYBE => None,
        Some(reclaiming) => reclaiming.lost.felt().map(|loss| loss.text()),
        None => felt(rec),
    };
    let light = match &felt {
        Some(_) => Light::Bad,
        None if stalls.rate() > MAYBE => Light::Maybe,
        None => Light::Good,
    };
    let seconds = stalls.over.as_secs_f64();
    let mut why = format!("{:.0} direct reclaims in {seconds:.1} s ({:.1} a second)", stalls.by, stalls.rate());
    if let Some(reclaiming) = measured.filter(|reclaiming| reclaiming.count > 0) {
        why += &format!("; {}", reclaiming.text("made memory free themselves"));
    }
    if let Some(felt) = felt {
        why += &format!("; {felt}");
    }
    let evidence = Evidence::new("/proc/vmstat allocstall", stalls.rate(), "stalls/s").against(format!("> {MAYBE}/s"));
    Ok(Verdict { light, why, evidence: vec![evidence.at("recording/series.parquet")] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, light};
    use observe::{TimeClass, catalog};

    #[test]
    fn measured_time_says_whom_it_hit() {
        let reclaiming = |ms| {
            let machine = Machine::new().paging("direct_reclaim", 11.0).thread(
                7,
                "api",
                &[(TimeClass::RunningKernel, 5.0), (TimeClass::BlockedMemory, 2.0)],
            );
            machine.histogram(&catalog::RECLAIM_TIME, &[("pid", "7"), ("kind", "direct")], 10, ms)
        };
        assert_eq!(light(&CHECK, &reclaiming(104.0)), Light::Maybe, "it was blocked on memory for another reason");
        assert_eq!(light(&CHECK, &reclaiming(105.0)), Light::Bad);
        assert!(CHECK.run(&reclaiming(105.0).rec).why.contains("1 process made memory free themselves 10 times"));
    }

    #[test]
    fn boundaries() {
        let stalls = |count| Machine::new().paging("direct_reclaim", count);
        assert_eq!(light(&CHECK, &stalls(9.0)), Light::Good);
        assert_eq!(light(&CHECK, &stalls(10.0)), Light::Good);
        assert_eq!(light(&CHECK, &stalls(11.0)), Light::Maybe);
        let times = [(TimeClass::RunningUser, 5.0), (TimeClass::BlockedMemory, 2.0)];
        assert_eq!(light(&CHECK, &stalls(11.0).thread(7, "api", &times)), Light::Bad);
        assert_eq!(light(&CHECK, &stalls(9.0).thread(7, "api", &times)), Light::Good);
    }
}
