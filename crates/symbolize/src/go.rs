//! Go programs: whether a file is one whose calling convention is known, and where some of its functions are.

use crate::{pclntab::Functions, unwind::elf};
use std::{collections::BTreeMap, fs::File};

/// What `.go.buildinfo` begins with, and the flag of Go 1.18 and later: its strings follow inline.
const MAGIC: &[u8] = b"\xff Go buildinf:";
const INLINE: u8 = 2;
const FLAGS_AT: usize = 15;

/// The offsets in the file of some functions, by name; those that it does not have are left out. `None` for what was not
/// built by Go 1.18 or later, which pass arguments in registers.
pub fn functions(file: &File, names: &[&str]) -> Option<BTreeMap<String, u64>> {
    let info = elf::section(file, b".go.buildinfo", 64)?;
    if !info.starts_with(MAGIC) || info.get(FLAGS_AT)? & INLINE == 0 {
        return None;
    }
    let Some(found) = elf::symbols(file, elf::SYMBOLS, names) else {
        return Functions::read(file)?.offsets(names);
    };
    Some(found.into_iter().filter_map(|(name, symbol)| Some((name, symbol.offset?))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_go_did_not_build_is_none() {
        assert!(functions(&File::open("/proc/self/exe").unwrap(), &["main"]).is_none());
    }
}
