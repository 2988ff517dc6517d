//! The few parts of an ELF file that unwinding needs: executable segments, `.eh_frame` and the build id.
//!
//! Everything is read by position and bounds-checked, so a damaged or hostile file gives an error and nothing worse.

use super::NoTable;
use std::{collections::BTreeMap, fs::File, os::unix::fs::FileExt};

/// ours: the largest known, that of a browser's main library, has about 25 MB.
const LARGEST_SECTION: u64 = 96 << 20;
/// ours: linkers write about ten.
const MOST_SEGMENTS: u64 = 256;
/// ours: linkers write about forty; `-ffunction-sections` multiplies only those of object files.
const MOST_SECTIONS: u64 = 4096;
/// ours: a note section holds a few notes of some tens of bytes.
const LARGEST_NOTES: u64 = 64 << 10;

const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const PT_GNU_EH_FRAME: u32 = 0x6474_e550;
const PF_X: u32 = 1;
const SHT_NOBITS: u32 = 8;
const NT_GNU_BUILD_ID: u32 = 3;

/// Bytes that can be read by position.
pub(crate) trait Source {
    /// Exactly `length` bytes from `offset`, or `None`.
    fn bytes(&self, offset: u64, length: u64) -> Option<Vec<u8>>;
}

impl Source for File {
    fn bytes(&self, offset: u64, length: u64) -> Option<Vec<u8>> {
        // A length from a damaged header must not become an allocation.
        let size = self.metadata().ok()?.len();
        if offset.checked_add(length)? > size {
            return None;
        }
        let mut bytes = vec![0; usize::try_from(length).ok()?];
        self.read_exact_at(&mut bytes, offset).ok()?;
        Some(bytes)
    }
}

impl Source for Vec<u8> {
    fn bytes(&self, offset: u64, length: u64) -> Option<Vec<u8>> {
        let (from, length) = (usize::try_from(offset).ok()?, usize::try_from(length).ok()?);
        self.get(from..from.checked_add(length)?).map(<[u8]>::to_vec)
    }
}

/// A part of the file that is mapped as code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) offset: u64,
    pub(super) address: u64,
    pub(super) length: u64,
}

/// A part of the file and its address.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) address: u64,
    pub(super) bytes: Vec<u8>,
}

/// What was read of the file.
#[derive(Debug)]
pub(super) struct Elf {
    /// In the order of the file.
    pub(super) code: Vec<Segment>,
    pub(super) eh_frame: Option<Section>,
    pub(super) build_id: Vec<u8>,
    /// Procedure linkage tables: address and length.
    pub(super) linkage: Vec<(u64, u64)>,
}

struct Header {
    kind: u32,
    flags: u32,
    offset: u64,
    address: u64,
    length: u64,
}

impl Elf {
    /// Reads a 64-bit little-endian file.
    pub(super) fn read(source: &dyn Source) -> Result<Elf, NoTable> {
        let header = source.bytes(0, 64).ok_or(NoTable::NotElf)?;
        match header.get(..6) {
            Some([0x7f, b'E', b'L', b'F', 2, 1]) => {}
            Some([0x7f, b'E', b'L', b'F', ..]) => return Err(NoTable::OtherWordSize),
            _ => return Err(NoTable::NotElf),
        }
        let segments = segments(source, &header).ok_or(NoTable::Damaged("its program headers"))?;
        let sections = sections(source, &header).unwrap_or_default();
        let code = segments
            .iter()
            .filter(|s| s.kind == PT_LOAD && s.flags & PF_X != 0)
            .map(|s| Segment { offset: s.offset, address: s.address, length: s.length })
            .collect();
        let build_id = segments.iter().filter(|s| s.kind == PT_NOTE).find_map(|s| build_id(source, s));
        let eh_frame = match sections.iter().find(|(name, s)| name == b".eh_frame" && s.kind != SHT_NOBITS) {
            Some((_, section)) => Some(
                section_bytes(source, section)
                    .ok_or(NoTable::Damaged(".eh_frame"))
                    .map(|bytes| Section { address: section.address, bytes })?,
            ),
            None => by_header(source, &segments),
        };
        let linkage = sections
            .iter()
            .filter(|(name, s)| name.starts_with(b".plt") && s.kind != SHT_NOBITS)
            .map(|(_, s)| (s.address, s.length))
            .collect();
        Ok(Elf { code, eh_frame, build_id: build_id.unwrap_or_default(), linkage })
    }
}

