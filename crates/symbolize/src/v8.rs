//! Names for what V8 (Node and others) has compiled, read from its memory: it needs no flag and is asked for nothing.
//!
//! A program that exports `v8dbg_*` tells debuggers the types of V8's objects and where their fields are. Code lies among
//! objects, so the nearest header before an address is that of its code. The code's data names the function it was
//! compiled for, and a table of positions tells which other one was inlined at each instruction. Not every field needed
//! is exported by every version (18 to 24 were tried), but every type is: what has no offset is found by its type.
//!
//! The program runs on meanwhile and its collector moves objects, so nothing read is trusted: each step must lead to an
//! object of the type expected, and every loop has an end. Code that was not optimized does not lead to its function.

use crate::name;
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
    fs::File,
    os::unix::fs::FileExt,
    rc::Rc,
};

/// ours: V8 does not optimize functions of more than 60 KB of bytecode, which is some hundred KB of code at most.
const LONGEST_CODE: u64 = 1 << 20;
/// Read at once while looking for a header; V8 maps whole pages.
const PIECE: u64 = 4096;
/// ours: 64 MB in all, a fraction of a second, whatever there is to name.
const MOST_PIECES: u64 = 16_384;
/// ours: a header has about six fields, and the instructions begin within one alignment of 64 bytes of it.
const HEADER_WORDS: usize = 12;
const LONGEST_HEADER: u64 = 256;
/// ours: what is asked of the data of code is among its first ten elements.
const DATA_WORDS: u64 = 16;
/// ours: thousands of functions are not inlined into one, nor is a table of positions larger than its code.
const MOST_INLINED: u64 = 4096;
const LARGEST_TABLE: u64 = 1 << 20;
/// ours: V8 inlines no deeper than some tens of calls.
const DEEPEST: usize = 64;
/// More is cut when it is shown.
const LONGEST_STRING: u64 = 512;
/// V8 keeps more local names than this elsewhere.
const MOST_LOCALS: u64 = 75;
/// ours: a program that contains V8 has 20 MB of code or more.
pub(crate) const SMALLEST_ENGINE: u64 = 8 << 20;
const WORD: u64 = 8;

/// A process' memory.
pub(crate) trait Memory {
    /// Fills all of it, or tells that it could not.
    fn read(&self, at: u64, into: &mut [u8]) -> bool;
}

impl Memory for File {
    fn read(&self, at: u64, into: &mut [u8]) -> bool {
        self.read_exact_at(into, at).is_ok()
    }
}

/// A function of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// The file it is in; empty where that is not known.
    pub(crate) script: String,
}

/// What a version of V8 tells of its objects: types and offsets.
pub(crate) struct Layout {
    instance_type: u64,
    array_length: u64,
    array_data: u64,
    function_name: u64,
    function_script: u64,
    script_name: u64,
    string_length: u64,
    one_byte: u64,
    two_byte: u64,
    thin: u64,
    cons_first: u64,
    cons_second: u64,
    not_a_string: u16,
    representation: u16,
    encoding: u16,
    is_sequential: u16,
    is_thin: u16,
    is_cons: u16,
    is_one_byte: u16,
    first_local: u64,
    locals: u64,
    map: u16,
    code: u16,
    /// The instructions' own object; before V8 11.3 they are in that of the code.
    stream: Option<u16>,
    /// Where they begin in that of the code, when they are.
    instructions: Option<u64>,
    /// Their length in bytes, where that is told.
    size: Option<u64>,
    function: u16,
    scope: u16,
    script: u16,
    free: Option<u16>,
    bytes: Vec<u16>,
}

