//! From `.eh_frame` to rows: one for each range of instructions with the same rule.

use super::{NoTable, elf::Elf};
use gimli::{
    BaseAddresses, CfaRule, CieOrFde, EhFrame, EhFrameOffset, Encoding, EndianSlice, Expression, Format,
    FrameDescriptionEntry, LittleEndian, Operation, Register, RegisterRule, UnwindContext, UnwindExpression,
    UnwindSection, UnwindTableRow, X86_64,
};

type Bytes<'a> = EndianSlice<'a, LittleEndian>;
type Entry<'a> = FrameDescriptionEntry<Bytes<'a>>;

/// How to find the caller's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Nothing is known of this code: only its frame pointer can help.
    Unknown,
    /// The outermost function: it has no caller.
    Root,
    /// The function that a signal handler returns to: the interrupted registers are on the stack.
    Signal,
    /// The information is there, in a form that is not served.
    Unsupported,
    /// An ordinary frame. The return address is the word below the CFA.
    Frame {
        /// Where the stack pointer was before the call.
        cfa: Cfa,
        /// Where the caller's frame pointer is.
        frame_pointer: FramePointer,
    },
}

/// The stack pointer before the call. All numbers are bytes and multiples of eight, but for [`Cfa::Linkage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cfa {
    /// The stack pointer and this.
    StackPointer(u32),
    /// The frame pointer and this.
    FramePointer(i32),
    /// In a procedure linkage table of 16-byte entries: the stack pointer and 8, and 8 more from this byte of the entry
    /// on.
    Linkage(u32),
    /// What is stored at the frame pointer and this: functions that align their stack.
    AtFramePointer(i32),
    /// What is stored at the stack pointer and the first, and the second.
    AtStackPointer(u32, u32),
}

/// The caller's frame pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramePointer {
    /// Still in its register.
    Kept,
    /// Stored that many bytes below the CFA.
    BelowCfa(u32),
    /// Stored where the frame pointer points.
    AtFramePointer,
    /// Not to be had.
    Lost,
}

/// From this instruction on, up to the next row's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Distance of the instruction from [`Table::base`].
    pub pc: u32,
    /// How to find its caller.
    pub rule: Rule,
}

/// The rules of a binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    base: u64,
    rows: Vec<Row>,
}

impl Table {
    /// The address that the rows count from.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// The rows, in ascending order, neighbours with different rules.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The rule for an instruction, by its address in the binary.
    pub fn find(&self, address: u64) -> Rule {
        let Some(pc) = address.checked_sub(self.base).and_then(|pc| u32::try_from(pc).ok()) else {
            return Rule::Unknown;
        };
        let at = self.rows.partition_point(|row| row.pc <= pc);
        at.checked_sub(1).map_or(Rule::Unknown, |at| self.rows[at].rule)
    }

    pub(super) fn build(elf: &Elf) -> Result<Table, NoTable> {
        let section = elf.eh_frame.as_ref().ok_or(NoTable::NoInformation)?;
        let base = elf.code.iter().map(|s| s.address).min().ok_or(NoTable::Damaged("its program headers"))?;
        let eh_frame = EhFrame::new(&section.bytes, LittleEndian);
        let bases = BaseAddresses::default().set_eh_frame(section.address).set_text(base);
        let mut build = Builder { base, rows: Vec::new(), end: base };
        let mut functions: Vec<Function> = functions(&eh_frame, &bases);
        if functions.is_empty() {
            return Err(NoTable::NoInformation);
        }
        functions.extend(elf.linkage.iter().map(|(start, length)| Function {
            start: *start,
            end: start + length,
            at: None,
        }));
        // Where some linker describes its linkage table and some does not, the description comes first.
        functions.sort_unstable_by_key(|f| (f.start, f.at.is_none()));
        let mut context = UnwindContext::new();
        for function in functions {
            let from = function.start.max(build.end);
            if function.end <= from {
                continue;
            }
            if from - build.end >= LONGEST_PADDING {
                build.row(build.end, from, Rule::Unknown);
            }
            match function.at {
                None => build.row(from, function.end, LINKAGE),
                Some(at) => build.function(&eh_frame, &bases, at, &mut context, function.end),
            }
            build.end = function.end;
            if build.rows.len() > MOST_ROWS {
                return Err(NoTable::TooLarge);
            }
        }
        build.row(build.end, u64::MAX, Rule::Unknown);
        build.rows.shrink_to_fit();
        Ok(Table { base, rows: build.rows })
    }
}

/// ours: three times those of a browser's main library.
const MOST_ROWS: usize = 4 << 20;
/// Functions begin at multiples of 16 bytes; what fills the room before them never runs and gets no row of its own.
const LONGEST_PADDING: u64 = 16;