fn segments(source: &dyn Source, header: &[u8]) -> Option<Vec<Header>> {
    let (at, size, count) = (u64_at(header, 32)?, u64::from(u16_at(header, 54)?), u64::from(u16_at(header, 56)?));
    if size < 56 || count > MOST_SEGMENTS {
        return None;
    }
    let table = source.bytes(at, size * count)?;
    table
        .chunks_exact(usize::try_from(size).ok()?)
        .map(|entry| {
            Some(Header {
                kind: u32_at(entry, 0)?,
                flags: u32_at(entry, 4)?,
                offset: u64_at(entry, 8)?,
                address: u64_at(entry, 16)?,
                length: u64_at(entry, 32)?,
            })
        })
        .collect()
}

/// Names and places of the sections; `None` when there is no section table, as in stripped-down files.
fn sections(source: &dyn Source, header: &[u8]) -> Option<Vec<(Vec<u8>, Header)>> {
    let (at, size, count) = (u64_at(header, 40)?, u64::from(u16_at(header, 58)?), u64::from(u16_at(header, 60)?));
    let names_at = usize::from(u16_at(header, 62)?);
    if at == 0 || size < 64 || count == 0 || count > MOST_SECTIONS {
        return None;
    }
    let table = source.bytes(at, size * count)?;
    let entries: Vec<&[u8]> = table.chunks_exact(usize::try_from(size).ok()?).collect();
    let names = entries.get(names_at)?;
    let names = source.bytes(u64_at(names, 24)?, u64_at(names, 32)?.min(1 << 20))?;
    entries
        .iter()
        .map(|entry| {
            let name = names.get(u32_at(entry, 0)? as usize..)?;
            let name = name.split(|b| *b == 0).next()?.to_vec();
            let section = Header {
                kind: u32_at(entry, 4)?,
                flags: 0,
                address: u64_at(entry, 16)?,
                offset: u64_at(entry, 24)?,
                length: u64_at(entry, 32)?,
            };
            Some((name, section))
        })
        .collect()
}

/// The table of all symbols, which `strip` takes away, and that of those which other binaries may use.
pub(crate) const SYMBOLS: [&[u8]; 2] = [b".symtab", b".strtab"];
pub(crate) const SHARED_SYMBOLS: [&[u8]; 2] = [b".dynsym", b".dynstr"];

/// A symbol's address as the file has it, and where that is in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Symbol {
    pub(crate) address: u64,
    /// `None` for what is not in the file.
    pub(crate) offset: Option<u64>,
}

/// The beginning of a section.
pub(crate) fn section(file: &File, name: &[u8], most: u64) -> Option<Vec<u8>> {
    let sections = sections(file, &file.bytes(0, 64)?)?;
    let (_, found) = sections.iter().find(|(of, s)| of == name && s.kind != SHT_NOBITS)?;
    file.bytes(found.offset, found.length.min(most))
}

/// What a 64-bit little-endian file says of its parts.
pub(crate) struct Parts {
    segments: Vec<Header>,
    sections: Vec<(Vec<u8>, Header)>,
    /// Where the program begins.
    pub(crate) entry: u64,
}

impl Parts {
    /// `None` when it is no such file, or has no sections.
    pub(crate) fn read(source: &dyn Source) -> Option<Parts> {
        let header = source.bytes(0, 64)?;
        let is_one = header.get(..6) == Some(&[0x7f, b'E', b'L', b'F', 2, 1]);
        let (segments, sections) = (segments(source, &header)?, sections(source, &header)?);
        is_one.then_some(Parts { segments, sections, entry: u64_at(&header, 24)? })
    }

    /// A section's place and length in the file, and its address.
    pub(crate) fn section(&self, name: &[u8]) -> Option<(u64, u64, u64)> {
        let (_, found) = self.sections.iter().find(|(of, s)| of == name && s.kind != SHT_NOBITS)?;
        Some((found.offset, found.length, found.address))
    }

