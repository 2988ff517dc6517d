//! Programs that others wrote: whether and where they are, and what they said last.

use crate::processes::Stop;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A new file.
pub fn create(path: &PathBuf) -> Result<File, String> {
    File::create(path).map_err(|e| format!("{}: {e}", path.display()))
}

/// The last thing that a program said.
pub fn last_line(path: &Path) -> String {
    let text = fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    text.trim().lines().last().unwrap_or_default().trim().to_string()
}

/// The same as the end of a sentence; nothing where it said nothing.
pub fn last_words(path: &Path) -> String {
    let line = last_line(path);
    if line.is_empty() { line } else { format!(": {line}") }
}

/// Skips where a program is not installed.
pub fn present(program: &str) -> Result<(), Stop> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    if found { Ok(()) } else { Err(Stop::Skip(format!("{program} is not installed"))) }
}

/// Where the compiler of this build lies.
pub fn rustc() -> Option<PathBuf> {
    let output = Command::new("rustc").args(["--print", "sysroot"]).stderr(Stdio::null()).output().ok()?;
    let rustc = Path::new(String::from_utf8_lossy(&output.stdout).trim()).join("bin/rustc");
    rustc.is_file().then_some(rustc)
}

/// Keeps what Go builds in a folder, and Go from asking the network for anything.
pub fn go_apart(command: &mut Command, dir: &Path) {
    command.env("GOCACHE", dir.join("cache")).env("GOPATH", dir.join("go"));
    command.env("GO111MODULE", "off").env("GOTOOLCHAIN", "local").env("GOTELEMETRY", "off");
}

/// Where PostgreSQL's own programs are: Debian keeps them apart, by version.
pub fn postgres() -> Option<PathBuf> {
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let newest = debian.filter(|path| path.join("bin/initdb").is_file()).max_by_key(|path| version(path));
    let path = std::env::var_os("PATH").unwrap_or_default();
    newest
        .map(|path| path.join("bin"))
        .or_else(|| std::env::split_paths(&path).find(|folder| folder.join("initdb").is_file()))
}

/// The ids of a user who is not root, and of the group, for what refuses to run as root.
pub fn somebody() -> Option<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    ["postgres", "nobody"].iter().find_map(|name| user(&users, name))
}

/// The ids of a user and its group.
fn user(passwd: &str, name: &str) -> Option<(u32, u32)> {
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut ids = line.split(':').skip(2);
    Some((ids.next()?.parse().ok()?, ids.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\npostgres:x:104:106:,,,:/var/lib/postgresql:/bin/bash\n";
        assert_eq!(user(passwd, "postgres"), Some((104, 106)));
        assert_eq!(user(passwd, "post"), None);
    }

    #[test]
    fn a_program_is_looked_for_in_the_path_or_where_it_is_said_to_be() {
        assert!(present("sh").is_ok());
        assert!(present("/bin/sh").is_ok());
        assert!(matches!(present("/bin/no-such-program-here"), Err(Stop::Skip(_))));
    }
}
