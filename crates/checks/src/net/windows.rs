//! # Does the other end take no more data?
//!
//! **Measures** the time in which a connection had data to send and the receiver's window, or the send buffer, held it up.
//! **Matters** because the sender then waits for the receiver's program, or for its own settings, and not for the network.
//! **Misleads** when the receiver is slow on purpose, such as a client that reads a stream as it plays.
//! **Confirm** by looking at the receiver: its receive queue is full, and it does something else.

use crate::{
    Check, Evidence, Light, Verdict,
    lost::{ENOUGH, FELT},
    net::{is_felt, is_on, is_somebodys, total, waited, who},
};
use observe::{Observed, Ratio, Recording, Series, TimeClass, catalog};
use std::time::Duration;

/// Stands in the registry.
pub const CHECK: Check = Check {
    id: "net.windows",
    group: "tcp",
    question: "Does the other end take no more data?",
    source: include_str!("windows.rs"),
    judge,
};

/// ours: nobody publishes a band. A connection held up for this part of the window is worth saying.
const MAYBE: Ratio = ENOUGH;

struct Held<'a> {
    row: &'a Series,
    share: Ratio,
    waited: Duration,
    light: Light,
}

fn judge(rec: &Recording) -> Observed<Verdict> {
    let rows = rec.get(&catalog::TCP_LIMITED)?;
    let held = |row: &Series| matches!(row.labels.get("by"), "receive_window" | "send_buffer");
    let window = rec.window.length.as_secs_f64();
    let judged = rows.iter().filter(|row| held(row) && is_somebodys(rec, &row.labels)).map(|row| {
        let share = Ratio::of_counts(row.last(), window);
        let waits = |class| !matches!(class, TimeClass::BlockedIdle | TimeClass::BlockedSleep);
        let waited = waited(rec, row.labels.pid(), |wait| is_on(wait, &row.labels) && waits(wait.class));
        let light = match share {
            share if share >= FELT && is_felt(rec, waited) => Light::Bad,
            share if share >= MAYBE => Light::Maybe,
            _ => Light::Good,
        };
        Held { row, share, waited, light }
    });
    let worst = judged.max_by(|a, b| a.light.cmp(&b.light).then(a.share.0.total_cmp(&b.share.0)));
    let connections = rows.iter().filter(|row| row.labels.get("by") == "busy").count();
    let Some(worst) = worst.filter(|worst| worst.share.0 > 0.0) else {
        let why = format!("none of {connections} connections was held up by a window or a send buffer");
        return Ok(Verdict { light: Light::Good, why, evidence: Vec::new() });
    };
    let labels = &worst.row.labels;
    let by = if labels.get("by") == "receive_window" { "the other end's window" } else { "its send buffer" };
    let busy = total(rec, &catalog::TCP_LIMITED, labels, ("by", "busy"));
    let mut why = format!(
        "{} with {}: held up by {by} for {:.2} s, {} of the window, of {busy:.2} s in which it had data to send",
        who(rec, labels),
        labels.get("peer"),
        worst.row.last(),
        worst.share,
    );
    if !worst.waited.is_zero() {
        why += &format!("; it was blocked on that for {:.2} s", worst.waited.as_secs_f64());
    }
    why += &format!("; the worst of {connections} connections");
    let evidence = Evidence::new(format!("tcp_info: held up by {by}"), worst.share.0 * 100.0, "%")
        .against(format!(">= {MAYBE}"))
        .at("recording/series.parquet");
    Ok(Verdict { light: worst.light, why, evidence: vec![evidence] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, light};

    fn held(seconds: f64) -> Machine {
        Machine::new().connection(7, "10.0.0.2:443", 1.0, 1.0, 9.0, seconds, 1000.0)
    }

    #[test]
    fn boundaries() {
        assert_eq!(light(&CHECK, &held(0.49)), Light::Good);
        assert_eq!(light(&CHECK, &held(0.5)), Light::Maybe);
        assert_eq!(light(&CHECK, &held(9.0)), Light::Maybe, "nobody is seen to wait");
        assert_eq!(light(&CHECK, &held(9.0).friday(7)), Light::Good);
    }

    #[test]
    fn bad_when_the_sender_waits_for_it() {
        let waits = |seconds, resource, time| {
            held(seconds).thread(7, "api", &[(TimeClass::BlockedNetwork, time)]).wait(
                7,
                TimeClass::BlockedNetwork,
                resource,
                None,
                time,
                5,
            )
        };
        assert_eq!(light(&CHECK, &waits(1.5, "tcp:10.0.0.2:443", 1.5)), Light::Bad);
        assert_eq!(light(&CHECK, &waits(1.5, "tcp:10.0.0.2:443", 1.4)), Light::Maybe);
        assert_eq!(light(&CHECK, &waits(1.4, "tcp:10.0.0.2:443", 5.0)), Light::Maybe);
        assert_eq!(light(&CHECK, &waits(5.0, "tcp:10.0.0.3:443", 5.0)), Light::Maybe, "another peer");
        assert_eq!(light(&CHECK, &waits(5.0, "tcp:port 40000", 5.0)), Light::Bad, "as the server");
    }

    #[test]
    fn unseen_is_untested_and_nothing_held_up_is_good() {
        assert_eq!(light(&CHECK, &Machine::new()), Light::Untested);
        assert_eq!(light(&CHECK, &held(0.0)), Light::Good);
    }
}
