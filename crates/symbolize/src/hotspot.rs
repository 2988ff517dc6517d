//! Java code that HotSpot compiled, named from the virtual machine's own memory, without a flag or an agent.
//!
//! `libjvm.so` describes its structures for debuggers: `gHotSpotVMStructs` lists fields with their offsets, and
//! `gHotSpotVMTypes` types with their sizes. Every offset used here is read from there, so that one reader serves many
//! versions (it was tried on 17); where a field is missing, code stays unnamed and says so.
//!
//! An address leads to its method so: the code cache consists of heaps; a heap's segment map tells where the piece of code
//! begins that holds an address; of a compiled method that piece names the method, and its debug information those that
//! were inlined at the nearest place the compiler described, which is the one that the virtual machine itself would tell.
//!
//! The program runs on meanwhile. What is read may be half changed: every pointer is only ever used to read through the
//! kernel, every count and loop is bounded, and what makes no sense gives no name.

use crate::{
    MOST_REGIONS, binaries,
    maps::{self, Backing},
    name, read_maps,
    unwind::elf,
};
use std::{cell::RefCell, collections::HashMap, fs::File, os::unix::fs::FileExt, path::Path};

/// The library that a process of this virtual machine has mapped.
pub(crate) const LIBRARY: &str = "libjvm.so";

/// ours: naming some thousand addresses reads some hundred pages; 64 MiB at most.
const MOST_PAGES: usize = 16_384;
/// ours: JDK 17 lists about 800 fields and as many types.
const MOST_ENTRIES: u64 = 8192;
/// ours: there are three heaps, or one.
const MOST_HEAPS: u64 = 16;
/// ours: no piece of code is longer than 16 MiB, and a step of the map goes back by at least one and mostly 254 segments.
const MOST_STEPS: usize = 1 << 17;
/// ours: the compiler inlines to a depth of 15 (MaxInlineLevel), and generated code somewhat deeper.
const DEEPEST: usize = 64;
/// ours: the largest methods have some ten thousand described places.
const MOST_PLACES: u64 = 1 << 18;
/// ours: names are cut to less when they are shown.
const LONGEST_NAME: u64 = 512;

const PAGE: u64 = 4096;

/// Where the memory of a process is read from, a page at a time.
pub(crate) trait Memory {
    fn page(&self, at: u64) -> Option<Box<[u8]>>;
}

impl Memory for File {
    fn page(&self, at: u64) -> Option<Box<[u8]>> {
        let mut page = vec![0; PAGE as usize].into_boxed_slice();
        self.read_exact_at(&mut page, at).ok()?;
        Some(page)
    }
}

/// Memory with the pages that were read: fields lie close together.
struct Pages<M> {
    memory: M,
    read: RefCell<HashMap<u64, Option<Box<[u8]>>>>,
}

impl<M: Memory> Pages<M> {
    fn new(memory: M) -> Self {
        Pages { memory, read: RefCell::default() }
    }

    /// Exactly so many bytes, fewer than a page.
    fn bytes(&self, at: u64, length: u64) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(length as usize);
        let end = at.checked_add(length)?;
        let mut at = at;
        while at < end {
            let page = at & !(PAGE - 1);
            let mut read = self.read.borrow_mut();
            if read.len() >= MOST_PAGES && !read.contains_key(&page) {
                return None;
            }
            let found = read.entry(page).or_insert_with(|| self.memory.page(page)).as_ref()?;
            let (from, to) = ((at - page) as usize, (end - page).min(PAGE) as usize);
            bytes.extend_from_slice(found.get(from..to)?);
            at = page.checked_add(PAGE)?;
        }
        Some(bytes)
    }

    fn number<const N: usize>(&self, at: u64) -> Option<u64> {
        let mut word = [0; 8];
        word[..N].copy_from_slice(&self.bytes(at, N as u64)?);
        Some(u64::from_le_bytes(word))
    }

    fn byte(&self, at: u64) -> Option<u8> {
        self.number::<1>(at).map(|byte| byte as u8)
    }

    fn half(&self, at: u64) -> Option<u64> {
        self.number::<2>(at)
    }

    /// A C `int`; those used here are never negative.
    fn int(&self, at: u64) -> Option<u64> {
        self.number::<4>(at).filter(|value| *value <= i32::MAX as u64)
    }

    /// A pointer, or any number of that size.
    fn word(&self, at: u64) -> Option<u64> {
        self.number::<8>(at)
    }

    fn pointer(&self, at: u64) -> Option<u64> {
        self.word(at).filter(|to| *to != 0)
    }

    /// A C string.
    fn text(&self, at: u64) -> Option<String> {
        let mut bytes = Vec::new();
        for at in at..at.checked_add(LONGEST_NAME)? {
            match self.byte(at)? {
                0 => break,
                byte => bytes.push(byte),
            }
        }
        String::from_utf8(bytes).ok()
    }
}

