//! Block requests, from the kernel side's tables to the recording.

use crate::{
    bpf::{Kernel, rows, types},
    roots::Roots,
};
use observe::{AnyMetric, Histogram, Labels, Recording, Series, catalog};
use std::{collections::HashMap, path::Path, time::Duration};

/// What this probe measures.
pub(crate) const METRICS: &[&dyn AnyMetric] = &[
    &catalog::BLOCK_LATENCY,
    &catalog::BLOCK_ISSUED,
    &catalog::BLOCK_OPERATIONS,
    &catalog::BLOCK_TIME,
    &catalog::BLOCK_BEHIND,
    &catalog::SLOW_BLOCK_IO,
];

/// Whole-disk names by device number.
#[derive(Default)]
pub(crate) struct Disks {
    names: HashMap<u32, String>,
}

impl Disks {
    /// The name of the disk a device number (as the kernel keeps it: major << 20 | minor) belongs to; the numbers
    /// themselves when sysfs does not know it.
    pub fn name(&mut self, roots: &Roots, device: u32) -> String {
        self.names.entry(device).or_insert_with(|| look_up(&roots.sys, device)).clone()
    }
}

fn look_up(sys: &Path, device: u32) -> String {
    let (major, minor) = (device >> 20, device & 0xf_ffff);
    let Ok(path) = sys.join(format!("dev/block/{major}:{minor}")).canonicalize() else {
        return format!("{major}:{minor}");
    };
    let of_partition = path.join("partition").exists();
    let disk = if of_partition { path.parent() } else { Some(path.as_path()) };
    disk.and_then(Path::file_name).map_or_else(|| format!("{major}:{minor}"), |n| n.to_string_lossy().into_owned())
}

/// `REQ_OP_*` in words.
pub(crate) fn direction(operation: u32) -> &'static str {
    match operation {
        0 => "read",
        1 => "write",
        2 => "flush",
        3 => "discard",
        _ => "other",
    }
}

/// Adds latency by device and direction, and bytes, requests and device time by process.
pub(crate) fn collect(kernel: &Kernel, roots: &Roots, disks: &mut Disks, length: Duration, into: &mut Recording) {
    into.set(&catalog::BLOCK_LATENCY, Ok(Vec::new()));
    into.set(&catalog::BLOCK_ISSUED, Ok(Vec::new()));
    into.set(&catalog::BLOCK_OPERATIONS, Ok(Vec::new()));
    into.set(&catalog::BLOCK_TIME, Ok(Vec::new()));
    for (key, hist) in rows::<types::block_key, types::hist>(&kernel.maps().block_latency) {
        let labels = Labels::new([
            ("device", disks.name(roots, key.device)),
            ("direction", direction(key.operation).to_owned()),
        ]);
        into.push(&catalog::BLOCK_LATENCY, Histogram::from_slots(labels, &hist.slots, hist.sum, hist.max));
    }
    into.set(&catalog::BLOCK_BEHIND, Ok(Vec::new()));
    for (key, ns) in rows::<types::behind_key, u64>(&kernel.maps().queued_behind) {
        let labels = Labels::new([
            ("device", disks.name(roots, key.device)),
            ("pid", key.tgid.to_string()),
            ("behind", key.ahead.to_string()),
        ]);
        into.push(&catalog::BLOCK_BEHIND, Series::total(labels, length, ns as f64 / 1e9));
    }
    for (key, value) in rows::<types::block_key, types::block_value>(&kernel.maps().block_issuers) {
        let labels = || {
            Labels::new([
                ("device", disks.names.get(&key.device).cloned().unwrap_or_default()),
                ("direction", direction(key.operation).to_owned()),
                ("pid", key.tgid.to_string()),
            ])
        };
        into.push(&catalog::BLOCK_ISSUED, Series::total(labels(), length, value.bytes as f64));
        into.push(&catalog::BLOCK_OPERATIONS, Series::total(labels(), length, value.count as f64));
        into.push(&catalog::BLOCK_TIME, Series::total(labels(), length, value.ns as f64 / 1e9));
    }
}
