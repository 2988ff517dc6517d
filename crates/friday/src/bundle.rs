//! What a machine without network needs in a crisis: this program, and a script that installs the crisis tools.

use std::{
    error::Error,
    fs,
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};
use week::checks::crisis::{self, Distribution, Manager};

const SCRIPT: &str = include_str!("bundle/install-crisis-tools.sh");
const README: &str = include_str!("bundle/README");

/// The script that installs every crisis tool that the preparation knows, for each of the distributions it knows.
fn script() -> String {
    let packages = |manager, ubuntu| crisis::packages(Distribution { manager, ubuntu }).join(" ");
    [
        ("@apt@", packages(Manager::Apt, false)),
        ("@ubuntu@", packages(Manager::Apt, true)),
        ("@dnf@", packages(Manager::Dnf, false)),
        ("@zypper@", packages(Manager::Zypper, false)),
        ("@apk@", packages(Manager::Apk, false)),
        ("@pacman@", packages(Manager::Pacman, false)),
    ]
    .iter()
    .fold(SCRIPT.to_owned(), |script, (place, packages)| script.replace(place, packages))
}

/// Leaves the bundle in a folder that is new or empty. What cannot be left completely is not left at all.
///
/// # Errors
/// When the folder holds something already, or cannot be written.
pub fn leave(folder: &Path) -> Result<(), Box<dyn Error>> {
    leave_with(folder, write)
}

fn leave_with(folder: &Path, write: impl Fn(&Path, &[u8], u32) -> io::Result<()>) -> Result<(), Box<dyn Error>> {
    let shown = folder.display();
    let program = fs::read("/proc/self/exe").map_err(|error| format!("this program cannot be read: {error}"))?;
    // The first folder on the way that is made here.
    let made = folder.ancestors().take_while(|place| !place.as_os_str().is_empty() && !place.exists()).last();
    if made.is_some() {
        if let Err(error) = fs::create_dir_all(folder) {
            unmake(folder, made);
            return Err(format!("{shown}: {error}. {}", remedy(&error)).into());
        }
    } else if fs::read_dir(folder).map_err(|error| format!("{shown}: {error}"))?.next().is_some() {
        return Err(format!("{shown} is not empty, and nothing in it is overwritten: name a new folder").into());
    }
    let script = script();
    let files: [(&str, &[u8], u32); 3] = [
        ("friday", &program, 0o755),
        ("install-crisis-tools.sh", script.as_bytes(), 0o755),
        ("README", README.as_bytes(), 0o644),
    ];
    for (name, content, mode) in files {
        if let Err(error) = write(&folder.join(name), content, mode) {
            for (name, ..) in files {
                // What was not written is not there.
                let _ = fs::remove_file(folder.join(name));
            }
            unmake(folder, made);
            let file = folder.join(name);
            return Err(format!("{}: {error}. Nothing was left there. {}", file.display(), remedy(&error)).into());
        }
    }
    Ok(())
}

/// Removes the folders that were made, from the innermost on; one that holds something of others stays.
fn unmake(folder: &Path, made: Option<&Path>) {
    let Some(made) = made else { return };
    for place in folder.ancestors() {
        match fs::remove_dir(place) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return,
            _ if place == made => return,
            _ => {}
        }
    }
}

/// What to do about it.
fn remedy(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "It takes 25 MB: make room, or name a folder on another file system".to_owned()
        }
        _ => "Name a folder that can be written".to_owned(),
    }
}

fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(content)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_bundle_is_whole_and_overwrites_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("bundle");
        leave(&folder).unwrap();
        let same = fs::read(folder.join("friday")).unwrap() == fs::read("/proc/self/exe").unwrap();
        assert!(same);
        let script = folder.join("install-crisis-tools.sh");
        assert!(Command::new("sh").arg("-n").arg(&script).status().unwrap().success());
        assert_eq!(fs::metadata(&script).unwrap().permissions().mode() & 0o777, 0o755);
        assert!(leave(&folder).unwrap_err().to_string().contains("is not empty"));
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing() {
        let error = leave(Path::new("/proc/nothing/here")).unwrap_err().to_string();
        assert!(error.contains("/proc/nothing/here") && error.contains("can be written"), "{error}");
    }

    #[test]
    fn a_disk_that_fills_up_leaves_nothing_and_says_what_to_do() {
        for (full_at, name) in [(0, "friday"), (1, "install-crisis-tools.sh"), (2, "README")] {
            for nested in ["bundle", "some/where/bundle"] {
                let dir = tempfile::tempdir().unwrap();
                let folder = dir.path().join(nested);
                let written = std::cell::Cell::new(0);
                let error = leave_with(&folder, |path, content, mode| {
                    if written.replace(written.get() + 1) < full_at {
                        return write(path, content, mode);
                    }
                    // Part of it is there, as when the disk is full in the middle.
                    write(path, &content[..content.len() / 2], mode)?;
                    Err(io::Error::from_raw_os_error(libc::ENOSPC))
                });
                let error = error.unwrap_err().to_string();
                assert!(error.contains(&format!("{nested}/{name}")) && error.contains("make room"), "{error}");
                assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{nested} at {name}");
            }
        }
    }

    #[test]
    fn a_folder_that_was_there_stays_and_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let error = leave_with(dir.path(), |_, _, _| Err(io::Error::from_raw_os_error(libc::EROFS))).unwrap_err();
        assert!(error.to_string().contains("Name a folder that can be written"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_script_knows_five_package_managers_and_what_the_preparation_asks_for() {
        let script = script();
        for manager in ["apt-get", "dnf", "zypper", "apk", "pacman"] {
            assert!(script.contains(&format!("command -v {manager}")), "{manager}");
        }
        assert!(!script.contains('@'), "{script}");
        for part in ["linux-perf", "linux-tools-$(uname -r)", "bpfcc-tools", "procps-ng", "numactl-tools", "turbostat"]
        {
            assert!(script.contains(part), "{part}");
        }
    }
}
