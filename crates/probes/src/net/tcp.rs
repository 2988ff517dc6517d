//! Retransmissions, connections made and refused, from the kernel side's tables to the recording.

use super::{Names, diag::address_of, sockets::Arrived};
use crate::{
    bpf::{Kernel, rows, types},
    syscalls::error_name,
};
use observe::{Histogram, Labels, Recording, Series, catalog};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// ours: a connection younger than this when the window ends is simply being made. The first segment is sent again
/// after one second.
const PENDING: Duration = Duration::from_secs(1);

/// `RESEND_…` in words.
const KINDS: [&str; 5] = ["timeout", "fast", "probe", "syn", "synack"];

/// Adds the rows of every table.
pub(super) fn collect(kernel: &Kernel, names: &Names, length: Duration, into: &mut Recording) {
    retransmits(kernel, names, length, into);
    connects(kernel, length, into);
    let mut accepted: BTreeMap<(u32, String), f64> = BTreeMap::new();
    for (key, count) in rows::<types::accept_key, u64>(&kernel.maps().net_accepts) {
        let pid = if key.netns == names.netns { names.listener(key.port as u16) } else { String::new() };
        *accepted.entry((key.port, pid)).or_default() += count as f64;
    }
    let accepted = accepted.into_iter().map(|((port, pid), count)| {
        Series::total(Labels::new([("local_port", port.to_string()), ("pid", pid)]), length, count)
    });
    into.set(&catalog::TCP_ACCEPTED, Ok(accepted.collect()));
    let ended = rows::<types::accept_key, u64>(&kernel.maps().net_ended);
    let ended = ended.into_iter().map(|(key, bytes)| ((key.netns, key.port as u16), bytes));
    into.set(&catalog::TCP_ARRIVED, names.arrived.clone().map(|known| arrived(known, ended, length)));
}

/// What came in by port: over what is connected and, less what that had brought before the window, over what has `ended`.
fn arrived(known: Arrived, ended: impl Iterator<Item = ((u32, u16), u64)>, length: Duration) -> Vec<Series> {
    let mut ports: BTreeMap<u16, u64> = BTreeMap::new();
    let mut add = |port: u16, bytes: u64| *ports.entry(port).or_default() += bytes;
    for ((namespace, port), bytes) in ended.filter(|((namespace, _), _)| known.namespaces.contains(namespace)) {
        let before = known.of_gone_before.get(&(namespace, port)).copied().unwrap_or(0);
        add(port, bytes.saturating_sub(before));
    }
    known.of_there.into_iter().for_each(|((_, port), bytes)| add(port, bytes));
    let row = |(port, bytes): (u16, u64)| {
        Series::total(Labels::new([("local_port", port.to_string())]), length, bytes as f64)
    };
    ports.into_iter().map(row).collect()
}

fn retransmits(kernel: &Kernel, names: &Names, length: Duration, into: &mut Recording) {
    let tick = tick().as_secs_f64();
    let mut segments: BTreeMap<(String, String, String, &str), f64> = BTreeMap::new();
    let mut waits: BTreeMap<(String, String, String), f64> = BTreeMap::new();
    for (key, value) in rows::<types::resend_key, types::resend_value>(&kernel.maps().net_resends) {
        let serving = key.netns == names.netns && names.listening.contains_key(&key.local_port);
        let pid = match (key.tgid, names.owners.of(key.inode)) {
            (0, Some(pid)) => pid.to_string(),
            (0, None) if serving => names.listener(key.local_port),
            (0, None) => String::new(),
            (tgid, _) => tgid.to_string(),
        };
        let remote = address(&key.address, key.family);
        let (port, peer) = if serving || key.kind == 4 {
            (key.local_port.to_string(), remote.to_string())
        } else {
            (String::new(), SocketAddr::new(remote, key.remote_port).to_string())
        };
        let kind = KINDS.get(usize::from(key.kind)).copied().unwrap_or_default();
        *segments.entry((pid.clone(), port.clone(), peer.clone(), kind)).or_default() += value.segments as f64;
        if value.waited > 0 {
            *waits.entry((pid, port, peer)).or_default() += value.waited as f64 * tick;
        }
    }
    let labels = |pid, port, peer| Labels::new([("pid", pid), ("local_port", port), ("peer", peer)]);
    let rows = segments.into_iter().map(|((pid, port, peer, kind), count)| {
        let mut labels = labels(pid, port, peer);
        labels.0.insert("kind".to_owned(), kind.to_owned());
        Series::total(labels, length, count)
    });
    into.set(&catalog::TCP_RETRANSMITS, Ok(rows.collect()));
    let rows = waits.into_iter().map(|((pid, port, peer), time)| Series::total(labels(pid, port, peer), length, time));
    into.set(&catalog::TCP_RTO_WAIT, Ok(rows.collect()));
}

