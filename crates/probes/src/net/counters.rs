//! Counters of protocols and interfaces, read a few times a second. Cost: about 0.1 ms for each reading.

use super::scope::Scope;
use crate::{
    host::counters::{Source, Table},
    roots::Roots,
};
use observe::{Recording, catalog};
use procfs::net::InterfaceDeviceStatus;
use std::time::Duration;

/// The counters that say something about time lost; the kernel has some hundreds.
const KEPT: [(&str, &[&str]); 5] = [
    ("Ip", &["ReasmReqds", "ReasmOKs", "ReasmFails", "ReasmTimeout"]),
    ("IpExt", &["InNoECTPkts", "InECT0Pkts", "InECT1Pkts", "InCEPkts"]),
    (
        "Tcp",
        &[
            "ActiveOpens",
            "PassiveOpens",
            "AttemptFails",
            "EstabResets",
            "InSegs",
            "OutSegs",
            "RetransSegs",
            "InErrs",
            "OutRsts",
        ],
    ),
    (
        "TcpExt",
        &[
            "ListenOverflows",
            "ListenDrops",
            "TCPTimeouts",
            "TCPLostRetransmit",
            "TCPFastRetrans",
            "TCPSlowStartRetrans",
            "TCPLossProbes",
            "TCPSynRetrans",
            "TCPSpuriousRtxHostQueues",
            "TCPBacklogDrop",
            "TCPRcvQDrop",
            "PruneCalled",
            "TCPZeroWindowDrop",
            "TCPFromZeroWindowAdv",
            "TCPToZeroWindowAdv",
            "TCPReqQFullDrop",
            "TCPReqQFullDoCookies",
            "TCPAbortOnTimeout",
            "TCPAbortOnMemory",
            "TCPMemoryPressures",
            "TCPTimeWaitOverflow",
            "TCPDelivered",
            "TCPDeliveredCE",
        ],
    ),
    (
        "Udp",
        &[
            "InDatagrams",
            "OutDatagrams",
            "NoPorts",
            "InErrors",
            "RcvbufErrors",
            "SndbufErrors",
            "InCsumErrors",
            "MemErrors",
        ],
    ),
];

/// The open counter files and what was read from them.
pub(super) struct Counters {
    snmp: Source,
    netstat: Source,
    /// With the prefix of its interfaces' names.
    devices: Vec<(&'static str, Source)>,
    protocols: Table,
    io: Table,
    packets: Table,
    errors: Table,
    dropped: Table,
}

impl Counters {
    /// Opens those of a namespace, and the machine's own interfaces, through which all others' packets go.
    pub fn new(roots: &Roots, scope: &Scope) -> Self {
        let mut devices = vec![("", Source::new(roots.proc.join("net/dev")))];
        if scope.of.is_some() {
            devices.push(("target/", Source::new(scope.files.join("dev"))));
        }
        let by_device = || Table::new(["device", "direction"]);
        Counters {
            snmp: Source::new(scope.files.join("snmp")),
            netstat: Source::new(scope.files.join("netstat")),
            devices,
            protocols: Table::new(["protocol", "counter"]),
            io: by_device(),
            packets: by_device(),
            errors: by_device(),
            dropped: by_device(),
        }
    }

    /// Reads each once.
    pub fn sample(&mut self, at: Duration) {
        for source in [&mut self.snmp, &mut self.netstat] {
            let Some(text) = source.read() else { continue };
            for (protocol, counter, value) in pairs(&text) {
                self.protocols.add(protocol, counter, at, value);
            }
        }
        for (prefix, source) in &mut self.devices {
            let Some(InterfaceDeviceStatus(devices)) = source.parse() else { continue };
            for (name, device) in devices {
                let name = format!("{prefix}{}", name.trim_end_matches(':'));
                for (table, received, sent) in [
                    (&mut self.io, device.recv_bytes, device.sent_bytes),
                    (&mut self.packets, device.recv_packets, device.sent_packets),
                    (&mut self.errors, device.recv_errs, device.sent_errs),
                    (&mut self.dropped, device.recv_drop, device.sent_drop),
                ] {
                    table.add_counter(&name, "receive", at, received as f64, 1.0);
                    table.add_counter(&name, "transmit", at, sent as f64, 1.0);
                }
            }
        }
    }

