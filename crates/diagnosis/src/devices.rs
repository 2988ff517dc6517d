//! Block devices: for which one a victim waits, how busy it is, how fast it answers.

use crate::{Scene, Victim, causes::MAJOR_FAULT, scene::totals_of};
use observe::{Bytes, Histogram, Pid, Ratio, Recording, Series, TimeClass, Wait, catalog, catalog::Metric};
use std::{collections::BTreeMap, path::Path, time::Duration};

/// The device that the victim waits for: by the waits that name one, else by its own requests, else the busiest.
pub fn of(scene: &Scene, victim: &Victim) -> Option<String> {
    let mut named: BTreeMap<&str, Duration> = BTreeMap::new();
    for wait in victim.waits(scene).filter(|w| w.class == TimeClass::BlockedDisk) {
        if let Some(device) = wait.resource.strip_prefix("disk:") {
            *named.entry(device).or_default() += wait.time;
        }
    }
    if let Some((device, _)) = named.into_iter().max_by_key(|(_, time)| *time) {
        return Some(device.to_owned());
    }
    let mut asked: BTreeMap<&str, f64> = BTreeMap::new();
    let rows = scene.rec.get(&catalog::BLOCK_TIME).unwrap_or_default();
    totals_of(rows, |pid| victim.contains(pid))
        .for_each(|row| *asked.entry(row.labels.get("device")).or_default() += row.last());
    if let Some((device, _)) = asked.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)) {
        return Some(device.to_owned());
    }
    let rows = scene.rec.get(&catalog::DISK_BUSY).ok()?;
    let busiest = rows.iter().max_by(|a, b| a.rate().unwrap_or(0.0).total_cmp(&b.rate().unwrap_or(0.0)))?;
    Some(busiest.labels.get("device").to_owned())
}

/// The victim's waits that may be for a device: those that name it or none, and those in a file that is on it.
pub fn waits<'s>(scene: &'s Scene, victim: &'s Victim, device: &'s str) -> impl Iterator<Item = &'s Wait> {
    victim.waits(scene).filter(move |wait| match wait.class {
        TimeClass::BlockedDisk => wait.resource.strip_prefix("disk:").is_none_or(|named| named == device),
        TimeClass::BlockedMemory => wait.resource == MAJOR_FAULT,
        TimeClass::BlockedFs => {
            let file = wait.resource.strip_prefix("file:").and_then(|file| under(scene.rec, file));
            file.is_none_or(|(_, named)| is_on(named, device))
        }
        _ => false,
    })
}

/// The mount point that a file is under, and its device; `None` without a full path.
pub fn under<'a>(rec: &'a Recording, file: &str) -> Option<(&'a str, &'a str)> {
    let mounts = rec.get(&catalog::MOUNT).ok()?.iter().map(|fact| &fact.labels);
    let holding = mounts.filter(|labels| Path::new(file).starts_with(labels.get("mountpoint")));
    let nearest = holding.max_by_key(|labels| labels.get("mountpoint").len())?;
    Some((nearest.get("mountpoint"), nearest.get("device")))
}

/// Whether a name is a disk's, or that of one of its partitions: `vda1`, `nvme0n1p1`.
fn is_on(name: &str, disk: &str) -> bool {
    let Some(rest) = name.strip_prefix(disk) else { return false };
    let number = if disk.ends_with(|c: char| c.is_ascii_digit()) { rest.strip_prefix('p') } else { Some(rest) };
    rest.is_empty() || number.is_some_and(|number| number.parse::<u32>().is_ok())
}

/// Part of the window in which a device had a request in flight, and how many it had on average.
pub fn load(rec: &Recording, device: &str) -> (Ratio, f64) {
    let rate = |metric: &Metric<Series>| {
        let rows = rec.get(metric).unwrap_or_default();
        rows.iter().find(|row| row.labels.get("device") == device).and_then(Series::rate).unwrap_or_default()
    };
    (Ratio(rate(&catalog::DISK_BUSY)), rate(&catalog::DISK_WEIGHTED))
}

/// What a device did in a second, where it was busy all the time and that is less than any device does.
pub struct Crawl {
    /// Requests.
    pub requests: f64,
    /// Bytes.
    pub bytes: Bytes,
}

/// Whether a device is slow whoever queues before it: a lone spinning disk does some 75 random requests a second, and
/// 80 MB in sequence.
pub fn crawls(rec: &Recording, device: &str) -> Option<Crawl> {
    /// ours: below what a spinning disk does at random.
    const REQUESTS: f64 = 60.0;
    /// ours: well below what it does in sequence.
    const BYTES: Bytes = Bytes(20 << 20);
    /// ours: one that rests in between could do more.
    const BUSY: Ratio = Ratio(0.9);
    let rate = |metric: &Metric<Series>| -> Option<f64> {
        let rows = rec.get(metric).ok()?.iter().filter(|row| row.labels.get("device") == device);
        Some(rows.filter_map(Series::rate).sum())
    };
    let (requests, bytes) = (rate(&catalog::DISK_OPERATIONS)?, Bytes(rate(&catalog::DISK_IO)? as u64));
    let crawls = load(rec, device).0 >= BUSY && requests > 0.0 && requests < REQUESTS && bytes.0 > 0 && bytes < BYTES;
    crawls.then_some(Crawl { requests, bytes })
}

/// How fast a device answers in the direction in which some processes ask most of it: `read` or `write`.
pub fn latency<'a>(scene: &Scene<'a>, device: &str, of: impl Fn(Pid) -> bool) -> Option<&'a Histogram> {
    let rows = scene.rec.get(&catalog::BLOCK_TIME).unwrap_or_default();
    let asked = |direction: &str| -> f64 {
        let rows = totals_of(rows, &of).filter(|row| row.labels.get("device") == device);
        rows.filter(|row| row.labels.get("direction") == direction).map(Series::last).sum()
    };
    let direction = if asked("write") > asked("read") { "write" } else { "read" };
    let rows = scene.rec.get(&catalog::BLOCK_LATENCY).ok()?.iter();
    rows.filter(|h| h.labels.get("device") == device).find(|h| h.labels.get("direction") == direction)
}

/// The mean time from submission to completion, as the device's own counters say: also for what is mapped onto others.
pub fn mean(rec: &Recording, device: &str) -> Option<Duration> {
    let grown = |metric: &Metric<Series>| {
        let rows = rec.get(metric).unwrap_or_default().iter().filter(|row| row.labels.get("device") == device);
        rows.filter_map(Series::increase).sum::<f64>()
    };
    let requests = grown(&catalog::DISK_OPERATIONS);
    (requests > 0.0).then(|| Duration::try_from_secs_f64(grown(&catalog::DISK_WEIGHTED) / requests).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_belong_to_their_disk() {
        let on = [("vda", "vda"), ("vda1", "vda"), ("nvme0n1p2", "nvme0n1"), ("dm-1", "dm-1")];
        assert!(on.iter().all(|(name, disk)| is_on(name, disk)));
        let off = [("dm-10", "dm-1"), ("loop12", "loop1"), ("vdab", "vda"), ("sda", "vda")];
        assert!(!off.iter().any(|(name, disk)| is_on(name, disk)));
    }
}
