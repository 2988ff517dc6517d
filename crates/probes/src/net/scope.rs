//! Whose network is looked at: a process may live in a network namespace of its own, with its own interfaces, counters
//! and sockets.

use crate::roots::Roots;
use observe::{Pid, Target};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    path::PathBuf,
    thread,
};

/// One network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    /// Its files, `/proc/net` or those of a process in it.
    pub files: PathBuf,
    /// Its number, as the kernel side tells it; 0 when it could not be read.
    pub number: u32,
    /// A process in it, when it is not friday's own.
    pub of: Option<Pid>,
}

impl Scope {
    /// The namespace of the target's first process; friday's own when it is the same, or cannot be told.
    pub fn of(roots: &Roots, target: &Target) -> Scope {
        let own = Scope { files: roots.proc.join("net"), number: number(roots, "self").unwrap_or(0), of: None };
        let Some(pid) = target.members.first() else { return own };
        match number(roots, &pid.to_string()) {
            Some(theirs) if theirs != own.number => {
                Scope { files: roots.proc.join(format!("{pid}/net")), number: theirs, of: Some(*pid) }
            }
            _ => own,
        }
    }

    /// Does something in the namespace: another one than friday's is entered by a thread that ends with it.
    pub fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
        if self.of.is_none() {
            return work();
        }
        let namespace = self.files.with_file_name("ns").join("net");
        let inside = move || {
            let file = File::open(namespace)?;
            // SAFETY: an open descriptor; only this thread changes its namespace, and it ends below.
            if unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
                return Err(io::Error::last_os_error());
            }
            work()
        };
        thread::spawn(inside).join().unwrap_or_else(|_| Err(io::Error::other("the thread died")))
    }

    /// Friday's own namespace, then each of the others that processes live in, as a process in it shows it.
    pub fn all(roots: &Roots) -> Vec<Scope> {
        let own = number(roots, "self").unwrap_or(0);
        let mut others: BTreeMap<u32, u32> = BTreeMap::new();
        let processes = fs::read_dir(&roots.proc).into_iter().flatten().flatten();
        for pid in processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
            if let Some(number) = number(roots, &pid.to_string()).filter(|number| *number != own) {
                others.entry(number).or_insert(pid);
            }
        }
        let others = others.into_iter().map(|(number, pid)| {
            let files = roots.proc.join(format!("{pid}/net"));
            Scope { files, number, of: Some(Pid(pid)) }
        });
        [Scope { files: roots.proc.join("net"), number: own, of: None }].into_iter().chain(others).collect()
    }

    /// `friday's own (number 4026531840)`, `that of process 7 (number 4026532220)`.
    pub fn text(&self) -> String {
        match self.of {
            None => format!("friday's own (number {})", self.number),
            Some(pid) => format!("that of process {pid} (number {})", self.number),
        }
    }
}

/// The number of a process' network namespace.
pub(crate) fn number(roots: &Roots, process: &str) -> Option<u32> {
    // The link leads to a file whose inode is the namespace's number.
    fs::metadata(roots.proc.join(process).join("ns/net")).ok().map(|file| file.ino() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use observe::TargetKind;

    #[test]
    fn a_target_elsewhere_is_looked_at_where_it_lives() {
        let dir = tempfile::tempdir().unwrap();
        for process in ["self", "7", "8"] {
            fs::create_dir_all(dir.path().join(process).join("ns")).unwrap();
        }
        fs::write(dir.path().join("self/ns/net"), "").unwrap();
        fs::hard_link(dir.path().join("self/ns/net"), dir.path().join("8/ns/net")).unwrap();
        fs::write(dir.path().join("7/ns/net"), "").unwrap();
        let roots = Roots { proc: dir.path().into(), ..Roots::default() };
        let target = |pid: u32| Target {
            kind: TargetKind::Process,
            pid: Some(Pid(pid)),
            name: "x".into(),
            members: vec![Pid(pid)],
        };
        let elsewhere = Scope::of(&roots, &target(7));
        assert_eq!((elsewhere.of, elsewhere.files), (Some(Pid(7)), dir.path().join("7/net")));
        assert_eq!(Scope::of(&roots, &target(8)).of, None, "the same namespace");
        assert_eq!(Scope::of(&roots, &target(9)).of, None, "gone");
        assert_eq!(Scope::of(&roots, &Target::system("h")).of, None);
    }
}
