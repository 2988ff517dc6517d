//! One end that a victim talks with.

use super::{
    duration,
    resent::{self, Resent, Way},
};
use crate::path::POLLS;
use observe::{Histogram, Pid, Ratio, Series, TimeClass, Wait, catalog, catalog::Metric};
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// What the kernel side says of a wait on a socket: Nagle's algorithm held small data back.
pub const HELD: &str = "held by Nagle's algorithm";
/// Segments were sent again meanwhile.
pub(super) const SENT_AGAIN: &str = "sent again";
/// The other end took no more.
const SMALL_WINDOW: &str = "small window";
/// The path took what it could.
const BUFFER_FULL: &str = "send buffer full";

/// DSLReports: up to this part of all segments sent again is fine.
const FEW: Ratio = Ratio(0.01);

/// ours: fewer segments than this say nothing about a share.
const SOME: f64 = 10.0;

/// ours: from here on a transfer takes five round trips and more: ten segments in the first one, and twice as many in each
/// that follows. As long as an answer may take before it is called a slow one.
const LARGE: f64 = 256.0 * 1024.0;

/// What another process of this machine sends to the victim, as its end has it.
#[derive(Default)]
pub struct Flow {
    /// Round-trip times as read, summed and counted.
    rtt: (f64, f64),
    /// The shortest round trip.
    pub min_rtt: Option<Duration>,
    /// Time with data to send.
    pub busy: Duration,
    /// Of it, held up by the victim's window.
    pub receive_window: Duration,
    /// Of it, held up by the send buffer.
    send_buffer: Duration,
}

impl Flow {
    /// Whether that end is on this machine.
    pub fn is_seen(&self) -> bool {
        self.rtt.1 > 0.0
    }

    /// Time in which a window or buffer held it up.
    pub fn limited(&self) -> Duration {
        self.receive_window + self.send_buffer
    }
}

/// A service that the victim asks, or those who ask it at one of its ports.
#[derive(Default)]
pub struct Talk<'s> {
    /// `10.0.0.2:5432`; `port 80` where others connect to the victim.
    pub end: String,
    /// Others connect to the victim.
    pub served: bool,
    /// The victim's waits on such connections, idle ones included.
    pub waits: Vec<&'s Wait>,
    /// From a question until its answer.
    pub asked: Histogram,
    /// The exchanges that were for the sake of a request in hand.
    pub in_requests: (Duration, u64),
    /// Who answers there, if that is a process of this machine.
    pub answerer: Option<Pid>,
    /// Round-trip times as read, summed and counted.
    rtt: (f64, f64),
    /// The shortest round trip.
    pub min_rtt: Option<Duration>,
    /// Time with data to send.
    pub busy: Duration,
    /// Of it, held up by the other end's window.
    pub receive_window: Duration,
    /// Of it, held up by the send buffer.
    pub send_buffer: Duration,
    /// The least that the other end took when it was asked.
    pub peer_window: Option<f64>,
    /// Segments with data.
    pub sent: f64,
    /// Bytes that the other end has acknowledged.
    pub transmitted: f64,
    /// Bytes that came.
    pub received: f64,
    /// What the victim sent again.
    pub resent: Resent,
    /// What the other end sent again, where that is on this machine.
    pub resent_to_it: Resent,
    /// What the other end sends, where that is on this machine.
    pub back: Flow,
    /// Segments with data that came.
    arrived: f64,
    /// Those that came before others which belong in front of them.
    pub out_of_order: f64,
    /// The most that the victim offered to take, summed over connections.
    pub window: Option<f64>,
    local_ports: BTreeSet<String>,
}

/// Adds a row to a conversation.
type Add = fn(&mut Talk, &Series);

/// The kernel's books on connections.
pub(super) const BOOKS: &[(&Metric<Series>, Add)] = &[
    (&catalog::TCP_RTT, |talk, row| {
        talk.rtt.0 += row.mean() * row.points.len() as f64;
        talk.rtt.1 += row.points.len() as f64;
        talk.local_ports.insert(row.labels.get("local_port").to_owned());
    }),
    (&catalog::TCP_MIN_RTT, |talk, row| {
        let shortest = Some(duration(row.last())).filter(|rtt| !rtt.is_zero());
        talk.min_rtt = talk.min_rtt.into_iter().chain(shortest).min();
    }),
    (&catalog::TCP_LIMITED, |talk, row| {
        let time = duration(row.last());
        match row.labels.get("by") {
            "busy" => talk.busy += time,
            "receive_window" => talk.receive_window += time,
            _ => talk.send_buffer += time,
        }
    }),
    (&catalog::TCP_PEER_WINDOW, |talk, row| {
        let least = row.points.iter().map(|point| point.value).chain(talk.peer_window).reduce(f64::min);
        talk.peer_window = least;
    }),
    (&catalog::TCP_SEGMENTS, |talk, row| match row.labels.get("what") {
        "sent" => talk.sent += row.last(),
        "received" => talk.arrived += row.last(),
        "out_of_order" => talk.out_of_order += row.last(),
        _ => {}
    }),
    (&catalog::TCP_WINDOW, |talk, row| {
        talk.window = Some(talk.window.unwrap_or(0.0) + row.max());
    }),
    (&catalog::TCP_IO, |talk, row| match row.labels.get("direction") {
        "transmit" => talk.transmitted += row.last(),
        _ => talk.received += row.last(),
    }),
];

