//! The ledger without BPF: what `/proc/PID/task/TID/schedstat` tells of each thread, for systems that refuse the rest.

use crate::roots::Roots;
use observe::{ClassTimes, Labels, Pid, Point, Recording, Series, Target, ThreadTime, Tid, TimeClass, catalog};
use std::{collections::HashMap, fs, time::Duration};

/// Running and runnable time of threads at one moment.
pub(crate) struct Totals {
    by_thread: HashMap<(u32, u32), (Duration, Duration)>,
}

impl Totals {
    /// Reads the threads of the target, or of every process when none is named.
    pub fn read(roots: &Roots, target: &Target) -> Self {
        let pids: Vec<u32> = if target.is_named() {
            target.members.iter().map(|pid| pid.0).collect()
        } else {
            let dir = fs::read_dir(&roots.proc).into_iter().flatten().flatten();
            dir.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
        };
        let mut by_thread = HashMap::new();
        for pid in pids.into_iter().filter(|pid| *pid != std::process::id()) {
            let tasks = fs::read_dir(roots.proc.join(format!("{pid}/task"))).into_iter().flatten().flatten();
            for tid in tasks.filter_map(|entry| entry.file_name().to_str()?.parse().ok()) {
                if let Some(times) = read_thread(roots, pid, tid) {
                    by_thread.insert((pid, tid), times);
                }
            }
        }
        Totals { by_thread }
    }

    /// Adds a coarse ledger: running (user and kernel together), runnable, and blocked for reasons unknown.
    pub fn finish(self, roots: &Roots, target: &Target, length: Duration, into: &mut Recording) {
        let after = Totals::read(roots, target);
        let mut ledger = Vec::new();
        for ((pid, tid), (running, runnable)) in &after.by_thread {
            let Some((running_before, runnable_before)) = self.by_thread.get(&(*pid, *tid)) else { continue };
            let running = running.saturating_sub(*running_before).min(length);
            let runnable = runnable.saturating_sub(*runnable_before).min(length - running);
            let mut classes = ClassTimes::default();
            classes.add(TimeClass::RunningUser, running);
            classes.add(TimeClass::RunnableBusy, runnable);
            classes.add(TimeClass::BlockedUnknown, length - running - runnable);
            let name = fs::read_to_string(roots.proc.join(format!("{pid}/task/{tid}/comm"))).unwrap_or_default();
            ledger.push(ThreadTime {
                pid: Pid(*pid),
                tid: Tid(*tid),
                name: name.trim_end().to_owned(),
                wall: length,
                classes,
                switches: 0,
            });
        }
        if !ledger.is_empty() {
            into.set(&catalog::THREAD_TIME, Ok(ledger));
            into.push(
                &catalog::COARSE_LEDGER,
                Series { labels: Labels::default(), points: vec![Point { at: length, value: 1.0 }] },
            );
        }
    }
}

/// Time on a CPU and time runnable, from the scheduler's own account.
fn read_thread(roots: &Roots, pid: u32, tid: u32) -> Option<(Duration, Duration)> {
    let line = fs::read_to_string(roots.proc.join(format!("{pid}/task/{tid}/schedstat"))).ok()?;
    let mut fields = line.split_whitespace().map(|f| f.parse().map(Duration::from_nanos));
    Some((fields.next()?.ok()?, fields.next()?.ok()?))
}
