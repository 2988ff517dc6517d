//! User stacks of threads that blocked before anybody looked: walked in user space as the window begins, by the same
//! tables. A hang shows here.

use crate::bpf::types::{self, unwind_end as End};
use observe::Pid;
use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    os::unix::fs::FileExt,
    path::Path,
    rc::Rc,
    time::{Duration, Instant},
};
use symbolize::unwind::{self, Backed, Cfa, Code, FramePointer, Image, Rule, Table};

/// As many frames as the kernel side keeps.
const DEEPEST: usize = 127;
/// ours: more threads than this sleep in pools, and the others show what they do.
const MOST: usize = 1024;
/// ours: a tenth of a second of one CPU is little enough in a window of ten.
const LONGEST: Duration = Duration::from_millis(100);
/// ours: most stacks of sleeping threads are smaller; what lies beyond is read word by word.
const STACK: usize = 16 << 10;
/// Rules of the kernel side's walker: where user space ends, and how far a frame pointer may lie above the stack pointer.
const HIGHEST: u64 = 1 << 56;
const FARTHEST: u64 = 8 << 20;
/// How often a frame pointer may lead to another stack.
const CROSSINGS: u32 = 4;

/// A stack, innermost frame first, and why it ends (`unwind_end`).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Walked {
    pub ips: Vec<u64>,
    pub end: u64,
}

/// Walks the stacks of some threads, as long as that takes not too long; by thread.
pub(super) fn walk(proc: &Path, threads: &[types::place]) -> HashMap<u32, Walked> {
    let begun = Instant::now();
    let mut by_process: BTreeMap<u32, Vec<&types::place>> = BTreeMap::new();
    for thread in threads.iter().take(MOST) {
        by_process.entry(thread.tgid).or_default().push(thread);
    }
    let mut binaries = HashMap::new();
    let mut walked = HashMap::new();
    for (pid, threads) in by_process {
        let Some(mut process) = Process::open(proc, Pid(pid), &mut binaries) else { continue };
        for thread in threads {
            if begun.elapsed() > LONGEST {
                return walked;
            }
            let stack = process.walk(thread.ip, thread.sp, thread.bp);
            // Whoever has run meanwhile has another stack.
            if slept_on(proc, thread) {
                walked.insert(thread.tid, stack);
            }
        }
    }
    walked
}

/// Whether a thread has not been switched since its place was noted.
fn slept_on(proc: &Path, thread: &types::place) -> bool {
    let status = fs::read_to_string(proc.join(format!("{}/task/{}/status", thread.tgid, thread.tid)));
    let status = status.unwrap_or_default();
    let counted = status.lines().filter_map(|line| line.split_once("voluntary_ctxt_switches:"));
    let switches: Vec<u64> = counted.filter_map(|(_, count)| count.trim().parse().ok()).collect();
    switches.len() == 2 && switches.iter().sum::<u64>() == thread.context_switches
}

/// A binary with its unwind table, where it has one.
type Binary = Option<Rc<(Image, Table)>>;
type Binaries = HashMap<Backed, Binary>;

/// A process' code and memory.
struct Process {
    code: Vec<(Code, Binary)>,
    memory: File,
    /// What was read of a stack, and from where.
    stack: Vec<u8>,
    from: u64,
}

impl Process {
    fn open(proc: &Path, pid: Pid, binaries: &mut Binaries) -> Option<Process> {
        let memory = File::open(proc.join(format!("{pid}/mem"))).ok()?;
        let mut known = Vec::new();
        for code in unwind::code(proc, pid).ok()? {
            let read = || {
                let image = Image::open(proc, pid, &code).ok()?;
                let table = image.table().ok()?;
                Some(Rc::new((image.without_information(), table)))
            };
            let binary = match &code.backed {
                Backed::Vdso => read(),
                file => binaries.entry(file.clone()).or_insert_with(read).clone(),
            };
            known.push((code, binary));
        }
        Some(Process { code: known, memory, stack: Vec::new(), from: 0 })
    }

    fn word(&self, at: u64) -> Option<u64> {
        let inside = at.checked_sub(self.from).and_then(|at| self.stack.get(at as usize..at as usize + 8));
        let mut bytes = [0; 8];
        match inside {
            Some(word) => bytes.copy_from_slice(word),
            None => self.memory.read_exact_at(&mut bytes, at).ok()?,
        }
        Some(u64::from_ne_bytes(bytes))
    }

    fn is_code(&self, pc: u64) -> bool {
        self.code.iter().any(|(code, _)| (code.start()..code.end()).contains(&pc))
    }

    fn rule(&self, pc: u64) -> Rule {
        let at = self.code.partition_point(|(code, _)| code.end() <= pc);
        let Some((code, Some(binary))) = self.code.get(at).filter(|(code, _)| code.start() <= pc) else {
            return Rule::Unknown;
        };
        binary.0.bias(code).map_or(Rule::Unknown, |bias| binary.1.find(pc.wrapping_sub(bias)))
    }

