//! The functions of a Python program, read from its interpreter's memory: CPython needs no flag and is asked for nothing.
//!
//! Whoever runs Python's code holds the interpreter's lock, so its holder's frames are what the program is at; who let go of it
//! last may run a library's code for it. Where locks, threads and frames lie is known for each version (3.7 to 3.13, standard
//! builds on 64-bit machines; the offsets are those of the headers' structures). The program runs on meanwhile, so nothing read is
//! trusted: what is taken for a function must have the type of code objects, and every loop has an end. Where the layout is
//! another one, nothing is found.

use crate::{
    binaries, maps,
    maps::{Backing, Region},
    name, read_maps,
    unwind::elf,
    v8::Memory,
};
use observe::{Frame, FrameKind, Pid, Tid};
use std::{collections::HashMap, fs::File, path::Path};

/// ours: a program of more regions is hostile, or its interpreter is among the first.
const MOST_REGIONS: usize = 4096;
/// ours: as deep as other stacks are kept; Python's own limit is 1000.
const DEEPEST: usize = 127;
/// ours: frames of C that are passed over between two of Python.
const MOST_STEPS: usize = 512;
/// More is cut when it is shown.
const LONGEST_NAME: u64 = 256;
/// ours: a large program has some ten thousand functions.
const MOST_FUNCTIONS: usize = 65_536;
const WORD: usize = 8;
/// The file of frames that are none of the program's, since 3.12.
const SHIM: &str = "<shim>";

/// The module that Python's functions are shown in.
pub const MODULE: &str = "[python]";

/// Where the interpreter's lock is.
#[derive(Clone, Copy)]
enum Lock {
    /// `_PyRuntime.ceval.gil`.
    OfAll { at: u64 },
    /// `_PyRuntime.interpreters.main->ceval.gil`.
    OfMain { main: u64, gil: u64 },
}

/// Both fields of `struct _gil_runtime_state`.
const LAST_HOLDER: u64 = 8;
const LOCKED: u64 = 16;

/// Where things lie in one version's structures.
struct Layout {
    lock: Lock,
    /// `PyThreadState.native_thread_id`, where there is one.
    native_id: Option<u64>,
    /// `PyThreadState.frame`, `.cframe` or `.current_frame`.
    frame: u64,
    /// `_PyCFrame.current_frame`, where a thread has such a one.
    of_cframe: Option<u64>,
    /// Of a frame.
    back: u64,
    code: u64,
    /// Of a code object.
    file: u64,
    name: u64,
    line: u64,
    /// The size of the headers of strings.
    ascii: u64,
    compact: u64,
}

/// The code object's name of CPython 3.10 and before is the plain one, later the one with its classes.
fn layout(minor: u32) -> Option<&'static Layout> {
    const fn old(lock: u64, file: u64, line: u64) -> Layout {
        Layout {
            lock: Lock::OfAll { at: lock },
            native_id: None,
            frame: 24,
            of_cframe: None,
            back: 24,
            code: 32,
            file,
            name: file + 8,
            line,
            ascii: 48,
            compact: 72,
        }
    }
    const V7: Layout = old(1264, 96, 36);
    const V8: Layout = old(1152, 104, 40);
    const V9: Layout = old(352, 104, 40);
    const V11: Layout = Layout {
        lock: Lock::OfAll { at: 360 },
        native_id: Some(160),
        frame: 56,
        of_cframe: Some(8),
        back: 48,
        code: 32,
        file: 112,
        name: 128,
        line: 72,
        ascii: 48,
        compact: 72,
    };
    const V12: Layout = Layout {
        lock: Lock::OfMain { main: 48, gil: 384 },
        native_id: Some(144),
        frame: 56,
        of_cframe: Some(0),
        back: 8,
        code: 0,
        line: 68,
        ascii: 40,
        compact: 56,
        ..V11
    };
    const V13: Layout =
        Layout { lock: Lock::OfMain { main: 640, gil: 16 }, native_id: Some(160), frame: 72, of_cframe: None, ..V12 };
    match minor {
        7 => Some(&V7),
        8 => Some(&V8),
        9 | 10 => Some(&V9),
        11 => Some(&V11),
        12 => Some(&V12),
        13 => Some(&V13),
        _ => None,
    }
}

