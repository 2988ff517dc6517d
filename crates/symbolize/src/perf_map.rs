//! Perf maps: the names a runtime writes for the code it compiles, `/tmp/perf-PID.map`.
//!
//! Lines are `START SIZE NAME`, in hexadecimal with or without `0x` (the JDK writes it). They come from the process
//! itself, so nothing in them is trusted.

use crate::name;
use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::{
        fd::{AsRawFd, FromRawFd},
        unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    },
    path::Path,
};

/// ours: the largest maps of big Java services are about 20 MB.
const LARGEST_FILE: u64 = 64 << 20;
/// ours: as many names as such a file can hold at its usual line length.
const MOST_ENTRIES: usize = 1_000_000;
/// ours: code is replaced in place, so a few old entries may cover a later one's address.
const OVERLAPS: usize = 16;

struct Entry {
    start: u64,
    end: u64,
    name: u32,
    length: u16,
    /// Later lines replace earlier ones.
    line: u32,
}

/// The compiled functions of one process.
pub(crate) struct PerfMap {
    entries: Vec<Entry>,
    names: String,
}

impl PerfMap {
    /// Reads an open map from its start.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn read(file: &File) -> io::Result<Self> {
        let mut text = Vec::new();
        let mut at = 0u64;
        let mut block = vec![0u8; 1 << 16];
        while at < LARGEST_FILE {
            match file.read_at(&mut block, at)? {
                0 => break,
                read => {
                    text.extend_from_slice(&block[..read]);
                    at += read as u64;
                }
            }
        }
        Ok(Self::parse(&text))
    }

    /// Lines that do not parse are left out.
    pub(crate) fn parse(text: &[u8]) -> Self {
        let mut entries = Vec::new();
        let mut names = String::new();
        for (line, bytes) in text.split(|b| *b == b'\n').enumerate() {
            if entries.len() == MOST_ENTRIES {
                break;
            }
            let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
            let mut words = bytes.splitn(3, |b| *b == b' ');
            let (Some(start), Some(size), Some(symbol)) = (words.next(), words.next(), words.next()) else { continue };
            let (Some(start), Some(size)) = (hex(start), hex(size)) else { continue };
            let symbol = name::compiled(String::from_utf8_lossy(symbol).trim());
            let (Ok(at), Ok(length), Ok(line), Some(end)) = (
                u32::try_from(names.len()),
                u16::try_from(symbol.len()),
                u32::try_from(line),
                start.checked_add(size.max(1)),
            ) else {
                continue;
            };
            if symbol.is_empty() {
                continue;
            }
            names.push_str(&symbol);
            entries.push(Entry { start, end, name: at, length, line });
        }
        entries.sort_by_key(|e| (e.start, e.line));
        PerfMap { entries, names }
    }

    /// The function around an address: of several, the one written last.
    pub(crate) fn find(&self, address: u64) -> Option<&str> {
        let behind = self.entries.partition_point(|e| e.start <= address);
        let near = &self.entries[behind.saturating_sub(OVERLAPS)..behind];
        let entry = near.iter().filter(|e| address < e.end).max_by_key(|e| e.line)?;
        let start = entry.name as usize;
        self.names.get(start..start + usize::from(entry.length))
    }
}

fn hex(word: &[u8]) -> Option<u64> {
    let word = std::str::from_utf8(word).ok()?;
    let digits = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")).unwrap_or(word);
    // from_str_radix also takes a sign.
    digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u64::from_str_radix(digits, 16).ok())?
}

/// Opens the map of a live process as the process itself sees it: in its root directory, under its own idea of its id,
/// and only if it or root owns it, as a map that somebody else wrote would name his code as its own.
pub(crate) fn open(process: &Path) -> Option<File> {
    let mut status = String::new();
    // The status of a process that hides nothing is about 1.5 KB.
    File::open(process.join("status")).ok()?.take(1 << 16).read_to_string(&mut status).ok()?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let owner: u32 = field("Uid:")?.split_ascii_whitespace().nth(1)?.parse().ok()?;
    let ids = field("NSpid:").or_else(|| field("Pid:"))?;
    let root = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC)
        .open(process.join("root"))
        .ok()?;
    // Innermost first: that is what the process calls itself.
    ids.split_ascii_whitespace().rev().find_map(|id| {
        let id: u32 = id.parse().ok()?;
        open_inside(&root, &format!("tmp/perf-{id}.map"), owner).ok()
    })
}