/// What the virtual machine tells of its structures.
#[derive(Default)]
struct Layout {
    /// Offset in the structure, or the address of what is static, by type and field.
    fields: HashMap<(String, String), u64>,
    sizes: HashMap<String, u64>,
}

/// The library's symbols by which it tells them.
const SYMBOLS: &[&str] = &[
    "gHotSpotVMStructs",
    "gHotSpotVMStructEntryArrayStride",
    "gHotSpotVMStructEntryTypeNameOffset",
    "gHotSpotVMStructEntryFieldNameOffset",
    "gHotSpotVMStructEntryIsStaticOffset",
    "gHotSpotVMStructEntryOffsetOffset",
    "gHotSpotVMStructEntryAddressOffset",
    "gHotSpotVMTypes",
    "gHotSpotVMTypeEntryArrayStride",
    "gHotSpotVMTypeEntryTypeNameOffset",
    "gHotSpotVMTypeEntrySizeOffset",
];

impl Layout {
    /// `address` says where a symbol of the library is in memory.
    fn read<M: Memory>(memory: &Pages<M>, address: impl Fn(&str) -> Option<u64>) -> Option<Layout> {
        let value = |symbol: &str| memory.word(address(symbol)?);
        let mut layout = Layout::default();
        let stride = value("gHotSpotVMStructEntryArrayStride")?;
        let of_struct = |what: &str| value(&format!("gHotSpotVMStructEntry{what}Offset"));
        let (type_at, field_at) = (of_struct("TypeName")?, of_struct("FieldName")?);
        let (static_at, offset_at, address_at) = (of_struct("IsStatic")?, of_struct("Offset")?, of_struct("Address")?);
        let first = value("gHotSpotVMStructs")?;
        for entry in 0..MOST_ENTRIES {
            let at = first.checked_add(stride.checked_mul(entry)?)?;
            let at = |field: u64| at.checked_add(field);
            let Some(of) = memory.pointer(at(type_at)?) else { break };
            let field = memory.text(memory.pointer(at(field_at)?)?)?;
            let is_static = memory.int(at(static_at)?)? != 0;
            let place = memory.word(at(if is_static { address_at } else { offset_at })?)?;
            layout.fields.insert((memory.text(of)?, field), place);
        }
        let stride = value("gHotSpotVMTypeEntryArrayStride")?;
        let (type_at, size_at) = (value("gHotSpotVMTypeEntryTypeNameOffset")?, value("gHotSpotVMTypeEntrySizeOffset")?);
        let first = value("gHotSpotVMTypes")?;
        for entry in 0..MOST_ENTRIES {
            let at = first.checked_add(stride.checked_mul(entry)?)?;
            let Some(of) = memory.pointer(at.checked_add(type_at)?) else { break };
            layout.sizes.insert(memory.text(of)?, memory.word(at.checked_add(size_at)?)?);
        }
        Some(layout)
    }

    fn field(&self, of: &str, field: &str) -> Option<u64> {
        self.fields.get(&(of.to_owned(), field.to_owned())).copied()
    }

    /// Of several names that a field or its type has had, the one there is.
    fn one_of(&self, names: &[(&str, &str)]) -> Option<u64> {
        names.iter().find_map(|(of, field)| self.field(of, field))
    }

    fn size(&self, of: &str) -> Option<u64> {
        self.sizes.get(of).copied()
    }
}

/// A part of the code cache.
struct Heap {
    low: u64,
    high: u64,
    map: u64,
    log2_segment: u64,
}

/// A running virtual machine, as its memory is at the moment; for one batch of addresses.
pub(crate) struct HotSpot<M> {
    memory: Pages<M>,
    layout: Layout,
    heaps: Vec<Heap>,
}

