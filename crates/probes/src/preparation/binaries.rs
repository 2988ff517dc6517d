//! Where the source of what runs is: of the binaries with most CPU samples the build-id, the debug information, the package and
//! its source package, or the folder it was compiled in. Measured: 0.1 s; the package manager is asked once or twice for all.

use crate::{
    host::text,
    roots::Roots,
    tools::program::{self, Limits},
};
use observe::{FrameKind, Labels, Pid, Recording, Series, catalog};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// ours: where most of the time is spent; a profile's tail is long.
const MOST: usize = 10;
/// ours: as many of them in single processes are looked at before those of one file are put together.
const MOST_LOOKED_AT: usize = 100;
/// ours: each question to the package manager; there are two at most.
const TIMEOUT: Duration = Duration::from_secs(2);
/// What the kernel says behind the path of a file that is no longer there.
const GONE: &str = " (deleted)";
/// What the kernel is called here.
const KERNEL: &str = "kernel";

/// What is known of one binary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Binary {
    /// What it is called where it runs.
    path: String,
    samples: u64,
    build_id: String,
    debug: String,
    tree: String,
    owner: Owner,
    /// What could not be found out.
    why: String,
}

/// Which package a file is of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Owner {
    package: String,
    version: String,
    /// The source package, of dpkg with its version; empty where the manager does not tell.
    source: String,
}

/// Adds the hot binaries.
pub(super) fn collect(roots: &Roots, into: &mut Recording) {
    let counted = match hot(into) {
        Ok(counted) => counted,
        Err(why) => return into.set(&catalog::BINARY, Err(why)),
    };
    let mut all: Vec<Binary> = Vec::new();
    let mut counted: Vec<((Pid, String), u64)> = counted.into_iter().collect();
    counted.sort_by_key(|(_, samples)| std::cmp::Reverse(*samples));
    for ((pid, name), samples) in counted.into_iter().take(MOST_LOOKED_AT) {
        let known = if name == KERNEL { kernel(roots) } else { binary(roots, pid, &name, into) };
        match all.iter_mut().find(|one| one.path == known.path && one.build_id == known.build_id) {
            Some(same) => same.samples += samples,
            None => all.push(Binary { samples, ..known }),
        }
    }
    all.sort_by(|a, b| b.samples.cmp(&a.samples).then_with(|| a.path.cmp(&b.path)));
    all.truncate(MOST);
    let asked: Vec<PathBuf> = all.iter().filter(|one| one.why.is_empty()).map(|one| file_of(roots, one)).collect();
    let answer = Manager::here(Path::new("/"))
        .map_or_else(|| Err("no package manager that is known is here".to_owned()), |manager| manager.owners(&asked));
    for one in all.iter_mut().filter(|one| one.why.is_empty()) {
        match &answer {
            Ok(owners) => one.owner = owners.get(&file_of(roots, one)).cloned().unwrap_or_default(),
            Err(why) => one.why.clone_from(why),
        }
    }
    let length = into.window.length;
    let rows = all.into_iter().map(|one| {
        let labels = Labels::new([
            ("path", one.path),
            ("build_id", one.build_id),
            ("debug", one.debug),
            ("package", one.owner.package),
            ("version", one.owner.version),
            ("source", one.owner.source),
            ("tree", one.tree),
            ("why", one.why),
        ]);
        Series::total(labels, length, one.samples as f64)
    });
    let rows = rows.collect();
    into.set(&catalog::BINARY, Ok(rows));
}

/// Samples by process and by the module of what ran. Code that was made at run time is no binary.
fn hot(rec: &Recording) -> Result<BTreeMap<(Pid, String), u64>, observe::Absent> {
    let mut all: BTreeMap<(Pid, String), u64> = BTreeMap::new();
    for stack in rec.get(&catalog::CPU_STACKS)?.iter().filter(|stack| !rec.is_friday(stack.pid)) {
        let Some(frame) = stack.frames.last().and_then(|id| rec.frames.get(id.0 as usize)) else { continue };
        match frame.kind {
            FrameKind::Kernel => *all.entry((Pid(0), KERNEL.to_owned())).or_default() += stack.samples,
            FrameKind::User if frame.module.is_empty() || frame.module.starts_with('[') => {}
            FrameKind::User => *all.entry((stack.pid, frame.module.clone())).or_default() += stack.samples,
        }
    }
    Ok(all)
}

