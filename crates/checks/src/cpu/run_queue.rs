//! # Do runnable threads wait for a CPU?
//!
//! **Measures** the time from wake-up or preemption to running, by process.
//! **Matters** because it adds to every request and no profile shows it.
//! **Misleads** when low-priority batch work waits by design, and when a group's own quota holds it back.
//! **Confirm** by giving the victim a CPU of its own for ten seconds (`--allow change`).

use crate::{
    Check, Evidence, Light, Verdict,
    cpu::for_cpu,
    lost::{Lost, is_ordinary},
};
use observe::{Absent, Histogram, Observed, Pid, Ratio, Recording, catalog};
use std::time::Duration;

/// Stands in the registry.
pub const CHECK: Check = Check {
    id: "cpu.run_queue",
    group: "sched",
    question: "Do runnable threads wait for a CPU?",
    source: include_str!("run_queue.rs"),
    judge,
};

/// ours: half of a 10 ms request budget; waits on a machine with a CPU to spare are tens of microseconds.
const MAYBE_P99: Duration = Duration::from_millis(5);

/// ours: a 99th percentile of fewer waits is one wait.
const MIN_WAITS: u64 = 100;

/// ours: slow wake-ups that cost less than this part of the window are rare as well.
const WORTH: Ratio = Ratio(0.01);

const P99: Ratio = Ratio(0.99);

fn judge(rec: &Recording) -> Observed<Verdict> {
    let rows = rec.get(&catalog::RUN_QUEUE_WAIT)?;
    let of = |h: &Histogram| h.labels.pid().filter(|pid| is_ordinary(rec, *pid));
    let ordinary: Vec<(Pid, &Histogram)> = rows.iter().filter_map(|h| Some((of(h)?, h))).collect();
    let mut all = Histogram::default();
    ordinary.iter().for_each(|(_, h)| all.merge(h));
    let p99 = all.quantile_time(P99).ok_or_else(|| Absent::Failed("no wait for a CPU was recorded".into()))?;
    let lost = Lost::to(rec, for_cpu).ok();
    let mut worst: Option<(Light, Duration, String, Evidence)> = None;
    for (pid, h) in ordinary.iter().filter(|(_, h)| h.count >= MIN_WAITS) {
        let Some(p99) = h.quantile_time(P99).filter(|p99| *p99 >= MAYBE_P99) else { continue };
        let loss = lost.as_ref().and_then(|lost| lost.of(*pid));
        // Without a ledger, its own sum is all there is; with one, time under a quota is not in it.
        let time = match &lost {
            Some(_) => loss.map_or(Duration::ZERO, |loss| loss.time),
            None => Duration::from_nanos(h.sum),
        };
        if Ratio::of(time, rec.window.length) < WORTH {
            continue;
        }
        let light = if loss.is_some_and(|loss| loss.is_felt()) { Light::Bad } else { Light::Maybe };
        if worst.as_ref().is_some_and(|(other, most, ..)| (*other, *most) >= (light, time)) {
            continue;
        }
        let who = format!("{} (pid {pid})", rec.process_name(*pid));
        let what = loss.map_or_else(|| who.clone(), |loss| loss.text());
        let why = format!("p99 wait {:.1} ms over {} waits; {what}", ms(p99), h.count);
        worst = Some((light, time, why, evidence(&who, p99)));
    }
    let (light, why, evidence) = match worst {
        Some((light, _, why, evidence)) => (light, why, evidence),
        None => {
            let why = format!("p99 wait {:.2} ms over {} waits of {} processes", ms(p99), all.count, ordinary.len());
            (Light::Good, why, evidence("all processes", p99))
        }
    };
    Ok(Verdict { light, why: format!("{why}, {} lost", rec.cost.lost_events), evidence: vec![evidence] })
}

fn evidence(who: &str, p99: Duration) -> Evidence {
    Evidence::new(format!("sched_waking to sched_switch, {who}: p99"), ms(p99), "ms")
        .against(format!(">= {} ms", MAYBE_P99.as_millis()))
        .at("recording/histograms.parquet")
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, light};
    use observe::TimeClass;

    fn waits(pid: u32, count: u64, ms: f64) -> Machine {
        Machine::new().histogram(&catalog::RUN_QUEUE_WAIT, &[("pid", &pid.to_string())], count, ms)
    }

    #[test]
    fn long_waits_alone_are_a_maybe() {
        assert_eq!(light(&CHECK, &waits(7, 1000, 4.9)), Light::Good);
        assert_eq!(light(&CHECK, &waits(7, 1000, 5.0)), Light::Maybe);
        assert_eq!(light(&CHECK, &waits(7, 99, 50.0)), Light::Good, "too few");
        assert_eq!(light(&CHECK, &waits(7, 100, 0.9)), Light::Good, "too short, and 0.9 % of the window");
    }

    #[test]
    fn a_process_that_loses_time_makes_it_bad() {
        let api = |lost| waits(7, 1000, 5.0).thread(7, "api", &[(TimeClass::RunningUser, 2.0), (lost, 5.0)]);
        assert_eq!(light(&CHECK, &api(TimeClass::RunnableBusy)), Light::Bad);
        assert_eq!(light(&CHECK, &api(TimeClass::RunnableThrottled)), Light::Good, "that is its quota");
        let mut own = api(TimeClass::RunnableBusy).friday(7);
        assert_eq!(light(&CHECK, &own), Light::Untested, "friday alone");
        own = own.histogram(&catalog::RUN_QUEUE_WAIT, &[("pid", "8")], 1000, 0.1);
        assert_eq!(light(&CHECK, &own), Light::Good);
    }

    #[test]
    fn the_reason_states_number_count_and_loss() {
        let test = CHECK.run(&waits(7, 1000, 8.0).named(7, "api").rec);
        assert!(test.why.contains("p99 wait 8.0 ms over 1000 waits; api (pid 7), 0 lost"), "{}", test.why);
    }
}
