//! Who is whose client: which end of a local TCP connection a process holds.

use crate::roots::Roots;
use std::{
    collections::{HashMap, HashSet},
    fs,
};

/// ours: more descriptors than this are not looked through.
const MOST_DESCRIPTORS: usize = 8192;

/// TCP connections of this host by process. Looks each process up once.
pub(crate) struct Peers<'a> {
    roots: &'a Roots,
    /// Local and remote port by socket inode.
    ports: HashMap<u64, (u16, u16)>,
    listening: HashSet<u16>,
    by_process: HashMap<u32, HashSet<(u16, u16)>>,
}

impl<'a> Peers<'a> {
    /// Reads the tables of connections.
    pub fn new(roots: &'a Roots) -> Self {
        let (ports, listening) = connections(roots);
        Peers { roots, ports, listening, by_process: HashMap::new() }
    }

    /// Ports this host listens on, in its own network namespace.
    pub fn listening(&self) -> &HashSet<u16> {
        &self.listening
    }

    /// Whether one process is a client of another: it holds the end of a connection that was not listened for.
    pub fn is_client_of(&mut self, client: u32, server: u32) -> bool {
        self.look_up(client);
        self.look_up(server);
        let (Some(mine), Some(theirs)) = (self.by_process.get(&client), self.by_process.get(&server)) else {
            return false;
        };
        mine.iter().any(|(local, remote)| !self.listening.contains(local) && theirs.contains(&(*remote, *local)))
    }

    fn look_up(&mut self, pid: u32) {
        if self.by_process.contains_key(&pid) {
            return;
        }
        let descriptors = fs::read_dir(self.roots.proc.join(format!("{pid}/fd"))).into_iter().flatten().flatten();
        let sockets = descriptors.take(MOST_DESCRIPTORS).filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?;
            let inode = target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()?;
            self.ports.get(&inode).copied()
        });
        let sockets = sockets.collect();
        self.by_process.insert(pid, sockets);
    }
}

/// Local and remote port of this host's TCP connections by inode, and the ports that are listened on.
pub(super) fn connections(roots: &Roots) -> (HashMap<u64, (u16, u16)>, HashSet<u16>) {
    let (mut ports, mut listening) = (HashMap::new(), HashSet::new());
    for file in ["net/tcp", "net/tcp6"] {
        let Ok(table) = fs::read_to_string(roots.proc.join(file)) else { continue };
        for line in table.lines().skip(1) {
            // sl local rem st tx:rx tr:when retrnsmt uid timeout inode
            let fields: Vec<&str> = line.split_whitespace().take(10).collect();
            let port = |at: usize| u16::from_str_radix(fields.get(at)?.rsplit(':').next()?, 16).ok();
            let (Some(local), Some(remote), Some(state)) = (port(1), port(2), fields.get(3)) else { continue };
            if *state == "0A" {
                listening.insert(local);
            } else if let Some(inode) = fields.get(9).and_then(|i| i.parse().ok()) {
                ports.insert(inode, (local, remote));
            }
        }
    }
    (ports, listening)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn the_end_that_was_not_listened_for_is_the_client() {
        let dir = tempfile::tempdir().unwrap();
        let (net, client, server) = (dir.path().join("net"), dir.path().join("7/fd"), dir.path().join("9/fd"));
        for folder in [&net, &client, &server] {
            fs::create_dir_all(folder).unwrap();
        }
        let row = |local: &str, remote: &str, state: &str, inode: u32| {
            format!("  0: 0100007F:{local} 0100007F:{remote} {state} 0:0 00:0 0 0 0 {inode} 1\n")
        };
        let table = format!(
            "  sl  local_address rem_address   st\n{}{}{}",
            row("18EB", "0000", "0A", 1),
            row("C350", "18EB", "01", 2),
            row("18EB", "C350", "01", 3)
        );
        fs::write(net.join("tcp"), table).unwrap();
        symlink("socket:[2]", client.join("3")).unwrap();
        symlink("socket:[3]", server.join("4")).unwrap();
        let roots = Roots { proc: dir.path().into(), ..Roots::default() };
        let mut peers = Peers::new(&roots);
        assert_eq!(peers.listening(), &HashSet::from([6379]));
        assert!(peers.is_client_of(7, 9));
        assert!(!peers.is_client_of(9, 7));
        assert!(!peers.is_client_of(7, 8), "a process that is gone");
    }
}
