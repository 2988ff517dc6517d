//! # Must programs free memory before they get any?
//!
//! **Measures** direct reclaim: allocations that found no free page and had to make one, by the second.
//! **Matters** because it turns an allocation into a walk over page lists, or into a disk write.
//! **Misleads** when it is a handful under a group's own limit, or at the start of something big.
//! **Confirm** by turning defragmentation for huge pages off for 30 seconds (`--allow change`).

use crate::{
    Check, Evidence, Light, Verdict,
    memory::{felt, paging},
};
use observe::{Observed, Recording};

/// Stands in the registry.
pub const CHECK: Check = Check {
    id: "memory.direct_reclaim",
    component: "memory",
    question: "Must programs free memory before they get any?",
    source: include_str!("direct_reclaim.rs"),
    judge,
};

/// ours: nobody publishes a band; a machine whose background reclaim keeps up has none at all. Stalls a second.
const MAYBE: f64 = 1.0;

fn judge(rec: &Recording) -> Observed<Verdict> {
    let stalls = paging(rec, "direct_reclaim")?;
    let felt = if stalls.rate() > MAYBE { felt(rec) } else { None };
    let light = match &felt {
        Some(_) => Light::Bad,
        None if stalls.rate() > MAYBE => Light::Maybe,
        None => Light::Good,
    };
    let seconds = stalls.over.as_secs_f64();
    let mut why = format!("{:.0} direct reclaims in {seconds:.1} s ({:.1} a second)", stalls.by, stalls.rate());
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
    use observe::TimeClass;

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
