//! Judges friday by its JSON alone.

use super::scenario::{Culprit, Scenario};
use crate::results::median;
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// The first finding is the truth.
    Top1,
    /// The second or third is.
    Top3,
    /// None of the first three is.
    Miss,
    /// Nothing is wrong, and friday says so or says nothing definite.
    Quiet,
    /// Nothing is wrong, and friday says that something is.
    FalsePositive,
}

/// Judges what was said against a scenario's truth.
pub fn mark(scenario: &Scenario, said: &Said) -> Mark {
    let (Some(cause), Some(culprit)) = (&scenario.cause, &scenario.culprit) else {
        let definite = |finding: &Finding| ["likely", "confirmed"].contains(&finding.confidence.as_str());
        let alarm = said.conclusion == "found" || said.findings.iter().any(definite);
        return if alarm { Mark::FalsePositive } else { Mark::Quiet };
    };
    let right = |finding: &Finding| finding.cause == *cause && is_culprit(culprit, &finding.culprit);
    match said.findings.iter().take(3).position(right) {
        Some(0) => Mark::Top1,
        Some(_) => Mark::Top3,
        None => Mark::Miss,
    }
}

/// What a judgement does not show.
pub fn note(scenario: &Scenario, said: &Said, mark: Mark) -> String {
    let first = said.findings.first();
    match (mark, scenario.cause.as_ref(), &scenario.culprit) {
        (_, None, _) if !scenario.expect.contains(&said.conclusion) => {
            format!("concluded {}, not {}", said.conclusion, scenario.expect.join(" or "))
        }
        (Mark::Miss | Mark::Top3, Some(cause), Some(culprit)) if first.is_some_and(|f| f.cause == *cause) => {
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

/// The totals over all runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    top1: usize,
    top3: usize,
    faults: usize,
    false_positives: usize,
    healthy: usize,
    seconds: Vec<f64>,
}

impl Totals {
    /// Counts one run that took this long.
    pub fn add(&mut self, mark: Mark, seconds: f64) {
        self.seconds.push(seconds);
        match mark {
            Mark::Quiet | Mark::FalsePositive => self.healthy += 1,
            _ => self.faults += 1,
        }
        self.top1 += usize::from(mark == Mark::Top1);
        self.top3 += usize::from(mark == Mark::Top1 || mark == Mark::Top3);
        self.false_positives += usize::from(mark == Mark::FalsePositive);
    }

    /// The last line.
    pub fn line(&self) -> String {
        let median = median(&self.seconds).unwrap_or(0.0);
        let Totals { top1, top3, faults, false_positives, healthy, .. } = self;
        format!(
            "top1 {top1}/{faults} top3 {top3}/{faults} false-positives {false_positives}/{healthy} median-seconds {median:.1}"
        )
    }
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
    fn totals_make_the_last_line() {
        let mut totals = Totals::default();
        assert_eq!(totals.line(), "top1 0/0 top3 0/0 false-positives 0/0 median-seconds 0.0");
        let marks = [Mark::Top1, Mark::Top3, Mark::Miss, Mark::Quiet, Mark::FalsePositive];
        marks.iter().zip([9.0, 12.0, 11.0, 10.0, 30.0]).for_each(|(mark, seconds)| totals.add(*mark, seconds));
        assert_eq!(totals.line(), "top1 1/3 top3 2/3 false-positives 1/2 median-seconds 11.0");
    }
}
