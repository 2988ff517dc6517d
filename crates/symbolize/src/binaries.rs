//! The programs and libraries in which addresses lie: opened at first sight, named on demand.
//!
//! A binary is kept open, so that it can still be read when it is deleted, replaced, or the container it came from is
//! gone. Reading a file that somebody truncates meanwhile is the one hazard left: it is mapped, not copied.

use crate::{
    maps::{Backing, Region},
    name,
    pclntab::Functions,
};
use blazesym::symbolize::{self, Input, Reason, Symbolized, source};
use std::{
    collections::HashMap,
    ffi::OsStr,
    fs::{self, File},
    os::{
        fd::AsRawFd,
        unix::{
            ffi::OsStrExt,
            fs::{FileExt, MetadataExt},
        },
    },
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

/// ours: a quarter of the descriptors that a process has by default; later binaries are found again by path.
const MOST_OPEN: usize = 256;
/// ours: far more than any machine runs in a minute, and about 4 MB.
const MOST_KNOWN: usize = 16_384;
/// ours: symbol indices of that many binaries are some tens of MB.
const MOST_LOADED: usize = 128;

/// Stands for one binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct BinaryId(u32);

/// Why an offset in a binary has no name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unnamed {
    /// The file holds no symbols, debug information included.
    Stripped,
    /// It has symbols, and none covers the offset.
    Uncovered,
    /// It is no ELF file: data, or code that a runtime keeps in a file.
    NotElf,
    /// It could not be read, for this reason.
    Unreadable(String),
}

enum Access {
    /// Kept open.
    Open(File),
    /// To be found again, when its inode is still the same.
    Path(PathBuf),
    /// Not to be had.
    None(String),
}

struct Binary {
    name: String,
    inode: u64,
    is_elf: bool,
    loaded: bool,
    access: Access,
}

#[derive(PartialEq, Eq, Hash)]
struct Key {
    device: u64,
    inode: u64,
    path: Vec<u8>,
}

/// Every binary seen.
pub(crate) struct Binaries {
    engine: symbolize::Symbolizer,
    known: Vec<Binary>,
    index: HashMap<Key, BinaryId>,
    open: usize,
    loaded: usize,
}

impl Binaries {
    pub(crate) fn new() -> Self {
        Binaries { engine: engine(), known: Vec::new(), index: HashMap::new(), open: 0, loaded: 0 }
    }

    /// The binary behind a region of a process, which should still be alive. `None` when the region has no file or too
    /// many binaries are known already.
    pub(crate) fn find(&mut self, process: &Path, region: &Region) -> Option<BinaryId> {
        let Backing::File { device, inode, path } = &region.backing else { return None };
        let key = Key { device: *device, inode: *inode, path: path.clone() };
        if let Some(id) = self.index.get(&key) {
            let again = self.known.get_mut(id.0 as usize).filter(|b| matches!(b.access, Access::None(_)));
            if let Some(binary) = again {
                (binary.access, binary.is_elf) = access(process, region, path, *inode, self.open < MOST_OPEN);
                self.open += usize::from(matches!(binary.access, Access::Open(_)));
            }
            return Some(*id);
        }
        if self.known.len() >= MOST_KNOWN {
            return None;
        }
        let (access, is_elf) = access(process, region, path, *inode, self.open < MOST_OPEN);
        self.open += usize::from(matches!(access, Access::Open(_)));
        let id = BinaryId(u32::try_from(self.known.len()).ok()?);
        self.known.push(Binary { name: base_name(path), inode: *inode, is_elf, loaded: false, access });
        self.index.insert(key, id);
        Some(id)
    }

    /// The base name of a binary's path.
    pub(crate) fn name(&self, id: BinaryId) -> &str {
        self.known.get(id.0 as usize).map_or("", |b| &b.name)
    }

    /// A binary's file.
    pub(crate) fn file(&self, id: BinaryId) -> Option<File> {
        let binary = self.known.get(id.0 as usize)?;
        match &binary.access {
            Access::Open(file) => file.try_clone().ok(),
            Access::Path(path) => open_checked(path, binary.inode).ok(),
            Access::None(_) => None,
        }
    }

