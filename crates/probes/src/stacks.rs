//! From the kernel side's stack tables to named frames, each address looked up once.

use crate::bpf::{Kernel, rows, types};
use observe::{Frame, FrameId, Pid};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use symbolize::{Address, Symbolizer};

/// Named stacks by the kernel side's ids. Frames are outermost first.
pub(crate) struct Stacks {
    kernel: HashMap<u64, Vec<FrameId>>,
    user: HashMap<u64, Vec<FrameId>>,
    leaves: HashMap<u64, u64>,
    ends: HashMap<u64, u64>,
    frames: Vec<Frame>,
}

impl Stacks {
    /// Names every stack, those of the kernel side and some more. `owners` says which process a user stack is of.
    pub fn read(
        kernel: &Kernel,
        more: Vec<UserStack>,
        symbolizer: &mut Symbolizer,
        owners: &HashMap<u64, u32>,
    ) -> Self {
        let mut intern = Intern::default();
        let kernel_raw: Vec<(u64, Vec<u64>)> = rows::<u64, types::kernel_stack>(&kernel.maps().kernel_stacks)
            .into_iter()
            .map(|(id, stack)| (id, stack.ips[..(stack.depth as usize).min(stack.ips.len())].to_vec()))
            .collect();
        let mut ends = HashMap::new();
        let mut user_raw: Vec<(u64, Vec<u64>)> = rows::<u64, types::user_stack>(&kernel.maps().user_stacks)
            .into_iter()
            .map(|(id, stack)| {
                ends.insert(id, stack.end);
                (id, stack.ips[..(stack.depth as usize).min(stack.ips.len())].to_vec())
            })
            .collect();

        for UserStack { id, ips, end } in more {
            ends.insert(id, end);
            user_raw.push((id, ips));
        }
        let wanted = addresses(kernel_raw.iter().map(|(_, ips)| ips.as_slice()));
        let names = look_up(&wanted, |list| symbolizer.kernel(list), &mut intern);
        let kernel = kernel_raw.into_iter().map(|(id, ips)| (id, assemble(&ips, &names))).collect();

        let mut by_process: BTreeMap<u32, Vec<(u64, Vec<u64>)>> = BTreeMap::new();
        for (id, ips) in user_raw {
            if let Some(pid) = owners.get(&id) {
                by_process.entry(*pid).or_default().push((id, ips));
            }
        }
        let mut user = HashMap::new();
        let mut leaves = HashMap::new();
        for (pid, stacks) in by_process {
            let wanted = addresses(stacks.iter().map(|(_, ips)| ips.as_slice()));
            let names = look_up(&wanted, |list| symbolizer.process(Pid(pid), list), &mut intern);
            for (id, ips) in stacks {
                leaves.extend(ips.first().map(|leaf| (id, *leaf)));
                let mut frames = assemble(&ips, &names);
                if cut_at_top(&mut frames, &intern.frames) || begins_at_root(&frames, &intern.frames) {
                    ends.insert(id, u64::from(types::unwind_end::UNWIND_ROOT.0));
                }
                user.insert(id, frames);
            }
        }
        Stacks { kernel, user, leaves, ends, frames: intern.frames }
    }

    /// Names some kernel stacks, innermost frame first, given by ids.
    pub fn of_kernel(raw: HashMap<u64, Vec<u64>>, symbolizer: &mut Symbolizer) -> Self {
        let mut intern = Intern::default();
        let wanted = addresses(raw.values().map(Vec::as_slice));
        let names = look_up(&wanted, |list| symbolizer.kernel(list), &mut intern);
        let kernel = raw.into_iter().map(|(id, ips)| (id, assemble(&ips, &names))).collect();
        Stacks { kernel, user: HashMap::new(), leaves: HashMap::new(), ends: HashMap::new(), frames: intern.frames }
    }

    /// Kernel frames of a stack; empty for id 0 or a lost stack.
    pub fn kernel(&self, id: u64) -> &[FrameId] {
        self.kernel.get(&id).map_or(&[], Vec::as_slice)
    }

    /// User frames of a stack; empty for id 0 or a lost stack.
    pub fn user(&self, id: u64) -> &[FrameId] {
        self.user.get(&id).map_or(&[], Vec::as_slice)
    }

    /// The address of a user stack's innermost instruction; `None` for id 0 or a lost stack.
    pub fn leaf(&self, id: u64) -> Option<u64> {
        self.leaves.get(&id).copied()
    }

    /// Why a user stack ends where it does (`unwind_end`); `None` for id 0 or a lost stack.
    pub fn end(&self, id: u64) -> Option<u64> {
        self.ends.get(&id).copied()
    }

    /// One of the frames.
    pub fn frame(&self, id: FrameId) -> &Frame {
        &self.frames[id.0 as usize]
    }

    /// User frames, then kernel frames.
    pub fn both(&self, user: u64, kernel: u64) -> Vec<FrameId> {
        [self.user(user), self.kernel(kernel)].concat()
    }

