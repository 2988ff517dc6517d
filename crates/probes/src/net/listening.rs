//! Ports that are listened on, in every network namespace: what tells an accepted connection from one that was opened.
//!
//! Cost: before the window, 2 µs for each process, and 0.2 ms for each namespace.

use super::{
    diag::{Diag, LISTENING},
    scope::Scope,
};
use crate::roots::Roots;
use observe::Absent;
use std::collections::BTreeSet;

/// ours: network namespaces that are looked into, 50 ms.
const MOST_NAMESPACES: usize = 256;

/// Who is listened for, by network namespace.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listening {
    pub ports: BTreeSet<(u32, u16)>,
    /// Namespaces that could not be looked into.
    pub unknown: Vec<u32>,
}

impl Listening {
    /// Asks the kernel.
    ///
    /// # Errors
    /// When not even those of friday's own namespace can be read.
    pub fn read(roots: &Roots) -> Result<Listening, Absent> {
        let mut listening = Listening::default();
        for (at, scope) in Scope::all(roots).into_iter().enumerate() {
            match at {
                0 => listening.add(&scope)?,
                _ if at > MOST_NAMESPACES || listening.add(&scope).is_err() => listening.unknown.push(scope.number),
                _ => {}
            }
        }
        Ok(listening)
    }

    fn add(&mut self, scope: &Scope) -> Result<(), Absent> {
        let ports = &mut self.ports;
        Diag::open(scope)?.list(libc::IPPROTO_TCP, LISTENING, |row| {
            ports.insert((scope.number, row.local.port()));
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_of_this_process_is_listened_on() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let roots = Roots::default();
        let own = crate::net::scope::number(&roots, "self").unwrap();
        let listening = Listening::read(&roots).unwrap();
        assert!(listening.ports.contains(&(own, port)) && !listening.unknown.contains(&own));
        drop(listener);
        assert!(!Listening::read(&roots).unwrap().ports.contains(&(own, port)));
    }
}
