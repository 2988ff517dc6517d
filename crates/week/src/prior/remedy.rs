//! What to install or switch on so that stacks reach their root and frames have names.

use observe::{Process, Recording, catalog};

/// The module of code that was made at run time.
pub(super) const JIT: &str = "[jit]";

/// By what `os-release` calls a distribution: how debug symbols of a process are installed, and its debuginfod server.
/// Sources: find-dbgsym-packages(1), dnf-debuginfo-install(8), zypper(8), wiki.alpinelinux.org/wiki/Debug_packages,
/// sourceware.org/elfutils/Debuginfod.html.
const DEBUG_SYMBOLS: &[(&str, &str, &str)] = &[
    ("ubuntu", "apt install debian-goodies && find-dbgsym-packages --install PID", "https://debuginfod.ubuntu.com"),
    ("debian", "apt install debian-goodies && find-dbgsym-packages --install PID", "https://debuginfod.debian.net"),
    ("fedora", "dnf debuginfo-install $(rpm -qf EXE)", "https://debuginfod.fedoraproject.org"),
    ("rhel", "dnf debuginfo-install $(rpm -qf EXE)", ""),
    ("suse", "zypper install $(rpm -qf --qf %{name}-debuginfo EXE)", "https://debuginfod.opensuse.org"),
    ("alpine", "apk add the package's -dbg: apk info --who-owns EXE", ""),
    ("arch", "", "https://debuginfod.archlinux.org"),
];

/// By the begin of the executable's name: what makes a runtime tell the names of the code that it makes.
/// Sources: nodejs.org/en/learn/diagnostics/flame-graphs, github.com/jvm-profiling-tools/perf-map-agent,
/// docs.python.org/3/howto/perf_profiling.html, learn.microsoft.com/dotnet/core/runtime-config/debugging-profiling.
const PERF_MAPS: &[(&str, &str)] = &[
    ("node", "start node with --perf-basic-prof"),
    ("java", "start java with -XX:+PreserveFramePointer and a perf map agent, or `jcmd PID Compiler.perfmap`"),
    ("python", "PYTHONPERFSUPPORT=1 (3.12 or later)"),
    ("dotnet", "DOTNET_PerfMapEnabled=1"),
];

/// By the begin of the executable's name: interpreters, of which stacks show the C code only, and what shows the script.
const INTERPRETERS: &[(&str, &str)] = &[
    ("python", ": functions of the script show with PYTHONPERFSUPPORT=1 (3.12 or later)"),
    ("perl", ": functions of the script do not show"),
    ("ruby", ": functions of the script do not show"),
    ("php", ": functions of the script do not show"),
    ("bash", ": functions of the script do not show"),
];

/// Of a stack that ends too early in a module.
pub(super) fn stacks(_: &Recording, process: &Process, _: &str, module: &str) -> String {
    match module {
        "" => String::new(),
        JIT if is(process, "java") => "start java with -XX:+PreserveFramePointer".to_owned(),
        // docs.python.org/3/howto/perf_profiling.html: how to obtain the best results.
        JIT if is(process, "python") => {
            "build python with -fno-omit-frame-pointer -mno-omit-leaf-frame-pointer".to_owned()
        }
        JIT => "its runtime makes code without frame pointers: see whether it has a switch for them".to_owned(),
        _ => format!(
            "build {module} with frame pointers, -fno-omit-frame-pointer, or with unwind tables, -fasynchronous-unwind-tables"
        ),
    }
}

/// Of a frame without a name in a module.
pub(super) fn symbols(rec: &Recording, process: &Process, why: &str, module: &str) -> String {
    if why.contains("deleted or replaced") {
        return format!("start {} again: its file is another now", process.name);
    }
    if why.contains("ermission denied") || why.contains("not permitted") {
        return "run friday as root".to_owned();
    }
    if module == JIT || why.starts_with("JIT code") {
        return known(PERF_MAPS, process)
            .map_or_else(|| "make its runtime write /tmp/perf-PID.map".to_owned(), |how| with(how, process));
    }
    if module.is_empty() || module.starts_with('[') {
        return String::new();
    }
    let Some((_, install, server)) = debug_symbols(rec) else {
        return "install its debug symbols, or build it without -s".to_owned();
    };
    let install = with(install, process);
    match (install.is_empty(), server.is_empty()) {
        (true, _) => format!("for perf and gdb: DEBUGINFOD_URLS={server}"),
        (_, true) => format!("{install}; where it is no package, build it without -s"),
        _ => format!(
            "{install}; for perf and gdb also DEBUGINFOD_URLS={server}; where it is no package, build it without -s"
        ),
    }
}

/// The server of debug information of this distribution.
pub(super) fn debuginfod(rec: &Recording) -> Option<&'static str> {
    debug_symbols(rec).map(|(.., server)| *server).filter(|server| !server.is_empty())
}

/// The nearest of what a distribution is and is like.
fn debug_symbols(rec: &Recording) -> Option<&'static (&'static str, &'static str, &'static str)> {
    let words = || distribution(rec).split([' ', '-']);
    words().find_map(|word| DEBUG_SYMBOLS.iter().find(|(id, ..)| word == *id))
}

/// Said of a process whose frames are those of an interpreter.
pub(super) fn interpreted(process: &Process) -> &'static str {
    known(INTERPRETERS, process).unwrap_or_default()
}

fn with(how: &str, process: &Process) -> String {
    let exe = process.exe.trim_end_matches(" (deleted)");
    how.replace("PID", &process.pid.0.to_string()).replace("EXE", if exe.is_empty() { "its file" } else { exe })
}

fn is(process: &Process, name: &str) -> bool {
    process.exe.rsplit('/').next().is_some_and(|exe| exe.starts_with(name))
}

fn known(table: &[(&str, &'static str)], process: &Process) -> Option<&'static str> {
    table.iter().find(|(name, _)| is(process, name)).map(|(_, how)| *how)
}

fn distribution(rec: &Recording) -> &str {
    let facts = rec.get(&catalog::HOST_FACT).unwrap_or_default();
    facts.iter().find(|fact| fact.labels.get("name") == "os.id").map_or("", |fact| &fact.value)
}
