//! Sockets as the kernel's own books have them, read a few times in the window: what connections are held up by, and who
//! does not come to accept.
//!
//! Those of other network namespaces than the target's are read as well: a connection within the machine is told best by the
//! end that sends, and containers live in namespaces of their own.
//!
//! Cost: listening sockets twice a second, 0.1 ms each time; connections every two seconds where there are few, 3 ms each
//! time and namespace, and less often the longer it takes, so that it stays below a hundredth of one CPU.

use super::{
    counters::pairs,
    diag::{ANY, Diag, Info, LISTENING, LIVE, Row},
    owners::Owners,
    scope::Scope,
};
use observe::{Absent, AnyMetric, Labels, Pid, Point, Recording, Series, catalog};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

/// What is read here.
pub(super) const METRICS: &[&dyn AnyMetric] = &[
    &catalog::LISTEN_QUEUE,
    &catalog::LISTEN_BACKLOG,
    &catalog::LISTEN_DROPS,
    &catalog::LISTEN_OVERFLOWS,
    &catalog::TCP_PORTS,
    &catalog::TCP_CONNECTING,
    &catalog::TCP_RTT,
    &catalog::TCP_MIN_RTT,
    &catalog::TCP_LIMITED,
    &catalog::TCP_SEGMENTS,
    &catalog::TCP_PEER_WINDOW,
    &catalog::TCP_WINDOW,
    &catalog::TCP_IO,
    &catalog::TCP_UNREAD,
    &catalog::TCP_SILENT,
    &catalog::TCP_UNANSWERED,
    &catalog::UDP_DROPS,
    &catalog::NET_SOCKETS,
];

/// ours: how often connections are read at most.
const INTERVAL: Duration = Duration::from_secs(2);

/// ours: reading them again waits for this many times what it took last.
const REST: u32 = 100;

/// ours: more connections than this are not listed: it would take more than a tenth of a second.
const MOST_READ: u64 = 50_000;

/// ours: with more than this they are read at the begin and the end of the window only.
const MOST_OFTEN: usize = 4096;

/// ours: connections whose rows are kept, those with most traffic; the table of a busy server stays below a megabyte.
const MOST_KEPT: usize = 1024;

/// ours: the same for listening sockets.
const MOST_LISTENING: usize = 256;

/// ours: other namespaces that are looked into: 0.1 s at the begin and the end.
const MOST_NAMESPACES: usize = 32;

/// ours: connections over which nothing moves that are told of.
const MOST_STANDING: usize = 256;

/// One connection from reading to reading.
struct Connection {
    /// The number of its network namespace.
    namespace: u32,
    local: SocketAddr,
    remote: SocketAddr,
    inode: u32,
    first: Info,
    last: Info,
    /// It was there at the last reading of all.
    there: bool,
    /// At its last reading it was there, and open at both ends.
    established: bool,
    /// Bytes that were to be sent, or had not been acknowledged.
    unsent: u32,
    /// Bytes that had come and were not read.
    unread: [u32; 2],
    /// It was there when the window began.
    from_begin: bool,
    rtt: Vec<Point>,
    peer_window: Vec<Point>,
    window: Vec<Point>,
}

/// One listening socket.
struct Listener {
    namespace: u32,
    local: SocketAddr,
    inode: u32,
    queue: Vec<Point>,
    backlog: Vec<Point>,
    drops: Vec<Point>,
}

/// Bytes that came in at ports that are listened on, by network namespace and port.
#[derive(Clone, Debug, Default)]
pub(super) struct Arrived {
    /// Those whose connections were read.
    pub namespaces: HashSet<u32>,
    /// In the window, over connections that are still there.
    pub of_there: HashMap<(u32, u16), u64>,
    /// Before the window, over connections that have ended in it.
    pub of_gone_before: HashMap<(u32, u16), u64>,
}

/// What was read so far.
pub(super) struct Sockets {
    /// The target's namespace.
    diag: Result<Diag, Absent>,
    scope: Scope,
    others: Vec<(Scope, Diag)>,
    connections: HashMap<u64, Connection>,
    listeners: BTreeMap<u64, Listener>,
    connecting: BTreeMap<(u32, SocketAddr), Vec<Point>>,
    /// Datagram sockets: where, whose, and drops at the first and the last reading.
    datagrams: BTreeMap<u64, (SocketAddr, u32, u32, u32)>,
    /// Overflows of accept queues by network namespace, at the first and the last reading.
    overflows: BTreeMap<u32, (f64, f64)>,
    /// Why connections could not be read.
    refused: Option<Absent>,
    readings: u32,
    next: Duration,
}

