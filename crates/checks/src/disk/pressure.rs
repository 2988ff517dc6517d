//! # For how much of the time does nothing go on but waiting for disks?
//!
//! **Measures** pressure stall information of I/O, `full`: the part of the time in which tasks waited for I/O and none
//! of them could run.
//! **Matters** because that time is lost to everybody, unlike iowait, which any idle CPU beside one reader shows.
//! **Misleads** on a machine with a single reader, such as a backup, that is meant to be bound by its disk; and when
//! kernel threads write back in the background, which is counted too.
//! **Confirm** by limiting the I/O of the process that issues most for ten seconds (`--allow change`).

use crate::{Check, Light, Verdict, stall::Stall};
use observe::{Observed, Ratio, Recording, TimeClass};

/// Stands in the registry.
pub const CHECK: Check = Check {
    id: "disk.pressure",
    group: "block devices",
    question: "For how much of the time does nothing go on but waiting for disks?",
    source: include_str!("pressure.rs"),
    judge,
};

/// ours: a third of what is bad; journal commits of a quiet machine stay below it.
const MAYBE: Ratio = Ratio(0.05);

/// psi-notify: part of the time.
const BAD: Ratio = Ratio(0.15);

fn judge(rec: &Recording) -> Observed<Verdict> {
    use TimeClass::*;
    let waits = |class| matches!(class, BlockedDisk | BlockedFs | BlockedMemory);
    let stall = Stall::counted(rec, "io", "full")?.at_most(rec, waits);
    let light = match stall.share {
        share if share > BAD => Light::Bad,
        share if share > MAYBE => Light::Maybe,
        _ => Light::Good,
    };
    let why = format!("everybody who had work was stalled on I/O {}", stall.text());
    Ok(Verdict { light, why, evidence: vec![stall.evidence("io", "full", BAD)] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, light};

    #[test]
    fn boundaries() {
        let stalled = |part| light(&CHECK, &Machine::new().pressure("io", "full", part));
        assert_eq!([stalled(0.04), stalled(0.05), stalled(0.06)], [Light::Good, Light::Good, Light::Maybe]);
        assert_eq!([stalled(0.14), stalled(0.15), stalled(0.16)], [Light::Maybe, Light::Maybe, Light::Bad]);
    }

    #[test]
    fn writeback_in_the_background_hurts_nobody() {
        let machine = |time| {
            Machine::new()
                .pressure("io", "full", 0.9)
                .thread(9, "jbd2/vda1-8", &[(TimeClass::BlockedDisk, 9.0)])
                .kernel(9)
                .thread(7, "db", &[(TimeClass::BlockedFs, time)])
        };
        assert_eq!(light(&CHECK, &machine(0.1)), Light::Good);
        assert_eq!(light(&CHECK, &machine(5.0)), Light::Bad);
    }
}
