//! Unwinding tables: how to find the caller of every instruction of a binary, from its `.eh_frame`.
//!
//! A [`Table`] is what the kernel side needs and no more: for each range of instructions, where the stack pointer was
//! before the call (the canonical frame address, CFA) and where the caller's frame pointer is. The return address is
//! below the CFA on x86-64, the one architecture served; others keep frame pointers by their calling convention.
//! Building takes about 5 ms for a C library and 120 ms for Node.js.

pub(crate) mod elf;
mod table;

use crate::{
    binaries,
    maps::{self, Backing, Region},
    read_maps,
};
use elf::Elf;
pub(crate) use elf::exported_numbers;
use observe::Pid;
use std::{io, os::unix::fs::FileExt, path::Path};
pub use table::{Cfa, FramePointer, Row, Rule, Table};

/// ours: V8 and the JVM map some hundreds of pieces of code.
const MOST_REGIONS: usize = 8192;
/// ours: two pages are used; more is not the kernel's.
const LARGEST_VDSO: u64 = 1 << 20;

/// Why there is no table for some code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoTable {
    /// It is no ELF file: data, or code that a runtime keeps in a file.
    #[error("it is no ELF file")]
    NotElf,
    /// It is a 32-bit or a big-endian file.
    #[error("it is not a 64-bit little-endian file")]
    OtherWordSize,
    /// It has no `.eh_frame`: Go's own linker writes none, nor does `-fno-asynchronous-unwind-tables`.
    #[error("it has no .eh_frame")]
    NoInformation,
    /// A part of it does not make sense.
    #[error("{0} could not be understood")]
    Damaged(&'static str),
    /// Its table has more rows than are kept of one binary, or of all together.
    #[error("its table is too large")]
    TooLarge,
    /// It could not be read, for this reason.
    #[error("{0}")]
    Unreadable(String),
}

/// What stands behind a range of code.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Backed {
    /// A file.
    File {
        /// Its device, major number in the upper half.
        device: u64,
        /// Its inode there.
        inode: u64,
    },
    /// The kernel's code in user space.
    Vdso,
}

/// A range of a process's executable memory that a binary stands behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    region: Region,
    /// What stands behind it.
    pub backed: Backed,
}

impl Code {
    /// Its first address.
    pub fn start(&self) -> u64 {
        self.region.start
    }

    /// The address behind its last.
    pub fn end(&self) -> u64 {
        self.region.end
    }

    /// What its binary is called.
    pub fn name(&self) -> String {
        match &self.region.backing {
            Backing::File { path, .. } => binaries::base_name(path),
            _ => "[vdso]".to_owned(),
        }
    }
}

/// The executable memory of a process that has binaries behind it, in ascending order.
///
/// # Errors
/// When its maps cannot be read: it is gone, or not ours to look at.
pub fn code(proc: &Path, pid: Pid) -> io::Result<Vec<Code>> {
    let bytes = read_maps(&proc.join(pid.to_string()))?;
    let code = maps::parse(&bytes, MOST_REGIONS).into_iter().filter_map(|region| {
        let backed = match &region.backing {
            Backing::File { device, inode, .. } => Backed::File { device: *device, inode: *inode },
            Backing::Vdso => Backed::Vdso,
            Backing::Anonymous | Backing::Special(_) => return None,
        };
        Some(Code { region, backed })
    });
    Ok(code.collect())
}

/// A binary, read as far as its table needs.
#[derive(Debug)]
pub struct Image(Elf);

impl Image {
    /// Reads the binary behind a range of a process, which should still be alive.
    ///
    /// # Errors
    /// When it cannot be read or is no 64-bit ELF file.
    pub fn open(proc: &Path, pid: Pid, code: &Code) -> Result<Image, NoTable> {
        let process = proc.join(pid.to_string());
        let region = &code.region;
        match &region.backing {
            Backing::File { inode, path, .. } => {
                let file = binaries::open(&process, region, path, *inode).map_err(NoTable::Unreadable)?;
                Elf::read(&file).map(Image)
            }
            Backing::Vdso => {
                let bytes = memory(&process, region.start, (region.end - region.start).min(LARGEST_VDSO));
                let bytes = bytes.map_err(|error| NoTable::Unreadable(format!("the vdso: {error}")))?;
                Elf::read(&bytes).map(Image)
            }
            Backing::Anonymous | Backing::Special(_) => Err(NoTable::NotElf),
        }
    }

    /// The linker's fingerprint of its content; empty where there is none.
    pub fn build_id(&self) -> &[u8] {
        &self.0.build_id
    }

    /// What to subtract from an address in a range to get the address that the binary's own tables speak of. `None` when no
    /// executable segment stands behind the range.
    pub fn bias(&self, code: &Code) -> Option<u64> {
        let from = code.region.offset;
        if code.backed == Backed::Vdso {
            // Mapped as one piece, headers included.
            let first = self.0.code.first()?;
            return Some(code.region.start.wrapping_sub(first.address.wrapping_sub(first.offset)));
        }
        // The kernel maps whole pages, so a range may begin before its segment, and two segments may share a page: the
        // one that is executable counts.
        let segment = self.0.code.iter().filter(|s| {
            let page = s.offset & !(PAGE - 1);
            page <= from && from < s.offset.saturating_add(s.length)
        });
        let segment = segment.max_by_key(|s| s.offset)?;
        let address = segment.address.wrapping_sub(segment.offset).wrapping_add(from);
        Some(code.region.start.wrapping_sub(address))
    }

    /// The same without what its table is built from: all that is needed to ask for more biases.
    pub fn without_information(mut self) -> Image {
        self.0.eh_frame = None;
        self
    }

    /// Builds its table.
    ///
    /// # Errors
    /// When it has no unwinding information, or none that makes sense.
    pub fn table(&self) -> Result<Table, NoTable> {
        Table::build(&self.0)
    }
}

/// x86-64 has no other size for what files are mapped by.
const PAGE: u64 = 4096;

fn memory(process: &Path, start: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length as usize];
    std::fs::File::open(process.join("mem"))?.read_exact_at(&mut bytes, start)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    fn landmark(n: u64) -> u64 {
        std::hint::black_box(n) + 1
    }

    #[test]
    fn every_binary_of_this_process_has_a_table() {
        let own = Pid(std::process::id());
        let proc = Path::new("/proc");
        let all = code(proc, own).unwrap();
        assert!(all.iter().any(|code| code.backed == Backed::Vdso));
        for code in &all {
            let image = Image::open(proc, own, code).unwrap();
            let table = image.table().unwrap();
            let bias = image.bias(code).unwrap();
            let covered = |row: &Row| table.base() + u64::from(row.pc) + bias;
            let inside = table.rows().iter().filter(|row| (code.start()..code.end()).contains(&covered(row))).count();
            assert!(inside * 10 >= table.rows().len() * 9, "{:?}: {inside} of {}", code.backed, table.rows().len());
        }
    }

    #[test]
    fn a_function_of_this_program_is_covered() {
        let own = Pid(std::process::id());
        let proc = Path::new("/proc");
        let at = landmark as *const () as u64;
        let all = code(proc, own).unwrap();
        let code = all.iter().find(|code| (code.start()..code.end()).contains(&at)).unwrap();
        let image = Image::open(proc, own, code).unwrap();
        let table = image.table().unwrap();
        // Before its first instruction only the return address is on the stack.
        let rule = table.find(at - image.bias(code).unwrap());
        assert_eq!(rule, Rule::Frame { cfa: Cfa::StackPointer(8), frame_pointer: FramePointer::Kept });
    }
}
