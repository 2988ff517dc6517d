//! Rules as the kernel side reads them: packed into 32 bits.

use crate::bpf::types::{unwind_kind as Kind, unwind_layout as Layout};
use symbolize::unwind::{Cfa, FramePointer, Rule};

/// Bytes of the words that rules count in.
const WORD: u32 = 8;

/// A rule in 32 bits; one that does not fit is one that is not served.
pub(super) fn packed(rule: Rule) -> u32 {
    match rule {
        Rule::Unknown => Kind::UNWIND_UNKNOWN.0,
        Rule::Root => Kind::UNWIND_OUTERMOST.0,
        Rule::Signal => Kind::UNWIND_SIGNAL.0,
        Rule::Unsupported => Kind::UNWIND_NOT_SERVED.0,
        Rule::Frame { cfa, frame_pointer } => frame(cfa, frame_pointer).unwrap_or(Kind::UNWIND_NOT_SERVED.0),
    }
}

fn frame(cfa: Cfa, frame_pointer: FramePointer) -> Option<u32> {
    let unsigned = |bytes: u32| u16::try_from(bytes / WORD).ok();
    let signed = |bytes: i32| i16::try_from(bytes / WORD as i32).ok().map(|words| words as u16);
    let (kind, a) = match cfa {
        Cfa::StackPointer(offset) => (Kind::UNWIND_SP, unsigned(offset)?),
        Cfa::FramePointer(offset) => (Kind::UNWIND_FP, signed(offset)?),
        Cfa::Linkage(first) => (Kind::UNWIND_LINKAGE, u16::try_from(first).ok()?),
        Cfa::AtFramePointer(offset) => (Kind::UNWIND_AT_FP, signed(offset)?),
        Cfa::AtStackPointer(offset, more) => {
            let (offset, more) = (u8::try_from(offset / WORD).ok()?, u8::try_from(more / WORD).ok()?);
            (Kind::UNWIND_AT_SP, u16::from(offset) | u16::from(more) << 8)
        }
    };
    let b = match frame_pointer {
        FramePointer::Kept => 0,
        FramePointer::BelowCfa(bytes) => match bytes / WORD {
            words if words < Layout::UNWIND_SAVED_AT_FP.0 => words,
            _ => Layout::UNWIND_SAVED_NOWHERE.0,
        },
        FramePointer::AtFramePointer => Layout::UNWIND_SAVED_AT_FP.0,
        FramePointer::Lost => Layout::UNWIND_SAVED_NOWHERE.0,
    };
    Some(kind.0 | u32::from(a) << Layout::UNWIND_A_SHIFT.0 | b << Layout::UNWIND_B_SHIFT.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed_frame(cfa: Cfa, frame_pointer: FramePointer) -> u32 {
        packed(Rule::Frame { cfa, frame_pointer })
    }

    #[test]
    fn words_are_counted_in_eight_bytes() {
        assert_eq!(packed_frame(Cfa::StackPointer(8), FramePointer::Kept), 0x14);
        assert_eq!(packed_frame(Cfa::FramePointer(16), FramePointer::BelowCfa(16)), 0x0020_0025);
        assert_eq!(packed_frame(Cfa::AtFramePointer(-8), FramePointer::AtFramePointer), 0xffef_fff7);
        assert_eq!(packed_frame(Cfa::AtStackPointer(16, 24), FramePointer::Lost), 0xfff0_3028);
        assert_eq!(packed_frame(Cfa::Linkage(11), FramePointer::Kept), 0xb6);
    }

    #[test]
    fn what_does_not_fit_is_not_served() {
        let not_served = Kind::UNWIND_NOT_SERVED.0;
        assert_ne!(packed_frame(Cfa::StackPointer(8 * 0xffff), FramePointer::Kept), not_served);
        assert_eq!(packed_frame(Cfa::StackPointer(8 * 0x1_0000), FramePointer::Kept), not_served);
        assert_ne!(packed_frame(Cfa::FramePointer(-8 * 0x8000), FramePointer::Kept), not_served);
        assert_eq!(packed_frame(Cfa::FramePointer(-8 * 0x8001), FramePointer::Kept), not_served);
        assert_eq!(packed_frame(Cfa::AtStackPointer(8 * 256, 0), FramePointer::Kept), not_served);
        assert_eq!(packed_frame(Cfa::StackPointer(8), FramePointer::BelowCfa(8 * 0xffd)) >> 20, 0xffd);
        assert_eq!(packed_frame(Cfa::StackPointer(8), FramePointer::BelowCfa(8 * 0xffe)) >> 20, 0xfff);
    }
}