impl Layout {
    /// Of a program's exported constants. `None` when it is no V8, or one with short pointers as browsers have it.
    pub(crate) fn of(constants: &BTreeMap<String, i32>) -> Option<Layout> {
        let exact = |name: &str| constants.get(&format!("v8dbg_{name}")).copied();
        // The end of a field's name is its type, which versions spell differently.
        let starting = |name: String| {
            let found = constants.range(name.clone()..).next().filter(|(key, _)| key.starts_with(&name));
            found.map(|(_, value)| *value)
        };
        /// ours: no field that is used lies farther in.
        const FARTHEST: i32 = 1 << 12;
        let field = |name: &str| {
            let offset = starting(format!("v8dbg_class_{name}__"))?;
            (0..FARTHEST).contains(&offset).then_some(offset as u64)
        };
        let kind = |name: &str| starting(format!("v8dbg_type_{name}__")).map(|value| value as u16);
        let flag = |name: &str| exact(name).map(|value| value as u16);
        if exact("SystemPointerSizeLog2") != Some(3) || exact("SmiShiftSize") != Some(31) {
            return None;
        }
        let index = |name: &str| exact(name).and_then(|value| u64::try_from(value).ok());
        Some(Layout {
            instance_type: field("Map__instance_type")?,
            array_length: field("FixedArrayBase__length")?,
            array_data: field("FixedArray__data")?,
            function_name: field("SharedFunctionInfo__name_or_scope_info")?,
            function_script: field("SharedFunctionInfo__script_or_debug_info")
                .or_else(|| field("SharedFunctionInfo__script"))?,
            script_name: field("Script__name")?,
            string_length: field("String__length")?,
            one_byte: field("SeqOneByteString__chars")?,
            two_byte: field("SeqTwoByteString__chars")?,
            thin: field("ThinString__actual")?,
            cons_first: field("ConsString__first")?,
            cons_second: field("ConsString__second")?,
            not_a_string: flag("IsNotStringMask")?,
            representation: flag("StringRepresentationMask")?,
            encoding: flag("StringEncodingMask")?,
            is_sequential: flag("SeqStringTag")?,
            is_thin: flag("ThinStringTag")?,
            is_cons: flag("ConsStringTag")?,
            is_one_byte: flag("OneByteStringTag")?,
            first_local: index("scopeinfo_idx_first_vars")?,
            locals: index("scopeinfo_idx_ncontextlocals")?,
            map: kind("Map")?,
            code: kind("Code")?,
            stream: kind("InstructionStream"),
            instructions: field("Code__instruction_start"),
            size: field("Code__instruction_size"),
            function: kind("SharedFunctionInfo")?,
            scope: kind("ScopeInfo")?,
            script: kind("Script")?,
            free: kind("FreeSpace"),
            bytes: ["ByteArray", "TrustedByteArray"].into_iter().filter_map(kind).collect(),
        })
    }
}

/// One piece of compiled code.
struct Compiled {
    /// Its first instruction.
    start: u64,
    /// Behind its last, where that is told.
    end: Option<u64>,
    function: Function,
    /// From which instruction on which of the inlined functions it is; none is the function itself.
    positions: Vec<(u64, Option<usize>)>,
    /// What was inlined, and into which other.
    inlined: Vec<(Function, Option<usize>)>,
}

/// The compiled code of one process.
pub(crate) struct V8<'a, M> {
    memory: M,
    layout: &'a Layout,
    /// Types of the maps seen: every object begins with a pointer to its map.
    types: RefCell<HashMap<u64, Option<u16>>>,
    compiled: RefCell<HashMap<u64, Option<Rc<Compiled>>>>,
    /// How many pieces may still be read.
    pieces: Cell<u64>,
}

impl<'a, M: Memory> V8<'a, M> {
    pub(crate) fn new(memory: M, layout: &'a Layout) -> Self {
        V8 { memory, layout, types: RefCell::default(), compiled: RefCell::default(), pieces: Cell::new(MOST_PIECES) }
    }

