//! The other unwinder: registers and a copy of the stack from perf, walked by framehop.

use framehop::{
    ExplicitModuleSectionInfo, FrameAddress, Module, Unwinder as _,
    x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64},
};
use libbpf_rs::libbpf_sys::perf_event_attr;
use std::{
    collections::HashMap,
    fs, io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    process::Command,
    ptr,
    sync::atomic::{Ordering, fence},
};

/// A page for the positions, then 32 MiB of records.
const PAGE: usize = 4096;
const RING: usize = 32 << 20;
/// The most that perf copies of a stack.
const STACK: u32 = 65528;

/// When a sample is taken.
#[derive(Clone, Copy)]
pub(super) enum Beat {
    /// So many times a second of CPU time.
    Clock(u64),
    /// At every context switch.
    Switch,
}

/// One sample: registers and the memory above the stack pointer.
pub(super) struct Sample {
    bp: u64,
    sp: u64,
    ip: u64,
    stack: Vec<u8>,
}

/// Samples of one thread.
pub(super) struct Oracle {
    fd: OwnedFd,
    ring: *mut u8,
    pub(super) lost: u64,
}

impl Oracle {
    pub(super) fn new(pid: u32, beat: Beat) -> Oracle {
        let mut attr = perf_event_attr {
            type_: 1, // PERF_TYPE_SOFTWARE
            size: size_of::<perf_event_attr>() as u32,
            sample_type: 1 << 12 | 1 << 13, // PERF_SAMPLE_REGS_USER, PERF_SAMPLE_STACK_USER
            sample_regs_user: 1 << 6 | 1 << 7 | 1 << 8, // bp, sp, ip
            sample_stack_user: STACK,
            ..Default::default()
        };
        match beat {
            Beat::Clock(hz) => {
                attr.config = 0; // PERF_COUNT_SW_CPU_CLOCK
                attr.__bindgen_anon_1.sample_freq = hz;
                attr.set_freq(1);
            }
            Beat::Switch => {
                attr.config = 3; // PERF_COUNT_SW_CONTEXT_SWITCHES
                attr.__bindgen_anon_1.sample_period = 1;
            }
        }
        // SAFETY: a valid attribute structure with its size; the other arguments are plain numbers.
        let fd = unsafe { libc::syscall(libc::SYS_perf_event_open, &attr, pid as libc::c_int, -1, -1, 8) };
        assert!(fd >= 0, "perf_event_open: {}", io::Error::last_os_error());
        // SAFETY: a new descriptor that nobody else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        // SAFETY: a new mapping of a descriptor that is held.
        let ring = unsafe {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(ptr::null_mut(), PAGE + RING, access, libc::MAP_SHARED, fd.as_raw_fd(), 0)
        };
        assert_ne!(ring, libc::MAP_FAILED, "mmap: {}", io::Error::last_os_error());
        Oracle { fd, ring: ring.cast(), lost: 0 }
    }

    pub(super) fn event(&self) -> OwnedFd {
        self.fd.try_clone().unwrap()
    }

