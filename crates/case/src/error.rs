//! What can go wrong with a case folder, and what to do about it.

use crate::table::TableError;
use std::{io, path::PathBuf};

/// Why a case could not be written, read or found.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The case could not be written; nothing of it is left behind.
    #[error("cannot write the case to {}: free some space there, or choose another place with --case DIR", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A table could not be written; nothing of the case is left behind.
    #[error("cannot write the table {}: free some space there, or choose another place with --case DIR", path.display())]
    WriteTable {
        /// The file.
        path: PathBuf,
        /// What the writer said.
        #[source]
        source: parquet::errors::ParquetError,
    },
    /// The case could not be put into words: a defect of friday.
    #[error("cannot write {} as JSON; please report this", path.display())]
    Encode {
        /// The file.
        path: PathBuf,
        /// What the encoder said.
        #[source]
        source: serde_json::Error,
    },
    /// The place for the case is taken by something else.
    #[error("{} is not empty and is not a case of friday: name a new or empty folder with --case DIR", path.display())]
    Taken {
        /// The folder or file.
        path: PathBuf,
    },
    /// Neither `HOME` nor `XDG_DATA_HOME` says where cases go.
    #[error("no place for cases: HOME is not set; name a folder with --case DIR")]
    NoHome,
    /// A file of the case could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There is no case here.
    #[error("{} is not a case of friday: it has no case.json that says `friday.case/…`", path.display())]
    NotACase {
        /// The folder.
        path: PathBuf,
    },
    /// A newer friday wrote it.
    #[error("{} is written as {found}, and this friday reads up to {known}: use a newer friday", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: String,
        /// The newest schema known here.
        known: &'static str,
    },
    /// A JSON file of the case is damaged.
    #[error("{} is damaged or incomplete: take the case again, or copy the folder once more", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and what.
        #[source]
        source: serde_json::Error,
    },
    /// A table of the case is damaged.
    #[error("{} is damaged or incomplete: take the case again, or copy the folder once more", path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// Where and what.
        #[source]
        source: TableError,
    },
}
