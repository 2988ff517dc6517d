//! The kernel's own symbol table: functions of the kernel, its modules and BPF programs by address.

use crate::name;
use observe::{Frame, FrameKind};
use std::{fs, path::Path};

/// What kernel frames say when the kernel does not show its addresses.
pub(crate) const HIDDEN: &str = "kernel symbols hidden (kptr_restrict)";
/// ours: no kernel function is that long; beyond it the address belongs to something that has no symbol.
const LONGEST_FUNCTION: u64 = 1 << 20;

/// One function: its address and where its name and module are in the texts.
struct Function {
    address: u64,
    name: u32,
    length: u16,
    module: u16,
    global: bool,
}

/// Every function of the running kernel.
pub(crate) struct Kernel {
    /// Ascending by address, one per address.
    functions: Vec<Function>,
    /// The names, one after the other.
    names: String,
    modules: Vec<String>,
    /// Why there are no functions.
    absent: String,
}

impl Kernel {
    /// Reads the symbol table of the running kernel; about 80 ms.
    pub(crate) fn load(kallsyms: &Path) -> Self {
        match fs::read(kallsyms) {
            Ok(table) => Self::parse(&table),
            Err(error) => Self::absent(match error.kind() {
                std::io::ErrorKind::NotFound => "this kernel has no symbol table (CONFIG_KALLSYMS)".to_owned(),
                std::io::ErrorKind::PermissionDenied => HIDDEN.to_owned(),
                _ => format!("the kernel's symbol table could not be read: {error}"),
            }),
        }
    }

    fn absent(why: String) -> Self {
        Kernel { functions: Vec::new(), names: String::new(), modules: Vec::new(), absent: why }
    }

    /// Lines of `ADDRESS TYPE NAME [MODULE]`.
    fn parse(table: &[u8]) -> Self {
        let mut functions = Vec::with_capacity(table.len() / 64);
        let mut names = String::with_capacity(table.len() / 2);
        let mut modules = vec!["[kernel]".to_owned()];
        let mut hidden = 0usize;
        for line in table.split(|b| *b == b'\n') {
            let Ok(line) = std::str::from_utf8(line) else { continue };
            let mut words = line.split_ascii_whitespace();
            let (Some(address), Some(kind), Some(symbol)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            if !matches!(kind, "t" | "T" | "w" | "W") {
                continue;
            }
            let Ok(address) = u64::from_str_radix(address, 16) else { continue };
            if address == 0 {
                hidden += 1;
                continue;
            }
            let module = match words.next() {
                None => 0,
                Some(module) => {
                    let module = match module.trim_matches(['[', ']']) {
                        "bpf" => "[bpf]",
                        module if module.starts_with("__builtin__") => "[kernel]",
                        module => module,
                    };
                    // Modules come in runs: the last one is nearly always the right one.
                    match modules.iter().rposition(|known| known == module) {
                        Some(at) => at,
                        None => {
                            modules.push(module.to_owned());
                            modules.len() - 1
                        }
                    }
                }
            };
            let (Ok(at), Ok(length), Ok(module)) =
                (u32::try_from(names.len()), u16::try_from(symbol.len()), u16::try_from(module))
            else {
                continue;
            };
            names.push_str(symbol);
            let global = matches!(kind, "T" | "W");
            functions.push(Function { address, name: at, length, module, global });
        }
        if functions.is_empty() {
            return Self::absent(if hidden > 0 {
                HIDDEN.to_owned()
            } else {
                "the kernel's symbol table is empty".to_owned()
            });
        }
        // Of several names of one address: the global one, then the one with the fewest leading underscores.
        functions.sort_by_cached_key(|f| (f.address, !f.global, underscores(text(&names, f)), f.name));
        functions.dedup_by_key(|f| f.address);
        Kernel { functions, names, modules, absent: String::new() }
    }

    /// The function around an address.
    pub(crate) fn frame(&self, address: u64) -> Frame {
        let unknown = |why: &str| Frame {
            name: String::new(),
            module: "[kernel]".to_owned(),
            kind: FrameKind::Kernel,
            unknown: why.to_owned(),
        };
        if self.functions.is_empty() {
            return unknown(&self.absent);
        }
        let Some(at) = self.functions.partition_point(|f| f.address <= address).checked_sub(1) else {
            return unknown("not a kernel address");
        };
        let function = &self.functions[at];
        let symbol = text(&self.names, function);
        if address - function.address > LONGEST_FUNCTION || matches!(symbol, "_etext" | "_einittext") {
            return unknown("no kernel symbol at this address");
        }
        Frame {
            name: name::shown(symbol),
            module: self.modules.get(usize::from(function.module)).cloned().unwrap_or_default(),
            kind: FrameKind::Kernel,
            unknown: String::new(),
        }
    }
}

fn text<'a>(names: &'a str, function: &Function) -> &'a str {
    let start = function.name as usize;
    names.get(start..start + usize::from(function.length)).unwrap_or_default()
}

fn underscores(symbol: &str) -> usize {
    symbol.len() - symbol.trim_start_matches('_').len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"ffffffff81000000 T _stext\n\
        ffffffff81000000 T _text\n\
        ffffffff81000100 t __do_thing.isra.0\n\
        ffffffff81000200 T vfs_read\n\
        ffffffff81000200 T __pi_vfs_read\n\
        ffffffff81000300 D some_data\n\
        ffffffff81900000 T _etext\n\
        ffffffffc0279010 T fuse_dev_init\t[fuse]\n\
        ffffffffc0379010 t bpf_prog_7cc47bbf07148bfe_on_switch\t[bpf]\n\
        garbage\n\xff\xfe\n";

    #[test]
    fn functions_are_found_by_the_address_inside_them() {
        let kernel = Kernel::parse(TABLE);
        let named = |address| {
            let frame = kernel.frame(address);
            (frame.name, frame.module)
        };
        assert_eq!(named(0xffffffff81000150), ("__do_thing".into(), "[kernel]".into()));
        assert_eq!(named(0xffffffff81000200).0, "vfs_read");
        assert_eq!(named(0xffffffff81000310).0, "vfs_read");
        assert_eq!(named(0xffffffffc0279020), ("fuse_dev_init".into(), "fuse".into()));
        assert_eq!(named(0xffffffffc0379011).1, "[bpf]");
    }

    #[test]
    fn what_is_no_function_says_so() {
        let kernel = Kernel::parse(TABLE);
        assert_eq!(kernel.frame(0x1000).unknown, "not a kernel address");
        assert_eq!(kernel.frame(0xffffffff81900008).unknown, "no kernel symbol at this address");
        assert_eq!(kernel.frame(u64::MAX).unknown, "no kernel symbol at this address");
        assert_eq!(Kernel::parse(b"0000000000000000 T vfs_read\n").frame(1).unknown, HIDDEN);
        assert_eq!(Kernel::parse(b"").frame(1).unknown, "the kernel's symbol table is empty");
        assert!(Kernel::load(Path::new("/nonexistent")).frame(1).unknown.contains("CONFIG_KALLSYMS"));
    }
}
