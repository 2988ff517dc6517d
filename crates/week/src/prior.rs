//! Prior weeks: would everything work on Monday? What this run itself proved about tracing on this machine.

use crate::Seen;
use observe::{Frame, catalog};

/// What worked, by having been used; nothing when nothing did.
pub(crate) fn known(seen: &Seen) -> Vec<String> {
    let rec = seen.rec;
    let mut works = Vec::new();
    if rec.get(&catalog::WAITS).is_ok() {
        works.push("scheduler tracing");
    }
    if rec.get(&catalog::CPU_STACKS).is_ok() {
        works.push("CPU profiling");
    }
    if rec.get(&catalog::BLOCK_LATENCY).is_ok() {
        works.push("block tracing");
    }
    if rec.get(&catalog::SYSCALL_TIME).is_ok() {
        works.push("system call tracing");
    }
    if works.is_empty() {
        return Vec::new();
    }
    let mut known = vec![format!("tracing works here: {}", works.join(", "))];
    let named = rec.frames.iter().filter(|f: &&Frame| !f.name.is_empty()).count();
    if !rec.frames.is_empty() {
        known.push(format!("{named} of {} distinct code addresses have names", rec.frames.len()));
    }
    known
}
