//! Addresses to names: kernel, ELF, vdso, JIT maps and compiled Java, each unknown with its reason.
//!
//! Addresses come as the kernel's stack helpers give them: the innermost is where the thread was, every other one is
//! where it will return to, one instruction behind the call. [`Address::is_return`] says which it is, so that callers
//! can batch unique addresses of many stacks; the one is then subtracted here and nowhere else.

mod binaries;
mod debug;
pub mod go;
mod hotspot;
mod kernel;
mod maps;
mod name;
mod pclntab;
mod perf_map;
pub mod python;
pub mod unwind;
mod v8;

pub use debug::{DebugInformation, debug_information};

use binaries::{Binaries, BinaryId, Unnamed};
use maps::{Backing, Region};
use observe::{Frame, FrameKind, Pid};
use perf_map::PerfMap;
use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    rc::Rc,
};

/// ours: about as many processes as start in a busy minute.
const MOST_PROCESSES: usize = 4096;
/// ours: V8 and the JVM map some hundreds of pieces of code; the rest would be hostile.
const MOST_REGIONS: usize = 8192;
/// ours: 32 bytes each, so 16 MB at most.
const MOST_REGIONS_IN_ALL: usize = 512 * 1024;
/// ours: open descriptors; a machine runs fewer processes that write one.
const MOST_PERF_MAPS: usize = 128;
/// An exec or a runtime that compiles changes the map: that many earlier ones are kept.
const GENERATIONS: usize = 4;

/// A program's build-id in hexadecimal digits; `None` where it has none or cannot be read.
pub fn build_id(path: &Path) -> Option<String> {
    let id = blazesym::helper::read_elf_build_id(path).ok()??;
    Some(id.iter().map(|byte| format!("{byte:02x}")).collect())
}

const GONE: &str = "process gone before its maps were read";
const NO_MEMORY: &str = "no memory of its own: a kernel thread, or a process that has just ended";
const NOT_MAPPED: &str = "not mapped";
const NO_PERF_MAP: &str = "JIT code without a perf map";
const NOT_OPTIMIZED: &str = "JIT code of V8 that is gone or was not optimized, which does not lead to its function";

/// One address of a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// The instruction pointer as the kernel's stack helper gave it.
    pub ip: u64,
    /// A return address (every frame but the innermost): the call is the instruction before it.
    pub is_return: bool,
}

impl Address {
    /// An address inside the instruction that ran or called.
    fn inside(self) -> u64 {
        self.ip.saturating_sub(u64::from(self.is_return))
    }
}

/// Where a piece of a process's memory gets its names from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Binary(BinaryId),
    Vdso,
    Jit,
    /// Memory of the kernel's that has a name of its own, or a file beyond what is kept.
    Other(&'static str),
}

/// A region, compact.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Mapping {
    start: u64,
    end: u64,
    offset: u64,
    place: Place,
}

/// What is kept of one process.
#[derive(Default)]
struct Known {
    /// Its executable memory, newest first.
    generations: Vec<Vec<Mapping>>,
    /// Its perf map, open.
    perf_map: Option<File>,
    /// Why its memory could not be listed, when it could not.
    refused: String,
    /// When it was last asked for, in calls.
    used: u64,
}

/// Names addresses. What it keeps is bounded: the executable ranges of some thousand processes, a few hundred open
/// binaries, the symbol indices of the last hundred or so, and the kernel's function names (about 6 MB).
pub struct Symbolizer {
    proc: PathBuf,
    kernel: Option<kernel::Kernel>,
    binaries: Binaries,
    processes: HashMap<Pid, Known>,
    /// The perf map parsed last: whose, at which length.
    perf_map: Option<(Pid, u64, PerfMap)>,
    /// The programs that contain V8, and those looked at that do not.
    engines: HashMap<BinaryId, Option<Rc<v8::Layout>>>,
    own_vdso: Option<Option<(u64, u64)>>,
    calls: u64,
    mappings: usize,
}

impl Default for Symbolizer {
    fn default() -> Self {
        Self::new()
    }
}