/// The interpreter in a process.
pub struct Interpreter(Reader<File>);

struct Reader<M> {
    memory: M,
    runtime: u64,
    code_type: u64,
    layout: &'static Layout,
    /// By the address of their code; none for the shims by which C calls.
    functions: HashMap<u64, Option<Frame>>,
}

impl Interpreter {
    /// Of a process, if there is one whose version is known; `proc` is where `/proc` is.
    pub fn of(proc: &Path, pid: Pid) -> Option<Interpreter> {
        let process = proc.join(pid.to_string());
        let regions = maps::parse(&read_maps(&process).ok()?, MOST_REGIONS);
        regions.iter().find_map(|region| Self::in_region(&process, region))
    }

    fn in_region(process: &Path, region: &Region) -> Option<Interpreter> {
        let Backing::File { path, inode, .. } = &region.backing else { return None };
        let minor = minor_version(&binaries::base_name(path))?;
        let file = binaries::open(process, region, path, *inode).ok()?;
        let found = elf::symbols(&file, elf::SHARED_SYMBOLS, &["_PyRuntime", "PyCode_Type"])?;
        let bias = elf::bias(&file, region.offset, region.start)?;
        let place = |name: &str| Some(found.get(name)?.address.wrapping_add(bias));
        let (runtime, code_type) = (place("_PyRuntime")?, place("PyCode_Type")?);
        let memory = File::open(process.join("mem")).ok()?;
        let layout = layout(minor)?;
        Some(Interpreter(Reader { memory, runtime, code_type, layout, functions: HashMap::new() }))
    }

    /// The thread that holds the interpreter's lock, or has let go of it last, where that `runs`: it is in a library's code.
    /// `None` where nobody does, or frames changed while they were read.
    pub fn look(&mut self, runs: impl FnOnce(Tid) -> bool) -> Option<Look> {
        self.0.look(runs)
    }
}

/// What a thread of a Python program is at.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// The thread, since 3.11; in a container, as that counts.
    pub tid: Option<Tid>,
    /// Its functions, outermost first.
    pub functions: Vec<Frame>,
}

