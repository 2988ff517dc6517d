//! Checks what friday says is different from a baseline: a service looked at as it was, and again after something was done to
//! it, or nothing.

mod cases;
mod options;
mod services;
mod stage;
mod table;

use crate::machine::{self, Machine};
use crate::processes::{self, Stop};
use crate::results::{give_to_caller, now};
use crate::root;
use cases::{CASES, Change};
use options::Options;
use serde::{Deserialize, Serialize};
use services::{SERVICES, Service};
use stage::Stage;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// ours: friday is done within this.
const LIMIT: Duration = Duration::from_secs(120);

/// The stored result.
#[derive(Serialize)]
struct Report<'a> {
    schema: &'static str,
    machine: Machine,
    friday: Option<String>,
    window: &'a str,
    rows: &'a [Row],
}

/// What one comparison came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    service: String,
    round: usize,
    case: String,
    /// What is wrong with what friday says; empty when it is right.
    wrong: String,
}

impl Row {
    fn right(&self) -> bool {
        self.wrong.is_empty()
    }
}

/// Rows that were stored before.
#[derive(Deserialize)]
struct Stored {
    rows: Vec<Row>,
}

/// What friday prints.
#[derive(Deserialize)]
struct Said {
    compared: Option<Compared>,
}

#[derive(Deserialize)]
struct Compared {
    changes: Vec<Change>,
}

/// Checks the services asked for, all by default, and says whether friday is right each time.
pub fn run(args: &[String]) -> Result<bool, String> {
    let mut options = options::parse(args)?;
    if options.list {
        SERVICES.iter().for_each(|one| println!("{:<12} {}", one.name, one.about));
        return Ok(true);
    }
    let absent = |_| format!("{} is not there: ./x build makes it", options.friday.display());
    options.friday = options.friday.canonicalize().map_err(absent)?;
    if !root::is_root() {
        return Err(root::again("baseline", args));
    }
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask lies in no workspace")?;
    let results = tree.join("baseline/results");
    let folder = options.resume.clone().map_or_else(|| Ok(results.join(now()?)), Ok::<_, String>)?;
    fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    processes::take_charge();
    let checked = check(&options, &tree.join("baseline/programs"), &folder);
    give_to_caller(&results);
    checked.map_err(|stop| match stop {
        Stop::Interrupted => "interrupted; everything that was started is gone".into(),
        Stop::Skip(reason) | Stop::Broken(reason) => reason,
    })
}

fn check(options: &Options, programs: &Path, folder: &Path) -> Result<bool, Stop> {
    let file = folder.join("baseline.json");
    let mut rows = match fs::read_to_string(&file) {
        Ok(text) => serde_json::from_str::<Stored>(&text).map_err(|e| format!("{}: {e}", file.display()))?.rows,
        Err(_) => Vec::new(),
    };
    let mut sound = true;
    for service in (0..options.repeat).flat_map(|_| &options.services) {
        let rounds = rows.iter().filter(|row| row.service == service.name).map(|row| row.round);
        let round = rounds.max().unwrap_or(0) + 1;
        eprintln!("baseline: {} round {round}: {}", service.name, service.about);
        match one(service, round, options, programs, &folder.join(format!("{}-{round}", service.name))) {
            Ok(mut of_round) => rows.append(&mut of_round),
            Err(Stop::Interrupted) => return Err(Stop::Interrupted),
            Err(Stop::Skip(reason)) => eprintln!("baseline: {} is skipped: {reason}", service.name),
            Err(Stop::Broken(reason)) => {
                sound = false;
                eprintln!("baseline: {} was not run: {reason}", service.name);
            }
        }
        let report = Report {
            schema: "friday.baseline/1",
            machine: Machine::look(&["redis-server", "postgres", "/usr/bin/python3"]),
            friday: machine::version(&options.friday.display().to_string()),
            window: &options.window,
            rows: &rows,
        };
        let text = serde_json::to_string_pretty(&report).map_err(|e| e.to_string())?;
        fs::write(&file, text).map_err(|e| format!("{}: {e}", file.display()))?;
    }
    print!("{}", table::text(&rows));
    println!("stored in {}", file.display());
    Ok(sound && rows.iter().all(Row::right))
}

/// Plays every case with one service.
fn one(
    service: &'static Service,
    round: usize,
    options: &Options,
    programs: &Path,
    kept: &Path,
) -> Result<Vec<Row>, Stop> {
    let mut stage = Stage::set(service, programs)?;
    fs::create_dir_all(kept).map_err(|e| format!("{}: {e}", kept.display()))?;
    let before = kept.join("before");
    look(&mut stage, options, None, &before)?;
    let seconds = options.seconds();
    let asked = stage.asked(seconds);
    let mut rows = Vec::new();
    for case in CASES {
        let set = case.play(&mut stage, service)?;
        let changes = look(&mut stage, options, Some(&before), &kept.join(case.name().replace(' ', "-")))?;
        drop(set);
        let times = stage.asked(seconds) / asked;
        case.undo(&mut stage, service)?;
        let program = stage.program().display().to_string();
        let wrong = case.wrong(&changes, times, service.process, &program).unwrap_or_default();
        let (service, case) = (service.name.to_string(), case.name().to_string());
        eprintln!("baseline: {case}: {}", if wrong.is_empty() { "right" } else { &wrong });
        rows.push(Row { service, round, case, wrong });
    }
    Ok(rows)
}

/// Has friday look at a service and compare it with a case, and says what is different.
fn look(stage: &mut Stage, options: &Options, before: Option<&PathBuf>, case: &Path) -> Result<Vec<Change>, Stop> {
    let (printed, logged) = (case.with_extension("json"), case.with_extension("log"));
    let create = |path: &Path| File::create(path).map_err(|e| format!("{}: {e}", path.display()));
    let none = PathBuf::from("none");
    let mut command = Command::new(&options.friday);
    command.args(["run", "--for", &options.window, "--format", "json", "-p", &stage.pid().to_string()]);
    command.arg("--case").arg(case).arg("--baseline").arg(before.unwrap_or(&none));
    command.stdout(create(&printed)?).stderr(create(&logged)?);
    for name in ["SUDO_UID", "SUDO_GID", "SUDO_USER"] {
        command.env_remove(name);
    }
    let child = processes::bind(&mut command).spawn().map_err(|e| format!("friday: {e}"))?;
    let (status, _) = processes::wait(child, LIMIT)?;
    stage.check()?;
    let read = |path: &Path| fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()));
    if !status.success() {
        let log = read(&logged)?;
        return Err(Stop::Broken(format!("friday: {status}: {}", log.trim().lines().last().unwrap_or_default())));
    }
    let said: Said = serde_json::from_str(&read(&printed)?).map_err(|e| format!("friday's JSON: {e}"))?;
    match (said.compared, before) {
        (Some(compared), _) => Ok(compared.changes),
        (None, None) => Ok(Vec::new()),
        (None, Some(_)) => Err(Stop::Broken("friday compared with nothing".into())),
    }
}
