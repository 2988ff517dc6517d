//! The target's system calls, from the kernel side's tables to the recording. Cost: about 0.2 µs for each call of a
//! target, nothing that can be measured for the others' beyond the tracepoint itself.

use super::{error_name, name};
use crate::bpf::{Kernel, rows, text, types};
use observe::{Histogram, Labels, Recording, Series, catalog};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

/// Adds counts, times and failures by process and call.
pub(crate) fn collect(kernel: &Kernel, length: Duration, into: &mut Recording) {
    into.set(&catalog::SYSCALL_TIME, Ok(Vec::new()));
    into.set(&catalog::SYSCALL_CPU, Ok(Vec::new()));
    into.set(&catalog::SYSCALL_EMPTY, Ok(Vec::new()));
    into.set(&catalog::SYSCALL_BYTES, Ok(Vec::new()));
    into.set(&catalog::SYSCALL_SOCKETS, Ok(Vec::new()));
    into.set(&catalog::SYSCALL_ERRORS, Ok(Vec::new()));
    for (key, value) in rows::<types::call_key, types::call_value>(&kernel.maps().call_totals) {
        let labels = || Labels::new([("pid", key.tgid.to_string()), ("syscall", name(key.nr))]);
        let mut time = Histogram::from_slots(labels(), &value.time.slots, value.time.sum, value.time.max);
        time.count = value.count;
        into.push(&catalog::SYSCALL_TIME, time);
        into.push(&catalog::SYSCALL_CPU, Series::total(labels(), length, value.cpu_ns as f64 / 1e9));
        if value.empty > 0 {
            into.push(&catalog::SYSCALL_EMPTY, Series::total(labels(), length, value.empty as f64));
        }
        if value.bytes > 0 {
            into.push(&catalog::SYSCALL_BYTES, Series::total(labels(), length, value.bytes as f64));
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
        into.push(&catalog::SYSCALL_ERRORS, Series::total(labels, length, value.count as f64));
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
