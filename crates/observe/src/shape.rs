//! The few shapes in which everything seen is stored, queried and exchanged.

use crate::{ClassTimes, Episode, Histogram, Observed, Pid, Recording, Request, Table, Tid, TimeClass};
use std::{collections::BTreeMap, time::Duration};

/// What a value belongs to: device, cpu, cgroup, pid … by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(pub BTreeMap<String, String>);

impl Labels {
    /// Labels from pairs.
    pub fn new<const N: usize>(pairs: [(&str, String); N]) -> Self {
        Labels(pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// The value of one label; empty when it is not there.
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// The `pid` label as a process id.
    pub fn pid(&self) -> Option<Pid> {
        self.get("pid").parse().ok().map(Pid)
    }
}

/// A static value with its source: version, sysctl, mount option, hardware.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    /// What it is a fact about.
    pub labels: Labels,
    /// The value as read.
    pub value: String,
    /// The file or call it was read from.
    pub source: String,
}

/// One value of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Time since the window began.
    pub at: Duration,
    /// The value, in the metric's unit.
    pub value: f64,
}

/// A value over time. Counters are stored as read; their increase is [`Series::increase`].
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What it is a series of.
    pub labels: Labels,
    /// Ascending in time.
    pub points: Vec<Point>,
}

impl Series {
    /// A total over the whole window, for counts that the kernel aggregated.
    pub fn total(labels: Labels, at: Duration, value: f64) -> Self {
        Series { labels, points: vec![Point { at, value }] }
    }

    /// The last value, or zero when there is none.
    pub fn last(&self) -> f64 {
        self.points.last().map_or(0.0, |p| p.value)
    }

    /// The largest value, or zero when there is none.
    pub fn max(&self) -> f64 {
        self.points.iter().map(|p| p.value).fold(0.0, f64::max)
    }

    /// The mean of the values, or zero when there is none.
    pub fn mean(&self) -> f64 {
        if self.points.is_empty() {
            return 0.0;
        }
        self.points.iter().map(|p| p.value).sum::<f64>() / self.points.len() as f64
    }

    /// By how much a counter grew between the first and the last reading; `None` with fewer than two readings.
    pub fn increase(&self) -> Option<f64> {
        let (first, last) = (self.points.first()?, self.points.last()?);
        (self.points.len() > 1).then_some(last.value - first.value)
    }

    /// A counter's growth per second of wall time; `None` with fewer than two readings.
    pub fn rate(&self) -> Option<f64> {
        let (first, last) = (self.points.first()?, self.points.last()?);
        let seconds = last.at.checked_sub(first.at)?.as_secs_f64();
        (seconds > 0.0).then(|| (last.value - first.value) / seconds)
    }
}

/// Where the code of a frame belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FrameKind {
    /// The kernel or one of its modules.
    Kernel,
    /// The program or a library.
    User,
}

/// One frame of a stack, named where a name could be had.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// Function name; empty when unknown.
    pub name: String,
    /// The binary, library, module or JIT map it is in; empty when unknown.
    pub module: String,
    /// Kernel or user space.
    pub kind: FrameKind,
    /// Why there is no name, or empty.
    pub unknown: String,
}

impl Frame {
    /// The name, or `[unknown: why]`.
    pub fn label(&self) -> String {
        if self.name.is_empty() { format!("[unknown: {}]", self.unknown) } else { self.name.clone() }
    }
}

/// Index into [`Recording::frames`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FrameId(pub u32);

/// A weighted stack.
#[derive(Clone, Debug, PartialEq)]
pub struct Stack {
    /// The process and thread it was taken of.
    pub pid: Pid,
    /// The thread.
    pub tid: Tid,
    /// How often it was seen.
    pub samples: u64,
    /// Outermost frame first; kernel frames follow user frames.
    pub frames: Vec<FrameId>,
}

/// The ledger of one thread: where 100 % of its wall time inside the window went.
#[derive(Clone, Debug, PartialEq)]
pub struct ThreadTime {
    /// The process.
    pub pid: Pid,
    /// The thread.
    pub tid: Tid,
    /// The thread's own name.
    pub name: String,
    /// From the later of window begin and birth to the earlier of window end and death.
    pub wall: Duration,
    /// The same time by class.
    pub classes: ClassTimes,
    /// Times it was switched in.
    pub switches: u64,
}

/// The resource of a wait that a timer of the waiter's own ended.
pub const TIMER: &str = "timer";

/// Who waited for whom, for what, how long, and with which code path.
#[derive(Clone, Debug, PartialEq)]
pub struct Wait {
    /// The waiting process.
    pub pid: Pid,
    /// The waiting thread.
    pub tid: Tid,
    /// The class of the wait.
    pub class: TimeClass,
    /// The resource: `cpu`, `disk:vda`, `futex:0x7f…`, `pipe:[123]`, `file:/var/lib/x`, `timer`; empty when unknown.
    pub resource: String,
    /// Whom it waited for: the runner, the lock holder, the waker. `None` when no process of this machine is known.
    pub by: Option<(Pid, Tid)>,
    /// The system call in flight; empty when none.
    pub syscall: String,
    /// The thread's last call before this wait had failed: the wait is a pause between tries.
    pub after_failure: bool,
    /// Summed time.
    pub time: Duration,
    /// Number of waits.
    pub count: u64,
    /// The longest.
    pub longest: Duration,
    /// The waiter's code path, outermost first, kernel frames last; empty when none was taken.
    pub stack: Vec<FrameId>,
    /// The waker's code path, outermost first; empty when none was taken.
    pub waker_stack: Vec<FrameId>,
}

impl Wait {
    /// The other end of the TCP or UDP socket that it is for, as `address:port` or `port N` of a server.
    pub fn end(&self) -> Option<&str> {
        let named = self.resource.strip_prefix("tcp:")?;
        Some(named.split_once(" (").map_or(named, |(end, _)| end))
    }

    /// What held up a wait on such a socket, where this end of it knows.
    pub fn reason(&self) -> Option<&str> {
        let (_, reason) = self.resource.strip_prefix("tcp:")?.split_once(" (")?;
        Some(reason.trim_end_matches(')'))
    }
}

/// Something that happened at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Time since the window began.
    pub at: Duration,
    /// Its process, where there is one.
    pub pid: Option<Pid>,
    /// What happened, by label.
    pub labels: Labels,
    /// The metric's value: a duration in seconds, a count.
    pub value: f64,
}

/// A shape knows its tables in a recording, so that a metric can be read by its type.
pub trait Shape: Sized {
    /// Every table of this shape.
    fn tables(recording: &Recording) -> &BTreeMap<String, Observed<Table<Self>>>;
    /// The same, to fill.
    fn tables_mut(recording: &mut Recording) -> &mut BTreeMap<String, Observed<Table<Self>>>;
}

macro_rules! shapes {
    ($($shape:ty => $field:ident;)*) => {$(
        impl Shape for $shape {
            fn tables(recording: &Recording) -> &BTreeMap<String, Observed<Table<Self>>> {
                &recording.$field
            }
            fn tables_mut(recording: &mut Recording) -> &mut BTreeMap<String, Observed<Table<Self>>> {
                &mut recording.$field
            }
        }
    )*};
}

shapes! {
    Fact => facts;
    Series => series;
    Histogram => histograms;
    Stack => stacks;
    ThreadTime => ledgers;
    Wait => waits;
    Event => events;
    Episode => episodes;
    Request => requests;
}
