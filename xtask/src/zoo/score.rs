//! Judges friday by its JSON alone.

use super::board::Day;
use super::scenario::{Culprit, Scenario};
use serde::{Deserialize, Serialize};

/// The part of a case that is judged. What is not there is taken for nothing said.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Said {
    /// What the run ends with.
    #[serde(default)]
    pub conclusion: String,
    /// Ranked causes.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// The lights, by day.
    #[serde(default)]
    pub days: Vec<Day>,
    /// What the looking cost.
    #[serde(default)]
    pub overhead: Overhead,
}

/// A cause as friday gave it.
#[derive(Clone, Debug, Deserialize)]
pub struct Finding {
    /// Its id.
    pub cause: String,
    /// `possible`, `likely` or `confirmed`.
    #[serde(default)]
    pub confidence: String,
    /// Part of the victim's time.
    pub share: Option<f64>,
    /// Who did it.
    #[serde(default)]
    pub culprit: Party,
}

/// A culprit as friday gave it.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Party {
    /// What it is.
    #[serde(default)]
    pub kind: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// What else identifies it.
    pub detail: Option<String>,
}

/// What friday cost.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Overhead {
    /// Percent of the machine.
    pub cpu_percent: Option<f64>,
}

/// The judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// The first finding is the truth.
    Top1,
    /// The second or third is; of two faults, both are among the first four findings, and neither comes first.
    Top3,
    /// The first finding is one of two faults, and the other is not among the first four.
    Half,
    /// None of the first three is.
    Miss,
    /// Nothing is wrong, and friday says so or says nothing definite.
    Quiet,
    /// Nothing is wrong, and friday says that something is.
    FalsePositive,
}

/// Judges what was said against a scenario's truth.
pub fn mark(scenario: &Scenario, said: &Said) -> Mark {
    let places: Vec<Option<usize>> = places(scenario, said).map(|(_, place)| place).collect();
    if places.is_empty() {
        let definite = |finding: &Finding| ["likely", "confirmed"].contains(&finding.confidence.as_str());
        let alarm = said.conclusion == "found" || said.findings.iter().any(definite);
        return if alarm { Mark::FalsePositive } else { Mark::Quiet };
    }
    match (places.contains(&Some(0)), places.iter().all(Option::is_some)) {
        (true, true) => Mark::Top1,
        (false, true) => Mark::Top3,
        (true, false) => Mark::Half,
        (false, false) => Mark::Miss,
    }
}

/// Each true cause, and where it stands among the first findings: three of them, and one more for each further fault.
fn places<'a>(scenario: &'a Scenario, said: &'a Said) -> impl Iterator<Item = (&'a str, Option<usize>)> {
    let first = &said.findings[..said.findings.len().min(3 + scenario.also.len())];
    scenario.faults().map(move |(cause, culprit)| {
        let right = |finding: &Finding| finding.cause == cause && is_culprit(culprit, &finding.culprit);
        (cause, first.iter().position(right))
    })
}

/// What a judgement does not show.
pub fn note(scenario: &Scenario, said: &Said, mark: Mark) -> String {
    let (Some(cause), Some(culprit)) = (&scenario.cause, &scenario.culprit) else {
        let right = scenario.expect.contains(&said.conclusion);
        return if right {
            String::new()
        } else {
            format!("concluded {}, not {}", said.conclusion, scenario.expect.join(" or "))
        };
    };
    if !scenario.also.is_empty() {
        let missing: Vec<&str> =
            places(scenario, said).filter(|(_, at)| at.is_none()).map(|(cause, _)| cause).collect();
        return if missing.is_empty() { String::new() } else { format!("missing: {}", missing.join(", ")) };
    }
    match said.findings.first() {
        Some(first) if mark != Mark::Top1 && first.cause == *cause => {
            format!("right cause, culprit is {} {}", culprit.kind.join("/"), culprit.any.join("/"))
        }
        _ => String::new(),
    }
}

fn is_culprit(truth: &Culprit, said: &Party) -> bool {
    let kind = said.kind.to_lowercase();
    let names = [said.name.to_lowercase(), said.detail.clone().unwrap_or_default().to_lowercase()];
    let named = |word: &String| names.iter().any(|name| begins_a_word(name, &word.to_lowercase()));
    truth.kind.iter().any(|part| kind.contains(&part.to_lowercase())) && truth.any.iter().any(named)
}

/// Whether the word occurs in the text with no letter or digit before it.
fn begins_a_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| !text[..at].ends_with(char::is_alphanumeric))
}

#[cfg(test)]
mod tests {
    use super::*;

