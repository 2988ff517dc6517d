//! A trial with a control: the victim is measured, the change made, the victim measured again, the change undone, and so on for
//! some rounds.

use crate::{
    Roots,
    change::{Change, ChangeError, Guarded, is_clean, journal::Report},
    judge::{self, Judgement, Measure, Round},
    meter::{Meter, Sample},
    statistics::Random,
};
use observe::{Expect, Experiment, Measured, Ratio, Verdict};
use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

/// Why a trial gave no result. What it had changed is undone.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The change could not be made or undone.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// Somebody ended it.
    #[error("it was ended before there was a result; everything is undone")]
    Stopped,
    /// There is nobody to watch any more.
    #[error("the victim has ended")]
    VictimEnded,
}

/// How a trial is made.
#[derive(Clone, Debug)]
pub struct Design {
    /// How often the change is made: at least three times, as fewer can prove nothing.
    pub rounds: u32,
    /// For how long the victim is measured each time.
    pub phase: Duration,
    /// What the change should do to it.
    pub expect: Option<Expect>,
    /// The part of the victim's time that the accusation is about, where one was measured.
    pub claim: Option<Ratio>,
}

/// With three phases with the change among nine, chance alone puts them at one end once in 84 times; with two among six, once
/// in 15, which is no proof.
pub const LEAST_ROUNDS: u32 = 3;
/// ours: longer than this no process is held at a time; clients give up after a few seconds.
pub const LONGEST_PHASE: Duration = Duration::from_secs(10);

/// ours: what was queued up is worked off before the victim is measured again.
const SETTLE: Duration = Duration::from_millis(200);
/// ours: phases differ by so much in length, so that they fall in step with nothing.
const JITTER: f64 = 0.2;
/// ours: how much longer than planned a trial may take before the guard undoes everything.
const PATIENCE: Duration = Duration::from_secs(15);

impl Design {
    /// How long the trial takes, about.
    pub fn length(&self) -> Duration {
        (self.phase * 3 + SETTLE * 2) * self.rounds
    }

    /// For how long of that the change is in effect.
    pub fn in_effect(&self) -> Duration {
        (self.phase + SETTLE) * self.rounds
    }
}

/// Where a trial takes place and on whom.
pub struct Setup<'a> {
    /// The kernel's files.
    pub roots: &'a Roots,
    /// Where the undo journal is kept.
    pub journal: &'a Path,
    /// friday itself, which is its own guard.
    pub program: &'a Path,
    /// Who is watched, with all that descends from them.
    pub victims: &'a [u32],
    /// To whom it is done.
    pub culprits: &'a [u32],
    /// The cause that is to be proved; empty where somebody tries by hand.
    pub cause: &'a str,
    /// Set when it is to end early.
    pub stop: &'a AtomicBool,
}

/// What a trial does to the system, so that tests can do without one.
pub(crate) trait Bench {
    fn apply(&mut self) -> Result<(), TrialError>;
    fn undo(&mut self) -> Result<(), TrialError>;
    /// Waits, then measures. `held` is the part of the time for which the culprit is held where that is less than all.
    fn measure(&mut self, settle: Duration, length: Duration, held: Option<f64>) -> Result<(Sample, f64), TrialError>;
}

/// The system itself.
pub(crate) struct Live<'a> {
    pub(crate) guarded: Guarded,
    pub(crate) change: &'a Change,
    pub(crate) meter: Meter,
    pub(crate) stop: &'a AtomicBool,
    pub(crate) random: Random,
    /// What became of each change as it was undone, the last time.
    pub(crate) undone: Vec<Report>,
    pub(crate) dirty: Vec<String>,
}

/// ours: how long one turn of holding and letting go takes: short against what people feel, long against the time that a stop
/// takes to arrive.
const TURN: Duration = Duration::from_millis(50);

impl<'a> Live<'a> {
    pub(crate) fn begin(setup: &Setup<'a>, change: &'a Change, length: Duration) -> Result<Live<'a>, TrialError> {
        let guarded =
            Guarded::begin(setup.roots, setup.journal, setup.program, &change.about, length.mul_f64(1.5) + PATIENCE)?;
        let seed = crate::change::clock_ticks() ^ u64::from(std::process::id()) << 32;
        Ok(Live {
            guarded,
            change,
            meter: Meter::new(setup.roots, setup.victims, setup.culprits),
            stop: setup.stop,
            random: Random::new(seed),
            undone: Vec::new(),
            dirty: Vec::new(),
        })
    }

    /// Until then: looks at the victim where it is measured, and holds the culprit for a part of the time.
    fn pass(&mut self, until: Instant, measures: bool, held: Option<f64>) -> Result<Duration, TrialError> {
        let mut turn = Instant::now();
        let mut holding = false;
        let mut since = turn;
        let mut sum = Duration::ZERO;
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(TrialError::Stopped);
            }
            let now = Instant::now();
            let mut next = until;
            if let Some(part) = held {
                if now >= turn + TURN {
                    turn = now;
                }
                let end = turn + TURN.mul_f64(part);
                let wants = now < end && now < until;
                if wants != holding {
                    self.guarded.hold(self.change, wants)?;
                    if holding {
                        sum += since.elapsed();
                    }
                    (holding, since) = (wants, Instant::now());
                }
                next = next.min(if wants { end } else { turn + TURN });
            }
            if now >= until {
                return Ok(sum);
            }
            if measures && self.meter.due().is_zero() {
                self.meter.look();
            }
            let due = if measures { self.meter.due() } else { Duration::from_millis(50) };
            std::thread::sleep(next.saturating_duration_since(Instant::now()).min(due));
        }
    }
}