    /// Puts the series, or why there are none, into the recording.
    pub fn finish(self, into: &mut Recording) {
        into.set(&catalog::NET_PROTOCOL, self.protocols.or(&self.snmp));
        for (metric, table) in [
            (&catalog::NET_IO, self.io),
            (&catalog::NET_PACKETS, self.packets),
            (&catalog::NET_ERRORS, self.errors),
            (&catalog::NET_DROPPED, self.dropped),
        ] {
            into.set(metric, table.or(&self.devices[0].1));
        }
    }
}

/// The counters that are kept, of a file in which each protocol has a line of names and one of numbers. By hand, as
/// procfs knows the first of the two files only.
pub(super) fn pairs(text: &str) -> impl Iterator<Item = (&'static str, &'static str, f64)> {
    let lines: Vec<(&str, &str)> = text.lines().filter_map(|line| line.split_once(": ")).collect();
    let mut found = Vec::new();
    for pair in lines.windows(2) {
        let [(protocol, names), (same, numbers)] = pair else { continue };
        let Some((protocol, kept)) = KEPT.iter().find(|(known, _)| known == protocol && known == same) else {
            continue;
        };
        for (name, number) in names.split(' ').zip(numbers.split(' ')) {
            if let (Some(name), Ok(number)) = (kept.iter().find(|known| **known == name), number.parse()) {
                found.push((*protocol, *name, number));
            }
        }
    }
    found.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use observe::{Host, Series, Target, Window};
    use std::{fs, time::SystemTime};

    const DEV: &str = "Inter-|   Receive                                                |  Transmit\n \
        face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n  \
        eth0: 1000 10 1 2 0 0 0 0 2000 20 3 4 0 0 0 0\n";

    fn recording() -> Recording {
        let host = Host { name: "h".into(), kernel: "6".into(), cpus: 2, memory_bytes: 1 };
        Recording::new(
            host,
            Target::system("h"),
            Window { start: SystemTime::UNIX_EPOCH, length: Duration::from_secs(1) },
        )
    }

    #[test]
    fn a_fake_machine() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("net")).unwrap();
        let put = |file: &str, text: &str| fs::write(dir.path().join("net").join(file), text).unwrap();
        let tcp = |again: u32| {
            put(
                "snmp",
                &format!(
                    "Ip: Forwarding X\nIp: 1 2\nTcp: MaxConn OutSegs RetransSegs\nTcp: -1 900 {again}\nUdp: NoPorts\nUdp: 5\n"
                ),
            );
        };
        tcp(3);
        put("netstat", "TcpExt: SyncookiesSent ListenOverflows\nTcpExt: 7 8\nIpExt: InNoRoutes\nIpExt: 0\n");
        put("dev", DEV);
        let roots = Roots { proc: dir.path().into(), ..Roots::default() };
        let mut counters = Counters::new(&roots, &Scope::of(&roots, &Target::system("h")));
        counters.sample(Duration::ZERO);
        tcp(5);
        put("dev", &DEV.replace("eth0: 1000", "eth0: 1500"));
        counters.sample(Duration::from_millis(500));
        let mut seen = recording();
        counters.finish(&mut seen);
        let one = |rows: &[Series], first: &str, second: &str| {
            let wanted = |row: &&Series| [first, second].iter().all(|v| row.labels.0.values().any(|l| l == v));
            rows.iter().find(wanted).unwrap_or_else(|| panic!("{first} {second}")).clone()
        };
        let protocols = seen.get(&catalog::NET_PROTOCOL).unwrap();
        assert_eq!(one(protocols, "Tcp", "RetransSegs").increase(), Some(2.0));
        assert_eq!(one(protocols, "TcpExt", "ListenOverflows").last(), 8.0);
        assert_eq!(one(protocols, "Udp", "NoPorts").last(), 5.0);
        assert_eq!(protocols.len(), 4, "{protocols:?}");
        assert_eq!(one(seen.get(&catalog::NET_IO).unwrap(), "eth0", "receive").increase(), Some(500.0));
        assert_eq!(one(seen.get(&catalog::NET_ERRORS).unwrap(), "eth0", "transmit").last(), 3.0);
        assert_eq!(one(seen.get(&catalog::NET_DROPPED).unwrap(), "eth0", "transmit").last(), 4.0);
    }

    #[test]
    fn what_is_missing_has_its_reason() {
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots { proc: dir.path().into(), ..Roots::default() };
        let mut counters = Counters::new(&roots, &Scope::of(&roots, &Target::system("h")));
        counters.sample(Duration::ZERO);
        let mut seen = recording();
        counters.finish(&mut seen);
        assert!(seen.get(&catalog::NET_PROTOCOL).unwrap_err().to_string().contains("net/snmp"));
        assert!(seen.get(&catalog::NET_IO).is_err());
    }
}