    fn walk(&mut self, ip: u64, sp: u64, bp: u64) -> Walked {
        self.stack.resize(STACK, 0);
        self.from = sp;
        let read = self.memory.read_at(&mut self.stack, sp).unwrap_or(0);
        self.stack.truncate(read);
        let mut registers = Registers { ip, sp, bp, exact: true, crossed: false, crossings: 0 };
        let mut ips = Vec::new();
        let mut guessed = 0;
        let end = loop {
            if registers.ip == 0 || registers.ip >= HIGHEST {
                break if ips.is_empty() { End::UNWIND_NO_REGISTERS } else { End::UNWIND_BAD_FRAME };
            }
            if ips.len() == DEEPEST {
                break End::UNWIND_DEEP;
            }
            if std::mem::take(&mut registers.crossed) && !self.is_code(registers.ip - 1) {
                break End::UNWIND_NO_TABLE;
            }
            ips.push(registers.ip);
            let rule = self.rule(registers.ip - u64::from(!registers.exact));
            if matches!(rule, Rule::Unknown) {
                guessed = End::UNWIND_GUESSED.0;
            }
            if let Err(end) = registers.step(rule, |at| self.word(at)) {
                break end;
            }
        };
        Walked { ips, end: u64::from(end.0 | guessed) }
    }
}

struct Registers {
    ip: u64,
    sp: u64,
    bp: u64,
    /// The instruction pointer is where the thread was, not where a call returns to.
    exact: bool,
    /// The frame pointer has just led to another stack.
    crossed: bool,
    crossings: u32,
}

impl Registers {
    /// Goes on to the caller, as the kernel side does.
    fn step(&mut self, rule: Rule, word: impl Fn(u64) -> Option<u64>) -> Result<(), End> {
        let word = |at: u64| word(at).ok_or(End::UNWIND_FAULT);
        let (ip, sp) = match rule {
            Rule::Root => return Err(End::UNWIND_ROOT),
            Rule::Unsupported => return Err(End::UNWIND_UNSUPPORTED),
            Rule::Signal => {
                // The kernel's struct ucontext: rbp, then five registers on rsp and rip.
                self.bp = word(self.sp + 120)?;
                (self.ip, self.exact) = (word(self.sp + 168)?, true);
                self.sp = word(self.sp + 160)?;
                return Ok(());
            }
            Rule::Unknown => {
                if self.bp == 0 {
                    return Err(End::UNWIND_ROOT);
                }
                self.crossed = self.bp < self.sp || self.bp - self.sp > FARTHEST;
                self.crossings += u32::from(self.crossed);
                if self.bp & 7 != 0 || self.crossings > CROSSINGS {
                    return Err(End::UNWIND_NO_TABLE);
                }
                let from = self.bp;
                let word = |at| word(at).map_err(|why| if self.crossed { End::UNWIND_NO_TABLE } else { why });
                let pair = (word(from)?, word(from + 8)?);
                self.bp = pair.0;
                (pair.1, from + 16)
            }
            Rule::Frame { cfa, frame_pointer } => {
                let cfa = match cfa {
                    Cfa::StackPointer(offset) => self.sp.wrapping_add(u64::from(offset)),
                    Cfa::FramePointer(offset) => self.bp.wrapping_add_signed(i64::from(offset)),
                    Cfa::Linkage(first) => self.sp + if self.ip & 15 >= u64::from(first) { 16 } else { 8 },
                    Cfa::AtFramePointer(offset) => word(self.bp.wrapping_add_signed(i64::from(offset)))?,
                    Cfa::AtStackPointer(offset, more) => word(self.sp + u64::from(offset))?.wrapping_add(more.into()),
                };
                if cfa <= self.sp || cfa & 7 != 0 {
                    return Err(End::UNWIND_BAD_FRAME);
                }
                match frame_pointer {
                    FramePointer::Kept => {}
                    FramePointer::BelowCfa(bytes) => self.bp = word(cfa - u64::from(bytes))?,
                    FramePointer::AtFramePointer => self.bp = word(self.bp)?,
                    FramePointer::Lost => self.bp = 1,
                }
                (word(cfa - 8)?, cfa)
            }
        };
        if ip == 0 {
            return Err(End::UNWIND_ROOT);
        }
        (self.ip, self.sp, self.exact) = (ip, sp, false);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_follow_the_rules() {
        let memory = HashMap::from([(0x1000, 7), (0x1008, 0x4242), (0x1018, 0x55), (0x1020, 0x4343)]);
        let mut at = Registers { ip: 0x4000, sp: 0x1000, bp: 0x1018, exact: true, crossed: false, crossings: 0 };
        let word = |address: u64| memory.get(&address).copied();
        let frame = |cfa, frame_pointer| Rule::Frame { cfa, frame_pointer };
        at.step(frame(Cfa::StackPointer(16), FramePointer::Kept), word).unwrap();
        assert_eq!((at.ip, at.sp, at.bp, at.exact), (0x4242, 0x1010, 0x1018, false));
        at.step(Rule::Unknown, word).unwrap();
        assert_eq!((at.ip, at.sp, at.bp), (0x4343, 0x1028, 0x55));
        assert_eq!(at.step(Rule::Root, word), Err(End::UNWIND_ROOT));
        assert_eq!(at.step(Rule::Unknown, word), Err(End::UNWIND_NO_TABLE), "0x55 is no frame pointer");
        assert_eq!(at.step(frame(Cfa::StackPointer(8), FramePointer::Kept), word), Err(End::UNWIND_FAULT));
        let back = frame(Cfa::FramePointer(8), FramePointer::Kept);
        assert_eq!(at.step(back, word), Err(End::UNWIND_BAD_FRAME), "the caller's frame would lie below");
    }
}
