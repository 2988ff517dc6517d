//! # It waits for another local process, and that is the one to look at
//!
//! **Speaks for it:** blocked on a pipe, a local socket or a child, and the other process was at work meanwhile.
//! **Speaks against it:** the other process idles too: then both wait for work that nobody sends.
//! **Experiment:** freezing the other process stops the victim.

use super::{app_short_lived, app_stopped::stopped, app_untaken::unread};
use crate::{
    Cause, Confidence, Draft, Effect, Scene, Victim,
    cause::{grade, how_much, process},
    chain,
    code::path,
    path::Removes,
    questions::Questions,
};
use checks::Evidence;
use observe::{Pid, TimeClass, Wait};

/// Stands in the registry.
pub const CAUSE: Cause = Cause { id: "app.waits-for-child", frozen: Effect::Hurts, root_of: &[], judge };

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    if app_short_lived::explains(scene, victim) {
        return Vec::new();
    }
    let drafts = [answers(scene, victim), stopped(scene, victim), unread(scene, victim)];
    drafts.into_iter().flatten().max_by_key(|draft| (draft.confidence, draft.time)).into_iter().collect()
}

/// It waits for what another process does, or for those behind that.
fn answers(scene: &Scene, victim: &Victim) -> Option<Draft> {
    let waits: Vec<&Wait> = victim.waits(scene).filter(|w| w.class == TimeClass::BlockedProcess).collect();
    let chain = chain::longest(scene, victim)?;
    let (first, root) = (chain.first, chain.end());
    // Who is in between adds time of its own, which is not the root's.
    let time = if chain.is_long() { chain.ending } else { chain.time };
    let time = time.min(victim.times[TimeClass::BlockedProcess]);
    let mut confidence = grade(scene, victim, time)?;
    let seen = waits.iter().any(|w| w.by.is_some_and(|(by, _)| by == first));
    // A process nobody asked about may wait for others as a matter of course: a shell for its command.
    if !victim.named && !seen {
        return None;
    }
    let doing = mostly(scene, root);
    // A child that only sleeps was started to do so: the victim's own pause.
    let pause = !chain.is_long() && scene.times(root)[TimeClass::BlockedSleep] * 2 > scene.times(root).active();
    let own_pause = pause && scene.children(victim.pids[0]).any(|child| child == root);
    if own_pause || !seen && scene.at_work(root) < time / 2 {
        confidence = Confidence::Possible;
    }
    let there = |pid: Pid| pid == first || scene.siblings(first, pid);
    let questions =
        Questions::to(scene, victim, |labels| labels.get("peer_pid").parse().is_ok_and(|pid| there(Pid(pid))));
    let often = questions.as_ref().map(|questions| questions.said(&scene.rec.process_name(first))).unwrap_or_default();
    let via = if chain.is_long() { format!(", along {}", chain.names(scene)) } else { String::new() };
    let heaviest = waits.iter().filter(|w| w.by.is_none_or(|(by, _)| by == first)).max_by_key(|w| w.time);
    let mut culprit = process(scene, root);
    culprit.detail = Some(match culprit.detail {
        Some(detail) => format!("{doing}; {detail}"),
        None => doing.clone(),
    });
    Some(Draft {
        confidence,
        time,
        summary: format!(
            "{} waits for {} for {}{via}; {} is mostly {doing}.{often}",
            victim.label(),
            chain.label(scene),
            how_much(victim, time),
            scene.rec.process_name(root),
        ),
        culprit,
        evidence: vec![
            Evidence::new(
                format!("sched_switch: blocked on {}", heaviest.map_or("a local process", |w| w.resource.as_str())),
                time.as_secs_f64(),
                "s",
            )
            .at("recording/waits.parquet"),
            Evidence::new(
                format!("{} at work meanwhile", scene.rec.process_name(root)),
                scene.at_work(root).as_secs_f64(),
                "s",
            )
            .at("recording/ledger.parquet"),
        ],
        codepath: heaviest.map(|w| path(scene.rec, &w.stack)).unwrap_or_default(),
        next: [format!("look at that process: friday run -p {root}")]
            .into_iter()
            .chain(questions.map(|questions| questions.next()))
            .collect(),
        removes: Removes::Party([vec![root], chain.alike].concat()),
        descriptive: false,
    })
}

