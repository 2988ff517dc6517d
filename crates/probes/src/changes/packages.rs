//! Packages that were installed, upgraded or removed, from the logs of their managers. Measured: 13 ms for a log of 430 KiB.

use super::{
    Change, Found, recent,
    stamp::{Stamp, Zone},
};
use crate::tools::program::{self, Limits};
use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::Path,
    time::Duration,
};

/// ours: two weeks of upgrades take less of a log.
const LONGEST: u64 = 1 << 20;

/// ours: a release upgrade touches more, and nobody reads all of them.
const MOST: usize = 300;

/// ours: `rpm -qa` of 3000 packages takes under a second from memory.
const RPM_PATIENCE: Duration = Duration::from_secs(2);

/// What a line says: when, which package, and what became of it.
type Line = (Stamp, String, String);

/// Reads a line; what an earlier line said of the time of those after it is kept in the second argument.
type Format = fn(&str, &mut Option<Stamp>, i64) -> Option<Line>;

/// Where which manager writes what it did.
const LOGS: [(&str, Format); 6] = [
    ("var/log/dpkg.log", dpkg),
    ("var/log/dnf.rpm.log", dnf),
    ("var/log/yum.log", yum),
    ("var/log/zypp/history", zypper),
    ("var/log/apk.log", apk),
    ("var/log/pacman.log", pacman),
];

/// All of the recent ones, newest first.
pub(super) fn read(root: &Path, now: i64, zone: Zone) -> Found {
    let mut all = Vec::new();
    let (mut read, mut wrong) = (false, None);
    for (log, format) in LOGS {
        // The one before, as logs are rotated.
        for name in [format!("{log}.1"), log.to_owned()] {
            let path = root.join(&name);
            match tail(&path) {
                Ok(text) => {
                    read = true;
                    all.extend(changes(&text, format, &format!("/{name}"), now, zone));
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => wrong = wrong.or(Some(format!("/{name}: {error}"))),
            }
        }
    }
    // Where dnf keeps its history in a database, rpm's own says when each package came.
    if !read && wrong.is_none() && (root.join("var/lib/rpm").exists() || root.join("usr/lib/sysimage/rpm").exists()) {
        let argv =
            ["rpm", "-qa", "--queryformat", "%{INSTALLTIME} %{NAME} %{VERSION}-%{RELEASE}\\n"].map(str::to_owned);
        match program::run(&argv, Limits { timeout: RPM_PATIENCE, ..Limits::default() }) {
            Ok(text) => {
                read = true;
                all.extend(changes(&text, rpm, "rpm -qa", now, zone));
            }
            Err(why) => wrong = Some(format!("rpm -qa: {why}")),
        }
    }
    let why = match (read, wrong) {
        (_, Some(why)) => why,
        (true, None) => String::new(),
        (false, None) => "no log of dpkg, dnf, yum, zypper, apk or pacman is here".to_owned(),
    };
    Found::new(all, MOST, why)
}

/// The end of a file.
fn tail(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LONGEST)))?;
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The recent changes that a log tells.
fn changes(text: &str, format: Format, source: &str, now: i64, zone: Zone) -> Vec<Change> {
    let mut begun = None;
    let lines = text.lines().filter_map(|line| format(line, &mut begun, now));
    lines
        .map(|(stamp, of, what)| Change {
            kind: "package",
            of,
            what,
            at: stamp.unix(zone),
            source: source.to_owned(),
            since: None,
        })
        .filter(|change| recent(change.at, now))
        .collect()
}

/// `2026-11-20 10:11:12 upgrade libc6:amd64 2.36-9 2.36-10`.
fn dpkg(line: &str, _: &mut Option<Stamp>, _: i64) -> Option<Line> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [_, _, action, package, before, after] = words[..] else { return None };
    let what = match action {
        "install" => format!("installed {after}"),
        "upgrade" => format!("upgraded {before} to {after}"),
        "remove" => format!("removed {before}"),
        _ => return None,
    };
    let name = package.split_once(':').map_or(package, |(name, _)| name);
    Some((Stamp::parse(line)?, name.to_owned(), what))
}

