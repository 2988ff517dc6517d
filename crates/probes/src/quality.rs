//! What the stacks of a recording are worth: how much of each set was unwound to its root, and how many frames have names.

use crate::{cpu::Samples, sched::Books, stacks::Stacks, unwind};
use observe::{Frame, FrameId, Labels, Pid, Recording, Series, catalog};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// One set of stacks, by weight.
#[derive(Default)]
struct Set {
    weight: f64,
    ends: BTreeMap<&'static str, f64>,
    frames: f64,
    names: BTreeMap<String, f64>,
}

impl Set {
    fn add(&mut self, end: &'static str, weight: f64, frames: &[FrameId], stacks: &Stacks) {
        self.weight += weight;
        *self.ends.entry(end).or_default() += weight;
        self.frames += weight * frames.len() as f64;
        for id in frames {
            let frame = stacks.frame(*id);
            let why = if frame.name.is_empty() { frame.unknown.as_str() } else { "" };
            match self.names.get_mut(why) {
                Some(part) => *part += weight,
                None => drop(self.names.insert(why.to_owned(), weight)),
            }
        }
    }

    fn store(self, name: &str, length: Duration, into: &mut Recording) {
        let row = |pairs: Vec<(&str, String)>, value: f64| {
            let labels = pairs.into_iter().map(|(label, value)| (label.to_owned(), value)).collect();
            Series::total(Labels(labels), length, value)
        };
        let set = || ("set", name.to_owned());
        into.push(&catalog::STACK_SETS, row(vec![set()], self.weight));
        for (end, part) in self.ends {
            into.push(&catalog::STACK_ENDS, row(vec![set(), ("end", end.to_owned())], part / self.weight.max(1e-9)));
        }
        for (why, part) in self.names {
            into.push(&catalog::STACK_NAMES, row(vec![set(), ("why", why)], part / self.frames.max(1e-9)));
        }
    }
}

/// Of each process: stacks by how and in which module they end, and their frames by module and why they have no name.
#[derive(Default)]
struct Tally {
    ends: BTreeMap<(u32, &'static str, String), u64>,
    names: BTreeMap<(u32, String, String), u64>,
}

impl Tally {
    /// Frames are outermost first.
    fn add<'a>(&mut self, pid: u32, end: &'static str, whole: bool, frames: impl Iterator<Item = &'a Frame>) {
        let mut stopped_in = None;
        for frame in frames {
            stopped_in.get_or_insert_with(|| frame.module.clone());
            let why = if frame.name.is_empty() { frame.unknown.clone() } else { String::new() };
            *self.names.entry((pid, why, frame.module.clone())).or_default() += 1;
        }
        let stopped_in = stopped_in.filter(|_| !whole).unwrap_or_default();
        *self.ends.entry((pid, end, stopped_in)).or_default() += 1;
    }

    fn store(self, into: &mut Recording) {
        let length = into.window.length;
        let row = |pid: u32, label: &str, value: String, module: String, count: u64| {
            let labels = [("pid".to_owned(), pid.to_string()), (label.to_owned(), value), ("in".to_owned(), module)];
            Series::total(Labels(labels.into_iter().collect()), length, count as f64)
        };
        let ends = self.ends.into_iter().map(|((pid, end, at), count)| row(pid, "end", end.to_owned(), at, count));
        into.set(&catalog::PROCESS_STACKS, Ok(ends.collect()));
        let names = self.names.into_iter().map(|((pid, why, at), count)| row(pid, "why", why, at, count));
        into.set(&catalog::PROCESS_FRAMES, Ok(names.collect()));
    }
}

/// Functions at which threads begin, without a table in some C libraries and runtimes.
const STARTS: &[&str] = &["_start", "clone", "__clone", "clone3", "__clone3", "start_thread"];

/// How a stack ends that is whole if its frame pointers can be trusted, by its two outermost frames: in code that keeps none
/// the register may be zero as well, which looks like the root; then none was followed in that module.
fn proven(outermost: &[&Frame]) -> (&'static str, bool) {
    match outermost {
        [last, next] if last.module == next.module => ("root", true),
        [last, ..] if STARTS.contains(&last.name.as_str()) || last.name.starts_with("runtime.") => ("root", true),
        [last, ..] if !last.name.is_empty() => ("no table", false),
        _ => ("unclear", false),
    }
}

