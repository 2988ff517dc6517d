//! # The victim burns CPU in the kernel on its own behalf
//!
//! **Speaks for it:** kernel time dominates, and a system call or a kernel function holds most of it.
//! **Speaks against it:** many calls that bring nothing (that is `app.syscall-storm`) or fail (`app.failing-calls`). Large
//! transfers are what a kernel is for, and so are messages to others at the usual price: there it only says where the time
//! goes.
//! **Experiment:** none that is gentle; the profile is the proof.

use super::{app_failing_calls, app_short_lived, app_syscall_storm, app_syscall_storm::MESSAGES, disk_sync_writes};
use crate::{
    Cause, Confidence, Draft, Effect, Party, Scene, Victim,
    cause::how_much,
    code::{hot_kernel, through},
    path::Removes,
    scene::totals_of,
};
use checks::Evidence;
use observe::{Ratio, TimeClass, catalog};
use std::{collections::BTreeMap, time::Duration};

/// Stands in the registry.
pub const CAUSE: Cause = Cause { id: "cpu.kernel-time", frozen: Effect::None, root_of: &[], judge };

/// ours: with less of its time in the kernel, something else is the story.
const DOMINATES: Ratio = Ratio(0.35);

/// ours: a thread that is on the CPU less than this is not held up by it.
const ON_CPU: Ratio = Ratio(0.5);

/// ours: from this size on, copying the data is most of a call's cost (4 pages).
const LARGE_TRANSFER: f64 = 16_384.0;

/// ours: CPU time in which a short message goes through TCP, on the loopback with the receiver's part in it: 7 µs with
/// redis on a virtual machine; well above, something makes it dear.
const MESSAGE: Duration = Duration::from_micros(20);

/// ours: a function or call that holds less than this part of the kernel time does not explain it.
const HOLDS: Ratio = Ratio(0.3);

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let time = victim.times[TimeClass::RunningKernel];
    let busiest = victim.busiest_thread(scene);
    if !victim.named || victim.share(time) < DOMINATES || busiest < ON_CPU {
        return Vec::new();
    }
    let explained = [
        app_syscall_storm::explains,
        app_failing_calls::explains,
        app_short_lived::explains,
        disk_sync_writes::explains,
    ];
    if explained.iter().any(|explains| explains(scene, victim)) {
        return Vec::new();
    }
    let call = top_call(scene, victim);
    let faults = through(scene, victim, "exc_page_fault").unwrap_or((0, 0));
    let fault_part = Ratio::of_counts(faults.0 as f64, faults.1 as f64);
    let by_call = call.as_ref().filter(|c| Ratio::of(c.cpu, time) >= HOLDS);
    // A function that another call runs says nothing about this one.
    let hot = hot_kernel(scene, victim).ok().flatten();
    let hot = hot.filter(|h| by_call.is_none_or(|c| h.path.iter().any(|f| f.ends_with(&format!("sys_{}", c.name)))));
    let (kind, name, what) = match (by_call, &hot) {
        _ if fault_part > Ratio(0.5) => {
            ("kernel function", "exc_page_fault".to_owned(), format!("page faults ({fault_part} of kernel samples)"))
        }
        (Some(c), _) => {
            let mean = c.mean().as_secs_f64() * 1e6;
            ("syscall", c.name.clone(), format!("{} ({} calls, {mean:.1} µs of CPU each)", c.name, c.count))
        }
        (None, Some(h)) => ("kernel function", h.function.clone(), h.function.clone()),
        (None, None) => return Vec::new(),
    };
    let copying = by_call.is_some_and(|c| c.bytes / c.count.max(1) as f64 >= LARGE_TRANSFER);
    let talking = by_call.is_some_and(|c| c.on_sockets >= MESSAGES.0 && c.bytes > 0.0 && c.mean() <= MESSAGE);
    let usual = match (copying, talking) {
        (true, _) => " The calls move large blocks: this is the cost of the data it asks for.",
        (_, true) => " The calls are messages on sockets at their usual cost: this is what its requests take.",
        _ => "",
    };
    let mut evidence =
        vec![Evidence::new("ledger: running.kernel", time.as_secs_f64(), "s").at("recording/ledger.parquet")];
    if let Some(c) = &call {
        evidence.push(
            Evidence::new(format!("CPU time in {}", c.name), c.cpu.as_secs_f64(), "s").at("recording/series.parquet"),
        );
    }
    if let Some(h) = &hot {
        evidence.push(
            Evidence::new(format!("kernel samples in {}", h.function), h.samples as f64, "samples")
                .against(format!("of {} in the kernel", h.of))
                .at("cpu.folded"),
        );
    }
    vec![Draft {
        confidence: if copying || talking { Confidence::Possible } else { Confidence::Likely },
        time,
        summary: format!(
            "{} spends {} in the kernel on its own behalf, most of it in {what}.{usual}",
            victim.label(),
            how_much(victim, time),
        ),
        culprit: Party { kind: kind.into(), pid: None, name, detail: hot.as_ref().map(|h| h.function.clone()) },
        evidence,
        codepath: hot.map(|h| h.path).unwrap_or_default(),
        next: vec![
            "look at the kernel part of the CPU flame graph, and at who calls it".to_owned(),
            "fewer, larger or cheaper calls: batch, cache the result, or keep the mapping".to_owned(),
        ],
        removes: Removes::work(victim, time),
        descriptive: copying || talking,
    }]
}

