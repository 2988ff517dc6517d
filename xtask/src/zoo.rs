//! Runs friday on faulty and healthy programs and scores what it says against the truth.

mod again;
mod background;
mod board;
mod build;
mod cgroup;
mod options;
mod record;
mod row;
mod scenario;
mod score;
mod spawn;
mod stage;
mod totals;
mod turn;

use crate::processes::{self, Stop};
use crate::results::{give_to_caller, now};
use crate::root;
use options::Options;
use record::Record;
use row::Row;
use scenario::Scenario;
use score::Said;
use stage::Stage;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// ours: friday is done this long after its window at the latest.
const AFTER_WINDOW: Duration = Duration::from_secs(180);

/// Where things are.
struct Places {
    tree: PathBuf,
    programs: PathBuf,
    results: PathBuf,
    /// What compilers keep for the next time.
    kept: PathBuf,
}

/// Runs the scenarios asked for, all by default, and says whether all of them could be run.
pub fn run(args: &[String]) -> Result<bool, String> {
    let options = Options::parse(args)?;
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask lies in no workspace")?.to_path_buf();
    let places = Places {
        programs: tree.join("zoo/programs"),
        results: tree.join("zoo/results"),
        kept: tree.join("target/zoo"),
        tree,
    };
    let scenarios = options.choose(scenario::load_all(&places.tree.join("zoo/scenarios"))?)?;
    if options.list {
        for scenario in &scenarios {
            println!("{:<28} {:<22} {}", scenario.name, scenario.truth(), scenario.about);
        }
        return Ok(true);
    }
    if !root::is_root() && options.again.is_none() {
        return Err(root::again("zoo", args));
    }
    if options.hold {
        provide(&places.tree, &scenarios)?;
        processes::take_charge();
        return scenarios.iter().try_for_each(|scenario| hold(scenario, &places)).map(|()| true);
    }
    if !options.friday.is_file() {
        return Err(format!("{} is not there: ./x build makes it", options.friday.display()));
    }
    let folder = options.resume.clone().map_or_else(|| Ok(places.results.join(now()?)), Ok::<_, String>)?;
    if options.background {
        return background::start(args, &folder).map(|()| true);
    }
    if options.again.is_none() {
        provide(&places.tree, &scenarios)?;
    }
    processes::take_charge();
    let mut record = Record::open(folder, options.system)?;
    let played = play_all(&scenarios, &places, &options, &mut record);
    give_to_caller(&places.results);
    give_to_caller(&places.kept);
    let all_ran = played?;
    print!("{}", record.table());
    println!("stored in {}", record.folder().display());
    println!("{}", record.board());
    println!("{}", record.totals());
    Ok(all_ran)
}

/// Plays what has not been played yet, round by round.
fn play_all(scenarios: &[Scenario], places: &Places, options: &Options, record: &mut Record) -> Result<bool, String> {
    let mut all_ran = true;
    for (round, scenario) in (1..=options.repeat).flat_map(|round| scenarios.iter().map(move |s| (round, s))) {
        let mut row = Row::new(scenario, round);
        if record.has(&row.name()) {
            continue;
        }
        eprintln!("zoo: {} ({})", row.name(), scenario.about);
        let played = match &options.again {
            Some(folder) => again::replay(scenario, &options.friday, &folder.join(row.name())).map(|said| (said, 0.0)),
            None => play(scenario, places, options, &record.folder().join(row.name())),
        };
        match played {
            Ok((said, seconds)) => row.judge(scenario, &said, seconds),
            Err(Stop::Skip(reason)) => row.note = format!("skipped: {reason}"),
            Err(Stop::Broken(reason)) => {
                all_ran = false;
                row.note = format!("not run: {reason}");
            }
            Err(Stop::Interrupted) => {
                let folder = record.folder().display();
                return Err(format!("interrupted; everything that was started is gone; to go on: --resume {folder}"));
            }
        }
        eprintln!("zoo: {}", row.line());
        record.add(row)?;
    }
    Ok(all_ran)
}

/// Installs what the scenarios run.
fn provide(tree: &Path, scenarios: &[Scenario]) -> Result<(), String> {
    let mut packages: Vec<&String> = scenarios.iter().flat_map(|scenario| &scenario.packages).collect();
    packages.sort();
    packages.dedup();
    let status = Command::new(tree.join("x")).arg("provide").args(packages).status();
    if status.map_err(|e| format!("./x provide: {e}"))?.success() { Ok(()) } else { Err("packages are missing".into()) }
}

/// Sets a scenario up and leaves it running until Ctrl-C, to be looked at by hand.
fn hold(scenario: &Scenario, places: &Places) -> Result<(), String> {
    let stage = match Stage::set(scenario, &places.programs, &places.kept) {
        Ok(stage) => stage,
        Err(Stop::Skip(reason)) => return Err(format!("{} is skipped: {reason}", scenario.name)),
        Err(stop) => return Err(format!("{}: {stop:?}", scenario.name)),
    };
    println!("{} in {}; Ctrl-C ends it", scenario.name, stage.dir().display());
    stage.roles().for_each(|(role, pid)| println!("{pid} {role}"));
    while processes::pause(Duration::from_secs(3600)).is_ok() {}
    Ok(())
}

/// Plays one scenario and returns what friday said and how many seconds it took.
fn play(scenario: &Scenario, places: &Places, options: &Options, results: &Path) -> Result<(Said, f64), Stop> {
    let limit = Duration::from_secs(options.seconds()?) + AFTER_WINDOW;
    let _turn = turn::wait()?;
    let mut stage = Stage::set(scenario, &places.programs, &places.kept)?;
    fs::create_dir_all(results).map_err(|e| format!("{}: {e}", results.display()))?;
    let create = |name| File::create(results.join(name)).map_err(|e| format!("{}: {e}", results.display()));

    let case = results.join("case").display().to_string();
    let mut words: Vec<String> = vec![options.friday.display().to_string()];
    words.extend(["run", "--format", "json", "--case", &case, "--for", &options.window].map(String::from));
    match (scenario.target.as_str(), stage.pid(&scenario.target)) {
        ("command", _) => {
            words.push("--".into());
            words.extend(scenario.command.iter().cloned());
        }
        (_, Some(pid)) if !options.system => words.extend(["-p".into(), pid.to_string()]),
        _ => {}
    }
    let mut command = stage.command(&words)?;
    command.stdout(create("case.json")?).stderr(create("friday.log")?);
    for name in ["SUDO_UID", "SUDO_GID", "SUDO_USER"] {
        command.env_remove(name);
    }
    let child = command.spawn().map_err(|e| format!("{}: {e}", words[0]))?;
    let (status, wall) = processes::wait(child, limit)?;
    stage.check_alive()?;
    drop(stage);

    if !status.success() {
        let log = fs::read_to_string(results.join("friday.log")).unwrap_or_default();
        return Err(Stop::Broken(format!("friday: {status}: {}", log.trim().lines().last().unwrap_or_default())));
    }
    let text = fs::read_to_string(results.join("case.json")).map_err(|e| e.to_string())?;
    let said = serde_json::from_str(&text).map_err(|e| format!("friday's JSON: {e}"))?;
    Ok((said, wall.as_secs_f64()))
}
