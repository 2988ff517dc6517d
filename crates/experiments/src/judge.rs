//! From what a victim did with and without a change to an effect with its spread, and what that proves.

use crate::{
    meter::Sample,
    statistics::{median, rank_sum},
};
use observe::{Expect, Measured, Ratio, Verdict};

/// What the victim did before, during and after a change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Round {
    /// Without it.
    pub before: Sample,
    /// With it.
    pub during: Sample,
    /// Without it again.
    pub after: Sample,
}

/// ours: below a twentieth of its time nobody calls a service slow because of it.
pub(crate) const LEAST_EFFECT: f64 = 0.05;
/// ours: what might still be there below this is not what was accused; a person feels no less.
pub(crate) const REFUTED_BELOW: f64 = 0.15;
/// The usual level of significance. With three rounds, three phases with the change against six without, it takes at most
/// two pairs the wrong way round.
pub(crate) const CHANCE: f64 = 0.05;
/// ours: who does so much less meanwhile is not helped by it, however smoothly the rest goes.
const GIVES_UP: f64 = -0.3;
/// ours: part of the time on a CPU below which times for the same work are noise.
const HARDLY_RUNS: f64 = 0.001;

/// A measure of the victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Running and waiting for CPUs, disks and the kernel, for each second of running: what the same work takes.
    SameWork,
    /// Running, for each second.
    Work,
    /// Reads and writes, for each second.
    Calls,
    /// Times it was given a CPU, for each second.
    Turns,
}

impl Measure {
    pub(crate) const ALL: [Measure; 4] = [Measure::SameWork, Measure::Work, Measure::Calls, Measure::Turns];

    /// `None` where the phase has too little of it.
    pub(crate) fn of(self, sample: &Sample) -> Option<f64> {
        let length = sample.length.as_secs_f64();
        let (running, queued, blocked) =
            (sample.running.as_secs_f64(), sample.queued.as_secs_f64(), sample.blocked.as_secs_f64());
        if length <= 0.0 {
            return None;
        }
        match self {
            Measure::SameWork => (running >= HARDLY_RUNS * length).then(|| (running + queued + blocked) / running),
            Measure::Work => Some(running / length),
            Measure::Calls => Some(sample.calls as f64 / length),
            Measure::Turns => Some(sample.switches as f64 / length),
        }
    }

    fn name(self) -> (&'static str, &'static str) {
        match self {
            Measure::SameWork => ("time for the same work, as a multiple of its time on a CPU", "1"),
            Measure::Work => ("work done (time on a CPU)", "s/s"),
            Measure::Calls => ("reads and writes", "{call}/s"),
            Measure::Turns => ("times it was given a CPU", "1/s"),
        }
    }

    pub(crate) fn more_is_better(self) -> bool {
        self != Measure::SameWork
    }

    /// `the same work took 48 % less time`.
    pub(crate) fn said(self, effect: Ratio) -> String {
        let (by, more) = (Ratio(effect.0.abs()), effect.0 > 0.0);
        let word = if more { "more" } else { "less" };
        match self {
            Measure::SameWork => format!("its work took {by} {word} time"),
            Measure::Work => format!("it did {by} {word} work (time on a CPU)"),
            Measure::Calls => format!("it did {by} {word} reads and writes"),
            Measure::Turns => format!("it was given a CPU {by} {word} often"),
        }
    }

    /// In every phase, with the effect; `None` where a phase has too little of it.
    pub(crate) fn measured(self, rounds: &[Round]) -> Option<Measured> {
        let mut without = Vec::new();
        let mut with = Vec::new();
        let mut effects = Vec::new();
        for round in rounds {
            let (before, during, after) = (self.of(&round.before)?, self.of(&round.during)?, self.of(&round.after)?);
            without.extend([before, after]);
            with.push(during);
            effects.push(relative(during, (before + after) / 2.0));
        }
        let effect = median(&effects)?;
        let usual = median(&without)?;
        let (lowest, highest) = range(&without);
        let p = if effect < 0.0 { rank_sum(&with, &without) } else { rank_sum(&without, &with) };
        let (name, unit) = self.name();
        let (from, to) = range(&effects);
        Some(Measured {
            name: name.to_owned(),
            unit: unit.to_owned(),
            more_is_better: self.more_is_better(),
            without,
            with,
            effect: Ratio(effect),
            from: Ratio(from),
            to: Ratio(to),
            spread: Ratio(if usual > 0.0 { (highest - lowest) / usual } else { 0.0 }),
            p,
        })
    }
}

/// ours: something where there was nothing is told as a thousand percent.
const MOST: f64 = 10.0;