struct Call {
    name: String,
    cpu: Duration,
    count: u64,
    bytes: f64,
    /// Part of them, where they read or write.
    on_sockets: f64,
}

impl Call {
    fn mean(&self) -> Duration {
        self.cpu.div_f64(self.count.max(1) as f64)
    }
}

/// The victim's system call with the most CPU time.
fn top_call(scene: &Scene, victim: &Victim) -> Option<Call> {
    let mut calls: BTreeMap<&str, Call> = BTreeMap::new();
    let mine = |pid| victim.contains(pid);
    for row in totals_of(scene.rec.get(&catalog::SYSCALL_CPU).ok()?, mine) {
        let name = row.labels.get("syscall");
        let call = calls.entry(name).or_insert_with(|| Call {
            name: name.to_owned(),
            cpu: Duration::ZERO,
            count: 0,
            bytes: 0.0,
            on_sockets: 0.0,
        });
        call.cpu += Duration::from_secs_f64(row.last().max(0.0));
    }
    for hist in scene.rec.get(&catalog::SYSCALL_TIME).ok()?.iter().filter(|h| h.labels.pid().is_some_and(mine)) {
        if let Some(call) = calls.get_mut(hist.labels.get("syscall")) {
            call.count += hist.count;
        }
    }
    for row in scene.rec.get(&catalog::SYSCALL_BYTES).into_iter().flat_map(|rows| totals_of(rows, mine)) {
        if let Some(call) = calls.get_mut(row.labels.get("syscall")) {
            call.bytes += row.last();
        }
    }
    for row in scene.rec.get(&catalog::SYSCALL_SOCKETS).into_iter().flat_map(|rows| totals_of(rows, mine)) {
        if let Some(call) = calls.get_mut(row.labels.get("syscall")) {
            call.on_sockets = call.on_sockets.max(row.last());
        }
    }
    calls.into_values().max_by_key(|c| c.cpu)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{System, all, one};

    fn kernel() -> System {
        System::new()
            .thread(10, "importer", &[(TimeClass::RunningKernel, 8.0), (TimeClass::RunningUser, 2.0)])
            .target(10)
    }

    #[test]
    fn the_call_that_holds_the_time_is_the_culprit() {
        let finding = one(&kernel().calls(10, "munmap", 100_000, 7.0, 0.0).build(), "cpu.kernel-time");
        assert_eq!((finding.culprit.kind.as_str(), finding.culprit.name.as_str()), ("syscall", "munmap"));
        assert_eq!(finding.confidence, Confidence::Likely);
    }

    #[test]
    fn copying_large_blocks_is_described_not_accused() {
        let rec = kernel().calls(10, "read", 100_000, 7.0, 6.5e9).build();
        assert_eq!(one(&rec, "cpu.kernel-time").confidence, Confidence::Possible);
    }

    #[test]
    fn messages_at_their_usual_cost_are_described_and_dear_ones_accused() {
        let said = |count, on_sockets: bool| {
            let system = kernel().calls(10, "write", count, 7.0, 100.0 * count as f64);
            let system = if on_sockets { system.on_sockets(10, "write") } else { system };
            one(&system.build(), "cpu.kernel-time").confidence
        };
        assert_eq!(said(1_000_000, true), Confidence::Possible);
        assert_eq!(said(100_000, true), Confidence::Likely, "70 µs a message");
        assert_eq!(said(1_000_000, false), Confidence::Likely, "to files");
    }

    #[test]
    fn without_a_call_or_a_profile_nothing_is_said() {
        assert!(all(&kernel().build(), "cpu.kernel-time").is_empty());
    }
}
