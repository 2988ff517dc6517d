//! Whose time is hit: what processes lost to waiting, friday and kernel threads left out.

use observe::{Absent, Observed, Pid, Ratio, Recording, TimeClass, Wait, catalog};
use std::{collections::BTreeMap, time::Duration};

/// ours: from here on a wait is what a person feels: a seventh of the time in which the process wanted something.
pub(crate) const FELT: Ratio = Ratio(0.15);

/// ours: who lost less than this part of the window hardly did anything in it.
pub(crate) const ENOUGH: Ratio = Ratio(0.05);

/// What the processes of the machine lost to some kind of waiting.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Lost {
    /// Who lost most first; nobody who lost nothing.
    pub(crate) losses: Vec<Loss>,
    window: Duration,
}

/// What one process lost.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Loss {
    /// The process.
    pub(crate) pid: Pid,
    /// Its name with its id.
    pub(crate) who: String,
    /// Summed over its threads.
    pub(crate) time: Duration,
    /// Part of the time in which its threads ran or wanted something of this machine: CPU, disk, memory, a lock.
    pub(crate) share: Ratio,
    /// The time, as a part of the window; above 1 when several threads wait at once.
    pub(crate) of_window: Ratio,
}

impl Lost {
    /// To some classes of waiting, by the ledger. Time behind friday does not count.
    ///
    /// # Errors
    /// The reason why there is no ledger that tells these classes apart.
    pub(crate) fn to(rec: &Recording, is: impl Fn(TimeClass) -> bool) -> Observed<Self> {
        if TimeClass::ALL.iter().any(|class| is(*class) && !class.is_runnable() && !class.is_running()) {
            full_ledger(rec)?;
        }
        let mut times: BTreeMap<Pid, Duration> = BTreeMap::new();
        for row in rec.get(&catalog::THREAD_TIME)? {
            *times.entry(row.pid).or_default() += row.classes.sum(&is);
        }
        for wait in rec.get(&catalog::WAITS).into_iter().flatten().filter(|wait| is(wait.class)) {
            if let (true, Some(time)) = (behind_friday(rec, wait), times.get_mut(&wait.pid)) {
                *time = time.saturating_sub(wait.time);
            }
        }
        Self::settle(rec, &times)
    }

    /// To the waits that `is` accepts.
    ///
    /// # Errors
    /// The reason why there is no full ledger, or why waits are missing.
    pub(crate) fn to_waits(rec: &Recording, is: impl Fn(&Wait) -> bool) -> Observed<Self> {
        full_ledger(rec)?;
        let mut times: BTreeMap<Pid, Duration> = BTreeMap::new();
        for wait in rec.get(&catalog::WAITS)?.iter().filter(|wait| is(wait) && !behind_friday(rec, wait)) {
            *times.entry(wait.pid).or_default() += wait.time;
        }
        Self::settle(rec, &times)
    }

    /// Of times that were measured otherwise.
    ///
    /// # Errors
    /// The reason why there is no ledger to compare them with.
    pub(crate) fn of_times(rec: &Recording, times: &BTreeMap<Pid, Duration>) -> Observed<Self> {
        Self::settle(rec, times)
    }

    fn settle(rec: &Recording, times: &BTreeMap<Pid, Duration>) -> Observed<Self> {
        let rows = rec.get(&catalog::THREAD_TIME)?;
        if rows.is_empty() {
            return Err(Absent::Failed("the ledger holds no thread".into()));
        }
        let mut wanted: BTreeMap<Pid, Duration> = BTreeMap::new();
        for row in rows {
            *wanted.entry(row.pid).or_default() += row.classes.sum(wants_something);
        }
        let window = rec.window.length;
        let ordinary = times.iter().filter(|(pid, time)| is_ordinary(rec, **pid) && !time.is_zero());
        let mut losses: Vec<Loss> = ordinary
            .map(|(pid, time)| Loss {
                pid: *pid,
                who: format!("{} (pid {pid})", rec.process_name(*pid)),
                time: *time,
                share: Ratio(Ratio::of(*time, wanted.get(pid).copied().unwrap_or_default()).0.min(1.0)),
                of_window: Ratio::of(*time, window),
            })
            .collect();
        losses.sort_by_key(|loss| (std::cmp::Reverse(loss.time), loss.pid));
        Ok(Lost { losses, window })
    }