/// A program or library, as the process has it.
fn binary(roots: &Roots, pid: Pid, name: &str, rec: &Recording) -> Binary {
    let own = roots.proc.join(pid.to_string());
    let maps = fs::read_to_string(own.join("maps")).unwrap_or_default();
    let is = |path: &&str| Path::new(path.trim_end_matches(GONE)).file_name().is_some_and(|file| file == name);
    let mapped = maps.lines().filter_map(|line| line.find('/').map(|at| &line[at..])).find(is);
    let exe = rec.processes.get(&pid).map(|process| process.exe.as_str()).filter(is);
    let Some(path) = mapped.or(exe) else {
        return Binary { path: name.to_owned(), why: "its process has ended".to_owned(), ..Binary::default() };
    };
    if let Some(gone) = path.strip_suffix(GONE) {
        return Binary {
            path: gone.to_owned(),
            why: "its file was deleted or replaced".to_owned(),
            ..Binary::default()
        };
    }
    let files = |who: &Path| fs::read_link(who.join("ns/mnt")).ok();
    let contained = !maps.is_empty() && files(&own) != files(&roots.proc.join("self"));
    let file = if maps.is_empty() { PathBuf::from(path) } else { own.join("root").join(path.trim_start_matches('/')) };
    let cache = std::env::var_os("DEBUGINFOD_CACHE_PATH")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/debuginfod_client")));
    let debug = symbolize::debug_information(&file, Path::new(path), cache.as_deref());
    Binary {
        path: path.to_owned(),
        build_id: symbolize::build_id(&file).unwrap_or_default(),
        debug: debug.file.map_or_else(String::new, |file| file.display().to_string()),
        tree: debug.tree.unwrap_or_default(),
        why: if contained {
            "it is in a container: its package manager has to be asked there".to_owned()
        } else {
            String::new()
        },
        ..Binary::default()
    }
}

/// The running kernel.
fn kernel(roots: &Roots) -> Binary {
    let release = text(&roots.proc.join("sys/kernel/osrelease")).unwrap_or_default();
    let places =
        [format!("/usr/lib/debug/boot/vmlinux-{release}"), format!("/usr/lib/debug/lib/modules/{release}/vmlinux")];
    let debug = places.into_iter().find(|place| Path::new(place).is_file()).unwrap_or_default();
    let notes = fs::read(roots.sys.join("kernel/notes")).unwrap_or_default();
    Binary {
        path: format!("{KERNEL} {release}"),
        build_id: kernel_build_id(&notes).unwrap_or_default(),
        debug,
        ..Binary::default()
    }
}

fn kernel_file(release: &str) -> PathBuf {
    PathBuf::from(format!("/boot/vmlinuz-{release}"))
}

/// The file that the package manager knows a binary by.
fn file_of(roots: &Roots, binary: &Binary) -> PathBuf {
    match binary.path.strip_prefix("kernel ") {
        Some(_) => kernel_file(&text(&roots.proc.join("sys/kernel/osrelease")).unwrap_or_default()),
        None => PathBuf::from(&binary.path),
    }
}

/// Of ELF notes, the build-id: name `GNU`, type 3.
fn kernel_build_id(notes: &[u8]) -> Option<String> {
    let number = |at: usize| Some(u32::from_ne_bytes(notes.get(at..at + 4)?.try_into().ok()?) as usize);
    let mut at = 0;
    while let (Some(name), Some(length), Some(kind)) = (number(at), number(at + 4), number(at + 8)) {
        let content = at + 12 + name.next_multiple_of(4);
        let bytes = notes.get(content..content.checked_add(length)?)?;
        if kind == 3 && notes.get(at + 12..at + 16) == Some(b"GNU\0") {
            return Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect());
        }
        at = content + length.next_multiple_of(4);
    }
    None
}

/// Who knows which package a file is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manager {
    Dpkg,
    Rpm,
    Apk,
    Pacman,
}

/// Where each keeps what it has installed.
const DATABASES: [(&str, Manager); 6] = [
    ("var/lib/dpkg/status", Manager::Dpkg),
    ("usr/lib/sysimage/rpm", Manager::Rpm),
    ("var/lib/rpm", Manager::Rpm),
    ("lib/apk/db/installed", Manager::Apk),
    ("usr/lib/apk/db/installed", Manager::Apk),
    ("var/lib/pacman/local", Manager::Pacman),
];

impl Manager {
    fn here(root: &Path) -> Option<Manager> {
        DATABASES.iter().find(|(database, _)| root.join(database).exists()).map(|(_, manager)| *manager)
    }

