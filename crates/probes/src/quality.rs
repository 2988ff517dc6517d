//! What the stacks of a recording are worth: how much of each set was unwound to its root, and how many frames have names.

use crate::{cpu::Samples, sched::Books, stacks::Stacks, unwind};
use observe::{FrameId, Labels, Pid, Recording, Series, catalog};
use std::{collections::BTreeMap, time::Duration};

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

/// Adds what the sets are worth; call while the processes are known. Kernel threads have no user stacks to judge.
pub(crate) fn collect(samples: &Samples, books: Option<&Books>, stacks: &Stacks, into: &mut Recording) {
    let of_interest = |pid: u32| {
        let process = into.processes.get(&Pid(pid));
        let wanted = !into.target.is_named() || into.target.contains(Pid(pid));
        wanted && !process.is_some_and(|p| p.is_kernel || p.is_friday)
    };
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
    let length = into.window.length;
    for metric in [&catalog::STACK_SETS, &catalog::STACK_ENDS, &catalog::STACK_NAMES] {
        into.set(metric, Ok(Vec::new()));
    }
    for (name, set) in [("on-CPU", on), ("off-CPU", off), ("waker", wakers)] {
        set.store(name, length, into);
    }
}
