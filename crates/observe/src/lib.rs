//! The vocabulary of friday: what was seen on a system, in which shapes and units. No I/O, no clock, no kernel.

mod absent;
pub mod catalog;
mod episode;
mod experiment;
mod histogram;
pub mod reading;
mod recording;
mod request;
mod shape;
mod target;
mod time_class;
mod units;

pub use absent::{Absent, Observed};
pub use episode::{Episode, EpisodeKind};
pub use experiment::{Dose, Expect, Experiment, Measured, Verdict};
pub use histogram::{Bucket, Histogram};
pub use recording::{AnyMetric, Cost, Host, Process, ProgramCost, Recording, Table, Window};
pub use request::Request;
pub use shape::{Event, Fact, Frame, FrameId, FrameKind, Labels, Point, Series, Shape, Stack, TIMER, ThreadTime, Wait};
pub use target::{Target, TargetKind};
pub use time_class::{ClassTimes, TimeClass};
pub use units::{Bytes, Pid, Ratio, Tid};