fn relative(with: f64, without: f64) -> f64 {
    if without > 0.0 {
        (with / without - 1.0).min(MOST)
    } else if with > 0.0 {
        MOST
    } else {
        0.0
    }
}

fn range(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(*v), high.max(*v)))
}

/// What a trial proves, and by which measure.
#[derive(Debug)]
pub(crate) struct Judgement {
    pub(crate) verdict: Verdict,
    pub(crate) measure: Option<Measure>,
    pub(crate) measured: Option<Measured>,
    pub(crate) why: String,
}

/// By which measure a victim is judged: for a competitor, the time that the same work takes, where the victim loses some that
/// way without the change, else how much it does; for a dependency, how much it does. What it did with the change has no
/// say in it, but that it must be there.
pub(crate) fn choose(rounds: &[Round], expect: Option<Expect>) -> Measure {
    let controls = || rounds.iter().flat_map(|round| [&round.before, &round.after]);
    let mut sum = Sample::default();
    controls().for_each(|sample| sum.add(sample));
    let lost = (sum.queued + sum.blocked).as_secs_f64();
    let loses = lost >= LEAST_EFFECT * (lost + sum.running.as_secs_f64());
    let everywhere = Measure::SameWork.measured(rounds).is_some();
    if expect != Some(Expect::Stops) && loses && everywhere {
        return Measure::SameWork;
    }
    // Who hardly uses a CPU is told better by how often.
    let runs = sum.running.as_secs_f64() >= HARDLY_RUNS * sum.length.as_secs_f64();
    if runs { Measure::Work } else { Measure::Turns }
}

