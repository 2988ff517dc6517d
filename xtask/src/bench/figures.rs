//! From the figures of all rounds to medians and ratios.

use super::loads::{Better, Load};
use super::parse::Overhead;
use super::tools::{REFERENCE, Tool};
use crate::results::median;
use serde::Serialize;

/// One tool beside one load, once.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Round {
    /// Counted from 1.
    pub round: usize,
    /// What ran beside the load.
    pub tool: &'static str,
    /// Operations of the run; fewer where the load alone does more in the time there is.
    pub operations: u64,
    /// Seconds of the run, its beginning and end included.
    pub run_seconds: Option<f64>,
    /// The load's figure, in its unit.
    pub figure: Option<f64>,
    /// From the tool's start until it was attached.
    pub attach_seconds: Option<f64>,
    /// How busy the machine was beside the tool before the load.
    pub busy_percent: Option<f64>,
    /// From the interrupt until the tool was gone.
    pub exit_seconds: Option<f64>,
    /// What friday said about itself.
    pub overhead: Option<Overhead>,
    /// Why the round does not count.
    pub invalid: Option<String>,
}

/// All rounds of a load and what they come to.
#[derive(Debug, Serialize)]
pub struct LoadResult {
    /// The load's name.
    pub load: &'static str,
    /// Of its figures.
    pub unit: &'static str,
    /// Which figures are good.
    pub better: Better,
    /// Operations of a run alone.
    pub operations: u64,
    /// One a tool, the reference first.
    pub tools: Vec<Outcome>,
    /// In the order in which they were played.
    pub rounds: Vec<Round>,
}

/// What a tool does to a load.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// Its name.
    pub tool: &'static str,
    /// How many rounds count.
    pub rounds: usize,
    /// Of the figures.
    pub median: Option<f64>,
    /// How much slower the load is than alone.
    pub slower: Option<Slower>,
    /// Medians of what friday said about itself.
    pub overhead: Option<Overhead>,
    /// Median of the seconds from the interrupt to the end.
    pub exit_seconds: Option<f64>,
}

/// A ratio to the load alone: above 1 is slower, whatever the unit.
#[derive(Debug, PartialEq, Serialize)]
pub struct Slower {
    /// Of the medians.
    pub ratio: f64,
    /// The smallest within a round.
    pub lowest: f64,
    /// The largest within a round.
    pub highest: f64,
}