/// In a linkage table without description: a jump, before anything is pushed.
const LINKAGE: Rule = Rule::Frame { cfa: Cfa::StackPointer(8), frame_pointer: FramePointer::Kept };

/// A function's addresses and the place of its entry.
struct Function {
    start: u64,
    end: u64,
    at: Option<EhFrameOffset>,
}

/// Every function; entries that cannot be parsed are left out.
fn functions(eh_frame: &EhFrame<Bytes<'_>>, bases: &BaseAddresses) -> Vec<Function> {
    let mut all = Vec::new();
    let mut entries = eh_frame.entries(bases);
    let mut last = None;
    while let Ok(Some(entry)) = entries.next() {
        let CieOrFde::Fde(partial) = entry else { continue };
        // Most entries share the common part of the one before.
        let parsed = partial.parse(|section, bases, offset| match &last {
            Some((at, cie)) if *at == offset => Ok(gimli::CommonInformationEntry::clone(cie)),
            _ => {
                let cie = section.cie_from_offset(bases, offset)?;
                last = Some((offset, cie.clone()));
                Ok(cie)
            }
        });
        if let Ok(entry) = parsed {
            let start = entry.initial_address();
            // The linker leaves functions that it dropped at address 0.
            if start != 0
                && let Some(end) = start.checked_add(entry.len())
            {
                all.push(Function { start, end, at: Some(EhFrameOffset(entry.offset())) });
            }
        }
    }
    all
}

struct Builder {
    base: u64,
    rows: Vec<Row>,
    /// End of the last function.
    end: u64,
}

impl Builder {
    /// Adds a row unless the one before says the same.
    fn row(&mut self, start: u64, end: u64, rule: Rule) {
        let Some(pc) = start.checked_sub(self.base).and_then(|pc| u32::try_from(pc).ok()) else { return };
        if start >= end {
            return;
        }
        match self.rows.last_mut() {
            Some(last) if last.rule == rule => {}
            Some(last) if last.pc == pc => last.rule = rule,
            None if rule == Rule::Unknown => {}
            _ => self.rows.push(Row { pc, rule }),
        }
    }

    fn function<'a>(
        &mut self,
        eh_frame: &EhFrame<Bytes<'a>>,
        bases: &BaseAddresses,
        at: EhFrameOffset,
        context: &mut UnwindContext<usize>,
        end: u64,
    ) {
        let Ok(entry) = eh_frame.fde_from_offset(bases, at, EhFrame::cie_from_offset) else { return };
        let Ok(mut table) = entry.rows(eh_frame, bases, context) else { return };
        let mut reached = self.end;
        loop {
            match table.next_row() {
                Ok(Some(row)) => {
                    // Part of it may belong to the function before.
                    let start = row.start_address().max(reached).min(end);
                    reached = row.end_address().clamp(start, end);
                    self.row(start, reached, rule(row, &entry, eh_frame));
                }
                Ok(None) => break,
                Err(_) => {
                    self.row(reached, end, Rule::Unsupported);
                    break;
                }
            }
        }
    }
}

fn rule(row: &UnwindTableRow<usize>, entry: &Entry<'_>, eh_frame: &EhFrame<Bytes<'_>>) -> Rule {
    let operations = |expression: &UnwindExpression<usize>| {
        expression.get(eh_frame).ok().and_then(|expression| operations(expression, entry.cie().encoding()))
    };
    match row.register(entry.cie().return_address_register()) {
        Some(RegisterRule::Undefined) => return Rule::Root,
        Some(RegisterRule::Offset(-8)) => {}
        Some(RegisterRule::Expression(_)) if entry.is_signal_trampoline() => {
            // The layout of a signal frame is part of the kernel's interface; the CFA shows that this is one.
            let stored = match row.cfa() {
                CfaRule::Expression(expression) => operations(expression),
                CfaRule::RegisterAndOffset { .. } => None,
            };
            return match stored.as_deref() {
                Some(
                    [Operation::RegisterOffset { register: X86_64::RSP, offset: 160, .. }, Operation::Deref { .. }],
                ) => Rule::Signal,
                _ => Rule::Unsupported,
            };
        }
        _ => return Rule::Unsupported,
    }
    let cfa = match row.cfa() {
        CfaRule::RegisterAndOffset { register, offset } => register_and_offset(*register, *offset),
        CfaRule::Expression(expression) => operations(expression).and_then(|operations| cfa_expression(&operations)),
    };
    let Some(cfa) = cfa else { return Rule::Unsupported };
    let frame_pointer = match row.register(X86_64::RBP) {
        None | Some(RegisterRule::SameValue) => FramePointer::Kept,
        Some(RegisterRule::Offset(offset)) => match below(offset) {
            Some(bytes) => FramePointer::BelowCfa(bytes),
            None => FramePointer::Lost,
        },
        Some(RegisterRule::Expression(expression)) => match operations(&expression).as_deref() {
            Some([Operation::RegisterOffset { register: X86_64::RBP, offset: 0, .. }]) => FramePointer::AtFramePointer,
            _ => FramePointer::Lost,
        },
        _ => FramePointer::Lost,
    };
    Rule::Frame { cfa, frame_pointer }
}

