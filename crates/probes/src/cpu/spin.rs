//! Who waits by spinning: CPU samples that were taken at the instruction made for it.

use super::Samples;
use crate::{roots::Roots, stacks::Stacks};
use observe::{Labels, Recording, Series, catalog};
use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    os::unix::fs::FileExt,
};

/// x86: PAUSE.
#[cfg(target_arch = "x86_64")]
const RELAX: &[&[u8]] = &[&[0xf3, 0x90]];
/// AArch64: YIELD, WFE, and ISB SY, which spin loops use for its longer delay.
#[cfg(target_arch = "aarch64")]
const RELAX: &[&[u8]] = &[&[0x3f, 0x20, 0x03, 0xd5], &[0x5f, 0x20, 0x03, 0xd5], &[0xdf, 0x3f, 0x03, 0xd5]];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const RELAX: &[&[u8]] = &[];

/// ours: the few instructions of a loop that looks at a word and relaxes lie within so many bytes on either side.
const AROUND: u64 = 12;

/// ours: code at more places than this of a process is not one loop, and reading it all would be work.
const PLACES: usize = 64;

/// Adds the samples whose code, around where they were taken, has the CPU relax: only a loop that waits does that.
pub(super) fn collect(samples: &Samples, stacks: &Stacks, roots: &Roots, into: &mut Recording) {
    let mut places: BTreeMap<u32, HashMap<u64, u64>> = BTreeMap::new();
    let mut leaves: HashMap<(u32, u64), u64> = HashMap::new();
    for (pid, user, kernel, count) in samples.stacks() {
        if let (0, Some(leaf)) = (kernel, stacks.leaf(user)) {
            *places.entry(pid).or_default().entry(leaf).or_default() += count;
            leaves.insert((pid, leaf), user);
        }
    }
    let mut spun: BTreeMap<(u32, String), u64> = BTreeMap::new();
    for (pid, places) in places {
        let Ok(memory) = File::open(roots.proc.join(format!("{pid}/mem"))) else { continue };
        let mut places: Vec<(u64, u64)> = places.into_iter().collect();
        places.sort_by_key(|(leaf, count)| (std::cmp::Reverse(*count), *leaf));
        for (leaf, count) in places.into_iter().take(PLACES).filter(|(leaf, _)| relaxes(&memory, *leaf)) {
            let frames = leaves.get(&(pid, leaf)).map_or(&[][..], |user| stacks.user(*user));
            let function = frames.last().map_or_else(String::new, |id| stacks.frame(*id).name.clone());
            *spun.entry((pid, function)).or_default() += count;
        }
    }
    let length = into.window.length;
    let rows = spun.into_iter().map(|((pid, function), count)| {
        Series::total(Labels::new([("pid", pid.to_string()), ("function", function)]), length, count as f64)
    });
    into.set(&catalog::SPIN_SAMPLES, Ok(rows.collect()));
}

fn relaxes(memory: &File, at: u64) -> bool {
    let mut code = [0u8; 2 * AROUND as usize];
    let from = at.saturating_sub(AROUND);
    memory.read_exact_at(&mut code, from).is_ok()
        && RELAX.iter().any(|relax| code.windows(relax.len()).any(|bytes| bytes == *relax))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_that_relaxes_is_seen_in_memory() {
        let file = tempfile::tempfile().unwrap();
        let mut code = vec![0x90u8; 256];
        code[100..100 + RELAX[0].len()].copy_from_slice(RELAX[0]);
        file.write_all_at(&code, 0).unwrap();
        assert!(relaxes(&file, 104) && relaxes(&file, 98));
        assert!(!relaxes(&file, 60) && !relaxes(&file, 140) && !relaxes(&file, 1 << 40));
    }
}
