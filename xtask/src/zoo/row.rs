//! One line of the table.

use super::board::{self, Board};
use super::scenario::Scenario;
use super::score::{Mark, Said, mark, note};
use serde::{Deserialize, Serialize};

/// What came of one run; a line of the table, and an entry of `scores.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Row {
    /// The scenario's name.
    pub scenario: String,
    /// Which of its runs this is, from 1.
    pub round: usize,
    /// What is true.
    pub truth: String,
    /// The first cause, or the conclusion where there is none.
    pub said: String,
    /// How sure friday is of it.
    pub confidence: String,
    /// Part of the victim's time.
    pub share: Option<f64>,
    /// Who did it, says friday.
    pub culprit: String,
    /// The judgement; absent where it was not run.
    pub mark: Option<Mark>,
    /// How long friday took.
    pub wall_seconds: Option<f64>,
    /// What it cost, in percent of the machine.
    pub overhead_cpu_percent: Option<f64>,
    /// What else there is to say.
    pub note: String,
    /// How the board of lights did; absent where it was not run.
    #[serde(default)]
    pub board: Option<Board>,
}

impl Row {
    /// A row that says nothing yet.
    pub fn new(scenario: &Scenario, round: usize) -> Row {
        Row { scenario: scenario.name.clone(), round, truth: scenario.truth(), ..Row::default() }
    }

    /// Judges what was said.
    pub fn judge(&mut self, scenario: &Scenario, said: &Said, seconds: f64) {
        let mark = mark(scenario, said);
        self.mark = Some(mark);
        self.note = note(scenario, said, mark);
        self.board = Some(board::judge(scenario, &said.days));
        self.wall_seconds = Some(seconds);
        self.overhead_cpu_percent = said.overhead.cpu_percent;
        match said.findings.first() {
            Some(first) => {
                self.said = first.cause.clone();
                self.confidence = first.confidence.clone();
                self.share = first.share;
                self.culprit = format!("{} {}", first.culprit.kind, first.culprit.name);
            }
            None => self.said = said.conclusion.clone(),
        }
    }

    /// Whether the first finding has a true cause, whoever the culprit is.
    pub fn cause_is_right(&self) -> bool {
        self.truth.split(" + ").any(|cause| cause == self.said)
    }

    /// The name of the run: the scenario's, and from the second round on its number.
    pub fn name(&self) -> String {
        if self.round > 1 { format!("{}.{}", self.scenario, self.round) } else { self.scenario.clone() }
    }

    /// The line above all rows.
    pub fn heading() -> String {
        columns(["scenario", "truth", "rank 1", "confidence", "share", "culprit", "result", "seconds", "cpu %", "note"])
    }

    /// The row as a line.
    pub fn line(&self) -> String {
        let result = match self.mark {
            Some(Mark::Top1 | Mark::Quiet) => "ok",
            Some(Mark::Top3) => "top3",
            Some(Mark::Half) => "half",
            Some(Mark::Miss) => "MISS",
            Some(Mark::FalsePositive) => "FALSE",
            None => "-",
        };
        let number = |value: Option<f64>, digits| value.map_or(String::new(), |n| format!("{n:.digits$}"));
        columns([
            &self.name(),
            &self.truth,
            &self.said,
            &self.confidence,
            &number(self.share, 2),
            &self.culprit,
            result,
            &number(self.wall_seconds, 1),
            &number(self.overhead_cpu_percent, 2),
            &self.note,
        ])
    }
}

fn columns(cells: [&str; 10]) -> String {
    const WIDTHS: [usize; 10] = [26, 21, 21, 10, 5, 32, 6, 7, 5, 0];
    let padded: Vec<String> = cells.iter().zip(WIDTHS).map(|(cell, width)| format!("{cell:<width$}")).collect();
    padded.join("  ").trim_end().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_what_was_said_first() {
        let said: Said = serde_json::from_str(
            r#"{ "conclusion": "found", "overhead": { "cpu_percent": 0.42 }, "findings": [
                { "cause": "app.sleeps", "confidence": "possible", "share": 0.9,
                  "culprit": { "kind": "function", "name": "await_turn" } } ] }"#,
        )
        .unwrap();
        let text =
            "about = 'x'\ntarget = 'system'\ncause = 'app.sleeps'\nculprit = { kind = ['function'], any = ['await'] }";
        let scenario = Scenario { name: "nap".into(), ..toml::from_str(text).unwrap() };
        let mut row = Row::new(&scenario, 2);
        row.judge(&scenario, &said, 10.25);
        assert!(row.cause_is_right());
        let line = row.line();
        let words = ["nap.2", "app.sleeps", "possible", "0.90", "function await_turn", "ok", "0.42"];
        assert!(words.iter().all(|word| line.contains(word)), "{line}");
    }
}
