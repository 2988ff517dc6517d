//! # For how much of the time does somebody wait for a CPU?
//!
//! **Measures** pressure stall information of the CPU: the part of the time in which at least one task was runnable and
//! not running.
//! **Matters** because it is waiting itself, not a sign of it.
//! **Misleads** when the ones that wait are batch work that may, or are held back by their own group's quota.
//! **Confirm** by giving the victim a CPU of its own for ten seconds (`--allow change`).

use crate::{Check, Light, Verdict, cpu::stalled};
use observe::{Observed, Ratio, Recording};

/// Stands in the registry.
pub const CHECK: Check = Check {
    id: "cpu.pressure",
    group: "cpu",
    question: "For how much of the time does somebody wait for a CPU?",
    source: include_str!("pressure.rs"),
    judge,
};

/// ours: half of what is bad; short bursts on a small machine stay below it.
const MAYBE: Ratio = Ratio(0.25);

/// ours: a rule of thumb for `some avg10` of the CPU: half of the time.
const BAD: Ratio = Ratio(0.50);

fn judge(rec: &Recording) -> Observed<Verdict> {
    let stall = stalled(rec)?;
    let light = match stall.share {
        share if share > BAD => Light::Bad,
        share if share > MAYBE => Light::Maybe,
        _ => Light::Good,
    };
    let why = format!("somebody was runnable and waited for a CPU {}", stall.text());
    Ok(Verdict { light, why, evidence: vec![stall.evidence("cpu", "some", BAD)] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, light};
    use observe::TimeClass;

    #[test]
    fn boundaries() {
        let stalled = |part| light(&CHECK, &Machine::new().pressure("cpu", "some", part));
        assert_eq!([stalled(0.24), stalled(0.25), stalled(0.26)], [Light::Good, Light::Good, Light::Maybe]);
        assert_eq!([stalled(0.49), stalled(0.50), stalled(0.51)], [Light::Maybe, Light::Maybe, Light::Bad]);
    }

    #[test]
    fn what_kernel_threads_and_friday_wait_is_taken_out() {
        let machine = || {
            Machine::new()
                .pressure("cpu", "some", 0.9)
                .thread(8, "friday", &[(TimeClass::RunnableBusy, 9.0)])
                .friday(8)
                .thread(9, "kworker", &[(TimeClass::RunnableBusy, 9.0)])
                .kernel(9)
        };
        assert_eq!(light(&CHECK, &machine()), Light::Good);
        let api = machine().thread(7, "api", &[(TimeClass::RunnableBusy, 6.0)]);
        assert_eq!(light(&CHECK, &api), Light::Bad);
    }
}