    /// The package of each file; those that are of none are left out.
    fn owners(self, files: &[PathBuf]) -> Result<BTreeMap<PathBuf, Owner>, String> {
        if files.is_empty() {
            return Ok(BTreeMap::new());
        }
        // A file that is of no package makes the command fail, and what is said of the others still counts.
        let ask = |script: &str, words: &[String]| {
            let script = format!("{{ {script}; }} 2>/dev/null; true");
            let argv = ["sh", "-c", &script, "sh"].map(str::to_owned);
            let argv: Vec<String> = argv.into_iter().chain(words.iter().cloned()).collect();
            program::run(&argv, Limits { timeout: TIMEOUT, ..Limits::default() })
                .map_err(|why| format!("{}: {why}", self.name()))
        };
        let asked: Vec<(String, &PathBuf)> =
            files.iter().flat_map(|file| names(file).into_iter().map(move |name| (name, file))).collect();
        let words: Vec<String> = asked.iter().map(|(name, _)| name.clone()).collect();
        let by = |name: &str| asked.iter().find(|(known, _)| known == name).map(|(_, file)| (*file).clone());
        let mut all = BTreeMap::new();
        match self {
            Manager::Dpkg => {
                let said = ask("dpkg-query -S \"$@\"", &words)?;
                let found = said.lines().filter_map(|line| {
                    let (packages, path) = line.split_once(": ")?;
                    Some((by(path)?, packages.split(", ").next()?.to_owned()))
                });
                let found: Vec<(PathBuf, String)> = found.collect();
                let packages: Vec<String> = found.iter().map(|(_, package)| package.clone()).collect();
                let format = "${binary:Package}\\t${Version}\\t${source:Package} ${source:Version}\\n";
                let known = dpkg_sources(&ask(&format!("dpkg-query -W -f '{format}' \"$@\""), &packages)?);
                all.extend(found.into_iter().map(|(file, package)| {
                    let owner = known.get(&package).cloned().unwrap_or_default();
                    (file, Owner { package, ..owner })
                }));
            }
            Manager::Rpm => {
                let format = "%{NAME}\\t%{VERSION}-%{RELEASE}\\t%{SOURCERPM}\\n";
                let script = format!("for f; do printf '%s\\t' \"$f\"; rpm -q --qf '{format}' -f \"$f\" || echo; done");
                all.extend(ask(&script, &words)?.lines().filter_map(|line| {
                    let (path, owner) = line.split_once('\t')?;
                    Some((by(path)?, rpm_owner(owner)?))
                }));
            }
            Manager::Apk => {
                all.extend(ask("apk info -W \"$@\"", &words)?.lines().filter_map(|line| {
                    let (path, package) = line.split_once(" is owned by ")?;
                    Some((by(path.split(' ').next()?)?, apk_owner(package)))
                }));
            }
            Manager::Pacman => {
                all.extend(ask("pacman -Qo \"$@\"", &words)?.lines().filter_map(|line| {
                    let (path, package) = line.split_once(" is owned by ")?;
                    let (package, version) = package.split_once(' ')?;
                    let (package, version) = (package.to_owned(), version.to_owned());
                    Some((by(path)?, Owner { package, version, source: String::new() }))
                }));
            }
        }
        Ok(all)
    }

    fn name(self) -> &'static str {
        match self {
            Manager::Dpkg => "dpkg-query",
            Manager::Rpm => "rpm",
            Manager::Apk => "apk",
            Manager::Pacman => "pacman",
        }
    }
}

/// The names that a package may have brought a file under: as it is, and as it was before `/bin` and `/lib` became links.
fn names(file: &Path) -> Vec<String> {
    let name = file.display().to_string();
    let moved = ["/usr/bin/", "/usr/sbin/", "/usr/lib/", "/usr/lib64/"].iter().any(|place| name.starts_with(place));
    let older = moved.then(|| name.trim_start_matches("/usr").to_owned());
    [name].into_iter().chain(older).collect()
}

/// Packages by name, as `dpkg-query -W` tells them: package, version, source package with its version; tabs between.
fn dpkg_sources(said: &str) -> BTreeMap<String, Owner> {
    let rows = said.lines().filter_map(|line| {
        let mut columns = line.split('\t').map(str::to_owned);
        let (package, version, source) = (columns.next()?, columns.next()?, columns.next()?);
        Some((package.clone(), Owner { package, version, source }))
    });
    rows.collect()
}

/// Name, version and source package, with tabs between; the source is `bash-5.2.26-3.fc40.src.rpm`.
fn rpm_owner(line: &str) -> Option<Owner> {
    let mut columns = line.split('\t');
    let (package, version, source) = (columns.next()?, columns.next()?, columns.next()?);
    let source = source.trim_end_matches(".src.rpm").rsplitn(3, '-').nth(2).unwrap_or_default();
    Some(Owner { package: package.to_owned(), version: version.to_owned(), source: source.to_owned() })
}

