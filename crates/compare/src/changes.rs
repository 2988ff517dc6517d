//! What is different between two summaries of one system.

use crate::{Spread, Summary, summary::Service};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What kind of difference it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// How much is asked of a service.
    Load,
    /// What a request takes of the CPU.
    Cost,
    /// How long a request takes.
    Latency,
    /// How busy a resource is.
    Busy,
    /// A setting.
    Config,
    /// A program.
    Software,
    /// The machine.
    Hardware,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// What kind.
    pub kind: Kind,
    /// Of what.
    pub of: String,
    /// What it was.
    pub before: String,
    /// What it is.
    pub after: String,
    /// How many times as large it is, of numbers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub times: Option<f64>,
}

/// Seconds. Intel's C6 takes up to 0.2 ms to leave (intel_idle): as much depends on how deep the CPUs sleep between two requests.
const LATER: f64 = 200e-6;

/// ours: a virtual CPU is a thread of a core, or a part of one, and how fast that is nobody says here: the same work was seen to
/// take 14 % more, steadily, with nothing changed. Over minutes it was seen to drift by a factor of two, which a window's own
/// spread shows in part only: this is a floor for what is told, no bound of what a CPU does.
const VIRTUAL: f64 = 0.20;

/// ours: less of a resource more, or less, is what a machine does beside its work. The kernel's counters of CPU time are sampled at
/// each tick, too, on most machines: of work that comes at a steady pace, they were seen to err by 8 points over five seconds.
const BUSIER: f64 = 0.15;

/// Everything that is different: of numbers, what is outside of what both vary by; of texts, what is not the same in both.
/// What only one of the two saw is no difference, but for settings of which the other has the rest: programs, mounts and
/// control groups come and go.
pub fn changes(before: &Summary, after: &Summary) -> Vec<Change> {
    let mut all = Vec::new();
    let shared = [before, after].iter().any(|one| one.hardware.contains_key("virtualization"));
    let speed = |change: &Change| shared && change.times.is_some_and(|times| times.ln().abs() <= (1.0 + VIRTUAL).ln());
    for (name, then) in &before.services {
        let Some(now) = after.services.get(name) else { continue };
        let of = |kind, then: Option<Spread>, now: Option<Spread>, write: fn(f64) -> String| {
            number(kind, name, then?, now?, write)
        };
        all.extend(of(Kind::Load, then.rate, now.rate, |v| format!("{v:.0} requests a second")));
        let stolen = |change: &Change, bursts: f64| {
            change.times.is_some_and(|times| follows_theft(before.stolen, after.stolen, times, bursts))
        };
        let cost = of(Kind::Cost, then.cost, now.cost, |v| format!("{} of CPU a request", time(v)));
        all.extend(cost.filter(|cost| !follows_load(then, now, cost) && !stolen(cost, 1.0) && !speed(cost)));
        let latency = then.latency.zip(now.latency).filter(|(then, now)| (now.median - then.median).abs() >= LATER);
        let (then_latency, now_latency) = latency.unzip();
        let latency = of(Kind::Latency, then_latency, now_latency, |v| format!("{} a request", time(v)));
        all.extend(latency.filter(|latency| !stolen(latency, BURSTS) && !speed(latency)));
        if let (Some(then), Some(now)) = (&then.program, &now.program)
            && then != now
        {
            let full = |summary: &Summary, path: &String| match summary.software.get(path) {
                Some(print) => format!("{path}, {print}"),
                None => path.clone(),
            };
            all.push(text(Kind::Software, name, &full(before, then), &full(after, now)));
        }
    }
    for (name, then) in &before.busy {
        let noticed = |now: &Spread| (now.median - then.median).abs() >= BUSIER;
        let now = after.busy.get(name).copied().filter(noticed);
        all.extend(now.and_then(|now| number(Kind::Busy, name, *then, now, |v| format!("{:.0} % busy", v * 100.0))));
    }
    all.extend(texts(Kind::Hardware, &before.hardware, &after.hardware));
    if before.kernel != after.kernel {
        all.push(text(Kind::Software, "kernel", &before.kernel, &after.kernel));
    }
    all.extend(texts(Kind::Software, &before.software, &after.software));
    // What one of the two did not look at at all is no difference.
    if !before.settings.is_empty() && !after.settings.is_empty() {
        all.extend(settings(&before.settings, &after.settings, ""));
    }
    all.extend(mounts(&before.mounts, &after.mounts));
    for (group, then) in &before.limits {
        let now = after.limits.get(group);
        all.extend(now.into_iter().flat_map(|now| settings(then, now, &format!(" of {group}"))));
    }
    all
}

