//! The cases kept under a folder.

use crate::{Error, HostPart, TargetPart, WindowPart, store};
use chrono::DateTime;
use diagnosis::Conclusion;
use serde::Deserialize;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// What a list of cases shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The case folder.
    pub dir: PathBuf,
    /// The machine.
    pub host: HostPart,
    /// What was asked about.
    pub target: TargetPart,
    /// When it was looked at.
    pub window: WindowPart,
    /// What the run ended with.
    pub conclusion: Conclusion,
    /// One sentence.
    pub headline: String,
    /// Causes found, the first rank first.
    pub causes: Vec<String>,
}

/// The cases under a folder.
#[derive(Debug, Default)]
pub struct Listing {
    /// Newest first.
    pub cases: Vec<Summary>,
    /// Why others could not be read; what is not a case at all is left out.
    pub unreadable: Vec<Error>,
}

#[derive(Deserialize)]
struct Head {
    host: HostPart,
    target: TargetPart,
    window: WindowPart,
    conclusion: Conclusion,
    headline: String,
    findings: Vec<Cause>,
}

#[derive(Deserialize)]
struct Cause {
    cause: String,
}

/// Lists the cases under a folder. A folder that does not exist holds none.
///
/// # Errors
/// The folder cannot be read.
pub fn list(root: &Path) -> Result<Listing, Error> {
    let read_error = |source| Error::Read { path: root.to_owned(), source };
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Listing::default()),
        Err(why) => return Err(read_error(why)),
    };
    let mut listing = Listing::default();
    for entry in entries {
        let entry = entry.map_err(read_error)?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        let dir = entry.path();
        if hidden || !dir.is_dir() {
            continue;
        }
        match store::read_document::<Head>(&dir) {
            Ok(head) => listing.cases.push(Summary {
                dir,
                host: head.host,
                target: head.target,
                window: head.window,
                conclusion: head.conclusion,
                headline: head.headline,
                causes: head.findings.into_iter().map(|finding| finding.cause).collect(),
            }),
            Err(Error::NotACase { .. }) => {}
            Err(why) => listing.unreadable.push(why),
        }
    }
    let begun = |case: &Summary| DateTime::parse_from_rfc3339(&case.window.start).ok();
    listing.cases.sort_by(|a, b| begun(b).cmp(&begun(a)).then_with(|| b.dir.cmp(&a.dir)));
    Ok(listing)
}