    const THROTTLED: &str = r#"{
      "schema": "friday.case/1", "case": "/tmp/case", "conclusion": "found", "headline": "…",
      "host": { "name": "h", "kernel": "6.18", "cpus": 2, "memory_bytes": 1 },
      "findings": [
        { "rank": 1, "cause": "cpu.throttled", "confidence": "likely", "share": 0.62, "share_is": "at_most",
          "victim": { "kind": "process", "pid": 123, "name": "orderd" },
          "culprit": { "kind": "cgroup", "name": "/web", "pid": null, "detail": "cpu.cfs_quota_us 40000 of 100000" },
          "summary": "…", "evidence": [], "codepath": [], "next": [], "experiment": null },
        { "rank": 2, "cause": "cpu.saturated", "confidence": "possible", "share": 0.1, "share_is": "at_most",
          "victim": { "kind": "process", "pid": 123, "name": "orderd" },
          "culprit": { "kind": "process", "name": "reportgen", "pid": 7 } }
      ],
      "overhead": { "cpu_percent": 0.4, "rss_bytes": 0, "lost_events": 0, "programs": [] }
    }"#;

    fn fault(cause: &str, kind: &str, any: &str) -> Scenario {
        let text = format!(
            "about = 'x'\ntarget = 'system'\ncause = '{cause}'\nculprit = {{ kind = ['{kind}'], any = ['{any}'] }}"
        );
        toml::from_str(&text).unwrap()
    }

    fn healthy() -> Scenario {
        toml::from_str("about = 'x'\ntarget = 'system'\nexpect = ['healthy', 'idle']").unwrap()
    }

    fn said(text: &str) -> Said {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn rank_one_needs_cause_and_culprit() {
        let said = said(THROTTLED);
        assert_eq!(mark(&fault("cpu.throttled", "cgroup", "web"), &said), Mark::Top1);
        assert_eq!(mark(&fault("cpu.throttled", "cgroup", "40000"), &said), Mark::Top1);
        assert_eq!(mark(&fault("cpu.saturated", "process", "reportgen"), &said), Mark::Top3);
        let other = fault("cpu.throttled", "cgroup", "batch");
        assert_eq!(mark(&other, &said), Mark::Miss);
        assert_eq!(note(&other, &said, Mark::Miss), "right cause, culprit is cgroup batch");
        assert_eq!(mark(&fault("cpu.throttled", "process", "web"), &said), Mark::Miss);
        assert_eq!(mark(&fault("cpu.throttled", "cgroup", "web"), &Said::default()), Mark::Miss);
    }

    #[test]
    fn a_word_is_matched_from_its_start() {
        assert!(begins_a_word("__x64_sys_read", "read"));
        assert!(begins_a_word("reading", "read"));
        assert!(!begins_a_word("pread64", "read"));
        assert!(!begins_a_word("größerread", "read"));
    }

    #[test]
    fn healthy_tolerates_what_is_only_possible() {
        let quiet = said(r#"{ "conclusion": "healthy", "findings": [] }"#);
        assert_eq!((mark(&healthy(), &quiet), note(&healthy(), &quiet, Mark::Quiet)), (Mark::Quiet, String::new()));
        let maybe =
            said(r#"{ "conclusion": "suspected", "findings": [{ "cause": "a.b", "confidence": "possible" }] }"#);
        assert_eq!(mark(&healthy(), &maybe), Mark::Quiet);
        assert_eq!(note(&healthy(), &maybe, Mark::Quiet), "concluded suspected, not healthy or idle");
        assert_eq!(mark(&healthy(), &said(THROTTLED)), Mark::FalsePositive);
        let odd = said(r#"{ "conclusion": "healthy", "findings": [{ "cause": "a.b", "confidence": "likely" }] }"#);
        assert_eq!(mark(&healthy(), &odd), Mark::FalsePositive);
    }

    #[test]
    fn of_a_pair_both_are_wanted() {
        let pair = |first: &str, second: &str| Scenario {
            also: vec![
                toml::from_str(&format!("cause = '{second}'\nculprit = {{ kind = [''], any = [''] }}")).unwrap(),
            ],
            ..fault(first, "", "")
        };
        let judge = |scenario: &Scenario, causes: &[&str]| {
            let findings: Vec<String> = causes.iter().map(|cause| format!(r#"{{ "cause": "{cause}" }}"#)).collect();
            let said = said(&format!(r#"{{ "conclusion": "found", "findings": [{}] }}"#, findings.join(",")));
            let mark = mark(scenario, &said);
            (mark, note(scenario, &said, mark))
        };
        let both = pair("cpu.saturated", "app.sleeps");
        assert_eq!(judge(&both, &["app.sleeps", "a", "b", "cpu.saturated"]), (Mark::Top1, String::new()));
        assert_eq!(judge(&both, &["a", "app.sleeps", "cpu.saturated"]), (Mark::Top3, String::new()));
        assert_eq!(judge(&both, &["cpu.saturated", "a"]), (Mark::Half, "missing: app.sleeps".into()));
        assert_eq!(judge(&both, &["a", "app.sleeps"]), (Mark::Miss, "missing: cpu.saturated".into()));
    }
}
