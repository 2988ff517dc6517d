//! Stacks, the ledger and waits as tables. Stacks are JSON lists of frame ids, outermost first.

use super::{At, Columns, Context, Rows, Stored, ids, int, ns, seen, text, unsigned};
use crate::table::{Column, Table, TableError};
use observe::{ClassTimes, Observed, Stack, ThreadTime, TimeClass, Wait};
use std::{collections::BTreeMap, time::Duration};

/// The ledger's column of each class, in the order of [`TimeClass::ALL`].
const CLASS_COLUMNS: &[(TimeClass, &str)] = &[
    (TimeClass::RunningUser, "running.user_ns"),
    (TimeClass::RunningKernel, "running.kernel_ns"),
    (TimeClass::RunningInterrupted, "running.interrupted_ns"),
    (TimeClass::RunningStolen, "running.stolen_ns"),
    (TimeClass::RunnableBusy, "runnable.busy_ns"),
    (TimeClass::RunnableOutranked, "runnable.outranked_ns"),
    (TimeClass::RunnablePinned, "runnable.pinned_ns"),
    (TimeClass::RunnableThrottled, "runnable.throttled_ns"),
    (TimeClass::RunnableWaking, "runnable.waking_ns"),
    (TimeClass::BlockedDisk, "blocked.disk_ns"),
    (TimeClass::BlockedFs, "blocked.fs_ns"),
    (TimeClass::BlockedMemory, "blocked.memory_ns"),
    (TimeClass::BlockedLock, "blocked.lock_ns"),
    (TimeClass::BlockedKernelLock, "blocked.kernel_lock_ns"),
    (TimeClass::BlockedNetwork, "blocked.network_ns"),
    (TimeClass::BlockedThread, "blocked.thread_ns"),
    (TimeClass::BlockedProcess, "blocked.process_ns"),
    (TimeClass::BlockedSleep, "blocked.sleep_ns"),
    (TimeClass::BlockedIdle, "blocked.idle_ns"),
    (TimeClass::BlockedStopped, "blocked.stopped_ns"),
    (TimeClass::BlockedUnknown, "blocked.unknown_ns"),
];

/// Classes that cases of the first version do not have.
const LATER_CLASSES: [TimeClass; 5] = [
    TimeClass::RunningInterrupted,
    TimeClass::RunningStolen,
    TimeClass::RunnableOutranked,
    TimeClass::RunnableWaking,
    TimeClass::BlockedThread,
];

impl Stored for Stack {
    const NAME: &'static str = "stacks";

    fn columns(tables: &BTreeMap<String, Observed<Vec<Self>>>) -> Columns {
        let rows: Vec<_> = seen(tables).collect();
        vec![
            ("metric", text(&rows, |(metric, _)| (*metric).to_owned())),
            ("pid", int(&rows, |(_, row)| i64::from(row.pid.0))),
            ("tid", int(&rows, |(_, row)| i64::from(row.tid.0))),
            ("samples", unsigned(&rows, |(_, row)| row.samples)),
            ("frames", text(&rows, |(_, row)| ids(&row.frames))),
        ]
    }

    fn rows(table: &Table, context: Context) -> Result<Rows<Self>, TableError> {
        let (metric, pid, tid) = (table.text("metric")?, table.int("pid")?, table.int("tid")?);
        let (samples, frames) = (table.unsigned("samples")?, table.text("frames")?);
        let mut rows = Rows::new();
        for at in 0..table.rows() {
            rows.entry(metric[at].to_owned()).or_insert_with(Vec::new).push(Stack {
                pid: At("pid", at).pid(pid[at])?,
                tid: At("tid", at).tid(tid[at])?,
                samples: samples[at],
                frames: At("frames", at).ids(frames[at], context)?,
            });
        }
        Ok(rows)
    }
}

impl Stored for ThreadTime {
    const NAME: &'static str = "ledger";

    fn columns(tables: &BTreeMap<String, Observed<Vec<Self>>>) -> Columns {
        let rows: Vec<_> = seen(tables).collect();
        let mut columns = vec![
            ("metric", text(&rows, |(metric, _)| (*metric).to_owned())),
            ("pid", int(&rows, |(_, row)| i64::from(row.pid.0))),
            ("tid", int(&rows, |(_, row)| i64::from(row.tid.0))),
            ("name", text(&rows, |(_, row)| row.name.clone())),
            ("wall_ns", int(&rows, |(_, row)| ns(row.wall))),
            ("switches", unsigned(&rows, |(_, row)| row.switches)),
        ];
        columns
            .extend(CLASS_COLUMNS.iter().map(|(class, name)| (*name, int(&rows, |(_, row)| ns(row.classes[*class])))));
        columns
    }

