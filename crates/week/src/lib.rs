//! The agenda: which day asks what, and what is known at its end. Live runs and replays take the same path from the
//! recording on.

mod armed;
mod friday;
mod monday;
pub mod plugged;
pub mod post;
mod prior;
mod requests;
mod statement;
mod thursday;
mod tuesday;
mod wednesday;

use case::{
    Compared, Day, Document, HostPart, LedgerRow, Overhead, Reason, SCHEMA, StackSet, TargetPart, WaitRow, WindowPart,
};
use checks::Test;
use compare::Summary;
use diagnosis::Diagnosis;
use observe::{Pid, Recording, Series, ThreadTime, TimeClass, catalog};
use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

pub use checks;
pub use diagnosis::{self, Accusation, accusations, causes};
pub use probes::{
    Session, Span, Tier,
    host::facts::HostError,
    roots::Roots,
    target::{self, Request, TargetError},
    tools::Asked,
};
pub use statement::{Given, QUESTIONS, StatementError};

/// ours: the document is read by people and scripts; the recording beside it holds every thread and wait.
const MOST_THREADS: usize = 200;
const MOST_WAITS: usize = 100;

/// What a day has to go on.
pub(crate) struct Seen<'a> {
    rec: &'a Recording,
    tests: &'a [Test],
    issues: &'a [Test],
    tuning: &'a [Test],
    diagnosis: &'a Diagnosis,
    compared: Option<&'a Compared>,
}

/// What is different from the baseline, where there is one.
fn compared(rec: &Recording) -> Option<Compared> {
    let (with, then) = diagnosis::baseline(rec)?;
    Some(Compared { with, changes: compare::changes(&then, &Summary::of(rec)) })
}

/// Every health tool's verdict in the order of the board: friday's own, given, and those of others.
fn board(rec: &Recording, own: Vec<Test>) -> Vec<Test> {
    let mut tests = own;
    tests.extend(checks::plugged_in(rec));
    tests.sort_by_key(|test| checks::rank(&test.group));
    tests
}

/// The board of a recording.
pub fn health(rec: &Recording) -> Vec<Test> {
    board(rec, checks::run(rec))
}

/// Everything a recording comes to, as the case file states it. The same recording gives the same document.
pub fn conclude(rec: &Recording, case: &str) -> Document {
    let own = checks::run(rec);
    // What others' tools say is shown, and decides nothing.
    let diagnosis = diagnosis::diagnose(rec, &own);
    let tests = board(rec, own);
    let issues: Vec<Test> = checks::known_issues(rec);
    let tuning: Vec<Test> = checks::static_tuning(rec);
    let compared = compared(rec);
    let seen = Seen {
        rec,
        tests: &tests,
        issues: &issues,
        tuning: &tuning,
        diagnosis: &diagnosis,
        compared: compared.as_ref(),
    };
    let statement = statement::statement(&seen);
    let stacks = stack_sets(rec);
    let prepared = prior::tests(rec, &stacks);
    let days = [
        ("prior", prior::known(&seen, &prepared)),
        ("monday", monday::known(&seen)),
        ("tuesday", tuesday::known(&seen)),
        ("wednesday", wednesday::known(&seen)),
        ("thursday", thursday::known(&seen)),
        ("friday", friday::known(&seen)),
    ];
    let days = days
        .into_iter()
        .map(|(day, known)| Day {
            day: day.to_owned(),
            known,
            tests: match day {
                "prior" => prepared.clone(),
                "monday" => tuning.clone(),
                "tuesday" => tests.iter().chain(&issues).cloned().collect(),
                _ => Vec::new(),
            },
        })
        .filter(|day| !day.known.is_empty() || !day.tests.is_empty())
        .collect();
    Document {
        schema: SCHEMA.to_owned(),
        case: case.to_owned(),
        host: HostPart::from(&rec.host),
        target: TargetPart::from(&rec.target),
        window: WindowPart::from(&rec.window),
        days,
        ledger: ledger(rec),
        waits: waits(rec),
        requests: requests::services(rec),
        upstreams: requests::upstreams(rec),
        stacks,
        armed: armed::probes(rec),
        overhead: Overhead::of(rec),
        conclusion: diagnosis.conclusion,
        headline: diagnosis.headline,
        statement,
        chosen: diagnosis.chosen,
        findings: diagnosis.findings,
        whose: diagnosis.whose,
        paths: diagnosis.paths,
        eliminated: diagnosis.eliminated,
        compared: compared.clone(),
        untested: diagnosis.untested,
    }
}