impl Sockets {
    /// Opens what is there, in the target's namespace and in others.
    pub fn new(scope: &Scope, all: &[Scope]) -> Self {
        let others = all.iter().filter(|other| other.number != scope.number).take(MOST_NAMESPACES);
        Sockets {
            diag: Diag::open(scope),
            scope: scope.clone(),
            others: others.filter_map(|other| Some((other.clone(), Diag::open(other).ok()?))).collect(),
            connections: HashMap::new(),
            listeners: BTreeMap::new(),
            connecting: BTreeMap::new(),
            datagrams: BTreeMap::new(),
            overflows: BTreeMap::new(),
            refused: None,
            readings: 0,
            next: Duration::ZERO,
        }
    }

    /// Reads what is due; call twice a second.
    pub fn sample(&mut self, at: Duration) {
        self.read_listening(at);
        if at >= self.next && (at.is_zero() || self.connections.len() <= MOST_OFTEN) {
            self.read_connections(at);
        }
    }

    /// Reads all, at the begin and the end of the window.
    pub fn sample_all(&mut self, at: Duration) {
        self.read_listening(at);
        self.read_connections(at);
        self.read_datagrams();
        for scope in [&self.scope].into_iter().chain(self.others.iter().map(|(scope, _)| scope)) {
            if let Some(count) = overflows(scope) {
                self.overflows.entry(scope.number).or_insert((count, count)).1 = count;
            }
        }
    }

    /// Ports that are listened on in the target's namespace, with the sockets' inodes.
    pub fn listening(&self) -> impl Iterator<Item = (u16, u32)> {
        let own = |listener: &&Listener| listener.namespace == self.scope.number;
        self.listeners.values().filter(own).map(|listener| (listener.local.port(), listener.inode))
    }

    /// What came in at ports that are listened on, or why that is not known.
    pub fn arrived(&self) -> Result<Arrived, Absent> {
        self.diag.as_ref().map_err(Absent::clone)?;
        self.refused.clone().map_or(Ok(()), Err)?;
        let place = |listener: &Listener| (listener.namespace, listener.local.port());
        let listened: HashSet<(u32, u16)> = self.listeners.values().map(place).collect();
        let mut arrived =
            Arrived { namespaces: listened.iter().map(|(namespace, _)| *namespace).collect(), ..Arrived::default() };
        for connection in self.connections.values() {
            let (place, first) = ((connection.namespace, connection.local.port()), connection.first.bytes_received);
            let (sums, bytes) = match connection.there {
                true => (&mut arrived.of_there, connection.last.bytes_received.saturating_sub(first)),
                false => (&mut arrived.of_gone_before, first),
            };
            if listened.contains(&place) {
                *sums.entry(place).or_default() += bytes;
            }
        }
        Ok(arrived)
    }

    fn read_listening(&mut self, at: Duration) {
        let Ok(diag) = &mut self.diag else { return };
        if let Err(why) = listen(diag, self.scope.number, &mut self.listeners, at) {
            self.diag = Err(why);
        }
    }

    fn read_connections(&mut self, at: Duration) {
        let there = connections_there(&self.scope);
        if there > MOST_READ {
            let why = format!("{there} connections are too many to list (more than {MOST_READ})");
            self.refused = Some(Absent::NotCollected(why));
            return;
        }
        let Ok(diag) = &mut self.diag else { return };
        let begun = Instant::now();
        let (connections, connecting) = (&mut self.connections, &mut self.connecting);
        let is_first = self.readings == 0;
        // Those that are closed are not listed any more.
        connections.values_mut().for_each(|connection| (connection.there, connection.established) = (false, false));
        let mut left = MOST_READ - there;
        let mut list = |diag: &mut Diag, namespace: u32| {
            diag.list(libc::IPPROTO_TCP, LIVE, |row| {
                if row.is_connecting() {
                    let points = connecting.entry((row.inode, canonical(row.remote))).or_default();
                    match points.last_mut().filter(|point| point.at == at) {
                        Some(point) => point.value += 1.0,
                        None => points.push(Point { at, value: 1.0 }),
                    }
                } else if let Some(info) = row.info {
                    follow(connections, &row, (info, namespace), is_first, at);
                }
            })
        };
        match list(diag, self.scope.number) {
            Ok(()) => self.readings += 1,
            Err(why) => self.diag = Err(why),
        }
        for (scope, diag) in &mut self.others {
            let there = connections_there(scope);
            if there <= left {
                left -= there;
                // What cannot be read there says nothing of the target's.
                let _ = list(diag, scope.number);
                let _ = listen(diag, scope.number, &mut self.listeners, at);
            }
        }
        self.next = at + INTERVAL.max(begun.elapsed() * REST);
    }

