//! Who spent how much time on what: as the programs log it, and as friday says it.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A row of friday's critical path.
#[derive(Debug, Deserialize)]
pub struct Row {
    party: String,
    class: String,
    seconds: f64,
}

/// Seconds by party and what it did: `running` (queueing for a CPU included, which no program can tell from it), `sleep`,
/// `disk` or `other`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Account(BTreeMap<String, BTreeMap<String, f64>>);

/// One party's time on one thing, as two accounts have it.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The party, and what it did.
    pub what: String,
    /// The true seconds.
    pub truth: f64,
    /// Those that friday says.
    pub said: f64,
}

impl Account {
    /// What friday says.
    pub fn said(rows: &[Row]) -> Account {
        let mut account = Account::default();
        for row in rows {
            let party = row.party.rsplit_once(" (").map_or(row.party.as_str(), |(name, _)| name);
            account.add(party, kind(&row.class), row.seconds);
        }
        account
    }

    /// What the programs log, `truth PARTY WHAT MICROSECONDS`, and the seconds of the whole, `job MICROSECONDS`.
    pub fn logged(log: &str) -> Result<(Account, f64), String> {
        let (mut account, mut job) = (Account::default(), None);
        let seconds = |text: &str| text.parse::<f64>().map(|us| us / 1e6).map_err(|e| format!("{text}: {e}"));
        for line in log.lines() {
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                ["truth", party, what, time] => account.add(party, merged(what), seconds(time)?),
                ["job", time] => job = Some(seconds(time)?),
                _ => {}
            }
        }
        let job = job.ok_or("the program did not get to its end")?;
        Ok((account, job))
    }

    fn add(&mut self, party: &str, what: &str, seconds: f64) {
        *self.0.entry(party.into()).or_default().entry(what.into()).or_default() += seconds;
    }

    fn get(&self, party: &str, what: &str) -> f64 {
        self.0.get(party).and_then(|kinds| kinds.get(what)).copied().unwrap_or_default()
    }

    fn parts(&self) -> impl Iterator<Item = (&str, &str, f64)> {
        self.0.iter().flat_map(|(party, kinds)| kinds.iter().map(move |(what, time)| (&party[..], &what[..], *time)))
    }

    /// All of it.
    pub fn sum(&self) -> f64 {
        self.parts().map(|(_, _, time)| time).sum()
    }

    /// The part of this, the truth, that another gives to the right party and thing.
    pub fn told_by(&self, said: &Account) -> f64 {
        let right: f64 = self.parts().map(|(party, what, time)| time.min(said.get(party, what))).sum();
        if self.sum() > 0.0 { right / self.sum() } else { 0.0 }
    }

    /// Where another says less than this, the truth, and where more; the largest of each.
    pub fn largest_differences(&self, said: &Account) -> [Option<Difference>; 2] {
        let pairs = self.parts().chain(said.parts()).map(|(party, what, _)| (party, what));
        let all: Vec<Difference> = pairs.map(|(party, what)| self.difference(said, party, what)).collect();
        let largest = |gap: fn(&Difference) -> f64| {
            all.iter().filter(|one| gap(one) > 0.0).max_by(|a, b| gap(a).total_cmp(&gap(b))).cloned()
        };
        [largest(|one| one.truth - one.said), largest(|one| one.said - one.truth)]
    }

    fn difference(&self, said: &Account, party: &str, what: &str) -> Difference {
        let (truth, said) = (self.get(party, what), said.get(party, what));
        Difference { what: format!("{party} {what}"), truth, said }
    }
}

/// What a class of friday's is in the programs' words.
fn kind(class: &str) -> &'static str {
    match class.split_once('.') {
        Some(("running" | "runnable", _)) => "running",
        Some(("blocked", "sleep")) => "sleep",
        Some(("blocked", "disk" | "fs")) => "disk",
        _ => "other",
    }
}

fn merged(what: &str) -> &str {
    if what == "queued" { "running" } else { what }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(party: &str, class: &str, seconds: f64) -> Row {
        Row { party: party.into(), class: class.into(), seconds }
    }

    #[test]
    fn classes_are_the_programs_words() {
        let words = ["running.user", "runnable.busy", "blocked.sleep", "blocked.disk", "blocked.fs", "blocked.idle"];
        assert_eq!(words.map(kind), ["running", "running", "sleep", "disk", "disk", "other"]);
        assert_eq!(kind("asleep"), "other");
    }

    #[test]
    fn rows_of_one_name_are_one_party() {
        let said = Account::said(&[
            row("cc (12)", "running.user", 1.0),
            row("cc (13)", "runnable.busy", 0.5),
            row("a (b) (14)", "blocked.sleep", 2.0),
        ]);
        assert_eq!((said.get("cc", "running"), said.get("a (b)", "sleep"), said.sum()), (1.5, 2.0, 3.5));
    }

    #[test]
    fn logs_are_summed_and_other_lines_left_alone() {
        let log =
            "friday: watching\ntruth b running 500000\ntruth b running 250000\ntruth b queued 250000\njob 2000000\n";
        let (truth, job) = Account::logged(log).unwrap();
        assert_eq!((truth.get("b", "running"), truth.sum(), job), (1.0, 1.0, 2.0));
        assert!(Account::logged("truth b running 500000\n").is_err());
        assert!(Account::logged("truth b running much\njob 1\n").is_err());
    }

    #[test]
    fn right_is_what_both_say() {
        let truth = Account::said(&[row("a (1)", "running.user", 3.0), row("b (2)", "blocked.sleep", 1.0)]);
        let said = Account::said(&[row("a (1)", "running.user", 4.0), row("b (2)", "running.user", 1.0)]);
        assert_eq!(truth.told_by(&said), 0.75);
        assert_eq!(truth.told_by(&truth), 1.0);
        assert_eq!(truth.told_by(&Account::default()), 0.0);
        let [missed, invented] = truth.largest_differences(&said).map(Option::unwrap);
        assert_eq!(missed, Difference { what: "b sleep".into(), truth: 1.0, said: 0.0 });
        assert_eq!((invented.said, invented.truth), (invented.truth + 1.0, invented.truth));
    }
}
