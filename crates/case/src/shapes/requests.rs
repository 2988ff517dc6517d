//! The event window's requests as a table. There is one metric of this shape, so no column says which.

use super::{At, Columns, Context, Rows, Stored, int, ns, seen, text, unsigned};
use crate::table::{Column, Table, TableError};
use observe::{Observed, Request, catalog};
use std::collections::BTreeMap;

/// Names of the two ends of a connection.
const SIDES: [&str; 2] = ["asks", "serves"];

impl Stored for Request {
    const NAME: &'static str = "requests";

    fn columns(tables: &BTreeMap<String, Observed<Vec<Self>>>) -> Columns {
        let rows: Vec<_> = seen(tables).map(|(_, row)| row).collect();
        let within = |part: fn((u64, std::time::Duration)) -> i64| {
            Column::OptInt(rows.iter().map(|row| row.within.map(part)).collect())
        };
        vec![
            ("side", text(&rows, |row| SIDES[usize::from(row.served)].to_owned())),
            ("pid", int(&rows, |row| i64::from(row.pid.0))),
            ("tid", int(&rows, |row| i64::from(row.tid.0))),
            ("connection", unsigned(&rows, |row| row.connection)),
            ("place", text(&rows, |row| row.place.clone())),
            ("begin_ns", int(&rows, |row| ns(row.begin))),
            ("read_ns", int(&rows, |row| ns(row.read))),
            ("answered_ns", int(&rows, |row| ns(row.answered))),
            // As they are in memory: half of these numbers do not fit otherwise.
            ("within_connection", within(|(connection, _)| connection.cast_signed())),
            ("within_begin_ns", within(|(_, begin)| ns(begin))),
        ]
    }

    fn rows(table: &Table, _: Context) -> Result<Rows<Self>, TableError> {
        let (side, pid, tid) = (table.text("side")?, table.int("pid")?, table.int("tid")?);
        let (connection, place) = (table.unsigned("connection")?, table.text("place")?);
        let (begin, read, answered) = (table.int("begin_ns")?, table.int("read_ns")?, table.int("answered_ns")?);
        let (within, within_begin) = (table.opt_int("within_connection")?, table.opt_int("within_begin_ns")?);
        let mut rows = Vec::with_capacity(table.rows());
        for at in 0..table.rows() {
            let served = SIDES.iter().position(|name| *name == side[at]);
            let served = served.ok_or_else(|| At("side", at).error(format!("{:?} is no end", side[at])))?;
            rows.push(Request {
                served: served == 1,
                pid: At("pid", at).pid(pid[at])?,
                tid: At("tid", at).tid(tid[at])?,
                connection: connection[at],
                place: place[at].to_owned(),
                begin: At("begin_ns", at).duration(begin[at])?,
                read: At("read_ns", at).duration(read[at])?,
                answered: At("answered_ns", at).duration(answered[at])?,
                within: match (within[at], within_begin[at]) {
                    (Some(connection), Some(begin)) => {
                        Some((connection.cast_unsigned(), At("within_begin_ns", at).duration(begin)?))
                    }
                    _ => None,
                },
            });
        }
        Ok(Rows::from([(catalog::EPISODE_REQUESTS.name.to_owned(), rows)]))
    }
}
