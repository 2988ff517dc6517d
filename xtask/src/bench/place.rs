//! The folder that a benchmark works in; with everything that still runs, it is gone when dropped.

use crate::processes;
use std::fs;
use std::path::{Path, PathBuf};

/// The folder of all rounds.
pub struct Place {
    dir: PathBuf,
}

/// The folder of one round, removed when dropped.
pub struct Round {
    dir: PathBuf,
}

impl Place {
    /// Makes it, on a disk.
    pub fn make() -> Result<Place, String> {
        processes::new_folder().map(|dir| Place { dir })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// An empty folder for what one tool writes.
    pub fn round(&self) -> Result<Round, String> {
        let dir = self.dir.join("round");
        // Left over where a round was given up.
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        Ok(Round { dir })
    }
}

impl Round {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        processes::end_descendants();
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("bench: could not remove {}: {error}", self.dir.display());
        }
    }
}
