//! # Do threads wait for locks?
//!
//! **Measures** time blocked on user-space and kernel locks, over all processes.
//! **Matters** because one thread's pause becomes everybody's, and more threads make it worse.
//! **Misleads** when a lock is held to say "I am the leader": waiting for it is then idleness. Locks that a program
//! spins on, or builds without the kernel's help, are not seen here.
//! **Confirm** by halving the threads (`--allow disrupt`).

use crate::{Check, Evidence, Light, Verdict, lost::Lost};
use observe::{Observed, Ratio, Recording, TimeClass, catalog};

/// Stands in the registry.
pub const CHECK: Check = Check {
    id: "locks.waits",
    group: "locks",
    question: "Do threads wait for locks?",
    source: include_str!("waits.rs"),
    judge,
};

/// ours: nobody publishes a band; a twentieth of what a process wanted is worth saying.
const MAYBE: Ratio = Ratio(0.05);

/// ours: fewer waits than this may be a place in a queue that is taken on purpose.
const MIN_WAITS: u64 = 10;

fn judge(rec: &Recording) -> Observed<Verdict> {
    let is_lock = |class| matches!(class, TimeClass::BlockedLock | TimeClass::BlockedKernelLock);
    let lost = Lost::to(rec, is_lock)?;
    let rows = rec.get(&catalog::WAITS)?;
    let lost_events = rec.cost.lost_events;
    let count_of = |pid| rows.iter().filter(|w| w.pid == pid && is_lock(w.class)).map(|w| w.count).sum::<u64>();
    // Somebody with many waits comes before somebody with one long one.
    let felt = lost.losses.iter().filter(|loss| loss.is_felt());
    let worst = felt.max_by_key(|loss| (count_of(loss.pid) >= MIN_WAITS, loss.time)).or_else(|| {
        let worth_saying = lost.losses.iter().find(|loss| loss.is_at_least(MAYBE));
        worth_saying.or(lost.losses.first())
    });
    let Some(worst) = worst else {
        let why =
            format!("no process waited for a lock in {:.1} s, {lost_events} lost", rec.window.length.as_secs_f64());
        return Ok(Verdict { light: Light::Good, why, evidence: Vec::new() });
    };
    let count = count_of(worst.pid);
    let light = if worst.is_felt() && count >= MIN_WAITS {
        Light::Bad
    } else if worst.is_at_least(MAYBE) {
        Light::Maybe
    } else {
        Light::Good
    };
    let longest = rows.iter().filter(|w| w.pid == worst.pid && is_lock(w.class)).map(|w| w.longest).max();
    let why = format!(
        "{}; {count} waits, the longest {:.1} ms, {lost_events} lost; the most of {} processes that waited for locks",
        worst.text(),
        longest.unwrap_or_default().as_secs_f64() * 1e3,
        lost.losses.len(),
    );
    let evidence = Evidence::new(format!("ledger: {} blocked on locks", worst.who), worst.time.as_secs_f64(), "s")
        .against(format!(">= {MAYBE} of what it wanted"));
    Ok(Verdict { light, why, evidence: vec![evidence.at("recording/ledger.parquet")] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, light};

    fn lock(pid: u32, ran: f64, waited: f64, count: u64) -> Machine {
        Machine::new().thread(pid, "db", &[(TimeClass::RunningUser, ran), (TimeClass::BlockedLock, waited)]).wait(
            pid,
            TimeClass::BlockedLock,
            "futex:0x10",
            None,
            waited,
            count,
        )
    }

    #[test]
    fn boundaries() {
        assert_eq!(light(&CHECK, &lock(7, 9.51, 0.49, 100)), Light::Good);
        assert_eq!(light(&CHECK, &lock(7, 9.5, 0.5, 100)), Light::Maybe);
        assert_eq!(light(&CHECK, &lock(7, 8.6, 1.4, 100)), Light::Maybe);
        assert_eq!(light(&CHECK, &lock(7, 8.5, 1.5, 100)), Light::Bad);
        assert_eq!(light(&CHECK, &lock(7, 0.0, 0.4, 100)), Light::Good, "hardly did anything");
    }

    #[test]
    fn few_waits_friday_and_kernel_threads_are_never_bad() {
        assert_eq!(light(&CHECK, &lock(7, 0.0, 10.0, 9)), Light::Maybe);
        assert_eq!(light(&CHECK, &lock(7, 0.0, 10.0, 10)), Light::Bad);
        assert_eq!(light(&CHECK, &lock(7, 0.0, 10.0, 99).friday(7)), Light::Good);
        assert_eq!(light(&CHECK, &lock(7, 0.0, 10.0, 99).kernel(7)), Light::Good);
    }

    #[test]
    fn without_waits_there_is_no_answer() {
        let machine = Machine::new().thread(7, "db", &[(TimeClass::BlockedLock, 5.0)]);
        assert_eq!(light(&CHECK, &machine), Light::Untested);
    }
}