    /// Where in the file the code at an address is.
    pub(crate) fn offset_of(&self, address: u64) -> Option<u64> {
        let holds = |s: &&Header| {
            s.kind == PT_LOAD && s.flags & PF_X != 0 && s.address <= address && address - s.address < s.length
        };
        let segment = self.segments.iter().find(holds)?;
        segment.offset.checked_add(address - segment.address)
    }
}

/// What to add to the file's addresses to get those in memory, given where its code at an offset is mapped.
pub(crate) fn bias(file: &File, offset: u64, start: u64) -> Option<u64> {
    let segments = segments(file, &file.bytes(0, 64)?)?;
    // The kernel maps whole pages.
    let is_it = |s: &&Header| {
        s.kind == PT_LOAD
            && s.flags & PF_X != 0
            && s.offset & !0xfff <= offset
            && offset < s.offset.saturating_add(s.length)
    };
    let segment = segments.iter().find(is_it)?;
    Some(start.wrapping_sub(segment.address.wrapping_sub(segment.offset).wrapping_add(offset)))
}

/// Some symbols of a 64-bit little-endian file, by name, from one of its tables. Those it does not have are left out.
pub(crate) fn symbols(file: &File, table: [&[u8]; 2], names: &[&str]) -> Option<BTreeMap<String, Symbol>> {
    /// `Elf64_Sym`.
    const ENTRY: usize = 24;
    let header = file.bytes(0, 64)?;
    if header.get(..6) != Some(&[0x7f, b'E', b'L', b'F', 2, 1]) {
        return None;
    }
    let (segments, sections) = (segments(file, &header)?, sections(file, &header)?);
    let read =
        |name: &[u8]| section_bytes(file, &sections.iter().find(|(of, s)| of == name && s.kind != SHT_NOBITS)?.1);
    let (entries, text) = (read(table[0])?, read(table[1])?);
    let mut found = BTreeMap::new();
    for entry in entries.chunks_exact(ENTRY) {
        let (Some(at), Some(address)) = (u32_at(entry, 0), u64_at(entry, 8)) else { continue };
        // Undefined ones have no section.
        let (Some(rest), true) = (text.get(at as usize..), u16_at(entry, 6) != Some(0)) else { continue };
        let is = |name: &&&str| rest.starts_with(name.as_bytes()) && rest.get(name.len()) == Some(&0);
        if let Some(name) = names.iter().find(is) {
            let inside = |s: &&Header| s.kind == PT_LOAD && s.address <= address && address - s.address < s.length;
            let offset = segments.iter().find(inside).map(|s| address - s.address + s.offset);
            found.insert((*name).to_owned(), Symbol { address, offset });
        }
    }
    Some(found)
}

/// The values of the exported 32-bit numbers whose names begin with something. What is zero need not be in the file.
/// `None` when it is no 64-bit little-endian ELF file, or exports nothing.
pub(crate) fn exported_numbers(file: &File, prefix: &str) -> Option<BTreeMap<String, i32>> {
    /// `Elf64_Sym`.
    const ENTRY: usize = 24;
    /// ours: no name that is asked for is as long.
    const LONGEST: usize = 256;
    /// ours: V8 exports about 500.
    const MOST: usize = 4096;
    let header = file.bytes(0, 64)?;
    if header.get(..6) != Some(&[0x7f, b'E', b'L', b'F', 2, 1]) {
        return None;
    }
    let (segments, sections) = (segments(file, &header)?, sections(file, &header)?);
    let table =
        |name: &[u8]| section_bytes(file, &sections.iter().find(|(of, s)| of == name && s.kind != SHT_NOBITS)?.1);
    let (symbols, names) = (table(SHARED_SYMBOLS[0])?, table(SHARED_SYMBOLS[1])?);
    let mut found = BTreeMap::new();
    for symbol in symbols.as_chunks::<ENTRY>().0 {
        let (name, section, address) = (u32_at(symbol, 0)?, u16_at(symbol, 6)?, u64_at(symbol, 8)?);
        let Some(name) = names.get(name as usize..).filter(|name| name.starts_with(prefix.as_bytes())) else {
            continue;
        };
        let Some(end) = name.iter().take(LONGEST).position(|byte| *byte == 0) else { continue };
        // Undefined ones have no section.
        if section == 0 || found.len() == MOST {
            continue;
        }
        let inside = |s: &&Header| s.kind == PT_LOAD && s.address <= address && address - s.address < s.length;
        let bytes =
            segments.iter().find(inside).and_then(|s| file.bytes(s.offset.checked_add(address - s.address)?, 4));
        let value = bytes.and_then(|bytes| u32_at(&bytes, 0)).unwrap_or_default();
        found.insert(String::from_utf8_lossy(&name[..end]).into_owned(), value as i32);
    }
    Some(found)
}