    /// The names of some frames.
    pub fn names(&self, frames: &[FrameId]) -> Vec<&str> {
        frames.iter().map(|id| self.frames[id.0 as usize].name.as_str()).collect()
    }

    /// The table that the ids refer to.
    pub fn into_frames(self) -> Vec<Frame> {
        self.frames
    }
}

/// A user stack before it is named, innermost frame first.
pub(crate) struct UserStack {
    pub id: u64,
    pub ips: Vec<u64>,
    /// Why it ends there (`unwind_end`).
    pub end: u64,
}

#[derive(Default)]
struct Intern {
    ids: HashMap<Frame, FrameId>,
    frames: Vec<Frame>,
}

impl Intern {
    fn id(&mut self, frame: Frame) -> FrameId {
        let next = FrameId(self.frames.len() as u32);
        *self.ids.entry(frame.clone()).or_insert_with(|| {
            self.frames.push(frame);
            next
        })
    }
}

/// The innermost address is exact, the others are where calls return to.
fn addresses<'a>(stacks: impl Iterator<Item = &'a [u64]>) -> Vec<Address> {
    let mut wanted = BTreeSet::new();
    for ips in stacks {
        wanted.extend(ips.iter().enumerate().map(|(depth, ip)| Address { ip: *ip, is_return: depth > 0 }));
    }
    wanted.into_iter().collect()
}

fn look_up(
    wanted: &[Address],
    name: impl FnOnce(&[Address]) -> Vec<Vec<Frame>>,
    intern: &mut Intern,
) -> HashMap<Address, Vec<FrameId>> {
    if wanted.is_empty() {
        return HashMap::new();
    }
    let named = name(wanted);
    wanted
        .iter()
        .zip(named)
        .map(|(address, frames)| (*address, frames.into_iter().map(|frame| intern.id(frame)).collect()))
        .collect()
}

fn assemble(ips: &[u64], names: &HashMap<Address, Vec<FrameId>>) -> Vec<FrameId> {
    let mut frames = Vec::with_capacity(ips.len());
    for (depth, ip) in ips.iter().enumerate().rev() {
        if let Some(ids) = names.get(&Address { ip: *ip, is_return: depth > 0 }) {
            frames.extend(ids);
        }
    }
    frames
}

/// Functions at which a runtime has moved to another stack for good, so that what the frame pointer leads to beyond is of the
/// past: Go's scheduler runs on a stack of its own. They end the runtime's own traces too (`topofstack` in Go's
/// runtime/traceback.go).
const TOPS: &[&str] = &["runtime.mcall", "runtime.mcall.abi0"];

/// Drops the frames outside of a function at which the runtime has moved. Whether there was one.
fn cut_at_top(outermost_first: &mut Vec<FrameId>, frames: &[Frame]) -> bool {
    let top = outermost_first.iter().rposition(|id| TOPS.contains(&frames[id.0 as usize].name.as_str()));
    if let Some(top) = top {
        outermost_first.drain(..top);
    }
    top.is_some()
}

/// Functions at which Go's threads and goroutines begin: nothing called them, and what the frame pointer held before is left
/// in its register (the same `topofstack`).
const ROOTS: &[&str] = &[
    "runtime.mstart",
    "runtime.mstart.abi0",
    "runtime.goexit",
    "runtime.goexit.abi0",
    "runtime.rt0_go",
    "runtime.rt0_go.abi0",
];

/// Whether the outermost frame is such a function.
fn begins_at_root(outermost_first: &[FrameId], frames: &[Frame]) -> bool {
    outermost_first.first().is_some_and(|id| ROOTS.contains(&frames[id.0 as usize].name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use observe::FrameKind;

    #[test]
    fn a_stack_that_the_runtime_has_left_for_good_is_no_part_of_the_next() {
        let mut intern = Intern::default();
        let mut stack = |names: &[&str]| -> Vec<FrameId> {
            let frame = |name: &&str| Frame {
                name: (*name).to_owned(),
                module: "server".into(),
                kind: FrameKind::User,
                unknown: String::new(),
            };
            names.iter().map(|name| intern.id(frame(name))).collect()
        };
        let mut parked = stack(&["net/http.(*conn).serve", "runtime.mcall", "runtime.schedule", "runtime.futex"]);
        let mut whole = stack(&["main", "work"]);
        let monitor = stack(&["runtime.mstart.abi0", "runtime.mstart0", "runtime.sysmon", "runtime.usleep.abi0"]);
        assert!(cut_at_top(&mut parked, &intern.frames) && !cut_at_top(&mut whole, &intern.frames));
        let names: Vec<&str> = parked.iter().map(|id| intern.frames[id.0 as usize].name.as_str()).collect();
        assert_eq!(names, ["runtime.mcall", "runtime.schedule", "runtime.futex"]);
        assert_eq!(whole.len(), 2);
        assert!(begins_at_root(&monitor, &intern.frames) && !begins_at_root(&whole, &intern.frames));
    }
}
