//! Each shape of a recording as one table: which columns it has and how its rows come back.

mod episodes;
mod frames;
mod requests;
mod rows;
mod threads;

pub use frames::{frames_from, frames_to, processes_from, processes_to};

use crate::table::{Column, Table, TableError};
use observe::{FrameId, Labels, Observed, Pid, Shape, Tid};
use std::{collections::BTreeMap, time::Duration};

/// Columns of one table, in order.
pub type Columns = Vec<(&'static str, Column)>;

/// Rows by metric.
pub type Rows<S> = BTreeMap<String, Vec<S>>;

/// What is needed to check rows that refer to something outside their table.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// Number of frames in the recording.
    pub frames: usize,
}

/// A shape that has a table of its own.
pub trait Stored: Shape {
    /// The table's name, also of its file.
    const NAME: &'static str;

    /// As columns.
    fn columns(tables: &BTreeMap<String, Observed<Vec<Self>>>) -> Columns;

    /// Back from columns.
    ///
    /// # Errors
    /// A column is missing or holds what cannot be.
    fn rows(table: &Table, context: Context) -> Result<Rows<Self>, TableError>;
}

/// Every row that was seen, with its metric.
fn seen<S>(tables: &BTreeMap<String, Observed<Vec<S>>>) -> impl Iterator<Item = (&str, &S)> {
    tables.iter().filter_map(|(name, rows)| Some((name.as_str(), rows.as_ref().ok()?))).flat_map(|(name, rows)| {
        let name: &str = name;
        rows.iter().map(move |row| (name, row))
    })
}

fn text<T>(rows: &[T], value: impl Fn(&T) -> String) -> Column {
    Column::Text(rows.iter().map(value).collect())
}

fn int<T>(rows: &[T], value: impl Fn(&T) -> i64) -> Column {
    Column::Int(rows.iter().map(value).collect())
}

fn unsigned<T>(rows: &[T], value: impl Fn(&T) -> u64) -> Column {
    Column::Unsigned(rows.iter().map(value).collect())
}

/// Nanoseconds; what does not fit (292 years) is cut.
fn ns(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

fn labels(labels: &Labels) -> String {
    serde_json::to_string(&labels.0).unwrap_or_else(|_| "{}".to_owned())
}

fn ids(frames: &[FrameId]) -> String {
    let mut out = String::with_capacity(2 + frames.len() * 5);
    out.push('[');
    for (at, id) in frames.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        out.push_str(&id.0.to_string());
    }
    out.push(']');
    out
}

/// One column's value in one row, for messages.
struct At<'a>(&'a str, usize);

impl At<'_> {
    fn error(&self, why: impl Into<String>) -> TableError {
        TableError::Value { column: self.0.to_owned(), row: self.1, why: why.into() }
    }

    fn duration(&self, value: i64) -> Result<Duration, TableError> {
        u64::try_from(value)
            .map(Duration::from_nanos)
            .map_err(|_| self.error(format!("{value} ns is no length of time")))
    }

    fn u32(&self, value: i64) -> Result<u32, TableError> {
        u32::try_from(value).map_err(|_| self.error(format!("{value} is no process or thread id")))
    }

    fn pid(&self, value: i64) -> Result<Pid, TableError> {
        self.u32(value).map(Pid)
    }

    fn tid(&self, value: i64) -> Result<Tid, TableError> {
        self.u32(value).map(Tid)
    }

    fn labels(&self, value: &str) -> Result<Labels, TableError> {
        serde_json::from_str(value).map(Labels).map_err(|why| self.error(format!("not labels: {why}")))
    }

    fn ids(&self, value: &str, context: Context) -> Result<Vec<FrameId>, TableError> {
        let ids: Vec<u32> = serde_json::from_str(value).map_err(|why| self.error(format!("not frame ids: {why}")))?;
        if let Some(id) = ids.iter().find(|id| **id as usize >= context.frames) {
            return Err(self.error(format!("frame {id}, and there are {} frames", context.frames)));
        }
        Ok(ids.into_iter().map(FrameId).collect())
    }
}
