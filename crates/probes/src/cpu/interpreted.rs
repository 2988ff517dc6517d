//! What Python programs are at, by looks at the functions of whoever holds the interpreter's lock, or runs a library's code after
//! it has let go of it.
//!
//! Cost: 10 µs a look where nobody runs, 2 µs more for each function on the way; 50 looks a second for each of a few programs.
//! Nothing where there is no Python. The programs are read, not stopped.

use observe::{Frame, FrameId, Pid, Recording, Stack, Tid, catalog};
use std::{
    collections::HashMap,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::{self, JoinHandle},
    time::Duration,
};
use symbolize::python::Interpreter;

/// ours: 50 a second, but in step with nothing that a program does at a round rate.
const PAUSES_MS: [u64; 4] = [17, 23, 19, 21];

/// ours: the target's, or those that run most; workers of one server are alike.
const MOST: usize = 8;

/// ours: looking for an interpreter takes up to a millisecond; a storm of processes is not looked at to its end.
const MOST_OFFERS: usize = 512;

/// ours: a quarter of a megabyte for each thousand. Of stacks beyond, the innermost function alone is kept.
const MOST_STACKS: usize = 16_384;

/// One of several threads, and nobody knows which.
const UNKNOWN: Tid = Tid(0);

/// Looks while the window is open, on a thread of its own.
pub(crate) struct Interpreted {
    offers: usize,
    newcomers: Sender<Pid>,
    reader: JoinHandle<Looks>,
}

/// What was seen, by process, thread and functions.
#[derive(Default)]
struct Looks {
    frames: Vec<Frame>,
    ids: HashMap<Frame, u32>,
    counts: HashMap<(Pid, Tid, Vec<u32>), u64>,
}

impl Interpreted {
    /// Waits for programs. `None` where there can be no further thread.
    pub(crate) fn start(proc: PathBuf) -> Option<Interpreted> {
        let (newcomers, offers) = channel();
        let reader = thread::Builder::new().name("python".to_owned()).spawn(move || look(&proc, &offers)).ok()?;
        Some(Interpreted { offers: 0, newcomers, reader })
    }

    /// Has a process looked at, if it is a Python program; again where it may be one by now.
    pub(crate) fn offer(&mut self, pid: Pid) {
        if pid.0 != std::process::id() && self.offers < MOST_OFFERS {
            self.offers += 1;
            // The reader is gone only if it has failed: then nothing is seen.
            let _ = self.newcomers.send(pid);
        }
    }

    /// Ends the looks and adds what was seen.
    pub(crate) fn finish(self, into: &mut Recording) {
        drop(self.newcomers);
        let Ok(looks) = self.reader.join() else { return };
        let first = into.frames.len() as u32;
        into.frames.extend(looks.frames);
        let rows = looks.counts.into_iter().map(|((pid, tid, frames), samples)| Stack {
            pid,
            tid,
            samples,
            frames: frames.into_iter().map(|id| FrameId(first + id)).collect(),
        });
        into.set(&catalog::INTERPRETED_STACKS, Ok(rows.collect()));
    }
}

fn look(proc: &Path, offers: &Receiver<Pid>) -> Looks {
    let mut looks = Looks::default();
    let mut programs: Vec<(Pid, Interpreter)> = Vec::new();
    let mut threads: HashMap<(Pid, Tid), bool> = HashMap::new();
    for pause in PAUSES_MS.into_iter().cycle() {
        let offer = match programs.is_empty() {
            true => offers.recv().map_err(|_| RecvTimeoutError::Disconnected),
            false => offers.recv_timeout(Duration::from_millis(pause)),
        };
        match offer {
            Ok(pid) => {
                programs.retain(|(known, _)| *known != pid && proc.join(known.to_string()).exists());
                if programs.len() < MOST {
                    programs.extend(Interpreter::of(proc, pid).map(|found| (pid, found)));
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                for (pid, program) in &mut programs {
                    // In a container, threads have other numbers: then it is not known which one it is.
                    let mut is_its = |tid| {
                        let there = || proc.join(format!("{pid}/task/{tid}")).exists();
                        *threads.entry((*pid, tid)).or_insert_with(there)
                    };
                    let Some(look) = program.look(|tid| is_its(tid) && is_running(proc, *pid, tid)) else { continue };
                    let tid = look.tid.filter(|tid| is_its(*tid)).or_else(|| only_thread(proc, *pid));
                    looks.add(*pid, tid.unwrap_or(UNKNOWN), look.functions);
                }
            }
        }
    }
    looks
}

/// The only thread of a process that has no other: its directory has a link for each, and two of its own.
fn only_thread(proc: &Path, pid: Pid) -> Option<Tid> {
    let links = std::fs::metadata(proc.join(format!("{pid}/task"))).ok()?.nlink();
    (links == 3).then_some(Tid(pid.0))
}

/// Whether a thread runs, or waits for a CPU: proc(5).
fn is_running(proc: &Path, pid: Pid, tid: Tid) -> bool {
    let stat = std::fs::read_to_string(proc.join(format!("{pid}/task/{tid}/stat"))).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('R'))
}

impl Looks {
    fn add(&mut self, pid: Pid, tid: Tid, functions: Vec<Frame>) {
        let ids = functions.into_iter().map(|frame| {
            let next = self.frames.len() as u32;
            *self.ids.entry(frame).or_insert_with_key(|frame| {
                self.frames.push(frame.clone());
                next
            })
        });
        let mut key = (pid, tid, ids.collect::<Vec<u32>>());
        if self.counts.len() >= MOST_STACKS && !self.counts.contains_key(&key) {
            key.2.drain(..key.2.len().saturating_sub(1));
        }
        *self.counts.entry(key).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use observe::FrameKind;

    #[test]
    fn of_too_many_different_stacks_the_innermost_function_is_kept() {
        let frame = |name: String| Frame { name, module: String::new(), kind: FrameKind::User, unknown: String::new() };
        let mut looks = Looks::default();
        for n in 0..MOST_STACKS + 10 {
            looks.add(Pid(1), Tid(1), vec![frame(format!("outer {n}")), frame("inner".to_owned())]);
        }
        assert_eq!(looks.counts.len(), MOST_STACKS + 1);
        let alone: Vec<u64> =
            looks.counts.iter().filter(|(key, _)| key.2.len() == 1).map(|(_, count)| *count).collect();
        assert_eq!(alone, [10]);
        assert_eq!(looks.counts.values().sum::<u64>(), MOST_STACKS as u64 + 10);
    }
}