/// Adds a row to what the other end sends.
type AddBack = fn(&mut Flow, &Series);

/// The books on connections that tell something of who receives.
pub(super) const OF_THE_OTHER_END: &[(&Metric<Series>, AddBack)] = &[
    (&catalog::TCP_RTT, |back, row| {
        back.rtt.0 += row.mean() * row.points.len() as f64;
        back.rtt.1 += row.points.len() as f64;
    }),
    (&catalog::TCP_MIN_RTT, |back, row| {
        let shortest = Some(duration(row.last())).filter(|rtt| !rtt.is_zero());
        back.min_rtt = back.min_rtt.into_iter().chain(shortest).min();
    }),
    (&catalog::TCP_LIMITED, |back, row| {
        let time = duration(row.last());
        match row.labels.get("by") {
            "busy" => back.busy += time,
            "receive_window" => back.receive_window += time,
            _ => back.send_buffer += time,
        }
    }),
];

impl Talk<'_> {
    /// The address, without its port, of a service that the victim asks.
    pub fn host(&self) -> &str {
        self.end.rsplit_once(':').map_or(&self.end, |(host, _)| host)
    }

    /// Both ends are on the loopback.
    pub fn is_loopback(&self) -> bool {
        self.end.parse::<SocketAddr>().is_ok_and(|end| end.ip().is_loopback())
    }

    /// It is asked for names.
    pub fn is_name_server(&self) -> bool {
        self.end.ends_with(":53")
    }

    /// Time in which threads were blocked on it.
    pub fn blocked(&self) -> Duration {
        self.blocking(|_| true).iter().map(|wait| wait.time).sum()
    }

    /// The waits that are no idleness and that `keep` accepts.
    pub fn blocking(&self, keep: impl Fn(&Wait) -> bool) -> Vec<&Wait> {
        let blocked = |wait: &Wait| matches!(wait.class, TimeClass::BlockedNetwork | TimeClass::BlockedProcess);
        self.waits.iter().copied().filter(|wait| blocked(wait) && keep(wait)).collect()
    }

    /// The waits for room to send.
    pub fn sending(&self) -> Vec<&Wait> {
        self.blocking(is_sending)
    }

    /// The waits for an answer.
    pub fn receiving(&self) -> Vec<&Wait> {
        self.blocking(|wait| !is_sending(wait) && !is_connecting(wait))
    }

    /// The mean round-trip time.
    pub fn rtt(&self) -> Option<Duration> {
        (self.rtt.1 > 0.0).then(|| duration(self.rtt.0 / self.rtt.1))
    }

    /// Segments that were lost, or taken for lost, once the connection stood.
    pub fn lost_segments(&self) -> f64 {
        self.resent.segments() + self.resent_to_it.segments()
    }

    /// The part of the victim's segments that were lost.
    pub fn loss(&self) -> Ratio {
        Ratio::of_counts(self.resent.segments(), self.sent)
    }

    /// More of the victim's segments is lost than is fine.
    pub fn is_lossy(&self) -> bool {
        self.resent.segments() >= SOME && self.loss() > FEW
    }

    /// More of what is sent to the victim is lost than is fine, as the other end on this machine knows.
    pub fn is_lossy_back(&self) -> bool {
        let lost = self.resent_to_it.segments();
        lost >= SOME && Ratio::of_counts(lost, self.arrived + lost) > FEW
    }

    /// So much came out of order that some of it must have been lost, where the other end is not seen.
    pub fn has_gaps(&self) -> bool {
        /// ours: one that is lost of a hundred holds up the five behind it, and more on any path but the shortest.
        const MANY: Ratio = Ratio(0.05);
        !self.back.is_seen() && self.out_of_order >= SOME && Ratio::of_counts(self.out_of_order, self.arrived) > MANY
    }

    /// Time for which connections stood still for lost segments of either way.
    pub fn stalled(&self) -> Duration {
        /// ours: what fits into one segment is a message; the rest of a stream is behind the others.
        const MESSAGE: f64 = 1448.0;
        let answers = self.received > 0.0 && self.received < self.asked.count as f64 * MESSAGE;
        self.resent.stalled(self.way())
            + self.resent_to_it.stalled(Way { thin: answers, to_client: false, ..self.way() })
    }

    /// The remote address for which it stood still longest.
    pub fn most_stalled(&self) -> Option<&str> {
        self.resent.most_stalled(self.way())
    }

    fn way(&self) -> Way {
        /// ours: messages fill their segments by half at most, on average.
        const HALF: f64 = 724.0;
        let thin = self.transmitted > 0.0 && self.transmitted < self.sent * HALF;
        Way { rtt: self.rtt().unwrap_or_default(), thin, to_client: self.served }
    }

    /// How often the victim asked, at least.
    pub fn questions(&self) -> f64 {
        (self.asked.count as f64).max(self.sent)
    }

    /// Answers are so large that they take their time on the way.
    pub fn is_transfer(&self) -> bool {
        self.received >= LARGE * self.questions().max(1.0)
    }

    /// Answers are so large that the round trips until the sender has found its pace do not matter.
    pub fn is_stream(&self) -> bool {
        /// ours: with the usual windows the pace is found within the first megabyte.
        const LONG: f64 = 1024.0 * 1024.0;
        self.received >= LONG * self.questions().max(1.0)
    }

    /// Questions are: most of the time until their answers goes by while they are on the way.
    pub fn is_upload(&self) -> bool {
        let asked = Duration::from_nanos(self.asked.sum);
        let questions = self.asked.count as f64;
        questions > 0.0 && self.transmitted >= LARGE * questions && self.busy >= asked / 2
    }

    /// The waits in which segments were sent again.
    pub fn sent_again(&self) -> Vec<&Wait> {
        self.blocking(|wait| wait.reason() == Some(SENT_AGAIN))
    }

    /// Time in which a window or buffer held it up.
    pub fn limited(&self) -> Duration {
        self.receive_window + self.send_buffer
    }

    /// Packets queue on the path: round trips are longer than they need be.
    pub fn queueing(&self) -> Duration {
        above(self.rtt(), self.min_rtt)
    }

    /// The same on the way to the victim, as the other end on this machine knows.
    pub fn queueing_back(&self) -> Duration {
        let rtt = (self.back.rtt.1 > 0.0).then(|| duration(self.back.rtt.0 / self.back.rtt.1));
        above(rtt, self.back.min_rtt)
    }

    /// The names of its waits, and of exchanges with it.
    pub fn resources(&self) -> impl Iterator<Item = String> + '_ {
        self.waits.iter().map(|wait| wait.resource.clone()).chain([format!("tcp:{}", self.end)])
    }
}