    /// The functions at an address of memory that begins somewhere, outermost first; the others are inlined there.
    /// `None` where there is no code, none any more, or code that does not lead to its function.
    pub(crate) fn find(&self, address: u64, memory_starts: u64) -> Option<Vec<Function>> {
        let header = self.header(address, memory_starts)?;
        let compiled = self.compiled(header)?;
        let offset = address.checked_sub(compiled.start)?;
        if compiled.end.is_some_and(|end| address >= end) {
            return None;
        }
        let behind = compiled.positions.partition_point(|(from, _)| *from <= offset);
        let mut inner = behind.checked_sub(1).and_then(|at| compiled.positions.get(at)).and_then(|(_, inner)| *inner);
        let mut functions = Vec::new();
        while let Some((function, caller)) = inner.and_then(|at| compiled.inlined.get(at)) {
            if functions.len() == DEEPEST {
                return Some(vec![compiled.function.clone()]);
            }
            functions.push(function.clone());
            inner = *caller;
        }
        functions.push(compiled.function.clone());
        functions.reverse();
        Some(functions)
    }

    /// The header of the object that an address is in.
    fn header(&self, address: u64, memory_starts: u64) -> Option<u64> {
        let kind = self.layout.stream.unwrap_or(self.layout.code);
        let lowest = memory_starts.max(address.saturating_sub(LONGEST_CODE));
        let mut end = address & !(WORD - 1);
        while end > lowest {
            let start = ((end - 1) & !(PIECE - 1)).max(lowest);
            self.pieces.set(self.pieces.get().checked_sub(1)?);
            let mut bytes = vec![0; usize::try_from(end - start).ok()?];
            if !self.memory.read(start, &mut bytes) {
                return None;
            }
            for (at, map) in bytes.as_chunks::<8>().0.iter().enumerate().rev() {
                let found = self.type_by_map(u64::from_le_bytes(*map));
                if found == Some(kind) {
                    return Some(start + at as u64 * WORD);
                }
                // What was here is gone.
                if found.is_some() && found == self.layout.free {
                    return None;
                }
            }
            end = start;
        }
        None
    }

    fn compiled(&self, header: u64) -> Option<Rc<Compiled>> {
        if let Some(known) = self.compiled.borrow().get(&header) {
            return known.clone();
        }
        let compiled = self.read_compiled(header).map(Rc::new);
        self.compiled.borrow_mut().insert(header, compiled.clone());
        compiled
    }

    fn read_compiled(&self, header: u64) -> Option<Compiled> {
        let (object, start) = if self.layout.stream.is_some() {
            let words = self.words(header, HEADER_WORDS / 2)?;
            let code = words.into_iter().skip(1).find(|word| self.kind(*word) == Some(self.layout.code))? - TAG;
            // A plain address, as opposed to objects, which are told by their lowest bit.
            let inside =
                |word: &u64| word.is_multiple_of(WORD) && (header + 1..=header + LONGEST_HEADER).contains(word);
            (code, self.words(code, HEADER_WORDS)?.into_iter().find(inside)?)
        } else {
            (header, header.checked_add(self.layout.instructions?)?)
        };
        let size = |field: u64| Some(u64::from(u32::from_le_bytes(self.exactly(object + field)?)));
        let end = self.layout.size.and_then(size).map(|size| start + size);
        let words = self.words(object, HEADER_WORDS)?;
        words.windows(2).skip(1).find_map(|pair| {
            let data = self.array(pair[0], DATA_WORDS)?;
            let (at, function) = data.iter().enumerate().find_map(|(at, word)| Some((at, self.function(*word)?)))?;
            let inlined = data.get(at + 1).and_then(|places| self.inlined(*places, &data[..at])).unwrap_or_default();
            let positions = self.bytes(pair[1]).and_then(|table| positions(&table, inlined.len())).unwrap_or_default();
            Some(Compiled { start, end, function: self.named(function), positions, inlined })
        })
    }

