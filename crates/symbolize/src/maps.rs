//! A process's executable memory, as `/proc/PID/maps` lists it.

/// A range of executable memory and what is behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Offset of `start` in the file.
    pub(crate) offset: u64,
    pub(crate) backing: Backing,
}

/// What a region of memory is backed by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Backing {
    /// A file: its device, inode and path, the latter in the process's own root and perhaps with ` (deleted)`.
    File { device: u64, inode: u64, path: Vec<u8> },
    /// The kernel's code in user space.
    Vdso,
    /// Memory without a file: code made at run time.
    Anonymous,
    /// Something else that the kernel names in brackets.
    Special(String),
}

/// The executable regions of a maps file; lines that do not parse are left out.
pub(crate) fn parse(maps: &[u8], most: usize) -> Vec<Region> {
    maps.split(|b| *b == b'\n').filter_map(region).take(most).collect()
}

/// `START-END PERMS OFFSET MAJOR:MINOR INODE   PATH`.
fn region(line: &[u8]) -> Option<Region> {
    let mut rest = line;
    let mut word = || {
        let at = rest.iter().position(|b| *b == b' ').unwrap_or(rest.len());
        let (head, tail) = rest.split_at(at);
        rest = tail.strip_prefix(b" ").unwrap_or(tail);
        std::str::from_utf8(head).ok()
    };
    let (start, end) = word()?.split_once('-')?;
    let permissions = word()?;
    let offset = hex(word()?)?;
    let (major, minor) = word()?.split_once(':')?;
    let inode: u64 = word()?.parse().ok()?;
    let (start, end) = (hex(start)?, hex(end)?);
    if permissions.as_bytes().get(2) != Some(&b'x') || start >= end {
        return None;
    }
    let blanks = rest.iter().take_while(|b| **b == b' ').count();
    let path = &rest[blanks..];
    let backing = match path {
        b"" => Backing::Anonymous,
        b"[vdso]" => Backing::Vdso,
        b"[heap]" | b"[stack]" => Backing::Anonymous,
        _ if path.starts_with(b"[anon") || path.starts_with(b"//anon") => Backing::Anonymous,
        _ if path.starts_with(b"/") => {
            Backing::File { device: hex(major)? << 32 | hex(minor)?, inode, path: unescaped(path) }
        }
        _ => Backing::Special(String::from_utf8_lossy(path).into_owned()),
    };
    Some(Region { start, end, offset, backing })
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

/// The kernel writes a newline in a path as `\012`.
fn unescaped(path: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, tail)) = rest.split_first() {
        if let Some(tail) = rest.strip_prefix(b"\\012") {
            plain.push(b'\n');
            rest = tail;
        } else {
            plain.push(*first);
            rest = tail;
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &[u8] = b"\
555b1dd90000-555b1dd94000 r--p 00000000 fe:00 1234                       /usr/bin/ls
555b1dd94000-555b1ddaa000 r-xp 00004000 fe:00 1234                       /usr/bin/ls
7f0000000000-7f0000001000 r-xp 00001000 fe:00 77                         /tmp/a b\\012c (deleted)
7f0000002000-7f0000003000 rwxp 00000000 00:00 0 
7f0000004000-7f0000005000 r-xp 00000000 00:00 0                          [anon:v8]
7f0000006000-7f0000007000 r-xp 00000000 00:01 9                          /memfd:doublemapper (deleted)
7fff00000000-7fff00002000 r-xp 00000000 00:00 0                          [vdso]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
7f0000009000-7f0000008000 r-xp 00000000 00:00 0
zz-1 r-xp 0 0:0 0
";

    #[test]
    fn only_executable_memory_is_kept() {
        let regions = parse(MAPS, 100);
        assert_eq!(regions.len(), 7);
        assert_eq!((regions[0].start, regions[0].offset), (0x555b1dd94000, 0x4000));
        assert_eq!(
            regions[0].backing,
            Backing::File { device: 0xfe << 32, inode: 1234, path: b"/usr/bin/ls".to_vec() }
        );
        assert!(matches!(&regions[1].backing, Backing::File { path, .. } if path == b"/tmp/a b\nc (deleted)"));
        assert_eq!(regions[2].backing, Backing::Anonymous);
        assert_eq!(regions[3].backing, Backing::Anonymous);
        assert!(matches!(&regions[4].backing, Backing::File { inode: 9, .. }));
        assert_eq!(regions[5].backing, Backing::Vdso);
        assert_eq!(regions[6].backing, Backing::Special("[vsyscall]".into()));
    }

    #[test]
    fn no_more_than_asked_for_is_kept() {
        assert_eq!(parse(MAPS, 2).len(), 2);
        assert!(parse(b"\n\xff\xff\n-", 2).is_empty());
    }
}
