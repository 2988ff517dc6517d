//! Changes of the running system: each is measured before, during and after, and undone on every way out.
//!
//! A change is a list of [`Act`]s, made by one file for each kind. [`Guarded`] does them: how each is undone is in the
//! journal before it is done, and a guard process replays the journal should friday vanish.

pub mod cpuset;
pub mod freeze;
mod groups;
pub mod guard;
pub mod io_limit;
pub mod journal;
pub mod quota;
pub mod step;
pub mod sysctl;
pub mod thp;
mod threads;
pub mod weight;
pub mod zfs_l2arc;

use crate::{Id, Refused, Roots, process::Stat};
use guard::{Guard, GuardError};
use journal::{Journal, JournalError, Report};
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use step::{Step, Undone, own_netns, send, value};
use threads::{Attr, Mask, Of};

/// How much a trial asks of the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// It puts load on it, bounded.
    Load,
    /// It changes something, and takes it back.
    Change,
    /// It disturbs those who work there.
    Disrupt,
}

/// One thing to do, of which [`Guarded`] knows how to undo it.
#[derive(Debug)]
pub(crate) enum Act {
    /// Write a text into a file of the kernel's.
    Write { path: PathBuf, new: String },
    /// Write a text into a file; what it does is undone by writing to another.
    WriteFor { path: PathBuf, new: String, undo: Step },
    /// Set a property of a ZFS dataset.
    Property { dataset: String, property: String, new: String, undo: Step },
    /// Limit a disk in a group's `io.max`.
    Limit { path: PathBuf, disk: String, limit: String },
    /// Stop a process.
    Stop(Id),
    /// Freeze a control group by its file.
    Freeze { file: PathBuf, frozen: &'static str, thawed: &'static str },
    /// Make a group below `home` with these settings, and move all of these processes there.
    Group { dir: PathBuf, home: PathBuf, settings: Vec<(PathBuf, String)>, members: Vec<Id> },
    /// Give threads another niceness or policy.
    Scheduling(Of<Attr>),
    /// Let threads run elsewhere, or note where they could.
    Affinity(Of<Mask>),
}

/// What is going to be done.
#[derive(Debug)]
pub struct Change {
    /// Its kind, as the command line calls it.
    pub kind: &'static str,
    /// What is done, to whom, with what: a phrase that begins with a verb.
    pub about: String,
    /// What it asks of the system.
    pub level: Level,
    /// What else is to be known before one says yes.
    pub notes: Vec<String>,
    pub(crate) acts: Vec<Act>,
}

impl Change {
    /// What it does to the system, line by line.
    pub fn lines(&self) -> Vec<String> {
        self.acts.iter().map(Act::about).collect()
    }
}

/// Why a change cannot be made here, or was not.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// It would do harm.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// This machine, kernel or user cannot.
    #[error("{0}")]
    Impossible(String),
    /// The journal cannot be kept.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// There is no guard.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The system refused.
    #[error("{what}")]
    Io {
        /// What was to be done.
        what: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl ChangeError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> ChangeError {
        let what = what.into();
        move |source| ChangeError::Io { what, source }
    }
}

/// ours: how long a group may take to freeze; version 1 waits for what sleeps in the kernel.
const FREEZES_WITHIN: Duration = Duration::from_secs(1);

impl Act {
    fn about(&self) -> String {
        match self {
            Act::Write { path, new } | Act::WriteFor { path, new, .. } => {
                format!("write `{new}` to {}", path.display())
            }
            Act::Limit { path, disk, limit } => format!("write `{disk} {limit}` to {}", path.display()),
            Act::Property { dataset, property, new, .. } => format!("zfs set {property}={new} {dataset}"),
            Act::Stop(id) => format!("send SIGSTOP to {id}, and SIGCONT afterwards"),
            Act::Freeze { file, frozen, .. } => format!("write `{frozen}` to {}", file.display()),
            Act::Group { dir, members, settings, .. } => {
                let pids: Vec<String> = members.iter().map(|id| id.pid.to_string()).collect();
                let settings: Vec<String> =
                    settings.iter().map(|(file, text)| format!("{} = {text}", file.display())).collect();
                format!("make {} ({}) and move {} there", dir.display(), settings.join(", "), pids.join(", "))
            }
            Act::Scheduling(of) => format!("lower the priority of {} threads", of.threads.len()),
            Act::Affinity(of) => format!("set or note the CPUs of {} threads", of.threads.len()),
        }
    }