    fn read_datagrams(&mut self) {
        let (datagrams, is_first) = (&mut self.datagrams, self.readings <= 1);
        for diag in self.diag.iter_mut().chain(self.others.iter_mut().map(|(_, diag)| diag)) {
            // A kernel without it (CONFIG_INET_UDP_DIAG) has no rows: the counters of all such sockets are there.
            let _ = diag.list(libc::IPPROTO_UDP, ANY, |row| {
                let drops = row.drops.unwrap_or(0);
                let first = if is_first { drops } else { 0 };
                datagrams.entry(row.cookie).or_insert((row.local, row.inode, first, drops)).3 = drops;
            });
        }
    }

    /// Puts the rows, or why there are none, into the recording.
    pub fn finish(mut self, owners: &Owners, length: Duration, into: &mut Recording) {
        if let Err(why) = &self.diag {
            METRICS.iter().for_each(|metric| metric.refuse(into, why));
            return;
        }
        self.finish_listening(owners, length, into);
        if let Some(why) = self.refused.take() {
            METRICS[5..].iter().for_each(|metric| metric.refuse(into, &why));
            return;
        }
        let datagrams = self.datagrams.values().filter(|(_, _, first, last)| last > first);
        let rows = datagrams.map(|(local, inode, first, last)| {
            let labels = Labels::new([("pid", shown(owners.of(*inode))), ("local_port", local.port().to_string())]);
            Series::total(labels, length, f64::from(last - first))
        });
        into.set(&catalog::UDP_DROPS, Ok(rows.collect()));
        let rows = self.connecting.into_iter().map(|((inode, remote), points)| Series {
            labels: Labels::new([("pid", shown(owners.of(inode))), ("peer", remote.to_string())]),
            points,
        });
        into.set(&catalog::TCP_CONNECTING, Ok(rows.collect()));
        let read = self.connections.len();
        // Who holds a connection that no process holds any more is told by who listens on its port.
        let by_port: HashMap<(u32, u16), Pid> = self
            .listeners
            .values()
            .filter_map(|listener| Some(((listener.namespace, listener.local.port()), owners.of(listener.inode)?)))
            .collect();
        let owner = |connection: &Connection| {
            let listened = (connection.namespace, connection.local.port());
            owners.of(connection.inode).or_else(|| by_port.get(&listened).copied())
        };
        let ports: HashSet<(u32, u16)> =
            self.listeners.values().map(|listener| (listener.namespace, listener.local.port())).collect();
        let listened = |c: &Connection| ports.contains(&(c.namespace, c.local.port()));
        finish_standing(&self.connections, listened, owner, length, into);
        let mut active: Vec<Connection> = self.connections.into_values().filter(|c| c.activity() > (0, 0)).collect();
        active.sort_by_key(|connection| Reverse(connection.activity()));
        let left_out = active.len().saturating_sub(MOST_KEPT);
        active.truncate(MOST_KEPT);
        for (what, count) in [("read", read), ("kept", active.len()), ("left out", left_out)] {
            let labels = Labels::new([("what", what.to_owned())]);
            into.push(&catalog::NET_SOCKETS, Series::total(labels, length, count as f64));
        }
        for metric in [
            &catalog::TCP_RTT,
            &catalog::TCP_MIN_RTT,
            &catalog::TCP_LIMITED,
            &catalog::TCP_SEGMENTS,
            &catalog::TCP_PEER_WINDOW,
            &catalog::TCP_WINDOW,
            &catalog::TCP_IO,
        ] {
            into.set(metric, Ok(Vec::new()));
        }
        for connection in active {
            let pid = owner(&connection);
            connection.put(pid, length, into);
        }
    }

