//! What of tracing works here: each kind of probe is attached to friday's own process or for it alone, made to fire, and taken
//! off. Measured: 0.5 s together.

use crate::{
    bpf::trial::{self, Kind, Spot},
    host::text,
    roots::Roots,
    tools::program::{self, Limits},
};
use observe::{Absent, Fact, Labels, Recording, catalog};
use std::{ffi::CString, fs, io, mem::size_of, path::PathBuf};

/// What came of one trial.
type Came = Result<String, Absent>;

/// Attached, and it did not fire.
const SILENT: &str = "it was attached and did not fire";

/// Where the kernel shows Ftrace, and where it used to.
const TRACEFS: [&str; 2] = ["kernel/tracing", "kernel/debug/tracing"];

/// What tries one tracer.
type Trial = fn(&Roots) -> Came;

/// Tries everything.
pub(super) fn collect(roots: &Roots, into: &mut Recording) {
    into.set(&catalog::TRACER, Ok(Vec::new()));
    let trials: [(&str, Trial); 8] = [
        ("btf", btf),
        ("tracepoint", |roots| fires(roots, Kind::Tracepoint, "task_rename")),
        ("kprobe", |roots| {
            fires(roots, Kind::Kprobe, "vfs_read")
                .map_err(|why| no_probes(roots, "kprobe", "CONFIG_KPROBE_EVENTS", why))
        }),
        ("fentry", |roots| fires(roots, Kind::Fentry, "vfs_read").map_err(no_direct_calls)),
        ("uprobe", |roots| {
            fires(roots, Kind::Uprobe, "a function of friday's")
                .map_err(|why| no_probes(roots, "uprobe", "CONFIG_UPROBE_EVENTS", why))
        }),
        ("iterator", |roots| trial::tasks(roots).map(|tasks| format!("{tasks} threads seen"))),
        ("counters", counters),
        ("tracefs", tracefs),
    ];
    for (how, trial) in trials {
        let (state, value) = match trial(roots) {
            Ok(seen) if seen == SILENT => ("silent", seen),
            Ok(seen) => ("works", seen),
            Err(Absent::NoPermission(why)) => ("refused", confidential(roots) + &why),
            Err(Absent::Unsupported(why)) => ("unsupported", why),
            Err(Absent::Failed(why) | Absent::NotCollected(why)) => ("failed", confidential(roots) + &why),
        };
        let labels = Labels::new([("how", how.to_owned()), ("state", state.to_owned())]);
        into.push(&catalog::TRACER, Fact { labels, value, source: "friday".to_owned() });
    }
}

/// What lockdown has to do with it.
fn confidential(roots: &Roots) -> String {
    let mode = text(&roots.sys.join("kernel/security/lockdown")).unwrap_or_default();
    if mode.contains("[confidentiality]") {
        "lockdown is confidentiality, which refuses tracing: ".to_owned()
    } else {
        String::new()
    }
}

fn btf(roots: &Roots) -> Came {
    let size = fs::metadata(&roots.btf).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Absent::Unsupported(format!(
            "no {}: this kernel is built without CONFIG_DEBUG_INFO_BTF",
            roots.btf.display()
        )),
        _ => Absent::Failed(format!("{}: {error}", roots.btf.display())),
    })?;
    let types = libbpf_rs::btf::Btf::from_path(&roots.btf)
        .map_err(|error| Absent::Failed(format!("{}: {error}", roots.btf.display())))?;
    Ok(format!("{} types, {:.1} MiB", types.len(), size.len() as f64 / f64::from(1 << 20)))
}

fn fires(roots: &Roots, kind: Kind, on: &str) -> Came {
    let spot = own_spot(roots)?;
    match trial::fires(roots, kind, &spot, provoke)? {
        true => Ok(format!("attached to {on}, fired, taken off")),
        false => Ok(SILENT.to_owned()),
    }
}

/// Reads, renames this thread to what it is called already, and calls the function that a uprobe is on.
fn provoke() {
    // What comes of it is seen on the other side.
    let _ = fs::read("/proc/self/stat");
    let name = fs::read_to_string("/proc/thread-self/comm").unwrap_or_default();
    if let Ok(name) = CString::new(name.trim_end()) {
        // SAFETY: a string that ends with a zero and outlives the call.
        unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
    }
    std::hint::black_box(called_for_a_uprobe(std::hint::black_box(1)));
}

/// A uprobe is put on its first instruction.
#[inline(never)]
extern "C" fn called_for_a_uprobe(number: u64) -> u64 {
    std::hint::black_box(number) + 1
}

/// Where that function is in friday's file.
fn own_spot(roots: &Roots) -> Result<Spot, Absent> {
    let address = called_for_a_uprobe as *const () as u64;
    let maps = fs::read_to_string(roots.proc.join("self/maps"))
        .map_err(|error| Absent::Failed(format!("/proc/self/maps: {error}")))?;
    let offset = maps.lines().find_map(|line| offset_of(line, address));
    let offset = offset.ok_or_else(|| Absent::Failed("friday's own code is not in /proc/self/maps".to_owned()))?;
    Ok(Spot { file: PathBuf::from("/proc/self/exe"), offset })
}

