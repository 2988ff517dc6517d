//! Monday: how large is the issue, and on what system?

use crate::Seen;
use case::Compared;
use checks::Light;
use compare::{Kind, Summary};
use diagnosis::{Confidence, Finding};
use observe::{Bytes, Recording, catalog};

/// Causes that are a setting or a limit, however their time is measured: with one of them, it may be just config.
const SETTINGS: [&str; 12] = [
    "config.",
    "limits.",
    "cpu.throttled",
    "cpu.pinned",
    "cpu.priority",
    "cpu.slow-clock",
    "disk.throttled",
    "mem.cgroup-limit",
    "net.listen-overflow",
    "net.ports",
    "net.small-window",
    "net.delayed-ack",
];

/// The end-of-day status as far as it is true, and the system's facts.
pub(crate) fn known(seen: &Seen) -> Vec<String> {
    let mut known = Vec::new();
    known.extend(real(seen));
    known.extend(not_just_config(seen));
    known.extend(seen.compared.map(|compared| against(compared, comparable(seen.rec))));
    known.push(format!("system: {}", hardware(seen.rec)));
    known
}

/// The magnitude, where somebody's time is known to be lost, and who else is hit.
fn real(seen: &Seen) -> Option<String> {
    let sure: Vec<&Finding> =
        seen.diagnosis.findings.iter().filter(|finding| finding.confidence >= Confidence::Likely).collect();
    let worst = sure.first()?;
    let mut others: Vec<&str> = sure.iter().map(|finding| finding.victim.name.as_str()).collect();
    others.retain(|name| *name != worst.victim.name);
    others.sort_unstable();
    others.dedup();
    let others = if others.is_empty() { String::new() } else { format!("; it affects {} as well", others.join(", ")) };
    Some(format!(
        "it is a real issue: {} loses up to {} of its active time over {:.0} s, measured{others}",
        worst.victim.name,
        worst.share,
        seen.rec.window.length.as_secs_f64()
    ))
}

/// Said only where there is an issue, settings were looked at and so was the code that would show them, and no measured time
/// rests on a setting.
fn not_just_config(seen: &Seen) -> Option<String> {
    let findings = &seen.diagnosis.findings;
    let is_config = |finding: &Finding| SETTINGS.iter().any(|id| finding.cause.starts_with(id));
    let looked: Vec<Light> =
        seen.tuning.iter().map(|test| test.verdict).filter(|light| *light != Light::Untested).collect();
    let issue = findings.iter().any(|finding| finding.confidence >= Confidence::Likely);
    if !issue || looked.is_empty() || seen.rec.get(&catalog::CPU_STACKS).is_err() || findings.iter().any(is_config) {
        return None;
    }
    let review = looked.iter().filter(|light| **light != Light::Good).count();
    Some(format!(
        "it is not just config: of {} settings looked at, {review} are to be reviewed, and no measured time rests on one",
        looked.len()
    ))
}

/// Whether requests of some service were seen both here and in the baseline, so that load and cost can be compared.
pub(crate) fn comparable(rec: &Recording) -> bool {
    let now = Summary::of(rec);
    diagnosis::baseline(rec).is_some_and(|(_, then)| then.services.keys().any(|name| now.services.contains_key(name)))
}

/// The machine in a line.
pub(crate) fn hardware(rec: &Recording) -> String {
    let fact = |name: &str| {
        let facts = rec.get(&catalog::HOST_FACT).ok()?;
        Some(facts.iter().find(|f| f.labels.get("name") == name)?.value.clone())
    };
    let mut host = vec![
        format!("{} CPUs", rec.host.cpus),
        format!("{} of memory", Bytes(rec.host.memory_bytes)),
        format!("kernel {}", rec.host.kernel),
    ];
    for (name, label) in [("cpu.model", ""), ("virtualization", "virtualization: "), ("clocksource", "clock source ")] {
        host.extend(fact(name).map(|value| format!("{label}{value}")));
    }
    host.join(", ")
}

