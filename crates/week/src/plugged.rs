//! Health tools of others: where they are found, and which of them are used.

use checks::Rule;
use probes::tools::Asked;
use std::{
    ffi::OsString,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
};

/// The prefix of programs that are health tools.
const PROGRAM: &str = "friday-health-";

/// ours: a board of more is no board.
const MOST_TOOLS: usize = 200;

/// ours: a health tool's text is a page or two.
const LONGEST: u64 = 64 << 10;

/// Where health tools are looked for.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Folders of tools, later ones first where both have a tool of the same name.
    pub folders: Vec<PathBuf>,
    /// Single files that were found beside a program or in a package.
    pub files: Vec<PathBuf>,
}

/// A package whose files are not known.
#[derive(Debug, thiserror::Error)]
#[error("no installed package is called `{name}`: dpkg, rpm, apk and pacman were asked as far as they are here")]
pub struct NoPackage {
    name: String,
}

impl Places {
    /// The usual folders: the distribution's, the administrator's, the user's. `kind` is `health.d` or `checklist.d`.
    pub fn usual(kind: &str, env: impl Fn(&str) -> Option<OsString>) -> Self {
        let user = env("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| Some(PathBuf::from(env("HOME")?).join(".config")));
        let mut folders: Vec<PathBuf> =
            ["/usr/share", "/etc"].iter().map(|base| Path::new(base).join("friday").join(kind)).collect();
        folders.extend(user.map(|base| base.join("friday").join(kind)));
        Places { folders, files: Vec::new() }
    }

    /// Adds what lies beside a program.
    pub fn beside(&mut self, program: &Path) {
        let mut own = program.as_os_str().to_owned();
        own.push(".health.toml");
        if Path::new(&own).exists() {
            self.files.push(own.into());
        }
        let folder = program.parent().unwrap_or_else(|| Path::new("."));
        self.folders.push(folder.join("friday-health.d"));
        self.files.extend(programs_in(folder));
    }

    /// Adds what a package brings.
    ///
    /// # Errors
    /// When no package manager knows the package.
    pub fn package(&mut self, name: &str) -> Result<(), NoPackage> {
        let is_tool = |path: &&str| {
            let path = Path::new(path);
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
            file.ends_with(".health.toml")
                || file.starts_with(PROGRAM)
                || (file.ends_with(".toml") && (folder == "health.d" || folder == "friday-health.d"))
        };
        let list = files_of(name).ok_or_else(|| NoPackage { name: name.to_owned() })?;
        self.files.extend(list.lines().map(str::trim).filter(is_tool).map(PathBuf::from));
        Ok(())
    }
}

/// The files of a package, one a line.
fn files_of(package: &str) -> Option<String> {
    if package.starts_with('-') || package.is_empty() {
        return None;
    }
    let asked: [&[&str]; 4] = [
        &["dpkg-query", "-L", package],
        &["rpm", "-ql", package],
        &["apk", "info", "-qL", package],
        &["pacman", "-Qlq", package],
    ];
    asked.iter().find_map(|argv| {
        let output = Command::new(argv[0]).args(&argv[1..]).output().ok().filter(|output| output.status.success())?;
        // apk leaves out the first slash.
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Some(
            text.lines()
                .map(|line| if line.starts_with('/') { format!("{line}\n") } else { format!("/{line}\n") })
                .collect(),
        )
    })
}

fn programs_in(folder: &Path) -> Vec<PathBuf> {
    in_folder(folder, |name| name.starts_with(PROGRAM))
}

fn in_folder(folder: &Path, is: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> =
        entries.filter(|entry| entry.file_name().to_str().is_some_and(&is)).map(|entry| entry.path()).collect();
    files.sort_unstable();
    files
}

/// Whether a tool can be trusted: as root, only what root alone can change, its folder included.
fn trusted(path: &Path, root: bool) -> Result<(), String> {
    if !root {
        return Ok(());
    }
    let path = path.canonicalize().map_err(|error| error.to_string())?;
    for place in path.ancestors() {
        let meta = fs::metadata(place).map_err(|error| error.to_string())?;
        // Others may write into a folder such as /tmp without being able to replace what is root's in it.
        let sticky = meta.is_dir() && meta.mode() & 0o1000 != 0;
        if meta.uid() != 0 || (meta.mode() & 0o022 != 0 && !sticky) {
            let what = format!("{} is not root's alone", place.display());
            return Err(format!(
                "not used as root: {what}. Change its owner to root and take write permission from others"
            ));
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, String> {
    let meta = fs::metadata(path).map_err(|error| error.to_string())?;
    if !meta.is_file() || meta.len() > LONGEST {
        return Err(format!("not a regular file of at most {LONGEST} bytes"));
    }
    String::from_utf8(fs::read(path).map_err(|error| error.to_string())?).map_err(|_| "not UTF-8".to_owned())
}

/// Everything that is to be read in a run: for friday's own tools and for those that are found.
pub fn asked(places: &Places, root: bool) -> Asked {
    let mut asked = Asked::default();
    for rule in checks::rules().iter().chain(checks::settings()).chain(checks::checklist()) {
        asked.readings.extend(rule.readings());
    }
    let is_file = |name: &str| name.ends_with(".toml") && !name.ends_with(".examples.toml");
    let mut files = Vec::new();
    for folder in places.folders.iter().rev() {
        files.extend(in_folder(folder, is_file));
        files.extend(programs_in(folder));
    }
    files.extend(places.files.iter().cloned());
    let mut seen = Vec::new();
    for path in files {
        let name = path.file_name().unwrap_or_default().to_owned();
        if seen.contains(&name) {
            continue;
        }
        let label = path.display().to_string();
        if seen.len() >= MOST_TOOLS {
            asked.refused.push((label, format!("only the first {MOST_TOOLS} health tools are used")));
            break;
        }
        seen.push(name);
        if let Err(why) = trusted(&path, root) {
            asked.refused.push((label, why));
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            match read(&path) {
                Ok(text) => {
                    // A broken file is told by what judges it.
                    if let Ok(rule) = Rule::parse(&label, &text) {
                        asked.readings.extend(rule.readings());
                    }
                    asked.rules.push((path, text));
                }
                Err(why) => asked.refused.push((label, why)),
            }
        } else if fs::metadata(&path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0) {
            asked.programs.push(path);
        } else {
            asked.refused.push((label, "not an executable file".to_owned()));
        }
    }
    asked
}

/// What static tuning alone reads.
pub fn settings() -> Asked {
    Asked { readings: checks::settings().iter().flat_map(Rule::readings).collect(), ..Asked::default() }
}

/// What the preparation asks: programs are run, so it is no part of a run.
pub fn preparation() -> Asked {
    let mut readings: Vec<_> = checks::preparation().iter().flat_map(Rule::readings).collect();
    readings.extend(checks::crisis::readings());
    Asked { readings, preparation: true, ..Asked::default() }
}

/// What is read in a run without further wishes.
pub fn usual(root: bool) -> Asked {
    asked(&Places::usual("health.d", |name| std::env::var_os(name)), root)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str, mode: u32) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_users_folder_follows_the_environment() {
        let env = |name: &str| match name {
            "HOME" => Some("/home/me".into()),
            _ => None,
        };
        let places = Places::usual("health.d", env);
        assert_eq!(places.folders[2], Path::new("/home/me/.config/friday/health.d"));
        let xdg = |name: &str| (name == "XDG_CONFIG_HOME").then(|| "/cfg".into());
        assert_eq!(Places::usual("health.d", xdg).folders[2], Path::new("/cfg/friday/health.d"));
        assert_eq!(Places::usual("health.d", |_| None).folders.len(), 2);
    }

    #[test]
    fn files_and_programs_are_found_later_folders_first_and_others_are_refused_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        write(&one.join("a.toml"), "one", 0o644);
        write(&two.join("a.toml"), "two", 0o644);
        write(&two.join("a.examples.toml"), "", 0o644);
        write(&two.join("friday-health-b"), "#!/bin/sh\n", 0o755);
        write(&two.join("friday-health-c"), "#!/bin/sh\n", 0o644);
        write(&two.join("README"), "", 0o644);
        let places = Places { folders: vec![one, two.clone()], files: Vec::new() };
        let asked = asked(&places, false);
        assert_eq!(asked.rules, [(two.join("a.toml"), "two".to_owned())]);
        assert_eq!(asked.programs, [two.join("friday-health-b")]);
        assert!(asked.refused.len() == 1 && asked.refused[0].1.contains("executable"), "{:?}", asked.refused);
    }

    #[test]
    fn what_lies_beside_a_program_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("shopd");
        for name in ["shopd.health.toml", "friday-health.d/x.toml"] {
            write(&dir.path().join(name), "x", 0o644);
        }
        write(&dir.path().join("friday-health-y"), "#!/bin/sh\n", 0o755);
        let mut places = Places::default();
        places.beside(&program);
        let asked = asked(&places, false);
        assert_eq!((asked.rules.len(), asked.programs.len()), (2, 1));
    }

    #[test]
    fn as_root_only_what_root_alone_can_write_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.toml");
        write(&file, "x", 0o666);
        assert!(trusted(&file, true).unwrap_err().contains("root"));
        assert!(trusted(&file, false).is_ok());
    }

    #[test]
    fn a_package_that_is_not_there_is_said() {
        let mut places = Places::default();
        assert!(places.package("no-such-package-here").unwrap_err().to_string().contains("no-such-package-here"));
        assert!(places.package("--help").is_err());
    }
}
