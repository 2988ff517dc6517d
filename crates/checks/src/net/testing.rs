//! The network of the machines that tests are made of.

use crate::testing::{Machine, WINDOW};
use observe::{Labels, Series, TimeClass, catalog, catalog::Metric};
use std::time::Duration;

impl Machine {
    pub(crate) fn protocol(self, protocol: &str, counter: &str, by: f64) -> Self {
        self.counter(&catalog::NET_PROTOCOL, &[("protocol", protocol), ("counter", counter)], by)
    }

    /// Segments sent again, of all.
    pub(crate) fn segments(self, again: f64, of: f64) -> Self {
        self.protocol("Tcp", "RetransSegs", again).protocol("Tcp", "OutSegs", of - again)
    }

    fn total(mut self, metric: &Metric<Series>, pairs: &[(&str, &str)], value: f64) -> Self {
        let labels = Labels(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect());
        self.rec.push(metric, Series::total(labels, Duration::from_secs_f64(WINDOW), value));
        self
    }

    pub(crate) fn stood_still(self, pid: u32, peer: &str, seconds: f64) -> Self {
        let pid = pid.to_string();
        self.total(&catalog::TCP_RTO_WAIT, &[("pid", &pid), ("local_port", ""), ("peer", peer)], seconds)
    }

    /// One listening socket: the most that waited, how many may, and how many overflowed.
    pub(crate) fn listening(self, pid: u32, waiting: f64, backlog: f64, overflows: f64) -> Self {
        let pid = pid.to_string();
        let labels = [("address", "0.0.0.0:80"), ("pid", pid.as_str())];
        self.protocol("TcpExt", "ListenOverflows", overflows)
            .protocol("TcpExt", "ListenDrops", overflows)
            .gauge(&catalog::LISTEN_QUEUE, &labels, &[0.0, waiting, 0.0])
            .gauge(&catalog::LISTEN_BACKLOG, &labels, &[backlog; 3])
            .counter(&catalog::LISTEN_DROPS, &labels, overflows)
    }

    pub(crate) fn dropped(self, reason: &str, count: f64) -> Self {
        self.total(&catalog::PACKET_DROPS, &[("reason", reason)], count)
    }

    pub(crate) fn datagrams_lost(self, pid: u32, count: f64) -> Self {
        self.total(&catalog::UDP_DROPS, &[("pid", &pid.to_string()), ("local_port", "514")], count)
    }

    pub(crate) fn interface(self, name: &str, packets: f64, errors: f64, dropped: f64) -> Self {
        let labels = [("device", name), ("direction", "receive")];
        self.counter(&catalog::NET_PACKETS, &labels, packets).counter(&catalog::NET_ERRORS, &labels, errors).counter(
            &catalog::NET_DROPPED,
            &labels,
            dropped,
        )
    }

    /// Connections of several durations in milliseconds, ascending.
    pub(crate) fn connects(mut self, pid: u32, peer: &str, sizes: &[(u64, f64)]) -> Self {
        for metric in [&catalog::TCP_CONNECT_FAILED, &catalog::TCP_CONNECT_WASTED] {
            if self.rec.get(metric).is_err() {
                self.rec.set(metric, Ok(Vec::new()));
            }
        }
        self.sizes(&catalog::TCP_CONNECT, &[("pid", &pid.to_string()), ("peer", peer)], sizes)
    }

    pub(crate) fn not_connected(self, pid: u32, peer: &str, why: &str, count: f64, seconds: f64) -> Self {
        let pid = pid.to_string();
        let labels = [("pid", pid.as_str()), ("peer", peer), ("why", why)];
        self.total(&catalog::TCP_CONNECT_FAILED, &labels, count).total(&catalog::TCP_CONNECT_WASTED, &labels, seconds)
    }

    /// A connection from port 40000: round trips in milliseconds, times in seconds.
    #[expect(clippy::too_many_arguments, reason = "one reading of tcp_info")]
    pub(crate) fn connection(self, pid: u32, peer: &str, rtt: f64, min: f64, busy: f64, held: f64, sent: f64) -> Self {
        let pid = pid.to_string();
        let labels = [("pid", pid.as_str()), ("local_port", "40000"), ("peer", peer)];
        let with = |name, value| [labels[0], labels[1], labels[2], (name, value)];
        self.gauge(&catalog::TCP_RTT, &labels, &[rtt / 1e3; 3])
            .total(&catalog::TCP_MIN_RTT, &labels, min / 1e3)
            .total(&catalog::TCP_LIMITED, &with("by", "busy"), busy)
            .total(&catalog::TCP_LIMITED, &with("by", "receive_window"), held)
            .total(&catalog::TCP_SEGMENTS, &with("what", "sent"), sent)
    }

    pub(crate) fn questions(self, pid: u32, count: f64) -> Self {
        self.total(&catalog::DNS_LOOKUPS, &[("pid", &pid.to_string()), ("server", "10.0.0.53")], count)
    }

    /// Everything is seen, and next to nothing happens.
    pub(crate) fn idle_network(mut self) -> Self {
        self.rec.set(&catalog::PACKET_DROPS, Ok(Vec::new()));
        self.rec.set(&catalog::DNS_LOOKUPS, Ok(Vec::new()));
        self.segments(0.0, 300.0)
            .listening(7, 1.0, 128.0, 0.0)
            .interface("eth0", 900.0, 0.0, 0.0)
            .connects(7, "10.0.0.2:5432", &[(3, 0.4)])
            .connection(7, "10.0.0.2:5432", 0.5, 0.4, 0.2, 0.0, 120.0)
    }

    /// Everything is short, of process 7.
    pub(crate) fn saturated_network(self) -> Self {
        const PEER: &str = "10.0.0.2:5432";
        const SERVER: &str = "tcp:10.0.0.53:53";
        self.segments(900.0, 9000.0)
            .stood_still(7, PEER, 3.0)
            .listening(7, 128.0, 128.0, 50.0)
            .interface("eth0", 20_000.0, 900.0, 900.0)
            .dropped("SOCKET_RCVBUFF", 2000.0)
            .datagrams_lost(7, 2000.0)
            .connects(7, PEER, &[(3, 0.4), (2, 3000.0)])
            .not_connected(7, PEER, "ETIMEDOUT", 9.0, 9.0)
            .connection(7, PEER, 900.0, 10.0, 9.0, 5.0, 5000.0)
            .questions(7, 4.0)
            .wait(7, TimeClass::BlockedNetwork, &format!("tcp:{PEER}"), None, 2.0, 20)
            .wait(7, TimeClass::BlockedNetwork, SERVER, None, 2.0, 4)
    }
}
