//! Wednesday: which code paths?

use crate::Seen;
use observe::{Pid, Ratio, TimeClass, catalog};

/// What the profiles rest on, and the code path of the first finding that has one.
pub(crate) fn known(seen: &Seen) -> Vec<String> {
    let rec = seen.rec;
    let mut known = Vec::new();
    let of_interest = |pid: Pid| !rec.target.is_named() || rec.target.contains(pid);
    if let Ok(stacks) = rec.get(&catalog::CPU_STACKS) {
        let (mut samples, mut frames, mut named) = (0, 0, 0);
        for stack in stacks.iter().filter(|s| of_interest(s.pid)) {
            samples += stack.samples;
            frames += stack.frames.len();
            named += stack.frames.iter().filter(|id| !rec.frame(**id).name.is_empty()).count();
        }
        if samples > 0 {
            let part = Ratio::of_counts(named as f64, frames as f64);
            known.push(format!("CPU flame graph from {samples} samples, {part} of frames named"));
        }
    }
    if let Ok(waits) = rec.get(&catalog::WAITS) {
        let (mut all, mut with_stack) = (0.0, 0.0);
        let blocked = |class: TimeClass| !class.is_running() && !class.is_runnable() && !class.is_idle();
        for wait in waits.iter().filter(|w| of_interest(w.pid) && blocked(w.class)) {
            all += wait.time.as_secs_f64();
            if !wait.stack.is_empty() {
                with_stack += wait.time.as_secs_f64();
            }
        }
        if with_stack > 0.0 {
            let part = Ratio::of_counts(with_stack, all);
            known.push(format!("off-CPU and waker flame graphs from {all:.1} s of waiting, {part} of it with a stack"));
        }
    }
    if let Some(finding) = seen.diagnosis.findings.iter().find(|f| !f.codepath.is_empty()) {
        let path = &finding.codepath;
        known.push(format!("the code path of {}: {}", finding.cause, path[path.len().saturating_sub(5)..].join(" → ")));
    }
    known
}
