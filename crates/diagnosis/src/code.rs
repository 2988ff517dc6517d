//! Which code: the function that CPU samples point at, and code paths in a few words.

use crate::{Scene, Victim};
use observe::{Frame, FrameId, FrameKind, Observed, Ratio, Recording, Stack, TimeClass, catalog};
use std::{collections::HashMap, time::Duration};

/// The function most samples of some kind are in.
pub struct Hot {
    /// Function name; the binary's name where it has none.
    pub function: String,
    /// It has a name of its own.
    pub named: bool,
    /// The binary it is in.
    pub module: String,
    /// Samples in it.
    pub samples: u64,
    /// All samples of that kind.
    pub of: u64,
    /// The heaviest path to it, outermost first.
    pub path: Vec<String>,
    /// Where an interpreter runs it: what the interpreter is at for it, and in which binary.
    pub by: Option<(String, String)>,
}

/// ours: what this part of the samples are below is what the program is at.
const MOST: f64 = 0.7;

/// ours: a caller says more than the function itself where so many more of the samples are below it.
const MORE: f64 = 0.1;

/// Where programs and threads begin, and what runs a program that is data: that all is below them says nothing.
const SAYS_NOTHING: &[&str] = &[
    "main",
    "_start",
    "__libc_start",
    "start_thread",
    "clone",
    "thread_",
    "runtime.",
    "<module>",
    "_PyEval_",
    "_PyFunction_",
    "_PyObject_",
    "PyObject_",
    "method_vectorcall",
    "execute_ex",
    "rb_vm_exec",
    "vm_exec",
    "luaV_execute",
    "Builtins_InterpreterEntryTrampoline",
    "Builtins_JSEntry",
    "Builtins_CEntry",
];

/// The victim's hottest own function: the innermost user frame, and for what the C library or the dynamic loader
/// does, or compiled code without a name, the function that asked for it. `None` without samples.
pub fn hot_user(scene: &Scene, victim: &Victim) -> Observed<Option<Hot>> {
    hot_user_of(scene, |stack| victim.contains(stack.pid))
}

/// The same of some stacks. Of a program that is interpreted, it is the function of that program.
pub fn hot_user_of(scene: &Scene, of: impl Fn(&Stack) -> bool) -> Observed<Option<Hot>> {
    Ok(native(scene, &of)?.map(|hot| interpreted(scene, &of, &hot).unwrap_or(hot)))
}

/// Python's function that is run most, where it is Python that runs, or has a library run.
fn interpreted(scene: &Scene, of: impl Fn(&Stack) -> bool, native: &Hot) -> Option<Hot> {
    /// ours: fewer looks have standard errors above 9 points.
    const ENOUGH: u64 = 30;
    /// ours: looks are half as frequent as samples, and half of what they could be says that most of the time is spent on
    /// other threads, in libraries that need no interpreter.
    const OF_SAMPLES: f64 = 0.25;
    let looks = scene.rec.get(&catalog::INTERPRETED_STACKS).ok()?;
    let mine = looks.iter().filter(|stack| of(stack));
    let hot = hottest_among(scene.rec, mine, |_, frames| frames.last().copied())?;
    let is_it = hot.of >= ENOUGH && hot.of as f64 >= native.of as f64 * OF_SAMPLES;
    is_it.then(|| Hot { by: Some((native.function.clone(), native.module.clone())), ..hot })
}

fn native(scene: &Scene, of: impl Fn(&Stack) -> bool) -> Observed<Option<Hot>> {
    let own = |frame: &Frame| !is_runtime(&frame.module) && (!frame.name.is_empty() || frame.module == JIT);
    let pick = |rec: &Recording, frames: &[FrameId]| {
        let mut user = frames.iter().rev().filter(|id| rec.frame(**id).kind == FrameKind::User);
        let in_kernel = frames.last().is_some_and(|id| rec.frame(*id).kind == FrameKind::Kernel);
        if in_kernel {
            return None;
        }
        let leaf = user.clone().next()?;
        // Compiled code without a name is somebody's own all the same; whoever called it is not where the time is.
        Some(*user.find(|id| own(rec.frame(**id))).unwrap_or(leaf))
    };
    let hot = hottest(scene, &of, pick)?;
    Ok(hot.map(|hot| if hot.named || hot.module != JIT { hot } else { runner(scene, &of, &hot).unwrap_or(hot) }))
}

