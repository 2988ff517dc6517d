//! Who else is affected: other processes that lose time, and the pressure of the machine and of control groups.

use super::{Answer, NAMED, real, time};
use crate::Seen;
use observe::{Pid, Process, Recording, Series, TimeClass, catalog};
use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

/// ours: a seventh of the time in which somebody wants something is what people feel (as of health tools).
const FELT: f64 = 0.15;

/// ours: who lost less than this part of the window hardly did anything in it (as of health tools).
const ENOUGH: f64 = 0.05;

/// ours: pressure below this part of the window comes and goes on a healthy machine.
const PRESSED: f64 = 0.05;

/// What the data says about it.
pub(super) fn others(seen: &Seen) -> Answer {
    let mut answer = Answer::default();
    let rec = seen.rec;
    let first = real(seen).next().and_then(|finding| finding.victim.pid).map(Pid);
    match rec.get(&catalog::THREAD_TIME) {
        Ok(_) => answer.measured.push(lost(rec, first)),
        Err(why) => answer.unknown.push(format!("time that others lose: {why}")),
    }
    match rec.get(&catalog::PRESSURE) {
        Ok(rows) => answer.measured.push(pressure("on the machine", &rows.iter().collect::<Vec<_>>())),
        Err(why) => answer.unknown.push(format!("pressure of the machine: {why}")),
    }
    answer.measured.extend(groups(rec));
    answer
}

/// Whether a process was told to stand back for others: whoever waits by design is not affected.
fn yields(process: &Process) -> bool {
    process.nice > 0 || matches!(process.policy.as_str(), "batch" | "idle")
}

/// Processes other than the target and the first victim that wait for what the machine is short of.
fn lost(rec: &Recording, first: Option<Pid>) -> String {
    let coarse = rec.get(&catalog::COARSE_LEDGER).is_ok_and(|rows| !rows.is_empty());
    let waits = |class: TimeClass| {
        class.is_runnable() || (!coarse && matches!(class, TimeClass::BlockedDisk | TimeClass::BlockedMemory))
    };
    let mut times: BTreeMap<Pid, (Duration, Duration)> = BTreeMap::new();
    for thread in rec.get(&catalog::THREAD_TIME).into_iter().flatten() {
        let is_own = rec.target.contains(thread.pid) || Some(thread.pid) == first || rec.is_friday(thread.pid);
        if !is_own && !rec.processes.get(&thread.pid).is_some_and(|process| process.is_kernel || yields(process)) {
            let (waited, wanted) = times.entry(thread.pid).or_default();
            *waited += thread.classes.sum(waits);
            *wanted += thread.classes.sum(|class| waits(class) || class.is_running());
        }
    }
    let window = rec.window.length;
    let mut hit: Vec<(Pid, Duration)> = times
        .into_iter()
        .filter(|(_, (waited, wanted))| *waited >= wanted.mul_f64(FELT) && *waited >= window.mul_f64(ENOUGH))
        .map(|(pid, (waited, _))| (pid, waited))
        .collect();
    hit.sort_by_key(|(pid, waited)| (Reverse(*waited), *pid));
    let what = if coarse { "for a CPU" } else { "for a CPU, a disk or memory" };
    let whose = if rec.target.is_named() || first.is_some() { "other " } else { "" };
    if hit.is_empty() {
        return format!("no {whose}process of normal priority waited noticeably {what}");
    }
    let named: Vec<String> = hit
        .iter()
        .take(NAMED)
        .map(|(pid, waited)| format!("{} ({pid}) {}", rec.process_name(*pid), time(waited.as_secs_f64())))
        .collect();
    let rest = hit.len() - named.len();
    let rest = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    let of = if hit.len() == 1 { "process of normal priority waits" } else { "processes of normal priority wait" };
    format!("{} {whose}{of} {what} as well, of {}: {}{rest}", hit.len(), time(window.as_secs_f64()), named.join(", "))
}

/// The parts of the window in which somebody was stalled, by resource.
fn pressure(whose: &str, rows: &[&Series]) -> String {
    let part = |resource: &str| {
        let is = |row: &&&Series| row.labels.get("resource") == resource && row.labels.get("kind") == "some";
        rows.iter().find(is).and_then(|row| row.rate())
    };
    let told: Vec<String> = ["cpu", "io", "memory"]
        .iter()
        .filter_map(|resource| Some(format!("{resource} {:.0} %", part(resource)?.clamp(0.0, 1.0) * 100.0)))
        .collect();
    format!("somebody was stalled {whose} for these parts of the window: {}", told.join(", "))
}