/// The most active threads, the target's first; kernel threads and friday left out.
fn ledger(rec: &Recording) -> Vec<LedgerRow> {
    let Ok(threads) = rec.get(&catalog::THREAD_TIME) else { return Vec::new() };
    let mut threads: Vec<_> =
        threads.iter().filter(|t| !rec.processes.get(&t.pid).is_some_and(|p| p.is_kernel || p.is_friday)).collect();
    // Waiting for others and pausing are the least telling: most of a machine's threads do just that.
    let telling = |t: &ThreadTime| {
        let others = [TimeClass::BlockedProcess, TimeClass::BlockedNetwork, TimeClass::BlockedSleep];
        t.classes.sum(|class| !class.is_idle() && !others.contains(&class))
    };
    threads.sort_by_key(|t| (!rec.target.contains(t.pid), Reverse(telling(t)), Reverse(t.classes.active()), t.tid));
    threads.into_iter().take(MOST_THREADS).map(LedgerRow::from).collect()
}

/// How complete the stacks are, set by set.
fn stack_sets(rec: &Recording) -> Vec<StackSet> {
    const COMPLETE: [&str; 2] = ["root", "deep"];
    let (Ok(sets), Ok(ends), Ok(names)) =
        (rec.get(&catalog::STACK_SETS), rec.get(&catalog::STACK_ENDS), rec.get(&catalog::STACK_NAMES))
    else {
        return Vec::new();
    };
    sets.iter()
        .filter(|set| set.last() > 0.0)
        .map(|row| {
            let set = row.labels.get("set");
            let split = |rows: &[Series], label: &str, good: &[&str]| {
                let mine = rows.iter().filter(|row| row.labels.get("set") == set && row.last() > 0.0);
                let (good, bad): (Vec<_>, Vec<_>) = mine.partition(|row| good.contains(&row.labels.get(label)));
                let mut reasons: Vec<Reason> =
                    bad.iter().map(|row| Reason { why: row.labels.get(label).to_owned(), part: row.last() }).collect();
                reasons.sort_by(|a, b| b.part.total_cmp(&a.part).then_with(|| a.why.cmp(&b.why)));
                (good.iter().map(|row| row.last()).sum(), reasons)
            };
            let (unwound, not_unwound) = split(ends, "end", &COMPLETE);
            let (symbolized, not_symbolized) = split(names, "why", &[""]);
            StackSet { set: set.to_owned(), weight: row.last(), unwound, symbolized, not_unwound, not_symbolized }
        })
        .collect()
}

/// Waits of one kind together; a queue of which only the time is known has no count.
#[derive(Default)]
struct Waited {
    time: Duration,
    count: u64,
    longest: Duration,
}

/// "A queued behind B": summed over threads, the longest first. Idle waits and the pauses of timers are nobody's queue.
fn waits(rec: &Recording) -> Vec<WaitRow> {
    let Ok(waits) = rec.get(&catalog::WAITS) else { return Vec::new() };
    let skip = |pid: Pid| rec.processes.get(&pid).is_some_and(|p| p.is_kernel || p.is_friday);
    let mut sums: BTreeMap<(Pid, Option<Pid>, &str), Waited> = BTreeMap::new();
    for wait in waits.iter().filter(|w| !skip(w.pid) && !w.by.is_some_and(|(pid, _)| rec.is_friday(pid))) {
        // A wait for nobody known that never ended says little, unless it is the target's.
        let unanswered = wait.class == TimeClass::BlockedProcess && wait.by.is_none() && !rec.target.contains(wait.pid);
        let nobodys =
            matches!(wait.class, TimeClass::BlockedIdle | TimeClass::BlockedSleep | TimeClass::BlockedStopped);
        if !nobodys && !unanswered {
            let resource = if wait.resource.is_empty() { wait.class.name() } else { &wait.resource };
            let sum = sums.entry((wait.pid, wait.by.map(|(pid, _)| pid), resource)).or_default();
            sum.time += wait.time;
            sum.count += wait.count;
            sum.longest = sum.longest.max(wait.longest);
        }
    }
    let queues: Vec<(Pid, Pid, String, Duration)> = disk_queues(rec);
    for (waiter, ahead, resource, time) in &queues {
        if !skip(*waiter) {
            sums.entry((*waiter, Some(*ahead), resource)).or_default().time += *time;
        }
    }
    let mut rows: Vec<_> = sums.into_iter().collect();
    rows.sort_by_key(|(key, sum)| (!rec.target.contains(key.0), Reverse(sum.time), *key));
    let label = |pid: Pid| format!("{} ({pid})", rec.process_name(pid));
    rows.into_iter()
        .take(MOST_WAITS)
        .map(|((waiter, by, resource), sum)| WaitRow {
            waiter: label(waiter),
            by: by.map_or_else(String::new, label),
            resource: resource.to_owned(),
            seconds: sum.time.as_secs_f64(),
            count: sum.count,
            longest_s: sum.longest.as_secs_f64(),
        })
        .collect()
}

