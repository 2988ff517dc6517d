//! The journal of what to restore: on disk before anything is changed, so that whoever comes after friday can undo it.
//!
//! It is not synced to the disk: all that experiments change lives in the kernel's memory, so what a journal would be
//! needed for goes with it when the machine goes down; `kill -9` of everybody leaves both.

use super::step::{Step, Undone, is_gone};
use crate::{Id, Roots, process::Stat};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::{
        fd::AsRawFd,
        unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    time::Duration,
};

/// What can go wrong with a journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// There is no safe place for it.
    #[error("no place for the undo journal: not root, and XDG_RUNTIME_DIR is not set")]
    NoPlace,
    /// Somebody else could write there.
    #[error("{} is not friday's alone ({why}), so nothing is changed", path.display())]
    Unsafe {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The system refused.
    #[error("the undo journal {} cannot be used", path.display())]
    Io {
        /// The journal or its folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The guard has already undone everything: it took too long.
    #[error("the time for this experiment is over, and the guard has undone it")]
    Over,
}

/// One line of a journal.
#[derive(Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
enum Line {
    /// The first.
    Began { by: Id, boot: String, about: String },
    /// What is about to be done, by how it is undone.
    Step { number: usize, step: Step },
    /// It has taken effect as it was meant.
    Landed { number: usize },
    /// It is undone, or deliberately left.
    Undone { number: usize },
}

/// Steps as they stand.
#[derive(Default)]
struct Content {
    by: Option<Id>,
    boot: String,
    about: String,
    /// With whether each is known to have taken effect.
    pending: Vec<(usize, Step, bool)>,
    next: usize,
}

impl Content {
    /// What is not a whole line was being written when its writer died: that change was never made.
    fn parse(text: &str) -> Content {
        let mut content = Content::default();
        let mut done = BTreeSet::new();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for line in whole.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok()) {
            match line {
                Line::Began { by, boot, about } => {
                    (content.by, content.boot, content.about) = (Some(by), boot, about);
                }
                Line::Step { number, step } => {
                    content.next = content.next.max(number + 1);
                    content.pending.push((number, step, false));
                }
                Line::Landed { number } => {
                    content.pending.iter_mut().filter(|(n, ..)| *n == number).for_each(|(.., landed)| *landed = true);
                }
                Line::Undone { number } => {
                    done.insert(number);
                }
            }
        }
        content.pending.retain(|(number, ..)| !done.contains(number));
        content
    }
}

/// A journal that is being written.
pub struct Journal {
    path: PathBuf,
    file: File,
    next: usize,
}

/// Holds a journal for one writer at a time.
struct Held<'a>(&'a File);

impl<'a> Held<'a> {
    fn take(file: &'a File) -> io::Result<Self> {
        loop {
            // SAFETY: an open descriptor.
            if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) } == 0 {
                return Ok(Held(file));
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // SAFETY: an open descriptor.
        unsafe { libc::flock(self.0.as_raw_fd(), libc::LOCK_UN) };
    }
}

/// Where journals are kept: `/run/friday/undo` as root, else `$XDG_RUNTIME_DIR/friday/undo`.
///
/// # Errors
/// Neither is there.
pub fn place(env: impl Fn(&str) -> Option<OsString>, is_root: bool) -> Result<PathBuf, JournalError> {
    if is_root {
        return Ok(PathBuf::from("/run/friday/undo"));
    }
    let runtime = env("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    runtime.map(|path| path.join("friday/undo")).ok_or(JournalError::NoPlace)
}

/// Makes sure that a folder and the one above it are there and nobody else's.
fn claim(dir: &Path) -> Result<(), JournalError> {
    fn failed(path: &Path) -> impl FnOnce(io::Error) -> JournalError {
        let path = path.to_owned();
        move |source| JournalError::Io { path, source }
    }
    for path in [dir.parent().unwrap_or(dir), dir] {
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(failed(path)(e)),
            _ => {}
        }
        // Of the link itself, not of what it points to.
        let about = fs::symlink_metadata(path).map_err(failed(path))?;
        // SAFETY: no arguments, cannot fail.
        let own = unsafe { libc::geteuid() };
        let why = if !about.is_dir() {
            "it is no folder"
        } else if about.uid() != own {
            "it belongs to another user"
        } else if about.mode() & 0o022 != 0 {
            "others may write there"
        } else {
            continue;
        };
        return Err(JournalError::Unsafe { path: path.to_owned(), why });
    }
    Ok(())
}

/// The boot that this is: what was changed in another is gone.
fn boot(roots: &Roots) -> String {
    fs::read_to_string(roots.proc.join("sys/kernel/random/boot_id")).unwrap_or_default().trim().to_owned()
}

