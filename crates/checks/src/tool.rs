//! A health tool, however it is made: code of ours, a file of ours or of others, or a program of others.

use crate::{Check, Light, Rule, RuleError, Test, verdict::Evidence};
use observe::{Absent, Recording, catalog};
use serde::Deserialize;
use std::{collections::BTreeSet, sync::OnceLock};

/// The groups of the board, in its order. Tools of others may bring their own; those come last.
pub const GROUPS: &[&str] = &[
    "cpu",
    "sched",
    "irq",
    "memory",
    "page cache",
    "cgroup",
    "block devices",
    "file systems",
    "network interfaces",
    "tcp",
    "udp",
    "sockets",
    "dns",
    "conntrack",
    "locks",
    "limits",
    "processes",
    "kernel",
    "virtualization",
    "time",
    "zfs",
    "dctcp",
    "gpu",
    "friday",
];

/// A health tool that friday brings.
pub enum Tool<'a> {
    /// Code.
    Code(&'static Check),
    /// A file.
    Rule(&'a Rule),
}

impl Tool<'_> {
    /// Stable id.
    pub fn id(&self) -> &str {
        match self {
            Tool::Code(check) => check.id,
            Tool::Rule(rule) => &rule.id,
        }
    }

    /// Where it stands on the board.
    pub fn group(&self) -> &str {
        match self {
            Tool::Code(check) => check.group,
            Tool::Rule(rule) => &rule.group,
        }
    }

    /// The question, as people ask it.
    pub fn question(&self) -> &str {
        match self {
            Tool::Code(check) => check.question,
            Tool::Rule(rule) => &rule.question,
        }
    }

    /// What is measured, why it matters, when it misleads and how to confirm: Markdown.
    pub fn about(&self) -> Vec<&str> {
        match self {
            Tool::Code(check) => check.about().collect(),
            Tool::Rule(rule) => rule.about.iter().map(String::as_str).collect(),
        }
    }

    /// The experiment that would settle it, where there is one.
    pub fn experiment(&self) -> Option<&str> {
        match self {
            Tool::Code(_) => None,
            Tool::Rule(rule) => rule.experiment.as_deref(),
        }
    }

    /// Who published the thresholds; code says it beside each of them.
    pub fn sources(&self) -> &[String] {
        match self {
            Tool::Code(_) => &[],
            Tool::Rule(rule) => &rule.sources,
        }
    }

    /// Judges a recording.
    pub fn run(&self, rec: &Recording) -> Test {
        match self {
            Tool::Code(check) => check.run(rec),
            Tool::Rule(rule) => rule.run(rec),
        }
    }
}

/// The files among the tools that friday brings. A test reads all of them, so none is refused.
pub(crate) fn read(files: &[(&str, &str)]) -> Vec<Rule> {
    files.iter().filter_map(|(name, text)| Rule::parse(name, text).ok()).collect()
}

/// The health tools that friday brings as files.
pub fn rules() -> &'static [Rule] {
    static RULES: OnceLock<Vec<Rule>> = OnceLock::new();
    RULES.get_or_init(|| read(crate::rules::ALL))
}

/// The checks of static tuning that friday brings.
pub fn settings() -> &'static [Rule] {
    static SETTINGS: OnceLock<Vec<Rule>> = OnceLock::new();
    SETTINGS.get_or_init(|| read(crate::rules::STATIC))
}

/// The checks of the preparation that friday brings.
pub fn preparation() -> &'static [Rule] {
    static PREPARATION: OnceLock<Vec<Rule>> = OnceLock::new();
    PREPARATION.get_or_init(|| read(crate::rules::PREPARE))
}

/// Everything that the preparation asks of a recording by itself: files, and code.
pub fn preparation_tools() -> Vec<Tool<'static>> {
    let mut tools: Vec<Tool> = preparation().iter().map(Tool::Rule).collect();
    tools.push(Tool::Code(&crate::diagram::complete::CHECK));
    tools
}

/// The signatures of known issues that friday brings.
pub fn checklist() -> &'static [Rule] {
    static CHECKLIST: OnceLock<Vec<Rule>> = OnceLock::new();
    CHECKLIST.get_or_init(|| read(crate::rules::CHECKLIST))
}