/// Whose function runs compiled code that has no name, such as a regular expression: one of the program's, or of its
/// runtime's called by one of the program's, where it is the same for most of it. What enters all compiled code is nobody's.
fn runner(scene: &Scene, of: impl Fn(&Stack) -> bool, nameless: &Hot) -> Option<Hot> {
    let hot = hottest(scene, of, |rec, frames| {
        let compiled = |id: &FrameId| rec.frame(*id).module == JIT || is_script(&rec.frame(*id).module);
        let (last, outer) = frames.split_last()?;
        if rec.frame(*last).module != JIT || !rec.frame(*last).name.is_empty() {
            return None;
        }
        let says = |id: &&FrameId| {
            let name = &rec.frame(**id).name;
            !name.is_empty() && !SAYS_NOTHING.iter().any(|start| name.starts_with(start))
        };
        let caller = outer.iter().rposition(|id| says(&id))?;
        outer[..=caller].iter().any(compiled).then(|| outer[caller])
    });
    hot.ok()
        .flatten()
        .filter(|hot| hot.samples as f64 >= nameless.samples as f64 * MOST)
        .map(|hot| Hot { of: nameless.of, ..hot })
}

/// The victim's hottest kernel function: the innermost kernel frame. `None` without kernel samples.
pub fn hot_kernel(scene: &Scene, victim: &Victim) -> Observed<Option<Hot>> {
    let mine = |stack: &Stack| victim.contains(stack.pid);
    hottest(scene, mine, |rec, frames| frames.last().copied().filter(|id| rec.frame(*id).kind == FrameKind::Kernel))
}

/// How many of the victim's samples pass through a kernel function, and how many are in the kernel.
pub fn through(scene: &Scene, victim: &Victim, function: &str) -> Observed<(u64, u64)> {
    let (mut hits, mut kernel) = (0, 0);
    for stack in scene.samples(|pid| victim.contains(pid))? {
        let mut frames = stack.frames.iter().map(|id| scene.rec.frame(*id)).filter(|f| f.kind == FrameKind::Kernel);
        if frames.clone().next().is_some() {
            kernel += stack.samples;
            if frames.any(|f| f.name == function) {
                hits += stack.samples;
            }
        }
    }
    Ok((hits, kernel))
}

/// How many samples there are of the victim. Zero where there is no profile.
pub fn samples(scene: &Scene, victim: &Victim) -> u64 {
    scene.samples(|pid| victim.contains(pid)).map_or(0, |stacks| stacks.iter().map(|s| s.samples).sum())
}

/// The part of the victim's running time that some of its samples stand for.
pub fn running(scene: &Scene, victim: &Victim, some: u64) -> Duration {
    let part = Ratio::of_counts(some as f64, samples(scene, victim) as f64);
    victim.times.sum(TimeClass::is_running).mul_f64(part.0.min(1.0))
}

/// The same with its part of the time that the victim waited for a CPU.
pub fn wanted(scene: &Scene, victim: &Victim, some: u64) -> Duration {
    let ran = victim.times.sum(TimeClass::is_running);
    let queued = victim.times.sum(TimeClass::is_runnable);
    running(scene, victim, some).mul_f64(Ratio::of(ran + queued, ran).0.max(1.0))
}

/// The innermost function of the program itself: neither the C library's nor the kernel's.
pub fn own_function(rec: &Recording, frames: &[FrameId]) -> Option<FrameId> {
    let own = |frame: &Frame| frame.kind == FrameKind::User && !frame.name.is_empty() && !is_runtime(&frame.module);
    frames.iter().rev().copied().find(|id| own(rec.frame(*id)))
}

/// The frame that a rule picks from most of some samples; the rule passes over what is not of its kind.
pub fn hottest(
    scene: &Scene,
    of: impl Fn(&Stack) -> bool,
    pick: impl Fn(&Recording, &[FrameId]) -> Option<FrameId>,
) -> Observed<Option<Hot>> {
    Ok(hottest_among(scene.rec, scene.rec.get(&catalog::CPU_STACKS)?.iter().filter(|stack| of(stack)), pick))
}

