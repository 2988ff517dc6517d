//! # Switch transparent huge pages
//!
//! **Does** set whether the kernel gives out huge pages unasked (`always`, `madvise`, `never`), for the whole machine. The old
//! word undoes it.
//! **Shows** whether making huge pages free (compaction, zeroing) is what costs the victim.
//! **Misleads** on what is mapped already: huge pages that are there stay.

use super::{Act, Change, ChangeError, Level, need_root, step::value};
use crate::Roots;
use std::fs;

/// Sets it for the whole machine.
///
/// # Errors
/// The kernel has none, or does not know the word.
pub fn plan(roots: &Roots, to: &str) -> Result<Change, ChangeError> {
    need_root("a setting of the whole machine")?;
    let path = roots.sys.join("kernel/mm/transparent_hugepage/enabled");
    let text = fs::read_to_string(&path)
        .map_err(|_| ChangeError::Impossible("this kernel has no transparent huge pages".into()))?;
    let words: Vec<&str> = text.split_whitespace().map(|word| word.trim_matches(['[', ']'])).collect();
    if !words.contains(&to) {
        return Err(ChangeError::Impossible(format!("`{to}` is none of {}", words.join(", "))));
    }
    if value(&text) == to {
        return Err(ChangeError::Impossible(format!("transparent huge pages are `{to}` already")));
    }
    Ok(Change {
        kind: "thp",
        about: format!("set transparent huge pages to `{to}`"),
        level: Level::Change,
        notes: vec!["it is for the whole machine; huge pages that are there stay".into()],
        acts: vec![Act::Write { path, new: to.to_owned() }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_kernel_knows_and_what_is_new() {
        if !crate::change::is_root() {
            eprintln!("skipped: only root may");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots { proc: dir.path().join("proc"), sys: dir.path().join("sys") };
        assert!(plan(&roots, "never").is_err(), "no such kernel");
        let file = roots.sys.join("kernel/mm/transparent_hugepage/enabled");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "always [madvise] never\n").unwrap();
        assert!(plan(&roots, "madvise").unwrap_err().to_string().contains("already"));
        assert!(plan(&roots, "off").unwrap_err().to_string().contains("always, madvise, never"));
        assert!(matches!(&plan(&roots, "never").unwrap().acts[..], [Act::Write { new, .. }] if new == "never"));
    }
}
