//! Tuesday: is it a known issue, which components is it, and which is it not?

use crate::Seen;
use checks::{Light, Test};
use diagnosis::Confidence;

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
    let ruled_out = seen.diagnosis.eliminated.len();
    if ruled_out > 0 {
        known.push(format!("{ruled_out} components ruled out, each with its number"));
    }
    known
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
        Test { id: id.into(), group: String::new(), verdict, why: "w".into(), evidence: Vec::new(), not_here: false }
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