/// Of a line of `maps`, the offset in the file of an address in it.
fn offset_of(line: &str, address: u64) -> Option<usize> {
    let mut columns = line.split_ascii_whitespace();
    let (start, end) = columns.next()?.split_once('-')?;
    let number = |digits: &str| u64::from_str_radix(digits, 16).ok();
    let (start, end, offset) = (number(start)?, number(end)?, number(columns.nth(1)?)?);
    usize::try_from((start..end).contains(&address).then(|| address - start + offset)?).ok()
}

/// Why probes of a kind cannot be attached, where the kernel does not have them at all.
fn no_probes(roots: &Roots, kind: &str, config: &str, why: Absent) -> Absent {
    let source = roots.sys.join("bus/event_source/devices").join(kind);
    match why {
        Absent::Failed(why) if !source.exists() => {
            Absent::Unsupported(format!("this kernel has no {kind}s ({}): {why}", configured(roots, config)))
        }
        why => why,
    }
}

/// What a kernel's configuration says of an option: its file in `/boot`, or what the kernel itself tells.
fn configured(roots: &Roots, option: &str) -> String {
    let release = text(&roots.proc.join("sys/kernel/osrelease")).unwrap_or_default();
    let file = format!("/boot/config-{release}");
    let told = roots.proc.join("config.gz");
    let unpack = ["zcat", &told.display().to_string()].map(str::to_owned);
    let (place, lines) = match fs::read_to_string(&file) {
        Ok(lines) => (file, lines),
        Err(_) => (told.display().to_string(), program::run(&unpack, Limits::default()).unwrap_or_default()),
    };
    let is = |line: &&str| line.split([' ', '=']).any(|word| word == option);
    match lines.lines().find(is) {
        _ if lines.is_empty() => option.to_owned(),
        Some(line) => format!("{}, by {place}", line.trim_start_matches("# ")),
        None => format!("{option} is not set, by {place}"),
    }
}

/// Entries of kernel functions need direct calls from Ftrace.
fn no_direct_calls(why: Absent) -> Absent {
    match why {
        Absent::Failed(why) if why.contains("ENOTSUPP") || why.contains("524") => {
            Absent::Unsupported(format!("this kernel is built without CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS: {why}"))
        }
        why => why,
    }
}

/// Counts instructions of friday's own.
fn counters(_: &Roots) -> Came {
    let mut attr = libbpf_rs::libbpf_sys::perf_event_attr {
        type_: 0,  // PERF_TYPE_HARDWARE
        config: 1, // PERF_COUNT_HW_INSTRUCTIONS
        size: size_of::<libbpf_rs::libbpf_sys::perf_event_attr>() as u32,
        ..Default::default()
    };
    attr.set_exclude_kernel(1);
    attr.set_exclude_hv(1);
    // SAFETY: a valid attribute structure with its size; the other arguments are plain numbers.
    let fd = unsafe {
        libc::syscall(libc::SYS_perf_event_open, &attr, 0, -1, -1, 8 /* PERF_FLAG_FD_CLOEXEC */)
    };
    if fd < 0 {
        let error = io::Error::last_os_error();
        return Err(match error.raw_os_error() {
            Some(libc::ENOENT | libc::EOPNOTSUPP | libc::ENODEV) => Absent::Unsupported(format!(
                "no instructions, cycles or cache misses: perf_event_open: {error}; a guest has counters where its host passes them on"
            )),
            Some(libc::EACCES | libc::EPERM) => Absent::NoPermission(format!(
                "perf_event_open: {error}: run as root, with CAP_PERFMON, or with kernel.perf_event_paranoid at 2 or less; \
                 in a container, its seccomp profile has to allow it"
            )),
            _ => Absent::Failed(format!("perf_event_open: {error}")),
        });
    }
    let mut file = {
        use std::os::fd::FromRawFd;
        // SAFETY: the descriptor was opened above and is nobody else's.
        unsafe { fs::File::from_raw_fd(fd as i32) }
    };
    provoke();
    let mut count = [0u8; 8];
    io::Read::read_exact(&mut file, &mut count)
        .map_err(|error| Absent::Failed(format!("reading the counter: {error}")))?;
    match u64::from_ne_bytes(count) {
        0 => Ok(SILENT.to_owned()),
        count => Ok(format!("{count} instructions of friday's own counted")),
    }
}