impl Journal {
    /// A new one in this folder; `about` says what is going to be done.
    ///
    /// # Errors
    /// The folder is not safe, or cannot be written.
    pub fn create(roots: &Roots, dir: &Path, about: &str) -> Result<Journal, JournalError> {
        claim(dir)?;
        let own = std::process::id();
        let by = Stat::read(&roots.proc, own).map_or(Id { pid: own, start: 0 }, |stat| stat.id());
        let mut number = 0;
        loop {
            let path = dir.join(format!("{own}-{}-{number}.jsonl", by.start));
            let mut options = OpenOptions::new();
            options.read(true).append(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
            match options.open(&path) {
                Ok(file) => {
                    let mut journal = Journal { path, file, next: 0 };
                    journal.line(&Line::Began { by, boot: boot(roots), about: about.to_owned() })?;
                    return Ok(journal);
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => number += 1,
                // Another friday that had ended took the folder away.
                Err(e) if e.kind() == io::ErrorKind::NotFound && number < 100 => {
                    claim(dir)?;
                    number += 1;
                }
                Err(source) => return Err(JournalError::Io { path, source }),
            }
        }
    }

    /// Opens one that is there.
    fn open(path: &Path) -> io::Result<Journal> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).custom_flags(libc::O_NOFOLLOW);
        Ok(Journal { path: path.to_owned(), file: options.open(path)?, next: 0 })
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn failed(&self) -> impl Fn(io::Error) -> JournalError {
        let path = self.path.clone();
        move |source| JournalError::Io { path: path.clone(), source }
    }

    fn line(&mut self, line: &Line) -> Result<(), JournalError> {
        let mut text = serde_json::to_string(line).map_err(|e| self.failed()(io::Error::other(e)))?;
        text.push('\n');
        self.file.write_all(text.as_bytes()).map_err(self.failed())
    }

    /// Writes how something is undone, and only then does it. `act` says whether it took effect as it was meant.
    ///
    /// # Errors
    /// The journal cannot be written, then nothing was done; or what `act` says, then it is for [`Journal::undo`] to
    /// find out how far it came.
    pub fn step<E: From<JournalError>>(&mut self, step: &Step, act: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let file = self.file.try_clone().map_err(self.failed())?;
        // Held until it is done: the guard, where its patience is over, undoes it before or after, never in between.
        let _held = Held::take(&file).map_err(self.failed())?;
        if file.metadata().map_err(self.failed())?.nlink() == 0 {
            return Err(JournalError::Over.into());
        }
        let number = self.next;
        self.next += 1;
        self.line(&Line::Step { number, step: step.clone() })?;
        act()?;
        Ok(self.line(&Line::Landed { number })?)
    }

    /// Undoes all that is not undone yet, the last first.
    ///
    /// # Errors
    /// The journal cannot be read or written; or the guard has undone it already, and nobody knows when.
    pub fn undo(&mut self, roots: &Roots) -> Result<Vec<Report>, JournalError> {
        let file = self.file.try_clone().map_err(self.failed())?;
        let _held = Held::take(&file).map_err(self.failed())?;
        if file.metadata().map_err(self.failed())?.nlink() == 0 {
            return Err(JournalError::Over);
        }
        self.undo_held(roots)
    }

    fn undo_held(&mut self, roots: &Roots) -> Result<Vec<Report>, JournalError> {
        let content = Content::parse(&self.text().map_err(self.failed())?);
        let mut reports = Vec::new();
        for (number, step, landed) in content.pending.iter().rev() {
            let outcome = step.undo(roots, *landed);
            if outcome.is_ok() {
                self.line(&Line::Undone { number: *number })?;
            }
            reports.push(Report { about: step.about(), outcome });
        }
        Ok(reports)
    }

    fn text(&self) -> io::Result<String> {
        let mut text = String::new();
        // By path: the descriptor stands at the end.
        match File::open(&self.path) {
            Ok(mut file) => file.read_to_string(&mut text).map(|_| text),
            // Whoever has removed it has undone everything.
            Err(e) if is_gone(&e) => Ok(text),
            Err(e) => Err(e),
        }
    }

    /// Undoes what is left and removes the journal, where everything could be undone.
    ///
    /// # Errors
    /// The journal cannot be read or written.
    pub fn finish(mut self, roots: &Roots) -> Result<Vec<Report>, JournalError> {
        let file = self.file.try_clone().map_err(self.failed())?;
        let _held = Held::take(&file).map_err(self.failed())?;
        let reports = self.undo_held(roots)?;
        if reports.iter().all(|report| report.outcome.is_ok()) {
            match fs::remove_file(&self.path) {
                Err(e) if !is_gone(&e) => return Err(self.failed()(e)),
                _ => {}
            }
            // The folders stay only as long as there is something in them.
            let dir = self.path.parent();
            for dir in [dir, dir.and_then(Path::parent)].into_iter().flatten() {
                if fs::remove_dir(dir).is_err() {
                    break;
                }
            }
        }
        Ok(reports)
    }
}

/// What became of one step.
#[derive(Debug)]
pub struct Report {
    /// What there was to do.
    pub about: String,
    /// What came of it.
    pub outcome: io::Result<Undone>,
}

impl Report {
    /// In words.
    pub fn text(&self) -> String {
        match &self.outcome {
            Ok(done) => done.text().to_owned(),
            Err(e) => format!("could not {}: {e}", self.about),
        }
    }
}

/// ours: how often, and with which pauses, a guard tries again what the system refused.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(250);

/// Undoes everything in a journal and removes it; for the guard and for `friday undo`. What is refused is tried again for
/// some seconds.
///
/// # Errors
/// The journal cannot be read or written. One that is not there needs nothing.
pub fn replay(roots: &Roots, path: &Path) -> Result<Vec<Report>, JournalError> {
    let mut all = Vec::new();
    for _ in 0..TRIES {
        let journal = match Journal::open(path) {
            Ok(journal) => journal,
            Err(e) if is_gone(&e) => break,
            Err(source) => return Err(JournalError::Io { path: path.to_owned(), source }),
        };
        let reports = journal.finish(roots)?;
        let refused = reports.iter().any(|report| report.outcome.is_err());
        all.retain(|report: &Report| report.outcome.is_ok());
        all.extend(reports);
        if !refused {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    Ok(all)
}

/// A journal that its writer has left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// Its file.
    pub path: PathBuf,
    /// What was being done.
    pub about: String,
    /// What is still to undo, the last first, in words.
    pub pending: Vec<String>,
    /// Its writer is still at work, and will undo it.
    pub in_use: bool,
}

/// Journals that are there. Those of an earlier boot are removed: what they would undo is gone.
pub fn leftovers(roots: &Roots, dir: &Path) -> Vec<Leftover> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut found: Vec<Leftover> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "jsonl"))
        .filter_map(|path| {
            let journal = Journal::open(&path).ok()?;
            let content = Content::parse(&journal.text().ok()?);
            let now = boot(roots);
            if !content.boot.is_empty() && !now.is_empty() && content.boot != now {
                let _ = fs::remove_file(&path);
                return None;
            }
            Some(Leftover {
                about: content.about,
                pending: content.pending.iter().rev().map(|(_, step, _)| step.about()).collect(),
                in_use: content.by.is_some_and(|by| by.lives(&roots.proc)),
                path,
            })
        })
        .collect();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    struct Place {
        dir: tempfile::TempDir,
        roots: Roots,
    }

    impl Place {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let roots = Roots { proc: dir.path().join("proc"), sys: dir.path().join("sys") };
            fs::create_dir_all(roots.proc.join("sys/kernel/random")).unwrap();
            fs::write(roots.proc.join("sys/kernel/random/boot_id"), "this\n").unwrap();
            fs::write(dir.path().join("a"), "1").unwrap();
            fs::write(dir.path().join("b"), "1").unwrap();
            Place { dir, roots }
        }

        fn undo(&self) -> PathBuf {
            self.dir.path().join("run/friday/undo")
        }

        fn journal(&self) -> Journal {
            fs::create_dir_all(self.dir.path().join("run")).unwrap();
            Journal::create(&self.roots, &self.undo(), "a test").unwrap()
        }

        fn write(&self, journal: &mut Journal, name: &str, new: &str) {
            let path = self.dir.path().join(name);
            let old = fs::read_to_string(&path).unwrap();
            let step = Step::Write { path: path.clone(), old, new: new.into(), netns: None };
            journal.step(&step, || fs::write(&path, new).map_err(journal_error)).unwrap();
        }

        fn read(&self, name: &str) -> String {
            fs::read_to_string(self.dir.path().join(name)).unwrap()
        }
    }

    fn journal_error(source: io::Error) -> JournalError {
        JournalError::Io { path: PathBuf::new(), source }
    }

    #[test]
    fn steps_are_undone_backwards_and_nothing_is_left_behind() {
        let place = Place::new();
        let mut journal = place.journal();
        place.write(&mut journal, "a", "2");
        place.write(&mut journal, "a", "3");
        place.write(&mut journal, "b", "2");
        let texts: Vec<String> = journal.undo(&place.roots).unwrap().iter().map(Report::text).collect();
        assert_eq!(texts.len(), 3);
        assert!(texts[0].contains("/b is `1` again") && texts[2].contains("/a is `1` again"), "{texts:?}");
        assert_eq!((place.read("a"), place.read("b")), ("1".into(), "1".into()));
        place.write(&mut journal, "b", "5");
        assert_eq!(journal.finish(&place.roots).unwrap().len(), 1, "what is undone is not undone again");
        assert_eq!(place.read("b"), "1");
        assert!(!place.dir.path().join("run/friday").exists());
    }

    #[test]
    fn a_journal_left_behind_is_found_told_and_replayed() {
        let place = Place::new();
        let mut journal = place.journal();
        place.write(&mut journal, "a", "2");
        place.write(&mut journal, "b", "2");
        let path = journal.path().to_owned();
        drop(journal);
        // Torn by the death of its writer: that change was never made.
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"line\":\"step\",\"number\":7,\"step\":{\"un").unwrap();
        let found = leftovers(&place.roots, &place.undo());
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].about.as_str(), found[0].pending.len(), found[0].in_use), ("a test", 2, false));
        assert!(found[0].pending[0].contains("/b"), "the last first: {:?}", found[0].pending);
        let reports = replay(&place.roots, &path).unwrap();
        assert_eq!(reports.len(), 2);
        assert_eq!((place.read("a"), place.read("b"), path.exists()), ("1".into(), "1".into(), false));
        assert!(replay(&place.roots, &path).unwrap().is_empty(), "again does no harm");
    }

    #[test]
    fn who_is_late_may_not_change_anything_any_more() {
        let place = Place::new();
        let mut journal = place.journal();
        place.write(&mut journal, "a", "2");
        replay(&place.roots, journal.path()).unwrap();
        let step = Step::Continue { process: Id { pid: 1, start: 1 } };
        let mut done = false;
        let late = journal.step(&step, || {
            done = true;
            Ok::<(), JournalError>(())
        });
        assert!(matches!(late, Err(JournalError::Over)) && !done, "{late:?}");
        assert!(matches!(journal.undo(&place.roots), Err(JournalError::Over)));
        assert!(journal.finish(&place.roots).unwrap().is_empty());
    }

    #[test]
    fn what_cannot_be_undone_stays_in_the_journal() {
        let place = Place::new();
        let mut journal = place.journal();
        let path = place.dir.path().join("folder");
        fs::create_dir(&path).unwrap();
        let step = Step::Write { path: path.clone(), old: "1".into(), new: "2".into(), netns: None };
        journal.step(&step, || Ok::<(), JournalError>(())).unwrap();
        let kept = journal.path().to_owned();
        let reports = journal.finish(&place.roots).unwrap();
        assert!(reports[0].outcome.is_err());
        assert!(kept.exists());
        assert_eq!(leftovers(&place.roots, &place.undo())[0].pending.len(), 1);
    }

    #[test]
    fn journals_of_another_boot_are_of_no_use() {
        let place = Place::new();
        let mut journal = place.journal();
        place.write(&mut journal, "a", "2");
        fs::write(place.roots.proc.join("sys/kernel/random/boot_id"), "next\n").unwrap();
        assert!(leftovers(&place.roots, &place.undo()).is_empty());
        assert!(!journal.path().exists());
    }

    #[test]
    fn a_folder_that_others_could_write_is_refused() {
        let place = Place::new();
        let (run, undo) = (place.dir.path().join("run"), place.undo());
        fs::create_dir_all(run.join("elsewhere")).unwrap();
        symlink(run.join("elsewhere"), run.join("friday")).unwrap();
        let linked = Journal::create(&place.roots, &undo, "x").err().unwrap();
        assert!(linked.to_string().contains("no folder"), "{linked}");
        fs::remove_file(run.join("friday")).unwrap();
        fs::create_dir(run.join("friday")).unwrap();
        fs::set_permissions(run.join("friday"), fs::Permissions::from_mode(0o777)).unwrap();
        let open = Journal::create(&place.roots, &undo, "x").err().unwrap();
        assert!(open.to_string().contains("others may write"), "{open}");
    }

    #[test]
    fn the_place_depends_on_who_asks() {
        let env = |value: &'static str| move |_: &str| Some(OsString::from(value));
        assert_eq!(place(env("/run/user/7"), true).unwrap(), Path::new("/run/friday/undo"));
        assert_eq!(place(env("/run/user/7"), false).unwrap(), Path::new("/run/user/7/friday/undo"));
        assert!(matches!(place(env("relative"), false), Err(JournalError::NoPlace)));
        assert!(matches!(place(|_| None, false), Err(JournalError::NoPlace)));
    }
}
