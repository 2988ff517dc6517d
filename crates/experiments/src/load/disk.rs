//! How long does the disk take for a read, and for making something durable?

use super::{Benchmark, Place, Values, failed, text};
use observe::{Absent, Observed};
use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::{
        fd::AsRawFd,
        unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    },
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

/// Past the page cache, so that the device answers.
pub const READ: Benchmark = Benchmark {
    id: "load.disk-read",
    group: "block devices",
    about: "4 KiB past the page cache, here and there on the device",
    unit: "ms",
    bound: "50 reads, 10 ms apart; nothing is written",
    more_is_better: false,
    run: read,
};

/// What every commit waits for.
pub const FSYNC: Benchmark = Benchmark {
    id: "load.fsync",
    group: "file systems",
    about: "4 KiB written to a file without a name, and fsync",
    unit: "ms",
    bound: "20 times 4 KiB; the file is gone with the process",
    more_is_better: false,
    run: fsync,
};

const BLOCK: usize = 4096;
const READS: u64 = 50;
const PAUSE: Duration = Duration::from_millis(10);

/// A buffer where O_DIRECT wants it.
#[repr(align(4096))]
struct Aligned([u8; BLOCK]);

/// The block device behind a folder, and its folder in sysfs.
fn device(place: &Place) -> Observed<(PathBuf, PathBuf)> {
    let number = fs::metadata(&place.folder).map_err(failed(&place.folder.display().to_string()))?.dev();
    let (major, minor) = (libc::major(number), libc::minor(number));
    let sys = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
    let sys = fs::canonicalize(&sys)
        .map_err(|_| Absent::Unsupported(format!("{} is on no block device", place.folder.display())))?;
    let name = sys.file_name().unwrap_or_default().to_owned();
    Ok((PathBuf::from("/dev").join(name), sys))
}

/// From where on such a device is slow.
fn class(sys: &std::path::Path) -> (f64, &'static str) {
    // A partition's queue is its disk's.
    let queue = [sys.join("queue"), sys.join("../queue")];
    let rotates = queue.iter().find_map(|queue| text(queue.join("rotational"))).is_some_and(|text| text == "1");
    let name = sys.file_name().unwrap_or_default().to_string_lossy().into_owned();
    match () {
        () if rotates => (30.0, "ours: a disk that turns takes 4 to 15 ms"),
        () if name.starts_with("nvme") => (2.0, "ours: NVMe takes 0.05 to 0.5 ms"),
        () => (10.0, "Netdata: 10 ms; flash and network volumes take 0.1 to 3 ms"),
    }
}

fn read(place: &Place) -> Observed<Values> {
    let (path, sys) = device(place)?;
    let shown = path.display().to_string();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECT | libc::O_CLOEXEC)
        .open(&path)
        .map_err(failed(&shown))?;
    let sectors = text(sys.join("size")).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let blocks = sectors * 512 / BLOCK as u64;
    if blocks < READS {
        return Err(Absent::Unsupported(format!("{shown} is too small")));
    }
    let mut buffer = Box::new(Aligned([0; BLOCK]));
    let mut each = Vec::new();
    let mut missed = 0;
    for number in 0..READS {
        // Far apart, and in no order that a device foresees.
        let block = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % blocks;
        let began = Instant::now();
        match file.read_at(&mut buffer.0, block * BLOCK as u64) {
            Ok(BLOCK) => each.push(began.elapsed().as_secs_f64() * 1e3),
            _ => missed += 1,
        }
        thread::sleep(PAUSE);
    }
    let (from, source) = class(&sys);
    Ok(Values { failed: missed, ..Values::new(each, shown).slow_from(from, source) })
}

fn fsync(place: &Place) -> Observed<Values> {
    let shown = place.folder.display().to_string();
    let mut file: File = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_TMPFILE | libc::O_CLOEXEC)
        .mode(0o600)
        .open(&place.folder)
        .map_err(failed(&shown))?;
    let block = [0x66; BLOCK];
    let mut each = Vec::new();
    for _ in 0..20 {
        file.write_all(&block).map_err(failed(&shown))?;
        let began = Instant::now();
        // SAFETY: a descriptor that is open.
        if unsafe { libc::fsync(file.as_raw_fd()) } != 0 {
            return Err(failed(&shown)(std::io::Error::last_os_error()));
        }
        each.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let values = Values::new(each, shown);
    Ok(match device(place) {
        Ok((_, sys)) => {
            let (from, source) = class(&sys);
            values.slow_from(from * 2.0, format!("two waits for the device; {source}"))
        }
        Err(_) => values,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_gone_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place { folder: dir.path().to_owned() };
        match FSYNC.measure(&place) {
            Ok(seen) => assert_eq!(seen.samples, 20),
            // Some file systems have no files without names.
            Err(why) => assert!(matches!(why, Absent::Unsupported(_) | Absent::Failed(_)), "{why}"),
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        let gone = Place { folder: dir.path().join("none") };
        assert!(FSYNC.measure(&gone).is_err() && READ.measure(&gone).is_err());
    }
}