fn register_and_offset(register: Register, offset: i64) -> Option<Cfa> {
    match register {
        X86_64::RSP => words(offset).map(Cfa::StackPointer),
        X86_64::RBP => i32::try_from(offset).ok().filter(|offset| offset % 8 == 0).map(Cfa::FramePointer),
        _ => None,
    }
}

/// A number of bytes that is a multiple of eight and not negative.
fn words(offset: i64) -> Option<u32> {
    u32::try_from(offset).ok().filter(|offset| offset % 8 == 0)
}

fn below(offset: i64) -> Option<u32> {
    words(offset.checked_neg()?).filter(|bytes| *bytes > 0)
}

/// The expressions that compilers and linkers write: linkage tables, aligned stacks, a stored stack pointer.
fn cfa_expression(operations: &[Operation<Bytes<'_>>]) -> Option<Cfa> {
    use Operation::{Deref, PlusConstant, RegisterOffset};
    match operations {
        [RegisterOffset { register: X86_64::RBP, offset, .. }, Deref { .. }] => {
            i32::try_from(*offset).ok().filter(|offset| offset % 8 == 0).map(Cfa::AtFramePointer)
        }
        [RegisterOffset { register: X86_64::RSP, offset, .. }, Deref { .. }] => {
            words(*offset).map(|offset| Cfa::AtStackPointer(offset, 0))
        }
        [RegisterOffset { register: X86_64::RSP, offset, .. }, Deref { .. }, rest @ ..] => {
            let mut more = 0u64;
            for operation in rest {
                let PlusConstant { value } = operation else { return None };
                more = more.checked_add(*value)?;
            }
            Some(Cfa::AtStackPointer(words(*offset)?, words(i64::try_from(more).ok()?)?))
        }
        [
            RegisterOffset { register: X86_64::RSP, offset: 8, .. },
            RegisterOffset { register: X86_64::RA, offset: 0, .. },
            Operation::UnsignedConstant { value: 15 },
            Operation::And,
            Operation::UnsignedConstant { value: first },
            Operation::Ge,
            Operation::UnsignedConstant { value: 3 },
            Operation::Shl,
            Operation::Plus,
        ] => u32::try_from(*first).ok().filter(|first| *first < 16).map(Cfa::Linkage),
        _ => None,
    }
}

/// The operations of an expression; `None` for long or damaged ones.
fn operations(expression: Expression<Bytes<'_>>, encoding: Encoding) -> Option<Vec<Operation<Bytes<'_>>>> {
    let encoding = Encoding { address_size: 8, format: Format::Dwarf32, ..encoding };
    let mut parsed = Vec::new();
    let mut operations = expression.operations(encoding);
    while let Some(operation) = operations.next().ok()? {
        if parsed.len() >= 16 {
            return None;
        }
        parsed.push(operation);
    }
    Some(parsed)
}

#[cfg(test)]
mod tests {
    use super::super::elf::{Section, Segment};
    use super::*;

    /// An `.eh_frame` with one common part (CFA = rsp + 8, return address below it) and functions of given programs.
    fn eh_frame(functions: &[(u64, u32, &[u8])]) -> Elf {
        let mut bytes = Vec::new();
        let mut entry = |body: &[u8]| {
            let padding = (8 - (body.len() + 4) % 8) % 8;
            bytes.extend(((body.len() + padding) as u32).to_le_bytes());
            bytes.extend(body);
            bytes.extend(vec![0; padding]);
            bytes.len()
        };
        // Identifier, version, no augmentation, factors 1 and -8, return address in column 16.
        let mut at = entry(&[0, 0, 0, 0, 1, 0, 1, 0x78, 16, 0x0c, 7, 8, 0x90, 1]);
        for (start, length, program) in functions {
            let mut body = ((at + 4) as u32).to_le_bytes().to_vec();
            body.extend(start.to_le_bytes());
            body.extend(u64::from(*length).to_le_bytes());
            body.extend(*program);
            at = entry(&body);
        }
        bytes.extend([0; 4]);
        Elf {
            code: vec![Segment { offset: 0x1000, address: 0x1000, length: 0x10000 }],
            eh_frame: Some(Section { address: 0x20000, bytes }),
            build_id: Vec::new(),
            linkage: Vec::new(),
        }
    }

    fn frame(cfa: Cfa, frame_pointer: FramePointer) -> Rule {
        Rule::Frame { cfa, frame_pointer }
    }

    #[test]
    fn a_frame_is_followed_from_its_first_instruction_to_its_last() {
        // push rbp after 1 byte; mov rbp, rsp after 3 more; at the end, leave.
        let program = [0x41, 0x0e, 16, 0x86, 2, 0x43, 0x0d, 6, 0x50, 0x0c, 7, 8];
        let table = Table::build(&eh_frame(&[(0x1100, 0x40, &program)])).unwrap();
        assert_eq!(table.find(0x10ff), Rule::Unknown);
        assert_eq!(table.find(0x1100), frame(Cfa::StackPointer(8), FramePointer::Kept));
        assert_eq!(table.find(0x1101), frame(Cfa::StackPointer(16), FramePointer::BelowCfa(16)));
        assert_eq!(table.find(0x1104), frame(Cfa::FramePointer(16), FramePointer::BelowCfa(16)));
        assert_eq!(table.find(0x1113), frame(Cfa::FramePointer(16), FramePointer::BelowCfa(16)));
        assert_eq!(table.find(0x1114), frame(Cfa::StackPointer(8), FramePointer::BelowCfa(16)));
        assert_eq!(table.find(0x113f), frame(Cfa::StackPointer(8), FramePointer::BelowCfa(16)));
        assert_eq!(table.find(0x1140), Rule::Unknown);
    }

    #[test]
    fn functions_come_in_any_order_and_overlap() {
        let table = Table::build(&eh_frame(&[
            (0x1200, 0x20, &[0x0e, 32]),
            (0x1100, 0x10, &[0x0e, 16]),
            (0x1118, 0x10, &[0x0e, 24]),
            (0x1120, 0x10, &[0x0e, 40]),
        ]))
        .unwrap();
        let sp = |n| frame(Cfa::StackPointer(n), FramePointer::Kept);
        let seen: Vec<Rule> = [0x1100, 0x1117, 0x1118, 0x1127, 0x1128, 0x112f, 0x1130, 0x1200, 0x121f, 0x1220]
            .into_iter()
            .map(|at| table.find(at))
            .collect();
        let unknown = Rule::Unknown;
        // The eight bytes at 0x1110 are padding.
        assert_eq!(seen, [sp(16), sp(16), sp(24), sp(24), sp(40), sp(40), unknown, sp(32), sp(32), unknown]);
        assert!(table.rows().windows(2).all(|pair| pair[0].pc < pair[1].pc && pair[0].rule != pair[1].rule));
    }

    #[test]
    fn expressions_that_compilers_write_are_known() {
        let plt = [0x0f, 11, 0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22];
        let aligned = [0x10, 6, 2, 0x76, 0, 0x0f, 3, 0x76, 0x78, 6];
        let stored = [0x0f, 5, 0x77, 16, 6, 0x23, 24];
        let other = [0x0f, 2, 0x71, 0];
        let root = [0x07, 16];
        let table = Table::build(&eh_frame(&[
            (0x1100, 0x20, &plt),
            (0x1120, 0x20, &aligned),
            (0x1140, 0x20, &stored),
            (0x1160, 0x20, &other),
            (0x1180, 0x20, &root),
        ]))
        .unwrap();
        assert_eq!(table.find(0x1100), frame(Cfa::Linkage(11), FramePointer::Kept));
        assert_eq!(table.find(0x1120), frame(Cfa::AtFramePointer(-8), FramePointer::AtFramePointer));
        assert_eq!(table.find(0x1140), frame(Cfa::AtStackPointer(16, 24), FramePointer::Kept));
        assert_eq!(table.find(0x1160), Rule::Unsupported);
        assert_eq!(table.find(0x1180), Rule::Root);
    }

    #[test]
    fn damaged_information_does_no_harm() {
        let whole = eh_frame(&[(0x1100, 0x40, &[0x41, 0x0e, 16, 0x86, 2, 0x43, 0x0d, 6]), (0x1140, 0x40, &[0x0e, 32])]);
        let section = whole.eh_frame.as_ref().unwrap();
        for at in 0..section.bytes.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bytes = section.bytes.clone();
                bytes[at] = value;
                let broken = Elf {
                    code: whole.code.clone(),
                    eh_frame: Some(Section { address: section.address, bytes }),
                    build_id: Vec::new(),
                    linkage: vec![(0x1130, u64::MAX - 0x1130)],
                };
                let _ = Table::build(&broken);
            }
        }
    }

    #[test]
    fn binaries_without_information_say_so() {
        let mut elf = eh_frame(&[]);
        assert_eq!(Table::build(&elf), Err(NoTable::NoInformation));
        elf.eh_frame = None;
        assert_eq!(Table::build(&elf), Err(NoTable::NoInformation));
    }
}
