//! Segments that one end of a conversation sent again, and for how long it stood still.

use super::duration;
use observe::{Series, catalog, catalog::Metric};
use std::{collections::BTreeMap, time::Duration};

/// One way of a conversation.
#[derive(Default)]
pub struct Resent {
    by_kind: BTreeMap<String, f64>,
    /// Timers that ran out, and time stood still until then, by remote address.
    stalls: BTreeMap<String, (f64, Duration)>,
}

/// Adds a row.
pub(super) type Add = fn(&mut Resent, &Series);

/// Where it is told.
pub(super) const ROWS: [(&Metric<Series>, Add); 2] = [
    (&catalog::TCP_RETRANSMITS, |resent, row| {
        let kind = row.labels.get("kind");
        *resent.by_kind.entry(kind.to_owned()).or_default() += row.last();
        if kind == "timeout" {
            resent.stalls.entry(row.labels.get("peer").to_owned()).or_default().0 += row.last();
        }
    }),
    (&catalog::TCP_RTO_WAIT, |resent, row| {
        resent.stalls.entry(row.labels.get("peer").to_owned()).or_default().1 += duration(row.last());
    }),
];

/// Of what the way is used for.
#[derive(Clone, Copy)]
pub struct Way {
    /// A round trip.
    pub rtt: Duration,
    /// Messages of a segment, each of which waits for an answer: none behind tells that one is lost.
    pub thin: bool,
    /// To a client, which may be gone.
    pub to_client: bool,
}

impl Resent {
    /// Segments that were lost, or taken for lost, once the connection stood.
    pub fn segments(&self) -> f64 {
        self.of("timeout") + self.of("fast") + self.of("probe")
    }

    fn of(&self, kind: &str) -> f64 {
        self.by_kind.get(kind).copied().unwrap_or(0.0)
    }

    /// For how long connections stood still: until timers ran out, a round trip for what acknowledgements told of, and for
    /// probes of the tail two of them (RFC 8985), and of a single segment the shortest timer on top.
    pub fn stalled(&self, way: Way) -> Duration {
        /// TCP_RTO_MIN.
        const SHORTEST_TIMER: Duration = Duration::from_millis(200);
        let timers: Duration = self.alive(way).map(|(_, waited)| waited).sum();
        let probe = way.rtt * 2 + if way.thin { SHORTEST_TIMER } else { Duration::ZERO };
        timers + way.rtt.mul_f64(self.of("fast")) + probe.mul_f64(self.of("probe"))
    }

    /// The remote address for which it stood still longest.
    pub fn most_stalled(&self, way: Way) -> Option<&str> {
        self.alive(way).max_by_key(|(_, waited)| *waited).map(|(remote, _)| remote)
    }

    /// Addresses for which it stood still. The timer doubles each time nobody answers: a client that is gone holds up
    /// nobody. A service that does not answer any more is the victim's trouble all the same.
    fn alive(&self, way: Way) -> impl Iterator<Item = (&str, Duration)> {
        /// ours: a timer of 200 ms that has doubled twice at most has run for 1.4 s in three.
        const MOST: Duration = Duration::from_millis(500);
        let alive =
            move |timeouts: f64, waited: Duration| !way.to_client || waited <= (MOST + way.rtt * 2).mul_f64(timeouts);
        let stalls =
            self.stalls.iter().filter(move |(_, (timeouts, waited))| *timeouts > 0.0 && alive(*timeouts, *waited));
        stalls.map(|(remote, (_, waited))| (remote.as_str(), *waited))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: Way = Way { rtt: Duration::from_millis(4), thin: true, to_client: true };

    #[test]
    fn a_client_that_is_gone_is_no_loss() {
        let mut resent = Resent::default();
        resent.stalls.insert("10.0.0.9".into(), (5.0, Duration::from_millis(6200)));
        assert_eq!(resent.stalled(SERVER), Duration::ZERO);
        assert_eq!(resent.stalled(Way { to_client: false, ..SERVER }), Duration::from_millis(6200));
        resent.stalls.insert("10.0.0.8".into(), (10.0, Duration::from_millis(2400)));
        assert_eq!(
            (resent.stalled(SERVER), resent.most_stalled(SERVER)),
            (Duration::from_millis(2400), Some("10.0.0.8"))
        );
    }

    #[test]
    fn what_nothing_behind_it_tells_of_waits_for_the_timer() {
        let mut resent = Resent::default();
        resent.by_kind.insert("probe".into(), 10.0);
        assert_eq!(resent.stalled(SERVER), Duration::from_millis(2080));
        assert_eq!(resent.stalled(Way { thin: false, ..SERVER }), Duration::from_millis(80));
    }
}