/// Ftrace: whether its files can be read.
fn tracefs(roots: &Roots) -> Came {
    let mut denied = None;
    for place in TRACEFS.map(|place| roots.sys.join(place)) {
        match fs::read_to_string(place.join("available_tracers")) {
            Ok(tracers) => return Ok(format!("{}, tracers: {}", place.display(), tracers.trim())),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => denied = Some(place),
            Err(_) => {}
        }
    }
    if let Some(place) = denied {
        return Err(Absent::NoPermission(format!("{} is root's: run as root", place.display())));
    }
    let known = fs::read_to_string(roots.proc.join("filesystems")).unwrap_or_default();
    if known.lines().any(|line| line.split_ascii_whitespace().any(|word| word == "tracefs")) {
        return Err(Absent::Failed(
            "it is not mounted: trace-cmd, perf-tools and perf's tracepoints read it".to_owned(),
        ));
    }
    Err(Absent::Unsupported("this kernel has no tracefs: it is built without CONFIG_TRACING".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use observe::{Host, Target, Window};
    use std::time::{Duration, SystemTime};

    fn recording() -> Recording {
        let host = Host { name: "h".into(), kernel: "6".into(), cpus: 2, memory_bytes: 1 };
        let window = Window { start: SystemTime::UNIX_EPOCH, length: Duration::from_secs(1) };
        Recording::new(host, Target::system("h"), window)
    }

    fn fake() -> (tempfile::TempDir, Roots) {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for folder in ["proc/sys/kernel", "sys/kernel/tracing", "sys/kernel/security"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        fs::write(at("proc/filesystems"), "nodev\tsysfs\nnodev\ttracefs\n").unwrap();
        let roots = Roots { proc: at("proc"), sys: at("sys"), btf: at("sys/kernel/btf/vmlinux") };
        (dir, roots)
    }

    #[test]
    fn tracefs_is_read_or_it_is_said_why_not() {
        let (_dir, roots) = fake();
        assert!(tracefs(&roots).unwrap_err().to_string().contains("not mounted"));
        fs::write(roots.sys.join("kernel/tracing/available_tracers"), "function nop\n").unwrap();
        assert!(tracefs(&roots).unwrap().ends_with("tracers: function nop"));
        fs::remove_file(roots.sys.join("kernel/tracing/available_tracers")).unwrap();
        fs::write(roots.proc.join("filesystems"), "nodev\tsysfs\n").unwrap();
        assert!(matches!(tracefs(&roots), Err(Absent::Unsupported(why)) if why.contains("CONFIG_TRACING")));
    }

    #[test]
    fn a_kernel_without_probes_or_types_is_told_from_one_that_refuses() {
        let (_dir, roots) = fake();
        assert!(matches!(btf(&roots), Err(Absent::Unsupported(why)) if why.contains("CONFIG_DEBUG_INFO_BTF")));
        let failed = || Absent::Failed("attaching it: ENOENT".to_owned());
        let none = no_probes(&roots, "kprobe", "CONFIG_KPROBE_EVENTS", failed());
        assert!(none.to_string().contains("has no kprobes (CONFIG_KPROBE_EVENTS): attaching it"), "{none}");
        let pack = "printf '# CONFIG_KPROBE_EVENTS is not set\\nCONFIG_UPROBE_EVENTS=y\\n' | gzip >config.gz";
        let packed = std::process::Command::new("sh").current_dir(&roots.proc).args(["-c", pack]).status();
        assert!(packed.unwrap().success());
        assert!(configured(&roots, "CONFIG_KPROBE_EVENTS").starts_with("CONFIG_KPROBE_EVENTS is not set, by "));
        assert!(configured(&roots, "CONFIG_UPROBE_EVENTS").starts_with("CONFIG_UPROBE_EVENTS=y, by "));
        assert!(configured(&roots, "CONFIG_KPROBE").starts_with("CONFIG_KPROBE is not set, by "));
        fs::create_dir_all(roots.sys.join("bus/event_source/devices/kprobe")).unwrap();
        assert!(matches!(no_probes(&roots, "kprobe", "CONFIG_KPROBE_EVENTS", failed()), Absent::Failed(_)));
        assert_eq!(confidential(&roots), "");
        fs::write(roots.sys.join("kernel/security/lockdown"), "none integrity [confidentiality]\n").unwrap();
        assert!(confidential(&roots).contains("confidentiality"));
    }

    #[test]
    fn an_address_is_found_in_its_file() {
        let line = "555555560000-555555570000 r-xp 0000a000 fd:01 77   /usr/bin/friday";
        assert_eq!(offset_of(line, 0x5555_5556_0123), Some(0xa123));
        assert_eq!(offset_of(line, 0x5555_5557_0000), None);
        assert!(own_spot(&Roots::default()).is_ok_and(|spot| spot.offset > 0 && spot.file.exists()));
    }

    #[test]
    #[ignore = "live: needs root and BPF"]
    fn live_what_works_has_fired_and_what_does_not_says_why() {
        let mut rec = recording();
        collect(&Roots::default(), &mut rec);
        let rows = rec.get(&catalog::TRACER).unwrap();
        let state = |how: &str| rows.iter().find(|row| row.labels.get("how") == how).unwrap();
        for how in ["btf", "tracepoint", "uprobe", "iterator"] {
            assert_eq!(state(how).labels.get("state"), "works", "{how}: {}", state(how).value);
        }
        for row in rows {
            assert!(!row.value.is_empty() && row.labels.get("state") != "silent", "{row:?}");
        }
    }
}