/// Judges rounds. `claim` is the part of the victim's time that the accusation is about, where one was measured.
pub(crate) fn judge(rounds: &[Round], expect: Option<Expect>, claim: Option<Ratio>) -> Judgement {
    let measure = choose(rounds, expect);
    let Some(measured) = measure.measured(rounds) else {
        let why = "the victim did too little to be measured".to_owned();
        return Judgement { verdict: Verdict::Unclear, measure: None, measured: None, why };
    };
    let better = (measured.effect.0 > 0.0) == measure.more_is_better();
    let went = if better { Expect::Helps } else { Expect::Stops };
    let sides = if expect.is_none() { 2.0 } else { 1.0 };
    let moved = measured.p * sides <= CHANCE && measured.effect.0.abs() >= LEAST_EFFECT;
    let less_work = Measure::Work.measured(rounds).is_some_and(|w| w.effect.0 <= GIVES_UP && w.p <= CHANCE);
    let (verdict, why) = if measure == Measure::SameWork && better && moved && less_work {
        let verdict = if expect == Some(Expect::Helps) { Verdict::Refuted } else { Verdict::Confirmed };
        (verdict, "but it did much less of it: it depends on what was held rather than competes with it".to_owned())
    } else if moved && expect.is_none_or(|expect| expect == went) {
        (Verdict::Confirmed, String::new())
    } else if moved {
        (Verdict::Refuted, format!("it should have {}", if went == Expect::Stops { "helped" } else { "held it up" }))
    } else {
        let wanted = expect.unwrap_or(went);
        // The most that a round speaks for it.
        let toward_better = if wanted == Expect::Helps { 1.0 } else { -1.0 };
        let sign = if measure.more_is_better() { toward_better } else { -toward_better };
        let most = (measured.from.0 * sign).max(measured.to.0 * sign);
        let claimed = claim.map_or(REFUTED_BELOW, |claim| REFUTED_BELOW.max(claim.0 / 2.0));
        if most < claimed {
            (Verdict::Refuted, "that is no more than it varies by itself".to_owned())
        } else {
            (Verdict::Unclear, "it varies too much by itself to tell".to_owned())
        }
    };
    Judgement { verdict, measure: Some(measure), measured: Some(measured), why }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::time::Duration;

    /// A second in which the victim ran, queued and was blocked for so many milliseconds.
    pub(crate) fn second(running: u64, queued: u64, blocked: u64) -> Sample {
        let ms = Duration::from_millis;
        Sample {
            length: ms(1000),
            running: ms(running),
            queued: ms(queued),
            blocked: ms(blocked),
            switches: running,
            calls: running,
            bytes: 0,
            looks: 100,
        }
    }

    fn rounds(samples: [[Sample; 3]; 3]) -> Vec<Round> {
        samples.into_iter().map(|[before, during, after]| Round { before, during, after }).collect()
    }

    fn competitor() -> Vec<Round> {
        rounds([
            [second(500, 480, 0), second(990, 5, 0), second(510, 470, 0)],
            [second(490, 490, 0), second(985, 8, 0), second(505, 480, 0)],
            [second(495, 485, 0), second(980, 9, 0), second(500, 490, 0)],
        ])
    }

    #[test]
    fn a_competitors_absence_helps() {
        let seen = judge(&competitor(), Some(Expect::Helps), None);
        assert_eq!((seen.verdict, seen.measure), (Verdict::Confirmed, Some(Measure::SameWork)), "{seen:?}");
        let measured = seen.measured.unwrap();
        assert!((measured.effect.0 + 0.49).abs() < 0.01, "{measured:?}");
        assert!((measured.p - 1.0 / 84.0).abs() < 1e-9 && measured.spread.0 < 0.06);
        assert_eq!(judge(&competitor(), Some(Expect::Stops), None).verdict, Verdict::Refuted, "it should have stopped");
        assert_eq!(judge(&competitor(), None, None).verdict, Verdict::Confirmed);
    }

    #[test]
    fn a_paced_victim_does_no_more_but_waits_less() {
        let seen = judge(
            &rounds([
                [second(100, 80, 0), second(100, 2, 0), second(101, 85, 0)],
                [second(99, 82, 0), second(100, 1, 0), second(100, 79, 0)],
                [second(100, 78, 0), second(99, 3, 0), second(100, 81, 0)],
            ]),
            Some(Expect::Helps),
            Some(Ratio(0.4)),
        );
        assert_eq!((seen.verdict, seen.measure), (Verdict::Confirmed, Some(Measure::SameWork)), "{seen:?}");
    }

    #[test]
    fn a_dependencys_absence_stops_it() {
        let still = second(0, 0, 0);
        let held = rounds([
            [second(300, 0, 0), still, second(310, 0, 0)],
            [second(290, 0, 0), still, second(305, 0, 0)],
            [second(300, 0, 0), still, second(295, 0, 0)],
        ]);
        let seen = judge(&held, Some(Expect::Stops), None);
        assert_eq!((seen.verdict, seen.measure), (Verdict::Confirmed, Some(Measure::Work)), "{seen:?}");
        assert_eq!(seen.measured.unwrap().effect, Ratio(-1.0));
        let wrong = judge(&held, Some(Expect::Helps), None);
        assert_eq!(wrong.verdict, Verdict::Refuted, "{wrong:?}");
        assert!(wrong.why.contains("should have helped"), "{}", wrong.why);
    }

    #[test]
    fn what_moves_nothing_is_refuted_and_noise_is_unclear() {
        let same = rounds([
            [second(500, 480, 0), second(505, 470, 0), second(510, 470, 0)],
            [second(490, 490, 0), second(495, 480, 0), second(505, 480, 0)],
            [second(495, 485, 0), second(492, 490, 0), second(500, 490, 0)],
        ]);
        for expect in [Some(Expect::Helps), Some(Expect::Stops), None] {
            let seen = judge(&same, expect, None);
            assert_eq!(seen.verdict, Verdict::Refuted, "{expect:?}: {seen:?}");
        }
        let noise = rounds([
            [second(500, 100, 0), second(500, 500, 0), second(500, 900, 0)],
            [second(500, 900, 0), second(500, 200, 0), second(500, 500, 0)],
            [second(500, 300, 0), second(500, 900, 0), second(500, 100, 0)],
        ]);
        assert_eq!(judge(&noise, Some(Expect::Helps), None).verdict, Verdict::Unclear);
        let nothing = rounds([[Sample::default(); 3]; 3]);
        assert_eq!(judge(&nothing, Some(Expect::Helps), None).verdict, Verdict::Unclear);
    }

    #[test]
    fn an_effect_that_nobody_would_feel_confirms_nothing() {
        let by = |queued: u64| {
            let round =
                |shift: u64| [second(500, 480 + shift, 0), second(500, queued + shift, 0), second(500, 482 + shift, 0)];
            judge(&rounds([round(0), round(1), round(2)]), Some(Expect::Helps), None).verdict
        };
        // Of 982 ms for the same work, 3 % and 6 %.
        assert_eq!(by(450), Verdict::Refuted);
        assert_eq!(by(420), Verdict::Confirmed);
        assert_eq!(by(481), Verdict::Refuted);
    }

    #[test]
    fn who_stops_for_want_of_its_client_is_not_helped() {
        // Its waiting goes away with its work.
        let seen = judge(
            &rounds([
                [second(500, 480, 0), second(20, 1, 0), second(510, 470, 0)],
                [second(490, 490, 0), second(21, 1, 0), second(505, 480, 0)],
                [second(495, 485, 0), second(19, 1, 0), second(500, 490, 0)],
            ]),
            Some(Expect::Helps),
            None,
        );
        assert_eq!(seen.verdict, Verdict::Refuted, "{seen:?}");
        assert!(seen.why.contains("depends on"), "{}", seen.why);
    }
}
