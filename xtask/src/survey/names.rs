//! Function names as friday and perf write them, made equal: no versions, suffixes, arguments or templates, and one name
//! for all that stand for the same address.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// What marks a function of the kernel.
const KERNEL: &str = "[k] ";
/// Code that a runtime made, without a name.
const JIT: &str = "[jit]";
/// Suffixes that compilers give to copies and parts of a function.
const PARTS: [&str; 6] = [".isra.", ".constprop.", ".part.", ".cold", ".llvm.", ".lto_priv."];

/// A frame of friday's folded stacks.
pub fn friday(label: &str) -> String {
    if let Some(name) = label.strip_suffix("_[k]") {
        return KERNEL.to_string() + &plain(name);
    }
    match label {
        "[[jit]]" => JIT.into(),
        _ if label.starts_with("[unknown") => "[unknown]".into(),
        _ if label.starts_with('[') => label.into(),
        _ => plain(label),
    }
}

/// A row of perf's report: the object and the symbol in it, with its mark.
pub fn perf(object: &str, symbol: &str) -> String {
    let is_kernel = symbol.starts_with("[k]");
    let name = symbol.trim_start_matches("[k]").trim_start_matches("[.]").trim();
    let is_named = !name.starts_with("0x") && !name.is_empty() && name != "[unknown]";
    match (is_named, is_kernel) {
        (true, true) => KERNEL.to_string() + &plain(name),
        (true, false) => plain(name),
        (false, true) => KERNEL.to_string() + "[unknown]",
        (false, false) if object.starts_with("[unknown") => "[unknown]".into(),
        (false, false) if is_made_at_run_time(object) => JIT.into(),
        (false, false) if object.starts_with('[') => object.into(),
        (false, false) => format!("[{object}]"),
    }
}

fn is_made_at_run_time(object: &str) -> bool {
    object.starts_with("perf-") && object.ends_with(".map")
        || ["[JIT]", "//anon", "[anon", "anon"].iter().any(|start| object.starts_with(start))
}

/// A name without what compilers and linkers add to it. Blanks are as folded stacks have them.
fn plain(name: &str) -> String {
    let mut name = name.trim().replace(';', ":");
    // The C library's own name for what it also exports, and the kernel's for what it lends to user space.
    let exported = ["__GI_", "__vdso_"].iter().find_map(|start| name.strip_prefix(start));
    if let Some(exported) = exported.filter(|rest| !rest.is_empty()) {
        name = exported.to_string();
    }
    for mark in ["@", " [clone "] {
        // A Go package may have the sign in its path, before a slash.
        if let Some(at) = name.find(mark).filter(|at| *at > 0 && !name[*at..].contains('/')) {
            name.truncate(at);
        }
    }
    let is_c = !name.contains(['(', '<', ' ', ':', '/']);
    if let Some(at) = PARTS.iter().filter_map(|part| name.find(part)).min().filter(|at| is_c && *at > 0) {
        name.truncate(at);
    }
    if let Some((head, hash)) = name.rsplit_once("::h")
        && hash.len() == 16
        && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
    {
        name = head.to_string();
    }
    // The names of scripts' functions hold paths, and brackets that belong to them.
    if !name.contains('/') {
        name = without_arguments(&without_templates(&name));
    }
    name.replace(' ', "_")
}

/// `a<b<c>>::d` as `a::d`; what begins with a bracket is Rust's way to name an implementation, and stays.
fn without_templates(name: &str) -> String {
    if name.starts_with('<') || name.contains("operator") {
        return name.to_string();
    }
    let (mut short, mut depth, mut last) = (String::new(), 0usize, ' ');
    for sign in name.chars() {
        match sign {
            '<' => depth += 1,
            // Not the arrow of a function type.
            '>' if depth > 0 && last != '-' => depth -= 1,
            _ if depth == 0 => short.push(sign),
            _ => {}
        }
        last = sign;
    }
    // An unbalanced one is no template: `<lambda>` and its like are.
    if depth == 0 && !short.is_empty() { short } else { name.to_string() }
}

/// `void a::b(int) const` as `a::b`.
fn without_arguments(name: &str) -> String {
    let end = name.trim_end_matches(" const");
    if !end.ends_with(')') || end.contains("operator") || end.ends_with("(anonymous namespace)") {
        return name.to_string();
    }
    let mut depth = 0i32;
    let open = end.char_indices().rev().find(|(_, sign)| {
        depth += match sign {
            ')' => 1,
            '(' => -1,
            _ => 0,
        };
        depth == 0
    });
    let head = open.map_or(end, |(at, _)| &end[..at]);
    let function = head.rsplit(' ').next().filter(|_| !head.contains('(')).unwrap_or(head);
    if function.is_empty() { name.to_string() } else { function.to_string() }
}

/// One name for every function that has several.
#[derive(Debug, Default)]
pub struct Aliases(BTreeMap<String, String>);

impl Aliases {
    /// Of the kernel, and of what is mapped by some processes.
    pub fn of(pids: &[u32]) -> Aliases {
        let mut aliases = Aliases::default();
        aliases.add(&fs::read_to_string("/proc/kallsyms").unwrap_or_default(), KERNEL);
        let maps = pids.iter().filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/maps")).ok());
        let files: BTreeSet<String> = maps.flat_map(|maps| executables(&maps)).collect();
        for file in files {
            // perf takes its names from separate debug information, where that is installed.
            let apart = build_id(&said("readelf", &["-n", &file])).map(|id| debug_file(&id)).unwrap_or_default();
            let tables = [said("nm", &["-CD", &file]), said("nm", &["-C", &file]), said("nm", &["-C", &apart])];
            aliases.add(&tables.concat(), "");
        }
        aliases
    }