impl Bench for Live<'_> {
    fn apply(&mut self) -> Result<(), TrialError> {
        Ok(self.guarded.apply(self.change)?)
    }

    fn undo(&mut self) -> Result<(), TrialError> {
        self.undone = self.guarded.undo()?;
        if !is_clean(&self.undone) {
            self.dirty.extend(self.undone.iter().map(Report::text));
        }
        Ok(())
    }

    fn measure(&mut self, settle: Duration, length: Duration, held: Option<f64>) -> Result<(Sample, f64), TrialError> {
        self.pass(Instant::now() + settle, false, held)?;
        let length = length.mul_f64(1.0 + JITTER * (self.random.part() - 0.5));
        self.meter.begin();
        let sum = self.pass(Instant::now() + length, true, held)?;
        let sample = self.meter.end();
        if !self.meter.lives() {
            return Err(TrialError::VictimEnded);
        }
        Ok((sample, sum.as_secs_f64() / sample.length.as_secs_f64().max(1e-9)))
    }
}

/// Measures without, with and without the change, as often as was planned.
pub(crate) fn rounds(
    bench: &mut dyn Bench,
    design: &Design,
    say: &mut dyn FnMut(&str),
) -> Result<Vec<Round>, TrialError> {
    let mut done = Vec::new();
    for number in 1..=design.rounds {
        say(&format!("round {number} of {}: without", design.rounds));
        let (before, _) = bench.measure(Duration::ZERO, design.phase, None)?;
        say(&format!("round {number} of {}: with", design.rounds));
        bench.apply()?;
        let during = bench.measure(SETTLE, design.phase, None);
        // Whatever became of it.
        bench.undo()?;
        let (during, _) = during?;
        say(&format!("round {number} of {}: without again", design.rounds));
        let (after, _) = bench.measure(SETTLE, design.phase, None)?;
        done.push(Round { before, during, after });
    }
    Ok(done)
}

/// Makes the trial. However it ends, everything is undone.
///
/// # Errors
/// The change cannot be made or undone, the victim has ended, or somebody stopped it.
pub fn conduct(
    setup: &Setup,
    change: &Change,
    design: &Design,
    say: &mut dyn FnMut(&str),
) -> Result<Experiment, TrialError> {
    let mut live = Live::begin(setup, change, design.length())?;
    let rounds = rounds(&mut live, design, say)?;
    let Live { guarded, undone, dirty, .. } = live;
    let last = guarded.end()?;
    let judgement = judge::judge(&rounds, design.expect, design.claim);
    let beside = Measure::ALL.into_iter().filter(|m| Some(*m) != judgement.measure).filter_map(|m| m.measured(&rounds));
    Ok(Experiment {
        said: said(change, design, &judgement),
        beside: beside.collect(),
        measure: judgement.measured,
        dose: None,
        verdict: judgement.verdict,
        ..outline(setup, change, design.expect, notes(change, undone, dirty, last))
    })
}

/// An experiment without its result.
pub(crate) fn outline(setup: &Setup, change: &Change, expect: Option<Expect>, notes: Vec<String>) -> Experiment {
    Experiment {
        kind: change.kind.to_owned(),
        about: change.about.clone(),
        cause: setup.cause.to_owned(),
        victim: setup.victims.first().copied().unwrap_or_default(),
        culprit: setup.culprits.first().copied(),
        expect,
        verdict: Verdict::Unclear,
        said: String::new(),
        measure: None,
        beside: Vec::new(),
        dose: None,
        notes,
    }
}

/// How it was left, the last time and wherever it was not as before.
pub(crate) fn notes(change: &Change, undone: Vec<Report>, dirty: Vec<String>, last: Vec<Report>) -> Vec<String> {
    let told = undone.iter().chain(&last).map(Report::text);
    let mut notes: Vec<String> = change.notes.iter().cloned().chain(told).chain(dirty).collect();
    let mut seen = std::collections::BTreeSet::new();
    notes.retain(|note| seen.insert(note.clone()));
    notes
}