    fn finish_listening(&self, owners: &Owners, length: Duration, into: &mut Recording) {
        for metric in [&catalog::LISTEN_QUEUE, &catalog::LISTEN_BACKLOG, &catalog::LISTEN_DROPS] {
            into.set(metric, Ok(Vec::new()));
        }
        let grew = |(first, last): &(f64, f64)| last - first;
        let overflows = match self.overflows.is_empty() {
            true => Err(Absent::Unsupported("net/netstat has no ListenOverflows".into())),
            false => Ok(vec![Series::total(Labels::default(), length, self.overflows.values().map(grew).sum())]),
        };
        into.set(&catalog::LISTEN_OVERFLOWS, overflows);
        into.set(&catalog::TCP_PORTS, Ok(Vec::new()));
        for scope in [&self.scope].into_iter().chain(self.others.iter().map(|(scope, _)| scope)) {
            let resting = in_sockstat(scope, "sockstat", "TCP:", "tw").unwrap_or(0);
            let used = resting + connections_there(scope);
            for (what, count) in [("range", ports(scope)), ("resting", Some(resting)), ("used", Some(used))] {
                let labels = Labels::new([("namespace", scope.number.to_string()), ("what", what.to_owned())]);
                if let Some(count) = count {
                    into.push(&catalog::TCP_PORTS, Series::total(labels, length, count as f64));
                }
            }
        }
        let mut listeners: Vec<&Listener> = self.listeners.values().collect();
        let worst = |listener: &Listener| {
            let grew =
                |points: &[Point]| points.last().map_or(0.0, |l| l.value) - points.first().map_or(0.0, |f| f.value);
            (grew(&listener.drops), listener.queue.iter().map(|point| point.value).fold(0.0, f64::max))
        };
        listeners.sort_by(|a, b| worst(b).partial_cmp(&worst(a)).unwrap_or(std::cmp::Ordering::Equal));
        for listener in listeners.into_iter().take(MOST_LISTENING) {
            let labels = Labels::new([
                ("address", canonical(listener.local).to_string()),
                ("pid", shown(owners.of(listener.inode))),
            ]);
            for (metric, points) in [
                (&catalog::LISTEN_QUEUE, &listener.queue),
                (&catalog::LISTEN_BACKLOG, &listener.backlog),
                (&catalog::LISTEN_DROPS, &listener.drops),
            ] {
                into.push(metric, Series { labels: labels.clone(), points: points.clone() });
            }
        }
    }
}

impl Connection {
    /// Time with data to send, then bytes: what sorts the ones that matter first.
    fn activity(&self) -> (u64, u64) {
        let bytes = |info: &Info| info.bytes_acknowledged + info.bytes_received + u64::from(info.retransmitted);
        let busy = self.last.busy.saturating_sub(self.first.busy);
        (busy, bytes(&self.last).saturating_sub(bytes(&self.first)))
    }

    fn labels(&self, owner: Option<Pid>) -> Labels {
        Labels::new([
            ("pid", shown(owner)),
            ("local_port", self.local.port().to_string()),
            ("peer", canonical(self.remote).to_string()),
        ])
    }

    /// Bytes that lay unread all the window.
    fn unread(&self) -> Option<u32> {
        let [first, last] = self.unread;
        let came = self.last.bytes_received.saturating_sub(self.first.bytes_received);
        let nothing_read = u64::from(last) == u64::from(first) + came;
        (self.from_begin && first > 0 && nothing_read).then_some(last)
    }

    /// Milliseconds for which the other end has let what was sent, again and again, unanswered: all the window.
    fn silent(&self) -> Option<u32> {
        let (first, last) = (&self.first, &self.last);
        let sent = first.unacknowledged > 0 && last.unacknowledged > 0 && last.timeouts > 0;
        let acknowledged = last.bytes_acknowledged > first.bytes_acknowledged;
        (self.from_begin && sent && !acknowledged).then_some(last.since_acknowledged)
    }

    /// Milliseconds since the last question on it, to which no answer has come.
    fn unanswered(&self) -> Option<u32> {
        /// ours: an answer that comes later is late by any measure.
        const LEAST: u32 = 1000;
        /// ours: who has sent so many times the segments of data that came, and that many where none came, tells.
        const QUESTION: u32 = 8;
        let last = &self.last;
        let asks = (1..=(last.received + 1).saturating_mul(QUESTION)).contains(&last.sent);
        let since = last.since_sent;
        // The kernel tells both by its tick, in which an answer may have come, or a connection been made.
        let spoke_last = since < last.since_received || last.received == 0;
        (self.established && asks && self.unsent == 0 && spoke_last && since >= LEAST).then_some(since)
    }