    /// The name to use for a name.
    pub fn name<'a>(&'a self, name: &'a str) -> &'a str {
        self.0.get(name).map_or(name, String::as_str)
    }

    /// Adds a list of addresses, kinds and names.
    fn add(&mut self, listed: &str, mark: &str) {
        let mut by_address: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for line in listed.lines() {
            let words: Vec<&str> = line.splitn(3, ' ').collect();
            // A module of the kernel comes behind a tab.
            if let [address, kind, name] = words[..]
                && let Some(name) = name.split('\t').next()
                && ["T", "t", "W", "w", "i"].contains(&kind)
                && address.bytes().any(|digit| digit != b'0')
            {
                by_address.entry(address).or_default().insert(mark.to_string() + &plain(name));
            }
        }
        for names in by_address.into_values().filter(|names| names.len() > 1) {
            // Shorter names are those that people know.
            let Some(best) = names.iter().min_by_key(|name| (name.len(), name.to_string())).cloned() else { continue };
            for name in names {
                self.0.entry(name).or_insert_with(|| best.clone());
            }
        }
    }
}

/// What a program prints.
fn said(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).stdin(Stdio::null()).stderr(Stdio::null()).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

/// The build id in what `readelf -n` says.
fn build_id(notes: &str) -> Option<String> {
    notes.lines().find_map(|line| line.trim().strip_prefix("Build ID:")).map(|id| id.trim().to_string())
}

/// Where distributions keep what they took out of a binary.
fn debug_file(id: &str) -> String {
    let (folder, file) = id.split_at(id.len().min(2));
    format!("/usr/lib/debug/.build-id/{folder}/{file}.debug")
}

/// The files whose code a process runs.
fn executables(maps: &str) -> Vec<String> {
    let code = maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|access| access.contains('x')));
    let files = code.filter_map(|line| line.find('/').map(|at| line[at..].to_string()));
    files.filter(|file| Path::new(file).is_file()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn friday_and_perf_come_to_the_same_name() {
        for (label, object, symbol) in [
            ("tcp_ack_[k]", "[kernel.kallsyms]", "[k] tcp_ack.isra.0"),
            ("[redis-check-rdb]", "redis-check-rdb", "[.] 0x00000000000bd22f"),
            ("__poll", "libc.so.6", "[.] __GI___poll"),
            ("malloc", "libc.so.6", "[.] malloc@@GLIBC_2.2.5"),
            ("v8::internal::Heap<…>::Scavenge", "node", "[.] v8::internal::Heap<int, long>::Scavenge"),
            ("core::str::parse", "orders", "[.] core::str::parse::h0123456789abcdef"),
            ("net/http.(*conn).serve", "orders", "[.] net/http.(*conn).serve"),
            ("JS:*pick_/srv/orders.js:9:14", "perf-12.map", "[.] JS:*pick /srv/orders.js:9:14"),
            ("Orders.work", "perf-12.map", "[.] void Orders.work(int, java.util.List)"),
            ("[[jit]]", "perf-12.map", "[.] 0x00007f0000000010"),
            ("[[jit]]", "[JIT] tid 12", "[.] 0x00007f0000000010"),
            ("[unknown: not mapped]", "[unknown]", "[.] 0x00007f0000000010"),
        ] {
            assert_eq!(friday(label), perf(object, symbol), "{symbol}");
        }
    }

    #[test]
    fn what_is_not_an_argument_list_stays() {
        for name in ["net/http.(*conn).serve", "<a::B_as_c::D>::e", "std::operator<<"] {
            assert_eq!(plain(name), name);
        }
        assert_eq!(plain("f::(anonymous namespace)"), "f::(anonymous_namespace)");
        assert_eq!(plain("std::vector<int, std::allocator<int> >::push_back(int const&)"), "std::vector::push_back");
        assert_eq!(plain("f(void (*)(int)) const"), "f");
    }

    #[test]
    fn functions_with_several_names_have_one() {
        let mut aliases = Aliases::default();
        aliases
            .add("00000010 T __libc_read\n00000010 W read\n00000010 W __read\n00000020 T write\n00000010 D data\n", "");
        assert_eq!(aliases.name("__libc_read"), "read");
        assert_eq!(aliases.name("write"), "write");
        assert_eq!(aliases.name("data"), "data");
        aliases.add("00000030 t <u64 as core::fmt::Display>::fmt\n00000030 t <usize as core::fmt::Display>::fmt\n", "");
        assert_eq!(aliases.name("<usize_as_core::fmt::Display>::fmt"), "<u64_as_core::fmt::Display>::fmt");
    }

    #[test]
    fn debug_information_is_found_by_build_id() {
        let notes = "  GNU                  0x00000014\tNT_GNU_BUILD_ID\n    Build ID: 93ac12\n";
        assert_eq!(debug_file(&build_id(notes).unwrap()), "/usr/lib/debug/.build-id/93/ac12.debug");
        assert_eq!(build_id(""), None);
    }

    #[test]
    fn only_mapped_code_is_read() {
        let maps = "1-2 r--p 0 08:01 1    /bin/ls\n2-3 r-xp 0 08:01 1    /bin/sh\n4-5 r-xp 0 00:00 0    [vdso]\n\
                    5-6 r-xp 0 00:01 2    /dev/zero\n";
        assert_eq!(executables(maps), ["/bin/sh"]);
    }
}
