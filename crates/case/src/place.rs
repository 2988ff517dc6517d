//! Where cases go and what they are called.

use crate::{Error, store};
use chrono::{DateTime, Utc};
use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// The folder of a new case: the one given with `--case`, else a new name under [`root`]. It is checked, and its
/// parent made, before anything is measured.
///
/// # Errors
/// The given folder is neither new, empty nor a case; no home folder is known; the place cannot be written.
pub fn choose(
    given: Option<&Path>,
    env: impl Fn(&str) -> Option<OsString>,
    is_root: bool,
    start: SystemTime,
    target: &str,
) -> Result<PathBuf, Error> {
    let dir = match given {
        Some(dir) => std::path::absolute(dir).map_err(|source| Error::Write { path: dir.to_owned(), source })?,
        None => free_name(&root(env, is_root)?, &name(start, target)),
    };
    check_free(&dir)?;
    let base = if dir.exists() { dir.as_path() } else { dir.parent().unwrap_or(&dir) };
    fs::create_dir_all(base).map_err(|source| Error::Write { path: base.to_owned(), source })?;
    let trial = base.join(format!(".trial-{}", std::process::id()));
    fs::create_dir(&trial)
        .and_then(|()| fs::remove_dir(&trial))
        .map_err(|source| Error::Write { path: base.to_owned(), source })?;
    Ok(dir)
}

/// The folder under which cases are kept: `$XDG_DATA_HOME/friday`, else `/var/lib/friday` as root, else
/// `~/.local/share/friday`. Relative values are ignored, as the XDG base directory specification asks.
///
/// # Errors
/// Neither `XDG_DATA_HOME` nor `HOME` is set, and the user is not root.
pub fn root(env: impl Fn(&str) -> Option<OsString>, is_root: bool) -> Result<PathBuf, Error> {
    let absolute = |name| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if let Some(data) = absolute("XDG_DATA_HOME") {
        return Ok(data.join("friday"));
    }
    if is_root {
        return Ok(PathBuf::from("/var/lib/friday"));
    }
    absolute("HOME").map(|home| home.join(".local/share/friday")).ok_or(Error::NoHome)
}

/// A case's folder name: `20261121T214400Z-redis-server`.
pub fn name(start: SystemTime, target: &str) -> String {
    // chrono cannot express years beyond 262,000; a broken clock must not stop the run.
    let sane = start.duration_since(SystemTime::UNIX_EPOCH).is_ok_and(|since| since.as_secs() < 253_402_300_800);
    let start = if sane { start } else { SystemTime::UNIX_EPOCH };
    format!("{}-{}", DateTime::<Utc>::from(start).format("%Y%m%dT%H%M%SZ"), sanitised(target))
}

/// A time as RFC 3339, in seconds.
pub fn timestamp(at: SystemTime) -> String {
    DateTime::<Utc>::from(at).to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// The longest target name in a folder name.
const LONGEST: usize = 48;

/// Only letters, digits, `.`, `_` and `-`; never empty, never beginning with a dot or a dash.
fn sanitised(target: &str) -> String {
    let mut out = String::new();
    for c in target.chars() {
        let keep = c.is_ascii_alphanumeric() || matches!(c, '.' | '_');
        match if keep { c } else { '-' } {
            '-' if out.is_empty() || out.ends_with('-') => {}
            '.' if out.is_empty() => {}
            c => out.push(c),
        }
        if out.len() == LONGEST {
            break;
        }
    }
    let out = out.trim_end_matches(['-', '.']);
    if out.is_empty() { "target".to_owned() } else { out.to_owned() }
}

fn free_name(root: &Path, name: &str) -> PathBuf {
    let mut dir = root.join(name);
    let mut number = 2;
    while fs::symlink_metadata(&dir).is_ok() {
        dir = root.join(format!("{name}-{number}"));
        number += 1;
    }
    dir
}

/// Whether a case may be written there: nothing there, an empty folder, or a case (whatever its version or state).
pub(crate) fn check_free(dir: &Path) -> Result<(), Error> {
    let taken = || Error::Taken { path: dir.to_owned() };
    match fs::read_dir(dir) {
        Ok(mut entries) => match store::read_document::<serde::de::IgnoredAny>(dir) {
            Ok(_) | Err(Error::Newer { .. }) => Ok(()),
            _ if entries.next().is_none() => Ok(()),
            _ => Err(taken()),
        },
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(why) if why.kind() == io::ErrorKind::NotADirectory => Err(taken()),
        Err(source) => Err(Error::Write { path: dir.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn env(pairs: &'static [(&str, &str)]) -> impl Fn(&str) -> Option<OsString> {
        move |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
    }

    #[test]
    fn the_data_folder_wins_over_the_user() {
        let both = [("XDG_DATA_HOME", "/data"), ("HOME", "/home/u")].as_slice();
        assert_eq!(root(env(both), true).unwrap(), Path::new("/data/friday"));
        let home = [("XDG_DATA_HOME", "relative"), ("HOME", "/home/u")].as_slice();
        assert_eq!(root(env(home), true).unwrap(), Path::new("/var/lib/friday"));
        assert_eq!(root(env(home), false).unwrap(), Path::new("/home/u/.local/share/friday"));
        assert!(matches!(root(env(&[]), false), Err(Error::NoHome)));
    }

    #[test]
    fn names_sort_by_time_and_stay_harmless() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_297_440);
        assert_eq!(name(start, "redis-server"), "20261121T214400Z-redis-server");
        assert_eq!(name(start, "../../etc/pass wd\n"), "20261121T214400Z-etc-pass-wd");
        assert_eq!(name(start, ""), "20261121T214400Z-target");
        assert_eq!(name(start, "--/."), "20261121T214400Z-target");
        assert!(name(start, &"x".repeat(9999)).len() < 70);
        assert_eq!(name(SystemTime::UNIX_EPOCH - Duration::from_secs(5), "a"), "19700101T000000Z-a");
    }

    #[test]
    fn a_taken_name_gets_a_number() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(free_name(root.path(), "a"), root.path().join("a"));
        fs::create_dir(root.path().join("a")).unwrap();
        fs::create_dir(root.path().join("a-2")).unwrap();
        assert_eq!(free_name(root.path(), "a"), root.path().join("a-3"));
    }

    #[test]
    fn somebody_elses_folder_is_refused_before_the_run() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("thesis.txt"), "do not lose me").unwrap();
        let now = SystemTime::now();
        let refused = choose(Some(root.path()), env(&[]), false, now, "t");
        assert!(matches!(refused, Err(Error::Taken { .. })), "{refused:?}");
        let file = choose(Some(&root.path().join("thesis.txt")), env(&[]), false, now, "t");
        assert!(matches!(file, Err(Error::Taken { .. })), "{file:?}");
        let new = choose(Some(&root.path().join("deep/er")), env(&[]), false, now, "t").unwrap();
        assert_eq!(new, root.path().join("deep/er"));
        assert!(!new.exists() && new.parent().unwrap().is_dir());
    }
}
