//! What became of a case: the cause that was found in the end, and which signatures had told it. The record of the
//! signatures is what closed cases say of them; it is kept nowhere else.

use crate::{Error, store};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fs, io, path::Path};

/// The file in a case folder.
const CLOSED: &str = "closed.json";

/// The schema this version writes.
const SCHEMA: &str = "friday.closed/1";

/// The end of a case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Closed {
    /// `friday.closed/1`.
    pub schema: String,
    /// When, RFC 3339.
    pub at: String,
    /// The cause that it was.
    pub cause: String,
    /// What the one who closed it has to say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// Where the drafted signature lies; empty when none was drafted.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub signature: String,
    /// The signatures that had fired: whether each was right.
    #[serde(default)]
    pub fired: BTreeMap<String, bool>,
}

impl Closed {
    /// An end of this version.
    pub fn new(at: String, cause: String) -> Self {
        Closed {
            schema: SCHEMA.to_owned(),
            at,
            cause,
            note: String::new(),
            signature: String::new(),
            fired: BTreeMap::new(),
        }
    }
}

/// How often a signature was right and wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// It fired, and was the cause.
    pub hits: u32,
    /// It fired, and was not.
    pub misses: u32,
}

/// Closes a case; one that is closed already is closed anew.
///
/// # Errors
/// The folder is not a case, or cannot be written.
pub fn close(dir: &Path, closed: &Closed) -> Result<(), Error> {
    store::load_document(dir)?;
    let path = dir.join(CLOSED);
    let text = serde_json::to_string_pretty(closed).map_err(|source| Error::Encode { path: path.clone(), source })?;
    // Written aside and renamed, so that nobody meets half of it.
    let aside = dir.join(format!(".{CLOSED}-{}", std::process::id()));
    let written = fs::write(&aside, text + "\n").and_then(|()| fs::rename(&aside, &path));
    written.map_err(|source| {
        let _ = fs::remove_file(&aside);
        Error::Write { path, source }
    })
}

/// The end of a case; `None` while it is open.
///
/// # Errors
/// The file is damaged or cannot be read.
pub fn closed(dir: &Path) -> Result<Option<Closed>, Error> {
    let path = dir.join(CLOSED);
    match fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text).map(Some).map_err(|source| Error::Json { path, source }),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Read { path, source }),
    }
}

/// What the closed cases under a folder say of each signature. Cases that cannot be read say nothing.
pub fn records(root: &Path) -> BTreeMap<String, Record> {
    let mut records: BTreeMap<String, Record> = BTreeMap::new();
    let folders = fs::read_dir(root).into_iter().flatten().flatten();
    for closed in folders.filter_map(|folder| closed(&folder.path()).ok().flatten()) {
        for (signature, right) in closed.fired {
            let record = records.entry(signature).or_default();
            if right {
                record.hits += 1;
            } else {
                record.misses += 1;
            }
        }
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_case_cannot_be_closed_and_an_open_case_has_no_end() {
        let dir = tempfile::tempdir().unwrap();
        let end = Closed::new("2026-11-26T00:00:00Z".into(), "cpu.throttled".into());
        assert!(matches!(close(dir.path(), &end), Err(Error::NotACase { .. })));
        assert_eq!(closed(dir.path()).unwrap(), None);
    }

    #[test]
    fn the_record_is_what_closed_cases_say() {
        let root = tempfile::tempdir().unwrap();
        for (name, right) in [("a", true), ("b", true), ("c", false)] {
            let dir = root.path().join(name);
            fs::create_dir(&dir).unwrap();
            let mut end = Closed::new("2026-11-26T00:00:00Z".into(), "cpu.throttled".into());
            end.fired.insert("cgroup.cfs-throttling".into(), right);
            fs::write(dir.join(CLOSED), serde_json::to_string(&end).unwrap()).unwrap();
        }
        fs::create_dir(root.path().join("open")).unwrap();
        fs::create_dir(root.path().join("broken")).unwrap();
        fs::write(root.path().join("broken").join(CLOSED), "{").unwrap();
        let records = records(root.path());
        assert_eq!(records["cgroup.cfs-throttling"], Record { hits: 2, misses: 1 });
        assert!(closed(&root.path().join("broken")).is_err());
        assert!(super::records(&root.path().join("nothing")).is_empty());
    }
}
