//! How one change is taken back: typed, harmless when done twice, and never undoing what somebody else did meanwhile.

use super::{
    threads::{self, Attr, Mask, Of},
    zfs_l2arc,
};
use crate::{Id, Roots, process::Stat};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// One thing to restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "undo", rename_all = "snake_case")]
pub enum Step {
    /// Write the old text back into a file that holds the new one.
    Write {
        /// The file.
        path: PathBuf,
        /// What it held.
        old: String,
        /// What it was given.
        new: String,
        /// The network namespace in which the file means this, where it depends on one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        netns: Option<u64>,
    },
    /// Give a ZFS dataset's property its value back.
    Property {
        /// The dataset.
        dataset: String,
        /// The property.
        property: String,
        /// What it was set to; nothing where it was inherited.
        old: Option<String>,
        /// What it was given.
        new: String,
    },
    /// Take the limit of a disk out of a group's `io.max` again.
    Unlimit {
        /// The file.
        path: PathBuf,
        /// The disk, as `major:minor`.
        disk: String,
        /// The limit that it was given; it had none before.
        limit: String,
    },
    /// Let a stopped process go on.
    Continue {
        /// Which.
        process: Id,
    },
    /// Let a frozen control group go on.
    Thaw {
        /// Its file.
        file: PathBuf,
        /// What to write.
        thawed: String,
    },
    /// Move everything in a group of friday's back to where it came from, and remove the group.
    Dissolve {
        /// The group.
        dir: PathBuf,
        /// Where its processes came from.
        home: PathBuf,
    },
    /// Give threads their niceness and policy back.
    Scheduling(Of<Attr>),
    /// Let threads run where they could.
    Affinity(Of<Mask>),
}

/// What undoing came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undone {
    /// It is as it was before.
    Restored(String),
    /// There was nothing to do: it never took effect, or what it was done to is gone.
    Nothing(String),
    /// Somebody else has changed it since, so it was left alone.
    Left(String),
}

impl Undone {
    /// What to tell.
    pub fn text(&self) -> &str {
        match self {
            Undone::Restored(text) | Undone::Nothing(text) | Undone::Left(text) => text,
        }
    }
}

/// How often and how long a group is tried to be removed: what has ended in it may take a moment to be gone.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// What groups that friday makes are called; no other is ever removed.
pub(crate) const GROUP_PREFIX: &str = "friday-";

impl Step {
    /// Undoes it. `confirmed`: the change is known to have taken effect as it was meant.
    ///
    /// # Errors
    /// The system refused; trying again later may help.
    pub fn undo(&self, roots: &Roots, confirmed: bool) -> io::Result<Undone> {
        match self {
            Step::Write { path, old, new, netns } => write_back(roots, path, old, new, *netns, confirmed),
            Step::Property { dataset, property, old, new } => {
                set_back(dataset, property, old.as_deref(), new, &mut |arguments| zfs_l2arc::zfs(arguments))
            }
            Step::Unlimit { path, disk, limit } => unlimit(path, disk, limit),
            Step::Continue { process } => {
                if !process.lives(&roots.proc) {
                    return Ok(Undone::Nothing(format!("{process} has ended")));
                }
                // Sent whatever its state: a stop may be on its way that takes effect only when a system call ends.
                send(&roots.proc, *process, libc::SIGCONT)?;
                Ok(Undone::Restored(format!("{process} goes on")))
            }
            Step::Thaw { file, thawed } => match fs::write(file, thawed) {
                Ok(()) => Ok(Undone::Restored(format!("{} is thawed", group_of(file).display()))),
                Err(e) if is_gone(&e) => Ok(Undone::Nothing(format!("{} is gone", group_of(file).display()))),
                Err(e) => Err(e),
            },
            Step::Dissolve { dir, home } => dissolve(dir, home),
            Step::Scheduling(of) => threads::restore(roots, of),
            Step::Affinity(of) => threads::restore(roots, of),
        }
    }

    /// What it would do, for people.
    pub fn about(&self) -> String {
        match self {
            Step::Write { path, old, new, .. } => {
                format!("write `{old}` back to {} (it was given `{new}`)", path.display())
            }
            Step::Property { dataset, property, old: Some(old), .. } => format!("zfs set {property}={old} {dataset}"),
            Step::Property { dataset, property, old: None, .. } => format!("zfs inherit {property} {dataset}"),
            Step::Unlimit { path, disk, .. } => format!("take the limit of disk {disk} out of {}", path.display()),
            Step::Continue { process } => format!("let {process} go on (it was stopped)"),
            Step::Thaw { file, .. } => format!("thaw {}", group_of(file).display()),
            Step::Dissolve { dir, home } => {
                format!("move the processes of {} back to {} and remove it", dir.display(), home.display())
            }
            Step::Scheduling(of) => of.about("priority"),
            Step::Affinity(of) => of.about("CPUs"),
        }
    }
}

