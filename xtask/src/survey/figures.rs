//! From all windows of a program to its row in the table, and what falls short of a target.

use super::Seen;
use super::compare::{Comparison, Flat};
use super::loads::Load;
use super::look::{Look, Reason, StackSet, Thread};
use super::names::Aliases;
use super::oracle::Agreement;
use serde::Serialize;
use std::collections::BTreeMap;

/// Less than this part of the threads' time is unclassified, in percent.
const UNKNOWN_PERCENT: f64 = 3.0;
/// At least this part of each set is unwound and symbolized.
const COMPLETE: [(&str, f64); 2] = [("on-CPU", 0.97), ("off-CPU", 0.95)];
/// The shares of functions differ from perf's by this many points at most.
const TOP_POINTS: f64 = 3.0;
/// ours: a thread with less unclassified time, in percent of all threads' time, is not named.
const NAMED_PERCENT: f64 = 0.1;

/// What the survey found out about one program.
#[derive(Debug, Serialize)]
pub struct Surveyed {
    /// Its name.
    pub program: &'static str,
    /// It is several processes: its stack sets are those of the busiest.
    pub many: bool,
    opaque: bool,
    /// How many windows there were.
    pub windows: usize,
    /// Wall time of the program's threads.
    pub thread_seconds: f64,
    /// Part of it that is unclassified.
    pub unknown_percent: f64,
    /// By thread, the largest part first.
    pub unknown: Vec<Unknown>,
    /// Completeness, set by set.
    pub stacks: Vec<StackSet>,
    /// The same of the whole machine, where friday looked at all of it.
    pub machine_stacks: Vec<StackSet>,
    /// Against perf, or why not.
    pub perf: Result<Profiles, String>,
    /// Against framehop, or why not.
    pub framehop: Result<Agreement, String>,
    /// friday's cost, mean of all windows.
    pub cpu_percent: f64,
    /// Without its kernel-side programs.
    pub own_percent: f64,
    /// The largest.
    pub rss_bytes: f64,
    /// The sum.
    pub lost_events: f64,
    /// The same by kind.
    pub lost: BTreeMap<String, f64>,
    /// The longest.
    pub report_seconds: f64,
}

/// friday's profile against perf's.
#[derive(Debug, Serialize)]
pub struct Profiles {
    /// At the same time: what friday gets wrong.
    pub beside: Comparison,
    /// One after the other: also what friday changes.
    pub alone: Comparison,
    /// perf, as often as friday samples, against perf at the same time: what sampling itself gets wrong here.
    pub itself: Comparison,
}

/// Unclassified time of threads of one name.
#[derive(Debug, Serialize)]
pub struct Unknown {
    /// The threads' name.
    pub thread: String,
    /// Of all the program's threads' time.
    pub percent: f64,
}

impl Surveyed {
    /// From everything that was seen.
    pub fn of(load: &Load, seen: Seen, aliases: &Aliases, framehop: Result<Agreement, String>) -> Surveyed {
        let Seen { looks, busiest, friday, beside, alone, twice: [often, seldom], blind } = seen;
        let against = |perf: &Flat| Comparison::of(&friday.renamed(aliases), &perf.renamed(aliases));
        let perf = match blind {
            Some(why) => Err(why),
            None => Ok(Profiles {
                beside: against(&beside),
                alone: against(&alone),
                itself: Comparison::of(&seldom.renamed(aliases), &often.renamed(aliases)),
            }),
        };
        let threads: Vec<&Thread> = looks.iter().flat_map(|look| &look.threads).collect();
        let thread_seconds: f64 = threads.iter().map(|thread| thread.seconds).sum();
        let unknown = unknown(&threads, thread_seconds);
        let mean = |value: fn(&Look) -> f64| looks.iter().map(value).sum::<f64>() / looks.len().max(1) as f64;
        let most = |value: fn(&Look) -> f64| looks.iter().map(value).fold(0.0, f64::max);
        Surveyed {
            program: load.name,
            many: load.many,
            opaque: load.opaque,
            windows: looks.len(),
            thread_seconds,
            unknown_percent: unknown.iter().map(|part| part.percent).sum(),
            unknown,
            cpu_percent: mean(|look| look.overhead.cpu_percent),
            own_percent: mean(|look| look.overhead.own_percent),
            rss_bytes: most(|look| look.overhead.rss_bytes),
            lost: lost(&looks),
            lost_events: looks.iter().map(|look| look.overhead.lost_events).sum(),
            report_seconds: most(|look| look.report_seconds),
            machine_stacks: if busiest.is_some() { sets(&looks) } else { Vec::new() },
            stacks: busiest.map_or_else(|| sets(&looks), |look| look.stacks),
            perf,
            framehop,
        }
    }

    /// A set of stacks.
    pub fn set(&self, name: &str) -> Option<&StackSet> {
        self.stacks.iter().find(|set| set.set == name)
    }

    /// Threads whose unclassified time is worth a word.
    pub fn telling_unknown(&self) -> impl Iterator<Item = &Unknown> {
        self.unknown.iter().filter(|part| part.percent >= NAMED_PERCENT)
    }