/// What a process spends most of its active time on, in words.
fn mostly(scene: &Scene, pid: Pid) -> String {
    let times = scene.times(pid);
    let class = times.iter().filter(|(class, _)| !class.is_idle()).max_by_key(|(_, time)| *time);
    class.map_or_else(|| "not seen at work".to_owned(), |(class, _)| class.about().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{System, all, one};
    use TimeClass::{BlockedIdle, BlockedProcess, RunningUser};

    #[test]
    fn the_worker_behind_the_pipe_is_the_one_to_look_at() {
        let rec = System::new()
            .thread(10, "frontend", &[(RunningUser, 0.5), (BlockedProcess, 9.0)])
            .thread(20, "renderer", &[(RunningUser, 9.5)])
            .wait(10, BlockedProcess, "read", "pipe:1", Some((20, 20)), 9.0, 90)
            .target(10)
            .build();
        let finding = one(&rec, "app.waits-for-child");
        assert_eq!((finding.culprit.pid, finding.confidence), (Some(20), Confidence::Likely));
    }

    #[test]
    fn a_chain_is_followed_to_its_end() {
        let rec = System::new()
            .thread(10, "frontend", &[(RunningUser, 0.5), (BlockedProcess, 9.0)])
            .thread(20, "middle", &[(RunningUser, 0.5), (BlockedProcess, 8.5)])
            .thread(30, "store", &[(RunningUser, 8.0)])
            .wait(10, BlockedProcess, "read", "pipe:1", Some((20, 20)), 9.0, 90)
            .wait(20, BlockedProcess, "read", "pipe:2", Some((30, 30)), 8.5, 90)
            .target(10)
            .build();
        assert_eq!(one(&rec, "app.waits-for-child").culprit.pid, Some(30));
    }

    #[test]
    fn a_reader_that_starts_a_command_for_each_line_is_at_work() {
        let mut system = System::new()
            .thread(10, "web", &[(RunningUser, 0.1), (BlockedProcess, 9.8)])
            .wait(10, BlockedProcess, "write", "pipe:1", Some((20, 20)), 9.8, 40)
            .thread(20, "stamp", &[(RunningUser, 0.5), (BlockedProcess, 9.0)]);
        for n in 0..900 {
            system = system.wait(20, BlockedProcess, "read", "pipe:2", Some((1000 + n, 1000 + n)), 0.01, 1);
            system = system.short_thread(1000 + n, 1000 + n, "date", RunningUser, 0.01);
        }
        let finding = one(&system.target(10).build(), "app.waits-for-child");
        assert_eq!((finding.culprit.pid, finding.confidence), (Some(20), Confidence::Likely), "{finding:#?}");
    }

    #[test]
    fn a_pool_that_waits_for_itself_holds_nobody_up() {
        let rec = System::new()
            .thread(10, "pool", &[(RunningUser, 0.01), (BlockedProcess, 9.9)])
            .thread(20, "worker", &[(BlockedProcess, 10.0)])
            .wait(10, BlockedProcess, "read", "pipe:1", Some((20, 20)), 9.9, 9)
            .wait(20, BlockedProcess, "read", "pipe:2", None, 10.0, 1)
            .target(10)
            .build();
        assert!(all(&rec, "app.waits-for-child").is_empty());
    }

    #[test]
    fn a_server_with_a_thread_a_request_is_at_work() {
        let mut system = System::new()
            .thread(10, "client", &[(RunningUser, 0.1), (BlockedProcess, 9.5)])
            .thread(20, "server", &[(BlockedIdle, 10.0)])
            .wait(10, BlockedProcess, "recvfrom", "tcp:127.0.0.1:80", Some((20, 21)), 9.5, 90);
        for tid in 21..=90 {
            system = system.short_thread(20, tid, "handler", TimeClass::BlockedSleep, 0.13);
        }
        assert_eq!(one(&system.target(10).build(), "app.waits-for-child").culprit.pid, Some(20));
    }

    #[test]
    fn two_that_idle_hold_nobody_up() {
        let rec = System::new()
            .thread(10, "logger", &[(RunningUser, 0.2), (BlockedProcess, 9.0)])
            .thread(20, "daemon", &[(RunningUser, 0.1), (BlockedIdle, 9.9)])
            .wait(10, BlockedProcess, "read", "pipe:1", Some((20, 20)), 9.0, 4)
            .target(10)
            .build();
        assert!(all(&rec, "app.waits-for-child").is_empty());
    }
}
