//! Checks friday's critical path against programs that log themselves what their first thread's time was spent on, and its
//! shares against what is gained by really removing something.

mod account;
mod options;
mod pair;
mod pairs;
mod programs;
mod stage;
mod table;

use crate::machine::{self, Machine};
use crate::processes::{self, Stop};
use crate::results::{give_to_caller, now};
use crate::root;
use account::Account;
use options::Options;
use pair::Compared;
use pairs::PAIRS;
use programs::{PROGRAMS, Program};
use serde::{Deserialize, Serialize};
use stage::Stage;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// ours: every program is done long before; friday stops when it is.
const WINDOW: &str = "30s";
/// ours: friday is done within this.
const LIMIT: Duration = Duration::from_secs(120);
/// ours: so much of a job's time the program itself accounts for, in percent; else the run says nothing.
const ACCOUNTED: f64 = 93.0;

/// The stored result.
#[derive(Serialize)]
struct Report<'a> {
    schema: &'static str,
    begun: &'a str,
    machine: Machine,
    friday: Option<String>,
    programs: &'a [Scored],
    pairs: &'a [Compared],
    skipped: &'a [Skipped],
}

/// What one program and friday said.
#[derive(Debug, Serialize)]
struct Scored {
    program: &'static str,
    language: &'static str,
    job_seconds: f64,
    right_percent: f64,
    truth: Account,
    friday: Account,
}

/// A program that was left out.
#[derive(Debug, Serialize)]
struct Skipped {
    name: &'static str,
    reason: String,
}

/// One of the paths that friday prints.
#[derive(Deserialize)]
struct Said {
    about: String,
    rows: Vec<account::Row>,
}

/// Checks the programs asked for, all by default, and says whether friday is right enough on each.
pub fn run(args: &[String]) -> Result<bool, String> {
    let mut options = options::parse(args)?;
    if options.list {
        PROGRAMS.iter().for_each(|one| println!("{:<18} {:<12} {}", one.name, one.language, one.about));
        PAIRS.iter().for_each(|pair| println!("{:<18} {:<12} {}", pair.name, "C", pair.about));
        return Ok(true);
    }
    let absent = |_| format!("{} is not there: ./x build makes it", options.friday.display());
    options.friday = options.friday.canonicalize().map_err(absent)?;
    // The user's compiler, which root may not know.
    let found = options.provide();
    if !root::is_root() {
        return Err(root::again("truth", &[args, &found].concat()));
    }
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask lies in no workspace")?;
    let begun = now()?;
    processes::take_charge();
    check(&options, tree, &begun).map_err(|stop| match stop {
        Stop::Interrupted => "interrupted; everything that was started is gone".into(),
        Stop::Skip(reason) | Stop::Broken(reason) => reason,
    })
}

fn check(options: &Options, tree: &Path, begun: &str) -> Result<bool, Stop> {
    let results = tree.join("truth/results");
    let folder = results.join(begun);
    fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let sources = tree.join("truth/programs");
    let (mut scored, mut compared, mut skipped, mut sound) = (Vec::new(), Vec::new(), Vec::new(), true);
    let mut skip = |name, stop| {
        sound &= matches!(stop, Stop::Skip(_));
        let (Stop::Skip(reason) | Stop::Broken(reason)) = stop else { return Err(stop) };
        eprintln!("truth: {name} is skipped: {reason}");
        skipped.push(Skipped { name, reason });
        Ok(())
    };
    for program in &options.programs {
        eprintln!("truth: {}: {}", program.name, program.about);
        match one(program, options, &sources, &folder.join(program.name)) {
            Ok(row) => scored.push(row),
            Err(stop) => skip(program.name, stop)?,
        }
    }
    for pair in &options.pairs {
        eprintln!("truth: {}: {}", pair.name, pair.about);
        match pair::compare(pair, options, &sources, &folder.join(pair.name)) {
            Ok(both) => compared.extend(both),
            Err(stop) => skip(pair.name, stop)?,
        }
    }
    let report = Report {
        schema: "friday.truth/1",
        begun,
        machine: Machine::look(&["/usr/bin/python3", "perl", "node", "java", "go"]),
        friday: machine::version(&options.friday.display().to_string()),
        programs: &scored,
        pairs: &compared,
        skipped: &skipped,
    };
    let file = folder.join("truth.json");
    let text = serde_json::to_string_pretty(&report).map_err(|e| e.to_string())?;
    fs::write(&file, text).map_err(|e| format!("{}: {e}", file.display()))?;
    give_to_caller(&results);
    print!("{}", table::text(&scored, &compared));
    skipped.iter().for_each(|skip| println!("skipped {}: {}", skip.name, skip.reason));
    println!("stored in {}", file.display());
    Ok(sound && scored.iter().all(Scored::right) && compared.iter().all(Compared::right))
}

/// Runs one program under friday and compares what both say.
fn one(program: &'static Program, options: &Options, sources: &Path, kept: &Path) -> Result<Scored, Stop> {
    let stage = Stage::set(program, sources, &options.rustc)?;
    fs::create_dir_all(kept).map_err(|e| format!("{}: {e}", kept.display()))?;
    let (printed, logged) = (kept.join("path.json"), kept.join("friday.log"));
    let create = |path: &Path| File::create(path).map_err(|e| format!("{}: {e}", path.display()));
    let mut command = Command::new(&options.friday);
    command.args(["path", "--for", WINDOW, "--format", "json", "--case"]).arg(stage.dir().join("case")).arg("--");
    command.args(program.command).current_dir(stage.dir());
    command.stdout(create(&printed)?).stderr(create(&logged)?);
    for name in ["SUDO_UID", "SUDO_GID", "SUDO_USER"] {
        command.env_remove(name);
    }
    let child = processes::bind(&mut command).spawn().map_err(|e| format!("friday: {e}"))?;
    let (status, _) = processes::wait(child, LIMIT)?;
    drop(stage);
    let read = |path: &Path| fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()));
    let log = read(&logged)?;
    if !status.success() {
        return Err(Stop::Broken(format!("friday: {status}: {}", log.trim().lines().last().unwrap_or_default())));
    }
    let said: Vec<Said> = serde_json::from_str(&read(&printed)?).map_err(|e| format!("friday's JSON: {e}"))?;
    let path = said.into_iter().find(|path| path.about.starts_with("the command"));
    let friday = Account::said(&path.map_or(Vec::new(), |path| path.rows));
    let (truth, job) = Account::logged(&log)?;
    if truth.sum() < job * ACCOUNTED / 100.0 {
        let part = 100.0 * truth.sum() / job;
        return Err(Stop::Broken(format!("disturbed: the program accounts for {part:.0} % of its time only")));
    }
    let right_percent = 100.0 * truth.told_by(&friday);
    Ok(Scored { program: program.name, language: program.language, job_seconds: job, right_percent, truth, friday })
}