    /// Names for offsets in a binary's file, in their order.
    pub(crate) fn symbols(&mut self, id: BinaryId, offsets: &[u64]) -> Vec<Result<String, Unnamed>> {
        let all = |why: Unnamed| vec![Err(why); offsets.len()];
        if self.loaded >= MOST_LOADED {
            self.engine = engine();
            self.loaded = 0;
            self.known.iter_mut().for_each(|b| b.loaded = false);
        }
        let Some(binary) = self.known.get_mut(id.0 as usize) else {
            return all(Unnamed::Unreadable("unknown binary".to_owned()));
        };
        // Held until the end: its descriptor's number is in the path.
        let reopened;
        let file = match &binary.access {
            Access::Open(file) => file,
            Access::None(why) => return all(Unnamed::Unreadable(why.clone())),
            Access::Path(path) => match open_checked(path, binary.inode) {
                Ok(file) => {
                    binary.is_elf = is_elf(&file);
                    reopened = file;
                    &reopened
                }
                Err(why) => return all(Unnamed::Unreadable(why)),
            },
        };
        if !binary.is_elf {
            return all(Unnamed::NotElf);
        }
        if !binary.loaded {
            binary.loaded = true;
            self.loaded += 1;
        }
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        // The parser is safe, but not written for files that are made to break it.
        let named = catch_unwind(AssertUnwindSafe(|| lookup(&self.engine, &path, offsets)));
        let named = named.map(|mut names| {
            name_by_go(file, offsets, &mut names);
            names
        });
        named.unwrap_or_else(|_| {
            let why = format!("the symbol table of {} is damaged", binary.name);
            binary.access = Access::None(why.clone());
            self.engine = engine();
            self.loaded = 0;
            vec![Err(Unnamed::Unreadable(why)); offsets.len()]
        })
    }

    /// Names for addresses in friday's own copy of the kernel's code in user space, which is every process's.
    pub(crate) fn vdso(&self, addresses: &[u64]) -> Vec<Option<String>> {
        let mut own = source::Process::new(blazesym::Pid::Slf);
        own.debug_syms = false;
        own.perf_map = false;
        own.map_files = false;
        match self.engine.symbolize(&own.into(), Input::AbsAddr(addresses)) {
            Ok(found) => found.into_iter().map(|one| one.into_sym().map(|sym| name::shown(&sym.name))).collect(),
            Err(_) => vec![None; addresses.len()],
        }
    }
}

/// Only names are wanted: line numbers and inlined functions would read all of the debug information.
fn engine() -> symbolize::Symbolizer {
    symbolize::Symbolizer::builder().enable_code_info(false).enable_inlined_fns(false).build()
}

fn lookup(engine: &symbolize::Symbolizer, path: &Path, offsets: &[u64]) -> Vec<Result<String, Unnamed>> {
    let mut source = source::Elf::new(path);
    source.debug_syms = false;
    let mut names = match ask(engine, &source, offsets) {
        Ok(names) => names,
        Err(why) => return vec![Err(why); offsets.len()],
    };
    // Debug information is slow to read: only where there is nothing else.
    let bare: Vec<usize> = (0..names.len()).filter(|at| names[*at] == Err(Unnamed::Stripped)).collect();
    if !bare.is_empty() {
        source.debug_syms = true;
        let bare_offsets: Vec<u64> = bare.iter().map(|at| offsets[*at]).collect();
        if let Ok(found) = ask(engine, &source, &bare_offsets) {
            for (at, name) in bare.into_iter().zip(found) {
                names[at] = name;
            }
        }
    }
    names
}

/// Names what is left of a Go program's by the table of its runtime.
fn name_by_go(file: &File, offsets: &[u64], names: &mut [Result<String, Unnamed>]) {
    let is_bare = |name: &Result<String, Unnamed>| matches!(name, Err(Unnamed::Stripped | Unnamed::Uncovered));
    if !names.iter().any(is_bare) {
        return;
    }
    let Some(functions) = Functions::read(file) else { return };
    for (name, offset) in names.iter_mut().zip(offsets).filter(|(name, _)| is_bare(name)) {
        if let Some(found) = functions.name(*offset) {
            *name = Ok(name::shown(&found));
        }
    }
}

fn ask(
    engine: &symbolize::Symbolizer,
    source: &source::Elf,
    offsets: &[u64],
) -> Result<Vec<Result<String, Unnamed>>, Unnamed> {
    let found = engine
        .symbolize(&source.clone().into(), Input::FileOffset(offsets))
        .map_err(|error| Unnamed::Unreadable(format!("its symbols could not be read: {error}")))?;
    let mut names: Vec<_> = found
        .into_iter()
        .map(|one| match one {
            Symbolized::Sym(sym) if !sym.name.is_empty() => Ok(name::shown(&sym.name)),
            Symbolized::Unknown(Reason::MissingSyms) => Err(Unnamed::Stripped),
            _ => Err(Unnamed::Uncovered),
        })
        .collect();
    names.resize(offsets.len(), Err(Unnamed::Uncovered));
    Ok(names)
}