impl Symbolizer {
    /// Reads nothing yet.
    pub fn new() -> Self {
        Symbolizer {
            proc: PathBuf::from("/proc"),
            kernel: None,
            binaries: Binaries::new(),
            processes: HashMap::new(),
            perf_map: None,
            engines: HashMap::new(),
            own_vdso: None,
            calls: 0,
            mappings: 0,
        }
    }

    /// Keeps what is needed to name this process's frames after it is gone: its executable memory, its binaries (open)
    /// and its perf map. Costs one read of its maps, plus one open for each binary not seen before; may be called again,
    /// after an exec for instance, and then keeps the earlier state too. Says nothing when the process is gone: its frames will say so.
    pub fn remember(&mut self, pid: Pid) {
        self.calls += 1;
        let process = self.proc.join(pid.to_string());
        let maps = match read_maps(&process) {
            Ok(maps) => maps,
            Err(error) => {
                if error.kind() == io::ErrorKind::PermissionDenied {
                    let known = self.processes.entry(pid).or_default();
                    known.refused = "no permission to read the process's maps".to_owned();
                    known.used = self.calls;
                    self.keep_bounded();
                }
                return;
            }
        };
        let regions = maps::parse(&maps, MOST_REGIONS);
        if regions.is_empty() {
            // Of one that was seen before it ended, what was seen is kept.
            let known = self.processes.entry(pid).or_default();
            known.refused = NO_MEMORY.to_owned();
            known.used = self.calls;
            self.keep_bounded();
            return;
        }
        let mappings: Vec<Mapping> = regions.iter().map(|region| self.mapping(&process, region)).collect();
        let has_jit = mappings.iter().any(|m| m.place == Place::Jit);
        let known = self.processes.entry(pid).or_default();
        known.used = self.calls;
        known.refused.clear();
        if known.generations.first() != Some(&mappings) {
            self.mappings += mappings.len();
            known.generations.insert(0, mappings);
            let dropped = known.generations.drain(GENERATIONS.min(known.generations.len())..);
            self.mappings -= dropped.map(|old| old.len()).sum::<usize>();
        }
        if has_jit && let Some(file) = perf_map::open(&process) {
            known.perf_map = Some(file);
            self.keep_few_perf_maps_open();
        }
        self.keep_bounded();
    }

    /// Names kernel addresses. One entry per address: its frames, outermost first; never empty.
    pub fn kernel(&mut self, addresses: &[Address]) -> Vec<Vec<Frame>> {
        let kernel = self.kernel.get_or_insert_with(|| kernel::Kernel::load(&self.proc.join("kallsyms")));
        addresses.iter().map(|address| vec![kernel.frame(address.inside())]).collect()
    }

    /// Names addresses of one process, alive or remembered. One entry per address: its frames, outermost first; never
    /// empty. Ask for all of a process's addresses at once: its maps are read again at each call.
    pub fn process(&mut self, pid: Pid, addresses: &[Address]) -> Vec<Vec<Frame>> {
        self.remember(pid);
        let found: Vec<Option<Mapping>> = addresses.iter().map(|address| self.find(pid, address.inside())).collect();
        let mut frames: Vec<Frame> = vec![unknown("", ""); addresses.len()];
        let mut inlined: HashMap<usize, Vec<Frame>> = HashMap::new();

        let mut by_binary: BTreeMap<BinaryId, Vec<usize>> = BTreeMap::new();
        let mut vdso = Vec::new();
        let mut jit = Vec::new();
        for (at, mapping) in found.iter().enumerate() {
            match mapping.map(|m| m.place) {
                None => frames[at] = unknown("", self.why_nowhere(pid)),
                Some(Place::Other(what)) => frames[at] = unknown("", what),
                Some(Place::Binary(id)) => by_binary.entry(id).or_default().push(at),
                Some(Place::Vdso) => vdso.push(at),
                Some(Place::Jit) => jit.push(at),
            }
        }
        for (id, slots) in by_binary {
            let offsets: Vec<u64> = slots
                .iter()
                .filter_map(|at| found[*at].map(|m| addresses[*at].inside() - m.start + m.offset))
                .collect();
            let names = self.binaries.symbols(id, &offsets);
            let module = self.binaries.name(id);
            for (at, name) in slots.into_iter().zip(names) {
                frames[at] = match name {
                    Ok(name) => named(name, module),
                    Err(Unnamed::Stripped) => unknown(module, &format!("stripped: no symbols in {module}")),
                    Err(Unnamed::Uncovered) => unknown(module, &format!("no symbol of {module} covers this address")),
                    Err(Unnamed::Unreadable(why)) => unknown(module, &why),
                    Err(Unnamed::NotElf) => {
                        jit.push(at);
                        continue;
                    }
                };
            }
        }
        self.name_vdso(addresses, &found, &vdso, &mut frames);
        self.name_jit(pid, addresses, &jit, &mut frames);
        self.name_java(pid, addresses, &jit, &mut frames, &mut inlined);
        let all = frames.into_iter().enumerate();
        let mut frames: Vec<Vec<Frame>> =
            all.map(|(at, frame)| inlined.remove(&at).unwrap_or_else(|| vec![frame])).collect();
        self.name_v8(pid, addresses, &found, &jit, &mut frames);
        frames
    }