/// Whether another cost of a request is what another load makes of it: the more there are, the more requests share a wake-up, and
/// the warmer are the caches.
fn follows_load(then: &Service, now: &Service, cost: &Change) -> bool {
    /// ours: by so much a cost moves against the load, seen when it doubles or halves. What costs twice as much is asked half as
    /// often by clients that wait for their answers: that is a change of its own.
    const AGAINST: f64 = 0.30;
    let load = then.rate.zip(now.rate).filter(|(then, now)| then.differs(now)).and_then(|(then, now)| then.ratio(&now));
    let (Some(load), Some(cost)) = (load, cost.times) else { return false };
    if load > 1.0 { (1.0 - AGAINST..1.0).contains(&cost) } else { (1.0..1.0 / (1.0 - AGAINST)).contains(&cost) }
}

/// ours: what is taken comes in bursts of milliseconds, for which requests queue: they are later by up to this power of it.
const BURSTS: f64 = 2.0;

/// Whether so many times the latency, or the CPU time, is what another part of the CPU time makes of it that the hypervisor
/// took: kernels without CONFIG_PARAVIRT_TIME_ACCOUNTING count what was taken from a running thread as that thread's.
fn follows_theft(then: f64, now: f64, times: f64, bursts: f64) -> bool {
    /// ours: where so much less is taken of one than of the other, it is beside the point.
    const NOTICED: f64 = 0.10;
    let left = |stolen: f64| (1.0 - stolen).max(0.01);
    let stretched = left(then) / left(now);
    (now - then).abs() >= NOTICED
        && (stretched > 1.0) == (times > 1.0)
        && times.ln().abs() <= stretched.ln().abs() * bursts
}

fn number(kind: Kind, of: &str, before: Spread, after: Spread, write: fn(f64) -> String) -> Option<Change> {
    before.differs(&after).then(|| Change {
        kind,
        of: of.to_owned(),
        before: write(before.median),
        after: write(after.median),
        times: before.ratio(&after),
    })
}

fn text(kind: Kind, of: &str, before: &str, after: &str) -> Change {
    Change { kind, of: of.to_owned(), before: before.to_owned(), after: after.to_owned(), times: None }
}

