//! # Do without the second-level cache of ZFS
//!
//! **Does** set `secondarycache=none` on a dataset; what it was, or that it was inherited, undoes it.
//! **Shows** whether the L2ARC helps the victim or hinders it: it was made to help or to do nothing, and burns CPU, memory and
//! disk time for it.
//! **Misleads** where the phases are shorter than what the cache needs to matter: what is in it stays there, so it helps
//! again at once when it is switched on.

use super::{Act, Change, ChangeError, Level, need_root, step::Step};
use std::{io, process::Command};

/// The property that decides what a dataset puts into the L2ARC.
pub(super) const PROPERTY: &str = "secondarycache";

/// Switches a dataset's use of the L2ARC off.
///
/// # Errors
/// There is no such dataset, no ZFS, or it is off already.
pub fn plan(dataset: &str) -> Result<Change, ChangeError> {
    need_root("a property of a file system")?;
    plan_with(dataset, &mut |arguments| zfs(arguments))
}

fn plan_with(dataset: &str, zfs: &mut dyn FnMut(&[&str]) -> io::Result<String>) -> Result<Change, ChangeError> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_-.:/ ".contains(c);
    if dataset.is_empty() || dataset.starts_with('-') || !dataset.chars().all(is_name) {
        return Err(ChangeError::Impossible(format!("`{dataset}` is no name of a dataset, such as tank/srv")));
    }
    let said = zfs(&["get", "-H", "-p", "-o", "value,source", PROPERTY, dataset])
        .map_err(|error| ChangeError::Impossible(format!("zfs cannot say what {PROPERTY} of {dataset} is: {error}")))?;
    let (old, source) = said.trim().split_once('\t').unwrap_or((said.trim(), "-"));
    if old == "none" {
        return Err(ChangeError::Impossible(format!("{PROPERTY} of {dataset} is none already")));
    }
    let undo = Step::Property {
        dataset: dataset.to_owned(),
        property: PROPERTY.to_owned(),
        old: (source == "local").then(|| old.to_owned()),
        new: "none".to_owned(),
    };
    Ok(Change {
        kind: "zfs-l2arc",
        about: format!("set {PROPERTY}=none on {dataset} (it is {old})"),
        level: Level::Change,
        notes: vec!["reads that the L2ARC would have served go to the pool's disks meanwhile".to_owned()],
        acts: vec![Act::Property {
            dataset: dataset.to_owned(),
            property: PROPERTY.to_owned(),
            new: "none".to_owned(),
            undo,
        }],
    })
}

/// What the `zfs` command says.
pub(super) fn zfs(arguments: &[&str]) -> io::Result<String> {
    let output = Command::new("zfs").args(arguments).env("LC_ALL", "C").output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(said.lines().next().unwrap_or("zfs failed").to_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(said: &str) -> Result<Change, ChangeError> {
        plan_with("tank/srv", &mut |arguments| {
            assert_eq!(arguments[0], "get");
            Ok(said.to_owned())
        })
    }

    #[test]
    fn what_was_set_is_set_again_and_what_was_inherited_is_inherited_again() {
        let undo = |change: &Change| match &change.acts[..] {
            [Act::Property { undo: Step::Property { old, .. }, .. }] => old.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(undo(&planned("all\tlocal\n").unwrap()), Some("all".to_owned()));
        assert_eq!(undo(&planned("all\tdefault\n").unwrap()), None);
        assert_eq!(undo(&planned("metadata\tinherited from tank\n").unwrap()), None);
    }

    #[test]
    fn what_is_off_already_or_is_no_dataset_is_refused() {
        assert!(planned("none\tlocal\n").unwrap_err().to_string().contains("already"));
        for name in ["", "-r", "tank;rm", "tank\n"] {
            assert!(plan_with(name, &mut |_| Ok(String::new())).is_err(), "{name:?}");
        }
        let gone = plan_with("tank/none", &mut |_| Err(io::Error::other("dataset does not exist")));
        assert!(gone.unwrap_err().to_string().contains("does not exist"));
    }
}
