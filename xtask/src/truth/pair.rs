//! One pair: what is gained by really removing something, and what friday says would be.

use super::options::Options;
use super::pairs::{Pair, Thing, Variant};
use super::stage::Stage;
use crate::processes::{self, Stop};
use crate::programs::{create, last_words, present};
use crate::results::median;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// ours: friday's own default, and what it is most used with.
const WINDOW: &str = "5s";
/// ours: friday is done within this, and each run of a program too.
const LIMIT: Duration = Duration::from_secs(120);
/// ours: a program has settled by then.
const SETTLED: Duration = Duration::from_millis(500);

/// What the programs are called.
const WITH: &str = "worker";
const WITHOUT: &str = "worker-without";
const NEIGHBOUR: &str = "neighbour";
/// ours: runs with and without the thing take turns so often.
const ROUNDS: usize = 5;
/// ours: the program is long still at work when friday is done.
const ENDLESS: u32 = 1_000_000_000;
/// ours: friday is right where its share lies within so many points of the gain.
const WITHIN: f64 = 10.0;
/// ours: in both variants a thread waits for so much of the time, in percent; else the pair says nothing.
const WAITS: f64 = 20.0;
/// ours: removing that gains so much in one of them, in percent.
const GAINS: f64 = 50.0;
/// ours: and no more than this in the other, where I/O and neighbours still cost what CPUs share.
const GAINS_NOTHING: f64 = 10.0;

/// What one variant and friday said. In percent of the time.
#[derive(Debug, Serialize)]
pub struct Compared {
    /// The pair.
    pub pair: &'static str,
    /// The constant.
    pub own: u32,
    /// For how long the thread waited that waited longest for what is removed.
    pub waited_percent: f64,
    /// What removing it gained.
    pub gain_percent: f64,
    /// The seconds that the same work took with it, run by run.
    pub seconds_with: Vec<f64>,
    /// The same without.
    pub seconds_without: Vec<f64>,
    /// What friday says that removing it would gain: the shares of all findings that name it; nothing where there is none.
    pub share_percent: f64,
    /// Their causes.
    pub causes: Vec<String>,
    /// Some of these shares are upper bounds only.
    pub at_most: bool,
}

impl Compared {
    /// How many points friday says too much.
    pub fn points(&self) -> f64 {
        self.share_percent - self.gain_percent
    }

    /// Whether friday is right enough.
    pub fn right(&self) -> bool {
        self.points().abs() <= WITHIN
    }
}

/// The part of a case that is compared.
#[derive(Deserialize)]
struct Case {
    findings: Vec<Finding>,
}

/// A cause as friday gives it.
#[derive(Deserialize)]
struct Finding {
    cause: String,
    share: f64,
    share_is: String,
    victim: Party,
}

#[derive(Deserialize)]
struct Party {
    pid: Option<u32>,
}

/// Runs both variants.
pub fn compare(pair: &Pair, options: &Options, sources: &Path, kept: &Path) -> Result<Vec<Compared>, Stop> {
    present("cc")?;
    if std::thread::available_parallelism().map_or(1, |n| n.get()) < pair.cpus {
        return Err(Stop::Skip(format!("it takes {} CPUs", pair.cpus)));
    }
    let both = pair.variants.iter().map(|variant| {
        let bench = Bench::set(pair, variant, sources)?;
        bench.compare(&options.friday, &kept.join(variant.own.to_string()))
    });
    let both = both.collect::<Result<Vec<Compared>, Stop>>()?;
    says_something(&both)?;
    Ok(both)
}

/// Whether the two are a pair.
fn says_something(both: &[Compared]) -> Result<(), Stop> {
    let waits = both.iter().map(|one| one.waited_percent).fold(100.0, f64::min);
    let gains = both.iter().map(|one| one.gain_percent);
    let (most, least) = gains.fold((0.0, 100.0), |(most, least), gain| (f64::max(most, gain), f64::min(least, gain)));
    if waits >= WAITS && most >= GAINS && least <= GAINS_NOTHING {
        return Ok(());
    }
    let text =
        format!("disturbed: waits of {waits:.0} % at least, and gains of {most:.0} % and {least:.0} %, are no pair");
    Err(Stop::Broken(text))
}