/// The virtual machine of a process, which must be alive; or why its code has no names.
pub(crate) fn open(process: &Path) -> Result<HotSpot<File>, &'static str> {
    const UNREADABLE: &str = "JIT code, and the memory of the Java virtual machine could not be read";
    let maps = read_maps(process).map_err(|_| UNREADABLE)?;
    let (file, base) = maps::parse(&maps, MOST_REGIONS)
        .into_iter()
        .find_map(|region| {
            let Backing::File { path, inode, .. } = &region.backing else { return None };
            let is_it = binaries::base_name(path) == LIBRARY;
            let file = is_it.then(|| binaries::open(process, &region, path, *inode).ok())??;
            let base = elf::bias(&file, region.offset, region.start)?;
            Some((file, base))
        })
        .ok_or(UNREADABLE)?;
    let symbols = elf::symbols(&file, elf::SHARED_SYMBOLS, SYMBOLS).ok_or(UNREADABLE)?;
    let memory = File::open(process.join("mem")).map_err(|_| UNREADABLE)?;
    let address = |symbol: &str| Some(symbols.get(symbol)?.address.wrapping_add(base));
    HotSpot::new(memory, address).ok_or("JIT code of a Java virtual machine that does not tell its structures")
}

impl<M: Memory> HotSpot<M> {
    fn new(memory: M, address: impl Fn(&str) -> Option<u64>) -> Option<Self> {
        let memory = Pages::new(memory);
        let layout = Layout::read(&memory, address)?;
        let mut heaps = Vec::new();
        let of_heap = |field: &str| layout.field("CodeHeap", field);
        let of_space = |field: &str| layout.field("VirtualSpace", field);
        let all = memory.pointer(layout.field("CodeCache", "_heaps")?)?;
        let count = memory.int(
            all.checked_add(layout.one_of(&[("GrowableArrayBase", "_len"), ("GenericGrowableArray", "_len")])?)?,
        )?;
        let first = memory.pointer(all.checked_add(layout.field("GrowableArray<int>", "_data")?)?)?;
        for number in 0..count.min(MOST_HEAPS) {
            let heap = memory.pointer(first.checked_add(number * 8)?)?;
            let at = |field: u64| heap.checked_add(field);
            heaps.push(Heap {
                low: memory.pointer(at(of_heap("_memory")?.checked_add(of_space("_low")?)?)?)?,
                high: memory.pointer(at(of_heap("_memory")?.checked_add(of_space("_high")?)?)?)?,
                map: memory.pointer(at(of_heap("_segmap")?.checked_add(of_space("_low")?)?)?)?,
                log2_segment: memory.int(at(of_heap("_log2_segment_size")?)?).filter(|log2| *log2 < 20)?,
            });
        }
        Some(HotSpot { memory, layout, heaps })
    }

    /// The functions at an address, outermost first: the method that was compiled and those inlined there, or what
    /// the virtual machine calls another piece of code.
    pub(crate) fn functions(&self, address: u64) -> Option<Vec<String>> {
        let code = self.code(address)?;
        let kind = self.memory.text(self.memory.pointer(self.at(code, "CodeBlob", "_name")?)?)?;
        if !matches!(kind.as_str(), "nmethod" | "native nmethod") {
            return (!kind.is_empty()).then(|| vec![name::foreign(&kind)]);
        }
        let method = code.checked_add(self.layout.one_of(&[("nmethod", "_method"), ("CompiledMethod", "_method")])?)?;
        let method = self.memory.pointer(method)?;
        let inlined = || {
            let methods = self.inlined(code, address)?;
            // The outermost is the one that was compiled, or this is no chain of methods.
            let names: Option<Vec<String>> = methods.iter().rev().map(|method| self.method_name(*method)).collect();
            names.filter(|_| methods.last() == Some(&method))
        };
        inlined().or_else(|| Some(vec![self.method_name(method)?]))
    }

    fn at(&self, object: u64, of: &str, field: &str) -> Option<u64> {
        object.checked_add(self.layout.field(of, field)?)
    }

    /// Where the piece of code is described that holds an address. Each segment's byte says how many segments back it
    /// begins, at least; 255 is free.
    fn code(&self, address: u64) -> Option<u64> {
        const FREE: u8 = 0xff;
        let heap = self.heaps.iter().find(|heap| (heap.low..heap.high).contains(&address))?;
        let mut segment = (address - heap.low) >> heap.log2_segment;
        for _ in 0..MOST_STEPS {
            match self.memory.byte(heap.map.checked_add(segment)?)? {
                FREE => return None,
                0 => {
                    let block = heap.low + (segment << heap.log2_segment);
                    let header = self.at(block, "HeapBlock", "_header")?;
                    let used = self.memory.byte(self.at(header, "HeapBlock::Header", "_used")?)?;
                    return (used != 0).then(|| block.checked_add(self.layout.size("HeapBlock")?))?;
                }
                back => segment = segment.checked_sub(u64::from(back))?,
            }
        }
        None
    }

