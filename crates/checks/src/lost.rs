//! Whose time is hit: what processes lost to waiting, friday and kernel threads left out.

use observe::{Absent, Observed, Pid, Ratio, Recording, TimeClass, catalog};
use std::{collections::BTreeMap, time::Duration};

/// ours: from here on a wait is what a person feels: a seventh of the time in which the process wanted something.
pub(crate) const FELT: Ratio = Ratio(0.15);

/// ours: a process that lost less than this part of the window hardly did anything in it.
pub(crate) const ENOUGH: Ratio = Ratio(0.05);

/// What the processes of the machine lost to some classes of waiting.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Lost {
    /// Summed over all threads of all processes.
    pub(crate) total: Duration,
    /// Who lost most.
    pub(crate) most: Option<Loss>,
    /// Who lost most among those who feel it: [`FELT`] of what they wanted, [`ENOUGH`] of the window.
    pub(crate) felt: Option<Loss>,
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
}

impl Loss {
    /// `api (pid 7) lost 3.0 s to it, 75 % of the time in which it wanted something`.
    pub(crate) fn text(&self) -> String {
        format!(
            "{} lost {:.2} s to it, {} of the time in which it wanted something",
            self.who,
            self.time.as_secs_f64(),
            self.share
        )
    }
}

/// Anybody's but friday's and the kernel's own threads.
pub(crate) fn is_ordinary(rec: &Recording, pid: Pid) -> bool {
    pid.0 != 0 && !rec.processes.get(&pid).is_some_and(|p| p.is_friday || p.is_kernel)
}

/// `api (pid 7)`.
pub(crate) fn who(rec: &Recording, pid: Pid) -> String {
    format!("{} (pid {pid})", rec.process_name(pid))
}

/// The ledger tells blocked time apart.
///
/// # Errors
/// The reason why it does not.
pub(crate) fn full_ledger(rec: &Recording) -> Observed<()> {
    rec.get(&catalog::THREAD_TIME)?;
    if rec.get(&catalog::COARSE_LEDGER).is_ok() && rec.get(&catalog::WAITS).is_err() {
        return Err(Absent::NotCollected("what threads were blocked on: the ledger is from schedstat alone".into()));
    }
    Ok(())
}

/// What processes lost to some classes of waiting. Time behind friday does not count.
///
/// # Errors
/// The reason why there is no ledger that tells these classes apart.
pub(crate) fn lost(rec: &Recording, is: impl Fn(TimeClass) -> bool) -> Observed<Lost> {
    let rows = rec.get(&catalog::THREAD_TIME)?;
    if TimeClass::ALL.iter().any(|class| is(*class) && !class.is_runnable() && !class.is_running()) {
        full_ledger(rec)?;
    }
    let mut by_process: BTreeMap<Pid, (Duration, Duration)> = BTreeMap::new();
    for row in rows.iter().filter(|row| is_ordinary(rec, row.pid)) {
        let (time, wanted) = by_process.entry(row.pid).or_default();
        *time += row.classes.sum(&is);
        *wanted += row.classes.sum(wants_something);
    }
    for wait in rec.get(&catalog::WAITS).into_iter().flatten().filter(|w| is(w.class)) {
        if wait.by.is_some_and(|(by, _)| rec.is_friday(by))
            && let Some((time, _)) = by_process.get_mut(&wait.pid)
        {
            *time = time.saturating_sub(wait.time);
        }
    }
    let total = by_process.values().map(|(time, _)| *time).sum();
    let losses = || {
        by_process.iter().filter(|(_, (time, _))| !time.is_zero()).map(|(pid, (time, wanted))| Loss {
            pid: *pid,
            who: who(rec, *pid),
            time: *time,
            share: Ratio(Ratio::of(*time, *wanted).0.min(1.0)),
        })
    };
    let feels = |loss: &Loss| loss.share >= FELT && Ratio::of(loss.time, rec.window.length) >= ENOUGH;
    Ok(Lost {
        total,
        most: losses().max_by_key(|loss| loss.time),
        felt: losses().filter(feels).max_by_key(|loss| loss.time),
    })
}

/// Running, or held up by something of this machine. Waits that may be wanted (timers, peers, other processes) are not.
fn wants_something(class: TimeClass) -> bool {
    use TimeClass::*;
    class.is_running()
        || class.is_runnable()
        || matches!(class, BlockedDisk | BlockedFs | BlockedMemory | BlockedLock | BlockedKernelLock)
}