    /// What was inlined: each has the place of the call and an index into the literals, which is one of the other elements.
    fn inlined(&self, places: u64, others: &[u64]) -> Option<Vec<(Function, Option<usize>)>> {
        /// A position (64 bits) and the index (32), padded.
        const ENTRY: usize = 16;
        let places = self.bytes(places)?;
        others.iter().find_map(|literals| {
            if self.is_bytes(*literals) {
                return None;
            }
            let literals = self.array(*literals, MOST_INLINED)?;
            let entries = places.as_chunks::<ENTRY>().0.iter();
            let all = entries.map(|entry| {
                let position = i64::from_le_bytes(entry[..8].try_into().ok()?);
                let index = i32::from_le_bytes(entry[8..12].try_into().ok()?);
                let function = self.function(*literals.get(usize::try_from(index).ok()?)?)?;
                Some((self.named(function), inlining(position)))
            });
            all.collect()
        })
    }

    /// What describes a function, or the same behind a wrapper.
    fn function(&self, object: u64) -> Option<u64> {
        let is_one = |object: &u64| self.kind(*object) == Some(self.layout.function);
        if is_one(&object) {
            return Some(object - TAG);
        }
        // A wrapper has nothing but a map and what it wraps; arrays have their length there.
        self.kind(object)?;
        Some(self.word(object - TAG + WORD).filter(is_one)? - TAG)
    }

    fn named(&self, function: u64) -> Function {
        let layout = self.layout;
        let name = self.word(function + layout.function_name).and_then(|name| match self.kind(name) {
            Some(kind) if kind == layout.scope => self.scope_name(name - TAG),
            _ => self.string(name, 0),
        });
        let script = self.word(function + layout.function_script);
        let script = script.filter(|script| self.kind(*script) == Some(layout.script));
        let script = script.and_then(|script| self.string(self.word(script - TAG + layout.script_name)?, 0));
        let script = script.map(|path| short_path(&path)).unwrap_or_default();
        let file = script.rsplit('/').next().filter(|file| !file.is_empty());
        let anonymous = || file.map_or_else(|| "(anonymous)".to_owned(), |file| format!("(anonymous) in {file}"));
        let name = name.filter(|name| !name.is_empty()).unwrap_or_else(anonymous);
        Function { name: name::foreign(&name), script }
    }

    /// The name in the description of a function's variables: behind those that others use as well, which have a name and a
    /// number each, there is at most another number before it.
    fn scope_name(&self, scope: u64) -> Option<String> {
        /// ours: name, its number, and the name that V8 has inferred.
        const NEAR: usize = 4;
        let element = |at: u64| scope + WORD + at * WORD;
        let locals = small(self.word(element(self.layout.locals))?).filter(|count| *count <= MOST_LOCALS)?;
        let words = self.words(element(self.layout.first_local + 2 * locals), NEAR)?;
        words.into_iter().find_map(|word| self.string(word, 0).filter(|name| !name.is_empty()))
    }

    fn string(&self, object: u64, depth: usize) -> Option<String> {
        /// ours: names are put together of a few pieces.
        const DEEPEST: usize = 6;
        let layout = self.layout;
        let kind = self.kind(object).filter(|kind| kind & layout.not_a_string == 0 && depth < DEEPEST)?;
        let at = object - TAG;
        let representation = kind & layout.representation;
        if representation == layout.is_thin {
            return self.string(self.word(at + layout.thin)?, depth + 1);
        }
        if representation == layout.is_cons {
            let part = |field: u64| self.string(self.word(at + field)?, depth + 1);
            return Some(part(layout.cons_first)? + &part(layout.cons_second)?);
        }
        if representation != layout.is_sequential {
            return None;
        }
        let length = u64::from(u32::from_le_bytes(self.exactly(at + layout.string_length)?)).min(LONGEST_STRING);
        if kind & layout.encoding == layout.is_one_byte {
            let mut bytes = vec![0; length as usize];
            return self
                .memory
                .read(at + layout.one_byte, &mut bytes)
                .then(|| bytes.into_iter().map(char::from).collect());
        }
        let mut bytes = vec![0; length as usize * 2];
        let read = self.memory.read(at + layout.two_byte, &mut bytes);
        let units: Vec<u16> = bytes.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
        read.then(|| String::from_utf16_lossy(&units))
    }