    /// `package.Class.method`.
    fn method_name(&self, method: u64) -> Option<String> {
        let memory = &self.memory;
        let fixed = memory.pointer(self.at(method, "Method", "_constMethod")?)?;
        let pool = memory.pointer(self.at(fixed, "ConstMethod", "_constants")?)?;
        let index = memory.half(self.at(fixed, "ConstMethod", "_name_index")?)?;
        let length = memory.int(self.at(pool, "ConstantPool", "_length")?)?;
        if index == 0 || index >= length {
            return None;
        }
        let entry = pool.checked_add(self.layout.size("ConstantPool")?)?.checked_add(index * 8)?;
        let holder = memory.pointer(self.at(pool, "ConstantPool", "_pool_holder")?)?;
        let class = self.symbol(memory.pointer(self.at(holder, "Klass", "_name")?)?)?.replace('/', ".");
        let name = self.symbol(memory.pointer(entry)?)?;
        Some(name::foreign(&format!("{class}.{name}")))
    }

    fn symbol(&self, symbol: u64) -> Option<String> {
        let length = self.memory.half(self.at(symbol, "Symbol", "_length")?)?;
        let body = self.layout.one_of(&[("Symbol", "_body"), ("Symbol", "_body[0]")])?;
        let bytes = self.memory.bytes(symbol.checked_add(body)?, length.min(LONGEST_NAME))?;
        (!bytes.is_empty()).then(|| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The methods at an address of compiled code, innermost first.
    fn inlined(&self, code: u64, address: u64) -> Option<Vec<u64>> {
        let memory = &self.memory;
        let numbers = self.numbers()?;
        let information = self.information(code)?;
        let size = self.layout.size("PcDesc").filter(|size| *size >= 8)?;
        let count = information.places_end.checked_sub(information.places)? / size;
        let wanted = address.checked_sub(information.begin)?;
        // They are sorted, between one that lies before all code and one that lies behind.
        let pc = self.layout.field("PcDesc", "_pc_offset")?;
        // What is read may be nonsense: then the address is nobody's.
        let place = |number: u64| information.places.wrapping_add(number.wrapping_mul(size));
        let (mut from, mut to) = (0, (count <= MOST_PLACES).then_some(count)?);
        while from < to {
            let middle = (from + to) / 2;
            let offset = memory.number::<4>(place(middle).wrapping_add(pc))? as u32 as i32;
            if i64::from(offset) < i64::try_from(wanted).ok()? { from = middle + 1 } else { to = middle }
        }
        let place = (from < count).then(|| place(from))?;
        let mut scope = memory.int(self.at(place, "PcDesc", "_scope_decode_offset")?)?;
        let mut methods = Vec::new();
        while scope != 0 && methods.len() < DEEPEST {
            let mut at = information.scopes.checked_add(scope)?;
            scope = numbers.read(memory, &mut at)?;
            let index = numbers.read(memory, &mut at)?.checked_sub(1)?;
            methods.push(memory.pointer(information.metadata.checked_add(index.checked_mul(8)?)?)?);
        }
        (scope == 0).then_some(methods)
    }

    fn numbers(&self) -> Option<Numbers> {
        let major = self.memory.int(self.layout.field("Abstract_VM_Version", "_vm_major_version")?)?;
        Some(if major >= 20 { Numbers::Since20 } else { Numbers::Before20 })
    }

    /// Where a compiled method's debug information is: in older versions behind its code, in newer ones by itself.
    fn information(&self, code: u64) -> Option<Information> {
        let (memory, layout) = (&self.memory, &self.layout);
        let begin = match layout.field("CodeBlob", "_code_begin") {
            Some(field) => memory.pointer(code.checked_add(field)?)?,
            None => code.checked_add(memory.int(self.at(code, "CodeBlob", "_code_offset")?)?)?,
        };
        let offset = |field: &str| memory.int(self.at(code, "nmethod", field)?);
        if let Some(scopes) =
            layout.one_of(&[("CompiledMethod", "_scopes_data_begin"), ("nmethod", "_scopes_data_begin")])
        {
            return Some(Information {
                begin,
                places: code.checked_add(offset("_scopes_pcs_offset")?)?,
                places_end: code.checked_add(offset("_dependencies_offset")?)?,
                scopes: memory.pointer(code.checked_add(scopes)?)?,
                metadata: code.checked_add(offset("_metadata_offset")?)?,
            });
        }
        let fixed = memory.pointer(self.at(code, "nmethod", "_immutable_data")?)?;
        let changing = memory.pointer(self.at(code, "CodeBlob", "_mutable_data")?)?;
        let scopes = fixed.checked_add(offset("_scopes_data_offset")?)?;
        Some(Information {
            begin,
            places: fixed.checked_add(offset("_scopes_pcs_offset")?)?,
            places_end: scopes,
            scopes,
            metadata: changing.checked_add(memory.int(self.at(code, "CodeBlob", "_relocation_size")?)?)?,
        })
    }
}

/// Where the debug information of a compiled method is.
struct Information {
    /// First address of its code.
    begin: u64,
    /// The places that are described.
    places: u64,
    places_end: u64,
    /// Which methods they are in, packed.
    scopes: u64,
    /// The methods.
    metadata: u64,
}

/// How numbers are packed: up to five bytes of six bits each, the last of which is small. Since JDK 20 no byte is zero
/// (utilities/unsigned5.hpp).
#[derive(Clone, Copy)]
enum Numbers {
    Before20,
    Since20,
}

impl Numbers {
    fn read<M: Memory>(self, memory: &Pages<M>, at: &mut u64) -> Option<u64> {
        let excess = match self {
            Numbers::Before20 => 0,
            Numbers::Since20 => 1,
        };
        let low = 192 - excess;
        let mut sum = 0;
        for position in 0..5 {
            let byte = u64::from(memory.byte(*at)?).checked_sub(excess)?;
            *at = at.checked_add(1)?;
            sum += byte << (6 * position);
            if byte < low {
                break;
            }
        }
        Some(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// A made-up address space.
    #[derive(Clone, Default)]
    struct Fake {
        bytes: BTreeMap<u64, u8>,
        next: u64,
    }

    impl Memory for Fake {
        fn page(&self, at: u64) -> Option<Box<[u8]>> {
            let here: Vec<(&u64, &u8)> = self.bytes.range(at..at + PAGE).collect();
            let mut page = vec![0; PAGE as usize].into_boxed_slice();
            here.iter().for_each(|(place, byte)| page[(**place - at) as usize] = **byte);
            (!here.is_empty()).then_some(page)
        }
    }

    impl Fake {
        fn put(&mut self, at: u64, bytes: &[u8]) {
            self.bytes.extend(bytes.iter().enumerate().map(|(n, byte)| (at + n as u64, *byte)));
        }

        fn word(&mut self, at: u64, value: u64) {
            self.put(at, &value.to_le_bytes());
        }

        fn int(&mut self, at: u64, value: u32) {
            self.put(at, &value.to_le_bytes());
        }

        fn text(&mut self, text: &str) -> u64 {
            let at = self.next;
            self.put(at, text.as_bytes());
            self.put(at + text.len() as u64, &[0]);
            self.next += text.len() as u64 + 1;
            at
        }

        /// A symbol of the virtual machine's: its length, and its text from the sixth byte.
        fn symbol(&mut self, text: &str) -> u64 {
            let at = self.next;
            self.put(at + 4, &(text.len() as u16).to_le_bytes());
            self.put(at + 6, text.as_bytes());
            self.next += 6 + text.len() as u64;
            at
        }

        fn method(&mut self, at: u64, class: &str, name: &str) {
            let (fixed, pool, holder) = (at + 0x100, at + 0x200, at + 0x300);
            self.word(at + 8, fixed);
            self.word(fixed + 8, pool);
            self.put(fixed + 0x22, &3u16.to_le_bytes());
            self.int(pool + 0x3c, 10);
            self.word(pool + 0x18, holder);
            let (class, name) = (self.symbol(class), self.symbol(name));
            self.word(holder + 0x18, class);
            self.word(pool + 72 + 3 * 8, name);
        }
    }

    const LIBJVM: u64 = 0x10_0000;
    const VERSION: u64 = LIBJVM + 0xc000;
    const HEAP: u64 = 0x40_0000;
    const CODE: u64 = HEAP + 0x200;
    const OUTER: u64 = 0x60_0000;
    const INNER: u64 = 0x61_0000;
    const FIELDS: &[(&str, &str, u64)] = &[
        ("CodeHeap", "_memory", 8),
        ("CodeHeap", "_segmap", 0x78),
        ("CodeHeap", "_log2_segment_size", 0x100),
        ("VirtualSpace", "_low", 16),
        ("VirtualSpace", "_high", 24),
        ("GrowableArrayBase", "_len", 0),
        ("GrowableArray<int>", "_data", 8),
        ("HeapBlock", "_header", 0),
        ("HeapBlock::Header", "_used", 8),
        ("CodeBlob", "_name", 0x60),
        ("CodeBlob", "_code_begin", 0x20),
        ("CompiledMethod", "_method", 0x70),
        ("CompiledMethod", "_scopes_data_begin", 0x78),
        ("nmethod", "_scopes_pcs_offset", 0x10c),
        ("nmethod", "_dependencies_offset", 0x110),
        ("nmethod", "_metadata_offset", 0x104),
        ("PcDesc", "_pc_offset", 0),
        ("PcDesc", "_scope_decode_offset", 4),
        ("Method", "_constMethod", 8),
        ("ConstMethod", "_constants", 8),
        ("ConstMethod", "_name_index", 0x22),
        ("ConstantPool", "_length", 0x3c),
        ("ConstantPool", "_pool_holder", 0x18),
        ("Klass", "_name", 0x18),
        ("Symbol", "_length", 4),
        ("Symbol", "_body", 6),
    ];

    /// A virtual machine with one compiled method, `app.Shop.serve`, that has `app.Price.sum` inlined at first.
    fn machine(without: Option<&str>) -> Fake {
        let mut fake = Fake { next: 0x70_0000, ..Fake::default() };
        let (structs, types, heaps, heap) = (LIBJVM + 0x1000, LIBJVM + 0x8000, LIBJVM + 0xa000, LIBJVM + 0xb000);
        let symbols: Vec<u64> = vec![structs, 48, 0, 8, 24, 32, 40, types, 16, 0, 8];
        for (at, value) in symbols.into_iter().enumerate() {
            fake.word(LIBJVM + at as u64 * 8, value);
        }
        let fields = FIELDS.iter().filter(|(_, field, _)| Some(*field) != without);
        let mut entry = structs;
        let fixed = [("CodeCache", "_heaps", heaps), ("Abstract_VM_Version", "_vm_major_version", VERSION)];
        for (of, field, offset) in fields.chain(&fixed) {
            let (of, name) = (fake.text(of), fake.text(field));
            fake.word(entry, of);
            fake.word(entry + 8, name);
            let is_static = fixed.iter().any(|known| known.1 == *field);
            fake.int(entry + 24, u32::from(is_static));
            fake.word(entry + if is_static { 40 } else { 32 }, *offset);
            entry += 48;
        }
        fake.word(entry, 0);
        for (at, (of, size)) in [("HeapBlock", 16), ("ConstantPool", 72), ("PcDesc", 16)].into_iter().enumerate() {
            let of = fake.text(of);
            fake.word(types + at as u64 * 16, of);
            fake.word(types + at as u64 * 16 + 8, size);
        }
        fake.word(types + 3 * 16, 0);
        fake.int(VERSION, 17);
        fake.word(heaps, heaps + 0x100);
        fake.int(heaps + 0x100, 1);
        fake.word(heaps + 0x108, heaps + 0x200);
        fake.word(heaps + 0x200, heap);
        fake.word(heap + 8 + 16, HEAP);
        fake.word(heap + 8 + 24, HEAP + 0x1000);
        fake.word(heap + 0x78 + 16, heap + 0x800);
        fake.int(heap + 0x100, 7);
        // Segments of 128 bytes: a free one, then one piece of code.
        fake.put(heap + 0x800, &[0xff, 0xff, 0xff, 0, 1, 2, 3, 1, 5, 6, 7, 8, 9, 0xff]);
        let block = HEAP + 3 * 128;
        fake.put(block + 8, &[1]);
        let blob = block + 16;
        let kind = fake.text("nmethod");
        fake.word(blob + 0x60, kind);
        fake.word(blob + 0x20, CODE);
        fake.word(blob + 0x70, OUTER);
        fake.word(blob + 0x78, HEAP + 0x1100);
        fake.int(blob + 0x104, 0x300);
        fake.int(blob + 0x10c, 0x310);
        fake.int(blob + 0x110, 0x310 + 4 * 16);
        fake.word(blob + 0x300, OUTER);
        fake.word(blob + 0x308, INNER);
        for (at, (pc, scope)) in [(u32::MAX, 0), (0x20, 4), (0x80, 1), (0x7fff_ffff, 0)].into_iter().enumerate() {
            fake.int(blob + 0x310 + at as u64 * 16, pc);
            fake.int(blob + 0x314 + at as u64 * 16, scope);
        }
        // Outer scope: none outside, first method, at some bytecode. The inner one: the outer one outside, second method.
        fake.put(HEAP + 0x1100, &[0xee, 0, 1, 9, 1, 2, 9]);
        fake.method(OUTER, "app/Shop", "serve");
        fake.method(INNER, "app/Price", "sum");
        fake
    }

    fn open(fake: Fake) -> Option<HotSpot<Fake>> {
        let at = |symbol: &str| Some(LIBJVM + SYMBOLS.iter().position(|known| *known == symbol)? as u64 * 8);
        HotSpot::new(fake, at)
    }

    #[test]
    fn compiled_code_has_its_method_and_those_inlined_there() {
        let machine = open(machine(None)).unwrap();
        assert_eq!(machine.functions(CODE + 0x10).unwrap(), ["app.Shop.serve", "app.Price.sum"]);
        assert_eq!(machine.functions(CODE + 0x30).unwrap(), ["app.Shop.serve"]);
        assert_eq!(machine.functions(CODE + 0x100).unwrap(), ["app.Shop.serve"], "behind every described place");
        assert!(machine.functions(HEAP + 0x10).is_none(), "free");
        assert!(machine.functions(HEAP - 1).is_none() && machine.functions(u64::MAX).is_none());
    }

    #[test]
    fn numbers_of_newer_versions_leave_out_zero() {
        let mut fake = machine(None);
        fake.int(VERSION, 21);
        fake.put(HEAP + 0x1100, &[0xee, 1, 2, 10, 2, 3, 10]);
        assert_eq!(open(fake).unwrap().functions(CODE + 0x10).unwrap(), ["app.Shop.serve", "app.Price.sum"]);
        let large = |numbers: Numbers, bytes: &[u8]| {
            let mut fake = Fake::default();
            fake.put(PAGE, bytes);
            numbers.read(&Pages::new(fake), &mut { PAGE })
        };
        assert_eq!(large(Numbers::Before20, &[192, 1]), Some(192 + 64));
        assert_eq!(large(Numbers::Since20, &[192, 1]), Some(191));
        assert_eq!(large(Numbers::Since20, &[0]), None);
    }

    #[test]
    fn other_code_is_called_as_the_virtual_machine_does() {
        let mut fake = machine(None);
        let kind = fake.text("Interpreter");
        fake.word(HEAP + 3 * 128 + 16 + 0x60, kind);
        assert_eq!(open(fake).unwrap().functions(CODE + 0x10).unwrap(), ["Interpreter"]);
    }

    #[test]
    fn without_debug_information_the_method_alone_is_told_and_without_a_needed_field_nothing() {
        let names = |without| open(machine(Some(without))).and_then(|machine| machine.functions(CODE + 0x10));
        assert_eq!(names("_pc_offset").unwrap(), ["app.Shop.serve"]);
        assert!(names("_constMethod").is_none());
        assert!(names("_segmap").is_none());
        let mut fake = machine(None);
        fake.word(LIBJVM + 8, 0);
        assert!(open(fake).is_none());
    }

    #[test]
    fn what_changes_under_the_reader_does_no_harm() {
        let whole = machine(None);
        let places: Vec<u64> = whole.bytes.keys().copied().collect();
        let mut state = 1u64;
        for _ in 0..300 {
            let mut fake = whole.clone();
            for _ in 0..4 {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                fake.bytes.insert(places[(state >> 33) as usize % places.len()], (state >> 24) as u8);
            }
            if let Some(machine) = open(fake) {
                for at in (HEAP..HEAP + 0x1000).step_by(64) {
                    let _ = machine.functions(at);
                }
            }
        }
    }
}
