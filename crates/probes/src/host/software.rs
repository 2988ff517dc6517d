//! What runs, by what makes it the same: the build-id of a program, or size and time of change where it has none and of
//! scripts. Measured: 0.1 ms a program, after the window.

use crate::roots::Roots;
use observe::{Fact, Labels, Pid, Process, Recording, catalog};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// ours: as many programs are looked at; a machine runs fewer.
const MOST: usize = 256;

/// Programs that run others' text.
const INTERPRETERS: [&str; 9] = ["python", "node", "ruby", "perl", "php", "java", "bash", "sh", "dash"];

/// Adds every program that runs: by its path, and that of its container, each as many of that path as there are.
pub(crate) fn collect(roots: &Roots, processes: &BTreeMap<Pid, Process>, into: &mut Recording) {
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    // A file once: a program may run a thousand times.
    let mut files: BTreeSet<(u64, u64)> = BTreeSet::new();
    for process in processes.values().filter(|p| !p.is_kernel && !p.is_friday && !p.exe.is_empty()) {
        let own = roots.proc.join(process.pid.to_string());
        let within = container(process).map_or(String::new(), |name| format!(" in {name}"));
        let program = format!("{}{within}", process.exe.trim_end_matches(" (deleted)"));
        // By way of the process: the file may be in a container, or replaced.
        let exe = own.join("exe");
        let is_new = fs::metadata(&exe).is_ok_and(|meta| files.insert((meta.dev(), meta.ino())));
        if (is_new || !seen.contains_key(&program)) && seen.len() < MOST {
            add(&mut seen, program, fingerprint(&exe));
        }
        if let Some(script) = script(process, &own).filter(|_| seen.len() < MOST) {
            let print = changed(&own.join("root"), &script);
            add(&mut seen, format!("{}{within}", script.display()), print);
        }
    }
    let fact = |(path, prints): (String, BTreeSet<String>)| Fact {
        labels: Labels::new([("path", path)]),
        value: prints.into_iter().collect::<Vec<_>>().join(" and "),
        source: "/proc/PID/exe".to_owned(),
    };
    into.set(&catalog::EXECUTABLE, Ok(seen.into_iter().map(fact).collect()));
}

fn add(seen: &mut BTreeMap<String, BTreeSet<String>>, program: String, print: Option<String>) {
    if let Some(print) = print {
        seen.entry(program).or_default().insert(print);
    }
}

/// The container that has its own files, without the number that another start of it does not have: `docker web`.
fn container(process: &Process) -> Option<&str> {
    let name = process.container.rsplit_once(" (").map_or(process.container.as_str(), |(name, _)| name);
    (!name.is_empty() && !name.starts_with("unit ")).then_some(name)
}

fn fingerprint(exe: &Path) -> Option<String> {
    if let Some(id) = symbolize::build_id(exe) {
        return Some(format!("build-id {id}"));
    }
    of_file(exe)
}

fn of_file(path: &Path) -> Option<String> {
    let meta = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    Some(format!("{} bytes, changed {}.{:09}", meta.size(), meta.mtime(), meta.mtime_nsec()))
}

/// The same of a file as a process sees it. A descriptor is another file for whoever looks.
fn changed(root: &Path, path: &Path) -> Option<String> {
    if ["/dev", "/proc"].iter().any(|kept| path.starts_with(kept)) {
        return None;
    }
    of_file(&root.join(path.strip_prefix("/").unwrap_or(path)))
}

/// The script that an interpreter runs: its first argument that is a file.
fn script(process: &Process, own: &Path) -> Option<PathBuf> {
    let program = Path::new(&process.exe).file_name()?.to_string_lossy().into_owned();
    let stem = program.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    if !INTERPRETERS.contains(&stem) {
        return None;
    }
    let cwd = fs::read_link(own.join("cwd")).ok()?;
    let arguments = process.cmdline.split(' ').skip(1).filter(|word| !word.starts_with('-'));
    let path = arguments.take(4).map(|word| cwd.join(word)).find(|path| changed(&own.join("root"), path).is_some())?;
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use observe::{Host, Target, Window};
    use std::{
        os::unix::fs::symlink,
        time::{Duration, SystemTime},
    };

    #[test]
    fn a_program_has_its_build_id_and_a_script_its_time_of_change() {
        let dir = tempfile::tempdir().unwrap();
        let app = dir.path().join("app.py");
        fs::write(&app, "print()").unwrap();
        let own = dir.path().join("7");
        fs::create_dir(&own).unwrap();
        symlink("/proc/self/exe", own.join("exe")).unwrap();
        symlink(dir.path(), own.join("cwd")).unwrap();
        symlink("/", own.join("root")).unwrap();
        let process = Process {
            pid: Pid(7),
            exe: "/usr/bin/python3.11".into(),
            cmdline: "python3 -u app.py --port 1".into(),
            ..Process::default()
        };
        let rec = recorded(&dir, [process]);
        let of = |path: &str| printed(&rec, path);
        assert!(of("/usr/bin/python3.11").unwrap().len() > 20);
        assert!(of(&app.display().to_string()).unwrap().starts_with("7 bytes, changed "));
    }

    #[test]
    fn programs_of_one_path_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let mut all = Vec::new();
        for (pid, container, size) in
            [(3, "", 10), (5, "unit web.service", 20), (6, "", 10), (8, "docker web (0f)", 30)]
        {
            let (own, file) = (dir.path().join(pid.to_string()), dir.path().join(format!("shop-{size}")));
            fs::create_dir(&own).unwrap();
            fs::write(&file, vec![b' '; size]).unwrap();
            symlink(file, own.join("exe")).unwrap();
            let (exe, container) = ("/srv/shop".into(), container.into());
            all.push(Process { pid: Pid(pid), exe, container, ..Process::default() });
        }
        let rec = recorded(&dir, all);
        let here = printed(&rec, "/srv/shop").unwrap();
        assert!(here.starts_with("10 bytes") && here.contains(" and 20 bytes"), "two versions of it run: {here}");
        assert!(printed(&rec, "/srv/shop in docker web").unwrap().starts_with("30 bytes"));
        assert_eq!(rec.get(&catalog::EXECUTABLE).unwrap().len(), 2);
    }

    fn printed(rec: &Recording, path: &str) -> Option<String> {
        let rows = rec.get(&catalog::EXECUTABLE).unwrap();
        rows.iter().find(|row| row.labels.get("path") == path).map(|row| row.value.clone())
    }

    fn recorded(proc: &tempfile::TempDir, processes: impl IntoIterator<Item = Process>) -> Recording {
        let host = Host { name: "h".into(), kernel: "6".into(), cpus: 2, memory_bytes: 1 };
        let window = Window { start: SystemTime::UNIX_EPOCH, length: Duration::from_secs(1) };
        let mut rec = Recording::new(host, Target::system("h"), window);
        let roots = Roots { proc: proc.path().to_owned(), ..Roots::default() };
        let processes = processes.into_iter().map(|process| (process.pid, process)).collect();
        collect(&roots, &processes, &mut rec);
        rec
    }
}
