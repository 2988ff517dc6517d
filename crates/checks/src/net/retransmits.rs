//! # Are TCP segments lost and sent again?
//!
//! **Measures** segments sent again against all segments sent, and for how long connections stood still until the
//! retransmission timer ran out.
//! **Matters** because a lost segment holds up everything behind it: a round trip where acknowledgements tell of the
//! loss, 200 ms and more where only the timer does.
//! **Misleads** when the machine sends little (then one dead peer is a large share), or so much that the loss on one
//! path drowns in it: the process that stood still is named for that. Segments may be sent again needlessly.
//! **Confirm** by grouping by peer: one peer is a path or its machine, all of them are this machine's own link.

use crate::{
    Check, Evidence, Light, Verdict,
    net::{self, FEW_RETRANSMITS, is_felt, is_noticed, retransmitted, waited, who},
};
use observe::{Observed, Ratio, Recording, Series, TimeClass, catalog};
use std::time::Duration;

/// Stands in the registry.
pub const CHECK: Check = Check {
    id: "net.retransmits",
    group: "tcp",
    question: "Are TCP segments lost and sent again?",
    source: include_str!("retransmits.rs"),
    judge,
};

/// DSLReports: more than this is bad.
const MANY: Ratio = Ratio(0.05);

/// ours: fewer segments than this say nothing about a share.
const MIN_AGAIN: f64 = 10.0;

fn judge(rec: &Recording) -> Observed<Verdict> {
    let (again, share) = retransmitted(rec)?;
    let longest = net::stood_still(rec);
    let stood_still = longest.map_or(0.0, Series::last);
    let lossy = again.by >= MIN_AGAIN && share > FEW_RETRANSMITS;
    let on_network = |class| matches!(class, TimeClass::BlockedNetwork | TimeClass::BlockedProcess);
    let felt = || {
        let time: Duration = waited(rec, longest.and_then(|row| row.labels.pid()), |wait| on_network(wait.class));
        is_felt(rec, time)
    };
    let light = if (lossy && (is_noticed(rec, stood_still) || share > MANY && stood_still > 0.0))
        || (is_noticed(rec, stood_still) && felt())
    {
        Light::Bad
    } else if lossy || is_noticed(rec, stood_still) {
        Light::Maybe
    } else {
        Light::Good
    };
    let mut why = format!(
        "{:.0} segments sent again in {:.1} s, {share} of all that were sent",
        again.by,
        again.over.as_secs_f64()
    );
    if let Some(row) = longest {
        let peer = row.labels.get("peer");
        why += &format!(
            "; connections of {} with {peer} stood still for {stood_still:.2} s in all until they were",
            who(rec, &row.labels)
        );
    } else if let Err(absent) = rec.get(&catalog::TCP_RTO_WAIT) {
        why += &format!("; whose they were was not seen ({absent})");
    }
    why += &format!(", {} lost", rec.cost.lost_events);
    let mut evidence = vec![
        Evidence::new("/proc/net/snmp: RetransSegs of all sent", share.0 * 100.0, "%")
            .against(format!("> {FEW_RETRANSMITS}"))
            .at("recording/series.parquet"),
    ];
    if stood_still > 0.0 {
        let source = "tcp_retransmit_skb: stood still until the timer ran out";
        evidence.push(Evidence::new(source, stood_still, "s").at("recording/series.parquet"));
    }
    Ok(Verdict { light, why, evidence })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, light};
    use observe::Absent;

    fn loss(again: f64, of: f64) -> Machine {
        Machine::new().segments(again, of)
    }

    #[test]
    fn boundaries() {
        assert_eq!(light(&CHECK, &loss(100.0, 10_000.0)), Light::Good);
        assert_eq!(light(&CHECK, &loss(101.0, 10_000.0)), Light::Maybe);
        assert_eq!(light(&CHECK, &loss(9.0, 20.0)), Light::Good, "too few");
        assert_eq!(light(&CHECK, &loss(900.0, 10_000.0)), Light::Maybe, "nobody is seen to lose time");
    }

    #[test]
    fn bad_when_somebody_stands_still() {
        let stood = |again, seconds| loss(again, 10_000.0).stood_still(7, "10.0.0.2:5432", seconds);
        assert_eq!(light(&CHECK, &stood(101.0, 0.49)), Light::Maybe);
        assert_eq!(light(&CHECK, &stood(101.0, 0.5)), Light::Bad);
        assert_eq!(light(&CHECK, &stood(501.0, 0.2)), Light::Bad, "many");
        assert_eq!(light(&CHECK, &stood(500.0, 0.2)), Light::Maybe);
        assert_eq!(light(&CHECK, &stood(101.0, 0.5).friday(7)), Light::Maybe, "friday's own");
    }

    #[test]
    fn loss_that_drowns_in_traffic_counts_when_it_is_felt() {
        let machine = || loss(20.0, 1e6).stood_still(7, "10.0.0.2:5432", 3.0);
        assert_eq!(light(&CHECK, &machine()), Light::Maybe);
        let waits = |time| {
            machine().thread(7, "api", &[(TimeClass::BlockedNetwork, time)]).wait(
                7,
                TimeClass::BlockedNetwork,
                "tcp:10.0.0.2:5432",
                None,
                time,
                9,
            )
        };
        assert_eq!(light(&CHECK, &waits(1.5)), Light::Bad);
        assert_eq!(light(&CHECK, &waits(1.4)), Light::Maybe);
    }

    #[test]
    fn counters_alone_serve_and_none_is_no_health() {
        let mut machine = loss(0.0, 10.0);
        machine.rec.set(&catalog::TCP_RTO_WAIT, Err(Absent::NoPermission("run as root".into())));
        assert_eq!(light(&CHECK, &machine), Light::Good);
        assert_eq!(light(&CHECK, &Machine::new()), Light::Untested);
    }
}
