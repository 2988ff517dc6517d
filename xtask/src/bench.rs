//! Measures side by side what friday and other tools cost the programs that run meanwhile.

mod figures;
mod loads;
mod machine;
mod options;
mod own;
mod parse;
mod place;
mod rounds;
mod table;
mod tools;

use crate::processes::{self, Stop};
use crate::results::{give_to_caller, now};
use crate::root;
use figures::LoadResult;
use loads::LOADS;
use machine::Machine;
use options::Options;
use place::Place;
use serde::Serialize;
use std::fs;
use std::path::Path;
use tools::{Friday, TOOLS, Tool};

/// What a round of one tool usually takes, in seconds.
const ROUND_SECONDS: usize = 9;

/// ours: a machine that is busier than this before a load is not quiet.
const QUIET_PERCENT: f64 = 10.0;

/// The stored result.
#[derive(Serialize)]
struct Report<'a> {
    schema: &'static str,
    begun: &'a str,
    machine: Machine,
    friday: String,
    loads: &'a [LoadResult],
    skipped: &'a [Skipped],
}

/// A load or a tool that was left out.
#[derive(Debug, Serialize)]
struct Skipped {
    name: &'static str,
    reason: String,
}

/// Measures what is asked for, everything by default, and says whether every round counts.
pub fn run(args: &[String]) -> Result<bool, String> {
    let options = options::parse(args)?;
    if options.list {
        LOADS.iter().for_each(|load| println!("load  {:<14} {}", load.name, load.about));
        TOOLS.iter().for_each(|tool| println!("tool  {:<14} {}", tool.name, tool.about));
        return Ok(true);
    }
    if !root::is_root() {
        return Err(root::again("bench", args));
    }
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask lies in no workspace")?;
    let begun = now()?;
    processes::take_charge();
    measure(&options, &tree.join("bench/results"), &begun).map_err(|stop| match stop {
        Stop::Interrupted => "interrupted; everything that was started is gone".into(),
        Stop::Skip(reason) | Stop::Broken(reason) => reason,
    })
}

fn measure(options: &Options, results: &Path, begun: &str) -> Result<bool, Stop> {
    let place = Place::make()?;
    let friday = Friday::ask(&options.friday)?;
    let machine = Machine::look();
    let (mut skipped, mut sound) = (Vec::new(), true);
    let mut tools = Vec::new();
    for tool in &options.tools {
        match try_out(tool, &friday, &place) {
            Ok(()) => tools.push(*tool),
            Err(Stop::Interrupted) => return Err(Stop::Interrupted),
            Err(stop) => {
                // A peer may be unfit for this machine; friday that fails is a fault.
                sound &= !tool.is_friday() || matches!(stop, Stop::Skip(_));
                let (Stop::Skip(reason) | Stop::Broken(reason)) = stop else { continue };
                eprintln!("bench: {} is skipped: {reason}", tool.name);
                skipped.push(Skipped { name: tool.name, reason });
                processes::end_descendants();
            }
        }
    }
    let rounds: usize = options.loads.iter().map(|load| options.rounds.unwrap_or(load.rounds)).sum();
    eprintln!("bench: about {} minutes to go", 1 + rounds * tools.len() * ROUND_SECONDS / 60);
    let mut loads = Vec::new();
    for load in &options.loads {
        match rounds::play(load, &tools, options.rounds.unwrap_or(load.rounds), &friday, &place) {
            Ok(result) => loads.push(result),
            Err(Stop::Interrupted) => return Err(Stop::Interrupted),
            Err(stop) => {
                sound &= matches!(stop, Stop::Skip(_));
                let (Stop::Skip(reason) | Stop::Broken(reason)) = stop else { continue };
                eprintln!("bench: {} is skipped: {reason}", load.name);
                skipped.push(Skipped { name: load.name, reason });
                processes::end_descendants();
            }
        }
    }
    drop(place);

    let report = Report {
        schema: "friday.bench/1",
        begun,
        machine,
        friday: friday.version.clone(),
        loads: &loads,
        skipped: &skipped,
    };
    let folder = results.join(begun);
    let file = folder.join("bench.json");
    let text = serde_json::to_string_pretty(&report).map_err(|e| e.to_string())?;
    let stored = fs::create_dir_all(&folder).and_then(|()| fs::write(&file, text));
    print!("{}", table::ratios(&loads, &tools));
    print!("{}", table::own_cost(&loads));
    skipped.iter().for_each(|skip| println!("skipped {}: {}", skip.name, skip.reason));
    let disturbed = loads.iter().map(LoadResult::disturbed_percent).fold(0.0, f64::max);
    if disturbed > QUIET_PERCENT {
        println!(
            "rough: other work kept the machine up to {disturbed:.0} % busy; on a quiet one the spread is smaller"
        );
    }
    for round in loads.iter().flat_map(|load| load.invalid()) {
        sound = false;
        println!("invalid {round}");
    }
    stored.map_err(|e| format!("{}: {e}", file.display()))?;
    give_to_caller(results);
    println!("stored in {}", file.display());
    Ok(sound)
}

/// Attaches a tool once and ends it, so that one that cannot work here costs no rounds.
fn try_out(tool: &Tool, friday: &Friday, place: &Place) -> Result<(), Stop> {
    eprintln!("bench: trying {}", tool.name);
    let dir = place.round()?;
    let mut attached = tools::attach(tool, friday, dir.path())?;
    attached.check()?;
    attached.end().map(|_| ())
}
