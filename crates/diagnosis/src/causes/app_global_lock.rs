//! # The runtime's own big lock
//!
//! **Speaks for it:** threads that wait for a lock in a runtime's function that takes its global lock, while threads of the
//! same process run one at a time.
//! **Speaks against it:** any other lock of the program's: that is `lock.contention`.
//! **Experiment:** freezing the process helps nobody; fewer threads that compute help those that serve.

use crate::{
    Cause, Draft, Effect, Party, Scene, Victim,
    cause::{grade, how_much},
    code::{hot_user_of, path},
    path::Removes,
};
use checks::Evidence;
use observe::{Ratio, ThreadTime, TimeClass, Wait};
use std::time::Duration;

/// Stands in the registry.
pub const CAUSE: Cause = Cause {
    id: "app.global-lock",
    frozen: Effect::None,
    root_of: &["lock.contention", "app.sleeps", "cpu.single-thread", "cpu.hot-code"],
    judge,
};

/// Functions in which runtimes take the lock under which their code runs, and what people call it.
const GLOBAL: &[(&[&str], &str)] = &[
    (
        &["take_gil", "PyEval_RestoreThread", "PyEval_AcquireThread", "PyGILState_Ensure", "_PyThreadState_Attach"],
        "Python's global interpreter lock",
    ),
    (
        &[
            "rb_thread_io_blocking_region",
            "rb_nogvl",
            "gvl_acquire",
            "thread_sched_to_running",
            "rb_thread_sched_to_running",
            "thread_sched_wait_running_turn",
        ],
        "Ruby's global VM lock",
    ),
    (&["caml_leave_blocking_section", "caml_thread_leave_blocking_section"], "OCaml's master lock"),
];

/// Where CPython's interpreter takes its lock without a function of its own: right below are only the C library's.
const INTERPRETER: &[&str] = &["_PyEval_EvalFrameDefault", "_PyEval_EvalFrame"];

/// ours: without one thread that runs this part of the window, nobody keeps the lock from the others.
const KEEPS_IT: Ratio = Ratio(0.3);

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let waits: Vec<(&Wait, &str)> = victim
        .waits(scene)
        .filter(|w| w.class == TimeClass::BlockedLock && w.syscall == "futex")
        .filter_map(|w| Some((w, global(scene, w)?)))
        .collect();
    // A stack is not taken of each wait; they are for the same word.
    let word = |resource: &str| waits.iter().any(|(w, _)| w.resource == resource);
    let of_lock = |w: &&Wait| w.class == TimeClass::BlockedLock && word(&w.resource);
    let time: Duration = victim.waits(scene).filter(of_lock).map(|w| w.time).sum();
    let Some((heaviest, name)) = waits.iter().max_by_key(|(w, _)| w.time).copied() else { return Vec::new() };
    let Some(confidence) = grade(scene, victim, time) else { return Vec::new() };
    let Some(keeper) = keeper(scene, victim).filter(|(_, ran)| Ratio::of(*ran, scene.window()) >= KEEPS_IT) else {
        return Vec::new();
    };
    let (thread, ran) = keeper;
    let hot = hot_user_of(scene, |stack| stack.tid == thread.tid).ok().flatten();
    let count: u64 = victim.waits(scene).filter(of_lock).map(|w| w.count).sum();
    let doing = hot.as_ref().map_or_else(String::new, |hot| format!(" (mostly in {})", hot.function));
    vec![Draft {
        confidence,
        time,
        summary: format!(
            "{} waits for {name} for {}: {count} waits, while thread {} of it ran for {:.1} s{doing}.",
            victim.label(),
            how_much(victim, time),
            thread.tid,
            ran.as_secs_f64(),
        ),
        culprit: Party {
            kind: "process".into(),
            pid: Some(thread.pid.0),
            name: scene.rec.process_name(thread.pid),
            detail: Some(format!("{name}, kept by thread {}{doing}", thread.tid)),
        },
        evidence: vec![
            Evidence::new("sched_switch: blocked on the global lock", time.as_secs_f64(), "s")
                .at("recording/waits.parquet"),
            Evidence::new("waits", count as f64, "waits").at("recording/waits.parquet"),
            Evidence::new("the busiest thread ran", ran.as_secs_f64(), "s").against("> 30 % of the window"),
        ],
        codepath: path(scene.rec, &heaviest.stack),
        next: vec![
            format!(
                "see what thread {} computes, and move it out: a process of its own, a pool of processes",
                thread.tid
            ),
            "or let it release the lock: a native extension that does, or a runtime without one".to_owned(),
        ],
        removes: Removes::waits(&[TimeClass::BlockedLock]),
        descriptive: false,
    }]
}

/// The global lock that a wait is for.
fn global(scene: &Scene, wait: &Wait) -> Option<&'static str> {
    let own = crate::code::own_function(scene.rec, &wait.stack).map(|id| scene.rec.frame(id).name.as_str());
    if own.is_some_and(|name| INTERPRETER.contains(&name)) {
        return Some(GLOBAL[0].1);
    }
    let on_stack = |names: &[&str]| wait.stack.iter().any(|id| names.contains(&scene.rec.frame(*id).name.as_str()));
    GLOBAL.iter().find(|(names, _)| on_stack(names)).map(|(_, lock)| *lock)
}

/// The victim's busiest thread, and for how long it ran.
fn keeper<'a>(scene: &Scene<'a>, victim: &Victim) -> Option<(&'a ThreadTime, Duration)> {
    let threads = victim.pids.iter().flat_map(|pid| scene.threads(*pid).to_vec());
    threads.map(|t| (t, t.classes.sum(TimeClass::is_running))).max_by_key(|(_, ran)| *ran)
}

#[cfg(test)]
mod tests {
    use crate::testing::{System, all, one};
    use observe::TimeClass::{BlockedLock, RunningUser};

    fn waiting(path: &[(&str, &str)], ran: f64) -> observe::Recording {
        System::new()
            .thread(10, "python3", &[(RunningUser, 0.5), (BlockedLock, 6.0)])
            .thread_of(10, 11, "python3", &[(RunningUser, ran)])
            .samples(11, &[("crunch", "python3")], 10)
            .wait(10, BlockedLock, "futex", "futex:0x10", Some((10, 11)), 6.0, 1200)
            .waiting_in(path)
            .target(10)
            .build()
    }

    #[test]
    fn waits_in_the_runtimes_function_are_for_its_lock() {
        let taking =
            [("serve", "python3"), ("PyEval_RestoreThread", "python3"), ("pthread_cond_timedwait", "libc.so.6")];
        let finding = one(&waiting(&taking, 9.0), "app.global-lock");
        assert_eq!((finding.culprit.pid, finding.rank), (Some(10), 1));
        assert!(all(&waiting(&taking, 0.5), "app.global-lock").is_empty(), "nobody keeps it");
        let in_loop = [("_PyEval_EvalFrameDefault", "python3"), ("pthread_cond_timedwait", "libc.so.6")];
        assert_eq!(all(&waiting(&in_loop, 9.0), "app.global-lock").len(), 1);
    }

    #[test]
    fn another_lock_is_another_story() {
        let own = [
            ("_PyEval_EvalFrameDefault", "python3"),
            ("PyThread_acquire_lock_timed", "python3"),
            ("sem_wait", "libc.so.6"),
        ];
        assert!(all(&waiting(&own, 9.0), "app.global-lock").is_empty());
    }
}
