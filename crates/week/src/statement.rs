//! The problem statement: the talk's six questions, answered by the data as far as it can, beside what people said.

mod changes;
mod given;
mod others;

pub use given::{Given, StatementError};

use crate::{Seen, monday, requests};
use case::Question;
use checks::Light;
use compare::Kind;
use diagnosis::{Conclusion, Confidence, Finding};
use observe::{Absent, Recording, TargetKind, catalog};
use std::time::Duration;

/// The schema of a statement's file.
pub const SCHEMA: &str = "friday.statement/1";

/// Every question: its id, and how it is asked.
// Brendan Gregg, "Systems Performance", 2nd edition, 2.5.5: Problem Statement.
pub const QUESTIONS: [(&str, &str); 6] = [
    ("problem", "What makes you think there is a performance problem?"),
    ("performed_well", "Has this system ever performed well?"),
    ("changed", "What changed recently? Software? Hardware? Load?"),
    ("latency", "Can the problem be expressed in terms of latency or runtime?"),
    ("others", "Does the problem affect other people or applications?"),
    ("environment", "What is the environment: software, hardware, versions, configuration?"),
];

/// ours: of a list, so many are named.
const NAMED: usize = 5;

/// What the data says to a question, and what it cannot say.
#[derive(Default)]
struct Answer {
    measured: Vec<String>,
    unknown: Vec<String>,
}

/// All questions with their answers.
pub(crate) fn statement(seen: &Seen) -> Vec<Question> {
    let said = seen.rec.get(&catalog::STATEMENT).into_iter().flatten();
    let said: Vec<(&str, &str)> = said.map(|fact| (fact.labels.get("question"), fact.value.as_str())).collect();
    QUESTIONS
        .into_iter()
        .map(|(id, asks)| {
            let answer = match id {
                "problem" => problem(seen),
                "performed_well" => performed_well(seen),
                "changed" => changes::changed(seen.rec, seen.compared),
                "latency" => latency(seen),
                "others" => others::others(seen),
                _ => environment(seen.rec),
            };
            let said = said.iter().find(|(question, _)| *question == id).map_or("", |(_, text)| text);
            Question {
                id: id.to_owned(),
                asks: asks.to_owned(),
                said: said.to_owned(),
                measured: answer.measured,
                unknown: answer.unknown,
            }
        })
        .collect()
}

/// Whose time is measured to be lost.
fn real<'a>(seen: &'a Seen) -> impl Iterator<Item = &'a Finding> {
    seen.diagnosis.findings.iter().filter(|finding| finding.confidence >= Confidence::Likely)
}

fn problem(seen: &Seen) -> Answer {
    let mut answer = Answer::default();
    answer.measured.extend(real(seen).take(2).map(|finding| finding.summary.clone()));
    // Where all that was done is accounted for and nobody suffers, a light alone is no problem.
    let well = matches!(seen.diagnosis.conclusion, Conclusion::Healthy | Conclusion::Idle);
    if answer.measured.is_empty() && !well {
        let bad = seen.tests.iter().chain(seen.tuning).filter(|test| test.verdict == Light::Bad);
        answer.measured.extend(bad.take(NAMED).map(|test| format!("{}: {}", test.id, test.why)));
    }
    if answer.measured.is_empty() {
        answer.unknown.push(format!(
            "in these {} no time was measured that somebody loses for sure",
            length(seen.rec.window.length)
        ));
    }
    answer
}

fn performed_well(seen: &Seen) -> Answer {
    let mut answer = Answer::default();
    let Some(compared) = seen.compared else {
        answer.unknown.push("there is no baseline: `friday baseline` keeps one while all is well".to_owned());
        return answer;
    };
    let slower = compared.changes.iter().filter(|change| matches!(change.kind, Kind::Latency | Kind::Cost));
    answer
        .measured
        .extend(slower.take(NAMED).map(|change| format!("{}: {}, now {}", change.of, change.before, change.after)));
    if !answer.measured.is_empty() {
        answer.measured.insert(0, format!("it was looked at while all was well ({})", compared.with));
    } else if monday::comparable(seen.rec) {
        answer.measured.push(format!("requests cost and take what they did when all was well ({})", compared.with));
    } else {
        answer.unknown.push(format!("no requests were seen both here and in the baseline {}", compared.with));
    }
    answer
}

fn latency(seen: &Seen) -> Answer {
    let mut answer = Answer::default();
    let rec = seen.rec;
    for finding in real(seen).take(2) {
        let (victim, share) = (&finding.victim.name, finding.share);
        answer.measured.push(format!("{victim}: up to {share} of its active time is lost to {}", finding.cause));
    }
    let services = requests::services(rec);
    answer.measured.extend(services.iter().filter(|row| row.count > 0).take(NAMED).map(|row| {
        let place = if row.path.is_empty() { row.port.to_string() } else { row.path.clone() };
        let (p50, p99) = (time(row.p50_s), time(row.p99_s));
        format!("{} {place}: {} requests, half of them within {p50}, 99 % within {p99}", row.service, row.count)
    }));
    if rec.target.kind == TargetKind::Command {
        let life = rec.target.pid.and_then(|pid| rec.processes.get(&pid)?.life);
        answer.measured.push(match life {
            Some(life) => format!("the command took {}", length(life)),
            None => format!("the command had run for {} when the window ended", length(rec.window.length)),
        });
    }
    if services.is_empty() {
        answer.unknown.push(match rec.get(&catalog::REQUESTS) {
            Ok(_) => "no requests were seen".to_owned(),
            Err(Absent::NotCollected(_)) => "requests were not followed here: `friday run` follows them".to_owned(),
            Err(why) => format!("requests were not followed: {why}"),
        });
    }
    answer
}