/// Of what both have.
fn texts(kind: Kind, before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<Change> {
    let both = before.iter().filter_map(|(name, then)| Some((name, then, after.get(name)?)));
    both.filter(|(_, then, now)| then != now).map(|(name, then, now)| text(kind, name, then, now)).collect()
}

fn mounts(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<Change> {
    let changes = texts(Kind::Config, before, after).into_iter();
    changes.map(|change| Change { of: format!("mount {}", change.of), ..change }).collect()
}

/// Of what either has.
fn settings(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>, of: &str) -> Vec<Change> {
    const GONE: &str = "not there";
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let value = |of: &BTreeMap<String, String>, name| of.get(name).map_or(GONE.to_owned(), String::clone);
    let both = names.into_iter().map(|name| (name, value(before, name), value(after, name)));
    both.filter(|(_, then, now)| then != now)
        .map(|(name, then, now)| text(Kind::Config, &format!("{name}{of}"), &then, &now))
        .collect()
}

/// A time as people read it.
fn time(seconds: f64) -> String {
    if seconds >= 1.0 {
        format!("{seconds:.2} s")
    } else if seconds >= 1e-3 {
        format!("{:.2} ms", seconds * 1e3)
    } else {
        format!("{:.1} µs", seconds * 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::tests::recording;

    fn kinds(before: &Summary, after: &Summary) -> Vec<(Kind, String)> {
        changes(before, after).into_iter().map(|change| (change.kind, change.of)).collect()
    }

    #[test]
    fn the_same_is_no_change() {
        let one = Summary::of(&recording(100.0, 2.0, 0.01, 0.4));
        assert!(changes(&one, &one).is_empty());
        assert!(changes(&one, &Summary::of(&recording(103.0, 2.05, 0.0102, 0.41))).is_empty());
    }

    #[test]
    fn each_kind_of_change_is_named() {
        let before = Summary::of(&recording(100.0, 2.0, 0.01, 0.4));
        let load = changes(&before, &Summary::of(&recording(200.0, 2.0, 0.01, 0.8)));
        assert_eq!(load.iter().map(|c| c.kind).collect::<Vec<_>>(), [Kind::Load, Kind::Busy]);
        assert!((load[0].times.unwrap() - 2.0).abs() < 0.01, "{load:?}");
        assert_eq!(load[0].before, "100 requests a second");
        let slower = kinds(&before, &Summary::of(&recording(100.0, 3.0, 0.015, 0.4)));
        assert_eq!(slower, [(Kind::Cost, "shop 80".to_owned()), (Kind::Latency, "shop 80".to_owned())]);
        let mut set = before.clone();
        set.settings.insert("vm.swappiness".into(), "10".into());
        set.software.insert("/srv/shop".into(), "build-id 2".into());
        set.kernel = "6.19".into();
        set.hardware.insert("cpus".into(), "4".into());
        let named = kinds(&before, &set);
        assert_eq!(
            named,
            [
                (Kind::Hardware, "cpus".to_owned()),
                (Kind::Software, "kernel".to_owned()),
                (Kind::Software, "/srv/shop".to_owned()),
                (Kind::Config, "vm.swappiness".to_owned()),
            ]
        );
    }

    #[test]
    fn a_cost_that_moves_a_little_against_the_load_follows_from_it() {
        let of = |load: f64, cost: f64| {
            let before = Summary::of(&recording(100.0, 2.0, 0.01, 0.4));
            let named = kinds(&before, &Summary::of(&recording(load, cost, 0.01, 0.4)));
            named.into_iter().map(|(kind, _)| kind).collect::<Vec<_>>()
        };
        assert_eq!(of(200.0, 1.7), [Kind::Load]);
        assert_eq!(of(50.0, 2.4), [Kind::Load]);
        assert_eq!(of(100.0, 1.7), [Kind::Cost], "of the same load");
        assert_eq!(of(200.0, 2.4), [Kind::Load, Kind::Cost], "with the load");
        assert_eq!(of(50.0, 4.0), [Kind::Load, Kind::Cost], "clients that wait for a slower service");
    }

    #[test]
    fn what_waking_up_takes_is_no_difference() {
        let before = Summary::of(&recording(100.0, 2.0, 0.0004, 0.4));
        assert_eq!(kinds(&before, &Summary::of(&recording(100.0, 2.0, 0.00055, 0.4))), []);
        let later = kinds(&before, &Summary::of(&recording(100.0, 2.0, 0.0007, 0.4)));
        assert_eq!(later, [(Kind::Latency, "shop 80".to_owned())]);
    }

    #[test]
    fn what_the_hypervisor_took_makes_requests_later() {
        let before = Summary::of(&recording(100.0, 2.0, 0.001, 0.4));
        let mut after = Summary::of(&recording(100.0, 2.0, 0.0014, 0.4));
        assert_eq!(kinds(&before, &after), [(Kind::Latency, "shop 80".to_owned())]);
        after.stolen = 0.35;
        assert_eq!(kinds(&before, &after), []);
        assert_eq!(kinds(&after, &before), []);
        after.stolen = 0.12;
        assert_eq!(kinds(&before, &after).len(), 1, "it took less than that");
        let mut dearer = Summary::of(&recording(100.0, 2.6, 0.001, 0.4));
        assert_eq!(kinds(&before, &dearer), [(Kind::Cost, "shop 80".to_owned())]);
        dearer.stolen = 0.35;
        assert_eq!(kinds(&before, &dearer), []);
        let mut slower = Summary::of(&recording(100.0, 4.0, 0.001, 0.4));
        slower.stolen = 0.35;
        assert_eq!(kinds(&before, &slower), [(Kind::Cost, "shop 80".to_owned())], "that is more than was taken");
    }

    #[test]
    fn a_virtual_cpu_that_is_a_little_slower_is_no_difference() {
        let mut before = Summary::of(&recording(100.0, 2.0, 0.01, 0.4));
        let dearer = |times: f64| Summary::of(&recording(100.0, 2.0 * times, 0.01 * times, 0.4));
        assert_eq!(kinds(&before, &dearer(1.15)).len(), 2, "cost and latency of a CPU that is its own");
        before.hardware.insert("virtualization".into(), "CPU says it is virtual".into());
        assert_eq!(kinds(&before, &dearer(1.15)), []);
        assert_eq!(kinds(&dearer(1.15), &before), []);
        assert_eq!(kinds(&before, &dearer(1.3)).len(), 2);
    }

    #[test]
    fn a_little_of_a_resource_is_no_difference() {
        let before = Summary::of(&recording(100.0, 2.0, 0.01, 0.11));
        assert_eq!(kinds(&before, &Summary::of(&recording(100.0, 2.0, 0.01, 0.20))), []);
        let busier = kinds(&before, &Summary::of(&recording(100.0, 2.0, 0.01, 0.30)));
        assert_eq!(busier, [(Kind::Busy, "cpu".to_owned())]);
    }

    #[test]
    fn what_only_one_of_the_two_saw_is_no_change_of_numbers() {
        let before = Summary::of(&recording(100.0, 2.0, 0.01, 0.4));
        assert!(changes(&before, &Summary::default()).iter().all(|c| c.of == "kernel"));
        let mut more = before.clone();
        more.software.insert("/usr/bin/vi".into(), "build-id 9".into());
        assert!(changes(&before, &more).is_empty(), "somebody runs another program");
        more.mounts.insert("/run/user/0".into(), "tmpfs rw".into());
        let limited = BTreeMap::from([("pids.max".to_owned(), "100".to_owned())]);
        more.limits.insert("/user.slice/user-0.slice".into(), limited.clone());
        assert!(changes(&before, &more).is_empty(), "somebody logs in");
        more.limits.insert("/shop".into(), limited);
        more.settings.insert("net.ipv4.tcp_ecn".into(), "1".into());
        let config = |of: &str| (Kind::Config, of.to_owned());
        assert_eq!(kinds(&before, &more), [config("net.ipv4.tcp_ecn"), config("pids.max of /shop")]);
        assert_eq!(kinds(&more, &before), [config("net.ipv4.tcp_ecn"), config("pids.max of /shop")]);
    }

    #[test]
    fn a_service_whose_program_lies_elsewhere_now_has_been_upgraded() {
        let before = Summary::of(&recording(100.0, 2.0, 0.01, 0.4));
        let mut after = before.clone();
        after.services.get_mut("shop 80").unwrap().program = Some("/srv/2/shop".into());
        after.software = BTreeMap::from([("/srv/2/shop".to_owned(), "build-id 2".to_owned())]);
        let named = changes(&before, &after);
        assert_eq!(named.len(), 1, "{named:?}");
        assert_eq!((named[0].kind, named[0].of.as_str()), (Kind::Software, "shop 80"));
        assert_eq!(named[0].before, "/srv/shop, build-id 1");
        assert_eq!(named[0].after, "/srv/2/shop, build-id 2");
    }
}
