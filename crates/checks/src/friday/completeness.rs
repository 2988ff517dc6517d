//! # Did friday see everything?
//!
//! **Measures** events, samples and table rows that were dropped, against all that its programs handled; and whether
//! the ledger adds up to the wall time of the threads.
//! **Matters** because every other answer rests on it.
//! **Misleads** when what was dropped is of one kind only: the loss is then larger there than its share says.
//! **Confirm** by running again with a named target: less is then recorded.

use crate::{Check, Evidence, Light, Verdict, lost::full_ledger};
use observe::{Absent, Observed, Ratio, Recording, TimeClass, catalog};
use std::time::Duration;

/// Stands in the registry.
pub const CHECK: Check = Check {
    id: "friday.completeness",
    group: "friday",
    question: "Did friday see everything?",
    source: include_str!("completeness.rs"),
    judge,
};

/// ours: one in a thousand moves no share that is worth saying. Part of the runs of friday's programs.
const LOST: Ratio = Ratio(0.001);

/// ours: what the ledger is built to keep. Part of the threads' wall time.
const UNBALANCED: Ratio = Ratio(0.01);

/// Never `bad`: incomplete data says nothing against the machine.
fn judge(rec: &Recording) -> Observed<Verdict> {
    full_ledger(rec)?;
    let rows = rec.get(&catalog::THREAD_TIME)?;
    let wall: Duration = rows.iter().map(|row| row.wall).sum();
    if wall.is_zero() {
        return Err(Absent::Failed("the ledger holds no thread".into()));
    }
    let off: Duration = rows.iter().map(|row| row.wall.abs_diff(row.classes.total())).sum();
    let unknown: Duration = rows.iter().map(|row| row.classes[TimeClass::BlockedUnknown]).sum();
    let lost = rec.cost.lost_events;
    // Runs are counted for a part of the window only.
    let counted: u64 = rec.cost.programs.iter().map(|program| program.runs).sum();
    let runs =
        Ratio::of_counts(counted as f64 * rec.window.length.as_secs_f64(), rec.cost.programs_measured.as_secs_f64());
    let runs = runs.0 as u64;
    let (part, unbalanced) = (Ratio::of_counts(lost as f64, runs as f64), Ratio::of(off, wall));
    let incomplete = if runs == 0 { lost > 0 } else { part > LOST };
    let light = if incomplete || unbalanced > UNBALANCED { Light::Maybe } else { Light::Good };
    let of = if runs == 0 { "an unknown number".to_owned() } else { format!("about {runs}") };
    let why = format!(
        "{lost} events lost of {of}; the ledger of {} threads is {unbalanced} off their wall time, {} of which is \
         blocked for unknown reasons",
        rows.len(),
        Ratio::of(unknown, wall),
    );
    let mut evidence = vec![Evidence::new("friday: events lost", lost as f64, "events")];
    if runs > 0 {
        evidence[0] = evidence[0].clone().against(format!("> {LOST} of {runs}"));
    }
    evidence.push(
        Evidence::new("friday: ledger against wall time", unbalanced.0 * 100.0, "%")
            .against(format!("> {UNBALANCED}"))
            .at("recording/ledger.parquet"),
    );
    Ok(Verdict { light, why, evidence })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, light};

    fn lost(lost: u64, runs: u64) -> Machine {
        let mut machine = Machine::new().thread(7, "api", &[]);
        machine.rec.cost.lost_events = lost;
        if runs > 0 {
            machine.rec.cost.programs_measured = machine.rec.window.length;
            machine.rec.cost.programs =
                vec![observe::ProgramCost { name: "sched_switch".into(), ns_per_run: 200, runs }];
        }
        machine
    }

    #[test]
    fn boundaries() {
        assert_eq!(light(&CHECK, &lost(0, 0)), Light::Good);
        assert_eq!(light(&CHECK, &lost(1, 0)), Light::Maybe);
        assert_eq!(light(&CHECK, &lost(10, 10_000)), Light::Good);
        assert_eq!(light(&CHECK, &lost(11, 10_000)), Light::Maybe);
    }

    #[test]
    fn a_ledger_that_does_not_add_up() {
        let times = |seconds| Machine::new().thread(7, "api", &[(TimeClass::RunningUser, seconds)]);
        let off = |seconds: f64| {
            let mut rows = times(1.0).rec.get(&catalog::THREAD_TIME).unwrap().to_vec();
            rows[0].wall = Duration::from_secs_f64(seconds);
            let mut machine = Machine::new();
            machine.rec.set(&catalog::THREAD_TIME, Ok(rows));
            light(&CHECK, &machine)
        };
        assert_eq!([off(9.9), off(10.0), off(10.11)], [Light::Maybe, Light::Good, Light::Maybe]);
        assert_eq!(off(10.1), Light::Good);
    }

    #[test]
    fn a_coarse_ledger_is_untested() {
        let coarse = lost(0, 0).counter(&catalog::COARSE_LEDGER, &[], 1.0);
        assert_eq!(light(&CHECK, &coarse), Light::Untested);
    }
}
