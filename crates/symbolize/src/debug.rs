//! Where a program's debug information is, and the folder that it says it was compiled in.

use crate::unwind::elf;
use gimli::{Dwarf, DwarfSections, EndianSlice, LittleEndian, SectionId};
use std::{
    fs::File,
    path::{Path, PathBuf},
};

/// ours: the first unit's header, its abbreviations and the strings it names lie within this; reading it takes 5 ms.
const MOST: u64 = 16 << 20;

/// A file's debug information.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DebugInformation {
    /// The file that holds it: the program itself, or one beside; `None` where none is here.
    pub file: Option<PathBuf>,
    /// The folder that its first unit was compiled in.
    pub tree: Option<String>,
}

/// Looks for the debug information of a program: in itself, by build-id and by its `.gnu_debuglink`, as gdb does below
/// `/usr/lib/debug`, and in the user's cache of debuginfod. `program` is how the file can be opened, `path` what it is called.
pub fn debug_information(program: &Path, path: &Path, cache: Option<&Path>) -> DebugInformation {
    let Ok(file) = File::open(program) else { return DebugInformation::default() };
    if elf::section(&file, b".debug_info", 1).is_some() {
        return DebugInformation { file: Some(path.to_owned()), tree: tree(&file) };
    }
    let mut candidates = Vec::new();
    if let Some(id) = crate::build_id(program).filter(|id| id.len() > 2 && id.is_ascii()) {
        let (first, rest) = id.split_at(2);
        candidates.push(Path::new("/usr/lib/debug/.build-id").join(first).join(format!("{rest}.debug")));
        candidates.extend(cache.map(|cache| cache.join(id).join("debuginfo")));
    }
    if let (Some(link), Some(folder)) = (link(&file), path.parent()) {
        candidates.push(folder.join(".debug").join(&link));
        candidates.push(Path::new("/usr/lib/debug").join(folder.strip_prefix("/").unwrap_or(folder)).join(&link));
    }
    let Some(found) = candidates.into_iter().find(|candidate| candidate.is_file()) else {
        return DebugInformation::default();
    };
    let tree = File::open(&found).ok().and_then(|file| tree(&file));
    DebugInformation { file: Some(found), tree }
}

/// The name in `.gnu_debuglink`; one that leads elsewhere is none.
fn link(file: &File) -> Option<String> {
    let bytes = elf::section(file, b".gnu_debuglink", 4096)?;
    let name = String::from_utf8(bytes.split(|byte| *byte == 0).next()?.to_vec()).ok()?;
    (!name.is_empty() && !name.contains('/')).then_some(name)
}

/// `DW_AT_comp_dir` of the first unit; `None` where its sections are compressed, or it is not told.
fn tree(file: &File) -> Option<String> {
    let load = |id: SectionId| -> Result<Vec<u8>, gimli::Error> {
        Ok(elf::section(file, id.name().as_bytes(), MOST).unwrap_or_default())
    };
    let sections = DwarfSections::load(load).ok()?;
    let dwarf: Dwarf<EndianSlice<'_, LittleEndian>> = sections.borrow(|bytes| EndianSlice::new(bytes, LittleEndian));
    let header = dwarf.units().next().ok()??;
    let unit = dwarf.unit(header).ok()?;
    Some(String::from_utf8_lossy(unit.comp_dir?.slice()).into_owned()).filter(|tree| !tree.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_program_with_debug_information_says_where_it_was_compiled() {
        let dir = tempfile::tempdir().unwrap();
        let (source, program) = (dir.path().join("a.c"), dir.path().join("a"));
        std::fs::write(&source, "int main(void) { return 0; }\n").unwrap();
        let built = Command::new("cc").current_dir(dir.path()).args(["-g", "-o", "a", "a.c"]).status().unwrap();
        assert!(built.success());
        let found = debug_information(&program, &program, None);
        assert_eq!(found.file.as_deref(), Some(program.as_path()));
        let tree = std::fs::canonicalize(found.tree.unwrap()).unwrap();
        assert_eq!(tree, std::fs::canonicalize(dir.path()).unwrap());
    }

    #[test]
    fn debug_information_beside_is_found_by_its_link_and_what_is_not_there_is_none() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.c"), "int main(void) { return 0; }\n").unwrap();
        let script = "cc -g -Wl,--build-id=none -o a a.c && mkdir .debug && objcopy --only-keep-debug a .debug/a.debug && \
                      strip -g a && objcopy --add-gnu-debuglink=.debug/a.debug a";
        let run = |script: &str| Command::new("sh").current_dir(dir.path()).args(["-c", script]).status().unwrap();
        assert!(run(script).success());
        let program = dir.path().join("a");
        let found = debug_information(&program, &program, None);
        assert_eq!(found.file, Some(dir.path().join(".debug/a.debug")));
        assert!(found.tree.is_some());
        assert!(run("rm -r .debug").success());
        assert_eq!(debug_information(&program, &program, None), DebugInformation::default());
    }
}
