//! # Limit the hog's I/O
//!
//! **Does** give the accused processes a limit of bytes a second on every disk that they may use, by their control group where
//! it is theirs alone (version 2: `io.max`), or by a group of their own (version 1: `blkio.throttle`). Undone as it was done.
//! **Shows** whether the victim waits for a disk behind them; gentler than freezing.
//! **Misleads** with version 1 on writes through the page cache: the kernel writes those for them, unlimited.

use super::{Act, Change, ChangeError, Level, culprits, groups, need_root, who};
use crate::{Roots, process::Stat};
use std::{
    collections::BTreeSet,
    fs,
    time::{Duration, Instant},
};

/// ours: the part of its present rate that is left to the hog: little enough to be felt, and it goes on.
const LEFT: f64 = 0.1;
/// ours: less than this is a stop rather than a limit, in bytes a second.
const LEAST: u64 = 64 * 1024;
/// ours: long enough to see at what rate it works.
const LOOK: Duration = Duration::from_millis(500);

/// Limits the culprits and their workers to so many bytes a second each way, or to a tenth of what they do now.
///
/// # Errors
/// There is no I/O controller in which they could be limited, or they do no I/O.
pub fn plan(roots: &Roots, culprit: &[u32], victims: &[u32], rate: Option<u64>) -> Result<Change, ChangeError> {
    need_root("limiting I/O")?;
    let stats = culprits(roots, culprit, victims)?;
    let pids: BTreeSet<u32> = stats.iter().map(|stat| stat.pid).collect();
    let disks = disks(roots);
    if disks.is_empty() {
        return Err(ChangeError::Impossible("there are no disks to limit I/O on".into()));
    }
    let rate = match rate {
        Some(rate) => rate,
        None => present_rate(roots, &stats)?,
    };
    let rate = rate.max(LEAST);
    let shown = format!("{} KiB/s", rate / 1024);
    let change = |how: String, acts, notes| Change {
        kind: "io-limit",
        about: format!("limit the I/O of {} to {shown} {how}", who(&stats)),
        level: Level::Change,
        notes,
        acts,
    };
    if let Some(group) = groups::v2(roots, &stats).filter(|group| group.holds_only(&pids))
        && let Some(path) = group.file("io.max")
    {
        let before = fs::read_to_string(&path).map_err(ChangeError::io("cannot read io.max"))?;
        if !before.trim().is_empty() {
            return Err(ChangeError::Impossible(format!("{} has I/O limits already", group.shown())));
        }
        let limit = |disk: &String| Act::Limit {
            path: path.clone(),
            disk: disk.clone(),
            limit: format!("rbps={rate} wbps={rate} riops=max wiops=max"),
        };
        let acts = disks.iter().map(limit).collect();
        return Ok(change(format!("by its control group {}", group.shown()), acts, Vec::new()));
    }
    if let Some(home) = groups::v1(roots, &stats, "blkio") {
        let files = ["blkio.throttle.read_bps_device", "blkio.throttle.write_bps_device"];
        if files.iter().all(|file| home.file(file).is_some()) {
            let of = |disk: &String| files.map(|file| (file.into(), format!("{disk} {rate}")));
            let (dir, settings) = (home.new_below(), disks.iter().flat_map(of).collect());
            let how = format!("in a control group of its own below {}", home.shown());
            let members = stats.iter().map(|stat| stat.id()).collect();
            let acts = vec![Act::Group { dir, home: home.dir, settings, members }];
            return Ok(change(how, acts, vec!["writes through the page cache are not limited".into()]));
        }
    }
    Err(ChangeError::Impossible(
        "its control group holds others too, or has no I/O controller: freeze it, or give it a group of its own".into(),
    ))
}

/// Whole disks, as `major:minor`.
fn disks(roots: &Roots) -> Vec<String> {
    let entries = fs::read_dir(roots.sys.join("block")).into_iter().flatten().flatten();
    let mut found: Vec<String> = entries
        // What is made of memory or of other disks has no device.
        .filter(|entry| entry.path().join("device").exists())
        .filter_map(|entry| Some(fs::read_to_string(entry.path().join("dev")).ok()?.trim().to_owned()))
        .collect();
    found.sort();
    found
}

/// What is left to them of the bytes a second that they read or write now, whichever is more.
fn present_rate(roots: &Roots, stats: &[Stat]) -> Result<u64, ChangeError> {
    let moved = || {
        let sums = stats.iter().map(|stat| {
            let text = fs::read_to_string(roots.proc.join(format!("{}/io", stat.pid))).unwrap_or_default();
            let of = |name: &str| {
                let value =
                    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.parse::<u64>().ok());
                value.unwrap_or(0)
            };
            (of("read_bytes"), of("write_bytes"))
        });
        sums.fold((0, 0), |(r, w), (read, write)| (r + read, w + write))
    };
    let (before, began) = (moved(), Instant::now());
    std::thread::sleep(LOOK);
    let (after, seconds) = (moved(), began.elapsed().as_secs_f64());
    let most = after.0.saturating_sub(before.0).max(after.1.saturating_sub(before.1));
    if most == 0 {
        return Err(ChangeError::Impossible(format!("{} moves no bytes from or to disks", who(stats))));
    }
    Ok((most as f64 / seconds * LEFT) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::groups::tests::machine;

    fn with_disks(roots: &Roots) {
        for (name, dev, real) in [("vda", "254:0", true), ("zram0", "253:0", false)] {
            let dir = roots.sys.join("block").join(name);
            fs::create_dir_all(if real { dir.join("device") } else { dir.clone() }).unwrap();
            fs::write(dir.join("dev"), format!("{dev}\n")).unwrap();
        }
    }

    #[test]
    fn each_version_is_limited_in_its_own_way() {
        if !crate::change::is_root() {
            eprintln!("skipped: only root may");
            return;
        }
        let (_dir, roots) = machine(&[(10, "hog", "/own"), (12, "db", "/web")]);
        with_disks(&roots);
        let none = plan(&roots, &[10], &[12], Some(1 << 20)).unwrap_err().to_string();
        assert!(none.contains("no I/O controller"), "{none}");
        fs::write(roots.sys.join("fs/cgroup/unified/own/io.max"), "").unwrap();
        let v2 = plan(&roots, &[10], &[12], Some(1 << 20)).unwrap();
        assert!(
            matches!(&v2.acts[..], [Act::Limit { disk, limit, .. }]
                if disk == "254:0" && limit == "rbps=1048576 wbps=1048576 riops=max wiops=max"),
            "{v2:?}"
        );
        // Who does no I/O cannot be limited to a part of it.
        fs::write(roots.proc.join("10/io"), "read_bytes: 7\nwrite_bytes: 7\n").unwrap();
        assert!(plan(&roots, &[10], &[12], None).unwrap_err().to_string().contains("moves no bytes"));
        fs::write(roots.sys.join("fs/cgroup/unified/own/io.max"), "254:0 rbps=5 wbps=max\n").unwrap();
        assert!(plan(&roots, &[10], &[12], Some(1)).unwrap_err().to_string().contains("limits already"));
    }
}