/// Every health tool that friday brings, in the order of the board.
pub fn tools() -> Vec<Tool<'static>> {
    let mut tools: Vec<Tool> = crate::all().iter().map(|check| Tool::Code(check)).collect();
    tools.extend(rules().iter().map(Tool::Rule));
    tools.sort_by_key(|tool| rank(tool.group()));
    tools
}

/// The place of a group on the board.
pub fn rank(group: &str) -> usize {
    GROUPS.iter().position(|known| *known == group).unwrap_or(GROUPS.len())
}

/// What a program says: the verdict of `friday-health-NAME`.
#[derive(Deserialize)]
struct Said {
    schema: String,
    id: Option<String>,
    group: Option<String>,
    verdict: Light,
    why: String,
    #[serde(default)]
    evidence: Vec<Evidence>,
}

/// The tools of others that a recording holds: files with what was read for them, and what programs said. Those that are
/// broken are untested, with what is wrong.
pub fn plugged_in(rec: &Recording) -> Vec<Test> {
    let own: BTreeSet<&str> = crate::all().iter().map(|check| check.id).collect();
    let mut tests = Vec::new();
    for fact in rec.get(&catalog::TOOL_RULE).into_iter().flatten() {
        let name = fact.labels.get("tool");
        tests.push(match Rule::parse(&fact.source, &fact.value) {
            Ok(rule) if own.contains(rule.id.as_str()) => {
                broken(name, format!("{}: the id {} is friday's own", fact.source, rule.id))
            }
            Ok(rule) => rule.run(rec),
            Err(error) => broken(name, error.to_string()),
        });
    }
    for fact in rec.get(&catalog::TOOL_VERDICT).into_iter().flatten() {
        let name = fact.labels.get("tool");
        tests.push(said(name, &fact.value).unwrap_or_else(|why| broken(name, format!("{}: {why}", fact.source))));
    }
    for fact in rec.get(&catalog::TOOL_ABSENT).into_iter().flatten().filter(|fact| fact.labels.get("input").is_empty())
    {
        tests.push(broken(fact.labels.get("tool"), fact.value.clone()));
    }
    tests
}

/// A program's verdict, held to the contract.
fn said(name: &str, json: &str) -> Result<Test, String> {
    let said: Said = serde_json::from_str(json).map_err(|error| format!("its verdict cannot be read: {error}"))?;
    if said.schema != crate::rule::SCHEMA {
        return Err(format!("its schema is `{}`, this friday reads `{}`", said.schema, crate::rule::SCHEMA));
    }
    if said.why.trim().is_empty() {
        return Err("its verdict has no reason".to_owned());
    }
    Ok(Test {
        id: said.id.unwrap_or_else(|| name.to_owned()),
        group: said.group.unwrap_or_else(|| "other".to_owned()),
        verdict: said.verdict,
        why: said.why,
        evidence: said.evidence.into_iter().filter(|evidence| evidence.value.is_finite()).collect(),
        not_here: false,
        remedy: Vec::new(),
    })
}

fn broken(name: &str, why: String) -> Test {
    Test {
        id: name.to_owned(),
        group: "other".to_owned(),
        verdict: Light::Untested,
        why,
        evidence: Vec::new(),
        not_here: false,
        remedy: Vec::new(),
    }
}

/// Where the checklist's signatures stand in a list of tests.
pub const KNOWN_ISSUES: &str = "known issues";

/// The groups of static tuning, in the order in which they are shown.
pub const STATIC_GROUPS: &[&str] =
    &["cpu", "memory", "storage", "network", "kernel", "limits", "virtualization", "past errors", "versions"];

/// The groups of the preparation, in the order in which they are shown.
pub const PREPARE_GROUPS: &[&str] = &["crisis tools", "stacks and symbols", "tracing", "access", "diagram", "source"];

/// The preparation, judged, as far as the recording is of one or holds what a part of it needs.
pub fn prepared(rec: &Recording) -> Vec<Test> {
    let tried = rec.get(&catalog::TRACER).is_ok();
    let drawn = !matches!(rec.get(&catalog::TOPOLOGY), Err(Absent::NotCollected(_)));
    let there = |tool: &Tool| if matches!(tool, Tool::Rule(_)) { tried } else { drawn };
    let mut tests = if tried { crate::crisis::tests(rec) } else { Vec::new() };
    tests.extend(preparation_tools().iter().filter(|tool| there(tool)).map(|tool| tool.run(rec)));
    tests
}