/// The group that a file belongs to.
fn group_of(file: &Path) -> &Path {
    file.parent().unwrap_or(file)
}

/// Whether a process or group is not there any more.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ESRCH))
}

/// What a file of the kernel's holds: the word in brackets where it lists all there are, else its text with the spaces
/// made alike.
pub(crate) fn value(text: &str) -> String {
    let chosen = text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(word, _)| word);
    chosen.unwrap_or(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

fn write_back(
    roots: &Roots,
    path: &Path,
    old: &str,
    new: &str,
    netns: Option<u64>,
    confirmed: bool,
) -> io::Result<Undone> {
    let shown = path.display();
    if netns.is_some_and(|there| own_netns(&roots.proc) != Some(there)) {
        return Ok(Undone::Left(format!("{shown} belongs to another network namespace; undo it there")));
    }
    let present = match fs::read_to_string(path) {
        Ok(text) => value(&text),
        Err(e) if is_gone(&e) => return Ok(Undone::Nothing(format!("{shown} is gone"))),
        Err(e) => return Err(e),
    };
    if present == old {
        return Ok(Undone::Nothing(format!("{shown} is `{old}` as before")));
    }
    // Before it was seen to have taken effect, what is there can only be what the kernel made of the new text.
    if present != new && confirmed {
        return Ok(Undone::Left(format!("{shown} is `{present}` now: somebody changed it meanwhile, so it stays")));
    }
    fs::write(path, old)?;
    let after = value(&fs::read_to_string(path)?);
    if after != old {
        return Err(io::Error::other(format!("{shown} is `{after}` although `{old}` was written")));
    }
    Ok(Undone::Restored(format!("{shown} is `{old}` again")))
}

/// Gives a property back what it was, if it still is what friday set.
fn set_back(
    dataset: &str,
    property: &str,
    old: Option<&str>,
    new: &str,
    zfs: &mut dyn FnMut(&[&str]) -> io::Result<String>,
) -> io::Result<Undone> {
    let present = match zfs(&["get", "-H", "-p", "-o", "value,source", property, dataset]) {
        Ok(text) => text.trim().to_owned(),
        Err(e) if e.to_string().contains("does not exist") => return Ok(Undone::Nothing(format!("{dataset} is gone"))),
        Err(e) => return Err(e),
    };
    let (value, source) = present.split_once('\t').unwrap_or((&present, "-"));
    let is_as_before = match old {
        Some(old) => value == old && source == "local",
        None => source != "local",
    };
    if is_as_before {
        return Ok(Undone::Nothing(format!("{property} of {dataset} is `{value}` as before")));
    }
    if value != new {
        return Ok(Undone::Left(format!("{property} of {dataset} is `{value}` now: somebody changed it, so it stays")));
    }
    match old {
        Some(old) => zfs(&["set", &format!("{property}={old}"), dataset])?,
        None => zfs(&["inherit", property, dataset])?,
    };
    Ok(Undone::Restored(format!("{property} of {dataset} is as before")))
}

fn unlimit(path: &Path, disk: &str, limit: &str) -> io::Result<Undone> {
    let shown = path.display();
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if is_gone(&e) => return Ok(Undone::Nothing(format!("{shown} is gone"))),
        Err(e) => return Err(e),
    };
    let present = text.lines().find_map(|line| line.strip_prefix(disk)).map(str::trim);
    match present {
        None => Ok(Undone::Nothing(format!("{shown} has no limit of disk {disk}"))),
        Some(present) if present != limit => {
            Ok(Undone::Left(format!("{shown} has `{present}` of disk {disk} now: somebody changed it, so it stays")))
        }
        Some(_) => {
            fs::write(path, format!("{disk} rbps=max wbps=max riops=max wiops=max"))?;
            Ok(Undone::Restored(format!("{shown} has no limit of disk {disk} any more")))
        }
    }
}

/// The inode of the network namespace that friday is in.
pub(crate) fn own_netns(proc: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(proc.join("self/ns/net")).ok().map(|about| about.ino())
}