impl LoadResult {
    /// Adds the rounds up.
    pub fn of(load: &Load, operations: u64, tools: &[&'static Tool], rounds: Vec<Round>) -> Self {
        let outcomes = tools.iter().map(|tool| Outcome::of(tool.name, &rounds, load.better)).collect();
        LoadResult { load: load.name, unit: load.unit, better: load.better, operations, tools: outcomes, rounds }
    }

    /// How busy the machine was with other things than this benchmark, at most.
    pub fn disturbed_percent(&self) -> f64 {
        let alone = self.rounds.iter().filter(|round| round.tool == REFERENCE);
        alone.filter_map(|round| round.busy_percent).fold(0.0, f64::max)
    }

    /// A sentence on each round that does not count.
    pub fn invalid(&self) -> impl Iterator<Item = String> {
        let told = |round: &Round| {
            Some(format!("{} round {} with {}: {}", self.load, round.round, round.tool, round.invalid.as_ref()?))
        };
        self.rounds.iter().filter_map(told)
    }
}

impl Outcome {
    fn of(tool: &'static str, rounds: &[Round], better: Better) -> Self {
        let valid: Vec<&Round> = rounds
            .iter()
            .filter(|round| round.tool == tool && round.invalid.is_none() && round.figure.is_some())
            .collect();
        let middle = |of: &dyn Fn(&Round) -> Option<f64>| {
            median(&valid.iter().filter_map(|round| of(round)).collect::<Vec<_>>())
        };
        let cost = |of: fn(&Overhead) -> f64| middle(&|round| round.overhead.as_ref().map(of));
        let overhead = || {
            Some(Overhead {
                cpu_percent: cost(|o| o.cpu_percent)?,
                rss_bytes: cost(|o| o.rss_bytes)?,
                lost_events: cost(|o| o.lost_events)?,
                rest: serde_json::Map::new(),
            })
        };
        Outcome {
            tool,
            rounds: valid.len(),
            median: middle(&|round| round.figure),
            slower: Slower::of(tool, rounds, better),
            overhead: overhead(),
            exit_seconds: middle(&|round| round.exit_seconds),
        }
    }
}

impl Slower {
    /// How much slower the tool makes it; `None` where it or the reference has no round that counts, or where no round
    /// has both.
    fn of(tool: &str, rounds: &[Round], better: Better) -> Option<Slower> {
        let figures = |tool: &str| -> Vec<(usize, f64)> {
            let counts = rounds.iter().filter(|round| round.tool == tool && round.invalid.is_none());
            counts.filter_map(|round| Some((round.round, round.figure?))).collect()
        };
        let (alone, beside) = (figures(REFERENCE), figures(tool));
        let numbers = |figures: &[(usize, f64)]| figures.iter().map(|(_, figure)| *figure).collect::<Vec<_>>();
        let ratio = better.slower(median(&numbers(&alone))?, median(&numbers(&beside))?);
        let within = |(number, figure): &(usize, f64)| {
            let (_, reference) = alone.iter().find(|(other, _)| other == number)?;
            Some(better.slower(*reference, *figure))
        };
        let each: Vec<f64> = beside.iter().filter_map(within).collect();
        let lowest = each.iter().copied().reduce(f64::min)?;
        Some(Slower { ratio, lowest, highest: each.iter().copied().reduce(f64::max)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(tool: &'static str, figures: &[f64]) -> Vec<Round> {
        let round =
            |(at, figure): (usize, &f64)| Round { round: at + 1, tool, figure: Some(*figure), ..Round::default() };
        figures.iter().enumerate().map(round).collect()
    }

    #[test]
    fn slower_is_above_one_for_times_and_for_rates() {
        let mut all = rounds("none", &[10.0, 8.0, 12.0]);
        all.extend(rounds("friday-3", &[20.0, 20.0, 18.0]));
        let times = Slower::of("friday-3", &all, Better::Less).unwrap();
        assert_eq!(times, Slower { ratio: 2.0, lowest: 1.5, highest: 2.5 });
        let rates = Slower::of("friday-3", &all, Better::More).unwrap();
        assert_eq!((rates.ratio, rates.lowest), (0.5, 0.4));
        assert_eq!(Slower::of("none", &all, Better::More).unwrap(), Slower { ratio: 1.0, lowest: 1.0, highest: 1.0 });
    }

    #[test]
    fn invalid_rounds_do_not_count() {
        let mut all = rounds("none", &[10.0, 10.0, 90.0]);
        all.extend(rounds("friday-3", &[11.0, 70.0, 90.0]));
        all[4].invalid = Some("it has ended".into());
        let outcome = Outcome::of("friday-3", &all, Better::Less);
        assert_eq!((outcome.rounds, outcome.median), (2, Some(50.5)));
        assert_eq!(outcome.slower.unwrap().lowest, 1.0);
        assert!(Outcome::of("bpftrace", &all, Better::Less).slower.is_none());
    }

    #[test]
    fn the_cost_of_friday_is_the_median_of_what_it_says() {
        let mut all = rounds("friday-3", &[10.0, 10.0, 10.0]);
        for (round, cpu_percent) in all.iter_mut().zip([3.0, 1.0, 2.0]) {
            round.overhead = Some(Overhead { cpu_percent, rss_bytes: 4096.0, ..Overhead::default() });
            round.exit_seconds = Some(cpu_percent);
        }
        let outcome = Outcome::of("friday-3", &all, Better::Less);
        assert_eq!(outcome.overhead, Some(Overhead { cpu_percent: 2.0, rss_bytes: 4096.0, ..Overhead::default() }));
        assert_eq!((outcome.exit_seconds, outcome.slower), (Some(2.0), None));
    }
}
