//! Dose and response: the culprit is held for a tenth, a fifth, two fifths of the time, in random order, and the victim's answer
//! is a line. Gentler than freezing, and more telling: chance does not grow with the dose.

use crate::{
    change::Change,
    judge::{LEAST_EFFECT, Measure, REFUTED_BELOW, Round, choose},
    meter::Sample,
    statistics::{Random, median, slope},
    trial::{Bench, Design, Live, Setup, TrialError, notes, outline},
};
use observe::{Dose, Expect, Experiment, Ratio, Verdict};
use std::time::Duration;

/// ours: enough to tell a line, little enough that no client gives up.
const DOSES: [f64; 4] = [0.0, 0.1, 0.2, 0.4];
/// Between doses.
const SETTLE: Duration = Duration::from_millis(200);

/// How long it takes, about.
pub fn length(design: &Design) -> Duration {
    (design.phase + SETTLE) * DOSES.len() as u32 * design.rounds
}

/// Makes the trial with doses of a change that holds its culprit. However it ends, everything is undone.
///
/// # Errors
/// The change cannot be made or undone, the victim has ended, or somebody stopped it.
pub fn conduct(
    setup: &Setup,
    change: &Change,
    design: &Design,
    say: &mut dyn FnMut(&str),
) -> Result<Experiment, TrialError> {
    let mut live = Live::begin(setup, change, length(design))?;
    let mut order = Random::new(crate::change::clock_ticks());
    let points = doses(&mut live, design, &mut order, say)?;
    let Live { guarded, undone, dirty, .. } = live;
    let last = guarded.end()?;
    let (verdict, dose, said) = judge(&points, design.expect);
    let about = format!("{} for 10, 20 and 40 % of the time", change.about);
    Ok(Experiment {
        said: format!(
            "{verdict}: {about}, {} times for {:.1} s each: {said}.",
            design.rounds,
            design.phase.as_secs_f64()
        ),
        about,
        verdict,
        dose,
        ..outline(setup, change, design.expect, notes(change, undone, dirty, last))
    })
}

/// Measures at every dose once a round, in another order each time; gives the part of the time for which the culprit was really
/// held.
fn doses(
    bench: &mut dyn Bench,
    design: &Design,
    order: &mut Random,
    say: &mut dyn FnMut(&str),
) -> Result<Vec<(f64, Sample)>, TrialError> {
    let mut points = Vec::new();
    for round in 1..=design.rounds {
        let mut doses = DOSES;
        order.shuffle(&mut doses);
        for dose in doses {
            say(&format!("round {round} of {}: held for {:.0} % of the time", design.rounds, dose * 100.0));
            if dose == 0.0 {
                points.push((0.0, bench.measure(SETTLE, design.phase, None)?.0));
                continue;
            }
            bench.apply()?;
            let measured = bench.measure(SETTLE, design.phase, Some(dose));
            bench.undo()?;
            let (sample, held) = measured?;
            points.push((held, sample));
        }
    }
    Ok(points)
}