    fn mapping(&mut self, process: &Path, region: &Region) -> Mapping {
        let place = match &region.backing {
            Backing::File { .. } => match self.binaries.find(process, region) {
                Some(id) => Place::Binary(id),
                None => Place::Other("too many different binaries were seen"),
            },
            Backing::Vdso => Place::Vdso,
            Backing::Anonymous => Place::Jit,
            Backing::Special(name) if name == "[vsyscall]" => Place::Other("the kernel's vsyscall page"),
            Backing::Special(name) if name == "[uprobes]" => Place::Other("the kernel's page for user probes"),
            Backing::Special(_) => Place::Other("memory without a file or symbols"),
        };
        Mapping { start: region.start, end: region.end, offset: region.offset, place }
    }

    fn find(&self, pid: Pid, address: u64) -> Option<Mapping> {
        self.processes.get(&pid)?.generations.iter().find_map(|mappings| {
            // The kernel lists them in ascending order.
            let at = mappings.partition_point(|m| m.start <= address).checked_sub(1)?;
            mappings.get(at).filter(|m| address < m.end).copied()
        })
    }

    fn why_nowhere(&self, pid: Pid) -> &str {
        match self.processes.get(&pid) {
            Some(known) if !known.generations.is_empty() => NOT_MAPPED,
            Some(known) if !known.refused.is_empty() => &known.refused,
            _ => GONE,
        }
    }

    /// All processes of one word size have the same code there: it is looked up in this process.
    fn name_vdso(&mut self, addresses: &[Address], found: &[Option<Mapping>], slots: &[usize], frames: &mut [Frame]) {
        if slots.is_empty() {
            return;
        }
        let proc = &self.proc;
        let own = *self.own_vdso.get_or_insert_with(|| {
            let maps = fs::read(proc.join("self/maps")).ok()?;
            let regions = maps::parse(&maps, MOST_REGIONS);
            regions.into_iter().find(|r| r.backing == Backing::Vdso).map(|r| (r.start, r.end))
        });
        let moved = |at: &usize| {
            let (start, end) = own?;
            let mapping = found[*at].filter(|m| m.end - m.start == end - start)?;
            Some(addresses[*at].inside() - mapping.start + start)
        };
        let (same, other): (Vec<usize>, Vec<usize>) = slots.iter().partition(|at| moved(at).is_some());
        let inside: Vec<u64> = same.iter().filter_map(moved).collect();
        for (at, name) in same.into_iter().zip(self.binaries.vdso(&inside)) {
            frames[at] = match name {
                Some(name) => named(name, "[vdso]"),
                None => unknown("[vdso]", "no symbol of the vdso covers this address"),
            };
        }
        for at in other {
            frames[at] = unknown("[vdso]", "the vdso of another word size");
        }
    }