/// `confirmed: meanwhile its work took 48 % less time (44 to 51 % in 3 rounds; by itself it varies by 6 %; p = 0.012)`.
fn said(change: &Change, design: &Design, judgement: &Judgement) -> String {
    let Judgement { verdict, measure: Some(measure), measured: Some(measured), why } = judgement else {
        return format!("{}: {}. Tried: {}.", judgement.verdict, judgement.why, change.about);
    };
    let why = if why.is_empty() { String::new() } else { format!(", {why}") };
    format!(
        "{verdict}: {}, {} times for {:.1} s: meanwhile {} ({}; by itself it varies by {}; p = {:.2}){why}.",
        change.about,
        design.rounds,
        design.phase.as_secs_f64(),
        measure.said(measured.effect),
        interval(measured),
        measured.spread,
        // A p of 0.012 is 0.01.
        measured.p.max(0.01),
    )
}

/// `44 to 51 % in 3 rounds`, of the size of the effect; with signs where the rounds disagree.
fn interval(measured: &Measured) -> String {
    let rounds = measured.with.len();
    let (from, to) = (measured.from.0 * 100.0, measured.to.0 * 100.0);
    if from >= 0.0 || to <= 0.0 {
        let (low, high) = (from.abs().min(to.abs()), from.abs().max(to.abs()));
        format!("{low:.0} to {high:.0} % in {rounds} rounds")
    } else {
        format!("{from:+.0} to {to:+.0} % in {rounds} rounds")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::tests::second;

    /// A system whose victim runs twice as much while the change is in effect.
    #[derive(Default)]
    struct Fake {
        applied: bool,
        log: Vec<&'static str>,
        fails_at: Option<usize>,
    }

    impl Bench for Fake {
        fn apply(&mut self) -> Result<(), TrialError> {
            self.applied = true;
            self.log.push("apply");
            Ok(())
        }

        fn undo(&mut self) -> Result<(), TrialError> {
            self.applied = false;
            self.log.push("undo");
            Ok(())
        }

        fn measure(&mut self, _: Duration, _: Duration, _: Option<f64>) -> Result<(Sample, f64), TrialError> {
            self.log.push("measure");
            if self.fails_at == Some(self.log.len()) {
                return Err(TrialError::Stopped);
            }
            Ok((if self.applied { second(900, 90, 0) } else { second(450, 540, 0) }, 0.0))
        }
    }

    fn design() -> Design {
        Design { rounds: 3, phase: Duration::from_secs(1), expect: Some(Expect::Helps), claim: None }
    }

    #[test]
    fn each_change_stands_between_two_controls() {
        let mut fake = Fake::default();
        let done = rounds(&mut fake, &design(), &mut |_| ()).unwrap();
        assert_eq!(fake.log[..5], ["measure", "apply", "measure", "undo", "measure"]);
        assert_eq!((fake.log.len(), done.len(), fake.applied), (15, 3, false));
        assert!(done.iter().all(|r| r.during.queued < r.before.queued && r.before == r.after));
    }

    #[test]
    fn what_is_stopped_in_the_middle_is_undone() {
        for at in 1..=15 {
            let mut fake = Fake { fails_at: Some(at), ..Fake::default() };
            let outcome = rounds(&mut fake, &design(), &mut |_| ());
            assert!(!fake.applied, "at {at}: {:?}", fake.log);
            let is_measure = [1, 3, 5, 6, 8, 10, 11, 13, 15].contains(&at);
            assert_eq!(outcome.is_err(), is_measure, "at {at}");
        }
    }

    #[test]
    fn what_was_found_is_said_in_a_sentence() {
        let mut fake = Fake::default();
        let done = rounds(&mut fake, &design(), &mut |_| ()).unwrap();
        let judgement = judge::judge(&done, Some(Expect::Helps), None);
        let change = Change {
            kind: "freeze",
            about: "freeze hog (pid 7) with SIGSTOP".into(),
            level: crate::change::Level::Change,
            notes: Vec::new(),
            acts: Vec::new(),
        };
        let text = said(&change, &design(), &judgement);
        assert_eq!(
            text,
            "confirmed: freeze hog (pid 7) with SIGSTOP, 3 times for 1.0 s: meanwhile its work took 50 % less time (50 to \
             50 % in 3 rounds; by itself it varies by 0 %; p = 0.01)."
        );
    }

    #[test]
    fn intervals_keep_their_sign_where_rounds_disagree() {
        let of = |from, to| {
            interval(&Measured {
                name: String::new(),
                unit: String::new(),
                more_is_better: true,
                without: vec![1.0; 6],
                with: vec![1.0; 3],
                effect: Ratio(0.0),
                from: Ratio(from),
                to: Ratio(to),
                spread: Ratio(0.0),
                p: 0.5,
            })
        };
        assert_eq!(of(-0.51, -0.44), "44 to 51 % in 3 rounds");
        assert_eq!(of(-0.03, 0.05), "-3 to +5 % in 3 rounds");
    }
}