/// `2026-11-20T10:11:12+0000 SUBDEBUG Upgrade: bash-5.1.8-9.el9.x86_64`. What was replaced by another version is told beside
/// the one that replaced it (`Upgraded`, `Downgraded`).
fn dnf(line: &str, _: &mut Option<Stamp>, _: i64) -> Option<Line> {
    let (_, rest) = line.split_once(" SUBDEBUG ")?;
    let (action, package) = rest.split_once(": ")?;
    let what = match action {
        "Installed" => "installed",
        "Upgrade" => "upgraded to",
        "Downgrade" => "downgraded to",
        "Reinstall" => "reinstalled",
        "Erase" | "Erased" => "removed",
        _ => return None,
    };
    let (name, version) = name_of(package);
    Some((Stamp::parse(line)?, name, format!("{what} {version}")))
}

/// `Jan 05 10:11:12 Updated: openssl-1.0.2k-26.el7.x86_64`.
fn yum(line: &str, _: &mut Option<Stamp>, now: i64) -> Option<Line> {
    let (action, package) = line.get(16..)?.split_once(": ")?;
    let what = match action {
        "Installed" | "Dep-Installed" => "installed",
        "Updated" => "upgraded to",
        "Erased" => "removed",
        _ => return None,
    };
    // An epoch comes first: `1:openssl-1.0.2k-26.el7.x86_64`; what was removed has no version.
    let package = package.split_once(':').map_or(package, |(_, package)| package);
    let (name, version) = name_of(package);
    Some((Stamp::without_year(line, now)?, name, format!("{what} {version}").trim_end().to_owned()))
}

/// Name and version of `openssl-libs-1:3.2.2-6.el9.x86_64`: version and release have no dash.
fn name_of(package: &str) -> (String, String) {
    let mut parts = package.trim().rsplitn(3, '-');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(release), Some(version), Some(name)) => (name.to_owned(), format!("{version}-{release}")),
        _ => (package.trim().to_owned(), String::new()),
    }
}

/// `2026-11-20 10:11:12|install|bash|5.1-1|x86_64|…`.
fn zypper(line: &str, _: &mut Option<Stamp>, _: i64) -> Option<Line> {
    let parts: Vec<&str> = line.split('|').map(str::trim).collect();
    let [_, action, name, version, ..] = parts[..] else { return None };
    let what = match action {
        "install" => "installed",
        "remove" => "removed",
        _ => return None,
    };
    Some((Stamp::parse(line)?, name.to_owned(), format!("{what} {version}")))
}

/// ``Running `apk upgrade` at 2026-11-20 10:11:12``, then `(1/5) Upgrading jq (1.8.1-r0 -> 1.8.2-r0)`. apk writes UTC.
fn apk(line: &str, begun: &mut Option<Stamp>, _: i64) -> Option<Line> {
    if line.starts_with("Running `") {
        *begun =
            line.rsplit_once("` at ").and_then(|(_, at)| Stamp::parse(at)).map(|at| Stamp::Exact(at.unix(|at| at)));
        return None;
    }
    let (_, rest) = line.strip_prefix('(')?.split_once(") ")?;
    let (action, rest) = rest.split_once(' ')?;
    let (name, version) = rest.split_once(" (")?;
    let version = version.trim_end_matches(')');
    let what = match action {
        "Installing" => format!("installed {version}"),
        "Upgrading" => format!("upgraded {}", version.replace(" -> ", " to ")),
        "Downgrading" => format!("downgraded {}", version.replace(" -> ", " to ")),
        "Purging" => format!("removed {version}"),
        _ => return None,
    };
    Some(((*begun)?, name.to_owned(), what))
}