    /// What has come since the last call.
    pub(super) fn take(&mut self) -> Vec<Sample> {
        let mut samples = Vec::new();
        // SAFETY: positions and records lie within the mapping; the kernel writes only outside of tail..head.
        unsafe {
            let head = ptr::read_volatile(self.ring.add(1024).cast::<u64>());
            let mut tail = ptr::read_volatile(self.ring.add(1032).cast::<u64>());
            fence(Ordering::Acquire);
            let byte = |at: u64| *self.ring.add(PAGE + at as usize % RING);
            let word = |at: u64| u64::from_le_bytes(std::array::from_fn(|n| byte(at + n as u64)));
            while tail < head {
                let header = word(tail);
                let (kind, length) = (header as u32, header >> 48);
                let body = tail + 8;
                match kind {
                    9 if word(body) != 0 => {
                        let size = word(body + 32);
                        let used = if size > 0 { word(body + 40 + size) } else { 0 };
                        samples.push(Sample {
                            bp: word(body + 8),
                            sp: word(body + 16),
                            ip: word(body + 24),
                            stack: (0..used.min(size)).map(|n| byte(body + 40 + n)).collect(),
                        });
                    }
                    2 => self.lost += word(body + 8),
                    _ => {}
                }
                tail += length;
            }
            fence(Ordering::Release);
            ptr::write_volatile(self.ring.add(1032).cast::<u64>(), tail);
        }
        samples
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`, not used afterwards.
        unsafe { libc::munmap(self.ring.cast(), PAGE + RING) };
    }
}

/// framehop with the modules of a process, found without any of our own code: from its maps and `readelf`.
pub(super) struct Framehop {
    unwinder: UnwinderX86_64<Vec<u8>>,
    cache: CacheX86_64,
}

impl Framehop {
    pub(super) fn new(pid: u32) -> Framehop {
        let mut unwinder = UnwinderX86_64::new();
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        let mut files: HashMap<&str, (u64, u64)> = HashMap::new();
        for line in maps.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let Some(path) = words.get(5).filter(|path| path.starts_with('/') || **path == "[vdso]") else { continue };
            let (start, end) = words[0].split_once('-').unwrap();
            let (start, end) = (u64::from_str_radix(start, 16).unwrap(), u64::from_str_radix(end, 16).unwrap());
            let range = files.entry(*path).or_insert((start, end));
            range.1 = end;
        }
        let copy = tempfile::tempdir().unwrap();
        for (path, (start, end)) in files {
            let file = match path {
                "[vdso]" => {
                    let mut bytes = vec![0; (end - start) as usize];
                    let memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
                    std::os::unix::fs::FileExt::read_exact_at(&memory, &mut bytes, start).unwrap();
                    let file = copy.path().join("vdso");
                    fs::write(&file, bytes).unwrap();
                    file
                }
                path => path.into(),
            };
            // Memory that is shared and has no file goes by the name of a device that never ends.
            if !fs::metadata(&file).is_ok_and(|about| about.is_file()) {
                continue;
            }
            let Ok(bytes) = fs::read(&file) else { continue };
            let listed = Command::new("readelf").arg("-SWl").arg(&file).output().unwrap().stdout;
            let listed = String::from_utf8_lossy(&listed).into_owned();
            let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap();
            let section = |name: &str| {
                let line = listed.lines().find(|line| line.contains(&format!("] {name} ")))?;
                let words: Vec<&str> = line.split(']').nth(1)?.split_whitespace().collect();
                let (address, offset, size) = (number(words[2]), number(words[3]), number(words[4]));
                let data = bytes.get(offset as usize..(offset + size) as usize)?.to_vec();
                Some((address..address + size, data))
            };
            let Some((eh_frame_svma, eh_frame)) = section(".eh_frame") else { continue };
            let (hdr_svma, hdr) = section(".eh_frame_hdr").unzip();
            let first = listed.lines().find(|line| line.trim_start().starts_with("LOAD")).unwrap();
            let base = number(first.split_whitespace().nth(2).unwrap());
            let sections = ExplicitModuleSectionInfo {
                base_svma: base,
                text_svma: section(".text").map(|(range, _)| range),
                eh_frame_svma: Some(eh_frame_svma),
                eh_frame: Some(eh_frame),
                eh_frame_hdr_svma: hdr_svma,
                eh_frame_hdr: hdr,
                ..Default::default()
            };
            unwinder.add_module(Module::new(path.to_owned(), start..end, start, sections));
        }
        Framehop { unwinder, cache: CacheX86_64::new() }
    }

    /// The frames of a sample, and whether the root was reached.
    pub(super) fn walk(&mut self, sample: &Sample) -> (Vec<u64>, bool) {
        let mut read = |address: u64| {
            let at = address.checked_sub(sample.sp).ok_or(())? as usize;
            let word = sample.stack.get(at..at + 8).ok_or(())?;
            Ok(u64::from_le_bytes(word.try_into().unwrap()))
        };
        let regs = UnwindRegsX86_64::new(sample.ip, sample.sp, sample.bp);
        let mut frames = self.unwinder.iter_frames(sample.ip, regs, &mut self.cache, &mut read);
        let mut ips = Vec::new();
        loop {
            match frames.next() {
                Ok(Some(FrameAddress::InstructionPointer(ip))) => ips.push(ip),
                Ok(Some(FrameAddress::ReturnAddress(ip))) => ips.push(ip.get()),
                Ok(None) => return (ips, true),
                Err(_) => return (ips, false),
            }
        }
    }
}
