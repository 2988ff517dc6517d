//! # Are connections turned away because nobody accepts them?
//!
//! **Measures** connections that did not fit into a listening socket's queue, and how full the queues were.
//! **Matters** because the client's first segment is dropped without a word: it tries again after one second, then two,
//! then four.
//! **Misleads** when a queue is long for a moment and empty again: then nobody was turned away.
//! **Confirm** by raising the backlog and `net.core.somaxconn` (`--allow change`), and by asking why accepting is slow.

use crate::{
    Check, Evidence, Light, Verdict,
    net::{is_somebodys, protocol, who},
};
use observe::{Observed, Ratio, Recording, Series, catalog};

/// Stands in the registry.
pub const CHECK: Check = Check {
    id: "net.listen_queue",
    group: "tcp",
    question: "Are connections turned away because nobody accepts them?",
    source: include_str!("listen_queue.rs"),
    judge,
};

/// PCP pmie: any overflow is an error.
const BAD: f64 = 0.0;

/// ours: a queue that was this full at a reading overflows between readings.
const FULL: Ratio = Ratio(0.75);

/// ours: of a backlog of one or two, every connection is a large part.
const MIN_WAITING: f64 = 4.0;

fn judge(rec: &Recording) -> Observed<Verdict> {
    let overflows = protocol(rec, "TcpExt", "ListenOverflows")?;
    let drops = protocol(rec, "TcpExt", "ListenDrops")?;
    let theirs = |row: &&Series| is_somebodys(rec, &row.labels);
    let dropped = rec.get(&catalog::LISTEN_DROPS).unwrap_or_default();
    let most = |row: &Series| row.increase().unwrap_or(0.0);
    let worst = dropped.iter().filter(theirs).max_by(|a, b| most(a).total_cmp(&most(b))).filter(|row| most(row) > 0.0);
    let full = fullest(rec);
    let (light, detail) = match (worst, full) {
        (Some(row), _) if overflows.by > BAD => {
            let dropped = most(row);
            let at = row.labels.get("address");
            (Light::Bad, format!("; {dropped:.0} of them at {at}, on which {} listens", who(rec, &row.labels)))
        }
        (_, full) if overflows.by > BAD || drops.by > 0.0 => {
            let none_is_known = dropped.iter().filter(|row| most(row) > 0.0).all(|row| theirs(&row));
            let bad = overflows.by > BAD && none_is_known;
            (if bad { Light::Bad } else { Light::Maybe }, full.map(|f| f.text(rec)).unwrap_or_default())
        }
        (_, Some(full)) if full.part >= FULL && full.waiting >= MIN_WAITING => (Light::Maybe, full.text(rec)),
        (_, full) => (Light::Good, full.map(|f| f.text(rec)).unwrap_or_default()),
    };
    let why = format!(
        "{:.0} connections overflowed a listening socket's queue, and {:.0} attempts were dropped, in {:.1} s{detail}",
        overflows.by,
        drops.by,
        overflows.over.as_secs_f64()
    );
    let evidence = Evidence::new("/proc/net/netstat: ListenOverflows", overflows.by, "connections").against("> 0");
    Ok(Verdict { light, why, evidence: vec![evidence.at("recording/series.parquet")] })
}

struct Full<'a> {
    row: &'a Series,
    waiting: f64,
    backlog: f64,
    part: Ratio,
}

impl Full<'_> {
    fn text(&self, rec: &Recording) -> String {
        let (at, waiting, backlog) = (self.row.labels.get("address"), self.waiting, self.backlog);
        format!("; the fullest queue is that of {} at {at}: {waiting:.0} of {backlog:.0}", who(rec, &self.row.labels))
    }
}

/// The queue that was fullest at any reading, if one was not empty.
fn fullest(rec: &Recording) -> Option<Full<'_>> {
    let queues = rec.get(&catalog::LISTEN_QUEUE).ok()?;
    let backlogs = rec.get(&catalog::LISTEN_BACKLOG).ok()?;
    let of = queues.iter().filter(|row| is_somebodys(rec, &row.labels)).filter_map(|row| {
        let backlog = backlogs.iter().find(|other| other.labels == row.labels)?.last();
        let waiting = row.max();
        (waiting > 0.0).then(|| Full { row, waiting, backlog, part: Ratio::of_counts(waiting, backlog) })
    });
    of.max_by(|a, b| a.part.0.total_cmp(&b.part.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, light};

    #[test]
    fn any_overflow_is_bad() {
        let overflow = |count| Machine::new().listening(7, 0.0, 128.0, count);
        assert_eq!(light(&CHECK, &overflow(0.0)), Light::Good);
        assert_eq!(light(&CHECK, &overflow(1.0)), Light::Bad);
        assert_eq!(light(&CHECK, &overflow(9.0).friday(7)), Light::Maybe, "friday's own");
    }

    #[test]
    fn a_queue_that_is_nearly_full_may_overflow() {
        let queue = |waiting, backlog| light(&CHECK, &Machine::new().listening(7, waiting, backlog, 0.0));
        assert_eq!([queue(95.0, 128.0), queue(96.0, 128.0)], [Light::Good, Light::Maybe]);
        assert_eq!([queue(3.0, 3.0), queue(4.0, 4.0)], [Light::Good, Light::Maybe], "few");
    }

    #[test]
    fn drops_for_other_reasons_are_no_overflow() {
        let machine = Machine::new().protocol("TcpExt", "ListenOverflows", 0.0).protocol("TcpExt", "ListenDrops", 2.0);
        assert_eq!(light(&CHECK, &machine), Light::Maybe);
        assert_eq!(light(&CHECK, &Machine::new().protocol("TcpExt", "ListenDrops", 0.0)), Light::Untested);
    }
}