    /// The first elements of any kind of array.
    fn array(&self, object: u64, most: u64) -> Option<Vec<u64>> {
        self.kind(object)?;
        let length = small(self.word(object - TAG + self.layout.array_length)?)?;
        self.words(object - TAG + self.layout.array_data, usize::try_from(length.min(most)).ok()?)
    }

    fn is_bytes(&self, object: u64) -> bool {
        self.kind(object).is_some_and(|kind| self.layout.bytes.contains(&kind))
    }

    fn bytes(&self, object: u64) -> Option<Vec<u8>> {
        let at = self.is_bytes(object).then(|| object - TAG)?;
        let length = small(self.word(at + self.layout.array_length)?).filter(|length| *length <= LARGEST_TABLE)?;
        let mut bytes = vec![0; usize::try_from(length).ok()?];
        self.memory.read(at + self.layout.array_data, &mut bytes).then_some(bytes)
    }

    /// The type of an object; `None` for what is no object.
    fn kind(&self, object: u64) -> Option<u16> {
        self.type_by_map(self.word(pointer(object)?)?)
    }

    fn type_by_map(&self, map: u64) -> Option<u16> {
        let at = pointer(map)?;
        if let Some(known) = self.types.borrow().get(&map) {
            return *known;
        }
        // A map is an object as well, so it has one that says so.
        let kind = |map: u64| self.exactly(map + self.layout.instance_type).map(u16::from_le_bytes);
        let is_map = self.word(at).and_then(pointer).and_then(kind) == Some(self.layout.map);
        let kind = if is_map { kind(at) } else { None };
        self.types.borrow_mut().insert(map, kind);
        kind
    }

    fn word(&self, at: u64) -> Option<u64> {
        self.exactly(at).map(u64::from_le_bytes)
    }

    fn words(&self, at: u64, count: usize) -> Option<Vec<u64>> {
        let mut bytes = vec![0; count * WORD as usize];
        let read = self.memory.read(at, &mut bytes);
        read.then(|| bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect())
    }

    fn exactly<const N: usize>(&self, at: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.memory.read(at, &mut bytes).then_some(bytes)
    }
}

/// What V8 adds to the address of an object.
const TAG: u64 = 1;
const TAG_BITS: u64 = 3;

/// The address of an object; `None` for numbers, and for what no program can have.
fn pointer(word: u64) -> Option<u64> {
    /// Where user space ends, and where nothing is ever mapped; sums with offsets stay far from both ends.
    const SPACE: std::ops::Range<u64> = 1 << 16..1 << 56;
    (word & TAG_BITS == TAG && SPACE.contains(&word)).then(|| word - TAG)
}

/// A number as V8 keeps it in place of an object.
fn small(word: u64) -> Option<u64> {
    (word & 0xffff_ffff == 0 && word >> 63 == 0).then_some(word >> 32)
}

/// Which of the inlined functions a position is in: above a bit for the kind and 30 of the place, counted from one.
fn inlining(position: i64) -> Option<usize> {
    usize::from((position >> 31) as u16).checked_sub(1)
}

/// A table of positions: pairs of differences, packed in bytes of seven bits, sign first. Those of instructions are stored as
/// their complement where no statement begins. `None` when it makes no sense for code with so many inlined functions.
fn positions(table: &[u8], inlined: usize) -> Option<Vec<(u64, Option<usize>)>> {
    let mut bytes = table.iter();
    let mut next = || {
        let mut sum = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *bytes.next()?;
            sum |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        Some((sum >> 1) as i64 ^ -((sum & 1) as i64))
    };
    let (mut at, mut position) = (0u64, 0i64);
    let mut all = Vec::new();
    while let Some(step) = next() {
        at = at.checked_add(u64::try_from(if step < 0 { !step } else { step }).ok()?)?;
        position = position.checked_add(next()?)?;
        let inner = inlining(position);
        if inner.is_some_and(|inner| inner >= inlined) {
            return None;
        }
        all.push((at, inner));
    }
    Some(all)
}

