//! What changed: against the baseline, and lately on this machine.

use super::{Answer, NAMED};
use case::Compared;
use chrono::{DateTime, Utc};
use compare::Kind;
use observe::{Fact, Recording, catalog};
use std::time::UNIX_EPOCH;

/// Kinds of change: how they are stored, what one and several of them are called, and what is said when there is none. Of the
/// last two there is one at most, which tells itself.
const KINDS: [(&str, &str, &str, &str); 5] = [
    (
        "program",
        "running program has a file that came",
        "running programs have files that came",
        "no running program has a file that came",
    ),
    ("package", "package changed", "packages changed", "no package changed"),
    ("config", "file below /etc was written", "files below /etc were written", "no file below /etc was written"),
    ("kernel", "", "", "the kernel did not come"),
    ("boot", "", "", "the machine was not started"),
];

/// What the data says about it.
pub(super) fn changed(rec: &Recording, compared: Option<&Compared>) -> Answer {
    let mut answer = Answer::default();
    answer.measured.extend(compared.into_iter().flat_map(against));
    let (changes, seen) = match (rec.get(&catalog::HOST_CHANGE), rec.get(&catalog::HOST_CHANGES_SEEN)) {
        (Ok(changes), Ok(seen)) => (changes, seen),
        (Err(why), _) | (_, Err(why)) => {
            answer.unknown.push(format!("changes of this machine: {why}"));
            return answer;
        }
    };
    let now = rec.window.start.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    let mut none = Vec::new();
    for (kind, one, many, no) in KINDS {
        let of: Vec<&Fact> = changes.iter().filter(|change| change.labels.get("kind") == kind).collect();
        let about = seen.iter().find(|fact| fact.labels.get("kind") == kind);
        let left_out: usize = about.and_then(|fact| fact.labels.get("left_out").parse().ok()).unwrap_or(0);
        let why = about.map_or("", |fact| fact.value.as_str());
        let count = of.len() + left_out;
        if count > 0 {
            let named = of.len().min(NAMED);
            let rest = if count > named { format!("; and {} more", count - named) } else { String::new() };
            let head = match (one.is_empty(), count) {
                (true, _) => String::new(),
                (false, 1) => format!("1 {one} within 14 days: "),
                (false, count) => format!("{count} {many} within 14 days: "),
            };
            answer.measured.push(format!("{head}{}{rest}", told(&of[..named], now)));
        } else if why.is_empty() {
            none.push(no);
        }
        if !why.is_empty() {
            answer.unknown.push(why.to_owned());
        }
    }
    if !none.is_empty() {
        answer.measured.push(format!("within 14 days: {}", none.join(", ")));
    }
    answer
}

/// What is different from the baseline.
fn against(compared: &Compared) -> Vec<String> {
    let kinds =
        [(Kind::Hardware, "hardware"), (Kind::Software, "programs"), (Kind::Config, "settings"), (Kind::Load, "load")];
    let told = |(kind, what): (Kind, &str)| {
        let of: Vec<String> = compared
            .changes
            .iter()
            .filter(|change| change.kind == kind)
            .map(|change| format!("{}: {}, now {}", change.of, change.before, change.after))
            .collect();
        let rest = of.len().saturating_sub(NAMED);
        let rest = if rest > 0 { format!("; and {rest} more") } else { String::new() };
        let named = of[..of.len().min(NAMED)].join("; ");
        (!of.is_empty()).then(|| format!("{what}, against {}: {named}{rest}", compared.with))
    };
    kinds.into_iter().filter_map(told).collect()
}

/// Changes, those of one minute together, with their time.
fn told(changes: &[&Fact], now: i64) -> String {
    let at = |change: &Fact| -> i64 { change.labels.get("at").parse().unwrap_or(0) };
    let groups = changes.chunk_by(|a, b| at(a) / 60 == at(b) / 60).map(|group| {
        let told: Vec<String> = group
            .iter()
            .map(|change| {
                let since = change.labels.get("since").parse().ok();
                let since = since.map_or_else(String::new, |since: i64| format!(", running for {}", span(now - since)));
                format!("{} {}{since}", change.labels.get("of"), change.value)
            })
            .collect();
        let first = group.first().map_or(0, |change| at(change));
        format!("{} ago ({}) {}", span(now - first), date(first), told.join(", "))
    });
    groups.collect::<Vec<_>>().join("; ")
}