/// Opens a regular file below a directory without following links out of it.
fn open_inside(root: &File, path: &str, owner: u32) -> io::Result<File> {
    #[repr(C)]
    struct OpenHow {
        flags: u64,
        mode: u64,
        resolve: u64,
    }
    const RESOLVE_NO_MAGICLINKS: u64 = 0x02;
    const RESOLVE_IN_ROOT: u64 = 0x10;
    let c_path = std::ffi::CString::new(path)?;
    let how = OpenHow {
        flags: (libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC) as u64,
        mode: 0,
        resolve: RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
    };
    // SAFETY: the path is a C string and `how` a struct of the size given, both alive during the call.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_openat2,
            root.as_raw_fd(),
            c_path.as_ptr(),
            std::ptr::from_ref(&how),
            size_of::<OpenHow>(),
        )
    };
    let found = if fd >= 0 {
        // SAFETY: the kernel has just given this descriptor to us and nobody else knows it.
        unsafe { File::from_raw_fd(fd as i32) }
    } else {
        let error = io::Error::last_os_error();
        if !matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) {
            return Err(error);
        }
        // Kernels before 5.6 and some sandboxes do not have openat2.
        OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(format!("/proc/self/fd/{}/{path}", root.as_raw_fd()))?
    };
    // Looked at before it is opened for reading: opening a device or a pipe may do something.
    let about = found.metadata()?;
    if !about.is_file() || (about.uid() != owner && about.uid() != 0) {
        return Err(io::Error::from(io::ErrorKind::PermissionDenied));
    }
    File::open(format!("/proc/self/fd/{}", found.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_numbers_are_read() {
        let map = PerfMap::parse(
            b"7f00 10 plain name with blanks\n0x0000000000007f20 0x20 Ljava/lang/String;::hashCode\r\n7F40 8 JS:*f /a.js:1:2",
        );
        assert_eq!(map.find(0x7f00), Some("plain name with blanks"));
        assert_eq!(map.find(0x7f0f), Some("plain name with blanks"));
        assert_eq!(map.find(0x7f10), None);
        assert_eq!(map.find(0x7f3f), Some("Ljava/lang/String;::hashCode"));
        assert_eq!(map.find(0x7f47), Some("JS:*f /a.js:1:2"));
        assert_eq!(map.find(0), None);
    }

    #[test]
    fn later_lines_replace_earlier_ones() {
        let map = PerfMap::parse(b"100 100 old\n120 10 inner\n100 100 new\n");
        assert_eq!(map.find(0x125), Some("new"));
        let map = PerfMap::parse(b"100 100 outer\n120 10 inner\n");
        assert_eq!(map.find(0x125), Some("inner"));
        assert_eq!(map.find(0x140), Some("outer"));
    }

    #[test]
    fn hostile_contents_do_no_harm() {
        let mut text = Vec::new();
        text.extend_from_slice(b"ffffffffffffffff ffffffffffffffff overflow\n");
        text.extend_from_slice(b"+10 10 sign\n-1 1 minus\n0x 1 nothing\n 1 1 blank\n\n\0\0\0\n10\n10 10\n10 10 \n");
        text.extend_from_slice(b"111111111111111111111 1 too long\n");
        text.extend_from_slice(b"200 10 \xff\xfe\x1b[2Jname\n");
        text.extend_from_slice(b"300 10 ");
        text.extend(std::iter::repeat_n(b'x', 100_000));
        let map = PerfMap::parse(&text);
        assert_eq!(map.entries.len(), 2);
        assert_eq!(map.find(0x200), Some("\u{fffd}\u{fffd}?[2Jname"));
        assert!(map.find(0x300).is_some_and(|name| name.len() < 200));
        assert_eq!(map.find(u64::MAX), None);
    }

    #[test]
    fn links_out_of_the_root_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("tmp")).unwrap();
        std::fs::write(dir.path().join("tmp/perf-1.map"), "1 1 a").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("tmp/perf-2.map")).unwrap();
        let root = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(dir.path()).unwrap();
        let owner = std::fs::metadata(dir.path()).unwrap().uid();
        assert!(open_inside(&root, "tmp/perf-1.map", owner).is_ok());
        assert!(open_inside(&root, "tmp/perf-2.map", owner).is_err());
        assert!(open_inside(&root, "tmp/perf-3.map", owner).is_err());
        assert!(open_inside(&root, "tmp", owner).is_err());
    }
}