    fn name_jit(&mut self, pid: Pid, addresses: &[Address], slots: &[usize], frames: &mut [Frame]) {
        if slots.is_empty() {
            return;
        }
        let file = self.processes.get(&pid).and_then(|known| known.perf_map.as_ref());
        let length = file.and_then(|file| file.metadata().ok()).map(|about| about.len());
        let parsed = match (file, length) {
            (Some(file), Some(length)) => {
                if !self.perf_map.as_ref().is_some_and(|(whose, at, _)| *whose == pid && *at == length) {
                    self.perf_map = PerfMap::read(file).ok().map(|map| (pid, length, map));
                }
                self.perf_map.as_ref().map(|(_, _, map)| map)
            }
            _ => None,
        };
        for at in slots {
            frames[*at] = match parsed.map(|map| map.find(addresses[*at].inside())) {
                Some(Some(name)) => named(name.to_owned(), "[jit]"),
                Some(None) => unknown("[jit]", "JIT code that its perf map does not list"),
                None => unknown("[jit]", NO_PERF_MAP),
            };
        }
    }

    /// Names what no perf map has named, where the process is a Java virtual machine.
    fn name_java(
        &self,
        pid: Pid,
        addresses: &[Address],
        slots: &[usize],
        frames: &mut [Frame],
        inlined: &mut HashMap<usize, Vec<Frame>>,
    ) {
        let unnamed: Vec<usize> = slots.iter().copied().filter(|at| frames[*at].name.is_empty()).collect();
        let newest = self.processes.get(&pid).and_then(|known| known.generations.first());
        let is_library =
            |m: &Mapping| matches!(m.place, Place::Binary(id) if self.binaries.name(id) == hotspot::LIBRARY);
        if unnamed.is_empty() || !newest.is_some_and(|mappings| mappings.iter().any(is_library)) {
            return;
        }
        match hotspot::open(&self.proc.join(pid.to_string())) {
            Ok(machine) => {
                for at in unnamed {
                    match machine.functions(addresses[at].inside()) {
                        Some(names) => {
                            let all = names.into_iter().map(|name| named(name, "[jit]")).collect();
                            inlined.insert(at, all);
                        }
                        None => frames[at] = unknown("[jit]", "JIT code that the Java virtual machine does not know"),
                    }
                }
            }
            Err(why) => unnamed.into_iter().for_each(|at| frames[at] = unknown("[jit]", why)),
        }
    }

    /// Names what no perf map has named, where the process is one of V8 and still alive.
    fn name_v8(
        &mut self,
        pid: Pid,
        addresses: &[Address],
        found: &[Option<Mapping>],
        slots: &[usize],
        frames: &mut [Vec<Frame>],
    ) {
        let unnamed = |at: &&usize| frames[**at].iter().all(|frame| frame.name.is_empty());
        let unnamed: Vec<usize> = slots.iter().filter(unnamed).copied().collect();
        if unnamed.is_empty() {
            return;
        }
        let Some(layout) = self.engine(pid) else { return };
        let Ok(memory) = File::open(self.proc.join(pid.to_string()).join("mem")) else { return };
        let v8 = v8::V8::new(memory, &layout);
        for at in unnamed {
            let Some(mapping) = found[at] else { continue };
            frames[at] = match v8.find(addresses[at].inside(), mapping.start) {
                Some(functions) => functions.into_iter().map(compiled_by_v8).collect(),
                None => vec![unknown("[jit]", NOT_OPTIMIZED)],
            };
        }
    }

    /// What the V8 in a process tells of itself, if there is one.
    fn engine(&mut self, pid: Pid) -> Option<Rc<v8::Layout>> {
        let mappings = self.processes.get(&pid)?.generations.first()?;
        let large = mappings.iter().filter(|mapping| mapping.end - mapping.start >= v8::SMALLEST_ENGINE);
        large.into_iter().find_map(|mapping| {
            let Place::Binary(id) = mapping.place else { return None };
            let read = || v8::Layout::of(&unwind::exported_numbers(&self.binaries.file(id)?, "v8dbg_")?).map(Rc::new);
            self.engines.entry(id).or_insert_with(read).clone()
        })
    }

