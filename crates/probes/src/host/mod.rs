//! The machine itself: its static facts, its counters, its control groups and what they belong to.

pub(crate) mod cgroups;
pub(crate) mod containers;
pub mod counters;
pub mod facts;
pub(crate) mod file_locks;
pub(crate) mod filesystems;
pub(crate) mod io_limits;
pub(crate) mod limits;
pub(crate) mod members;
pub(crate) mod settings;
pub(crate) mod software;
pub(crate) mod stopped;

use std::{fs, path::Path};

/// A small file of procfs or sysfs as one trimmed text; `None` when it cannot be read or is empty.
pub(crate) fn text(path: &Path) -> Option<String> {
    let bytes = fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    (!text.is_empty()).then(|| text.to_owned())
}

/// How many CPUs a list such as `0-3,8` names, and which: ascending ranges, both ends included.
pub(crate) fn cpu_ranges(list: &str) -> Vec<(u32, u32)> {
    list.trim()
        .split(',')
        .filter_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            (first <= last).then_some((first, last))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists_are_ranges() {
        assert_eq!(cpu_ranges("0-3,8\n"), [(0, 3), (8, 8)]);
        assert!(cpu_ranges("").is_empty());
        assert!(cpu_ranges("3-1,x").is_empty());
    }
}
