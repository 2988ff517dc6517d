//! # Do packets queue on the path?
//!
//! **Measures** the round-trip time of connections against the shortest they have had: the difference is queueing, at this
//! machine, at the other end, or between them (bufferbloat).
//! **Matters** because every request waits in that queue, whatever it is full of.
//! **Misleads** when the other end delays acknowledgements (by some 40 ms), when its CPU is short, or when the shortest
//! time is from before a change of route.
//! **Confirm** by measuring the round trip idle and loaded (`--allow disrupt`).

use crate::{
    Check, Evidence, Light, Verdict,
    net::{is_felt, is_somebodys, total, who},
};
use observe::{Absent, Observed, Recording, Series, catalog};
use std::{net::SocketAddr, time::Duration};

/// Stands in the registry.
pub const CHECK: Check = Check {
    id: "net.rtt",
    group: "tcp",
    question: "Do packets queue on the path?",
    source: include_str!("rtt.rs"),
    judge,
};

/// DSLReports: above grade B.
const MAYBE: Duration = Duration::from_millis(60);

/// DSLReports: above grade C.
const BAD: Duration = Duration::from_millis(200);

/// ours: the kernel smooths over eight measurements; fewer segments than some times that tell little.
const MIN_SEGMENTS: f64 = 50.0;

struct Path<'a> {
    row: &'a Series,
    queueing: Duration,
    shortest: Duration,
    busy: Duration,
    light: Light,
}

fn judge(rec: &Recording) -> Observed<Verdict> {
    let (near, far): (Vec<&Series>, Vec<&Series>) = rec
        .get(&catalog::TCP_RTT)?
        .iter()
        .filter(|row| is_somebodys(rec, &row.labels))
        .partition(|row| row.labels.get("peer").parse::<SocketAddr>().is_ok_and(|peer| peer.ip().is_loopback()));
    if far.is_empty() {
        let why = format!("no connection to another machine had any traffic, {} on this one had", near.len());
        return Ok(Verdict { light: Light::Good, why, evidence: Vec::new() });
    }
    let shortest = rec.get(&catalog::TCP_MIN_RTT)?;
    let paths = far.iter().filter_map(|row| {
        let min = shortest.iter().find(|min| min.labels == row.labels)?.last();
        let sent = total(rec, &catalog::TCP_SEGMENTS, &row.labels, ("what", "sent"));
        let busy = Duration::from_secs_f64(total(rec, &catalog::TCP_LIMITED, &row.labels, ("by", "busy")).max(0.0));
        if sent < MIN_SEGMENTS || min <= 0.0 {
            return None;
        }
        let queueing = Duration::from_secs_f64((row.mean() - min).max(0.0));
        let light = match queueing {
            queueing if queueing >= BAD && is_felt(rec, busy) => Light::Bad,
            queueing if queueing >= MAYBE => Light::Maybe,
            _ => Light::Good,
        };
        Some(Path { row, queueing, shortest: Duration::from_secs_f64(min), busy, light })
    });
    let paths: Vec<Path> = paths.collect();
    let Some(worst) = paths.iter().max_by_key(|path| (path.light, path.queueing)) else {
        let why = format!(
            "none of {} connections to other machines sent enough to tell ({MIN_SEGMENTS} segments)",
            far.len()
        );
        return Err(Absent::NotCollected(why));
    };
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let why = format!(
        "{} with {}: {:.1} ms of queueing on top of {:.1} ms, mean of {} readings, with data under way for {:.1} s; the \
         worst of {} connections",
        who(rec, &worst.row.labels),
        worst.row.labels.get("peer"),
        ms(worst.queueing),
        ms(worst.shortest),
        worst.row.points.len(),
        worst.busy.as_secs_f64(),
        paths.len()
    );
    let evidence = Evidence::new("tcp_info: round-trip time above its minimum", ms(worst.queueing), "ms")
        .against(format!(">= {} ms", ms(MAYBE)))
        .at("recording/series.parquet");
    Ok(Verdict { light: worst.light, why, evidence: vec![evidence] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, light};

    fn path(rtt_ms: f64, busy: f64) -> Machine {
        Machine::new().connection(7, "10.0.0.2:443", rtt_ms, 10.0, busy, 0.0, 1000.0)
    }

    #[test]
    fn boundaries() {
        assert_eq!(light(&CHECK, &path(69.9, 9.0)), Light::Good);
        assert_eq!(light(&CHECK, &path(70.1, 9.0)), Light::Maybe);
        assert_eq!(light(&CHECK, &path(209.0, 9.0)), Light::Maybe);
        assert_eq!(light(&CHECK, &path(211.0, 9.0)), Light::Bad);
        assert_eq!(light(&CHECK, &path(211.0, 1.4)), Light::Maybe, "hardly any data under way");
        assert_eq!(light(&CHECK, &path(211.0, 9.0).friday(7)), Light::Good, "friday's own");
    }

    #[test]
    fn few_segments_are_no_answer() {
        let few = |sent| light(&CHECK, &Machine::new().connection(7, "10.0.0.2:443", 10.0, 10.0, 1.0, 0.0, sent));
        assert_eq!([few(49.0), few(50.0)], [Light::Untested, Light::Good]);
        let local = Machine::new().connection(7, "127.0.0.1:443", 900.0, 1.0, 9.0, 0.0, 1000.0);
        assert_eq!(light(&CHECK, &local), Light::Good, "no path");
        assert_eq!(light(&CHECK, &Machine::new()), Light::Untested);
    }
}
