//! Locks on files that a program asks for again and again, and sleeps in between: no wait of the kernel's shows them.

use crate::{
    Confidence, Draft, Party, Scene, Victim,
    cause::{grade, how_much},
    causes::pauses_after,
    code::path,
    path::Removes,
};
use checks::Evidence;
use observe::{Pid, Ratio, Series, TimeClass, catalog};
use std::{collections::BTreeSet, time::Duration};

/// ours: fewer tries in a window are an accident.
const AGAIN: f64 = 3.0;

/// ours: who held a lock in fewer of the looks than this is not who keeps others waiting.
const HELD: Ratio = Ratio(0.1);

/// Calls that ask for a lock on a file and do not wait, and what they fail with where another holds it.
fn is_refused_lock(row: &Series) -> bool {
    matches!(row.labels.get("syscall"), "fcntl" | "flock") && matches!(row.labels.get("errno"), "EAGAIN" | "EACCES")
}

/// The pauses between tries, and who holds the lock meanwhile.
pub fn polled(scene: &Scene, victim: &Victim) -> Option<Draft> {
    let rows = scene.rec.get(&catalog::SYSCALL_ERRORS).ok()?.iter();
    let refused: Vec<&Series> =
        rows.filter(|row| is_refused_lock(row) && row.labels.pid().is_some_and(|pid| victim.contains(pid))).collect();
    let tries: f64 = refused.iter().map(|row| row.last()).sum();
    if tries < AGAIN {
        return None;
    }
    let time = pauses_after(scene, victim, tries).max(pauses_in_step(scene, victim, tries)).min(victim.active());
    let mut confidence = grade(scene, victim, time)?;
    let holder = holder(scene, victim);
    if holder.is_none() {
        confidence = Confidence::Possible;
    }
    let pauses = victim.waits(scene).filter(|wait| wait.class == TimeClass::BlockedSleep);
    let heaviest = pauses.max_by_key(|wait| wait.time);
    let call = refused.iter().max_by(|a, b| a.last().total_cmp(&b.last()))?.labels.get("syscall");
    let (culprit, by_whom) = match &holder {
        Some((pid, file, part)) => (
            Party {
                kind: "process".into(),
                pid: Some(pid.0),
                name: scene.rec.process_name(*pid),
                detail: Some(format!("lock on {file}")),
            },
            format!("{} held it in {part} of the looks, on {file}", scene.label(*pid)),
        ),
        None => (
            Party { kind: "lock".into(), pid: None, name: "a lock on a file".into(), detail: None },
            "who held it was not seen".to_owned(),
        ),
    };
    let mut evidence = vec![
        Evidence::new(format!("sys_exit: {call} = EAGAIN"), tries, "refusals").at("recording/series.parquet"),
        Evidence::new("pauses between tries", time.as_secs_f64(), "s").at("recording/waits.parquet"),
    ];
    if let Some((_, file, part)) = &holder {
        evidence.push(Evidence::new(format!("/proc/locks: {file} locked for writing"), part.0 * 100.0, "% of looks"));
    }
    Some(Draft {
        confidence,
        time,
        summary: format!(
            "{} waits for a lock on a file for {}: it asked {tries:.0} times in vain ({call}) and paused in between; {by_whom}.",
            victim.label(),
            how_much(victim, time),
        ),
        culprit,
        evidence,
        codepath: heaviest.map(|wait| path(scene.rec, &wait.stack)).unwrap_or_default(),
        next: vec![
            "shorten what the holder does while it has the lock: no long reads, no waiting for people".to_owned(),
            "see who holds which: cat /proc/locks, lslocks".to_owned(),
        ],
        removes: Removes::Unsaid,
        descriptive: false,
    })
}

/// Pauses of threads that pause about as often as they are refused: cleaning up in between hides which call came last.
fn pauses_in_step(scene: &Scene, victim: &Victim, tries: f64) -> Duration {
    let pauses: Vec<_> = victim.waits(scene).filter(|wait| wait.class == TimeClass::BlockedSleep).collect();
    let count: u64 = pauses.iter().map(|wait| wait.count).sum();
    // ours: one that pauses half as often or twice as often does so for another reason.
    let in_step = (0.5..=2.0).contains(&Ratio::of_counts(count as f64, tries).0);
    if in_step { pauses.iter().map(|wait| wait.time).sum() } else { Duration::ZERO }
}

/// Who kept others out of a file that the victim has open, for most of the time.
fn holder(scene: &Scene, victim: &Victim) -> Option<(Pid, String, Ratio)> {
    let open = scene.rec.get(&catalog::FILE_LOCKED).ok()?.iter();
    let open: BTreeSet<&str> = open
        .filter(|fact| fact.labels.pid().is_some_and(|pid| victim.contains(pid)))
        .map(|fact| fact.labels.get("file"))
        .collect();
    let rows = scene.rec.get(&catalog::FILE_LOCKS).ok()?.iter();
    let other = |row: &&Series| row.labels.pid().is_some_and(|pid| !victim.contains(pid) && !scene.rec.is_friday(pid));
    let most = rows
        .filter(|row| row.labels.get("mode") == "write" && open.contains(row.labels.get("file")))
        .filter(other)
        .max_by(|a, b| a.last().total_cmp(&b.last()))?;
    let part = Ratio(most.last());
    (part >= HELD).then(|| Some((most.labels.pid()?, most.labels.get("file").to_owned(), part)))?
}

#[cfg(test)]
mod tests {
    use crate::{
        Confidence,
        testing::{System, all, one},
    };
    use observe::{TimeClass::BlockedSleep, TimeClass::RunningUser, catalog};

    fn till(refused: u64, pauses: u64) -> System {
        System::new()
            .thread(10, "till", &[(RunningUser, 1.0), (BlockedSleep, 8.0)])
            .thread(20, "closing", &[(RunningUser, 9.0)])
            .calls(10, "fcntl", 2000, 0.01, 0.0)
            .failures(10, "fcntl", "EAGAIN", "", refused)
            .wait(10, BlockedSleep, "clock_nanosleep", "timer", None, 8.0, pauses)
            .target(10)
    }

    fn held(system: System, part: f64) -> System {
        system
            .total(&catalog::FILE_LOCKS, &[("pid", "20"), ("file", "/srv/books"), ("mode", "write")], part)
            .labelled_fact(&catalog::FILE_LOCKED, &[("pid", "10"), ("file", "/srv/books")], "open")
    }

    #[test]
    fn who_holds_the_lock_between_tries_is_the_culprit() {
        let finding = one(&held(till(150, 150), 0.7).build(), "lock.contention");
        assert_eq!((finding.culprit.pid, finding.confidence, finding.rank), (Some(20), Confidence::Likely, 1));
        assert!(finding.summary.contains("/srv/books"), "{}", finding.summary);
    }

    #[test]
    fn without_a_holder_it_is_possible_and_pauses_for_other_reasons_are_none() {
        assert_eq!(one(&till(150, 150).build(), "lock.contention").confidence, Confidence::Possible);
        assert_eq!(one(&held(till(150, 150), 0.05).build(), "lock.contention").confidence, Confidence::Possible);
        assert!(all(&till(2, 150).build(), "lock.contention").is_empty(), "hardly refused");
        assert!(all(&till(10, 900).build(), "lock.contention").is_empty(), "pauses far more often");
    }
}