fn connects(kernel: &Kernel, length: Duration, into: &mut Recording) {
    let labels = |key: &types::connect_key| {
        let peer = SocketAddr::new(address(&key.address, key.family), key.port);
        Labels::new([("pid", key.tgid.to_string()), ("peer", peer.to_string())])
    };
    let made = rows::<types::connect_key, types::hist>(&kernel.maps().net_connects);
    let made = made.iter().map(|(key, hist)| Histogram::from_slots(labels(key), &hist.slots, hist.sum, hist.max));
    into.set(&catalog::TCP_CONNECT, Ok(made.collect()));

    let end = kernel.begin() + length.as_nanos() as u64;
    let mut failed: BTreeMap<(Labels, String), (f64, f64)> = BTreeMap::new();
    for (key, value) in rows::<types::connect_key, types::connect_failures>(&kernel.maps().net_failures) {
        let why = if key.error == 0 { "given up".to_owned() } else { error_name(key.error) };
        let sum = failed.entry((labels(&key), why)).or_default();
        *sum = (sum.0 + value.count as f64, sum.1 + value.ns as f64 / 1e9);
    }
    let opened = rows::<u64, types::connecting>(&kernel.maps().net_connecting);
    for (_, waiting) in opened.into_iter().filter(|(_, opened)| opened.since != 0) {
        let age = Duration::from_nanos(end.saturating_sub(waiting.since));
        if age >= PENDING {
            let sum = failed.entry((labels(&waiting.key), "pending".to_owned())).or_default();
            *sum = (sum.0 + 1.0, sum.1 + age.as_secs_f64());
        }
    }
    into.set(&catalog::TCP_CONNECT_FAILED, Ok(Vec::new()));
    into.set(&catalog::TCP_CONNECT_WASTED, Ok(Vec::new()));
    for ((mut labels, why), (count, time)) in failed {
        labels.0.insert("why".to_owned(), why);
        into.push(&catalog::TCP_CONNECT_FAILED, Series::total(labels.clone(), length, count));
        into.push(&catalog::TCP_CONNECT_WASTED, Series::total(labels, length, time));
    }
}

/// An address as the kernel side noted it.
pub(crate) fn address(words: &[u32; 4], family: u16) -> IpAddr {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    address_of(i32::from(family), &bytes)
}

/// The unit of the kernel's timers: the coarse clock steps once in each.
fn tick() -> Duration {
    let mut step = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid place for the result; the clock exists since Linux 2.6.32.
    unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &mut step) };
    Duration::new(step.tv_sec as u64, step.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_before_the_window_over_a_connection_that_ended_in_it_is_not_counted() {
        let known = Arrived {
            namespaces: [1].into(),
            of_there: [((1, 80), 100), ((1, 81), 7)].into(),
            of_gone_before: [((1, 80), 30)].into(),
        };
        // A port of another namespace, whose connections could not be read.
        let ended = [((1, 80), 50), ((1, 82), 5), ((2, 80), 1000)].into_iter();
        let rows = arrived(known, ended, Duration::from_secs(1));
        let rows: Vec<(&str, f64)> = rows.iter().map(|row| (row.labels.get("local_port"), row.last())).collect();
        assert_eq!(rows, [("80", 120.0), ("81", 7.0), ("82", 5.0)]);
    }

    #[test]
    fn a_tick_is_one_of_those_that_kernels_are_built_with() {
        let per_second = (1.0 / tick().as_secs_f64()).round() as u32;
        assert!([100, 250, 300, 1000].contains(&per_second), "{per_second}");
    }

    #[test]
    fn addresses_are_in_network_order() {
        let words = [u32::from_ne_bytes([10, 0, 0, 2]), 0, 0, 0];
        assert_eq!(address(&words, libc::AF_INET as u16).to_string(), "10.0.0.2");
    }
}