/// What the points say.
fn judge(points: &[(f64, Sample)], expect: Option<Expect>) -> (Verdict, Option<Dose>, String) {
    let unclear = || (Verdict::Unclear, None, "the victim did too little to be measured".to_owned());
    let rounds: Vec<Round> = points.iter().map(|(_, s)| Round { before: *s, during: *s, after: *s }).collect();
    let measure = choose(&rounds, expect);
    let measured: Option<Vec<(f64, f64)>> =
        points.iter().map(|(dose, sample)| Some((*dose, measure.of(sample)?))).collect();
    let Some(measured) = measured else { return unclear() };
    let without: Vec<f64> = measured.iter().filter(|(dose, _)| *dose == 0.0).map(|(_, y)| *y).collect();
    let Some(usual) = median(&without).filter(|usual| *usual > 0.0) else { return unclear() };
    let scaled: Vec<(f64, f64)> = measured.iter().map(|(dose, y)| (*dose, y / usual)).collect();
    let Some(line) = slope(&scaled) else { return unclear() };
    let better = (line.slope > 0.0) == measure.more_is_better();
    let went = if better { Expect::Helps } else { Expect::Stops };
    let moved = (line.from > 0.0 || line.to < 0.0) && line.slope.abs() >= LEAST_EFFECT;
    let wanted = expect.unwrap_or(went);
    let toward_better = if wanted == Expect::Helps { 1.0 } else { -1.0 };
    let sign = if measure.more_is_better() { toward_better } else { -toward_better };
    let most = (line.from * sign).max(line.to * sign);
    let verdict = if moved && went == wanted {
        Verdict::Confirmed
    } else if moved || most < REFUTED_BELOW {
        Verdict::Refuted
    } else {
        Verdict::Unclear
    };
    let name = match measure {
        Measure::SameWork => "the time that its work takes",
        Measure::Work => "the work it does (time on a CPU)",
        Measure::Calls => "its reads and writes",
        Measure::Turns => "how often it is given a CPU",
    };
    let said = format!(
        "{name} changes by {:+.1} % for every 10 % that the culprit is held (95 % interval {:+.1} to {:+.1} %)",
        line.slope * 10.0,
        line.from * 10.0,
        line.to * 10.0
    );
    let points = scaled.iter().map(|(dose, y)| (Ratio(*dose), *y)).collect();
    (verdict, Some(Dose { points, slope: line.slope, from: line.from, to: line.to }), said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::tests::second;

    /// A victim that queues behind a culprit for as long as that runs.
    #[derive(Default)]
    struct Fake {
        applied: bool,
        noise: u64,
        answers: bool,
        doses: Vec<f64>,
    }

    impl Bench for Fake {
        fn apply(&mut self) -> Result<(), TrialError> {
            self.applied = true;
            Ok(())
        }

        fn undo(&mut self) -> Result<(), TrialError> {
            self.applied = false;
            Ok(())
        }

        fn measure(&mut self, _: Duration, _: Duration, held: Option<f64>) -> Result<(Sample, f64), TrialError> {
            assert_eq!(held.is_some(), self.applied);
            let dose = held.unwrap_or(0.0);
            self.doses.push(dose);
            self.noise = (self.noise * 7 + 3) % 11;
            let queued = if self.answers { 500.0 * (1.0 - dose) } else { 500.0 };
            Ok((second(500, queued as u64 + self.noise, 0), dose))
        }
    }

    fn design() -> Design {
        Design { rounds: 3, phase: Duration::from_secs(1), expect: Some(Expect::Helps), claim: None }
    }

    #[test]
    fn the_answer_grows_with_the_dose() {
        let mut fake = Fake { answers: true, ..Fake::default() };
        let points = doses(&mut fake, &design(), &mut Random::new(5), &mut |_| ()).unwrap();
        assert_eq!(points.len(), 12);
        assert!(!fake.applied);
        assert_ne!(fake.doses[..4], fake.doses[4..8], "another order each time");
        let (verdict, dose, said) = judge(&points, Some(Expect::Helps));
        assert_eq!(verdict, Verdict::Confirmed, "{said}");
        let dose = dose.unwrap();
        assert!((dose.slope + 0.5).abs() < 0.03 && dose.from < dose.slope && dose.slope < dose.to, "{dose:?}");
        assert!(said.contains("for every 10 % that the culprit is held (95 % interval -"), "{said}");
        assert_eq!(judge(&points, Some(Expect::Stops)).0, Verdict::Refuted);
    }

    #[test]
    fn no_answer_refutes_and_too_little_is_unclear() {
        let points = doses(&mut Fake::default(), &design(), &mut Random::new(5), &mut |_| ()).unwrap();
        assert_eq!(judge(&points, Some(Expect::Helps)).0, Verdict::Refuted);
        assert_eq!(judge(&[], Some(Expect::Helps)).0, Verdict::Unclear);
    }
}