/// Who had requests in a device's queue while it served another process.
fn disk_queues(rec: &Recording) -> Vec<(Pid, Pid, String, Duration)> {
    let rows = rec.get(&catalog::BLOCK_BEHIND).into_iter().flatten();
    rows.filter_map(|row| {
        let ahead = row.labels.get("behind").parse().ok().map(Pid)?;
        let time = Duration::try_from_secs_f64(row.last()).ok()?;
        Some((row.labels.pid()?, ahead, format!("queue of disk:{}", row.labels.get("device")), time))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use observe::{Absent, Host, Labels, Target, Tid, Wait, Window};
    use std::time::SystemTime;

    #[test]
    fn a_blind_run_knows_nothing_and_says_why() {
        let host = Host { name: "h".into(), kernel: "6".into(), cpus: 2, memory_bytes: 1 };
        let window = Window { start: SystemTime::UNIX_EPOCH, length: Duration::from_secs(1) };
        let mut rec = Recording::new(host, Target::system("h"), window);
        rec.set(&catalog::THREAD_TIME, Err(Absent::NoPermission("run as root".into())));
        let document = conclude(&rec, "case");
        assert_eq!(document.conclusion, diagnosis::Conclusion::Unknown);
        assert!(document.untested.iter().any(|u| u.why.contains("run as root")));
        assert!(document.days.iter().all(|d| d.day != "wednesday" && d.day != "thursday"));
    }
    #[test]
    fn every_kind_of_queue_is_told_with_who_was_ahead() {
        let host = Host { name: "h".into(), kernel: "6".into(), cpus: 2, memory_bytes: 1 };
        let window = Window { start: SystemTime::UNIX_EPOCH, length: Duration::from_secs(10) };
        let mut rec = Recording::new(host, Target::system("h"), window);
        let kinds = [
            (TimeClass::RunnableBusy, "cpu", Some(2)),
            (TimeClass::BlockedLock, "futex:0x10", Some(2)),
            (TimeClass::BlockedKernelLock, "ext4_file_write_iter", Some(2)),
            (TimeClass::BlockedProcess, "pipe:7", Some(2)),
            (TimeClass::BlockedProcess, "unix socket", Some(2)),
            (TimeClass::BlockedProcess, "child", Some(2)),
            (TimeClass::BlockedNetwork, "tcp:10.0.0.2:5432", None),
            (TimeClass::BlockedMemory, "", None),
        ];
        for (class, resource, by) in kinds {
            let wait = Wait {
                pid: Pid(1),
                tid: Tid(1),
                class,
                resource: resource.into(),
                by: by.map(|pid| (Pid(pid), Tid(pid))),
                syscall: String::new(),
                after_failure: false,
                time: Duration::from_secs(1),
                count: 3,
                longest: Duration::from_millis(500),
                stack: Vec::new(),
                waker_stack: Vec::new(),
            };
            rec.push(&catalog::WAITS, wait.clone());
            rec.push(&catalog::WAITS, Wait { tid: Tid(9), longest: Duration::from_millis(700), ..wait });
        }
        let labels = Labels::new([("device", "vda".into()), ("pid", "1".into()), ("behind", "2".into())]);
        rec.push(&catalog::BLOCK_BEHIND, Series::total(labels, window.length, 2.5));
        let rows = waits(&rec);
        assert_eq!(rows.len(), kinds.len() + 1);
        for (class, resource, by) in kinds {
            let resource = if resource.is_empty() { class.name() } else { resource };
            let row = rows.iter().find(|row| row.resource == resource).unwrap();
            assert_eq!((row.seconds, row.count, row.longest_s), (2.0, 6, 0.7), "{resource}");
            assert_eq!(row.by, by.map_or("", |_| "pid 2 (2)"), "{resource}");
        }
        let queue = &rows[0];
        assert_eq!(
            (queue.resource.as_str(), queue.by.as_str(), queue.seconds),
            ("queue of disk:vda", "pid 2 (2)", 2.5)
        );
    }
}
