//! Checks friday's ledger and stacks on real programs under load, against tools that its authors did not write.

mod compare;
mod figures;
mod folded;
mod loads;
mod look;
mod names;
mod options;
mod oracle;
mod perf;
mod scene;
mod table;

use crate::machine::{self, Machine};
use crate::processes::{self, Stop};
use crate::results::{give_to_caller, now};
use crate::root;
use compare::Flat;
use figures::Surveyed;
use loads::{LOADS, Load};
use look::Look;
use options::Options;
use scene::Scene;
use serde::Serialize;
use std::fs;
use std::path::Path;

/// ours: so many samples of friday's, or the last window: the error of a function's share is then below two points.
const ENOUGH_SAMPLES: u64 = 2500;
/// ours: the windows of one program, at most.
const MOST_WINDOWS: usize = 4;
/// What one program usually takes, in minutes.
const PROGRAM_MINUTES: f64 = 1.5;

/// The stored result.
#[derive(Serialize)]
struct Report<'a> {
    schema: &'static str,
    begun: &'a str,
    machine: Machine,
    friday: Option<String>,
    window_seconds: f64,
    programs: &'a [Surveyed],
    skipped: &'a [Skipped],
}

/// A program that was left out.
#[derive(Debug, Serialize)]
struct Skipped {
    name: &'static str,
    reason: String,
}

/// Surveys the programs asked for, all by default, and says whether nothing falls short of its target.
pub fn run(args: &[String]) -> Result<bool, String> {
    let mut options = options::parse(args)?;
    if options.list {
        LOADS.iter().for_each(|load| println!("{:<14} {}", load.name, load.about));
        return Ok(true);
    }
    if !options.friday.is_file() {
        return Err(format!("{} is not there: ./x build makes it", options.friday.display()));
    }
    // What is built is built as the user, whose compiler root may not know.
    let made = options.provide()?;
    if !root::is_root() {
        return Err(root::again("survey", &[args, &made].concat()));
    }
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask lies in no workspace")?;
    let begun = now()?;
    processes::take_charge();
    survey(&options, tree, &begun).map_err(|stop| match stop {
        Stop::Interrupted => "interrupted; everything that was started is gone".into(),
        Stop::Skip(reason) | Stop::Broken(reason) => reason,
    })
}

fn survey(options: &Options, tree: &Path, begun: &str) -> Result<bool, Stop> {
    let results = tree.join("survey/results");
    let folder = results.join(begun);
    fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    eprintln!("survey: about {:.0} minutes to go", 1.0 + PROGRAM_MINUTES * options.loads.len() as f64);
    let (mut programs, mut skipped, mut sound) = (Vec::new(), Vec::new(), true);
    for load in &options.loads {
        eprintln!("survey: {}: {}", load.name, load.about);
        match one(load, options, &tree.join("survey/programs"), &folder) {
            Ok(surveyed) => programs.push(surveyed),
            Err(Stop::Interrupted) => return Err(Stop::Interrupted),
            Err(stop) => {
                sound &= matches!(stop, Stop::Skip(_));
                let (Stop::Skip(reason) | Stop::Broken(reason)) = stop else { continue };
                eprintln!("survey: {} is skipped: {reason}", load.name);
                skipped.push(Skipped { name: load.name, reason });
            }
        }
    }
    let report = Report {
        schema: "friday.survey/1",
        begun,
        machine: Machine::look(&["redis-server", "nginx", "node", "/usr/bin/python3", "java", "perf"]),
        friday: machine::version(&options.friday.display().to_string()),
        window_seconds: options.seconds,
        programs: &programs,
        skipped: &skipped,
    };
    let file = folder.join("survey.json");
    let text = serde_json::to_string_pretty(&report).map_err(|e| e.to_string())?;
    fs::write(&file, text).map_err(|e| format!("{}: {e}", file.display()))?;
    give_to_caller(&results);
    print!("{}", table::text(&programs));
    skipped.iter().for_each(|skip| println!("skipped {}: {}", skip.name, skip.reason));
    println!("stored in {}", file.display());
    Ok(sound && programs.iter().all(|program| program.shortfalls().is_empty()))
}

/// One program: friday and perf in turn while it is loaded, then framehop.
fn one(load: &'static Load, options: &Options, programs: &Path, results: &Path) -> Result<Surveyed, Stop> {
    let mut scene = Scene::set(load, programs, &options.rustc)?;
    let kept = results.join(load.name);
    fs::create_dir_all(&kept).map_err(|e| format!("{}: {e}", kept.display()))?;
    let mut seen = Seen::default();
    for number in 1..=MOST_WINDOWS {
        scene.refresh_names()?;
        let beside = perf::beside(&scene, options.seconds);
        let target = (!load.many).then(|| scene.pid());
        let look = look::look(options, &scene, target, &kept.join(format!("case-{number}")))?;
        seen.friday.add_all(&look.on_cpu);
        eprintln!("survey: {} window {number}: {} samples on CPU", load.name, look.on_cpu.total());
        seen.looks.push(look);
        seen.profiled(beside.and_then(|recording| perf::end(recording, &scene)), |seen| &mut seen.beside)?;
        seen.profiled(perf::alone(&scene), |seen| &mut seen.alone)?;
        match reason(perf::twice(&scene))? {
            Ok(both) => seen.twice.iter_mut().zip(&both).for_each(|(sum, flat)| sum.add_all(flat)),
            Err(why) => seen.blind = Some(why),
        }
        scene.check()?;
        if seen.friday.total() >= ENOUGH_SAMPLES {
            break;
        }
    }
    let busiest = oracle::busiest(&scene)?;
    if load.many {
        seen.busiest = Some(look::look(options, &scene, Some(busiest), &kept.join("case-busiest"))?);
    }
    let agreement = reason(oracle::compare(options, &scene, busiest))?;
    let aliases = names::Aliases::of(&scene.pids());
    Ok(Surveyed::of(load, seen, &aliases, agreement))
}

/// What was seen of one program.
#[derive(Default)]
pub struct Seen {
    looks: Vec<Look>,
    /// Of a program of several processes, the busiest alone: the other windows are of the whole machine.
    busiest: Option<Look>,
    friday: Flat,
    beside: Flat,
    alone: Flat,
    /// At the same time, often and as often as friday samples.
    twice: [Flat; 2],
    /// Why perf said nothing.
    blind: Option<String>,
}

impl Seen {
    fn profiled(&mut self, flat: Result<Flat, Stop>, whose: fn(&mut Seen) -> &mut Flat) -> Result<(), Stop> {
        match reason(flat)? {
            Ok(flat) => whose(self).add_all(&flat),
            Err(why) => self.blind = Some(why),
        }
        Ok(())
    }
}

/// A failure that the survey goes on without, as words.
fn reason<T>(done: Result<T, Stop>) -> Result<Result<T, String>, Stop> {
    match done {
        Ok(value) => Ok(Ok(value)),
        Err(Stop::Interrupted) => Err(Stop::Interrupted),
        Err(Stop::Skip(why) | Stop::Broken(why)) => Ok(Err(why)),
    }
}