/// What is different from the baseline, in a line: it is the load, the implementation, the configuration, or none of them.
/// Of requests it says so only where they were seen in both.
fn against(compared: &Compared, comparable: bool) -> String {
    let has = |kind: Kind| compared.changes.iter().any(|change| change.kind == kind);
    let names = |kind: Kind| {
        let names: Vec<&str> =
            compared.changes.iter().filter(|change| change.kind == kind).map(|change| change.of.as_str()).collect();
        match names[..] {
            [] => None,
            [one] => Some(one.to_owned()),
            [first, ..] => Some(format!("{first} and {} more", names.len() - 1)),
        }
    };
    let numbers = match (has(Kind::Load), has(Kind::Cost), has(Kind::Latency)) {
        (true, false, _) => "the load is not what it was, what a request costs is",
        (true, true, _) => "neither the load nor what a request costs is what it was",
        (false, true, _) => "it is not just load: a request does not cost what it did",
        (false, false, true) => "it is not just load: requests do not take the time they did, and cost what they did",
        (false, false, false) => "load, cost and time of requests are as they were",
    };
    let numbers = if comparable { numbers } else { "no requests were seen in both, so load and cost are not compared" };
    let mut parts = vec![format!("against {}: {numbers}", compared.with)];
    for (kind, what) in [(Kind::Config, "settings"), (Kind::Software, "programs"), (Kind::Hardware, "hardware")] {
        parts.extend(names(kind).map(|names| format!("changed {what}: {names}")));
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use checks::Test;
    use compare::Change;
    use diagnosis::{Diagnosis, Party, ShareIs};
    use observe::{Host, Ratio, Target, Window};
    use std::time::{Duration, SystemTime};

    #[test]
    fn a_line_says_what_changed_and_what_did_not() {
        let change =
            |kind, of: &str| Change { kind, of: of.into(), before: "a".into(), after: "b".into(), times: None };
        let said = |changes: Vec<Change>| against(&Compared { with: "monday".into(), changes }, true);
        assert_eq!(said(Vec::new()), "against monday: load, cost and time of requests are as they were");
        assert!(
            said(vec![change(Kind::Load, "x"), change(Kind::Latency, "x")]).contains("the load is not what it was")
        );
        assert!(said(vec![change(Kind::Cost, "x")]).contains("not just load"));
        let config =
            said(vec![change(Kind::Config, "vm.swappiness"), change(Kind::Config, "b"), change(Kind::Software, "c")]);
        assert!(config.ends_with("changed settings: vm.swappiness and 1 more; changed programs: c"), "{config}");
        let blind = against(&Compared { with: "monday".into(), changes: Vec::new() }, false);
        assert_eq!(blind, "against monday: no requests were seen in both, so load and cost are not compared");
    }

    fn finding(cause: &str, confidence: Confidence, victim: &str) -> Finding {
        let party = |name: &str| Party { kind: "process".into(), pid: None, name: name.into(), detail: None };
        Finding {
            rank: 1,
            cause: cause.into(),
            confidence,
            share: Ratio(0.5),
            share_is: ShareIs::AtMost,
            victim: party(victim),
            culprit: party("culprit"),
            summary: String::new(),
            evidence: Vec::new(),
            codepath: Vec::new(),
            next: Vec::new(),
            experiment: None,
        }
    }

    fn setting(verdict: Light) -> Test {
        Test {
            id: "memory.x".into(),
            group: "memory".into(),
            verdict,
            why: "x".into(),
            evidence: Vec::new(),
            not_here: false,
            remedy: Vec::new(),
        }
    }

    /// The lines about issue and config.
    fn status(findings: Vec<Finding>, tuning: &[Test], stacks: bool) -> Vec<String> {
        let host = Host { name: "h".into(), kernel: "6".into(), cpus: 2, memory_bytes: 1 };
        let window = Window { start: SystemTime::UNIX_EPOCH, length: Duration::from_secs(10) };
        let mut rec = Recording::new(host, Target::system("h"), window);
        if stacks {
            rec.set(&catalog::CPU_STACKS, Ok(Vec::new()));
        }
        let diagnosis = Diagnosis { findings, ..diagnosis::diagnose(&rec, &[]) };
        let seen = Seen { rec: &rec, tests: &[], issues: &[], tuning, diagnosis: &diagnosis, compared: None };
        let mut lines = known(&seen);
        lines.retain(|line| line.starts_with("it is"));
        lines
    }

    #[test]
    fn the_status_says_only_what_is_true() {
        let settings = [setting(Light::Good), setting(Light::Maybe), setting(Light::Untested)];
        let disk = || finding("disk.saturated", Confidence::Likely, "db");
        let both = status(vec![disk(), finding("cpu.saturated", Confidence::Likely, "web")], &settings, true);
        assert_eq!(
            both,
            [
                "it is a real issue: db loses up to 50 % of its active time over 10 s, measured; it affects web as well",
                "it is not just config: of 2 settings looked at, 1 are to be reviewed, and no measured time rests on one",
            ]
        );
        let issue_alone = |findings, tuning: &[Test], stacks| {
            let lines = status(findings, tuning, stacks);
            assert!(lines.len() == 1 && lines[0].starts_with("it is a real issue"), "{lines:?}");
        };
        issue_alone(vec![disk()], &[], true);
        issue_alone(vec![disk()], &[setting(Light::Untested)], true);
        issue_alone(vec![disk()], &settings, false);
        issue_alone(vec![disk(), finding("config.thp", Confidence::Possible, "db")], &settings, true);
        issue_alone(vec![finding("cpu.throttled", Confidence::Likely, "db")], &settings, true);
        assert!(status(Vec::new(), &settings, true).is_empty(), "no issue, nothing to say of its cause");
        assert!(status(vec![finding("disk.saturated", Confidence::Possible, "db")], &settings, true).is_empty());
    }
}
