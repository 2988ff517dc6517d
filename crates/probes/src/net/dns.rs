//! Questions to name servers. When the answer comes is left out: the tracepoints that would show it
//! (`sock_send_length` and `sock_recv_length`, or `sk_data_ready`) fire for each message of every socket and cost 0.1 µs
//! each time, which was 3.5 % (2 %) of the time of a message there and back over loopback.

use super::tcp::address;
use crate::bpf::{Kernel, rows, types};
use observe::{Absent, Labels, Recording, Series, catalog};
use std::time::Duration;

/// Adds the counts by process and server.
pub(super) fn collect(kernel: &Kernel, length: Duration, into: &mut Recording) {
    let rows = rows::<types::connect_key, u64>(&kernel.maps().net_questions);
    let rows = rows.iter().map(|(key, count)| {
        let server = address(&key.address, key.family).to_string();
        Series::total(Labels::new([("pid", key.tgid.to_string()), ("server", server)]), length, *count as f64)
    });
    into.set(&catalog::DNS_LOOKUPS, Ok(rows.collect()));
    into.set(
        &catalog::DNS_TIME,
        Err(Absent::NotCollected("seeing answers would slow down every message of every socket by 0.1 µs".into())),
    );
}
