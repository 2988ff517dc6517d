//! The classes into which the ledger splits every thread's wall time, completely.

use serde::{Deserialize, Serialize};
use std::{ops::Index, time::Duration};

macro_rules! classes {
    ($($variant:ident = $name:literal, $about:literal;)*) => {
        /// One class of a thread's wall time.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum TimeClass {
            $(#[doc = $about] #[serde(rename = $name)] $variant,)*
        }

        impl TimeClass {
            /// Every class, in the order in which people read them.
            pub const ALL: &[TimeClass] = &[$(TimeClass::$variant,)*];

            /// The stable name in ledgers, tables and the case file.
            pub const fn name(self) -> &'static str {
                match self { $(TimeClass::$variant => $name,)* }
            }

            /// What the class means, for people.
            pub const fn about(self) -> &'static str {
                match self { $(TimeClass::$variant => $about,)* }
            }
        }
    };
}

classes! {
    RunningUser = "running.user", "running its own code";
    RunningKernel = "running.kernel", "running in the kernel on its own behalf";
    RunningInterrupted = "running.interrupted", "on a CPU that served interrupts meanwhile";
    RunningStolen = "running.stolen", "on a CPU that the hypervisor gave to somebody else meanwhile";
    RunnableBusy = "runnable.busy", "runnable, waiting for a CPU that was busy";
    RunnableOutranked = "runnable.outranked", "runnable, while threads that the scheduler prefers ran";
    RunnablePinned = "runnable.pinned", "runnable, waiting for its CPUs while others were idle";
    RunnableThrottled = "runnable.throttled", "runnable, stopped by its cgroup's CPU quota";
    RunnableWaking = "runnable.waking", "runnable, on an idle CPU that had to be woken";
    BlockedDisk = "blocked.disk", "waiting for a block device";
    BlockedFs = "blocked.fs", "waiting for the file system: journal, fsync, writeback";
    BlockedMemory = "blocked.memory", "waiting for memory: reclaim, swap, fault, cgroup limit";
    BlockedLock = "blocked.lock", "waiting for a user-space lock";
    BlockedKernelLock = "blocked.kernel_lock", "waiting for a lock inside the kernel";
    BlockedNetwork = "blocked.network", "waiting for a network peer";
    BlockedThread = "blocked.thread", "waiting, with a request in hand, for another thread of its own process";
    BlockedProcess = "blocked.process", "waiting for another local process";
    BlockedSleep = "blocked.sleep", "asleep by its own timer";
    BlockedIdle = "blocked.idle", "waiting for work that nobody sent";
    BlockedStopped = "blocked.stopped", "stopped by a signal, a debugger or a freezer";
    BlockedUnknown = "blocked.unknown", "blocked, for a reason that was not recognised";
}

impl TimeClass {
    /// The class with this stable name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|c| c.name() == name)
    }

    /// Time on a CPU.
    pub fn is_running(self) -> bool {
        matches!(
            self,
            TimeClass::RunningUser
                | TimeClass::RunningKernel
                | TimeClass::RunningInterrupted
                | TimeClass::RunningStolen
        )
    }

    /// Time ready to run and not running.
    pub fn is_runnable(self) -> bool {
        matches!(
            self,
            TimeClass::RunnableBusy
                | TimeClass::RunnableOutranked
                | TimeClass::RunnablePinned
                | TimeClass::RunnableThrottled
                | TimeClass::RunnableWaking
        )
    }

    /// Time in which others had the CPU that the thread was ready to use.
    pub fn is_behind_others(self) -> bool {
        matches!(self, TimeClass::RunnableBusy | TimeClass::RunnableOutranked)
    }

    /// Time that is nobody's fault: there was nothing to do.
    pub fn is_idle(self) -> bool {
        matches!(self, TimeClass::BlockedIdle)
    }
}

/// Time by class. The sum is the time observed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassTimes([Duration; TimeClass::ALL.len()]);

impl ClassTimes {
    /// Adds time to one class.
    pub fn add(&mut self, class: TimeClass, time: Duration) {
        self.0[class as usize] += time;
    }

    /// Adds every class of another.
    pub fn add_all(&mut self, other: &ClassTimes) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    /// Moves time of one class to idleness, as much as there is.
    pub fn move_to_idle(&mut self, class: TimeClass, time: Duration) {
        let time = time.min(self[class]);
        self.0[class as usize] -= time;
        self.0[TimeClass::BlockedIdle as usize] += time;
    }

    /// The sum over all classes.
    pub fn total(&self) -> Duration {
        self.0.iter().sum()
    }

    /// The sum over the classes that `keep` accepts.
    pub fn sum(&self, keep: impl Fn(TimeClass) -> bool) -> Duration {
        self.iter().filter(|(class, _)| keep(*class)).map(|(_, time)| time).sum()
    }

    /// Everything but idleness: the time in which the thread did or wanted something.
    pub fn active(&self) -> Duration {
        self.sum(|class| !class.is_idle())
    }

    /// The classes with any time in them, in reading order.
    pub fn iter(&self) -> impl Iterator<Item = (TimeClass, Duration)> + '_ {
        TimeClass::ALL.iter().map(|&class| (class, self[class])).filter(|(_, t)| !t.is_zero())
    }
}

impl Index<TimeClass> for ClassTimes {
    type Output = Duration;

    fn index(&self, class: TimeClass) -> &Duration {
        &self.0[class as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_are_unique() {
        for &class in TimeClass::ALL {
            assert_eq!(TimeClass::from_name(class.name()), Some(class));
        }
        assert_eq!(TimeClass::from_name("blocked"), None);
    }

    #[test]
    fn active_time_leaves_out_only_idleness() {
        let mut times = ClassTimes::default();
        times.add(TimeClass::RunningUser, Duration::from_millis(30));
        times.add(TimeClass::BlockedIdle, Duration::from_millis(60));
        times.add(TimeClass::BlockedSleep, Duration::from_millis(10));
        assert_eq!(times.total(), Duration::from_millis(100));
        assert_eq!(times.active(), Duration::from_millis(40));
    }
}