    /// Does it, once how to undo it is in the journal.
    fn perform(&self, roots: &Roots, journal: &mut Journal) -> Result<(), ChangeError> {
        match self {
            Act::Write { path, new } => {
                let failed = || ChangeError::io(format!("cannot write `{new}` to {}", path.display()));
                let old = value(&fs::read_to_string(path).map_err(failed())?);
                let netns = path.starts_with(roots.proc.join("sys/net")).then(|| own_netns(&roots.proc)).flatten();
                let step = Step::Write { path: path.clone(), old, new: new.clone(), netns };
                journal.step(&step, || write_and_look(path, new).map_err(failed()))
            }
            Act::WriteFor { path, new, undo } => {
                let failed = || ChangeError::io(format!("cannot write `{new}` to {}", path.display()));
                journal.step(undo, || write_and_look(path, new).map_err(failed()))
            }
            Act::Limit { path, disk, limit } => {
                let failed = ChangeError::io(format!("cannot limit disk {disk} by {}", path.display()));
                let step = Step::Unlimit { path: path.clone(), disk: disk.clone(), limit: limit.clone() };
                journal.step(&step, || fs::write(path, format!("{disk} {limit}")).map_err(failed))
            }
            Act::Property { dataset, property, new, undo } => {
                let failed = ChangeError::io(format!("cannot set {property} of {dataset}"));
                journal.step(undo, || {
                    zfs_l2arc::zfs(&["set", &format!("{property}={new}"), dataset]).map(|_| ()).map_err(failed)
                })
            }
            Act::Stop(process) => journal.step(&Step::Continue { process: *process }, || {
                send(&roots.proc, *process, libc::SIGSTOP).map_err(ChangeError::io(format!("cannot stop {process}")))
            }),
            Act::Freeze { file, frozen, thawed } => {
                let failed = || ChangeError::io(format!("cannot freeze by {}", file.display()));
                let step = Step::Thaw { file: file.clone(), thawed: (*thawed).to_owned() };
                journal.step(&step, || fs::write(file, frozen).and_then(|()| frozen_soon(file)).map_err(failed()))
            }
            Act::Group { dir, home, settings, members } => {
                let failed = |what: String| ChangeError::io(what);
                let step = Step::Dissolve { dir: dir.clone(), home: home.clone() };
                journal.step(&step, || {
                    fs::create_dir(dir).map_err(failed(format!("cannot make {}", dir.display())))?;
                    for (file, text) in settings {
                        let shown = file.display();
                        fs::write(dir.join(file), text)
                            .map_err(failed(format!("cannot write `{text}` to {shown} of {}", dir.display())))?;
                    }
                    for id in members.iter().filter(|id| id.lives(&roots.proc)) {
                        match fs::write(dir.join("cgroup.procs"), id.pid.to_string()) {
                            Err(e) if e.raw_os_error() != Some(libc::ESRCH) => {
                                return Err(failed(format!("cannot move {id} to {}", dir.display()))(e));
                            }
                            _ => {}
                        }
                    }
                    Ok(())
                })
            }
            Act::Scheduling(of) => {
                let failed = ChangeError::io("cannot lower the priority");
                journal.step(&Step::Scheduling(of.clone()), || threads::give(of).map_err(failed))
            }
            Act::Affinity(of) => {
                let failed = ChangeError::io("cannot set the CPUs");
                journal.step(&Step::Affinity(of.clone()), || threads::give(of).map_err(failed))
            }
        }
    }

    /// Holds or lets go for a moment, without a word in the journal: it says already that it may be held.
    fn hold(&self, roots: &Roots, held: bool) -> io::Result<()> {
        match self {
            Act::Stop(process) => send(&roots.proc, *process, if held { libc::SIGSTOP } else { libc::SIGCONT }),
            Act::Freeze { file, frozen, thawed } => fs::write(file, if held { frozen } else { thawed }),
            _ => Ok(()),
        }
    }
}

fn write_and_look(path: &Path, new: &str) -> io::Result<()> {
    fs::write(path, new)?;
    let after = value(&fs::read_to_string(path)?);
    if after == value(new) { Ok(()) } else { Err(io::Error::other(format!("it is `{after}` afterwards"))) }
}