/// Opens the file behind a region by the first way that is certain to give the same file, or says why it cannot be had.
pub(crate) fn open(process: &Path, region: &Region, path: &[u8], inode: u64) -> Result<File, String> {
    let name = base_name(path);
    let link = process.join(format!("map_files/{:x}-{:x}", region.start, region.end));
    let deleted = path.ends_with(b" (deleted)");
    // Files of containers have their path in another root; the link leads there without one.
    let by_link = fs::metadata(&link)
        .ok()
        .filter(|about| about.ino() == inode || fs::read_link(&link).is_ok_and(|to| to.as_os_str().as_bytes() == path));
    let rooted = {
        let mut rooted = process.join("root").into_os_string();
        rooted.push(OsStr::from_bytes(path));
        PathBuf::from(rooted)
    };
    match by_link {
        // Anything but a regular file might do something when it is opened.
        Some(about) if !about.is_file() => Err(format!("{name} is not a regular file")),
        Some(_) => File::open(&link).map_err(|error| format!("{name} could not be opened: {error}")),
        None if deleted => Err(format!("{name} was deleted or replaced before it could be read")),
        None => open_checked(&rooted, inode),
    }
}

/// Opens the file behind a region, to be kept open or to be found again later.
fn access(process: &Path, region: &Region, path: &[u8], inode: u64, keep: bool) -> (Access, bool) {
    match open(process, region, path, inode) {
        Ok(file) => {
            let is_elf = is_elf(&file);
            if keep {
                return (Access::Open(file), is_elf);
            }
            // The path as this process sees it outlives the other one.
            match fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())) {
                Ok(path) => (Access::Path(path), is_elf),
                Err(_) => (Access::None("too many binaries are open".to_owned()), is_elf),
            }
        }
        Err(why) => (Access::None(why), false),
    }
}

/// Opens a regular file and makes sure that it is the one that was mapped.
fn open_checked(path: &Path, inode: u64) -> Result<File, String> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = name::foreign(name.trim_end_matches(" (deleted)"));
    let about = fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("{name} was deleted or replaced before it could be read"),
        _ => format!("{name} could not be read: {error}"),
    })?;
    if !about.is_file() || about.ino() != inode {
        return Err(format!("{name} was deleted or replaced before it could be read"));
    }
    File::open(path).map_err(|error| format!("{name} could not be opened: {error}"))
}

fn is_elf(file: &File) -> bool {
    let mut magic = [0; 4];
    file.read_exact_at(&mut magic, 0).is_ok() && magic == *b"\x7fELF"
}

pub(crate) fn base_name(path: &[u8]) -> String {
    let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
    let name = path.rsplit(|b| *b == b'/').next().unwrap_or(path);
    name::foreign(&String::from_utf8_lossy(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_called_by_their_base_name() {
        assert_eq!(base_name(b"/usr/lib/libc.so.6"), "libc.so.6");
        assert_eq!(base_name(b"/memfd:jit (deleted)"), "memfd:jit");
        assert_eq!(base_name(b"/tmp/a\nb"), "a?b");
    }

    #[test]
    fn a_replaced_file_is_not_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lib.so");
        fs::write(&path, b"\x7fELF").unwrap();
        let inode = fs::metadata(&path).unwrap().ino();
        assert!(open_checked(&path, inode).is_ok());
        assert_eq!(
            open_checked(&path, inode + 1).unwrap_err(),
            "lib.so was deleted or replaced before it could be read"
        );
        fs::remove_file(&path).unwrap();
        assert_eq!(open_checked(&path, inode).unwrap_err(), "lib.so was deleted or replaced before it could be read");
    }

    #[test]
    fn a_damaged_binary_is_said_to_be_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("broken");
        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.extend((0..4096u32).map(|n| (n * 37) as u8));
        fs::write(&path, bytes).unwrap();
        let mut binaries = Binaries::new();
        let inode = fs::metadata(&path).unwrap().ino();
        let backing = Backing::File { device: 0, inode, path: path.as_os_str().as_bytes().to_vec() };
        let region = Region { start: 0x1000, end: 0x2000, offset: 0, backing };
        let id = binaries.find(Path::new("/proc/self"), &region).unwrap();
        assert!(matches!(binaries.symbols(id, &[0x10]).as_slice(), [Err(_)]));
        assert_eq!(binaries.find(Path::new("/proc/self"), &region), Some(id));
    }
}