    fn keep_few_perf_maps_open(&mut self) {
        let open = self.processes.iter().filter(|(_, known)| known.perf_map.is_some());
        let mut oldest: Vec<(u64, Pid)> = open.map(|(pid, known)| (known.used, *pid)).collect();
        oldest.sort_unstable();
        for (_, pid) in oldest.iter().take(oldest.len().saturating_sub(MOST_PERF_MAPS)) {
            if let Some(known) = self.processes.get_mut(pid) {
                known.perf_map = None;
            }
        }
    }

    /// Forgets the processes that were not asked for longest, down to nine tenths of what may be kept.
    fn keep_bounded(&mut self) {
        if self.processes.len() <= MOST_PROCESSES && self.mappings <= MOST_REGIONS_IN_ALL {
            return;
        }
        let mut oldest: Vec<(u64, Pid)> = self.processes.iter().map(|(pid, known)| (known.used, *pid)).collect();
        oldest.sort_unstable();
        for (_, pid) in oldest {
            if self.processes.len() <= MOST_PROCESSES / 10 * 9 && self.mappings <= MOST_REGIONS_IN_ALL / 10 * 9 {
                break;
            }
            if let Some(known) = self.processes.remove(&pid) {
                self.mappings -= known.generations.iter().map(Vec::len).sum::<usize>();
            }
        }
    }
}

/// The maps of a process; of another thread when the first one has ended before the others.
fn read_maps(process: &Path) -> io::Result<Vec<u8>> {
    let maps = fs::read(process.join("maps"))?;
    if !maps.is_empty() {
        return Ok(maps);
    }
    for thread in fs::read_dir(process.join("task"))?.flatten() {
        match fs::read(thread.path().join("maps")) {
            Ok(maps) if !maps.is_empty() => return Ok(maps),
            _ => {}
        }
    }
    Ok(maps)
}

fn named(name: String, module: &str) -> Frame {
    Frame { name, module: module.to_owned(), kind: FrameKind::User, unknown: String::new() }
}

/// The script stands for the binary, where it is known.
fn compiled_by_v8(function: v8::Function) -> Frame {
    let module = if function.script.is_empty() { "[jit]".to_owned() } else { function.script };
    Frame { name: function.name, module, kind: FrameKind::User, unknown: String::new() }
}

fn unknown(module: &str, why: &str) -> Frame {
    Frame { name: String::new(), module: module.to_owned(), kind: FrameKind::User, unknown: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_and_the_oldest_goes_first() {
        let mut symbolizer = Symbolizer::new();
        for number in 0..=MOST_PROCESSES as u32 {
            let mapping = Mapping { start: 1, end: 2, offset: 0, place: Place::Jit };
            let known = Known { generations: vec![vec![mapping]], used: u64::from(number), ..Known::default() };
            symbolizer.processes.insert(Pid(number), known);
            symbolizer.mappings += 1;
        }
        symbolizer.keep_bounded();
        assert!(symbolizer.processes.len() <= MOST_PROCESSES);
        assert_eq!(symbolizer.mappings, symbolizer.processes.len());
        assert!(!symbolizer.processes.contains_key(&Pid(0)));
        assert!(symbolizer.processes.contains_key(&Pid(MOST_PROCESSES as u32)));
    }

    #[test]
    fn few_perf_maps_stay_open() {
        let mut symbolizer = Symbolizer::new();
        for number in 0..MOST_PERF_MAPS as u32 + 3 {
            let known = Known { perf_map: File::open("/dev/null").ok(), used: u64::from(number), ..Known::default() };
            symbolizer.processes.insert(Pid(number), known);
        }
        symbolizer.keep_few_perf_maps_open();
        assert_eq!(symbolizer.processes.values().filter(|known| known.perf_map.is_some()).count(), MOST_PERF_MAPS);
        assert!(symbolizer.processes[&Pid(2)].perf_map.is_none());
        assert!(symbolizer.processes[&Pid(3)].perf_map.is_some());
    }

    #[test]
    fn only_return_addresses_are_moved_back() {
        assert_eq!(Address { ip: 5, is_return: true }.inside(), 4);
        assert_eq!(Address { ip: 5, is_return: false }.inside(), 5);
        assert_eq!(Address { ip: 0, is_return: true }.inside(), 0);
    }
}