fn frozen_soon(file: &Path) -> io::Result<()> {
    let started = Instant::now();
    loop {
        // Version 1 says so in the file itself, version 2 in another.
        let text = fs::read_to_string(file)?;
        let events = fs::read_to_string(file.with_file_name("cgroup.events")).unwrap_or_default();
        if text.trim() == "FROZEN" || events.lines().any(|line| line == "frozen 1") {
            return Ok(());
        }
        if started.elapsed() > FREEZES_WITHIN {
            return Err(io::Error::other("it is not frozen within a second"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Changes, with a journal and a guard. However this ends, what was changed is undone.
pub struct Guarded {
    roots: Roots,
    journal: Option<Journal>,
    guard: Option<Guard>,
}

impl Guarded {
    /// Begins a journal in `dir` and starts `program` (friday itself) as its guard, which undoes everything after
    /// `patience` at the latest.
    ///
    /// # Errors
    /// There is no safe place for the journal, or no guard.
    pub fn begin(
        roots: &Roots,
        dir: &Path,
        program: &Path,
        about: &str,
        patience: Duration,
    ) -> Result<Guarded, ChangeError> {
        let journal = Journal::create(roots, dir, about)?;
        match Guard::start(program, journal.path(), patience) {
            Ok(guard) => Ok(Guarded { roots: roots.clone(), journal: Some(journal), guard: Some(guard) }),
            Err(error) => {
                let _ = journal.finish(roots);
                Err(error.into())
            }
        }
    }

    /// Makes a change. What was done of it when it failed is undone.
    ///
    /// # Errors
    /// The guard is gone, or the system refused.
    pub fn apply(&mut self, change: &Change) -> Result<(), ChangeError> {
        let (Some(journal), Some(guard)) = (&mut self.journal, &self.guard) else {
            return Err(GuardError::Lost.into());
        };
        let done = guard
            .check()
            .map_err(ChangeError::from)
            .and_then(|()| change.acts.iter().try_for_each(|act| act.perform(&self.roots, journal)));
        if done.is_err() {
            let _ = self.undo();
        }
        done
    }

    /// Holds what a change holds, or lets it go, within the time for which it is applied.
    ///
    /// # Errors
    /// The system refused, or the guard is gone.
    pub fn hold(&self, change: &Change, held: bool) -> Result<(), ChangeError> {
        if held {
            self.guard.as_ref().ok_or(GuardError::Lost)?.check()?;
        }
        let failed = || ChangeError::io(if held { "cannot hold it" } else { "cannot let it go" });
        change.acts.iter().try_for_each(|act| act.hold(&self.roots, held).map_err(failed()))
    }

    /// Undoes everything that was changed so far.
    ///
    /// # Errors
    /// The journal cannot be read or written; the guard will try again.
    pub fn undo(&mut self) -> Result<Vec<Report>, ChangeError> {
        match &mut self.journal {
            Some(journal) => Ok(journal.undo(&self.roots)?),
            None => Ok(Vec::new()),
        }
    }

    /// Undoes what is left, removes the journal and lets the guard go.
    ///
    /// # Errors
    /// The journal cannot be read or written; the guard tries again.
    pub fn end(mut self) -> Result<Vec<Report>, ChangeError> {
        let reports = self.journal.take().map_or(Ok(Vec::new()), |journal| journal.finish(&self.roots));
        if let Some(guard) = self.guard.take() {
            guard.dismiss();
        }
        Ok(reports?)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Some(journal) = self.journal.take() {
            // What fails here is left to the guard, which sees the pipe close next.
            let _ = journal.finish(&self.roots);
        }
        if let Some(guard) = self.guard.take() {
            guard.dismiss();
        }
    }
}

/// Whether some reports are of something that is not as it was before.
pub fn is_clean(reports: &[Report]) -> bool {
    reports.iter().all(|report| matches!(report.outcome, Ok(Undone::Restored(_) | Undone::Nothing(_))))
}

/// Whether this is root.
pub fn is_root() -> bool {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::geteuid() == 0 }
}

fn need_root(what: &str) -> Result<(), ChangeError> {
    if is_root() { Ok(()) } else { Err(ChangeError::Impossible(format!("{what} needs root"))) }
}

/// `stress (pid 7)`, or `stress (pid 7) and 2 workers`.
fn who(stats: &[Stat]) -> String {
    match stats {
        [] => "nobody".to_owned(),
        [one] => one.label(),
        [first, rest @ ..] => format!("{} and {} more of the same program", first.label(), rest.len()),
    }
}

/// The processes that an accusation is about: the culprits and those of their workers that are no victims, checked against
/// who must not be held.
fn culprits(roots: &Roots, pids: &[u32], victims: &[u32]) -> Result<Vec<Stat>, ChangeError> {
    let mut stats: Vec<Stat> = Vec::new();
    for pid in pids {
        for stat in crate::process::workers(roots, *pid)? {
            let is_watched = stat.pid != *pid && victims.contains(&stat.pid);
            if !is_watched && !stats.iter().any(|known| known.pid == stat.pid) {
                stats.push(stat);
            }
        }
    }
    let victims: BTreeSet<u32> = victims.iter().copied().collect();
    crate::process::may_be_held(roots, &stats, &victims, std::process::id())?;
    Ok(stats)
}

/// Clock ticks since boot.
pub(crate) fn clock_ticks() -> u64 {
    threads::now()
}