/// `[2026-11-20T10:11:12+0100] [ALPM] upgraded linux (6.8.7-1 -> 6.8.8-1)`.
fn pacman(line: &str, _: &mut Option<Stamp>, _: i64) -> Option<Line> {
    let (stamp, rest) = line.strip_prefix('[')?.split_once("] [ALPM] ")?;
    let (action, rest) = rest.split_once(' ')?;
    if !["installed", "upgraded", "downgraded", "reinstalled", "removed"].contains(&action) {
        return None;
    }
    let (name, version) = rest.split_once(" (")?;
    let version = version.trim_end_matches(')').replace(" -> ", " to ");
    Some((Stamp::parse(stamp)?, name.to_owned(), format!("{action} {version}")))
}

/// `1795169472 bash 5.2-1`.
fn rpm(line: &str, _: &mut Option<Stamp>, _: i64) -> Option<Line> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [at, name, version] = words[..] else { return None };
    Some((Stamp::Exact(at.parse().ok()?), name.to_owned(), format!("installed or upgraded to {version}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21 00:00:00.
    const NOW: i64 = 1_795_219_200;

    /// Reads one log in a fake tree.
    fn told(log: &str, text: &str) -> Vec<(String, String, i64)> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(log);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        let found = read(dir.path(), NOW, |at| at);
        assert!(found.why.is_empty(), "{}", found.why);
        found.changes.into_iter().map(|change| (change.of, change.what, NOW - change.at)).collect()
    }

    fn line(of: &str, what: &str, ago: i64) -> (String, String, i64) {
        (of.to_owned(), what.to_owned(), ago)
    }

    #[test]
    fn dpkg_says_what_it_did() {
        let text = "2026-11-01 10:00:00 upgrade tar:amd64 1.33 1.34\n\
            2026-11-20 23:59:00 startup archives unpack\n\
            2026-11-20 23:59:50 upgrade libc6:amd64 2.36-9 2.36-10\n\
            2026-11-20 23:59:51 status unpacked libc6:amd64 2.36-10\n\
            2026-11-20 23:59:52 configure libc6:amd64 2.36-10 <none>\n\
            2026-11-20 23:59:55 install jq:amd64 <none> 1.6-2\n\
            2026-11-20 23:59:58 remove vim:amd64 9.0 <none>\n2026-11-20 23:59:59 purge vim:amd64 9.0 <none>\nupgrade\n";
        assert_eq!(
            told("var/log/dpkg.log", text),
            [
                line("vim", "removed 9.0", 2),
                line("jq", "installed 1.6-2", 5),
                line("libc6", "upgraded 2.36-9 to 2.36-10", 10)
            ]
        );
    }

    #[test]
    fn dnf_says_what_it_did() {
        let text = "2026-11-20T23:59:00+0000 INFO --- logging initialized ---\n\
            2026-11-21T00:59:10+0100 SUBDEBUG Upgrade: openssl-libs-1:3.2.2-6.el9.x86_64\n\
            2026-11-20T23:59:20+0000 SUBDEBUG Upgraded: openssl-libs-1:3.0.7-27.el9.x86_64\n\
            2026-11-20T23:59:30Z SUBDEBUG Installed: kernel-core-5.14.0-503.el9.x86_64\n\
            2026-11-20T23:59:40+0000 SUBDEBUG Erase: vim-enhanced-2:9.1-1.el9.x86_64\n";
        assert_eq!(
            told("var/log/dnf.rpm.log", text),
            [
                line("vim-enhanced", "removed 2:9.1-1.el9.x86_64", 20),
                line("kernel-core", "installed 5.14.0-503.el9.x86_64", 30),
                line("openssl-libs", "upgraded to 1:3.2.2-6.el9.x86_64", 50),
            ]
        );
    }

    #[test]
    fn yum_writes_no_year() {
        let text = "Nov 20 23:59:00 Updated: 1:openssl-1.0.2k-26.el7.x86_64\nNov 22 10:00:00 Installed: last-1-1.el7.noarch\n\
            Nov 20 23:59:30 Installed: jq-1.6-2.el7.x86_64\nNov 20 23:59:40 Erased: vim-enhanced\n";
        assert_eq!(
            told("var/log/yum.log", text),
            [
                line("vim-enhanced", "removed", 20),
                line("jq", "installed 1.6-2.el7.x86_64", 30),
                line("openssl", "upgraded to 1.0.2k-26.el7.x86_64", 60),
            ]
        );
    }

    #[test]
    fn zypper_says_what_it_did() {
        let text = "# 2026-11-20 23:59:00 jq-1.6 installed ok\n2026-11-20 23:59:00|command|root@h|'zypper' 'in' 'jq'|\n\
            2026-11-20 23:59:30|install|jq|1.6-2|x86_64||repo|abc|\n2026-11-20 23:59:40|remove |vim|9.0-1|x86_64|root@h|\n";
        let expected = [line("vim", "removed 9.0-1", 20), line("jq", "installed 1.6-2", 30)];
        assert_eq!(told("var/log/zypp/history", text), expected);
    }

    #[test]
    fn apk_says_when_it_ran_first() {
        let text = "(1/1) Upgrading lost (1 -> 2)\nRunning `apk upgrade` at 2026-11-20 23:59:00\n\
            apk-tools 3.0.8-r0, compiled for x86_64.\n(1/2) Upgrading jq (1.8.1-r0 -> 1.8.2-r0)\n(2/2) Installing oniguruma (6.9-r0)\n\
            OK: 129.7 MiB in 208 packages\nRunning `apk del vim` at 2026-11-20 23:59:30\n(1/1) Purging vim (9.1-r0)\n";
        let all = told("var/log/apk.log", text);
        assert_eq!(all[0], line("vim", "removed 9.1-r0", 30));
        assert!(all.contains(&line("jq", "upgraded 1.8.1-r0 to 1.8.2-r0", 60)), "{all:?}");
        assert!(all.contains(&line("oniguruma", "installed 6.9-r0", 60)) && all.len() == 3, "{all:?}");
    }

    #[test]
    fn pacman_says_what_it_did() {
        let text = "[2026-11-21T00:59:00+0100] [PACMAN] Running 'pacman -Syu'\n\
            [2026-11-21T00:59:10+0100] [ALPM] upgraded linux (6.8.7-1 -> 6.8.8-1)\n[2026-11-21T00:59:20+0100] [ALPM] transaction completed\n\
            [2026-11-20 23:59] [ALPM] removed vim (9.1-1)\n[2026-11-20 23:59] [ALPM-SCRIPTLET] installed things (1)\n";
        let expected = [line("linux", "upgraded 6.8.7-1 to 6.8.8-1", 50), line("vim", "removed 9.1-1", 60)];
        assert_eq!(told("var/log/pacman.log", text), expected);
    }

    #[test]
    fn rpm_knows_when_a_package_came() {
        let text = format!("{} bash 5.2-1\n{} tar 1.34-1\n(none) x\n", NOW - 9, NOW - 90 * 86_400);
        let all = changes(&text, rpm, "rpm -qa", NOW, |at| at);
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].of.as_str(), all[0].what.as_str()), ("bash", "installed or upgraded to 5.2-1"));
    }

    #[test]
    fn a_machine_without_logs_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let found = read(dir.path(), NOW, |at| at);
        assert!(found.changes.is_empty() && found.why.contains("no log"), "{}", found.why);
    }

    #[test]
    fn only_the_end_of_a_log_is_read_and_the_rotated_one_before() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("var/log")).unwrap();
        let old = "2026-11-20 23:00:00 upgrade old:amd64 1 2\n";
        let filler = "2026-11-20 23:30:00 status unpacked x:amd64 1\n".repeat(LONGEST as usize / 46 + 1);
        let new = "2026-11-20 23:59:00 upgrade new:amd64 1 2\n";
        std::fs::write(dir.path().join("var/log/dpkg.log"), format!("{old}{filler}{new}")).unwrap();
        std::fs::write(dir.path().join("var/log/dpkg.log.1"), "2026-11-20 22:00:00 upgrade rotated:amd64 1 2\n")
            .unwrap();
        let names: Vec<String> = read(dir.path(), NOW, |at| at).changes.into_iter().map(|change| change.of).collect();
        assert_eq!(names, ["new", "rotated"]);
    }
}