    /// Summed over all processes, as a part of the window: no smaller than the part in which anybody waited.
    pub(crate) fn of_window(&self) -> Ratio {
        Ratio::of(self.losses.iter().map(|loss| loss.time).sum(), self.window)
    }

    /// What one process lost.
    pub(crate) fn of(&self, pid: Pid) -> Option<&Loss> {
        self.losses.iter().find(|loss| loss.pid == pid)
    }

    /// Who lost most among those who feel it.
    pub(crate) fn felt(&self) -> Option<&Loss> {
        self.losses.iter().find(|loss| loss.is_felt())
    }
}

impl Loss {
    /// Whether it is enough to be felt.
    pub(crate) fn is_felt(&self) -> bool {
        self.is_at_least(FELT)
    }

    /// Whether it is this part of what the process wanted, and not a trifle.
    pub(crate) fn is_at_least(&self, share: Ratio) -> bool {
        self.share >= share && self.of_window >= ENOUGH
    }

    /// `api (pid 7) lost 3.00 s, 75 % of the time in which it wanted something`.
    pub(crate) fn text(&self) -> String {
        let seconds = self.time.as_secs_f64();
        format!("{} lost {seconds:.2} s, {} of the time in which it wanted something", self.who, self.share)
    }
}

/// Anybody's but friday's and the kernel's own threads.
pub(crate) fn is_ordinary(rec: &Recording, pid: Pid) -> bool {
    pid.0 != 0 && !rec.processes.get(&pid).is_some_and(|p| p.is_friday || p.is_kernel)
}

/// Whether the ledger tells blocked time apart.
///
/// # Errors
/// The reason why it does not.
pub(crate) fn full_ledger(rec: &Recording) -> Observed<()> {
    rec.get(&catalog::THREAD_TIME)?;
    if rec.get(&catalog::COARSE_LEDGER).is_ok_and(|rows| !rows.is_empty()) {
        rec.get(&catalog::WAITS)?;
        return Err(Absent::NotCollected(
            "what threads were blocked on: the ledger is from samples of what threads do".into(),
        ));
    }
    Ok(())
}

fn behind_friday(rec: &Recording, wait: &Wait) -> bool {
    wait.by.is_some_and(|(by, _)| rec.is_friday(by))
}

/// Running, or held up by something of this machine. Waits that may be wanted (timers, peers, other processes) are not.
fn wants_something(class: TimeClass) -> bool {
    use TimeClass::*;
    class.is_running()
        || class.is_runnable()
        || matches!(class, BlockedDisk | BlockedFs | BlockedMemory | BlockedLock | BlockedKernelLock)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Machine;

    #[test]
    fn felt_is_a_share_of_what_was_wanted_and_of_the_window() {
        let felt = |ran: f64, lost: f64| {
            let rec = Machine::new().thread(7, "api", &[(TimeClass::RunningUser, ran), (TimeClass::BlockedLock, lost)]);
            Lost::to(&rec.rec, |class| class == TimeClass::BlockedLock).unwrap().felt().is_some()
        };
        assert!(felt(8.5, 1.5));
        assert!(!felt(8.6, 1.4), "too small a share");
        assert!(felt(0.0, 0.5));
        assert!(!felt(0.0, 0.49), "too small a part of the window");
    }

    #[test]
    fn friday_and_kernel_threads_lose_nothing_and_time_behind_friday_does_not_count() {
        let machine = Machine::new()
            .thread(7, "api", &[(TimeClass::RunnableBusy, 4.0)])
            .wait(7, TimeClass::RunnableBusy, "cpu", Some(8), 3.0, 10)
            .thread(8, "friday", &[(TimeClass::RunnableBusy, 9.0)])
            .friday(8)
            .thread(9, "kworker", &[(TimeClass::RunnableBusy, 9.0)])
            .kernel(9);
        let lost = Lost::to(&machine.rec, TimeClass::is_runnable).unwrap();
        assert_eq!((lost.losses.len(), lost.of_window()), (1, Ratio(0.1)));
    }

    #[test]
    fn a_coarse_ledger_knows_runnable_time_only() {
        let machine = Machine::new().thread(7, "api", &[(TimeClass::RunnableBusy, 4.0)]).counter(
            &catalog::COARSE_LEDGER,
            &[],
            1.0,
        );
        assert!(Lost::to(&machine.rec, TimeClass::is_runnable).is_ok());
        assert!(Lost::to(&machine.rec, |class| class == TimeClass::BlockedDisk).is_err());
    }
}
