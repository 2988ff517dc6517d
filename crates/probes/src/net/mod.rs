//! The network: loss, connections, queues, windows and drops. Counters and sockets are read a few times in the window;
//! the programs in the kernel add what only events tell.
//!
//! Cost: a connection that exists costs nothing until something is sent again or thrown away: in a run of
//! redis-benchmark over loopback none of these programs ran once. Making, accepting and closing one took 1 to 2 µs more,
//! of 34 µs (`net_state` 0.2 µs in each of the three steps it looks at, `net_dns_route` below 0.1 µs for each route that
//! is looked up). Reading counters and sockets took 0.1 % of two CPUs.

mod counters;
pub(crate) mod diag;
mod dns;
mod drops;
mod listening;
mod owners;
pub(crate) mod scope;
mod sockets;
mod tcp;

pub(crate) use listening::Listening;
pub(crate) use sockets::connections_there;
pub(crate) use tcp::address;

use crate::{bpf::Kernel, roots::Roots};
use counters::Counters;
use observe::{Absent, AnyMetric, Fact, Labels, Pid, Recording, Target, catalog};
use owners::Owners;
use scope::Scope;
use sockets::{Arrived, Sockets};
use std::{collections::HashMap, time::Duration};

/// What the programs in the kernel measure.
pub(crate) const METRICS: &[&dyn AnyMetric] = &[
    &catalog::TCP_RETRANSMITS,
    &catalog::TCP_RTO_WAIT,
    &catalog::TCP_CONNECT,
    &catalog::TCP_CONNECT_FAILED,
    &catalog::TCP_CONNECT_WASTED,
    &catalog::TCP_ACCEPTED,
    &catalog::TCP_ARRIVED,
    &catalog::PACKET_DROPS,
    &catalog::DNS_LOOKUPS,
    &catalog::DNS_TIME,
];

/// What is read without programs in the kernel.
pub(crate) struct Network {
    roots: Roots,
    scope: Scope,
    counters: Counters,
    sockets: Sockets,
    owners: Owners,
}

/// What the kernel side needs to name sockets.
pub(crate) struct Names {
    roots: Roots,
    owners: Owners,
    /// The namespace whose listening sockets are known.
    netns: u32,
    /// Inodes of listening sockets, by port.
    listening: HashMap<u16, u32>,
    /// What came in at ports that are listened on, or why that is not known.
    arrived: Result<Arrived, Absent>,
}

impl Names {
    /// The process that listens on a port; empty when none is known.
    fn listener(&self, port: u16) -> String {
        let owner = self.listening.get(&port).and_then(|inode| self.owners.of(*inode));
        owner.map(|pid| pid.to_string()).unwrap_or_default()
    }

    /// The same for a port of a network namespace.
    pub fn listener_in(&self, netns: u32, port: u16) -> Option<Pid> {
        (netns == self.netns).then(|| self.owners.of(*self.listening.get(&port)?)).flatten()
    }
}

impl Network {
    /// Opens what is there and reads it once.
    pub fn start(roots: &Roots, target: &Target) -> Self {
        let scope = Scope::of(roots, target);
        let mut network = Network {
            roots: roots.clone(),
            counters: Counters::new(roots, &scope),
            sockets: Sockets::new(&scope, &Scope::all(roots)),
            scope,
            owners: Owners::default(),
        };
        // Sockets of processes that are gone at the end.
        network.owners.look(roots);
        network.sockets.sample_all(Duration::ZERO);
        network.counters.sample(Duration::ZERO);
        network
    }

    /// Reads what is due; call twice a second.
    pub fn sample(&mut self, at: Duration) {
        self.counters.sample(at);
        self.sockets.sample(at);
    }

    /// Reads all for the last time.
    pub fn end(&mut self, at: Duration) {
        self.counters.sample(at);
        self.sockets.sample_all(at);
    }

    /// Puts everything into the recording; gives what the kernel side's rows need.
    pub fn finish(mut self, length: Duration, into: &mut Recording) -> Names {
        self.owners.look(&self.roots);
        let others = self.owners.namespaces.iter().filter(|number| **number != self.scope.number).count();
        let value = format!("{}; {others} others", self.scope.text());
        let labels = Labels::new([("name", "namespace".to_owned())]);
        into.push(&catalog::NET_SCOPE, Fact { labels, value, source: "/proc/PID/ns/net".to_owned() });
        self.counters.finish(into);
        let listening = self.sockets.listening().collect();
        let arrived = self.sockets.arrived();
        self.sockets.finish(&self.owners, length, into);
        let (netns, roots, owners) = (self.scope.number, self.roots, self.owners);
        Names { roots, owners, netns, listening, arrived }
    }
}

/// Adds what the programs in the kernel saw.
pub(crate) fn collect(kernel: &Kernel, names: &Names, length: Duration, into: &mut Recording) {
    tcp::collect(kernel, names, length, into);
    drops::collect(kernel, &names.roots, length, into);
    dns::collect(kernel, length, into);
}
