//! Which case is this machine's baseline: a line in the folder that holds the cases.

use crate::Error;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The file that names it.
const BASELINE: &str = "baseline";

/// Makes a case the baseline.
///
/// # Errors
/// The folder cannot be written.
pub fn set_baseline(root: &Path, case: &Path) -> Result<(), Error> {
    let path = root.join(BASELINE);
    let aside = root.join(format!(".{BASELINE}-{}", std::process::id()));
    let failed = |source| Error::Write { path: path.clone(), source };
    let case = std::path::absolute(case).map_err(failed)?;
    fs::create_dir_all(root).map_err(failed)?;
    fs::write(&aside, format!("{}\n", case.display())).and_then(|()| fs::rename(&aside, &path)).map_err(|source| {
        let _ = fs::remove_file(&aside);
        failed(source)
    })
}

/// The case that is the baseline, if one is and is still there.
///
/// # Errors
/// The file that names it cannot be read.
pub fn baseline(root: &Path) -> Result<Option<PathBuf>, Error> {
    let path = root.join(BASELINE);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(PathBuf::from(text.trim_end_matches('\n'))).filter(|case| case.is_dir())),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Read { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_baseline_is_named_replaced_and_forgotten_with_its_case() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(baseline(root.path()).unwrap(), None);
        for name in ["one", "two"] {
            let case = root.path().join(name);
            fs::create_dir(&case).unwrap();
            set_baseline(root.path(), &case).unwrap();
            assert_eq!(baseline(root.path()).unwrap(), Some(case));
        }
        fs::remove_dir(root.path().join("two")).unwrap();
        assert_eq!(baseline(root.path()).unwrap(), None);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 2, "nothing else is left behind");
    }
}
