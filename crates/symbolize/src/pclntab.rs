//! Functions of Go programs by `.gopclntab`, with which Go's runtime prints its own traces: neither `strip` nor the linker's
//! `-s` takes it away. The layout is that of Go 1.18 and later: `pcHeader`, `functab` and `_func` in its package runtime.

use crate::unwind::elf::{self, Source, u32_at, u64_at};
use std::collections::{BTreeMap, HashMap};

/// Of Go 1.18 and 1.20.
const MAGICS: [u32; 2] = [0xffff_fff0, 0xffff_fff1];
/// The second is that of programs that can be loaded anywhere.
const SECTIONS: [&[u8]; 2] = [b".gopclntab", b".data.rel.ro.gopclntab"];
const HEADER: u64 = 72;
/// In `functab`: where a function begins, from the first one, and where `_func` is, from the table.
const ENTRY: u64 = 8;
/// In `_func`, behind where it begins.
const NAME_AT: u64 = 4;
/// ours: the largest programs known have 300,000.
const MOST_FUNCTIONS: u64 = 4 << 20;
/// ours: names of generated and generic functions are some hundreds.
const LONGEST_NAME: u64 = 4096;

/// The functions of one program.
pub(crate) struct Functions<'a> {
    source: &'a dyn Source,
    /// Where in the file the names are, `functab`, and the end of all.
    names: u64,
    functions: u64,
    end: u64,
    /// Where in the file each function begins and where its `_func` is, from `functions`; the last is the end of the code.
    entries: Vec<(u64, u32)>,
    /// Where files' names begin: what comes behind those of functions.
    names_end: u64,
}

impl<'a> Functions<'a> {
    /// Reads the table. `None` for what has none, or one that is not understood or not certain.
    pub(crate) fn read(source: &'a dyn Source) -> Option<Self> {
        let parts = elf::Parts::read(source)?;
        let (at, length, _) = SECTIONS.iter().find_map(|name| parts.section(name))?;
        let (header, end) = (source.bytes(at, HEADER)?, at.checked_add(length)?);
        let [minimum, pointer] = [*header.get(6)?, *header.get(7)?];
        if !MAGICS.contains(&u32_at(&header, 0)?) || minimum == 0 || pointer != 8 {
            return None;
        }
        let place = |field: usize| at.checked_add(u64_at(&header, field)?).filter(|place| *place <= end);
        let count = u64_at(&header, 8).filter(|count| *count <= MOST_FUNCTIONS)?;
        let (names, names_end, functions) = (place(32)?, place(40)?, place(64)?);
        // In a program that can be loaded anywhere it is filled in when that is done; the code begins with it unless C was
        // linked in, which the entry tells.
        let told = u64_at(&header, 24)?;
        let text = if told == 0 { parts.section(b".text")?.2 } else { told };
        let first = parts.offset_of(text)?;
        let table = source.bytes(functions, (count + 1).checked_mul(ENTRY)?)?;
        let entry = |row: &[u8]| Some((first.checked_add(u64::from(u32_at(row, 0)?))?, u32_at(row, 4)?));
        let entries: Vec<(u64, u32)> = table.chunks_exact(ENTRY as usize).map(entry).collect::<Option<_>>()?;
        if !entries.is_sorted_by_key(|(begin, _)| *begin) {
            return None;
        }
        let all = Functions { source, names, functions, end, entries, names_end };
        let begins_there = |offset: u64| {
            let at = all.entries.binary_search_by_key(&offset, |(begin, _)| *begin).ok()?;
            all.name_of(at).filter(|name| name.starts_with("_rt0_"))
        };
        if told == 0 {
            begins_there(parts.offset_of(parts.entry)?)?;
        }
        Some(all)
    }

    /// The function at an offset in the file.
    pub(crate) fn name(&self, offset: u64) -> Option<String> {
        let at = self.entries.partition_point(|(begin, _)| *begin <= offset).checked_sub(1)?;
        (at + 1 < self.entries.len()).then(|| self.name_of(at)).flatten()
    }

    fn name_of(&self, at: usize) -> Option<String> {
        let function = self.functions.checked_add(u64::from(self.entries.get(at)?.1))?;
        let name = u64::from(u32_at(&self.source.bytes(function.checked_add(NAME_AT)?, 4)?, 0)?);
        let begin = self.names.checked_add(name).filter(|begin| *begin < self.end)?;
        let bytes = self.source.bytes(begin, LONGEST_NAME.min(self.end - begin))?;
        let name = bytes.split(|byte| *byte == 0).next().filter(|name| !name.is_empty())?;
        Some(String::from_utf8_lossy(name).into_owned())
    }

