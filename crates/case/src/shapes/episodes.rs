//! The event window's episodes as a table. There is one metric of this shape, so no column says which.

use super::{At, Columns, Context, Rows, Stored, int, ns, seen, text};
use crate::table::{Column, Table, TableError};
use observe::{Episode, EpisodeKind, Observed, catalog};
use std::{collections::BTreeMap, time::Duration};

impl Stored for Episode {
    const NAME: &'static str = "episodes";

    fn columns(tables: &BTreeMap<String, Observed<Vec<Self>>>) -> Columns {
        let rows: Vec<_> = seen(tables).map(|(_, row)| row).collect();
        let opt = |part: fn(&Episode) -> Option<i64>| Column::OptInt(rows.iter().map(|row| part(row)).collect());
        vec![
            ("pid", int(&rows, |row| i64::from(row.pid.0))),
            ("tid", int(&rows, |row| i64::from(row.tid.0))),
            ("kind", text(&rows, |row| row.kind.name().to_owned())),
            ("off_ns", int(&rows, |row| ns(row.off))),
            ("woken_ns", opt(|row| row.woken.map(ns))),
            ("on_ns", opt(|row| row.on.map(ns))),
            ("cpu", int(&rows, |row| i64::from(row.cpu))),
            ("throttled_ns", int(&rows, |row| ns(row.throttled))),
            ("pinned_ns", int(&rows, |row| ns(row.pinned))),
            ("by_pid", opt(|row| row.by.map(|(pid, _)| i64::from(pid.0)))),
            ("by_tid", opt(|row| row.by.map(|(_, tid)| i64::from(tid.0)))),
            ("wait", opt(|row| row.wait.map(i64::from))),
        ]
    }

    fn rows(table: &Table, _: Context) -> Result<Rows<Self>, TableError> {
        let (pid, tid, kind) = (table.int("pid")?, table.int("tid")?, table.text("kind")?);
        let (off, woken, on) = (table.int("off_ns")?, table.opt_int("woken_ns")?, table.opt_int("on_ns")?);
        let (cpu, throttled, pinned) = (table.int("cpu")?, table.int("throttled_ns")?, table.int("pinned_ns")?);
        let (by_pid, by_tid, wait) = (table.opt_int("by_pid")?, table.opt_int("by_tid")?, table.opt_int("wait")?);
        let mut rows = Vec::with_capacity(table.rows());
        for at in 0..table.rows() {
            let moment = |column: &'static str, value: Option<i64>| -> Result<Option<Duration>, TableError> {
                value.map(|value| At(column, at).duration(value)).transpose()
            };
            rows.push(Episode {
                pid: At("pid", at).pid(pid[at])?,
                tid: At("tid", at).tid(tid[at])?,
                kind: EpisodeKind::from_name(kind[at])
                    .ok_or_else(|| At("kind", at).error(format!("{:?} is no kind of episode", kind[at])))?,
                off: At("off_ns", at).duration(off[at])?,
                woken: moment("woken_ns", woken[at])?,
                on: moment("on_ns", on[at])?,
                cpu: At("cpu", at).u32(cpu[at])?,
                throttled: At("throttled_ns", at).duration(throttled[at])?,
                pinned: At("pinned_ns", at).duration(pinned[at])?,
                by: match (by_pid[at], by_tid[at]) {
                    (Some(pid), Some(tid)) => Some((At("by_pid", at).pid(pid)?, At("by_tid", at).tid(tid)?)),
                    _ => None,
                },
                wait: wait[at].map(|row| At("wait", at).u32(row)).transpose()?,
            });
        }
        Ok(Rows::from([(catalog::EPISODES.name.to_owned(), rows)]))
    }
}