/// By how much round trips are longer than the shortest; zero where that is not known.
fn above(rtt: Option<Duration>, shortest: Option<Duration>) -> Duration {
    shortest.map_or(Duration::ZERO, |shortest| rtt.unwrap_or_default().saturating_sub(shortest))
}

/// Conversations while they are gathered.
pub(super) struct Talks<'s> {
    pub all: Vec<Talk<'s>>,
    listening: BTreeSet<String>,
}

impl<'s> Talks<'s> {
    pub fn new(listening: BTreeSet<String>) -> Self {
        Talks { all: Vec::new(), listening }
    }

    pub fn waited(&mut self, wait: &'s Wait) {
        if let Some(end) = wait.end() {
            self.talk(end).waits.push(wait);
        }
    }

    pub fn asked(&mut self, row: &Histogram) {
        let peer = row.labels.get("peer");
        if peer.parse::<SocketAddr>().is_err() {
            return;
        }
        let talk = self.talk(peer);
        talk.asked.merge(row);
        talk.answerer = talk.answerer.or(row.labels.get("peer_pid").parse().ok().map(Pid));
        if !row.labels.get("service").is_empty() {
            talk.in_requests.0 += Duration::from_nanos(row.sum);
            talk.in_requests.1 += row.count;
        }
    }

    pub fn add(&mut self, row: &Series, add: Add) {
        add(self.with(row), row);
    }

    pub fn resent(&mut self, row: &Series, add: resent::Add) {
        add(&mut self.with(row).resent, row);
    }