    fn put(self, owner: Option<Pid>, length: Duration, into: &mut Recording) {
        let labels = self.labels(owner);
        let with = |name: &str, value: &str| {
            let mut labels = labels.clone();
            labels.0.insert(name.to_owned(), value.to_owned());
            labels
        };
        let grew = |of: fn(&Info) -> u64| of(&self.last).saturating_sub(of(&self.first)) as f64;
        let of_32 = |last: u32, first: u32| f64::from(last.wrapping_sub(first));
        const MICROSECOND: f64 = 1e-6;
        let total = |labels, value| Series::total(labels, length, value);
        for (by, time) in [
            ("busy", grew(|i| i.busy)),
            ("receive_window", grew(|i| i.receive_window)),
            ("send_buffer", grew(|i| i.send_buffer)),
        ] {
            into.push(&catalog::TCP_LIMITED, total(with("by", by), time * MICROSECOND));
        }
        for (what, count) in [
            ("retransmitted", of_32(self.last.retransmitted, self.first.retransmitted)),
            ("sent", of_32(self.last.sent, self.first.sent)),
            ("unacknowledged", f64::from(self.last.unacknowledged)),
            ("lost", f64::from(self.last.lost)),
            ("received", of_32(self.last.received, self.first.received)),
            ("out_of_order", of_32(self.last.out_of_order, self.first.out_of_order)),
        ] {
            into.push(&catalog::TCP_SEGMENTS, total(with("what", what), count));
        }
        for (direction, bytes) in
            [("transmit", grew(|i| i.bytes_acknowledged)), ("receive", grew(|i| i.bytes_received))]
        {
            into.push(&catalog::TCP_IO, total(with("direction", direction), bytes));
        }
        if self.last.min_rtt > 0 {
            let min = f64::from(self.last.min_rtt) * MICROSECOND;
            into.push(&catalog::TCP_MIN_RTT, total(labels.clone(), min));
        }
        into.push(&catalog::TCP_RTT, Series { labels: labels.clone(), points: self.rtt });
        for (metric, points) in [(&catalog::TCP_PEER_WINDOW, self.peer_window), (&catalog::TCP_WINDOW, self.window)] {
            if !points.is_empty() {
                into.push(metric, Series { labels: labels.clone(), points });
            }
        }
    }
}

/// Puts the rows of connections over which nothing moved.
fn finish_standing(
    connections: &HashMap<u64, Connection>,
    listened: impl Fn(&Connection) -> bool,
    owner: impl Fn(&Connection) -> Option<Pid>,
    length: Duration,
    into: &mut Recording,
) {
    into.set(&catalog::TCP_UNREAD, Ok(Vec::new()));
    into.set(&catalog::TCP_SILENT, Ok(Vec::new()));
    into.set(&catalog::TCP_UNANSWERED, Ok(Vec::new()));
    let ends: HashMap<(u32, SocketAddr, SocketAddr), &Connection> =
        connections.values().map(|c| ((c.namespace, c.local, c.remote), c)).collect();
    // Who has opened several may wait at another of them, but not at one to itself, a pipe of its own.
    let mut opened: BTreeMap<Pid, Vec<&Connection>> = BTreeMap::new();
    for connection in connections.values().filter(|c| c.established && !listened(c)) {
        let other_end = ends.get(&(connection.namespace, connection.remote, connection.local));
        let with_whom = other_end.and_then(|end| owner(end));
        if let Some(pid) = owner(connection).filter(|pid| with_whom != Some(*pid)) {
            opened.entry(pid).or_default().push(connection);
        }
    }
    let alone = opened.iter().filter_map(|(pid, all)| Some((*pid, *all.first()?)).filter(|_| all.len() == 1));
    let waiting = alone.filter_map(|(pid, connection)| Some((pid, connection, connection.unanswered()?)));
    for (pid, connection, ms) in waiting.take(MOST_STANDING) {
        let labels = Labels::new([
            ("pid", pid.to_string()),
            ("local", canonical(connection.local).to_string()),
            ("peer", canonical(connection.remote).to_string()),
        ]);
        into.push(&catalog::TCP_UNANSWERED, Series::total(labels, length, f64::from(ms) / 1e3));
    }
    let standing = connections.values().filter(|c| c.unread().is_some() || c.silent().is_some());
    for connection in standing.take(MOST_STANDING) {
        let labels = connection.labels(owner(connection));
        if let Some(bytes) = connection.unread() {
            let other_end = |c: &&Connection| c.local == connection.remote && c.remote == connection.local;
            let client = connections.values().find(other_end).and_then(&owner);
            let mut labels = labels.clone();
            labels.0.insert("peer_pid".into(), shown(client));
            labels.0.insert("accepted".into(), if connection.inode == 0 { "" } else { "yes" }.into());
            into.push(&catalog::TCP_UNREAD, Series::total(labels, length, f64::from(bytes)));
        }
        if let Some(ms) = connection.silent() {
            into.push(&catalog::TCP_SILENT, Series::total(labels, length, f64::from(ms) / 1e3));
        }
    }
}

