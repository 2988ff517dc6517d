//! By which interface packets to a peer leave: the longest prefix of the main routing tables. From containers they leave as
//! the host sends them, mostly; rules for some senders or marks are not followed.

use super::{End, Links};
use crate::roots::Roots;
use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

/// `RTF_UP` and `RTF_REJECT`.
const UP: u32 = 1;
const REJECT: u32 = 0x200;
/// ours: an interface on a bond on a bridge, and some.
const DEEPEST: usize = 4;

#[derive(Debug, PartialEq, Eq)]
struct Route {
    interface: String,
    network: IpAddr,
    prefix: u32,
    metric: u32,
}

impl Route {
    fn holds(&self, address: IpAddr) -> bool {
        let same = |a: u128, b: u128, width: u32| self.prefix == 0 || (a ^ b) >> (width - self.prefix) == 0;
        match (self.network, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => same(u32::from(a).into(), u32::from(b).into(), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => same(a.into(), b.into(), 128),
            _ => false,
        }
    }
}

/// Adds the interface of each peer, and those that it is made of.
pub(super) fn join(roots: &Roots, links: &mut Links) {
    let routes = read(&roots.proc);
    let ends = links.counts.keys().flat_map(|(from, to, ..)| [from, to]);
    let peer = |end: &End| if let End::Peer(name) = end { Some(name.clone()) } else { None };
    let peers: BTreeSet<String> = ends.filter_map(peer).collect();
    for peer in peers {
        let Some(interface) = peer.parse().ok().and_then(|address| leaves_by(&routes, address)) else { continue };
        links.note(End::Peer(peer), End::Interface(interface.to_owned()), "route", "");
        layers(&roots.sys, interface, links, DEEPEST);
    }
}

fn leaves_by(routes: &[Route], address: IpAddr) -> Option<&str> {
    let fitting = routes.iter().filter(|route| route.holds(address));
    fitting.max_by_key(|route| (route.prefix, u32::MAX - route.metric)).map(|route| route.interface.as_str())
}

/// A bond's, bridge's or VLAN's interfaces.
fn layers(sys: &Path, interface: &str, links: &mut Links, deep: usize) {
    let entries = fs::read_dir(sys.join("class/net").join(interface)).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let Some(lower) = name.to_str().and_then(|name| name.strip_prefix("lower_")) else { continue };
        links.note(End::Interface(interface.to_owned()), End::Interface(lower.to_owned()), "layer", "");
        if deep > 0 {
            layers(sys, lower, links, deep - 1);
        }
    }
}

fn read(proc: &Path) -> Vec<Route> {
    let file = |name: &str| fs::read_to_string(proc.join("net").join(name)).unwrap_or_default();
    file("route").lines().filter_map(v4).chain(file("ipv6_route").lines().filter_map(v6)).collect()
}

/// `eth0 00000000 0102000A 0003 0 0 100 00000000 …`: interface, network, gateway, flags, …, metric, mask.
fn v4(line: &str) -> Option<Route> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [interface, network, _, flags, _, _, metric, mask, ..] = words[..] else { return None };
    let hex = |word: &str| u32::from_str_radix(word, 16).ok();
    let flags = hex(flags)?;
    // Addresses are printed as numbers of this machine's byte order.
    let network = IpAddr::V4(Ipv4Addr::from(hex(network)?.to_ne_bytes()));
    let prefix = hex(mask)?.count_ones();
    let usable = flags & UP != 0 && flags & REJECT == 0;
    usable.then(|| Route { interface: interface.to_owned(), network, prefix, metric: metric.parse().unwrap_or(0) })
}

/// `NETWORK LENGTH SOURCE LENGTH GATEWAY METRIC REFERENCES USE FLAGS INTERFACE`.
fn v6(line: &str) -> Option<Route> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [network, prefix, _, _, _, metric, _, _, flags, interface] = words[..] else { return None };
    let hex = |word: &str| u32::from_str_radix(word, 16).ok();
    let flags = hex(flags)?;
    let network = IpAddr::V6(Ipv6Addr::from(u128::from_str_radix(network, 16).ok()?));
    // Local addresses are in the same table, as routes by loopback.
    let usable = flags & UP != 0 && flags & REJECT == 0 && interface != "lo";
    usable.then(|| {
        Some(Route { interface: interface.to_owned(), network, prefix: hex(prefix)?.min(128), metric: hex(metric)? })
    })?
}

#[cfg(test)]
mod tests {
    use super::{super::tests::lines, *};
    use observe::Pid;

    #[test]
    fn the_longest_prefix_wins_and_a_bond_has_its_interfaces() {
        let dir = tempfile::tempdir().unwrap();
        let put = |file: &str, text: &str| {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let network = |a: u8, b: u8, c: u8, d: u8| format!("{:08X}", u32::from_ne_bytes([a, b, c, d]));
        let route = |interface: &str, to: String, mask: String, metric: u32| {
            format!("{interface}\t{to}\t00000000\t0003\t0\t0\t{metric}\t{mask}\t0\t0\t0\n")
        };
        let table = [
            "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n".to_owned(),
            route("wlan0", network(0, 0, 0, 0), network(0, 0, 0, 0), 600),
            route("bond0", network(0, 0, 0, 0), network(0, 0, 0, 0), 100),
            route("eth9", network(10, 1, 0, 0), network(255, 255, 0, 0), 0),
        ];
        put("proc/net/route", &table.concat());
        let all = "0".repeat(32);
        put("proc/net/ipv6_route", &format!("{all} 00 {all} 00 {all} 00000400 00000001 00000000 00000001 eth6\n"));
        put("sys/class/net/bond0/lower_eth1/x", "");
        let mut links = Links::default();
        for peer in ["9.9.9.9", "10.1.2.3", "2001:db8::1", "files.example"] {
            links.add(End::Process(Pid(1)), End::Peer(peer.into()), "tcp", "443");
        }
        let roots = Roots { proc: dir.path().join("proc"), sys: dir.path().join("sys"), btf: dir.path().join("btf") };
        join(&roots, &mut links);
        let found: Vec<_> = lines(&links).into_iter().filter(|line| !line.starts_with("process")).collect();
        let expected = [
            "peer:10.1.2.3 > interface:eth9 route 1",
            "peer:2001:db8::1 > interface:eth6 route 1",
            "peer:9.9.9.9 > interface:bond0 route 1",
            "interface:bond0 > interface:eth1 layer 1",
        ];
        assert_eq!(found, expected);
    }
}
