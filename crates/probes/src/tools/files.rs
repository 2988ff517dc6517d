//! Files by path, with `*` for any part of a name. Only regular files, and no more of them than anybody needs.

use crate::roots::Roots;
use std::{
    fs::{self, OpenOptions},
    io::Read,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// ours: a kernel's file is smaller, and a log this long is not read for a light.
const LONGEST: u64 = 1 << 20;

/// ours: a machine with more devices of a kind than this is looked at in part.
const MOST: usize = 1024;

/// The texts of the files that a path stands for, each under what its `*` stood for.
///
/// # Errors
/// Why there is none.
pub(super) fn read(roots: &Roots, path: &str) -> Result<Vec<(String, String)>, String> {
    let mut found = vec![(PathBuf::from("/"), String::new())];
    for part in path.split('/').filter(|part| !part.is_empty()) {
        let mut next = Vec::new();
        for (folder, key) in found {
            if part.contains('*') {
                let mut names: Vec<String> = fs::read_dir(place(roots, &folder))
                    .into_iter()
                    .flatten()
                    .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                    .collect();
                names.sort_unstable();
                for name in names {
                    if let Some(stood_for) = stands_for(part, &name) {
                        let key = if key.is_empty() { stood_for } else { format!("{key}/{stood_for}") };
                        next.push((folder.join(&name), key));
                    }
                }
            } else {
                next.push((folder.join(part), key));
            }
        }
        next.truncate(MOST);
        found = next;
    }
    let many = path.contains('*');
    let mut texts = Vec::new();
    let mut wrong = None;
    for (file, key) in found {
        match text(&place(roots, &file)) {
            Ok(text) => texts.push((key, text)),
            Err(why) => wrong = wrong.or(Some(format!("{}: {why}", file.display()))),
        }
    }
    match (texts.is_empty(), wrong) {
        (true, Some(why)) => Err(why),
        (true, None) => Err(format!("{path}: no such file")),
        (false, Some(why)) if !many => Err(why),
        (false, _) => Ok(texts),
    }
}

/// What the `*` of a pattern stood for in a name; `None` when the name is not the pattern's.
fn stands_for(pattern: &str, name: &str) -> Option<String> {
    let (begin, end) = pattern.split_once('*')?;
    let middle = name.strip_prefix(begin)?.strip_suffix(end)?;
    (!middle.is_empty()).then(|| middle.to_owned())
}

/// The file in the trees that stand for procfs and sysfs.
fn place(roots: &Roots, path: &Path) -> PathBuf {
    let trees = [("/proc", &roots.proc), ("/sys", &roots.sys)];
    let tree = trees.into_iter().find_map(|(prefix, root)| Some(root.join(path.strip_prefix(prefix).ok()?)));
    tree.unwrap_or_else(|| path.to_owned())
}

fn text(path: &Path) -> Result<String, String> {
    // What is no file may block: a pipe, a terminal.
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(path)
        .map_err(|error| error.to_string())?;
    if !file.metadata().map_err(|error| error.to_string())?.is_file() {
        return Err("not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    file.by_ref().take(LONGEST).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_part_of_a_name_and_what_it_stood_for_is_the_key() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("vda", "10"), ("vdb", "20"), ("loop0", "30")] {
            fs::create_dir_all(dir.path().join("block").join(name)).unwrap();
            fs::write(dir.path().join("block").join(name).join("size"), text).unwrap();
        }
        let roots = Roots { sys: dir.path().to_owned(), ..Roots::default() };
        let read = |path: &str| read(&roots, path);
        let all = read("/sys/block/*/size").unwrap();
        assert_eq!(all.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["loop0", "vda", "vdb"]);
        assert_eq!(read("/sys/block/vd*/size").unwrap()[0], ("a".to_owned(), "10".to_owned()));
        assert_eq!(read("/sys/block/vda/size").unwrap(), [(String::new(), "10".to_owned())]);
        assert_eq!(read("/sys/*/*/size").unwrap()[1].0, "block/vda");
        assert!(read("/sys/block/*/none").unwrap_err().contains("No such file"));
        assert!(read("/sys/nothing/*/size").unwrap_err().contains("no such file"));
        assert!(read("/sys/block").unwrap_err().contains("not a regular file"));
    }
}