    /// Where some functions begin in the file, by name; those that it does not have are left out.
    pub(crate) fn offsets(&self, names: &[&str]) -> Option<BTreeMap<String, u64>> {
        let block = self.source.bytes(self.names, self.names_end.checked_sub(self.names)?)?;
        let mut wanted: HashMap<u32, &str> = HashMap::new();
        let mut at = 0u32;
        for name in block.split(|byte| *byte == 0) {
            wanted.extend(names.iter().find(|wanted| wanted.as_bytes() == name).map(|wanted| (at, *wanted)));
            at = at.checked_add(u32::try_from(name.len()).ok()? + 1)?;
        }
        let described = self.source.bytes(self.functions, self.end.checked_sub(self.functions)?)?;
        let (_, real) = self.entries.split_last()?;
        let known = real.iter().filter_map(|(begin, function)| {
            let name = u32_at(&described, *function as usize + NAME_AT as usize)?;
            Some(((*wanted.get(&name)?).to_owned(), *begin))
        });
        Some(known.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file with a code segment at address 0x1000 (offset 0x100) and such a table.
    fn program(text: u64, entry: u64) -> Vec<u8> {
        const TABLE: usize = 0x400;
        let mut file = vec![0u8; 0x800];
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"\x7fELF\x02\x01");
        put(24, &entry.to_le_bytes());
        put(32, &64u64.to_le_bytes()); // program headers
        put(40, &0x600u64.to_le_bytes()); // section headers
        put(54, &56u16.to_le_bytes());
        put(56, &1u16.to_le_bytes());
        put(58, &64u16.to_le_bytes());
        put(60, &4u16.to_le_bytes());
        put(62, &1u16.to_le_bytes());
        // One segment, executable.
        put(64, &1u32.to_le_bytes());
        put(68, &5u32.to_le_bytes());
        for (at, value) in [(8, 0x100u64), (16, 0x1000), (32, 0x200)] {
            put(64 + at, &value.to_le_bytes());
        }
        // Sections: none, names, table, text.
        let names = b"\0.shstrtab\0.gopclntab\0.text\0";
        put(0x700, names);
        for (number, (name, address, offset, length)) in
            [(1u32, 0u64, 0x700u64, names.len() as u64), (11, 0, TABLE as u64, 0x140), (22, 0x1000, 0x100, 0x200)]
                .into_iter()
                .enumerate()
        {
            let at = 0x600 + 64 * (number + 1);
            put(at, &name.to_le_bytes());
            put(at + 4, &1u32.to_le_bytes());
            put(at + 16, &address.to_le_bytes());
            put(at + 24, &offset.to_le_bytes());
            put(at + 32, &length.to_le_bytes());
        }
        put(TABLE, &0xffff_fff1u32.to_le_bytes());
        put(TABLE + 6, &[1, 8]);
        let functions = b"\0_rt0_amd64_linux\0main.work\0";
        for (at, value) in [(8, 2u64), (24, text), (32, 80), (40, 80 + functions.len() as u64), (64, 0x80)] {
            put(TABLE + at, &value.to_le_bytes());
        }
        put(TABLE + 80, functions);
        // Two functions and the end of the code; then what is said of each: where it begins, and its name.
        for (at, value) in [0u32, 0x20, 0x40, 0x28, 0x90, 0].into_iter().enumerate() {
            put(TABLE + 0x80 + 4 * at, &value.to_le_bytes());
        }
        for (at, value) in [0u32, 1, 0x40, 18].into_iter().enumerate() {
            put(TABLE + 0x80 + 0x20 + 4 * at, &value.to_le_bytes());
        }
        file
    }

    #[test]
    fn functions_have_names_without_symbols() {
        let file = program(0x1000, 0);
        let functions = Functions::read(&file).unwrap();
        let name = |offset: u64| functions.name(offset);
        assert_eq!(name(0x100).as_deref(), Some("_rt0_amd64_linux"));
        assert_eq!(name(0x13f).as_deref(), Some("_rt0_amd64_linux"));
        assert_eq!(name(0x140).as_deref(), Some("main.work"));
        assert_eq!((name(0xff), name(0x190)), (None, None), "code of C's before and behind it");
        let offsets = functions.offsets(&["main.work", "main.none", "main"]).unwrap();
        assert_eq!(offsets.into_iter().collect::<Vec<_>>(), [("main.work".to_owned(), 0x140)]);
    }

    #[test]
    fn where_the_code_begins_is_certain_or_nothing_is_named() {
        assert!(Functions::read(&program(0, 0x1000)).is_some_and(|all| all.name(0x150).is_some()));
        assert!(Functions::read(&program(0, 0x1010)).is_none(), "the entry is C's");
        assert!(Functions::read(&program(0x9000, 0)).is_none(), "no such code");
    }

    #[test]
    fn damaged_tables_give_nothing_or_names_and_never_more() {
        let whole = program(0x1000, 0);
        let mut state = 1u64;
        for _ in 0..2000 {
            let mut bytes = whole.clone();
            for _ in 0..6 {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let at = (state >> 33) as usize % bytes.len();
                bytes[at] = (state >> 24) as u8;
            }
            if let Some(functions) = Functions::read(&bytes) {
                (0..0x300).for_each(|offset| drop(functions.name(offset)));
                let _ = functions.offsets(&["main.work"]);
            }
        }
        for length in 0..whole.len() {
            let _ = Functions::read(&whole[..length].to_vec());
        }
    }
}