fn section_bytes(source: &dyn Source, section: &Header) -> Option<Vec<u8>> {
    (section.length <= LARGEST_SECTION).then(|| source.bytes(section.offset, section.length))?
}

/// `.eh_frame` by way of its index, which a program header shows: of files without section headers. Its end is not told;
/// the entries end with a terminator, so the rest of the segment is taken.
fn by_header(source: &dyn Source, segments: &[Header]) -> Option<Section> {
    let index = segments.iter().find(|s| s.kind == PT_GNU_EH_FRAME)?;
    let bytes = source.bytes(index.offset, 8)?;
    // Version 1, the pointer as four bytes relative to its own place: what every linker writes.
    if bytes.first() != Some(&1) || bytes.get(1) != Some(&0x1b) {
        return None;
    }
    let distance = i64::from(u32_at(&bytes, 4)? as i32);
    let address = index.address.checked_add(4)?.checked_add_signed(distance)?;
    let within = |s: &&Header| s.kind == PT_LOAD && s.address <= address && address - s.address < s.length;
    let segment = segments.iter().find(within)?;
    let skip = address - segment.address;
    let length = (segment.length - skip).min(LARGEST_SECTION);
    Some(Section { address, bytes: source.bytes(segment.offset.checked_add(skip)?, length)? })
}

fn build_id(source: &dyn Source, notes: &Header) -> Option<Vec<u8>> {
    let bytes = source.bytes(notes.offset, notes.length.min(LARGEST_NOTES))?;
    let mut rest = bytes.as_slice();
    loop {
        let (name, length, kind) = (u32_at(rest, 0)? as usize, u32_at(rest, 4)? as usize, u32_at(rest, 8)?);
        let padded = |n: usize| n.checked_add(3).map(|n| n & !3);
        let body = rest.get(12..)?.get(padded(name)?..)?;
        if kind == NT_GNU_BUILD_ID && rest.get(12..16) == Some(b"GNU\0") {
            return body.get(..length).map(<[u8]>::to_vec);
        }
        rest = body.get(padded(length)?..)?;
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_has_what_unwinding_needs() {
        let elf = Elf::read(&File::open("/proc/self/exe").unwrap()).unwrap();
        assert!(!elf.code.is_empty());
        assert!(elf.eh_frame.is_some_and(|section| section.bytes.len() > 1000));
    }

    #[test]
    fn unwinding_information_is_found_without_section_headers() {
        let mut bytes = std::fs::read("/proc/self/exe").unwrap();
        let by_sections = Elf::read(&bytes).unwrap().eh_frame.unwrap();
        bytes[40..48].fill(0);
        let by_index = Elf::read(&bytes).unwrap().eh_frame.unwrap();
        assert_eq!(by_sections.address, by_index.address);
        assert!(by_index.bytes.starts_with(&by_sections.bytes[..by_sections.bytes.len() - 4]));
    }

    #[test]
    fn what_is_no_64_bit_elf_file_says_so() {
        assert!(matches!(Elf::read(&b"#!/bin/sh".to_vec()), Err(NoTable::NotElf)));
        let mut header = vec![0; 64];
        header[..6].copy_from_slice(b"\x7fELF\x01\x01");
        assert!(matches!(Elf::read(&header), Err(NoTable::OtherWordSize)));
    }

    #[test]
    fn damaged_files_give_errors_or_nothing() {
        let whole = std::fs::read("/proc/self/exe").unwrap();
        let mut state = 1u64;
        for _ in 0..200 {
            let mut bytes = whole[..whole.len().min(1 << 16)].to_vec();
            for _ in 0..8 {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let at = (state >> 33) as usize % 1024;
                bytes[at] = (state >> 24) as u8;
            }
            let _ = Elf::read(&bytes);
        }
    }
}