/// One variant, ready to be run with and without.
struct Bench<'a> {
    stage: Stage,
    pair: &'a Pair,
    variant: &'a Variant,
}

impl<'a> Bench<'a> {
    fn set(pair: &'a Pair, variant: &'a Variant, sources: &Path) -> Result<Self, Stop> {
        let stage = Stage::empty()?;
        let own = format!("OWN={}", variant.own);
        let constants = |thing: Option<(&str, u32)>| {
            thing.map(|(name, value)| format!("{name}={value}")).into_iter().chain([own.clone()]).collect::<Vec<_>>()
        };
        let source = sources.join(pair.file);
        match pair.thing {
            Thing::Constant(name, with, without) => {
                stage.compile_c(&source, WITH, &constants(Some((name, with))))?;
                stage.compile_c(&source, WITHOUT, &constants(Some((name, without))))?;
            }
            Thing::Neighbour(file) => {
                stage.compile_c(&source, WITH, &constants(None))?;
                stage.compile_c(&source, WITHOUT, &constants(None))?;
                stage.compile_c(&sources.join(file), NEIGHBOUR, &[])?;
            }
        }
        Ok(Bench { stage, pair, variant })
    }

    fn compare(&self, friday: &Path, kept: &Path) -> Result<Compared, Stop> {
        fs::create_dir_all(kept).map_err(|e| format!("{}: {e}", kept.display()))?;
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            with.push(self.run(WITH)?);
            without.push(self.run(WITHOUT)?);
        }
        let middle =
            |runs: &[Ran], of: fn(&Ran) -> f64| median(&runs.iter().map(of).collect::<Vec<_>>()).unwrap_or(0.0);
        let gain = 1.0 - middle(&without, |ran| ran.job) / middle(&with, |ran| ran.job);
        let said = self.ask(friday, kept)?;
        Ok(Compared {
            pair: self.pair.name,
            own: self.variant.own,
            waited_percent: 100.0 * middle(&with, |ran| ran.waited / ran.job),
            gain_percent: 100.0 * gain,
            seconds_with: with.iter().map(|ran| ran.job).collect(),
            seconds_without: without.iter().map(|ran| ran.job).collect(),
            share_percent: 100.0 * said.iter().map(|finding| finding.share).sum::<f64>(),
            at_most: said.iter().any(|finding| finding.share_is == "at_most"),
            causes: said.into_iter().map(|finding| finding.cause).collect(),
        })
    }

    /// Does the work once.
    fn run(&self, program: &str) -> Result<Ran, Stop> {
        let _neighbour = self.neighbour(program)?;
        let log = self.stage.dir().join("log");
        let child = self.start(program, &[&self.variant.items.to_string()], Stdio::from(create(&log)?))?;
        let (status, _) = processes::wait(child, LIMIT)?;
        let text = fs::read_to_string(&log).map_err(|e| format!("{}: {e}", log.display()))?;
        Ran::logged(&text).ok_or_else(|| Stop::Broken(format!("{program}: {status}{}", last_words(&log))))
    }

    /// Asks friday about the program while it works.
    fn ask(&self, friday: &Path, kept: &Path) -> Result<Vec<Finding>, Stop> {
        let _neighbour = self.neighbour(WITH)?;
        let program = Running(self.start(WITH, &[&ENDLESS.to_string()], Stdio::null())?);
        processes::pause(SETTLED)?;
        let (printed, log) = (kept.join("case.json"), kept.join("friday.log"));
        let mut command = Command::new(friday);
        command.args(["run", "--for", WINDOW, "--format", "json", "--case"]).arg(kept.join("case"));
        command.args(["-p", &program.0.id().to_string()]).stdout(create(&printed)?).stderr(create(&log)?);
        for name in ["SUDO_UID", "SUDO_GID", "SUDO_USER"] {
            command.env_remove(name);
        }
        let child = processes::bind(&mut command).spawn().map_err(|e| format!("friday: {e}"))?;
        let (status, _) = processes::wait(child, LIMIT)?;
        if !status.success() {
            return Err(Stop::Broken(format!("friday: {status}{}", last_words(&log))));
        }
        let text = fs::read_to_string(&printed).map_err(|e| format!("{}: {e}", printed.display()))?;
        let case: Case = serde_json::from_str(&text).map_err(|e| format!("friday's JSON: {e}"))?;
        Ok(case.about(program.0.id(), self.pair.causes))
    }

    /// Starts whoever runs beside a program.
    fn neighbour(&self, program: &str) -> Result<Option<Running>, Stop> {
        if program == WITHOUT || !matches!(self.pair.thing, Thing::Neighbour(_)) {
            return Ok(None);
        }
        Ok(Some(Running(self.start(NEIGHBOUR, &[], Stdio::null())?)))
    }

    fn start(&self, program: &str, words: &[&str], errors: Stdio) -> Result<Child, Stop> {
        let mut command = Command::new(self.stage.dir().join(program));
        command.args(words).current_dir(self.stage.dir()).stdout(Stdio::null()).stderr(errors);
        Ok(processes::bind(&mut command).spawn().map_err(|e| format!("{program}: {e}"))?)
    }
}