    /// What is not as it should be, in words.
    pub fn shortfalls(&self) -> Vec<String> {
        let mut short = Vec::new();
        if self.thread_seconds == 0.0 {
            short.push("friday's ledger has none of its threads".to_string());
        }
        if self.unknown_percent >= UNKNOWN_PERCENT {
            short.push(format!("{:.1} % of its threads' time is unclassified", self.unknown_percent));
        }
        for (name, target) in COMPLETE {
            let Some(set) = self.set(name) else {
                short.push(format!("no {name} stacks"));
                continue;
            };
            if set.unwound < target && (!self.opaque || set.not_unwound.is_empty()) {
                short.push(format!("{:.1} % of {name} stacks are unwound", 100.0 * set.unwound));
            }
            // Names that a binary does not hold are not to be had.
            let stripped = set.not_symbolized.iter().filter(|reason| reason.why.starts_with("stripped"));
            if set.symbolized + stripped.map(|reason| reason.part).sum::<f64>() < target {
                short.push(format!("{:.1} % of {name} frames have names", 100.0 * set.symbolized));
            }
        }
        match &self.perf {
            Ok(found) => {
                short.extend(different(&found.beside, "beside it"));
                short.extend(different(&found.alone, "alone"));
            }
            Err(reason) => short.push(format!("not compared with perf: {reason}")),
        }
        match &self.framehop {
            Ok(found) if !found.failure.is_empty() => short.push(format!("against framehop: {}", found.failure)),
            Ok(_) => {}
            Err(reason) => short.push(format!("not compared with framehop: {reason}")),
        }
        short
    }
}

/// What is too different from perf's profile.
fn different(found: &Comparison, when: &str) -> Option<String> {
    let Some(worst) = found.worst() else { return Some(format!("no samples to compare with perf {when}")) };
    (worst.points > TOP_POINTS).then(|| {
        format!(
            "{}: {:.1} % by friday, {:.1} % by perf {when} (±{:.1} by chance)",
            worst.function, worst.percent, worst.reference_percent, worst.error_points
        )
    })
}

/// The stack sets of some windows.
fn sets(looks: &[Look]) -> Vec<StackSet> {
    merged(looks.iter().flat_map(|look| look.stacks.clone()).collect())
}

/// Everything lost by kind.
fn lost(looks: &[Look]) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for (kind, count) in looks.iter().flat_map(|look| &look.overhead.lost) {
        *sums.entry(kind.clone()).or_default() += count;
    }
    sums
}

/// Unclassified time by thread name, in percent of all, the largest first.
fn unknown(threads: &[&Thread], all: f64) -> Vec<Unknown> {
    let mut parts: BTreeMap<&str, f64> = BTreeMap::new();
    for thread in threads {
        let share = thread.shares.get("blocked.unknown").copied().unwrap_or(0.0);
        *parts.entry(&thread.name).or_default() += 100.0 * share * thread.seconds / all;
    }
    let named = parts.into_iter().map(|(thread, percent)| Unknown { thread: thread.into(), percent });
    let mut unknown: Vec<Unknown> = named.filter(|part| part.percent > 0.0).collect();
    unknown.sort_by(|a, b| b.percent.total_cmp(&a.percent));
    unknown
}

/// Sets of several windows as one, by weight.
fn merged(sets: Vec<StackSet>) -> Vec<StackSet> {
    let mut by_name: BTreeMap<String, Vec<StackSet>> = BTreeMap::new();
    sets.into_iter().for_each(|set| by_name.entry(set.set.clone()).or_default().push(set));
    let merge = |(set, parts): (String, Vec<StackSet>)| {
        let weight: f64 = parts.iter().map(|part| part.weight).sum();
        let mean = |value: fn(&StackSet) -> f64| {
            parts.iter().map(|part| value(part) * part.weight).sum::<f64>() / weight.max(f64::MIN_POSITIVE)
        };
        let reasons = |of: fn(&StackSet) -> &Vec<Reason>| {
            let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
            for part in &parts {
                of(part).iter().for_each(|r| *sums.entry(&r.why).or_default() += r.part * part.weight / weight);
            }
            let mut sums: Vec<Reason> = sums.into_iter().map(|(why, part)| Reason { why: why.into(), part }).collect();
            sums.sort_by(|a, b| b.part.total_cmp(&a.part));
            sums
        };
        StackSet {
            unwound: mean(|part| part.unwound),
            symbolized: mean(|part| part.symbolized),
            not_unwound: reasons(|part| &part.not_unwound),
            not_symbolized: reasons(|part| &part.not_symbolized),
            set,
            weight,
        }
    };
    by_name.into_iter().map(merge).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread(name: &str, seconds: f64, unknown: f64) -> Thread {
        let shares = BTreeMap::from([("blocked.unknown".to_string(), unknown), ("blocked.idle".into(), 1.0 - unknown)]);
        Thread { thread: 1, process: 1, name: name.into(), seconds, shares }
    }

    #[test]
    fn unclassified_time_is_counted_in_time_not_in_threads() {
        let threads = [thread("a", 10.0, 0.1), thread("a", 10.0, 0.0), thread("b", 20.0, 0.2), thread("c", 10.0, 0.0)];
        let found = unknown(&threads.iter().collect::<Vec<_>>(), 50.0);
        let found: Vec<(&str, f64)> = found.iter().map(|part| (part.thread.as_str(), part.percent.round())).collect();
        assert_eq!(found, [("b", 8.0), ("a", 2.0)]);
    }

    #[test]
    fn sets_are_merged_by_weight() {
        let set = |weight, unwound, part| StackSet {
            set: "on-CPU".into(),
            weight,
            unwound,
            symbolized: 1.0,
            not_unwound: vec![Reason { why: "cut".into(), part }],
            not_symbolized: Vec::new(),
        };
        let all = merged(vec![set(300.0, 1.0, 0.0), set(100.0, 0.8, 0.2)]);
        assert_eq!((all.len(), all[0].weight), (1, 400.0));
        assert!((all[0].unwound - 0.95).abs() < 1e-9 && (all[0].not_unwound[0].part - 0.05).abs() < 1e-9);
    }
}
