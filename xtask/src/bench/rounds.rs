//! The rounds of a load: in each, every tool looks on once, in an order that turns from round to round.

use super::figures::{LoadResult, Round};
use super::loads::{LIMIT, Load, Runner};
use super::place::Place;
use super::table::short;
use super::tools::{self, Friday, Tool};
use crate::processes::{self, Stop};
use std::time::Instant;

/// ours: a run alone takes about this long, in seconds: long enough to measure, short enough for many rounds.
const RUN_SECONDS: f64 = 3.0;
/// ours: a run this long, in seconds, tells how many operations fit into another.
const TELLING_SECONDS: f64 = 1.0;
/// ours: a run that a tool slows down past the limit has this many times fewer operations.
const FEWER: u64 = 10;

/// A load that is set up, and what its rounds need.
struct Course<'a> {
    load: &'a Load,
    friday: &'a Friday,
    place: &'a Place,
    runner: Runner,
}

/// Plays all rounds.
pub fn play(
    load: &Load,
    tools: &[&'static Tool],
    rounds: usize,
    friday: &Friday,
    place: &Place,
) -> Result<LoadResult, Stop> {
    eprintln!("bench: {}: {}", load.name, load.about);
    let mut course = Course { load, friday, place, runner: (load.set_up)(place.path())? };
    let alone = operations(&mut course.runner, load.few)?;
    eprintln!("bench: {}: {alone} operations a run", load.name);
    let mut operations: Vec<(&'static Tool, u64)> = tools.iter().map(|tool| (*tool, alone)).collect();
    let mut played = Vec::new();
    for number in 1..=rounds {
        for (tool, operations) in &mut operations {
            let round = loop {
                let round = course.round(number, tool, *operations)?;
                if !too_slow(&round) || *operations <= load.few {
                    break round;
                }
                *operations /= FEWER;
                eprintln!("bench: {} with {}: too slow, now {operations} operations", load.name, tool.name);
            };
            eprintln!("bench: {} {number}/{rounds} {}: {}", load.name, tool.name, told(&round, load.unit));
            played.push(round);
        }
        // Each is the first in turn, so that what a round leaves behind does not always hit the same one.
        operations.rotate_left(1);
    }
    processes::end_descendants();
    Ok(LoadResult::of(load, alone, tools, played))
}

impl Course<'_> {
    /// Plays one round. Where it is broken, nothing of it is left, and the load is set up anew.
    fn round(&mut self, number: usize, tool: &Tool, operations: u64) -> Result<Round, Stop> {
        let mut round = Round { round: number, tool: tool.name, operations, ..Round::default() };
        match self.measure(tool, &mut round) {
            Ok(()) => {}
            Err(Stop::Interrupted) => return Err(Stop::Interrupted),
            Err(Stop::Skip(reason) | Stop::Broken(reason)) => {
                round.invalid = Some(reason);
                processes::end_descendants();
                self.runner = (self.load.set_up)(self.place.path())?;
            }
        }
        Ok(round)
    }

    /// Runs the load beside one tool and notes what it comes to.
    fn measure(&mut self, tool: &Tool, round: &mut Round) -> Result<(), Stop> {
        let dir = self.place.round()?;
        let mut attached = tools::attach(tool, self.friday, dir.path())?;
        round.attach_seconds = Some(attached.seconds);
        round.busy_percent = attached.busy_percent;
        let begin = Instant::now();
        let figure = (self.runner)(round.operations);
        round.run_seconds = Some(begin.elapsed().as_secs_f64());
        round.figure = Some(figure?);
        attached.check()?;
        let ended = attached.end()?;
        round.exit_seconds = ended.seconds;
        round.overhead = ended.overhead;
        Ok(())
    }
}

/// Whether the load was not done in time.
fn too_slow(round: &Round) -> bool {
    round.figure.is_none() && round.run_seconds.is_some_and(|seconds| seconds >= LIMIT.as_secs_f64())
}

/// How many operations a run has: as many as take about three seconds alone. This also warms the load up.
fn operations(runner: &mut Runner, few: u64) -> Result<u64, Stop> {
    let mut operations = few;
    loop {
        let begin = Instant::now();
        runner(operations)?;
        let seconds = begin.elapsed().as_secs_f64();
        if seconds >= TELLING_SECONDS {
            return Ok(scaled(operations, RUN_SECONDS / seconds));
        }
        // A short run is mostly its beginning and says little: no great leaps.
        operations = scaled(operations, (1.5 * TELLING_SECONDS / seconds).clamp(2.0, 20.0));
    }
}

/// A number that many times larger, rounded to two digits.
fn scaled(number: u64, factor: f64) -> u64 {
    let wanted = (number as f64 * factor).max(1.0);
    let step = 10_f64.powf((wanted.log10().floor() - 1.0).max(0.0));
    ((wanted / step).round() * step) as u64
}

fn told(round: &Round, unit: &str) -> String {
    match (&round.invalid, round.figure) {
        (Some(reason), _) => format!("does not count: {reason}"),
        (None, Some(figure)) => format!("{} {unit}", short(figure)),
        (None, None) => "no figure".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_run_that_was_cut_off_is_too_slow() {
        let round = |figure, run_seconds| Round { figure, run_seconds, ..Round::default() };
        assert!(too_slow(&round(None, Some(15.1))));
        assert!(!too_slow(&round(Some(1.0), Some(15.1))));
        assert!(!too_slow(&round(None, Some(2.0))));
        assert!(!too_slow(&round(None, None)));
    }

    #[test]
    fn numbers_of_operations_are_round() {
        assert_eq!(scaled(1000, 1.2345), 1200);
        assert_eq!(scaled(300, 20.0), 6000);
        assert_eq!(scaled(3, 0.1), 1);
        assert_eq!(scaled(98_765, 10.0), 990_000);
    }
}