/// Reads a namespace's listening sockets.
fn listen(
    diag: &mut Diag,
    namespace: u32,
    listeners: &mut BTreeMap<u64, Listener>,
    at: Duration,
) -> Result<(), Absent> {
    diag.list(libc::IPPROTO_TCP, LISTENING, |row| {
        let listener = listeners.entry(row.cookie).or_insert_with(|| Listener {
            namespace,
            local: row.local,
            inode: row.inode,
            queue: Vec::new(),
            backlog: Vec::new(),
            drops: Vec::new(),
        });
        let point = |value: u32| Point { at, value: f64::from(value) };
        listener.queue.push(point(row.read_queue));
        listener.backlog.push(point(row.write_queue));
        listener.drops.extend(row.drops.map(point));
    })
}

/// Notes one reading of a connection in a namespace. One that was not there before began at zero.
fn follow(
    connections: &mut HashMap<u64, Connection>,
    row: &Row,
    (info, namespace): (Info, u32),
    is_first: bool,
    at: Duration,
) {
    let connection = connections.entry(row.cookie).or_insert_with(|| Connection {
        namespace,
        local: row.local,
        remote: row.remote,
        inode: row.inode,
        first: if is_first { info } else { Info::default() },
        last: info,
        there: true,
        established: false,
        unsent: 0,
        unread: [row.read_queue; 2],
        from_begin: is_first,
        rtt: Vec::new(),
        peer_window: Vec::new(),
        window: Vec::new(),
    });
    connection.last = info;
    connection.there = true;
    connection.established = row.is_established();
    connection.unsent = row.write_queue;
    connection.unread[1] = row.read_queue;
    if row.inode != 0 {
        connection.inode = row.inode;
    }
    connection.rtt.push(Point { at, value: f64::from(info.rtt) * 1e-6 });
    connection.peer_window.extend(info.peer_window.map(|window| Point { at, value: f64::from(window) }));
    connection.window.extend(info.window.map(|window| Point { at, value: f64::from(window) }));
}

fn shown(owner: Option<Pid>) -> String {
    owner.map(|pid| pid.to_string()).unwrap_or_default()
}

fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V6(ip) => SocketAddr::new(ip.to_canonical(), address.port()),
        IpAddr::V4(_) => address,
    }
}

/// How many TCP sockets a namespace has; 0 when that cannot be read.
pub(crate) fn connections_there(scope: &Scope) -> u64 {
    let of = |file: &str, name: &str| in_sockstat(scope, file, name, "inuse").unwrap_or(0);
    of("sockstat", "TCP:") + of("sockstat6", "TCP6:")
}

/// A number of a namespace's sockets: `TCP: inuse 3 orphan 0 tw 27 alloc 9 mem 4`.
fn in_sockstat(scope: &Scope, file: &str, protocol: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(scope.files.join(file)).ok()?;
    let mut words = text.lines().find_map(|line| line.strip_prefix(protocol))?.split_ascii_whitespace();
    words.find(|word| *word == name)?;
    words.next()?.parse().ok()
}

