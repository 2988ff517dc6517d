//! What runs, by what makes it the same: the build-id of a program, or size and time of change where it has none and of
//! scripts. Measured: 0.1 ms a program, after the window.

use crate::roots::Roots;
use observe::{Fact, Labels, Pid, Process, Recording, catalog};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// ours: as many programs are looked at; a machine runs fewer.
const MOST: usize = 256;

/// Programs that run others' text.
const INTERPRETERS: [&str; 9] = ["python", "node", "ruby", "perl", "php", "java", "bash", "sh", "dash"];

/// Adds every program that runs.
pub(crate) fn collect(roots: &Roots, processes: &BTreeMap<Pid, Process>, into: &mut Recording) {
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for process in processes.values().filter(|p| !p.is_kernel && !p.is_friday && !p.exe.is_empty()) {
        let own = roots.proc.join(process.pid.to_string());
        let program = process.exe.trim_end_matches(" (deleted)").to_owned();
        if seen.len() < MOST && !seen.contains_key(&program) {
            // By way of the process: the file may be in a container, or replaced.
            seen.extend(fingerprint(&own.join("exe")).map(|print| (program, print)));
        }
        if let Some(script) = script(process, &own).filter(|_| seen.len() < MOST) {
            let label = script.display().to_string();
            seen.extend(changed(&own.join("root"), &script).map(|print| (label, print)));
        }
    }
    let fact = |(path, value): (String, String)| Fact {
        labels: Labels::new([("path", path)]),
        value,
        source: "/proc/PID/exe".to_owned(),
    };
    into.set(&catalog::EXECUTABLE, Ok(seen.into_iter().map(fact).collect()));
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

/// The same of a file as a process sees it.
fn changed(root: &Path, path: &Path) -> Option<String> {
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
        let host = Host { name: "h".into(), kernel: "6".into(), cpus: 2, memory_bytes: 1 };
        let window = Window { start: SystemTime::UNIX_EPOCH, length: Duration::from_secs(1) };
        let mut rec = Recording::new(host, Target::system("h"), window);
        let roots = Roots { proc: dir.path().to_owned(), ..Roots::default() };
        collect(&roots, &BTreeMap::from([(Pid(7), process)]), &mut rec);
        let rows = rec.get(&catalog::EXECUTABLE).unwrap();
        let of = |path: &str| rows.iter().find(|row| row.labels.get("path") == path).map(|row| row.value.clone());
        assert!(of("/usr/bin/python3.11").unwrap().len() > 20);
        assert!(of(&app.display().to_string()).unwrap().starts_with("7 bytes, changed "));
    }
}
