//! What has been run so far, kept in the results' folder after every run, so that an interrupted zoo can go on.

use super::board;
use super::row::Row;
use super::totals;
use std::fs;
use std::path::{Path, PathBuf};

/// The rows of a results' folder.
pub struct Record {
    folder: PathBuf,
    rows: Vec<Row>,
    system: bool,
}

impl Record {
    /// What is in the folder, or nothing yet.
    pub fn open(folder: PathBuf, system: bool) -> Result<Record, String> {
        fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let path = folder.join("scores.json");
        let rows = match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?,
            Err(_) => Vec::new(),
        };
        Ok(Record { folder, rows, system })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether there is a row of this name.
    pub fn has(&self, name: &str) -> bool {
        self.rows.iter().any(|row| row.name() == name)
    }

    /// Adds a row and stores all of them.
    pub fn add(&mut self, row: Row) -> Result<(), String> {
        self.rows.push(row);
        let scores = serde_json::to_string_pretty(&self.rows).map_err(|e| e.to_string())?;
        let store = |name: &str, text: String| {
            let (new, path) = (self.folder.join(format!("{name}.new")), self.folder.join(name));
            fs::write(&new, text).and_then(|()| fs::rename(new, &path)).map_err(|e| format!("{}: {e}", path.display()))
        };
        store("scores.json", scores)?;
        store("table.txt", format!("{}{}\n{}\n", self.table(), self.board(), self.totals()))
    }

    /// All rows below their heading.
    pub fn table(&self) -> String {
        std::iter::once(Row::heading()).chain(self.rows.iter().map(Row::line)).map(|line| line + "\n").collect()
    }

    /// How the boards of lights did.
    pub fn board(&self) -> String {
        board::totals(self.rows.iter().filter_map(|row| row.board.as_ref()))
    }

    /// The last line.
    pub fn totals(&self) -> String {
        totals::line(&self.rows, self.system)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processes::new_folder;

    #[test]
    fn what_was_run_is_found_again() {
        let folder = new_folder().unwrap();
        let mut record = Record::open(folder.join("results"), false).unwrap();
        assert!(!record.has("cpu-pinned"));
        record.add(Row { scenario: "cpu-pinned".into(), round: 1, ..Row::default() }).unwrap();
        record.add(Row { scenario: "cpu-pinned".into(), round: 2, ..Row::default() }).unwrap();
        let again = Record::open(folder.join("results"), false).unwrap();
        assert_eq!(["cpu-pinned", "cpu-pinned.2", "cpu-pinned.3"].map(|name| again.has(name)), [true, true, false]);
        assert!(fs::read_to_string(again.folder().join("table.txt")).unwrap().ends_with(&(again.totals() + "\n")));
        fs::remove_dir_all(folder).unwrap();
    }
}