/// `libpython3.11.so.1.0` and `python3.11` are 11.
fn minor_version(binary: &str) -> Option<u32> {
    let (_, version) = binary.split_once("python3.")?;
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

impl<M: Memory> Reader<M> {
    fn look(&mut self, runs: impl FnOnce(Tid) -> bool) -> Option<Look> {
        let (thread, holds) = self.holder()?;
        let tid = self.layout.native_id.and_then(|at| self.word(thread + at));
        let tid = tid.and_then(|tid| Some(Tid(u32::try_from(tid).ok()?)));
        if !holds && !tid.is_some_and(runs) {
            return None;
        }
        let mut frame = self.word(thread + self.layout.frame)?;
        if let Some(at) = self.layout.of_cframe {
            frame = self.word(frame.checked_add(at)?)?;
        }
        let mut functions = Vec::new();
        for _ in 0..MOST_STEPS {
            if frame == 0 || functions.len() == DEEPEST {
                break;
            }
            // Between frames of Python are those by which C called it: they have no code.
            let code = self.word(frame.checked_add(self.layout.code)?)?;
            functions.extend(self.function(code));
            frame = self.word(frame.checked_add(self.layout.back)?)?;
        }
        functions.reverse();
        (!functions.is_empty()).then_some(Look { tid, functions })
    }

    /// Who holds the lock, or held it last, and which of both it is.
    fn holder(&self) -> Option<(u64, bool)> {
        let lock = match self.layout.lock {
            Lock::OfAll { at } => self.runtime + at,
            Lock::OfMain { main, gil } => {
                let interpreter = self.word(self.runtime + main)?;
                self.word(interpreter.checked_add(gil)?)?
            }
        };
        let locked = self.word(lock.checked_add(LOCKED)?)? as u32;
        let thread = self.word(lock + LAST_HOLDER)?;
        (thread != 0 && thread < u64::MAX / 2).then_some((thread, locked == 1))
    }

    fn function(&mut self, code: u64) -> Option<Frame> {
        if let Some(known) = self.functions.get(&code) {
            return known.clone();
        }
        // Every object begins with its count of references and its type.
        if code == 0 || self.word(code.checked_add(WORD as u64)?)? != self.code_type {
            return None;
        }
        let file = self.text(self.word(code + self.layout.file)?)?;
        let file = file.rsplit('/').next().unwrap_or(&file);
        let line = self.word(code + self.layout.line)? as u32;
        let frame = (file != SHIM).then_some(Frame {
            name: name::foreign(&format!("{} ({file}:{line})", self.text(self.word(code + self.layout.name)?)?)),
            module: MODULE.to_owned(),
            kind: FrameKind::User,
            unknown: String::new(),
        });
        if self.functions.len() < MOST_FUNCTIONS {
            self.functions.insert(code, frame.clone());
        }
        frame
    }

    /// A string object in its compact form, which those of the compiler have: its characters follow its header.
    fn text(&self, at: u64) -> Option<String> {
        let length = self.word(at.checked_add(16)?)?.min(LONGEST_NAME);
        let state = self.word(at + 32)? as u32;
        let (width, is_compact, is_ascii) = (state >> 2 & 7, state >> 5 & 1 == 1, state >> 6 & 1 == 1);
        if !is_compact || !matches!(width, 1 | 2 | 4) {
            return None;
        }
        let data = at + if is_ascii { self.layout.ascii } else { self.layout.compact };
        let mut bytes = vec![0; (length * u64::from(width)) as usize];
        self.memory.read(data, &mut bytes).then_some(())?;
        let character = |bytes: &[u8]| bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
        let characters = bytes.chunks_exact(width as usize).map(character);
        Some(characters.map(|c| char::from_u32(c).unwrap_or(char::REPLACEMENT_CHARACTER)).collect())
    }

    fn word(&self, at: u64) -> Option<u64> {
        let mut bytes = [0; WORD];
        self.memory.read(at, &mut bytes).then_some(u64::from_le_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Memory in which what is not written cannot be read.
    #[derive(Default)]
    struct Fake(BTreeMap<u64, u8>);

    impl Memory for Fake {
        fn read(&self, at: u64, into: &mut [u8]) -> bool {
            let bytes = (at..).map(|at| self.0.get(&at)).take(into.len());
            into.iter_mut().zip(bytes).all(|(into, byte)| byte.map(|byte| *into = *byte).is_some())
        }
    }

    impl Fake {
        fn write(&mut self, at: u64, bytes: &[u8]) {
            self.0.extend((at..).zip(bytes.iter().copied()));
        }

        fn word(&mut self, at: u64, value: u64) {
            self.write(at, &value.to_le_bytes());
        }

        /// A compact string of one byte a character.
        fn text(&mut self, at: u64, text: &str, header: u64) {
            self.word(at + 16, text.len() as u64);
            self.word(at + 32, 1 << 2 | 1 << 5 | 1 << 6);
            self.write(at + header, text.as_bytes());
            self.write(at + header + text.len() as u64, &[0; 8]);
        }

        fn code(&mut self, at: u64, layout: &Layout, name: &str) {
            self.word(at + 8, CODE_TYPE);
            self.word(at + layout.file, at + 0x1000);
            self.word(at + layout.name, at + 0x2000);
            self.word(at + layout.line, 7);
            self.text(at + 0x1000, "/srv/shop.py", layout.ascii);
            self.text(at + 0x2000, name, layout.ascii);
        }
    }

    const RUNTIME: u64 = 0x10_0000;
    const CODE_TYPE: u64 = 0x20_0000;

    fn of(minor: u32, fill: impl Fn(&mut Fake, &Layout)) -> Reader<Fake> {
        let layout = layout(minor).unwrap();
        let mut memory = Fake::default();
        fill(&mut memory, layout);
        Reader { memory, runtime: RUNTIME, code_type: CODE_TYPE, layout, functions: HashMap::new() }
    }

    fn names(interpreter: &mut Reader<Fake>) -> Option<Vec<String>> {
        Some(interpreter.look(|_| false)?.functions.into_iter().map(|frame| frame.name).collect())
    }

    #[test]
    fn the_holder_of_the_lock_is_walked_to_its_first_frame() {
        let (thread, outer, shim, inner) = (0x30_0000, 0x40_0000, 0x41_0000, 0x42_0000);
        let mut python = of(12, |memory, layout| {
            let Lock::OfMain { main, gil } = layout.lock else { unreachable!() };
            memory.word(RUNTIME + main, 0x50_0000);
            memory.word(0x50_0000 + gil, 0x51_0000);
            memory.word(0x51_0000 + LAST_HOLDER, thread);
            memory.word(0x51_0000 + LOCKED, 1);
            memory.word(thread + layout.native_id.unwrap(), 4711);
            memory.word(thread + layout.frame, 0x31_0000);
            memory.word(0x31_0000 + layout.of_cframe.unwrap(), inner);
            for (frame, code, back) in [(inner, 0x60_0000, shim), (shim, 0x61_0000, outer), (outer, 0x62_0000, 0)] {
                memory.word(frame + layout.code, code);
                memory.word(frame + layout.back, back);
            }
            memory.code(0x60_0000, layout, "Shop.price");
            memory.word(0x61_0000 + 8, CODE_TYPE + 1);
            memory.code(0x62_0000, layout, "<module>");
        });
        let look = python.look(|_| false).unwrap();
        assert_eq!(look.tid, Some(Tid(4711)));
        let names: Vec<&str> = look.functions.iter().map(|frame| frame.name.as_str()).collect();
        assert_eq!(names, ["<module> (shop.py:7)", "Shop.price (shop.py:7)"]);
        python.memory.word(0x51_0000 + LOCKED, 0);
        assert!(python.look(|_| false).is_none(), "nobody holds it");
        assert_eq!(python.look(|tid| tid.0 == 4711), Some(look), "it runs a library's code");
    }

    #[test]
    fn memory_that_is_no_interpreter_has_no_functions_and_no_end() {
        assert!(of(8, |_, _| ()).look(|_| true).is_none(), "unreadable");
        let mut ring = of(8, |memory, layout| {
            let Lock::OfAll { at } = layout.lock else { unreachable!() };
            memory.word(RUNTIME + at + LAST_HOLDER, 0x30_0000);
            memory.word(RUNTIME + at + LOCKED, 1);
            memory.word(0x30_0000 + layout.frame, 0x40_0000);
            memory.word(0x40_0000 + layout.code, 0x60_0000);
            memory.word(0x40_0000 + layout.back, 0x40_0000);
            memory.code(0x60_0000, layout, "loop");
        });
        assert_eq!(names(&mut ring).map(|names| names.len()), Some(DEEPEST));
    }

    #[test]
    fn the_version_is_in_the_binarys_name() {
        assert_eq!(minor_version("python3.11"), Some(11));
        assert_eq!(minor_version("libpython3.7m.so.1.0"), Some(7));
        assert_eq!(minor_version("python3"), None);
        assert_eq!(minor_version("libc.so.6"), None);
        assert!(layout(6).is_none() && layout(14).is_none());
    }
}