/// What the machine is, in a few lines.
fn environment(rec: &Recording) -> Answer {
    let mut answer = Answer { measured: vec![monday::hardware(rec)], unknown: Vec::new() };
    let facts = match rec.get(&catalog::HOST_FACT) {
        Ok(facts) => facts,
        Err(why) => {
            answer.unknown.push(format!("facts of the machine: {why}"));
            return answer;
        }
    };
    let told = |names: &[(&str, &str)]| {
        let known = names.iter().filter_map(|(name, label)| {
            let fact = facts.iter().find(|fact| fact.labels.get("name") == *name && !fact.value.is_empty())?;
            Some(format!("{label} {}", fact.value).trim().to_owned())
        });
        known.collect::<Vec<_>>().join(", ")
    };
    let software = told(&[("os", ""), ("kernel.release", "kernel"), ("cgroup.version", "control groups of version")]);
    let config = told(&[
        ("cpu.governor", "governor"),
        ("thp", "transparent huge pages"),
        ("swap", "swap"),
        ("vm.swappiness", "swappiness"),
        ("disk.scheduler", "I/O scheduler"),
    ]);
    answer.measured.extend(
        [("software", software), ("configuration", config)]
            .into_iter()
            .filter_map(|(what, told)| (!told.is_empty()).then(|| format!("{what}: {told}"))),
    );
    let target = rec.target.pid.and_then(|pid| rec.processes.get(&pid));
    answer.measured.extend(target.filter(|process| !process.exe.is_empty()).map(|process| {
        let place = if process.container.is_empty() { String::new() } else { format!(" in {}", process.container) };
        format!("target: {}{place}", process.exe)
    }));
    answer
}

/// A time as people say it.
fn length(time: Duration) -> String {
    self::time(time.as_secs_f64())
}

fn time(seconds: f64) -> String {
    match seconds {
        s if s >= 10.0 => format!("{s:.0} s"),
        s if s >= 1.0 => format!("{s:.1} s"),
        s if s >= 1e-3 => format!("{:.1} ms", s * 1e3),
        s => format!("{:.0} µs", s * 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conclude;
    use observe::{Fact, Host, Labels, Target, Window};
    use std::time::SystemTime;

    pub(super) fn recording() -> Recording {
        let host = Host { name: "h".into(), kernel: "6.18".into(), cpus: 2, memory_bytes: 8 << 30 };
        let window = Window {
            start: SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_219_200),
            length: Duration::from_secs(10),
        };
        Recording::new(host, Target::system("h"), window)
    }

    pub(super) fn question(rec: &Recording, id: &str) -> Question {
        conclude(rec, "case").statement.into_iter().find(|question| question.id == id).unwrap()
    }

    #[test]
    fn every_question_is_there_and_nothing_is_made_up() {
        let mut rec = recording();
        rec.set(&catalog::REQUESTS, Err(Absent::NoPermission("run as root".into())));
        let all = conclude(&rec, "case").statement;
        assert_eq!(all.iter().map(|q| q.id.as_str()).collect::<Vec<_>>(), QUESTIONS.map(|(id, _)| id));
        for question in &all {
            let only_host =
                question.id == "environment" && question.measured == ["2 CPUs, 8.0 GiB of memory, kernel 6.18"];
            assert!(only_host || question.measured.is_empty(), "{question:?}");
            assert!(!question.unknown.is_empty() && question.said.is_empty(), "{question:?}");
        }
        assert!(question(&rec, "latency").unknown[0].contains("run as root"));
        assert!(question(&rec, "performed_well").unknown[0].contains("friday baseline"));
    }

    #[test]
    fn what_people_say_stands_beside_what_was_measured() {
        let mut rec = recording();
        let given =
            Given::parse("s.toml", "schema = \"friday.statement/1\"\nproblem = \"checkout takes 3 s\"\n").unwrap();
        given.record(&mut rec);
        assert_eq!(question(&rec, "problem").said, "checkout takes 3 s");
        assert_eq!(question(&rec, "others").said, "");
    }

    #[test]
    fn the_environment_is_facts() {
        let mut rec = recording();
        for (name, value) in [("os", "Debian 12"), ("kernel.release", "6.18"), ("thp", "always"), ("swap", "none")] {
            let labels = Labels::new([("name", name.to_owned())]);
            rec.push(&catalog::HOST_FACT, Fact { labels, value: value.into(), source: "x".into() });
        }
        let told = question(&rec, "environment");
        assert_eq!(told.measured[1], "software: Debian 12, kernel 6.18");
        assert_eq!(told.measured[2], "configuration: transparent huge pages always, swap none");
        assert!(told.unknown.is_empty());
    }

    #[test]
    fn times_are_as_people_say_them() {
        assert_eq!([time(20.0), time(1.25), time(0.0123), time(0.00012)], ["20 s", "1.2 s", "12.3 ms", "120 µs"]);
    }
}