/// Sends a signal to this very process: to the one that holds the id while it is looked at.
pub(crate) fn send(proc: &Path, process: Id, signal: libc::c_int) -> io::Result<()> {
    // SAFETY: plain numbers; a new descriptor or an error comes back.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, process.pid, 0) };
    if fd < 0 {
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::ESRCH) => return Ok(()),
            // Before Linux 5.3 there is only the id.
            Some(libc::ENOSYS) => {}
            _ => return Err(error),
        }
    }
    // The descriptor holds on to the process: only now is what its id says about it known to stay true.
    let done = if !Stat::read(proc, process.pid).is_ok_and(|stat| stat.start == process.start) {
        Ok(())
    } else if fd < 0 {
        // SAFETY: a signal to a process by its id.
        check(i64::from(unsafe { libc::kill(process.pid as libc::pid_t, signal) }))
    } else {
        let none: *const libc::siginfo_t = std::ptr::null();
        // SAFETY: a descriptor that is open; no information goes with the signal.
        check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, none, 0) })
    };
    if fd >= 0 {
        // SAFETY: our own descriptor, not used any more.
        unsafe { libc::close(fd as libc::c_int) };
    }
    match done {
        Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        other => other,
    }
}

fn check(result: i64) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn dissolve(dir: &Path, home: &Path) -> io::Result<Undone> {
    let shown = dir.display();
    if !dir.file_name().is_some_and(|name| name.to_string_lossy().starts_with(GROUP_PREFIX)) {
        return Ok(Undone::Left(format!("{shown} is no group of friday's, so it stays")));
    }
    let mut moved = 0;
    let mut last = io::Error::other(format!("{shown} still has processes"));
    for _ in 0..TRIES {
        let members = match fs::read_to_string(dir.join("cgroup.procs")) {
            Ok(text) => text,
            Err(e) if is_gone(&e) && moved == 0 => return Ok(Undone::Nothing(format!("{shown} is gone"))),
            Err(e) if is_gone(&e) => break,
            Err(e) => return Err(e),
        };
        for pid in members.lines() {
            match fs::write(home.join("cgroup.procs"), pid) {
                Ok(()) => moved += 1,
                // It has ended.
                Err(e) if e.raw_os_error() == Some(libc::ESRCH) => {}
                Err(e) => last = e,
            }
        }
        match fs::remove_dir(dir) {
            Ok(()) => break,
            Err(e) if is_gone(&e) => break,
            Err(e) if e.raw_os_error() == Some(libc::EBUSY) => last = e,
            Err(e) => return Err(e),
        }
        std::thread::sleep(PAUSE);
    }
    if dir.exists() {
        return Err(last);
    }
    Ok(Undone::Restored(format!("{shown} is removed, its processes are back in {}", home.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::tests::fake;

    fn roots(dir: &Path) -> Roots {
        Roots { proc: dir.join("proc"), sys: dir.join("sys") }
    }

    fn file(dir: &Path, text: &str) -> (Step, PathBuf) {
        let path = dir.join("setting");
        fs::write(&path, text).unwrap();
        (Step::Write { path: path.clone(), old: "10".into(), new: "20".into(), netns: None }, path)
    }

    #[test]
    fn a_property_is_set_back_or_inherited_again_unless_somebody_else_changed_it() {
        let undo = |old: Option<&str>, present: &str| {
            let mut done = Vec::new();
            let undone = set_back("tank/srv", "secondarycache", old, "none", &mut |arguments| {
                if arguments[0] == "get" {
                    return Ok(format!("{present}\n"));
                }
                done.push(arguments.join(" "));
                Ok(String::new())
            });
            (undone.unwrap(), done)
        };
        let (undone, done) = undo(Some("all"), "none\tlocal");
        assert!(matches!(undone, Undone::Restored(_)));
        assert_eq!(done, ["set secondarycache=all tank/srv"]);
        assert_eq!(undo(None, "none\tlocal").1, ["inherit secondarycache tank/srv"]);
        assert!(matches!(undo(None, "all\tdefault").0, Undone::Nothing(_)));
        assert!(matches!(undo(Some("all"), "metadata\tlocal").0, Undone::Left(_)));
        let gone = set_back("tank/x", "secondarycache", None, "none", &mut |_| {
            Err(io::Error::other("cannot open 'tank/x': dataset does not exist"))
        });
        assert!(matches!(gone, Ok(Undone::Nothing(_))));
    }

    #[test]
    fn what_friday_wrote_is_restored_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let roots = roots(dir.path());
        let (step, path) = file(dir.path(), "20\n");
        assert!(matches!(step.undo(&roots, true).unwrap(), Undone::Restored(_)));
        assert_eq!(fs::read_to_string(&path).unwrap(), "10");
        assert!(matches!(step.undo(&roots, true).unwrap(), Undone::Nothing(_)), "twice does no harm");
        fs::write(&path, "99\n").unwrap();
        let left = step.undo(&roots, true).unwrap();
        assert!(matches!(&left, Undone::Left(why) if why.contains("`99`")), "{left:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "99\n");
        // Killed before it could look: the kernel may show the new value in its own way.
        assert!(matches!(step.undo(&roots, false).unwrap(), Undone::Restored(_)));
        fs::remove_file(&path).unwrap();
        assert!(matches!(step.undo(&roots, true).unwrap(), Undone::Nothing(_)));
    }

    #[test]
    fn values_are_compared_as_the_kernel_shows_them() {
        assert_eq!(value("always [madvise] never\n"), "madvise");
        assert_eq!(value("4096\t16384\t4194304\n"), "4096 16384 4194304");
        assert_eq!(value(""), "");
    }

    #[test]
    fn a_disks_limit_is_taken_out_where_it_is_fridays() {
        let dir = tempfile::tempdir().unwrap();
        let roots = roots(dir.path());
        let path = dir.path().join("io.max");
        let limit = "rbps=5 wbps=5 riops=max wiops=max".to_owned();
        let step = Step::Unlimit { path: path.clone(), disk: "8:0".into(), limit: limit.clone() };
        assert!(matches!(step.undo(&roots, true).unwrap(), Undone::Nothing(_)));
        fs::write(&path, format!("8:16 rbps=1 wbps=max\n8:0 {limit}\n")).unwrap();
        assert!(matches!(step.undo(&roots, true).unwrap(), Undone::Restored(_)));
        assert_eq!(fs::read_to_string(&path).unwrap(), "8:0 rbps=max wbps=max riops=max wiops=max");
        fs::write(&path, "8:0 rbps=9 wbps=5 riops=max wiops=max\n").unwrap();
        assert!(matches!(step.undo(&roots, true).unwrap(), Undone::Left(_)));
    }

    #[test]
    fn another_network_namespace_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let roots = roots(dir.path());
        fs::create_dir_all(roots.proc.join("self/ns")).unwrap();
        fs::write(roots.proc.join("self/ns/net"), "").unwrap();
        let path = dir.path().join("setting");
        fs::write(&path, "20").unwrap();
        let here = own_netns(&roots.proc).unwrap();
        let step = |netns| Step::Write { path: path.clone(), old: "10".into(), new: "20".into(), netns };
        assert!(matches!(step(Some(here + 1)).undo(&roots, true).unwrap(), Undone::Left(_)));
        assert!(matches!(step(Some(here)).undo(&roots, true).unwrap(), Undone::Restored(_)));
    }

    #[test]
    fn an_id_that_another_process_has_now_gets_no_signal() {
        let dir = tempfile::tempdir().unwrap();
        let roots = roots(dir.path());
        fake(&roots.proc, std::process::id(), "test", 1, 1, 0);
        let other = Id { pid: std::process::id(), start: 1 };
        assert!(matches!(Step::Continue { process: other }.undo(&roots, true).unwrap(), Undone::Nothing(_)));
        // Were it sent, this would end the test.
        send(&roots.proc, other, libc::SIGKILL).unwrap();
    }

    #[test]
    fn only_groups_of_friday_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let group = dir.path().join("web");
        fs::create_dir(&group).unwrap();
        let step = Step::Dissolve { dir: group.clone(), home: dir.path().to_owned() };
        assert!(matches!(step.undo(&roots(dir.path()), true).unwrap(), Undone::Left(_)));
        assert!(group.exists());
        let gone = Step::Dissolve { dir: dir.path().join("friday-9"), home: dir.path().to_owned() };
        assert!(matches!(gone.undo(&roots(dir.path()), true).unwrap(), Undone::Nothing(_)));
    }

    #[test]
    fn steps_are_stored_and_read_back() {
        let steps = [
            Step::Continue { process: Id { pid: 7, start: 9 } },
            Step::Thaw { file: "/g/cgroup.freeze".into(), thawed: "0".into() },
            Step::Dissolve { dir: "/g/friday-1".into(), home: "/g".into() },
        ];
        for step in steps {
            let text = serde_json::to_string(&step).unwrap();
            assert_eq!(serde_json::from_str::<Step>(&text).unwrap(), step, "{text}");
            assert!(!step.about().is_empty());
        }
    }
}
