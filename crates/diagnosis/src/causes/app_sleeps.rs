//! # It sleeps on purpose: a timer on its path
//!
//! **Speaks for it:** a thread that does the work also pauses by its own timer, again and again.
//! **Speaks against it:** whether a pause is wanted cannot be seen. Only when somebody waits for the sleeper is it `likely`.
//! The ticks of an event loop, after which nothing is answered or asked, hold up nobody.
//! **Experiment:** none from outside.

use super::app_failing_calls;
use crate::{
    Cause, Confidence, Draft, Effect, Party, Scene, Victim,
    cause::how_much,
    code::{self, path},
    path::{POLLS, Removes, go_on_after_ticks},
    scene::DIALOGUE,
};
use checks::Evidence;
use observe::{Pid, Ratio, Tid, TimeClass, Wait};
use std::{collections::BTreeSet, time::Duration};

/// Stands in the registry.
pub const CAUSE: Cause = Cause { id: "app.sleeps", frozen: Effect::None, root_of: &[], judge };

/// ours: pausing less than this part of its time does not make it slow.
const PAUSES: Ratio = Ratio(0.15);

/// ours: longer naps than this are a schedule (a cron-like loop), not a step on the way of work.
const NAP: Duration = Duration::from_secs(5);

/// ours: another process that waits for the sleeper this part of the window is held up by it.
const HELD_UP: Ratio = Ratio(0.2);

/// ours: with less of the window on a CPU, the work between the pauses is a heartbeat.
const AT_WORK: Ratio = Ratio(0.02);

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    if !victim.named && waiter(scene, victim).is_none() {
        return Vec::new();
    }
    let housekeeping: Vec<Tid> = victim
        .pids
        .iter()
        .flat_map(|pid| {
            let pauses_matter = scene.pausing(*pid);
            scene.threads(*pid).iter().filter(move |t| !pauses_matter(t)).map(|t| t.tid)
        })
        .collect();
    let naps: Vec<&Wait> = victim
        .waits(scene)
        .filter(|w| w.class == TimeClass::BlockedSleep && !housekeeping.contains(&w.tid))
        .filter(|w| w.time.as_secs_f64() / w.count.max(1) as f64 <= NAP.as_secs_f64())
        .collect();
    // Where none of a loop's requests was seen to end, it is not known what ends them.
    let ends = |w: &Wait| scene.timeline().and_then(|timeline| go_on_after_ticks(timeline, w.tid)) == Some(true);
    let mut checked = BTreeSet::new();
    let known = naps.iter().any(|w| !POLLS.contains(&w.syscall.as_str()) || checked.insert(w.tid) && ends(w));
    let retries: Duration = naps.iter().filter(|w| w.after_failure).map(|w| w.time).sum();
    let all: Duration = naps.iter().map(|w| w.time).sum();
    // Pauses between failing tries belong to what fails.
    let time = if app_failing_calls::explains(scene, victim) { all - retries } else { all };
    let time = time.min(victim.times[TimeClass::BlockedSleep]);
    if victim.share(time) < PAUSES {
        return Vec::new();
    }
    let count: u64 = naps.iter().map(|w| w.count).sum();
    let Some(heaviest) = naps.iter().max_by_key(|w| w.time) else { return Vec::new() };
    let waiter = waiter(scene, victim);
    let frames = path(scene.rec, &heaviest.stack);
    let function = code::own_function(scene.rec, &heaviest.stack)
        .map_or_else(|| heaviest.syscall.clone(), |id| scene.rec.frame(id).name.clone());
    let mean = time.as_secs_f64() * 1e3 / count.max(1) as f64;
    let held_up = match waiter {
        Some((pid, waited)) => {
            format!(" Meanwhile {} waited {:.1} s for it.", scene.label(pid), waited.as_secs_f64())
        }
        None => " Whether the pauses are wanted cannot be seen from outside.".to_owned(),
    };
    vec![Draft {
        confidence: if waiter.is_some() && known { Confidence::Likely } else { Confidence::Possible },
        time,
        summary: format!(
            "{} sleeps by its own timer for {}: {count} pauses of {mean:.1} ms in {function}.{held_up}",
            victim.label(),
            how_much(victim, time),
        ),
        culprit: Party { kind: "function".into(), pid: None, name: function, detail: Some(heaviest.syscall.clone()) },
        evidence: vec![
            Evidence::new("sched_switch: blocked in a timer sleep", time.as_secs_f64(), "s")
                .at("recording/waits.parquet"),
            Evidence::new("pauses", count as f64, "sleeps").at("recording/waits.parquet"),
            Evidence::new("mean pause", mean, "ms"),
        ],
        codepath: frames,
        next: vec![
            "find the sleep in that code path: a poll interval, a back-off, a rate limit?".to_owned(),
            "wait for the event itself (a notification, a blocking call) instead of a timer".to_owned(),
        ],
        // Who hardly does anything between its pauses is idle by its own choice.
        removes: Removes::waits(&[TimeClass::BlockedSleep]),
        descriptive: waiter.is_none() && Ratio::of(victim.times.sum(TimeClass::is_running), scene.window()) < AT_WORK,
    }]
}