/// Adds what the sets are worth; call while the processes are known. Kernel threads have no user stacks to judge.
pub(crate) fn collect(samples: &Samples, books: Option<&Books>, stacks: &Stacks, into: &mut Recording) {
    let of_interest = |pid: u32| {
        let process = into.processes.get(&Pid(pid));
        let wanted = !into.target.is_named() || into.target.contains(Pid(pid));
        wanted && !process.is_some_and(|p| p.is_kernel || p.is_friday)
    };
    let is_process = |pid: u32| pid != 0 && !into.processes.get(&Pid(pid)).is_some_and(|p| p.is_kernel || p.is_friday);
    let mut seen: BTreeSet<_> = samples.stacks().map(|(pid, user, ..)| (pid, user)).collect();
    seen.extend(books.iter().flat_map(|books| books.waits()).map(|(key, _)| (key.tgid, key.user_stack)));
    seen.retain(|(pid, _)| is_process(*pid));
    let end = |id: u64| stacks.end(id).map_or("not taken", |end| unwind::ending(end).0);
    let [mut on, mut off, mut wakers] = [Set::default(), Set::default(), Set::default()];
    for (_, user, kernel, count) in samples.stacks().filter(|(pid, ..)| of_interest(*pid)) {
        on.add(end(user), count as f64, &stacks.both(user, kernel), stacks);
    }
    if let Some(books) = books {
        for (key, value) in books.waits().filter(|(key, _)| of_interest(key.tgid)) {
            let seconds = value.ns as f64 / 1e9;
            off.add(end(key.user_stack), seconds, &stacks.both(key.user_stack, key.kernel_stack), stacks);
            // Interrupts and kernel threads wake without a user stack.
            if stacks.end(key.waker_stack).is_some() {
                wakers.add(end(key.waker_stack), seconds, stacks.user(key.waker_stack), stacks);
            }
        }
        let skipped: u64 = books.skipped_waits(of_interest).sum();
        off.add("short wait", skipped as f64 / 1e9, &[], stacks);
    }
    // Each different stack counts once, so that idle threads count as much as busy ones.
    let mut tally = Tally::default();
    for (pid, id) in seen {
        let frames = stacks.user(id);
        let guessed = stacks.end(id).is_some_and(unwind::is_guessed);
        let last: Vec<&Frame> = frames.iter().take(2).map(|id| stacks.frame(*id)).collect();
        let (end, whole) = match stacks.end(id).map_or(("not taken", false), unwind::ending) {
            (_, true) if guessed => proven(&last),
            end => end,
        };
        // Followed by frame pointers into code that may have none, it is certain of its innermost frame only.
        let certain = if end == unwind::BY_FRAME_POINTERS { frames.len().saturating_sub(1) } else { 0 };
        tally.add(pid, end, whole, frames[certain..].iter().map(|id| stacks.frame(*id)));
    }
    tally.store(into);
    let length = into.window.length;
    for metric in [&catalog::STACK_SETS, &catalog::STACK_ENDS, &catalog::STACK_NAMES] {
        into.set(metric, Ok(Vec::new()));
    }
    for (name, set) in [("on-CPU", on), ("off-CPU", off), ("waker", wakers)] {
        set.store(name, length, into);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use observe::FrameKind;

    #[test]
    fn each_process_has_its_own_stacks_and_reasons() {
        let frame = |name: &str, unknown: &str| Frame {
            name: name.to_owned(),
            module: "server".into(),
            kind: FrameKind::User,
            unknown: unknown.to_owned(),
        };
        let frames = [frame("main", ""), frame("", "stripped")];
        let mut tally = Tally::default();
        tally.add(7, "root", true, frames.iter());
        tally.add(7, "no table", false, frames[1..].iter());
        tally.add(8, "root", true, frames[..1].iter());
        let ends: Vec<_> = tally.ends.iter().map(|((pid, end, at), count)| (*pid, *end, at.as_str(), *count)).collect();
        assert_eq!(ends, [(7, "no table", "server", 1), (7, "root", "", 1), (8, "root", "", 1)]);
        let names: Vec<_> = tally.names.iter().map(|((pid, why, _), count)| (*pid, why.as_str(), *count)).collect();
        assert_eq!(names, [(7, "", 1), (7, "stripped", 2), (8, "", 1)]);
    }

    #[test]
    fn a_frame_pointer_of_zero_is_a_root_only_where_frame_pointers_lead_there() {
        let frame = |name: &str, module: &str| Frame {
            name: name.to_owned(),
            module: module.to_owned(),
            kind: FrameKind::User,
            unknown: String::new(),
        };
        let (nap, sleep, bare) = (frame("nap", "server"), frame("nanosleep", "libc.so.6"), frame("", "server"));
        assert_eq!(proven(&[&nap, &sleep]), ("no table", false));
        assert_eq!(proven(&[&nap]), ("no table", false));
        assert_eq!(proven(&[&bare, &sleep]), ("unclear", false));
        assert_eq!(proven(&[&bare, &nap]), ("root", true));
        assert_eq!(proven(&[&frame("__clone", "libc.so"), &nap]), ("root", true));
        assert_eq!(proven(&[&frame("runtime.mcall", "server")]), ("root", true));
        assert_eq!(proven(&[]), ("unclear", false));
    }
}
