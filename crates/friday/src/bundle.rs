//! What a machine without network needs in a crisis: this program, and a script that installs the crisis tools.

use std::{
    error::Error,
    fs,
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

const SCRIPT: &str = include_str!("bundle/install-crisis-tools.sh");
const README: &str = include_str!("bundle/README");

/// Leaves the bundle in a folder that is new or empty. What cannot be left completely is not left at all.
///
/// # Errors
/// When the folder holds something already, or cannot be written.
pub fn leave(folder: &Path) -> Result<(), Box<dyn Error>> {
    let shown = folder.display();
    let made = !folder.exists();
    if made {
        fs::create_dir_all(folder).map_err(|error| format!("{shown}: {error}. Name a folder that can be written"))?;
    } else if fs::read_dir(folder).map_err(|error| format!("{shown}: {error}"))?.next().is_some() {
        return Err(format!("{shown} is not empty, and nothing in it is overwritten: name a new folder").into());
    }
    let program = fs::read("/proc/self/exe").map_err(|error| format!("this program cannot be read: {error}"))?;
    let files: [(&str, &[u8], u32); 3] = [
        ("friday", &program, 0o755),
        ("install-crisis-tools.sh", SCRIPT.as_bytes(), 0o755),
        ("README", README.as_bytes(), 0o644),
    ];
    for (name, content, mode) in files {
        if let Err(error) = write(&folder.join(name), content, mode) {
            for (name, ..) in files {
                // What was not written is not there.
                let _ = fs::remove_file(folder.join(name));
            }
            if made {
                let _ = fs::remove_dir(folder);
            }
            return Err(format!("{}: {error}. Nothing was left there", folder.join(name).display()).into());
        }
    }
    Ok(())
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
    fn the_script_knows_five_package_managers() {
        for manager in ["apt-get", "dnf", "zypper", "apk", "pacman"] {
            assert!(SCRIPT.contains(&format!("command -v {manager}")), "{manager}");
        }
    }
}