/// `bash-5.2.26-r0`: the version begins at the last but one hyphen.
fn apk_owner(package: &str) -> Owner {
    let mut parts = package.rsplitn(3, '-');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(revision), Some(version), Some(name)) => {
            Owner { package: name.to_owned(), version: format!("{version}-{revision}"), source: String::new() }
        }
        _ => Owner { package: package.to_owned(), ..Owner::default() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use observe::{Frame, FrameId, Host, Stack, Target, Tid, Window};
    use std::time::SystemTime;

    fn recording() -> Recording {
        let host = Host { name: "h".into(), kernel: "6".into(), cpus: 2, memory_bytes: 1 };
        let window = Window { start: SystemTime::UNIX_EPOCH, length: Duration::from_secs(1) };
        Recording::new(host, Target::system("h"), window)
    }

    fn frame(module: &str, kind: FrameKind) -> Frame {
        Frame { name: "f".into(), module: module.into(), kind, unknown: String::new() }
    }

    #[test]
    fn what_runs_is_counted_by_the_module_of_its_innermost_frame() {
        let mut rec = recording();
        rec.frames = vec![
            frame("app", FrameKind::User),
            frame("libc.so.6", FrameKind::User),
            frame("", FrameKind::Kernel),
            frame("[jit]", FrameKind::User),
        ];
        let stack = |pid: u32, frames: &[u32], samples| Stack {
            pid: Pid(pid),
            tid: Tid(pid),
            samples,
            frames: frames.iter().map(|id| FrameId(*id)).collect(),
        };
        rec.set(
            &catalog::CPU_STACKS,
            Ok(vec![stack(1, &[0, 1], 5), stack(1, &[0], 3), stack(2, &[0, 2], 7), stack(3, &[3], 9)]),
        );
        let counted = hot(&rec).unwrap();
        assert_eq!(counted[&(Pid(1), "libc.so.6".to_owned())], 5);
        assert_eq!(counted[&(Pid(1), "app".to_owned())], 3);
        assert_eq!(counted[&(Pid(0), KERNEL.to_owned())], 7);
        assert_eq!(counted.len(), 3, "code made at run time is no binary");
    }

    #[test]
    fn what_package_managers_say_is_read() {
        let dpkg = dpkg_sources("bash\t5.2.15-2+b8\tbash 5.2.15-2\nlibc6:amd64\t2.36-9\tglibc 2.36-9\n");
        assert_eq!(
            (dpkg["libc6:amd64"].source.as_str(), dpkg["bash"].version.as_str()),
            ("glibc 2.36-9", "5.2.15-2+b8")
        );
        let rpm = rpm_owner("glibc\t2.39-6.fc40\tglibc-2.39-6.fc40.src.rpm").unwrap();
        assert_eq!(
            (rpm.package.as_str(), rpm.version.as_str(), rpm.source.as_str()),
            ("glibc", "2.39-6.fc40", "glibc")
        );
        assert_eq!(rpm_owner("file /opt/x is not owned by any package"), None);
        let apk = apk_owner("musl-dbg-1.2.4-r2");
        assert_eq!((apk.package.as_str(), apk.version.as_str()), ("musl-dbg", "1.2.4-r2"));
        assert_eq!(names(Path::new("/usr/bin/bash")), ["/usr/bin/bash", "/bin/bash"]);
        assert_eq!(names(Path::new("/opt/x")), ["/opt/x"]);
    }

    #[test]
    fn the_kernels_build_id_is_found_among_its_notes() {
        let mut notes = Vec::new();
        for (name, kind, content) in [(&b"Xen\0"[..], 6u32, &[1u8, 2, 3][..]), (b"GNU\0", 3, &[0xab, 0xcd])] {
            for number in [name.len() as u32, content.len() as u32, kind] {
                notes.extend(number.to_ne_bytes());
            }
            notes.extend(name);
            notes.extend(content);
            notes.resize(notes.len().next_multiple_of(4), 0);
        }
        assert_eq!(kernel_build_id(&notes).as_deref(), Some("abcd"));
        assert_eq!(kernel_build_id(&notes[..20]), None);
        assert_eq!(kernel_build_id(&[0xff; 40]), None);
    }

    #[test]
    fn a_manager_is_known_by_its_database() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Manager::here(dir.path()), None);
        fs::create_dir_all(dir.path().join("usr/lib/sysimage/rpm")).unwrap();
        assert_eq!(Manager::here(dir.path()), Some(Manager::Rpm));
    }
}