/// Another process that was held up by the victim, with the time. Whoever reads what the victim writes to a pipe now and then,
/// and tells it nothing, waits for work.
fn waiter(scene: &Scene, victim: &Victim) -> Option<(Pid, Duration)> {
    scene
        .processes()
        .filter(|pid| !victim.contains(*pid))
        .map(|pid| {
            let waits = scene.waits(pid).iter().filter(|w| w.class == TimeClass::BlockedProcess);
            let for_it = |w: &Wait| !w.class.is_runnable() && w.by.is_some_and(|(by, _)| by == pid);
            let asks = victim.waits(scene).any(for_it);
            let for_victim = waits
                .filter(|w| w.by.is_some_and(|(by, _)| victim.contains(by)))
                .filter(|w| asks || !w.resource.starts_with("pipe:"));
            let (count, time) = for_victim.fold((0, Duration::ZERO), |(n, time), w| (n + w.count, time + w.time));
            (pid, count, time)
        })
        // A shell that waits for its command is held up by one that was named.
        .filter(|(_, count, _)| victim.named || *count >= DIALOGUE)
        .map(|(pid, _, time)| (pid, time))
        .filter(|(_, time)| Ratio::of(*time, scene.window()) >= HELD_UP)
        .max_by_key(|(_, time)| *time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        path::tests::Window,
        testing::{System, all, one},
    };

    fn sleeper() -> System {
        System::new().thread(10, "mailer", &[(TimeClass::RunningUser, 0.5), (TimeClass::BlockedSleep, 9.0)]).wait(
            10,
            TimeClass::BlockedSleep,
            "clock_nanosleep",
            "timer",
            None,
            9.0,
            180,
        )
    }

    #[test]
    fn a_pause_is_possible_until_somebody_waits_for_it() {
        assert_eq!(one(&sleeper().target(10).build(), "app.sleeps").confidence, Confidence::Possible);
        let rec = sleeper()
            .thread(20, "api", &[(TimeClass::BlockedProcess, 9.0)])
            .wait(20, TimeClass::BlockedProcess, "recvfrom", "tcp:127.0.0.1:80", Some((10, 10)), 9.0, 90)
            .target(10)
            .build();
        assert_eq!(one(&rec, "app.sleeps").confidence, Confidence::Likely);
    }

    #[test]
    fn who_reads_what_is_written_now_and_then_waits_for_work() {
        let reader = |on: &str| {
            sleeper().thread(20, "psql", &[(TimeClass::BlockedProcess, 9.0)]).wait(
                20,
                TimeClass::BlockedProcess,
                "read",
                on,
                Some((10, 10)),
                9.0,
                90,
            )
        };
        let of = |system: System| all(&system.build(), "app.sleeps").len();
        assert_eq!(of(reader("pipe:7").behind(10, 20, 0.1)), 0);
        assert_eq!(of(reader("unix socket")), 1);
        let asks = reader("pipe:7").wait(10, TimeClass::BlockedIdle, "read", "pipe:8", Some((20, 20)), 0.5, 90);
        assert_eq!(of(asks), 1, "it is told something, too");
    }

    /// A loop ticks every 20 ms, and has a request in hand that it answers a moment after a tick, or when something comes.
    fn loop_that_ticks(after_a_tick: bool) -> observe::Recording {
        let mut window = Window::new(&[(10, TimeClass::BlockedSleep)]);
        for n in 0..48 {
            let at = n * 20;
            let class = if n % 4 == 3 && !after_a_tick { TimeClass::BlockedIdle } else { TimeClass::BlockedSleep };
            window = window.blocked(10, class, at, at + 19, None).in_call("epoll_wait");
            if n % 4 == 3 {
                window = window.request(10, 1, at - 59, 0, at + 20, None);
            }
        }
        let ticks = (TimeClass::BlockedSleep, "epoll_wait", "timer");
        System::with(window.build())
            .wait(10, ticks.0, ticks.1, ticks.2, None, 4.0, 200)
            .thread(20, "worker", &[(TimeClass::BlockedProcess, 9.0)])
            .wait(20, TimeClass::BlockedProcess, "recvfrom", "tcp:127.0.0.1:80", Some((10, 10)), 9.0, 90)
            .build()
    }

    #[test]
    fn a_tick_after_which_nothing_is_answered_holds_up_nobody() {
        assert_eq!(one(&loop_that_ticks(true), "app.sleeps").confidence, Confidence::Likely);
        assert!(all(&loop_that_ticks(false), "app.sleeps").is_empty());
    }

    #[test]
    fn nobody_asked_and_a_schedule_is_not_a_pause() {
        assert!(all(&sleeper().build(), "app.sleeps").is_empty());
        let rec = System::new()
            .thread(10, "cron", &[(TimeClass::RunningUser, 0.2), (TimeClass::BlockedSleep, 9.8)])
            .wait(10, TimeClass::BlockedSleep, "clock_nanosleep", "timer", None, 9.8, 1)
            .target(10)
            .build();
        assert!(all(&rec, "app.sleeps").is_empty());
    }
}
