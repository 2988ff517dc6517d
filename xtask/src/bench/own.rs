//! Loads that need no other program: system calls, new processes and disk reads made by this one.

use super::loads::{LIMIT, Runner};
use crate::processes::{Stop, pause};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const BLOCK: u64 = 4096;
/// ours: large enough that a disk has to seek, small enough to be written in seconds.
const FILE_BLOCKS: u64 = 128 * 1024 * 1024 / BLOCK;

/// What a disk reads into: past the page cache, memory has to be aligned as blocks are.
#[repr(align(4096))]
struct Block([u8; BLOCK as usize]);

/// Microseconds a call of the cheapest system call.
pub fn syscalls(operations: u64) -> Result<f64, Stop> {
    const AT_A_TIME: u64 = 1 << 16;
    let begin = Instant::now();
    let mut done = 0;
    while done < operations {
        let now = AT_A_TIME.min(operations - done);
        for _ in 0..now {
            // SAFETY: no arguments, cannot fail.
            std::hint::black_box(unsafe { libc::syscall(libc::SYS_getppid) });
        }
        done += now;
        go_on(begin)?;
    }
    Ok(begin.elapsed().as_secs_f64() * 1e6 / operations.max(1) as f64)
}

/// Starts a process that does nothing, over and over; its figure is processes a second.
pub fn fork_exec(_: &Path) -> Result<Runner, Stop> {
    Ok(Box::new(|operations| {
        let begin = Instant::now();
        for _ in 0..operations {
            let status = Command::new("/bin/true").stdin(Stdio::null()).status();
            if !status.map_err(|e| format!("/bin/true: {e}"))?.success() {
                return Err(Stop::Broken("/bin/true did not succeed".into()));
            }
            go_on(begin)?;
        }
        Ok(rate(operations, begin))
    }))
}

/// Reads blocks of a file at random; its figure is reads a second. The file has no name, so the kernel removes it
/// however this process ends.
pub fn block_io(dir: &Path) -> Result<Runner, Stop> {
    let file = nameless(&dir.join("blocks"))?;
    Ok(Box::new(move |operations| {
        let mut block = Box::new(Block([0; BLOCK as usize]));
        // The same places in every run, so that what lies below the file cannot favour one.
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let begin = Instant::now();
        for _ in 0..operations {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            file.read_exact_at(&mut block.0, state % FILE_BLOCKS * BLOCK)
                .map_err(|e| format!("reading blocks: {e}"))?;
            go_on(begin)?;
        }
        Ok(rate(operations, begin))
    }))
}

/// A file full of blocks, opened past the page cache and without a name.
fn nameless(path: &Path) -> Result<File, Stop> {
    let fail = |e: std::io::Error| Stop::Broken(format!("{}: {e}", path.display()));
    let mut writer = File::create(path).map_err(fail)?;
    let direct = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path);
    fs::remove_file(path).map_err(fail)?;
    let direct = direct.map_err(|e| Stop::Skip(format!("the page cache cannot be passed by here: {e}")))?;
    if is_tmpfs(&direct) {
        return Err(Stop::Skip(format!("{} is in memory, not on a disk", path.display())));
    }
    for number in 0..FILE_BLOCKS {
        // Blocks that differ are stored as they are by every file system.
        writer.write_all(&number.to_le_bytes().repeat(BLOCK as usize / 8)).map_err(fail)?;
        pause(Duration::ZERO)?;
    }
    writer.sync_all().map_err(fail)?;
    Ok(direct)
}

fn is_tmpfs(file: &File) -> bool {
    // SAFETY: all zeros is a value of this plain structure, which the call may fill; the descriptor is open.
    let (status, facts) = unsafe {
        let mut facts: libc::statfs = std::mem::zeroed();
        (libc::fstatfs(file.as_raw_fd(), &mut facts), facts)
    };
    status == 0 && facts.f_type == libc::TMPFS_MAGIC
}

/// The last CPU that this process may use: the first ones take most interrupts.
pub fn last_cpu() -> Result<usize, String> {
    // SAFETY: all zeros is the empty set, which the call fills; CPU_ISSET checks its bounds.
    let last = unsafe {
        let mut cpus: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut cpus);
        (0..libc::CPU_SETSIZE as usize).rev().find(|cpu| libc::CPU_ISSET(*cpu, &cpus))
    };
    last.ok_or_else(|| format!("the CPUs of this process: {}", std::io::Error::last_os_error()))
}

/// An error where the user wants out or the limit is over.
fn go_on(begin: Instant) -> Result<(), Stop> {
    pause(Duration::ZERO)?;
    if begin.elapsed() > LIMIT { Err(Stop::Broken(format!("longer than {} s", LIMIT.as_secs()))) } else { Ok(()) }
}

fn rate(operations: u64, begin: Instant) -> f64 {
    operations as f64 / begin.elapsed().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_says_how_fast_it_was() {
        assert!(syscalls(1000).unwrap() > 0.0);
        assert!(fork_exec(Path::new("/")).unwrap()(3).unwrap() > 0.0);
    }

    #[test]
    fn the_last_cpu_exists() {
        assert!(Path::new(&format!("/sys/devices/system/cpu/cpu{}", last_cpu().unwrap())).exists());
    }
}