/// Ends when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Seconds that a run took, and for how many of them the thread waited that waited longest.
#[derive(Debug, PartialEq)]
struct Ran {
    job: f64,
    waited: f64,
}

impl Ran {
    /// What a program logs: `waited MICROSECONDS` and `job MICROSECONDS`.
    fn logged(log: &str) -> Option<Ran> {
        let seconds = |name: &str| {
            let line = log.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
            Some(line.parse::<f64>().ok()? / 1e6)
        };
        Some(Ran { job: seconds("job").filter(|job| *job > 0.0)?, waited: seconds("waited")? })
    }
}

impl Case {
    /// The findings by which friday names a thing. Their shares are parts of one whole.
    fn about(self, victim: u32, causes: &[&str]) -> Vec<Finding> {
        let about = |one: &Finding| one.victim.pid == Some(victim) && causes.contains(&one.cause.as_str());
        self.findings.into_iter().filter(about).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(waited_percent: f64, gain_percent: f64, share_percent: f64) -> Compared {
        let (seconds_with, seconds_without) = (Vec::new(), Vec::new());
        let (pair, own, causes, at_most) = ("pair", 1, Vec::new(), false);
        Compared {
            pair,
            own,
            waited_percent,
            gain_percent,
            seconds_with,
            seconds_without,
            share_percent,
            causes,
            at_most,
        }
    }

    #[test]
    fn friday_is_right_within_ten_points_either_way() {
        assert!(compared(50.0, 60.0, 50.0).right() && compared(50.0, 60.0, 70.0).right());
        assert!(!compared(50.0, 60.0, 49.0).right() && !compared(50.0, 0.0, 11.0).right());
    }

    #[test]
    fn a_pair_waits_in_both_and_gains_in_one() {
        assert!(says_something(&[compared(50.0, 60.0, 0.0), compared(30.0, 1.0, 0.0)]).is_ok());
        for (waits, most, least) in [(10.0, 60.0, 1.0), (30.0, 30.0, 1.0), (30.0, 60.0, 20.0)] {
            assert!(says_something(&[compared(50.0, most, 0.0), compared(waits, least, 0.0)]).is_err());
        }
    }

    #[test]
    fn what_a_program_logs_is_read() {
        assert_eq!(Ran::logged("waited 500000\njob 2000000\n"), Some(Ran { job: 2.0, waited: 0.5 }));
        for log in ["", "job 1\n", "waited 1\njob 0\n", "waited 1\njob x\n"] {
            assert_eq!(Ran::logged(log), None, "{log}");
        }
    }

    #[test]
    fn findings_are_the_victims_and_of_the_causes() {
        let finding = |cause: &str, pid, share| Finding {
            cause: cause.into(),
            share,
            share_is: "estimate".into(),
            victim: Party { pid: Some(pid) },
        };
        let case = || Case { findings: vec![finding("a", 1, 0.2), finding("b", 1, 0.9), finding("a", 2, 0.5)] };
        let shares =
            |victim, causes: &[&str]| case().about(victim, causes).iter().map(|one| one.share).collect::<Vec<_>>();
        assert_eq!(shares(1, &["a"]), [0.2]);
        assert_eq!(shares(1, &["a", "b"]), [0.2, 0.9]);
        assert_eq!(shares(3, &["a"]), [0.0; 0]);
    }
}