    /// The conversation that a row of the books is about.
    fn with(&mut self, row: &Series) -> &mut Talk<'s> {
        let (port, peer) = (row.labels.get("local_port"), row.labels.get("peer"));
        let serves = !port.is_empty() && (self.listening.contains(port) || peer.parse::<SocketAddr>().is_err());
        let end = if serves { format!("port {port}") } else { peer.to_owned() };
        self.talk(&end)
    }

    /// What another process of this machine has in its books on a connection with the victim, whichever network namespace
    /// it is in.
    pub fn of_the_other_end(&mut self, row: &Series, add: AddBack) {
        let port = row.labels.get("local_port");
        let Ok(to) = row.labels.get("peer").parse::<SocketAddr>() else { return };
        let to = to.port().to_string();
        let is_theirs = |talk: &&mut Talk| {
            !talk.served && talk.local_ports.contains(&to) && talk.end.rsplit_once(':').is_some_and(|(_, p)| p == port)
        };
        if let Some(talk) = self.all.iter_mut().find(is_theirs) {
            add(&mut talk.back, row);
        }
    }

    /// What another process of this machine sent again to the victim: its rows have the victim's port, or none where
    /// both share a network namespace.
    pub fn by_the_other_end(&mut self, row: &Series, add: resent::Add) {
        let (port, peer) = (row.labels.get("local_port"), row.labels.get("peer"));
        let to = peer.parse::<SocketAddr>().map(|peer| peer.port().to_string());
        let same_host = peer.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        let is_theirs = |talk: &&mut Talk| match &to {
            Ok(to) => talk.local_ports.contains(to),
            Err(_) => same_host && talk.is_loopback() && talk.end.ends_with(&format!(":{port}")),
        };
        if let Some(talk) = self.all.iter_mut().filter(|talk| !talk.served).find(is_theirs) {
            add(&mut talk.resent_to_it, row);
        }
    }

    /// The conversation with an end, begun where there is none.
    fn talk(&mut self, end: &str) -> &mut Talk<'s> {
        let end = canonical(end);
        let known = self.all.iter().position(|talk| is_same(&talk.end, &end));
        let at = known.unwrap_or_else(|| {
            let served = end.starts_with("port ");
            self.all.push(Talk { end: end.clone(), served, ..Talk::default() });
            self.all.len() - 1
        });
        if self.all[at].end.contains(CUT) {
            self.all[at].end = end;
        }
        &mut self.all[at]
    }
}

/// Where a wait's name leaves out the rest of an IPv6 address.
const CUT: &str = ":…]";

/// An address as the kernel's books have it: waits show IPv4 addresses of IPv6 sockets by their last digits.
fn canonical(end: &str) -> String {
    let Ok(address) = end.parse::<SocketAddr>() else { return end.to_owned() };
    let ip = match address.ip().to_canonical() {
        IpAddr::V6(ip) if ip.segments()[..6] == [0; 6] && ip.segments()[6] != 0 => {
            let [.., a, b, c, d] = ip.octets();
            IpAddr::from([a, b, c, d])
        }
        ip => ip,
    };
    SocketAddr::new(ip, address.port()).to_string()
}

/// Whether two names are of one end, one of them cut short perhaps.
fn is_same(a: &str, b: &str) -> bool {
    let cut = |short: &str, full: &str| {
        let (Some((host, port)), Ok(SocketAddr::V6(full))) = (short.split_once(CUT), full.parse()) else {
            return false;
        };
        host == format!("[{:x}", full.ip().segments()[0]) && port == format!(":{}", full.port())
    };
    a == b || cut(a, b) || cut(b, a)
}

/// Whether a wait is for room to send: in a call that sends, or in a poll that ended with much that is not acknowledged yet.
pub fn is_sending(wait: &Wait) -> bool {
    const SENDS: &[&str] = &["write", "writev", "sendto", "sendmsg", "sendmmsg", "sendfile", "splice"];
    let call = wait.syscall.as_str();
    SENDS.contains(&call) || POLLS.contains(&call) && matches!(wait.reason(), Some(SMALL_WINDOW | BUFFER_FULL))
}

/// Whether a wait is for the other end's first answer.
pub fn is_connecting(wait: &Wait) -> bool {
    wait.syscall == "connect"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_end_has_one_name() {
        assert_eq!(canonical("[::10.0.0.2]:5432"), "10.0.0.2:5432", "an IPv4 address on an IPv6 socket");
        assert_eq!(canonical("[::0.0.0.1]:80"), "[::1]:80");
        assert_eq!(canonical("port 80"), "port 80");
        assert!(is_same("[2001:…]:443", "[2001:db8::7]:443") && !is_same("[2001:…]:443", "[2001:db8::7]:80"));
        assert!(!is_same("[2001:…]:443", "[fd00::7]:443"));
    }
}