/// How many ports a namespace's connections may be made from.
fn ports(scope: &Scope) -> Option<u64> {
    // It shows the range of who reads it.
    let text = scope.inside(|| fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")).ok()?;
    let mut ends = text.split_ascii_whitespace().filter_map(|end| end.parse::<u64>().ok());
    let (first, last) = (ends.next()?, ends.next()?);
    Some((last + 1).saturating_sub(first))
}

/// How many attempts to connect found an accept queue of a namespace full since that was made.
fn overflows(scope: &Scope) -> Option<f64> {
    let text = fs::read_to_string(scope.files.join("netstat")).ok()?;
    pairs(&text).find(|(_, counter, _)| *counter == "ListenOverflows").map(|(_, _, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use observe::{Host, Target, Window};
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream},
        time::SystemTime,
    };

    fn read_here(work: impl FnOnce(&mut Sockets)) -> Recording {
        let scope = Scope { files: "/proc/net".into(), number: 0, of: None };
        let mut sockets = Sockets::new(&scope, &[]);
        sockets.sample_all(Duration::ZERO);
        work(&mut sockets);
        sockets.sample_all(Duration::from_secs(1));
        let host = Host { name: "h".into(), kernel: "6".into(), cpus: 2, memory_bytes: 1 };
        let window = Window { start: SystemTime::UNIX_EPOCH, length: Duration::from_secs(1) };
        let mut recording = Recording::new(host, Target::system("h"), window);
        let mut owners = Owners::default();
        owners.look(&crate::roots::Roots::default());
        sockets.finish(&owners, Duration::from_secs(1), &mut recording);
        recording
    }

    #[test]
    fn a_connection_of_this_process_is_followed_from_its_begin() {
        let mut ends = None;
        let seen = read_here(|sockets| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let mut server = listener.accept().unwrap().0;
            client.write_all(&[7; 5000]).unwrap();
            server.read_exact(&mut [0; 5000]).unwrap();
            sockets.sample(Duration::from_millis(500));
            ends = Some((listener, client, server));
        });
        let (listener, client, _server) = ends.unwrap();
        let own = std::process::id().to_string();
        let port = client.local_addr().unwrap().port().to_string();
        let mine = |row: &&Series| row.labels.get("local_port") == port && row.labels.get("pid") == own;
        let sent =
            seen.get(&catalog::TCP_IO).unwrap().iter().filter(mine).find(|r| r.labels.get("direction") == "transmit");
        assert_eq!(sent.expect("its row").last(), 5000.0 + 1.0, "the first segment counts as a byte");
        let rtt = seen.get(&catalog::TCP_RTT).unwrap().iter().find(mine).expect("its row");
        assert!(rtt.last() > 0.0 && rtt.labels.get("peer") == listener.local_addr().unwrap().to_string());
        let queue = seen.get(&catalog::LISTEN_QUEUE).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        assert!(queue.iter().any(|row| row.labels.get("address") == address && row.labels.get("pid") == own));
    }

    #[test]
    fn what_nobody_reads_is_told() {
        let mut ends = Vec::new();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        for read in [false, true] {
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let server = listener.accept().unwrap().0;
            client.write_all(&[7; 50]).unwrap();
            ends.push((client, server, read));
        }
        let seen = read_here(|_| {
            for (_, server, read) in &mut ends {
                if *read {
                    server.read_exact(&mut [0; 50]).unwrap();
                }
            }
        });
        let unread = seen.get(&catalog::TCP_UNREAD).unwrap();
        let of = |client: &TcpStream| {
            let peer = client.local_addr().unwrap().to_string();
            unread.iter().find(|row| row.labels.get("peer") == peer).map(Series::last)
        };
        assert_eq!((of(&ends[0].0), of(&ends[1].0)), (Some(50.0), None));
    }

    fn connection(first: Info, last: Info, from_begin: bool) -> Connection {
        let here: SocketAddr = "10.0.0.1:40000".parse().unwrap();
        Connection {
            namespace: 0,
            local: here,
            remote: here,
            inode: 0,
            first,
            last,
            there: true,
            established: true,
            unsent: 0,
            unread: [0; 2],
            from_begin,
            rtt: Vec::new(),
            peer_window: Vec::new(),
            window: Vec::new(),
        }
    }

    #[test]
    fn an_answer_that_does_not_come_is_told_and_a_stream_to_nobody_is_not() {
        let asked = Info { sent: 2, received: 1, since_sent: 4000, since_received: 5000, ..Info::default() };
        let unanswered = |info: Info| connection(info, info, true).unanswered();
        assert_eq!(unanswered(asked), Some(4000));
        assert_eq!(unanswered(Info { since_received: 3000, ..asked }), None, "it came");
        assert_eq!(unanswered(Info { since_sent: 300, ..asked }), None, "it may yet come");
        assert_eq!(unanswered(Info { received: 0, since_received: 4000, ..asked }), Some(4000), "the first question");
        assert_eq!(unanswered(Info { since_received: 4000, ..asked }), None, "which was first cannot be told");
        assert_eq!(unanswered(Info { received: 3, sent: 500, ..asked }), None, "a log that is sent away");
        let not_there = |change: fn(&mut Connection)| {
            let mut connection = connection(asked, asked, true);
            change(&mut connection);
            connection.unanswered()
        };
        assert_eq!(not_there(|c| c.unsent = 20), None, "the question is not even there");
        assert_eq!(not_there(|c| c.established = false), None, "it is closed");
    }

    #[test]
    fn only_the_only_connection_that_a_process_has_opened_is_told() {
        let asked = Info { sent: 2, received: 1, since_sent: 4000, since_received: 5000, ..Info::default() };
        let told = |ends: &[(u32, [u16; 2])], listened: bool| {
            let place = |port: u16| SocketAddr::from(([10, 0, 0, 1], port));
            let all = ends.iter().map(|(inode, [local, remote])| Connection {
                inode: *inode,
                local: place(*local),
                remote: place(*remote),
                ..connection(asked, asked, true)
            });
            let all: HashMap<u64, Connection> = (0..).zip(all).collect();
            let host = Host { name: "h".into(), kernel: "6".into(), cpus: 2, memory_bytes: 1 };
            let window = Window { start: SystemTime::UNIX_EPOCH, length: Duration::from_secs(5) };
            let mut rec = Recording::new(host, Target::system("h"), window);
            let owner = |connection: &Connection| Some(Pid(connection.inode));
            finish_standing(&all, |_| listened, owner, Duration::from_secs(5), &mut rec);
            let rows = rec.get(&catalog::TCP_UNANSWERED).unwrap();
            let mut told: Vec<(Pid, f64)> = rows.iter().map(|row| (row.labels.pid().unwrap(), row.last())).collect();
            told.sort_by_key(|(pid, _)| *pid);
            told
        };
        let (first, second, other) = ((7, [41, 80]), (7, [42, 80]), (8, [43, 80]));
        assert_eq!(told(&[first, other], false), [(Pid(7), 4.0), (Pid(8), 4.0)]);
        assert_eq!(told(&[first, second, other], false), [(Pid(8), 4.0)]);
        let to_itself = [(7, [50, 51]), (7, [51, 50])];
        assert_eq!(told(&[first, to_itself[0], to_itself[1]], false), [(Pid(7), 4.0)]);
        assert_eq!(told(&[first], true), [], "who serves asks nothing");
    }

    #[test]
    fn who_answers_nothing_that_is_sent_again_is_silent() {
        let info = Info { unacknowledged: 1, bytes_acknowledged: 90, since_acknowledged: 9000, ..Info::default() };
        let silent = |last: Info, from_begin| connection(info, last, from_begin).silent();
        assert_eq!(silent(Info { timeouts: 4, ..info }, true), Some(9000));
        assert_eq!(silent(info, true), None, "on its way");
        assert_eq!(silent(Info { timeouts: 1, bytes_acknowledged: 95, ..info }, true), None, "it answers");
        assert_eq!(silent(Info { timeouts: 4, ..info }, false), None);
    }

    #[test]
    fn a_namespace_tells_how_many_ports_it_has() {
        let dir = tempfile::tempdir().unwrap();
        let sockstat = "sockets: used 42\nTCP: inuse 3 orphan 0 tw 27 alloc 9 mem 4\nUDP: inuse 1 mem 0\n";
        fs::write(dir.path().join("sockstat"), sockstat).unwrap();
        let scope = Scope { files: dir.path().into(), number: 0, of: None };
        assert_eq!(in_sockstat(&scope, "sockstat", "TCP:", "tw"), Some(27));
        assert_eq!((in_sockstat(&scope, "sockstat", "TCP:", "lost"), connections_there(&scope)), (None, 3));
        assert!(ports(&scope).is_some_and(|ports| ports > 0));
    }

    #[test]
    fn what_cannot_be_read_has_its_reason() {
        let scope = Scope { files: "/nonexistent/net".into(), number: 0, of: Some(Pid(1)) };
        let sockets = Sockets::new(&scope, &[]);
        let host = Host { name: "h".into(), kernel: "6".into(), cpus: 2, memory_bytes: 1 };
        let window = Window { start: SystemTime::UNIX_EPOCH, length: Duration::from_secs(1) };
        let mut seen = Recording::new(host, Target::system("h"), window);
        sockets.finish(&Owners::default(), Duration::from_secs(1), &mut seen);
        assert!(seen.get(&catalog::TCP_RTT).unwrap_err().to_string().contains("sock_diag"));
        assert!(seen.get(&catalog::LISTEN_QUEUE).is_err());
    }
}
