//! # For how much of the time is somebody stalled on memory?
//!
//! **Measures** pressure stall information of memory: the part of the time in which at least one task reclaimed,
//! swapped in, or waited for a page that had just been evicted.
//! **Matters** because it is the stall itself, whatever the amounts say.
//! **Misleads** when only the background reclaimer (kswapd) works: it is counted too, and nobody waits for it.
//! **Confirm** by relaxing the limit of the group that is short (`--allow change`).

use crate::{
    Check, Light, Verdict,
    memory::{SOME_STALL, STALLED, stalled},
};
use observe::{Observed, Recording};

/// Stands in the registry.
pub const CHECK: Check = Check {
    id: "memory.pressure",
    group: "memory",
    question: "For how much of the time is somebody stalled on memory?",
    source: include_str!("pressure.rs"),
    judge,
};

fn judge(rec: &Recording) -> Observed<Verdict> {
    let stall = stalled(rec)?;
    let light = match stall.share {
        share if share > STALLED => Light::Bad,
        share if share > SOME_STALL => Light::Maybe,
        _ => Light::Good,
    };
    let why = format!("somebody was stalled on memory {}", stall.text());
    Ok(Verdict { light, why, evidence: vec![stall.evidence("memory", "some", SOME_STALL)] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, light};
    use observe::TimeClass;

    #[test]
    fn boundaries() {
        let stalled = |part| light(&CHECK, &Machine::new().pressure("memory", "some", part));
        assert_eq!([stalled(0.01), stalled(0.02), stalled(0.03)], [Light::Good, Light::Good, Light::Maybe]);
        assert_eq!([stalled(0.09), stalled(0.10), stalled(0.11)], [Light::Maybe, Light::Maybe, Light::Bad]);
    }

    #[test]
    fn reclaim_in_the_background_hurts_nobody() {
        let machine = |reclaims| {
            Machine::new().pressure("memory", "some", 0.3).paging("direct_reclaim", reclaims).thread(
                7,
                "api",
                &[(TimeClass::RunningKernel, 5.0)],
            )
        };
        assert_eq!(light(&CHECK, &machine(0.0)), Light::Good);
        assert_eq!(light(&CHECK, &machine(1.0)), Light::Bad);
    }
}
