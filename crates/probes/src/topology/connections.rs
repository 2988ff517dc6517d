//! Which processes are at the two ends of a connection: within the machine both ends are in the kernel's tables; else the
//! other one is a peer.

use super::{End, Links};
use crate::{
    net::{
        connections_there,
        diag::{ANY, Diag, LISTENING, LIVE, Row, unix},
        scope::Scope,
    },
    roots::Roots,
};
use observe::{Absent, Pid};
use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
};

/// ours: listing more than this takes more than a tenth of a second.
const MOST_CONNECTIONS: u64 = 50_000;
/// ours: other network namespaces that are looked into.
const MOST_NAMESPACES: usize = 32;
/// Linux gives ports from here up to whoever asks for none in particular (`ip_local_port_range`): sockets for datagrams on
/// them ask, and do not serve.
const FIRST_EPHEMERAL: u16 = 32_768;

/// Who holds a socket, by its inode.
type Owners = HashMap<u32, Vec<Pid>>;

/// One end of a connection.
#[derive(Clone, Debug)]
struct Connection {
    by: &'static str,
    namespace: u32,
    local: SocketAddr,
    remote: SocketAddr,
    inode: u32,
}

/// The kernel's tables.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    /// By namespace and port: the address and the socket.
    listening: Vec<Connection>,
    connections: Vec<Connection>,
    unix: Vec<unix::Row>,
}

impl Sockets {
    /// Lists the sockets of all network namespaces that may be entered.
    pub fn read(roots: &Roots, links: &mut Links) -> Result<Sockets, Absent> {
        let mut sockets = Sockets::default();
        let mut left = MOST_CONNECTIONS;
        for (at, scope) in Scope::all(roots).iter().enumerate() {
            let mut diag = match Diag::open(scope) {
                Ok(diag) if at <= MOST_NAMESPACES => diag,
                Err(why) if at == 0 => return Err(why),
                _ => {
                    links.miss("namespaces", 1);
                    continue;
                }
            };
            let there = connections_there(scope);
            sockets.read_unconnected(&mut diag, scope.number)?;
            if there > left {
                links.miss("more_connections", there);
                continue;
            }
            left -= there;
            let add = |row: Row| sockets.connections.push(connection("tcp", scope.number, &row));
            diag.list(libc::IPPROTO_TCP, LIVE, add)?;
        }
        Ok(sockets)
    }

    fn read_unconnected(&mut self, diag: &mut Diag, namespace: u32) -> Result<(), Absent> {
        diag.list(libc::IPPROTO_TCP, LISTENING, |row| self.listening.push(connection("tcp", namespace, &row)))?;
        // A kernel without these tables has none to show (CONFIG_INET_UDP_DIAG, CONFIG_UNIX_DIAG).
        let _ = diag.list(libc::IPPROTO_UDP, ANY, |row| {
            let one = connection("udp", namespace, &row);
            match one.remote.port() {
                0 if one.local.port() < FIRST_EPHEMERAL => self.listening.push(one),
                0 => {}
                _ => self.connections.push(one),
            }
        });
        let _ = diag.list_unix(|row| self.unix.push(row));
        Ok(())
    }

    /// Adds who listens, and a link for each connection, from who connected.
    pub fn join(&self, owners: &Owners, links: &mut Links) {
        for one in &self.listening {
            for pid in holders(owners, one.inode) {
                links.note(End::Process(*pid), End::Nothing, "listens", format!("{} {}", one.by, one.local));
            }
        }
        self.join_connections(owners, links);
        self.join_unix(owners, links);
    }

    fn join_connections(&self, owners: &Owners, links: &mut Links) {
        // Loopback is each namespace's own; other addresses lead from one into another.
        let place = |one: &Connection| if one.local.ip().is_loopback() { one.namespace } else { 0 };
        let key = |one: &Connection| (one.by, place(one), one.local, one.remote);
        let served: HashSet<(&str, u32, u16)> =
            self.listening.iter().map(|one| (one.by, one.namespace, one.local.port())).collect();
        let serves = |one: &Connection| served.contains(&(one.by, one.namespace, one.local.port()));
        let all: HashMap<_, &Connection> = self.connections.iter().map(|one| (key(one), one)).collect();
        for one in &self.connections {
            let own = holders(owners, one.inode);
            match all.get(&(one.by, place(one), one.remote, one.local)) {
                Some(other) => {
                    let asks = match (serves(one), serves(other)) {
                        (false, true) => true,
                        (true, false) => false,
                        // Nobody listens there any more, or both do: the lower port is more often the known one.
                        _ => one.local.port() > one.remote.port(),
                    };
                    let others = holders(owners, other.inode);
                    if asks && (own.is_empty() || others.is_empty()) {
                        links.miss("ends", 1);
                    } else if asks {
                        between(own, others, one.by, &one.remote.port().to_string(), links);
                    }
                }
                // One that was just closed.
                None if one.inode == 0 || one.remote.ip().is_loopback() => {}
                None if own.is_empty() => links.miss("ends", 1),
                None => {
                    let peer = End::Peer(one.remote.ip().to_string());
                    // Of those that share a socket, the last one has it for its work: a server's parent is older.
                    let pid = End::Process(own[own.len() - 1]);
                    if serves(one) {
                        links.add(peer, pid, one.by, one.local.port().to_string());
                    } else {
                        links.add(pid, peer, one.by, one.remote.port().to_string());
                    }
                }
            }
        }
    }

