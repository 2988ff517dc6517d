//! Folded stacks, one line a stack: `process;outermost;…;innermost value`, as flame graph tools read them.

use observe::{Frame, FrameId, FrameKind, Pid, Recording, TimeClass, Wait, catalog};
use std::collections::BTreeMap;

/// Which stacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoldedKind {
    /// On-CPU samples; the value is the number of samples.
    Cpu,
    /// Functions of Python programs; the value is the number of looks.
    Interpreted,
    /// Time not running, idleness left out; the value is in microseconds.
    OffCpu,
    /// The same without the waits for a CPU, followed by `--` and the waker's stack, innermost first, and its name.
    OffCpuWaker,
}

/// Folded stacks of the target's processes, or of all when none was named; friday's own are left out. Sorted by stack.
pub fn folded(recording: &Recording, kind: FoldedKind) -> String {
    let mut out = String::new();
    for (stack, value) in stacks(recording, kind) {
        out.push_str(&stack);
        out.push(' ');
        out.push_str(&value.to_string());
        out.push('\n');
    }
    out
}

/// Values by stack; stacks without any are left out.
pub(crate) fn stacks(recording: &Recording, kind: FoldedKind) -> BTreeMap<String, u64> {
    let mut out = BTreeMap::new();
    let mut add = |stack: String, value: u64| {
        if value > 0 {
            let sum: &mut u64 = out.entry(stack).or_default();
            *sum = sum.saturating_add(value);
        }
    };
    // Frames are in many stacks each.
    let labels: Vec<String> = recording.frames.iter().map(label).collect();
    let shown = |pid: Pid| {
        let wanted = !recording.target.is_named() || recording.target.contains(pid);
        wanted && !recording.is_friday(pid)
    };
    match kind {
        FoldedKind::Cpu | FoldedKind::Interpreted => {
            let metric = if kind == FoldedKind::Cpu { &catalog::CPU_STACKS } else { &catalog::INTERPRETED_STACKS };
            let rows = recording.get(metric).unwrap_or_default();
            for row in rows.iter().filter(|row| shown(row.pid)) {
                let mut stack = root(recording, row.pid);
                push_frames(&mut stack, &labels, row.frames.iter());
                if row.frames.is_empty() {
                    stack.push_str(";[no stack]");
                }
                add(stack, row.samples);
            }
        }
        FoldedKind::OffCpu | FoldedKind::OffCpuWaker => {
            let with_waker = kind == FoldedKind::OffCpuWaker;
            let rows = recording.get(&catalog::WAITS).unwrap_or_default();
            for row in rows.iter().filter(|row| shown(row.pid) && is_wait(row.class, with_waker)) {
                let mut stack = root(recording, row.pid);
                push_frames(&mut stack, &labels, row.stack.iter());
                if row.stack.is_empty() {
                    stack.push_str(&format!(";[{}]", row.class.name()));
                }
                if with_waker {
                    push_waker(&mut stack, recording, &labels, row);
                }
                add(stack, u64::try_from(row.time.as_micros()).unwrap_or(u64::MAX));
            }
        }
    }
    out
}

/// Idleness is nobody's fault and would hide the rest; a wait for a CPU has no waker to look at.
fn is_wait(class: TimeClass, with_waker: bool) -> bool {
    !(class.is_idle() || class.is_running() || with_waker && class.is_runnable())
}

fn root(recording: &Recording, pid: Pid) -> String {
    let name = fold(&recording.process_name(pid));
    // Readers take a line that begins so for a comment.
    if name.starts_with('#') { format!("_{name}") } else { name }
}

fn push_waker(stack: &mut String, recording: &Recording, labels: &[String], wait: &Wait) {
    if wait.by.is_none() && wait.waker_stack.is_empty() {
        return;
    }
    stack.push_str(";--");
    push_frames(stack, labels, wait.waker_stack.iter().rev());
    if let Some((pid, _)) = wait.by {
        stack.push(';');
        stack.push_str(&fold(&recording.process_name(pid)));
    }
}

fn push_frames<'a>(stack: &mut String, labels: &[String], ids: impl Iterator<Item = &'a FrameId>) {
    for id in ids {
        stack.push(';');
        stack.push_str(labels.get(id.0 as usize).map_or("[missing]", String::as_str));
    }
}

/// The frame's name; one without shows its module, if that is known. Kernel frames carry the usual mark.
fn label(frame: &Frame) -> String {
    let name = if frame.name.is_empty() && !frame.module.is_empty() {
        let file = frame.module.rsplit('/').next().unwrap_or_default();
        format!("[{file}]")
    } else {
        frame.label()
    };
    let name = fold(&name);
    if frame.kind == FrameKind::Kernel { name + "_[k]" } else { name }
}

/// Without what would end a frame or a line, or look like a value at its end.
fn fold(name: &str) -> String {
    let mut out: String = crate::clean(name.trim()).replace(';', ":");
    if out.is_empty() {
        out.push_str("[unknown]");
    }
    // `worker 3` would be read as the frame `worker` with the value 3, and sorts wrongly.
    let tail = out.rsplit(' ').next().unwrap_or_default();
    if tail.starts_with(|c: char| c.is_ascii_digit()) { out.replace(' ', "_") } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_end_a_frame_a_line_or_look_like_a_value() {
        assert_eq!(fold("a;b\nc"), "a:b\\nc");
        assert_eq!(fold("worker 3"), "worker_3");
        assert_eq!(fold("operator new(unsigned long)"), "operator new(unsigned long)");
        assert_eq!(fold("  "), "[unknown]");
    }

    #[test]
    fn unnamed_frames_show_their_module() {
        let frame = |name: &str, module: &str, kind| Frame {
            name: name.into(),
            module: module.into(),
            kind,
            unknown: "stripped".into(),
        };
        assert_eq!(label(&frame("", "/usr/lib/libx.so", FrameKind::User)), "[libx.so]");
        assert_eq!(label(&frame("", "", FrameKind::User)), "[unknown: stripped]");
        assert_eq!(label(&frame("do_idle", "vmlinux", FrameKind::Kernel)), "do_idle_[k]");
    }
}
