//! Tuesday: is it a known issue, which components is it, and which is it not?

use crate::Seen;
use checks::{Light, Test};
use diagnosis::{Confidence, Finding};
use std::collections::BTreeSet;

/// The lights in a line, the known issues, the components that remain, and how many are ruled out.
pub(crate) fn known(seen: &Seen) -> Vec<String> {
    let count = |light| seen.tests.iter().filter(|t| t.verdict == light && !t.not_here).count();
    let mut known = Vec::new();
    if count(Light::Good) + count(Light::Maybe) + count(Light::Bad) > 0 {
        known.push(format!(
            "{} lights good, {} maybe, {} bad, {} untested",
            count(Light::Good),
            count(Light::Maybe),
            count(Light::Bad),
            count(Light::Untested)
        ));
    }
    known.extend(issues(seen.issues));
    let mut components: Vec<&str> = seen
        .diagnosis
        .findings
        .iter()
        .filter(|f| f.confidence >= Confidence::Likely)
        .filter_map(|f| f.cause.split('.').next())
        .collect();
    components.dedup();
    components.truncate(4);
    if !components.is_empty() {
        known.push(format!("it is these components: {}", components.join(", ")));
    }
    let not = ruled_out(seen.tests, &seen.diagnosis.findings);
    if !not.is_empty() {
        known.push(format!("it is not: {}", not.join(", ")));
    }
    known
}

/// The components of the board that are ruled out: all that was tested of them is good, and no finding is about them.
fn ruled_out<'a>(tests: &'a [Test], findings: &[Finding]) -> Vec<&'a str> {
    let accused: BTreeSet<&str> = findings.iter().flat_map(|finding| components(&finding.cause)).copied().collect();
    let mut groups: Vec<&str> = Vec::new();
    for test in tests.iter().filter(|test| test.group != "friday") {
        let group = test.group.as_str();
        let of_group = || tests.iter().filter(move |other| other.group == group);
        let good = of_group().any(|test| test.verdict == Light::Good)
            && of_group().all(|test| matches!(test.verdict, Light::Good | Light::Untested));
        if good && !accused.contains(group) && !groups.contains(&group) {
            groups.push(group);
        }
    }
    groups
}

/// The components of the board that a cause is about.
fn components(cause: &str) -> &'static [&'static str] {
    match cause {
        "cpu.throttled" => &["cgroup", "cpu", "sched"],
        "cpu.steal" => &["virtualization", "cpu"],
        "cpu.interrupts" => &["irq", "cpu"],
        "mem.cgroup-limit" | "mem.oom" => &["cgroup", "memory"],
        "mem.major-faults" => &["page cache", "memory", "block devices"],
        "net.dns" => &["dns"],
        "net.drops" => &["network interfaces", "udp", "sockets"],
        "net.ports" => &["sockets", "tcp", "conntrack"],
        "app.failing-calls" | "app.syscall-storm" | "app.short-lived" | "app.crash-loop" => &["processes"],
        "config.clocksource" => &["time"],
        _ => match cause.split('.').next().unwrap_or_default() {
            "cpu" => &["cpu", "sched"],
            "mem" => &["memory"],
            "disk" => &["block devices"],
            "fs" => &["file systems", "block devices"],
            "cache" => &["page cache", "block devices"],
            "net" => &["tcp", "network interfaces"],
            "lock" => &["locks"],
            "limits" => &["limits", "processes"],
            "config" => &["kernel"],
            "gpu" => &["gpu"],
            _ => &[],
        },
    }
}

/// Which known issues it is, or that it is none of those that could be tested.
fn issues(issues: &[Test]) -> Option<String> {
    let of = |light: Light| issues.iter().filter(move |test| test.verdict == light).map(|test| test.id.as_str());
    let seen: Vec<&str> = of(Light::Bad).collect();
    let maybe: Vec<&str> = of(Light::Maybe).collect();
    let tested = issues.iter().filter(|test| test.verdict != Light::Untested).count();
    match (seen.is_empty(), maybe.is_empty()) {
        (false, _) => Some(format!("it is a known issue: {}", seen.join(", "))),
        (true, false) => Some(format!("it may be a known issue: {}", maybe.join(", "))),
        (true, true) if tested > 0 => Some(format!("it is none of {tested} known issues")),
        (true, true) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(id: &str, verdict: Light) -> Test {
        Test {
            id: id.into(),
            group: String::new(),
            verdict,
            why: "w".into(),
            evidence: Vec::new(),
            not_here: false,
            remedy: Vec::new(),
        }
    }

    #[test]
    fn what_is_accused_or_not_all_good_is_not_ruled_out() {
        let of = |group: &str, verdict| Test { group: group.into(), ..test("x", verdict) };
        let tests = [
            of("cpu", Light::Good),
            of("sched", Light::Good),
            of("memory", Light::Good),
            of("memory", Light::Untested),
            of("tcp", Light::Maybe),
            of("dns", Light::Untested),
            of("friday", Light::Good),
        ];
        assert_eq!(ruled_out(&tests, &[]), ["cpu", "sched", "memory"]);
        let nowhere = |cause: &&str| cause.starts_with("app.") || cause.starts_with("load.");
        for cause in diagnosis::causes().filter(|cause| !nowhere(cause)) {
            let groups = components(cause);
            assert!(!groups.is_empty() && groups.iter().all(|group| checks::GROUPS.contains(group)), "{cause}");
        }
    }

    #[test]
    fn a_known_issue_is_named_and_what_was_not_tested_is_not_ruled_out() {
        let good = || test("a", Light::Good);
        assert_eq!(issues(&[]), None);
        assert_eq!(issues(&[test("a", Light::Untested)]), None);
        assert_eq!(issues(&[good(), test("b", Light::Untested)]).unwrap(), "it is none of 1 known issues");
        assert_eq!(issues(&[good(), test("b", Light::Maybe)]).unwrap(), "it may be a known issue: b");
        assert_eq!(issues(&[test("c", Light::Bad), test("b", Light::Maybe)]).unwrap(), "it is a known issue: c");
    }
}