/// A span of time in its largest unit.
fn span(seconds: i64) -> String {
    match seconds.max(0) {
        s if s >= 2 * 86_400 => format!("{} days", s / 86_400),
        s if s >= 2 * 3600 => format!("{} h", s / 3600),
        s if s >= 120 => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}

/// A moment as people compare it with their logs.
fn date(at: i64) -> String {
    DateTime::<Utc>::from_timestamp(at, 0).map_or_else(String::new, |at| at.format("%Y-%m-%d %H:%M UTC").to_string())
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{question, recording},
        *,
    };
    use compare::Change;
    use observe::Labels;

    /// The start of the window.
    const NOW: i64 = 1_795_219_200;

    fn change(kind: &str, of: &str, what: &str, ago: i64, since: Option<i64>) -> Fact {
        let since = since.map_or_else(String::new, |ago| (NOW - ago).to_string());
        let labels = [("kind", kind.into()), ("of", of.into()), ("at", (NOW - ago).to_string()), ("since", since)];
        Fact { labels: Labels::new(labels), value: what.into(), source: "x".into() }
    }

    fn seen(kind: &str, left_out: usize, why: &str) -> Fact {
        let labels = Labels::new([("kind", kind.into()), ("left_out", left_out.to_string())]);
        Fact { labels, value: why.into(), source: "friday".into() }
    }

    #[test]
    fn changes_are_told_with_their_time_and_what_is_not_known_with_its_reason() {
        let mut rec = recording();
        rec.push(&catalog::HOST_CHANGE, change("package", "jq", "installed 1", 3 * 86_400 - 10, None));
        rec.push(&catalog::HOST_CHANGE, change("package", "libc6", "upgraded 1 to 2", 3 * 86_400, None));
        rec.push(&catalog::HOST_CHANGE, change("package", "tar", "removed 1", 5 * 86_400, None));
        rec.push(&catalog::HOST_CHANGE, change("boot", "this machine", "started", 3 * 86_400, None));
        rec.push(&catalog::HOST_CHANGE, change("program", "/srv/shop", "put there, run by shop (7)", 7300, Some(7000)));
        let kinds = [
            ("package", 0, ""),
            ("config", 0, ""),
            ("program", 2, "2 cannot be seen"),
            ("kernel", 0, "no image"),
            ("boot", 0, ""),
        ];
        for (kind, left_out, why) in kinds {
            rec.push(&catalog::HOST_CHANGES_SEEN, seen(kind, left_out, why));
        }
        let told = question(&rec, "changed");
        assert_eq!(
            told.measured,
            [
                "3 running programs have files that came within 14 days: 2 h ago (2026-11-20 21:58 UTC) /srv/shop put there, run \
                 by shop (7), running for 116 min; and 2 more",
                "3 packages changed within 14 days: 2 days ago (2026-11-18 00:00 UTC) jq installed 1, libc6 upgraded 1 to 2; 5 days \
                 ago (2026-11-16 00:00 UTC) tar removed 1",
                "3 days ago (2026-11-18 00:00 UTC) this machine started",
                "within 14 days: no file below /etc was written",
            ]
        );
        assert_eq!(told.unknown, ["2 cannot be seen", "no image"]);
    }

    #[test]
    fn the_baseline_comes_first() {
        let change =
            |kind, of: &str| Change { kind, of: of.into(), before: "a".into(), after: "b".into(), times: None };
        let changes =
            vec![change(Kind::Busy, "cpu"), change(Kind::Config, "vm.swappiness"), change(Kind::Software, "/srv/x")];
        let told = changed(&recording(), Some(&Compared { with: "monday".into(), changes }));
        assert_eq!(
            told.measured,
            ["programs, against monday: /srv/x: a, now b", "settings, against monday: vm.swappiness: a, now b"]
        );
        assert_eq!(told.unknown.len(), 1, "changes were not looked for");
    }
}
