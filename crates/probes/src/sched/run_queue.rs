//! Waits for a CPU: latency by process, and who ran meanwhile.

use super::ledger::Books;
use crate::bpf::types;
use observe::{Histogram, Labels, Pid, Recording, Tid, TimeClass, Wait, catalog};
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

/// Latency by process: long waits as the kernel side put them together, short ones from each thread.
pub(super) fn latency(books: &Books, long: Vec<(u32, types::hist)>) -> Vec<Histogram> {
    let mut by_process: BTreeMap<u32, types::hist> = long.into_iter().collect();
    for times in &books.threads {
        let hist = by_process.entry(times.tgid).or_default();
        hist.sum += times.short_run_queue_ns;
        hist.max = hist.max.max(times.short_run_queue_max);
        for (slot, count) in times.short_run_queue.iter().enumerate().filter(|(_, count)| **count > 0) {
            hist.slots[slot] += count;
        }
    }
    by_process
        .into_iter()
        .map(|(pid, hist)| {
            Histogram::from_slots(Labels::new([("pid", pid.to_string())]), &hist.slots, hist.sum, hist.max)
        })
        .filter(|hist| hist.count > 0)
        .collect()
}

/// Which control group's quota stops a process.
pub(super) struct Quotas {
    /// Seconds held back in the window, by group.
    held: BTreeMap<String, f64>,
    groups: BTreeMap<u32, String>,
}

impl Quotas {
    /// From the counters and the processes of a recording.
    pub fn of(rec: &Recording) -> Self {
        let rows = rec.get(&catalog::CGROUP_CPU).into_iter().flatten();
        let held = rows
            .filter(|row| row.labels.get("what") == "throttled_time")
            .filter_map(|row| Some((row.labels.get("cgroup").to_owned(), row.increase()?)))
            .filter(|(_, held)| *held > 0.0)
            .collect();
        Quotas { held, groups: rec.processes.iter().map(|(pid, p)| (pid.0, p.cgroup.clone())).collect() }
    }

    /// Of the process' groups, the one that was held back longest; empty when none is known.
    fn of_process(&self, pid: u32) -> &str {
        let Some(group) = self.groups.get(&pid) else { return "" };
        let holds = self.held.iter().filter(|(holder, _)| {
            let below = group.strip_prefix(holder.as_str());
            holder.as_str() == "/" || below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        holds.max_by(|a, b| a.1.total_cmp(b.1)).map_or("", |(holder, _)| holder)
    }
}

/// Nanoseconds by thread that waits of this kind (`enum blame_how`) took.
pub(super) fn told_apart(books: &Books, how: types::blame_how) -> HashMap<u32, u64> {
    let mut told = HashMap::new();
    for (key, value) in books.blames.iter().filter(|(key, _)| key.how == how) {
        *told.entry(key.victim_tid).or_default() += value.ns;
    }
    told
}

/// Waits for a CPU by who ran meanwhile, and those that no neighbour explains.
pub(super) fn waits(books: &Books, quotas: &Quotas) -> Vec<Wait> {
    let pinned: HashMap<u32, (u64, u64)> = books
        .threads
        .iter()
        .filter(|t| t.pinned > 0)
        .map(|t| (t.tid, (t.pinned, t.runnable.saturating_sub(t.throttled))))
        .collect();
    let cpu = |pid: u32, tid: u32, class, time: u64| Wait {
        pid: Pid(pid),
        tid: Tid(tid),
        class,
        resource: "cpu".to_owned(),
        by: None,
        syscall: String::new(),
        after_failure: false,
        time: Duration::from_nanos(time),
        count: 0,
        longest: Duration::ZERO,
        stack: Vec::new(),
        waker_stack: Vec::new(),
    };
    let mut waits = Vec::new();
    for (key, value) in &books.blames {
        let by = (key.runner_tgid != 0).then_some((Pid(key.runner_tgid), Tid(key.runner_tid)));
        let queued = match key.how {
            types::blame_how::OUTRANKED => TimeClass::RunnableOutranked,
            types::blame_how::WAKING => TimeClass::RunnableWaking,
            _ => TimeClass::RunnableBusy,
        };
        let part = pinned.get(&key.victim_tid).map_or(0.0, |(pinned, all)| *pinned as f64 / (*all).max(1) as f64);
        let in_vain = if queued == TimeClass::RunnableWaking { 0 } else { (value.ns as f64 * part.min(1.0)) as u64 };
        for (class, time) in [(TimeClass::RunnablePinned, in_vain), (queued, value.ns - in_vain)] {
            if time > 0 {
                let count = if class == queued || in_vain == value.ns { value.count } else { 0 };
                let longest = Duration::from_nanos(value.max);
                waits.push(Wait { by, count, longest, ..cpu(key.victim_tgid, key.victim_tid, class, time) });
            }
        }
    }
    for times in books.threads.iter().filter(|t| t.throttled > 0) {
        let wait = cpu(times.tgid, times.tid, TimeClass::RunnableThrottled, times.throttled);
        let resource = match quotas.of_process(times.tgid) {
            "" => "cpu quota".to_owned(),
            group => format!("cpu quota:{group}"),
        };
        waits.push(Wait { resource, ..wait });
    }
    waits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_that_is_held_back_most_is_the_one_that_stops_a_process() {
        let held = [("/web", 1.0), ("/web/api", 3.0), ("/web/ap", 9.0)];
        let quotas = Quotas {
            held: held.map(|(group, held)| (group.to_owned(), held)).into(),
            groups: [(7, "/web/api/worker".to_owned()), (8, "/web".to_owned()), (9, "/other".to_owned())].into(),
        };
        assert_eq!([7, 8, 9, 10].map(|pid| quotas.of_process(pid)), ["/web/api", "/web", "", ""]);
    }

    #[test]
    fn whoever_is_preferred_is_told_apart_and_so_is_an_idle_cpu() {
        let blame =
            |how| types::blame_key { victim_tid: 1, victim_tgid: 1, runner_tgid: 2, runner_tid: 2, how, pad: 0 };
        let value = types::blame_value { ns: 5, count: 1, max: 5 };
        let blames = [types::blame_how::BEHIND, types::blame_how::OUTRANKED, types::blame_how::WAKING]
            .map(|how| (blame(how), value))
            .to_vec();
        let books = Books { threads: Vec::new(), waits: Vec::new(), blames };
        assert_eq!(told_apart(&books, types::blame_how::WAKING)[&1], 5);
        let classes: Vec<TimeClass> =
            waits(&books, &Quotas { held: BTreeMap::new(), groups: BTreeMap::new() }).iter().map(|w| w.class).collect();
        assert_eq!(classes, [TimeClass::RunnableBusy, TimeClass::RunnableOutranked, TimeClass::RunnableWaking]);
    }
}