    fn rows(table: &Table, _: Context) -> Result<Rows<Self>, TableError> {
        let (metric, pid, tid) = (table.text("metric")?, table.int("pid")?, table.int("tid")?);
        let (name, wall, switches) = (table.text("name")?, table.int("wall_ns")?, table.unsigned("switches")?);
        let mut times = Vec::with_capacity(CLASS_COLUMNS.len());
        for (class, column) in CLASS_COLUMNS {
            match table.int(column) {
                Ok(values) => times.push((*class, *column, values)),
                // Written before this class was told apart.
                Err(TableError::Missing(_)) if LATER_CLASSES.contains(class) => {}
                Err(error) => return Err(error),
            }
        }
        let mut rows = Rows::new();
        for at in 0..table.rows() {
            let mut classes = ClassTimes::default();
            for (class, column, values) in &times {
                classes.add(*class, At(column, at).duration(values[at])?);
            }
            rows.entry(metric[at].to_owned()).or_insert_with(Vec::new).push(ThreadTime {
                pid: At("pid", at).pid(pid[at])?,
                tid: At("tid", at).tid(tid[at])?,
                name: name[at].to_owned(),
                wall: At("wall_ns", at).duration(wall[at])?,
                classes,
                switches: switches[at],
            });
        }
        Ok(rows)
    }
}

impl Stored for Wait {
    const NAME: &'static str = "waits";

    fn columns(tables: &BTreeMap<String, Observed<Vec<Self>>>) -> Columns {
        let rows: Vec<_> = seen(tables).collect();
        let by = |part: fn(&Wait) -> Option<u32>| {
            Column::OptInt(rows.iter().map(|(_, row)| part(row).map(i64::from)).collect::<Vec<_>>())
        };
        vec![
            ("metric", text(&rows, |(metric, _)| (*metric).to_owned())),
            ("pid", int(&rows, |(_, row)| i64::from(row.pid.0))),
            ("tid", int(&rows, |(_, row)| i64::from(row.tid.0))),
            ("class", text(&rows, |(_, row)| row.class.name().to_owned())),
            ("resource", text(&rows, |(_, row)| row.resource.clone())),
            ("by_pid", by(|row| row.by.map(|(pid, _)| pid.0))),
            ("by_tid", by(|row| row.by.map(|(_, tid)| tid.0))),
            ("syscall", text(&rows, |(_, row)| row.syscall.clone())),
            ("after_failure", int(&rows, |(_, row)| i64::from(row.after_failure))),
            ("time_ns", int(&rows, |(_, row)| ns(row.time))),
            ("count", unsigned(&rows, |(_, row)| row.count)),
            ("longest_ns", int(&rows, |(_, row)| ns(row.longest))),
            ("stack", text(&rows, |(_, row)| ids(&row.stack))),
            ("waker_stack", text(&rows, |(_, row)| ids(&row.waker_stack))),
        ]
    }

    fn rows(table: &Table, context: Context) -> Result<Rows<Self>, TableError> {
        let (metric, pid, tid) = (table.text("metric")?, table.int("pid")?, table.int("tid")?);
        let (class, resource, syscall) = (table.text("class")?, table.text("resource")?, table.text("syscall")?);
        let (by_pid, by_tid) = (table.opt_int("by_pid")?, table.opt_int("by_tid")?);
        let (after_failure, count) = (table.int("after_failure")?, table.unsigned("count")?);
        let (time, longest) = (table.int("time_ns")?, table.int("longest_ns")?);
        let (stack, waker) = (table.text("stack")?, table.text("waker_stack")?);
        let mut rows = Rows::new();
        for at in 0..table.rows() {
            let time: Duration = At("time_ns", at).duration(time[at])?;
            rows.entry(metric[at].to_owned()).or_insert_with(Vec::new).push(Wait {
                pid: At("pid", at).pid(pid[at])?,
                tid: At("tid", at).tid(tid[at])?,
                class: TimeClass::from_name(class[at])
                    .ok_or_else(|| At("class", at).error(format!("{:?} is no class of time", class[at])))?,
                resource: resource[at].to_owned(),
                by: match (by_pid[at], by_tid[at]) {
                    (Some(pid), Some(tid)) => Some((At("by_pid", at).pid(pid)?, At("by_tid", at).tid(tid)?)),
                    _ => None,
                },
                syscall: syscall[at].to_owned(),
                after_failure: after_failure[at] != 0,
                time,
                count: count[at],
                longest: At("longest_ns", at).duration(longest[at])?,
                stack: At("stack", at).ids(stack[at], context)?,
                waker_stack: At("waker_stack", at).ids(waker[at], context)?,
            });
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_the_column_that_its_name_promises() {
        assert_eq!(CLASS_COLUMNS.len(), TimeClass::ALL.len());
        for ((class, column), expected) in CLASS_COLUMNS.iter().zip(TimeClass::ALL) {
            assert_eq!(class, expected);
            assert_eq!(*column, format!("{}_ns", class.name()));
        }
    }
}