/// Static performance tuning: the system without its load, judged.
pub fn static_tuning(rec: &Recording) -> Vec<Test> {
    let mut tests: Vec<Test> = settings().iter().map(|rule| rule.run(rec)).collect();
    let rank = |test: &Test| STATIC_GROUPS.iter().position(|group| *group == test.group);
    tests.sort_by_key(|test| rank(test).unwrap_or(STATIC_GROUPS.len()));
    tests
}

/// The checklist's signatures, judged.
pub fn known_issues(rec: &Recording) -> Vec<Test> {
    checklist().iter().map(|rule| Test { group: KNOWN_ISSUES.to_owned(), ..rule.run(rec) }).collect()
}

/// Reads a file of a health tool, to say what is wrong with it.
///
/// # Errors
/// What is wrong, and where.
pub fn lint(file: &str, text: &str) -> Result<Rule, RuleError> {
    Rule::parse(file, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Machine;
    use observe::{Fact, Labels};

    fn fact(tool: &str, source: &str, value: &str) -> Fact {
        Fact { labels: Labels::new([("tool", tool.into())]), value: value.into(), source: source.into() }
    }

    #[test]
    fn every_file_that_friday_brings_can_be_read_and_has_a_place_on_the_board() {
        for (files, groups) in [
            (crate::rules::ALL, GROUPS),
            (crate::rules::STATIC, STATIC_GROUPS),
            (crate::rules::PREPARE, PREPARE_GROUPS),
        ] {
            for (name, text) in files {
                let rule = Rule::parse(name, text).unwrap_or_else(|error| panic!("{error}"));
                assert!(groups.contains(&rule.group.as_str()), "{name}: {}", rule.group);
                assert_eq!(name.trim_end_matches(".toml"), rule.id, "{name}");
                for source in &rule.sources {
                    assert!(source.starts_with("https://") || source.starts_with("ours: "), "{name}: {source}");
                }
            }
        }
        let mut ids: Vec<String> = tools().iter().map(|tool| tool.id().to_owned()).collect();
        ids.extend(settings().iter().chain(preparation()).map(|rule| rule.id.clone()));
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all);
        assert!(all >= 33, "{all} health tools");
        for tool in tools() {
            assert!(tool.about().len() >= 6 && !tool.question().is_empty(), "{}", tool.id());
        }
    }

    #[test]
    fn a_broken_tool_of_others_is_untested_and_says_why() {
        let mut machine = Machine::new();
        machine.rec.push(&catalog::TOOL_RULE, fact("x", "/etc/friday/health.d/x.toml", "schema = 1"));
        machine.rec.push(&catalog::TOOL_VERDICT, fact("y", "/usr/bin/friday-health-y", "{}"));
        machine.rec.push(
            &catalog::TOOL_VERDICT,
            fact("z", "/usr/bin/friday-health-z", r#"{"schema": "friday.health/9", "verdict": "good", "why": "x"}"#),
        );
        machine.rec.push(&catalog::TOOL_ABSENT, fact("w", "/usr/bin/friday-health-w", "killed after 5 s"));
        let tests = plugged_in(&machine.rec);
        assert_eq!(tests.len(), 4);
        for (test, why) in tests.iter().zip(["x.toml:1:", "schema", "friday.health/9", "killed"]) {
            assert!(test.verdict == Light::Untested && test.why.contains(why), "{test:?}");
        }
    }

    #[test]
    fn a_program_of_others_is_heard() {
        let mut machine = Machine::new();
        let json = r#"{"schema": "friday.health/1", "id": "shop.queue", "group": "shop", "verdict": "maybe", "why": "9 wait",
            "evidence": [{"source": "queue", "value": 9, "unit": "{job}", "threshold": "> 5"}]}"#;
        machine.rec.push(&catalog::TOOL_VERDICT, fact("queue", "friday-health-queue", json));
        let tests = plugged_in(&machine.rec);
        assert_eq!(
            (tests[0].id.as_str(), tests[0].verdict, tests[0].evidence[0].value),
            ("shop.queue", Light::Maybe, 9.0)
        );
    }
}
