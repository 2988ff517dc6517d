//! The target's system calls, from the kernel side's tables to the recording. Cost: about 1 µs for each call while calls
//! are traced, nothing while they are not; `budget.rs` says when that is.

use super::{error_name, name};
use crate::bpf::{Frequent, Kernel, rows, text, types};
use observe::{AnyMetric, Histogram, Labels, Recording, Series, catalog};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

/// What this probe measures.
pub(crate) const METRICS: &[&dyn AnyMetric] = &[
    &catalog::SYSCALL_TIME,
    &catalog::SYSCALL_CPU,
    &catalog::SYSCALL_ERRORS,
    &catalog::SYSCALL_EMPTY,
    &catalog::SYSCALL_BYTES,
    &catalog::SYSCALL_SOCKETS,
    &catalog::SYSCALL_TRACED,
    &catalog::SLOW_SYSCALL,
];

/// Adds counts, times and failures by process and call. Where calls were traced for a part of the window only, counts
/// and sums are what the whole window would have had at that rate, and the part is told.
pub(crate) fn collect(kernel: &Kernel, length: Duration, into: &mut Recording) {
    let part = kernel.traced_part(Frequent::Calls, length);
    let scaled = |count: u64| count as f64 / part;
    into.set(&catalog::SYSCALL_TRACED, Ok(vec![Series::total(Labels::default(), length, part)]));
    into.set(&catalog::SYSCALL_TIME, Ok(Vec::new()));
    into.set(&catalog::SYSCALL_CPU, Ok(Vec::new()));
    into.set(&catalog::SYSCALL_EMPTY, Ok(Vec::new()));
    into.set(&catalog::SYSCALL_BYTES, Ok(Vec::new()));
    into.set(&catalog::SYSCALL_SOCKETS, Ok(Vec::new()));
    into.set(&catalog::SYSCALL_ERRORS, Ok(Vec::new()));
    for (key, value) in rows::<types::call_key, types::call_value>(&kernel.maps().call_totals) {
        let labels = || Labels::new([("pid", key.tgid.to_string()), ("syscall", name(key.nr))]);
        let slots = value.time.slots.map(|count| scaled(u64::from(count)).round() as u32);
        let mut time = Histogram::from_slots(labels(), &slots, scaled(value.time.sum) as u64, value.time.max);
        time.count = scaled(value.count).round() as u64;
        into.push(&catalog::SYSCALL_TIME, time);
        into.push(&catalog::SYSCALL_CPU, Series::total(labels(), length, scaled(value.cpu_ns) / 1e9));
        if value.empty > 0 {
            into.push(&catalog::SYSCALL_EMPTY, Series::total(labels(), length, scaled(value.empty)));
        }
        if value.bytes > 0 {
            into.push(&catalog::SYSCALL_BYTES, Series::total(labels(), length, scaled(value.bytes)));
        }
        if value.looked_at > 0 {
            let part = value.on_sockets as f64 / value.looked_at as f64;
            into.push(&catalog::SYSCALL_SOCKETS, Series::total(labels(), length, part));
        }
    }
    for (key, value) in rows::<types::error_key, types::error_value>(&kernel.maps().call_errors) {
        let call = name(key.nr);
        let argument = if call == "connect" { address(&value.argument) } else { text(&value.argument) };
        let labels = Labels::new([
            ("pid", key.tgid.to_string()),
            ("syscall", call),
            ("errno", error_name(key.error)),
            ("argument", argument),
        ]);
        into.push(&catalog::SYSCALL_ERRORS, Series::total(labels, length, scaled(value.count)));
    }
}

/// A socket address as the call got it; empty when it is of another family.
fn address(raw: &[i8]) -> String {
    let byte = |at: usize| raw.get(at).map_or(0, |b| *b as u8);
    let family = u16::from_ne_bytes([byte(0), byte(1)]);
    let port = u16::from_be_bytes([byte(2), byte(3)]);
    match i32::from(family) {
        libc::AF_INET => {
            let ip = Ipv4Addr::new(byte(4), byte(5), byte(6), byte(7));
            SocketAddr::new(IpAddr::V4(ip), port).to_string()
        }
        libc::AF_INET6 => {
            let octets: [u8; 16] = std::array::from_fn(|i| byte(8 + i));
            SocketAddr::new(IpAddr::V6(Ipv6Addr::from(octets)), port).to_string()
        }
        libc::AF_UNIX => text(&raw[2..]),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_as_people_write_them() {
        let mut raw = [0i8; 64];
        raw[0] = 2;
        raw[2] = 0x18u8 as i8;
        raw[3] = 0xebu8 as i8;
        raw[4] = 127;
        raw[7] = 1;
        assert_eq!(address(&raw), "127.0.0.1:6379");
        raw[0] = 99;
        assert_eq!(address(&raw), "");
    }
}