/// A script's path or address by its last two parts: many files are called `index.js`.
fn short_path(path: &str) -> String {
    let start = path.rmatch_indices('/').nth(1).map_or(0, |(at, _)| at + 1);
    name::foreign(&path[start..])
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u64 = 0x10_0000;
    const SIZE: usize = 1 << 16;
    /// Types of a made-up version.
    const MAP: u16 = 200;
    const CODE: u16 = 201;
    const STREAM: u16 = 202;
    const FUNCTION: u16 = 203;
    const SCOPE: u16 = 204;
    const SCRIPT: u16 = 205;
    const FREE: u16 = 206;
    const BYTES: u16 = 207;
    const ARRAY: u16 = 208;
    const STRING: u16 = 8;

    #[derive(Clone)]
    struct Fake {
        bytes: Vec<u8>,
        next: u64,
        maps: BTreeMap<u16, u64>,
    }

    impl Memory for &Fake {
        fn read(&self, at: u64, into: &mut [u8]) -> bool {
            let found = at.checked_sub(BASE).and_then(|at| self.bytes.get(at as usize..)?.get(..into.len()));
            found.map(|found| into.copy_from_slice(found)).is_some()
        }
    }

    impl Fake {
        fn new() -> Fake {
            let mut fake = Fake { bytes: vec![0; SIZE], next: BASE + 0x8000, maps: BTreeMap::new() };
            let meta = fake.next + TAG;
            for kind in [MAP, CODE, STREAM, FUNCTION, SCOPE, SCRIPT, FREE, BYTES, ARRAY, STRING] {
                let at = fake.take(16);
                fake.put(at, &meta.to_le_bytes());
                fake.put(at + 12, &kind.to_le_bytes());
                fake.maps.insert(kind, at + TAG);
            }
            fake
        }

        fn take(&mut self, length: u64) -> u64 {
            let at = self.next;
            self.next += length.next_multiple_of(8);
            at
        }

        fn put(&mut self, at: u64, bytes: &[u8]) {
            let at = (at - BASE) as usize;
            self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        }

        fn words(&mut self, at: u64, words: &[u64]) {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            self.put(at, &bytes);
        }

        fn object_at(&mut self, at: u64, kind: u16, words: &[u64]) -> u64 {
            let map = self.maps[&kind];
            self.words(at, &[&[map], words].concat());
            at + TAG
        }

        fn object(&mut self, kind: u16, words: &[u64]) -> u64 {
            let at = self.take(8 * (1 + words.len() as u64));
            self.object_at(at, kind, words)
        }

        fn text(&mut self, text: &str) -> u64 {
            let at = self.take(16 + text.len() as u64);
            self.object_at(at, STRING, &[]);
            self.put(at + 12, &(text.len() as u32).to_le_bytes());
            self.put(at + 16, text.as_bytes());
            at + TAG
        }

        fn raw(&mut self, bytes: &[u8]) -> u64 {
            let at = self.take(16 + bytes.len() as u64);
            self.object_at(at, BYTES, &[(bytes.len() as u64) << 32]);
            self.put(at + 16, bytes);
            at + TAG
        }

        fn array(&mut self, elements: &[u64]) -> u64 {
            self.object(ARRAY, &[&[(elements.len() as u64) << 32], elements].concat())
        }

        /// A function whose name is behind one local that others use.
        fn function(&mut self, name: &str, script: u64) -> u64 {
            let (local, name) = (self.text("local"), self.text(name));
            let scope = self.object(SCOPE, &[0, 0, 1 << 32, local, 7 << 32, 9 << 32, name]);
            self.object(FUNCTION, &[0, scope, 0, script])
        }

        /// Code of `serve`, which has `sum` inlined from its 16th byte to its 32nd.
        fn program(mut self) -> Fake {
            let path = self.text("/srv/shop/lib/index.js");
            let script = self.object(SCRIPT, &[0, path]);
            let (serve, sum) = (self.function("serve", script), self.function("sum", script));
            let literals = self.array(&[0, sum]);
            // Called from the function itself; the second of the literals.
            let places = self.raw(&[&10i64.to_le_bytes()[..], &1i32.to_le_bytes(), &[0; 4]].concat());
            let data = self.array(&[1 << 32, literals, 0, serve, places]);
            let into = packed(1 << 31 | 4);
            let back = packed(-(1i64 << 31 | 4) + 2);
            let table: Vec<u8> = [packed(1), packed(6), packed(15), into, packed(-17), back].concat();
            let table = self.raw(&table);
            let code = self.take(96);
            self.object_at(STREAM_AT, STREAM, &[code + TAG]);
            self.object_at(code, CODE, &[0, data, table, STREAM_AT + TAG, START, 0, CODE_SIZE]);
            self
        }
    }

    const STREAM_AT: u64 = BASE + 0x1030;
    const START: u64 = BASE + 0x1040;

    /// Where this version says how long code is, and how long that of `serve` is.
    const SIZE_AT: u64 = 56;
    const CODE_SIZE: u64 = 0x80;

    fn packed(value: i64) -> Vec<u8> {
        let mut rest = ((value << 1) ^ (value >> 63)) as u64;
        let mut bytes = Vec::new();
        while rest > 0x7f {
            bytes.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        bytes.push(rest as u8);
        bytes
    }

    fn constants() -> BTreeMap<String, i32> {
        let values = [
            ("SystemPointerSizeLog2", 3),
            ("SmiShiftSize", 31),
            ("IsNotStringMask", -128),
            ("StringRepresentationMask", 7),
            ("StringEncodingMask", 8),
            ("SeqStringTag", 0),
            ("ConsStringTag", 1),
            ("ThinStringTag", 5),
            ("OneByteStringTag", 8),
            ("scopeinfo_idx_first_vars", 3),
            ("scopeinfo_idx_ncontextlocals", 2),
            ("class_Map__instance_type__uint16_t", 12),
            ("class_FixedArrayBase__length__SMI", 8),
            ("class_FixedArray__data__uintptr_t", 16),
            ("class_SharedFunctionInfo__name_or_scope_info__Object", 16),
            ("class_SharedFunctionInfo__script_or_debug_info__HeapObject", 32),
            ("class_Script__name__Object", 16),
            ("class_Code__instruction_size__int", SIZE_AT as i32),
            ("class_String__length__int32_t", 12),
            ("class_SeqOneByteString__chars__char", 16),
            ("class_SeqTwoByteString__chars__char", 16),
            ("class_ThinString__actual__String", 16),
            ("class_ConsString__first__String", 16),
            ("class_ConsString__second__String", 24),
            ("type_Map__MAP_TYPE", i32::from(MAP)),
            ("type_Code__CODE_TYPE", i32::from(CODE)),
            ("type_InstructionStream__INSTRUCTION_STREAM_TYPE", i32::from(STREAM)),
            ("type_SharedFunctionInfo__SHARED_FUNCTION_INFO_TYPE", i32::from(FUNCTION)),
            ("type_ScopeInfo__SCOPE_INFO_TYPE", i32::from(SCOPE)),
            ("type_Script__SCRIPT_TYPE", i32::from(SCRIPT)),
            ("type_FreeSpace__FREE_SPACE_TYPE", i32::from(FREE)),
            ("type_ByteArray__BYTE_ARRAY_TYPE", i32::from(BYTES)),
        ];
        values.into_iter().map(|(name, value)| (format!("v8dbg_{name}"), value)).collect()
    }

    fn names(fake: &Fake, address: u64) -> Option<Vec<String>> {
        let layout = Layout::of(&constants()).unwrap();
        let functions = V8::new(fake, &layout).find(address, BASE)?;
        Some(functions.into_iter().map(|function| function.name).collect())
    }

    #[test]
    fn code_has_its_function_and_those_inlined_there() {
        let fake = Fake::new().program();
        assert_eq!(names(&fake, START + 8).unwrap(), ["serve"]);
        assert_eq!(names(&fake, START + 16).unwrap(), ["serve", "sum"]);
        assert_eq!(names(&fake, START + 31).unwrap(), ["serve", "sum"]);
        assert_eq!(names(&fake, START + 32).unwrap(), ["serve"]);
        let layout = Layout::of(&constants()).unwrap();
        let function = V8::new(&fake, &layout).find(START, BASE).unwrap().remove(0);
        assert_eq!(function.script, "lib/index.js");
        assert!(names(&fake, STREAM_AT - 8).is_none(), "before all code");
        assert!(names(&fake, 0).is_none() && names(&fake, u64::MAX).is_none());
    }

    #[test]
    fn looking_for_headers_has_an_end() {
        let (fake, layout) = (Fake::new().program(), Layout::of(&constants()).unwrap());
        let v8 = V8::new(&fake, &layout);
        let far = BASE + 0x7000;
        for _ in 0..MOST_PIECES {
            let _ = v8.find(far, BASE);
        }
        assert!(v8.find(START, BASE).is_none());
    }

    #[test]
    fn where_code_was_there_is_none() {
        let mut fake = Fake::new().program();
        fake.object_at(START + 0x40, FREE, &[0]);
        assert_eq!(names(&fake, START + 0x38).unwrap(), ["serve"]);
        assert!(names(&fake, START + 0x48).is_none());
    }

    #[test]
    fn code_that_does_not_lead_to_its_function_is_not_taken_for_that_before_it() {
        let mut fake = Fake::new().program();
        let at = START + 0x100;
        let code = fake.take(96);
        let bytecode = fake.raw(b"abc");
        fake.object_at(at, STREAM, &[code + TAG]);
        fake.object_at(code, CODE, &[0, bytecode, 0, at + TAG, at + 16]);
        assert!(names(&fake, at + 0x20).is_none());
        assert!(names(&fake, at - 8).is_none(), "behind its end");
        assert_eq!(names(&fake, START + CODE_SIZE - 1).unwrap(), ["serve"]);
    }

    #[test]
    fn other_engines_and_short_pointers_are_refused() {
        assert!(Layout::of(&BTreeMap::new()).is_none());
        let with = |name: &str, value: Option<i32>| {
            let mut constants = constants();
            constants.remove(name);
            constants.extend(value.map(|value| (name.to_owned(), value)));
            Layout::of(&constants)
        };
        assert!(with("v8dbg_SmiShiftSize", Some(0)).is_none());
        assert!(with("v8dbg_class_FixedArray__data__uintptr_t", Some(-1)).is_none());
        assert!(with("v8dbg_type_Code__CODE_TYPE", None).is_none());
        assert!(with("v8dbg_type_FreeSpace__FREE_SPACE_TYPE", None).is_some());
    }

    #[test]
    fn tables_that_make_no_sense_are_refused() {
        assert_eq!(
            positions(&[packed(3), packed(2), packed(-6), packed(2)].concat(), 0),
            Some(vec![(3, None), (8, None)])
        );
        assert!(positions(&[packed(3), packed(1 << 31)].concat(), 0).is_none(), "nothing is inlined");
        assert!(positions(&packed(3), 0).is_none(), "cut off");
        assert!(positions(&[0xff; 40], 0).is_none());
    }

    #[test]
    fn what_changes_under_the_reader_does_no_harm() {
        let whole = Fake::new().program();
        let used: Vec<usize> = (0..SIZE).filter(|at| whole.bytes[*at] != 0).collect();
        let mut state = 1u64;
        for _ in 0..2000 {
            let mut fake = whole.clone();
            for _ in 0..4 {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                fake.bytes[used[(state >> 33) as usize % used.len()]] = (state >> 24) as u8;
            }
            for at in (START..START + 64).step_by(8) {
                let _ = names(&fake, at);
            }
        }
    }
}
