//! Two profiles of the same load, function by function.

use super::names::Aliases;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// ours: how many functions of each are compared.
const TOP: usize = 20;
/// ours: a function that one has and the other lacks is worth a word from this share on, in percent.
const TELLING_PERCENT: f64 = 0.5;
/// Standard errors that hold 95 of 100 differences.
const ERRORS: f64 = 1.96;

/// Samples by innermost function.
#[derive(Clone, Debug, Default)]
pub struct Flat(BTreeMap<String, u64>);

impl Flat {
    /// Adds samples of a function.
    pub fn add(&mut self, name: String, samples: u64) {
        *self.0.entry(name).or_default() += samples;
    }

    /// Adds another window.
    pub fn add_all(&mut self, other: &Flat) {
        other.0.iter().for_each(|(name, samples)| self.add(name.clone(), *samples));
    }

    /// The same with one name for every function.
    pub fn renamed(&self, aliases: &Aliases) -> Flat {
        let mut renamed = Flat::default();
        self.0.iter().for_each(|(name, samples)| renamed.add(aliases.name(name).to_string(), *samples));
        renamed
    }

    /// All samples.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// The share of a function.
    pub fn percent(&self, name: &str) -> f64 {
        100.0 * self.0.get(name).copied().unwrap_or(0) as f64 / self.total().max(1) as f64
    }

    /// The functions with the most samples.
    fn top(&self) -> impl Iterator<Item = &String> {
        let mut names: Vec<_> = self.0.iter().collect();
        names.sort_by_key(|(name, samples)| (std::cmp::Reverse(**samples), *name));
        names.into_iter().take(TOP).map(|(name, _)| name)
    }

    /// Functions with a telling share that the other lacks.
    fn without(&self, other: &Flat) -> Vec<Share> {
        let telling = self.0.keys().filter(|name| !other.0.contains_key(*name));
        let shares = telling.map(|name| Share { function: name.clone(), percent: self.percent(name) });
        let mut shares: Vec<Share> = shares.filter(|share| share.percent >= TELLING_PERCENT).collect();
        shares.sort_by(|a, b| b.percent.total_cmp(&a.percent));
        shares
    }
}

/// A function and its part of the samples.
#[derive(Debug, Serialize)]
pub struct Share {
    /// Its name.
    pub function: String,
    /// Its part.
    pub percent: f64,
}

/// A function in both profiles.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    /// Its name.
    pub function: String,
    /// Its share of the samples.
    pub percent: f64,
    /// Its share of the reference's samples.
    pub reference_percent: f64,
    /// Between the two, in points.
    pub points: f64,
    /// How far two samplings of the same are apart by chance, in points, 95 times of 100.
    pub error_points: f64,
}

/// What two profiles come to.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// Samples of friday's, or perf's where perf is compared with itself.
    pub samples: u64,
    /// perf's.
    pub reference_samples: u64,
    /// The top functions of both, the most different first.
    pub differences: Vec<Difference>,
    /// What the reference alone has.
    pub only_reference: Vec<Share>,
    /// What the reference has not.
    pub only_ours: Vec<Share>,
}

impl Comparison {
    /// Of a profile and perf's.
    pub fn of(ours: &Flat, perf: &Flat) -> Comparison {
        let top: BTreeSet<&String> = ours.top().chain(perf.top()).collect();
        let mut differences: Vec<Difference> = top.into_iter().map(|name| difference(name, ours, perf)).collect();
        differences.sort_by(|a, b| b.points.total_cmp(&a.points));
        Comparison {
            samples: ours.total(),
            reference_samples: perf.total(),
            differences,
            only_reference: perf.without(ours),
            only_ours: ours.without(perf),
        }
    }

    /// The function that differs most.
    pub fn worst(&self) -> Option<&Difference> {
        self.differences.first().filter(|_| self.samples > 0 && self.reference_samples > 0)
    }
}

fn difference(name: &str, friday: &Flat, perf: &Flat) -> Difference {
    let (ours, theirs) = (friday.percent(name), perf.percent(name));
    let (n, m) = (friday.total().max(1) as f64, perf.total().max(1) as f64);
    let pooled = (ours * n + theirs * m) / (n + m) / 100.0;
    let error = ERRORS * (pooled * (1.0 - pooled) * (1.0 / n + 1.0 / m)).sqrt();
    Difference {
        function: name.into(),
        percent: ours,
        reference_percent: theirs,
        points: (ours - theirs).abs(),
        error_points: 100.0 * error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(rows: &[(&str, u64)]) -> Flat {
        let mut flat = Flat::default();
        rows.iter().for_each(|(name, samples)| flat.add(name.to_string(), *samples));
        flat
    }

    #[test]
    fn the_largest_difference_comes_first_with_its_error() {
        let found = Comparison::of(&flat(&[("a", 500), ("b", 450), ("c", 50)]), &flat(&[("a", 2200), ("b", 1800)]));
        let worst = found.worst().unwrap();
        assert_eq!((worst.function.as_str(), worst.points.round()), ("a", 5.0));
        // Pooled 54 % of 1000 and 4000 samples.
        assert_eq!((worst.error_points * 100.0).round(), 345.0);
        assert_eq!(found.only_ours.len(), 1);
        assert!(found.only_reference.is_empty());
    }

    #[test]
    fn a_function_outside_the_top_of_both_is_left_out() {
        let mut many = Flat::default();
        (0..30).for_each(|n| many.add(format!("f{n}"), 100 - n));
        let found = Comparison::of(&many, &many);
        assert_eq!(found.differences.len(), TOP);
        assert_eq!(found.worst().map(|worst| worst.points), Some(0.0));
    }

    #[test]
    fn nothing_is_said_without_samples() {
        assert!(Comparison::of(&Flat::default(), &flat(&[("a", 1)])).worst().is_none());
    }
}
