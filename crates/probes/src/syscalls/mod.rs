//! System calls: what each one waits for and returns, and the target's counts, times and failures.

mod calls;

pub(crate) use calls::{METRICS, collect};

use crate::bpf::types;
use syscalls::{Errno, Sysno};

const OTHER: u8 = 0;
const FD: u8 = 1;
const FUTEX: u8 = 2;
const SLEEP: u8 = 3;
const POLL: u8 = 4;
const CHILD: u8 = 5;

const PATH0: u8 = 1;
const PATH1: u8 = 2;
const ADDRESS1: u8 = 3;

/// The name of a system call; `syscall N` when this version does not know it.
pub(crate) fn name(nr: u32) -> String {
    Sysno::new(nr as usize).map_or_else(|| format!("syscall {nr}"), |call| call.name().to_owned())
}

/// Whether a call waits for descriptors to become ready.
pub(crate) fn polls(name: &str) -> bool {
    info_of(name).kind == POLL
}

/// The name of an error number, such as `ENOENT`.
pub(crate) fn error_name(number: u32) -> String {
    Errno::new(number as i32).name().map_or_else(|| format!("error {number}"), str::to_owned)
}

/// Fills the kernel side's table: kind, argument, and what a result means, by system call number.
pub(crate) fn describe(table: &mut [types::call_info]) {
    describe_with(table.len(), |number, info| table[number] = info);
}

/// The same for a table of another kind, with room for so many numbers.
pub(crate) fn describe_with(room: usize, mut put: impl FnMut(usize, types::call_info)) {
    let numbered = Sysno::iter().map(|call| (call.id() as usize, call.name()));
    numbered.filter(|(number, _)| *number < room).for_each(|(number, name)| put(number, info_of(name)));
}

fn info_of(name: &str) -> types::call_info {
    let kind = match name {
        "read" | "write" | "pread64" | "pwrite64" | "readv" | "writev" | "preadv" | "pwritev" | "preadv2"
        | "pwritev2" | "sendto" | "recvfrom" | "sendmsg" | "recvmsg" | "sendmmsg" | "recvmmsg" | "accept"
        | "accept4" | "connect" | "fsync" | "fdatasync" | "syncfs" | "sync_file_range" | "fallocate" | "ftruncate"
        | "flock" | "fcntl" | "ioctl" | "sendfile" | "splice" | "getdents" | "getdents64" | "vmsplice" | "tee"
        | "copy_file_range" | "close" | "shutdown" => FD,
        "futex" | "futex_wait" | "futex_waitv" => FUTEX,
        "nanosleep" | "clock_nanosleep" => SLEEP,
        "poll" | "ppoll" | "select" | "pselect6" | "epoll_wait" | "epoll_pwait" | "epoll_pwait2" => POLL,
        "wait4" | "waitid" => CHILD,
        _ => OTHER,
    };
    let arg = match name {
        "open" | "stat" | "lstat" | "access" | "execve" | "readlink" | "unlink" | "mkdir" | "rmdir" | "chdir"
        | "creat" | "rename" | "truncate" | "statfs" | "getxattr" | "lgetxattr" => PATH0,
        "openat" | "openat2" | "newfstatat" | "fstatat" | "faccessat" | "faccessat2" | "readlinkat" | "unlinkat"
        | "mkdirat" | "statx" | "execveat" | "renameat" | "renameat2" | "inotify_add_watch" => PATH1,
        "connect" => ADDRESS1,
        _ => 0,
    };
    let reads = matches!(
        name,
        "read" | "pread64" | "readv" | "preadv" | "preadv2" | "recvfrom" | "recvmsg" | "recvmmsg" | "getdents64"
    );
    let writes = matches!(
        name,
        "write"
            | "pwrite64"
            | "writev"
            | "pwritev"
            | "pwritev2"
            | "sendto"
            | "sendmsg"
            | "sendfile"
            | "splice"
            | "copy_file_range"
    );
    let counts = reads || kind == POLL;
    let poll = match name {
        "select" | "pselect6" => 1,
        "epoll_wait" | "epoll_pwait" | "epoll_pwait2" => 2,
        _ => 0,
    };
    let bytes = (reads && name != "recvmmsg") || writes;
    types::call_info { kind, arg, counts: u8::from(counts), bytes: u8::from(bytes), poll }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_knows_the_calls_by_number() {
        let mut table = vec![info_of(""); 512];
        describe(&mut table);
        assert_eq!(table[libc::SYS_futex as usize].kind, FUTEX);
        assert_eq!(table[libc::SYS_read as usize].kind, FD);
        assert_eq!(table[libc::SYS_openat as usize].arg, PATH1);
        assert_eq!(table[libc::SYS_epoll_wait as usize].counts, 1);
        assert_eq!(table[libc::SYS_getpid as usize].kind, OTHER);
        assert_eq!(name(libc::SYS_fdatasync as u32), "fdatasync");
        assert_eq!(error_name(2), "ENOENT");
    }
}
