//! Reads of files through the page cache: what they wait, and whether they are of what had been read before.

use crate::{Scene, Victim, memory::Spent, scene::totals_of};
use observe::{Bytes, FrameKind, Ratio, Series, TimeClass, Wait, catalog};

/// Calls that read files.
pub const CALLS: &[&str] =
    &["read", "pread64", "readv", "preadv", "preadv2", "sendfile", "splice", "copy_file_range", "readahead"];

/// What reads past the page cache.
const DIRECT: &[&str] =
    &["iomap_dio_rw", "__iomap_dio_rw", "do_blockdev_direct_IO", "__blkdev_direct_IO", "blkdev_direct_IO"];

/// Whether a wait is for a file's data that was not in the page cache.
fn is_miss(scene: &Scene, wait: &Wait) -> bool {
    let mut kernel = wait.stack.iter().map(|id| scene.rec.frame(*id)).filter(|frame| frame.kind == FrameKind::Kernel);
    let direct = kernel.any(|frame| DIRECT.contains(&frame.name.as_str()));
    wait.class == TimeClass::BlockedDisk && CALLS.contains(&wait.syscall.as_str()) && !direct
}

/// A victim's waits for them.
pub fn waits<'s>(scene: &'s Scene, victim: &'s Victim) -> impl Iterator<Item = &'s Wait> {
    victim.waits(scene).filter(|wait| is_miss(scene, wait))
}

/// Their sum.
pub fn blocked(scene: &Scene, victim: &Victim) -> Spent {
    let mut spent = Spent::default();
    waits(scene, victim).for_each(|wait| spent.add(wait.time, wait.count, wait.longest));
    spent
}

/// Bytes that the victim had read from devices.
pub fn from_disk(scene: &Scene, victim: &Victim) -> Bytes {
    let rows = scene.rec.get(&catalog::BLOCK_ISSUED).unwrap_or_default();
    let reads = totals_of(rows, |pid| victim.contains(pid)).filter(|row| row.labels.get("direction") == "read");
    Bytes(reads.map(Series::last).sum::<f64>() as u64)
}

/// The part of the victim's reads that were of pages evicted shortly before. All, where a worker of the kernel's asked the
/// device for it.
pub fn again(scene: &Scene, victim: &Victim, refaults: Bytes) -> Ratio {
    match (refaults.0, from_disk(scene, victim).0) {
        (0, _) => Ratio(0.0),
        (_, 0) => Ratio(1.0),
        (refaults, read) => Ratio(Ratio::of_counts(refaults as f64, read as f64).0.min(1.0)),
    }
}
