//! Unix sockets as the kernel lists them: their paths, and which one is at the other end.

use super::{HEADER, attributes, header, u32_at};

/// `struct unix_diag_msg`.
const MESSAGE: usize = 16;
/// Attributes, by `UNIX_DIAG_…`.
const NAME: u16 = 0;
const PEER: u16 = 2;
/// What to show (`UDIAG_SHOW_NAME`, `UDIAG_SHOW_PEER`).
const SHOWN: u32 = 1 | 4;
/// Of a socket that is listened on, `TCP_LISTEN`.
const LISTENING: u8 = 10;

/// One socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    pub inode: u32,
    /// The inode of the socket at the other end; 0 when it has none.
    pub peer: u32,
    /// Its path, or its abstract name after an `@`; empty when it has none, as of those that connect.
    pub name: String,
    pub listening: bool,
}

/// `struct unix_diag_req`: all sockets in all states.
pub(super) fn request() -> [u8; HEADER + 24] {
    let mut bytes = header::<{ HEADER + 24 }>(libc::AF_UNIX as u8);
    bytes[20..24].copy_from_slice(&u32::MAX.to_ne_bytes());
    bytes[28..32].copy_from_slice(&SHOWN.to_ne_bytes());
    bytes
}

pub(super) fn row(body: &[u8]) -> Row {
    let listening = body.get(2) == Some(&LISTENING);
    let mut row = Row { inode: u32_at(body, 4), listening, ..Row::default() };
    attributes(body.get(MESSAGE..).unwrap_or_default(), |attribute, value| match attribute {
        NAME => row.name = name(value),
        PEER => row.peer = u32_at(value, 0),
        _ => {}
    });
    row
}

fn name(bytes: &[u8]) -> String {
    match bytes {
        [0, rest @ ..] => format!("@{}", String::from_utf8_lossy(rest)),
        path => String::from_utf8_lossy(path).trim_end_matches('\0').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        net::{diag::Diag, scope::Scope},
        roots::Roots,
    };
    use observe::Target;
    use std::os::{fd::AsRawFd, linux::fs::MetadataExt, unix::net::UnixListener, unix::net::UnixStream};

    #[test]
    fn both_ends_of_a_connection_of_this_kernel_know_one_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let client = UnixStream::connect(&path).unwrap();
        let server = listener.accept().unwrap().0;
        let inode = |fd: i32| std::fs::metadata(format!("/proc/self/fd/{fd}")).unwrap().st_ino() as u32;
        let mut rows = Vec::new();
        let scope = Scope::of(&Roots::default(), &Target::system("h"));
        Diag::open(&scope).unwrap().list_unix(|row| rows.push(row)).unwrap();
        let find = |fd: i32| rows.iter().find(|row| row.inode == inode(fd)).unwrap();
        let (asks, answers) = (find(client.as_raw_fd()), find(server.as_raw_fd()));
        assert_eq!((asks.peer, answers.peer), (answers.inode, asks.inode));
        assert_eq!((asks.name.as_str(), answers.name.as_str()), ("", path.to_str().unwrap()));
        assert!(find(listener.as_raw_fd()).listening && !answers.listening);
    }

    #[test]
    fn names_are_paths_or_abstract() {
        assert_eq!(name(b"/run/a.sock\0"), "/run/a.sock");
        assert_eq!(name(b"\0/tmp/x"), "@/tmp/x");
        assert_eq!(row(&[1, 1, 10]), Row { listening: true, ..Row::default() });
    }
}
