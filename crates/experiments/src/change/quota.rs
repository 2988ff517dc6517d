//! # Raise a quota
//!
//! **Does** give a control group more CPU time, or no limit (`cpu.max`, `cpu.cfs_quota_us`). The old text undoes it.
//! **Shows** whether the quota is what holds the victim up.
//! **Misleads** where a group above it has a quota too.

use super::{Act, Change, ChangeError, Level, groups, need_root};
use crate::Roots;
use std::{fs, path::Path};

/// Sets a group's quota to so many CPUs' worth of time; `None` takes the limit away.
///
/// # Errors
/// There is no such group.
pub fn plan(roots: &Roots, group: &Path, cpus: Option<f64>) -> Result<Change, ChangeError> {
    need_root("setting a quota")?;
    let path = groups::named(roots, group, "cpu", &["cpu.max", "cpu.cfs_quota_us"])?;
    let failed = || ChangeError::io(format!("cannot read {}", path.display()));
    let is_v2 = path.ends_with("cpu.max");
    let period = if is_v2 {
        let text = fs::read_to_string(&path).map_err(failed())?;
        text.split_whitespace().nth(1).and_then(|word| word.parse().ok())
    } else {
        let text = fs::read_to_string(path.with_file_name("cpu.cfs_period_us")).map_err(failed())?;
        text.trim().parse::<f64>().ok()
    };
    let period: f64 = period.ok_or_else(|| ChangeError::Impossible(format!("{} has no period", path.display())))?;
    // The kernel takes no less than a millisecond.
    let quota = cpus.map(|cpus| ((cpus * period) as u64).max(1000));
    let new = match (is_v2, quota) {
        (true, Some(quota)) => format!("{quota} {period}"),
        (true, None) => format!("max {period}"),
        (false, Some(quota)) => quota.to_string(),
        (false, None) => "-1".to_owned(),
    };
    let to = cpus.map_or_else(|| "no limit".to_owned(), |cpus| format!("{cpus} CPUs"));
    let about = format!("set the CPU quota of {} to {to}", group.display());
    let acts = vec![Act::Write { path, new }];
    Ok(Change { kind: "quota", about, level: Level::Change, notes: Vec::new(), acts })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::groups::tests::machine;

    #[test]
    fn both_versions_get_their_own_words() {
        if !crate::change::is_root() {
            eprintln!("skipped: only root may set quotas");
            return;
        }
        let (_dir, roots) = machine(&[(10, "hog", "/a"), (11, "hog", "/b")]);
        let base = roots.sys.join("fs/cgroup");
        fs::write(base.join("unified/a/cpu.max"), "20000 100000\n").unwrap();
        fs::write(base.join("cpu,cpuacct/b/cpu.cfs_quota_us"), "20000\n").unwrap();
        fs::write(base.join("cpu,cpuacct/b/cpu.cfs_period_us"), "50000\n").unwrap();
        let new = |group: &str, cpus| match plan(&roots, group.as_ref(), cpus).unwrap().acts.remove(0) {
            Act::Write { new, .. } => new,
            other => panic!("{other:?}"),
        };
        assert_eq!(new("/a", None), "max 100000");
        assert_eq!(new("/a", Some(1.5)), "150000 100000");
        assert_eq!(new("/b", None), "-1");
        assert_eq!(new("/b", Some(2.0)), "100000");
        assert_eq!(new("/b", Some(0.001)), "1000", "the kernel's least");
        assert!(plan(&roots, "/c".as_ref(), None).is_err());
    }
}
