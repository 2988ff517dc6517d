//! Monday: how large is the issue, and on what system?

use crate::Seen;
use case::Compared;
use compare::Kind;
use diagnosis::Confidence;
use observe::{Bytes, catalog};

/// The magnitude, where somebody's time is known to be lost, and the system's facts.
pub(crate) fn known(seen: &Seen) -> Vec<String> {
    let rec = seen.rec;
    let mut known = Vec::new();
    if let Some(worst) = seen.diagnosis.findings.iter().find(|f| f.confidence >= Confidence::Likely) {
        known.push(format!(
            "it is a real issue: {} loses up to {} of its active time over {:.0} s, measured",
            worst.victim.name,
            worst.share,
            rec.window.length.as_secs_f64()
        ));
    }
    known.extend(seen.compared.map(against));
    let fact = |name: &str| {
        let facts = rec.get(&catalog::HOST_FACT).ok()?;
        Some(facts.iter().find(|f| f.labels.get("name") == name)?.value.clone())
    };
    let mut host = vec![
        format!("{} CPUs", rec.host.cpus),
        format!("{} of memory", Bytes(rec.host.memory_bytes)),
        format!("kernel {}", rec.host.kernel),
    ];
    for (name, label) in [("cpu.model", ""), ("virtualization", "on "), ("clocksource", "clock source ")] {
        host.extend(fact(name).map(|value| format!("{label}{value}")));
    }
    known.push(format!("system: {}", host.join(", ")));
    known
}

/// What is different from the baseline, in a line: it is the load, the implementation, the configuration, or none of them.
fn against(compared: &Compared) -> String {
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
    let mut parts = vec![format!("against {}: {numbers}", compared.with)];
    for (kind, what) in [(Kind::Config, "settings"), (Kind::Software, "programs"), (Kind::Hardware, "hardware")] {
        parts.extend(names(kind).map(|names| format!("changed {what}: {names}")));
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use compare::Change;

    #[test]
    fn a_line_says_what_changed_and_what_did_not() {
        let change =
            |kind, of: &str| Change { kind, of: of.into(), before: "a".into(), after: "b".into(), times: None };
        let said = |changes: Vec<Change>| against(&Compared { with: "monday".into(), changes });
        assert_eq!(said(Vec::new()), "against monday: load, cost and time of requests are as they were");
        assert!(
            said(vec![change(Kind::Load, "x"), change(Kind::Latency, "x")]).contains("the load is not what it was")
        );
        assert!(said(vec![change(Kind::Cost, "x")]).contains("not just load"));
        let config =
            said(vec![change(Kind::Config, "vm.swappiness"), change(Kind::Config, "b"), change(Kind::Software, "c")]);
        assert!(config.ends_with("changed settings: vm.swappiness and 1 more; changed programs: c"), "{config}");
    }
}