/// The same of stacks of any kind.
pub fn hottest_among<'a>(
    rec: &'a Recording,
    stacks: impl Iterator<Item = &'a Stack>,
    pick: impl Fn(&Recording, &[FrameId]) -> Option<FrameId>,
) -> Option<Hot> {
    let mut by_function: HashMap<(&str, &str), (u64, u64, &[FrameId])> = HashMap::new();
    let mut all = 0;
    for stack in stacks {
        let Some(id) = pick(rec, &stack.frames) else { continue };
        let frame = rec.frame(id);
        all += stack.samples;
        let entry = by_function.entry((&frame.name, &frame.module)).or_insert((0, 0, &[]));
        entry.0 += stack.samples;
        if stack.samples > entry.1 {
            (entry.1, entry.2) = (stack.samples, &stack.frames);
        }
    }
    let best = by_function.into_iter().max_by(|a, b| a.1.0.cmp(&b.1.0).then_with(|| b.0.cmp(&a.0)));
    best.map(|((name, module), (samples, _, frames))| Hot {
        function: if name.is_empty() { format!("{module} (no symbols)") } else { name.to_owned() },
        named: !name.is_empty(),
        module: module.to_owned(),
        samples,
        of: all,
        path: path(rec, frames),
        by: None,
    })
}

impl Hot {
    /// What [`Hot::samples`] are, in words.
    pub fn what(&self) -> &'static str {
        if self.by.is_some() { "looks at the interpreter" } else { "CPU samples" }
    }

    /// The innermost of its callers, on the heaviest path to it, below which most of the victim's samples in user code are, and
    /// which part of them: what the program is at, where the function itself is a small part of that, or anybody's.
    pub fn below(&self, scene: &Scene, victim: &Victim) -> Option<(String, Ratio)> {
        let outer = self.path.iter().position(|name| *name == self.function)?;
        let mut callers: HashMap<&str, (usize, u64)> = HashMap::new();
        callers.extend(self.path[..outer].iter().enumerate().map(|(at, name)| (name.as_str(), (at, 0))));
        let metric = if self.by.is_some() { &catalog::INTERPRETED_STACKS } else { &catalog::CPU_STACKS };
        for stack in scene.rec.get(metric).ok()?.iter().filter(|stack| victim.contains(stack.pid)) {
            if stack.frames.last().is_none_or(|id| scene.rec.frame(*id).kind != FrameKind::User) {
                continue;
            }
            let mut met: Vec<&str> = stack.frames.iter().map(|id| scene.rec.frame(*id).name.as_str()).collect();
            met.sort_unstable();
            met.dedup();
            for name in met {
                if let Some((_, count)) = callers.get_mut(name) {
                    *count += stack.samples;
                }
            }
        }
        let part = |count: u64| Ratio::of_counts(count as f64, self.of as f64);
        let wanted = (part(self.samples).0 + MORE).max(MOST);
        let most = callers.into_iter().filter(|(_, (_, count))| part(*count).0 >= wanted);
        let (name, (_, count)) = most.max_by_key(|(_, (at, _))| *at)?;
        (!SAYS_NOTHING.iter().any(|start| name.starts_with(start))).then(|| (name.to_owned(), part(count)))
    }
}

/// Where the code lies that a runtime compiles.
pub const JIT: &str = "[jit]";

/// What stands for the binary of a function that Node compiled: a file, or a module of Node's own.
fn is_script(module: &str) -> bool {
    module.starts_with("node:") || [".js", ".mjs", ".cjs", ".ts"].iter().any(|end| module.ends_with(end))
}

/// The C library, the maths library and the dynamic loader: what they do is done for somebody.
pub fn is_runtime(module: &str) -> bool {
    ["libc.so", "libc-", "libm.so", "libm-", "ld-linux", "ld-musl", "libpthread", "[vdso]"]
        .iter()
        .any(|prefix| module.starts_with(prefix))
}

/// The kernel's own way into every system call says nothing.
const ENTRY: &[&str] = &["entry_SYSCALL_64_after_hwframe", "do_syscall_64", "x64_sys_call", "el0_svc", "do_el0_svc"];

/// A code path for people: named frames, outermost first.
pub fn path(rec: &Recording, frames: &[FrameId]) -> Vec<String> {
    let named = |frame: &&Frame| !frame.name.is_empty() && !ENTRY.contains(&frame.name.as_str());
    frames.iter().map(|id| rec.frame(*id)).filter(named).map(|frame| frame.name.clone()).collect()
}