    fn join_unix(&self, owners: &Owners, links: &mut Links) {
        let all: HashMap<u32, &unix::Row> = self.unix.iter().map(|row| (row.inode, row)).collect();
        let mut seen = HashSet::new();
        for row in &self.unix {
            for pid in holders(owners, row.inode).iter().filter(|_| row.listening) {
                links.note(End::Process(*pid), End::Nothing, "listens", format!("unix {}", row.name));
            }
            let Some(peer) = all.get(&row.peer).copied() else { continue };
            if !seen.insert((row.inode.min(peer.inode), row.inode.max(peer.inode))) {
                continue;
            }
            // The path is that of the listening socket, so who connected has none.
            let (asks, answers) = if row.name.is_empty() || !peer.name.is_empty() { (row, peer) } else { (peer, row) };
            let (own, others) = (holders(owners, asks.inode), holders(owners, answers.inode));
            // Both ends may be with one process, and with several that share a pair.
            if own.is_empty() || others.is_empty() {
                links.miss("ends", 1);
            } else if own.iter().all(|pid| !others.contains(pid)) {
                between(own, others, "unix", &answers.name, links);
            }
        }
    }
}

fn connection(by: &'static str, namespace: u32, row: &Row) -> Connection {
    Connection { by, namespace, local: row.local, remote: row.remote, inode: row.inode }
}

fn holders(owners: &Owners, inode: u32) -> &[Pid] {
    owners.get(&inode).map_or(&[], Vec::as_slice)
}

fn between(from: &[Pid], to: &[Pid], by: &'static str, what: &str, links: &mut Links) {
    for one in from {
        for other in to.iter().filter(|other| *other != one) {
            links.add(End::Process(*one), End::Process(*other), by, what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::lines, *};
    use std::collections::BTreeMap;

    fn tcp(namespace: u32, local: &str, remote: &str, inode: u32) -> Connection {
        let (local, remote) = (local.parse().unwrap(), remote.parse().unwrap());
        Connection { by: "tcp", namespace, local, remote, inode }
    }

    fn joined(sockets: &Sockets, owners: &[(u32, &[u32])]) -> (Vec<String>, BTreeMap<&'static str, u64>) {
        let owners: Owners =
            owners.iter().map(|(inode, pids)| (*inode, pids.iter().copied().map(Pid).collect())).collect();
        let mut links = Links::default();
        sockets.join(&owners, &mut links);
        (lines(&links), links.unseen)
    }

    #[test]
    fn both_ends_within_the_machine_are_one_link_from_who_connected() {
        let sockets = Sockets {
            listening: vec![tcp(1, "0.0.0.0:80", "0.0.0.0:0", 9)],
            connections: vec![
                tcp(1, "127.0.0.1:80", "127.0.0.1:40000", 10),
                tcp(1, "127.0.0.1:40000", "127.0.0.1:80", 11),
                // The same addresses in another namespace are another connection, and its ends are not known.
                tcp(2, "127.0.0.1:40000", "127.0.0.1:80", 12),
                tcp(2, "127.0.0.1:80", "127.0.0.1:40000", 13),
                // From namespace to namespace.
                tcp(2, "172.17.0.2:5000", "172.17.0.1:80", 14),
                tcp(1, "172.17.0.1:80", "172.17.0.2:5000", 15),
            ],
            unix: vec![],
        };
        let owners: [(u32, &[u32]); 5] = [(9, &[1, 2]), (10, &[2]), (11, &[3]), (14, &[4]), (15, &[2])];
        let (links, unseen) = joined(&sockets, &owners);
        let expected = [
            "process:1 > listens tcp 0.0.0.0:80 1",
            "process:2 > listens tcp 0.0.0.0:80 1",
            "process:3 > process:2 tcp 80 1",
            "process:4 > process:2 tcp 80 1",
        ];
        assert_eq!(links, expected);
        assert_eq!(unseen, BTreeMap::from([("ends", 1)]));
    }

    #[test]
    fn peers_ask_or_are_asked() {
        let sockets = Sockets {
            listening: vec![tcp(1, "[::]:443", "[::]:0", 9)],
            connections: vec![
                tcp(1, "10.0.0.1:443", "10.0.0.7:50001", 10),
                tcp(1, "10.0.0.1:443", "10.0.0.7:50002", 11),
                tcp(1, "10.0.0.1:39000", "[2001:db8::5]:5432", 12),
                tcp(1, "10.0.0.1:443", "10.0.0.8:50003", 0),
                tcp(1, "127.0.0.1:5", "127.0.0.1:6", 13),
            ],
            unix: vec![],
        };
        let (links, unseen) = joined(&sockets, &[(10, &[2]), (11, &[1, 2]), (12, &[2]), (13, &[2])]);
        assert_eq!(links, ["process:2 > peer:2001:db8::5 tcp 5432 1", "peer:10.0.0.7 > process:2 tcp 443 2"]);
        assert!(unseen.is_empty());
    }

    #[test]
    fn unix_sockets_lead_to_who_has_the_path() {
        let row = |inode, peer, name: &str, listening| unix::Row { inode, peer, name: name.into(), listening };
        let path = "/run/\u{1b}[31m<b>.sock";
        let sockets = Sockets {
            unix: vec![
                row(1, 0, path, true),
                row(2, 3, path, false),
                row(3, 2, "", false),
                row(4, 5, "", false),
                row(5, 4, "", false),
                row(6, 7, "", false),
                row(7, 6, "", false),
                row(8, 99, "", false),
            ],
            ..Sockets::default()
        };
        let owners: [(u32, &[u32]); 6] =
            [(1, &[10]), (2, &[10]), (3, &[20]), (4, &[10, 20]), (5, &[10, 20]), (6, &[20])];
        let (links, unseen) = joined(&sockets, &owners);
        assert_eq!(
            links,
            [format!("process:10 > listens unix {path} 1"), format!("process:20 > process:10 unix {path} 1")]
        );
        assert_eq!(unseen, BTreeMap::from([("ends", 1)]), "6 and 7");
    }
}