/// Control groups under pressure, the target's own left out.
fn groups(rec: &Recording) -> Option<String> {
    let own: Vec<&str> =
        rec.target.members.iter().filter_map(|pid| Some(rec.processes.get(pid)?.cgroup.as_str())).collect();
    let rows = rec.get(&catalog::CGROUP_PRESSURE).ok()?;
    let mut hit: Vec<(f64, &str, &str)> = rows
        .iter()
        .filter(|row| row.labels.get("kind") == "some" && !own.contains(&row.labels.get("cgroup")))
        .filter_map(|row| Some((row.rate()?, row.labels.get("cgroup"), row.labels.get("resource"))))
        .filter(|(part, ..)| *part >= PRESSED)
        .collect();
    hit.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| (a.1, a.2).cmp(&(b.1, b.2))));
    let told: Vec<String> = hit
        .iter()
        .take(NAMED)
        .map(|(part, group, resource)| format!("{group} on {resource} for {:.0} %", part.min(1.0) * 100.0))
        .collect();
    (!told.is_empty()).then(|| format!("control groups that were stalled: {}", told.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{question, recording};
    use super::*;
    use observe::{ClassTimes, Labels, Point, Target, TargetKind, ThreadTime, Tid};

    fn thread(pid: u32, running: u64, waiting: u64) -> ThreadTime {
        let mut classes = ClassTimes::default();
        classes.add(TimeClass::RunningUser, Duration::from_secs(running));
        classes.add(TimeClass::RunnableBusy, Duration::from_secs(waiting));
        ThreadTime {
            pid: Pid(pid),
            tid: Tid(pid),
            name: "t".into(),
            classes,
            wall: Duration::from_secs(10),
            switches: 1,
        }
    }

    fn stalled(labels: Labels, seconds: f64) -> Series {
        let points =
            vec![Point { at: Duration::ZERO, value: 0.0 }, Point { at: Duration::from_secs(10), value: seconds }];
        Series { labels, points }
    }

    #[test]
    fn others_are_those_that_wait_and_are_not_the_target() {
        let mut rec = recording();
        rec.target =
            Target { kind: TargetKind::Process, pid: Some(Pid(7)), name: "shop".into(), members: vec![Pid(7)] };
        for (pid, name) in [(7, "shop"), (8, "mail"), (9, "idle")] {
            rec.processes.insert(Pid(pid), Process { pid: Pid(pid), name: name.into(), ..Process::default() });
        }
        let batch = Process { pid: Pid(10), name: "backup".into(), nice: 10, ..Process::default() };
        rec.processes.insert(Pid(10), batch);
        for thread in [thread(7, 4, 6), thread(8, 3, 5), thread(9, 9, 0), thread(10, 1, 9)] {
            rec.push(&catalog::THREAD_TIME, thread);
        }
        let labels = Labels::new([("resource", "cpu".into()), ("kind", "some".into())]);
        rec.push(&catalog::PRESSURE, stalled(labels, 4.0));
        let group =
            |name: &str| Labels::new([("cgroup", name.into()), ("resource", "cpu".into()), ("kind", "some".into())]);
        rec.push(&catalog::CGROUP_PRESSURE, stalled(group("/mail"), 3.0));
        rec.push(&catalog::CGROUP_PRESSURE, stalled(group("/quiet"), 0.1));
        let told = question(&rec, "others");
        assert_eq!(
            told.measured,
            [
                "1 other process of normal priority waits for a CPU, a disk or memory as well, of 10 s: mail (8) 5.0 s",
                "somebody was stalled on the machine for these parts of the window: cpu 40 %",
                "control groups that were stalled: /mail on cpu for 30 %",
            ]
        );
    }

    #[test]
    fn nobody_is_said_only_where_somebody_looked() {
        let mut rec = recording();
        assert!(question(&rec, "others").measured.is_empty());
        rec.push(&catalog::THREAD_TIME, thread(9, 9, 0));
        assert_eq!(
            question(&rec, "others").measured[0],
            "no process of normal priority waited noticeably for a CPU, a disk or memory"
        );
    }
}
