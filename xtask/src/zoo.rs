//! Runs friday on faulty and healthy programs and scores what it says against the truth.

mod cgroup;
mod scenario;
mod score;
mod stage;

use crate::processes::{self, Stop};
use crate::results::{give_to_caller, now};
use crate::root;
use scenario::Scenario;
use score::{Mark, Said, Totals};
use serde::Serialize;
use stage::Stage;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// ours: friday is done this long after its window at the latest.
const AFTER_WINDOW: Duration = Duration::from_secs(180);

/// What the command line asks for.
struct Options {
    friday: PathBuf,
    window: String,
    list: bool,
    hold: bool,
    names: Vec<String>,
}

/// One line of the table, and of `scores.json`.
#[derive(Debug, Default, Serialize)]
struct Row {
    scenario: String,
    truth: String,
    said: String,
    confidence: String,
    share: Option<f64>,
    culprit: String,
    mark: Option<Mark>,
    wall_seconds: Option<f64>,
    overhead_cpu_percent: Option<f64>,
    note: String,
}

/// Runs the scenarios asked for, all by default, and says whether all of them could be run.
pub fn run(args: &[String]) -> Result<bool, String> {
    let options = parse(args)?;
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask lies in no workspace")?;
    let mut scenarios = scenario::load_all(&tree.join("zoo/scenarios"))?;
    if let Some(name) = options.names.iter().find(|name| !scenarios.iter().any(|s| s.name == **name)) {
        return Err(format!("no such scenario: {name}; --list shows them"));
    }
    scenarios.retain(|scenario| options.names.is_empty() || options.names.contains(&scenario.name));
    if options.list {
        for Scenario { name, cause, expect, about, .. } in &scenarios {
            println!("{name:<28} {:<22} {about}", cause.clone().unwrap_or(expect.join("/")));
        }
        return Ok(true);
    }
    if !root::is_root() {
        return Err(root::again("zoo", args));
    }
    provide(tree, &scenarios)?;
    processes::take_charge();
    let programs = tree.join("zoo/programs");
    if options.hold {
        return scenarios.iter().try_for_each(|scenario| hold(scenario, &programs)).map(|()| true);
    }
    if !options.friday.is_file() {
        return Err(format!("{} is not there: ./x build makes it", options.friday.display()));
    }

    let results = tree.join("zoo/results").join(now()?);
    fs::create_dir_all(&results).map_err(|e| format!("{}: {e}", results.display()))?;
    let (mut totals, mut rows, mut all_ran) = (Totals::default(), Vec::new(), true);
    for scenario in &scenarios {
        eprintln!("zoo: {} ({})", scenario.name, scenario.about);
        let mut row = Row { scenario: scenario.name.clone(), ..Row::default() };
        row.truth = scenario.cause.clone().unwrap_or(scenario.expect.join("/"));
        match play(scenario, &programs, &options, &results.join(&scenario.name)) {
            Ok((said, seconds)) => {
                let mark = score::mark(scenario, &said);
                totals.add(mark, seconds);
                row.tell(&said, mark, seconds);
                row.note = score::note(scenario, &said, mark);
            }
            Err(Stop::Skip(reason)) => row.note = format!("skipped: {reason}"),
            Err(Stop::Broken(reason)) => {
                all_ran = false;
                row.note = format!("not run: {reason}");
            }
            Err(Stop::Interrupted) => return Err("interrupted; everything that was started is gone".into()),
        }
        eprintln!("zoo: {}", row.line());
        rows.push(row);
    }

    let table: String = std::iter::once(Row::heading()).chain(rows.iter().map(Row::line)).map(|l| l + "\n").collect();
    let ending = totals.line();
    let scores = serde_json::to_string_pretty(&rows).map_err(|e| e.to_string())?;
    let stored = fs::write(results.join("scores.json"), scores);
    stored
        .and_then(|()| fs::write(results.join("table.txt"), format!("{table}{ending}\n")))
        .map_err(|e| e.to_string())?;
    give_to_caller(&tree.join("zoo/results"));
    print!("{table}");
    println!("stored in {}", results.display());
    println!("{ending}");
    Ok(all_ran)
}

fn parse(args: &[String]) -> Result<Options, String> {
    let this = std::env::current_exe().map_err(|e| e.to_string())?;
    let target = this.parent().and_then(Path::parent).ok_or("xtask lies in no target folder")?;
    let friday = target.join("release/friday");
    let mut options = Options { friday, window: "10s".into(), list: false, hold: false, names: Vec::new() };
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().cloned().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--friday" => options.friday = value()?.into(),
            "--for" => options.window = value()?,
            "--list" => options.list = true,
            "--hold" => options.hold = true,
            flag if flag.starts_with('-') => return Err(format!("no such option: {flag}")),
            name => options.names.push(name.to_string()),
        }
    }
    Ok(options)
}

/// Seconds of a duration as friday takes it: `20`, `20s` or `2m`.
fn seconds(text: &str) -> Result<u64, String> {
    let (digits, factor) = match text.strip_suffix('m') {
        Some(minutes) => (minutes, 60),
        None => (text.strip_suffix('s').unwrap_or(text), 1),
    };
    digits.parse::<u64>().map(|n| n * factor).map_err(|_| format!("--for takes 20, 20s or 2m, not {text}"))
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
fn hold(scenario: &Scenario, programs: &Path) -> Result<(), String> {
    let stage = match Stage::set(scenario, programs) {
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
fn play(scenario: &Scenario, programs: &Path, options: &Options, results: &Path) -> Result<(Said, f64), Stop> {
    let limit = Duration::from_secs(seconds(&options.window)?) + AFTER_WINDOW;
    let mut stage = Stage::set(scenario, programs)?;
    fs::create_dir_all(results).map_err(|e| format!("{}: {e}", results.display()))?;
    let create = |name| File::create(results.join(name)).map_err(|e| format!("{}: {e}", results.display()));

    let case = stage.dir().join("case").display().to_string();
    let mut words: Vec<String> = vec![options.friday.display().to_string()];
    words.extend(["run", "--format", "json", "--case", &case, "--for", &options.window].map(String::from));
    match (scenario.target.as_str(), stage.pid(&scenario.target)) {
        ("command", _) => {
            words.push("--".into());
            words.extend(scenario.command.iter().cloned());
        }
        (_, Some(pid)) => words.extend(["-p".into(), pid.to_string()]),
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

impl Row {
    fn tell(&mut self, said: &Said, mark: Mark, seconds: f64) {
        self.mark = Some(mark);
        self.wall_seconds = Some(seconds);
        self.overhead_cpu_percent = said.overhead.cpu_percent;
        match said.findings.first() {
            Some(first) => {
                self.said = first.cause.clone();
                self.confidence = first.confidence.clone();
                self.share = first.share;
                self.culprit = format!("{} {}", first.culprit.kind, first.culprit.name);
            }
            None => self.said = said.conclusion.clone(),
        }
    }

    fn heading() -> String {
        columns(["scenario", "truth", "rank 1", "confidence", "share", "culprit", "result", "seconds", "cpu %", "note"])
    }

    fn line(&self) -> String {
        let result = match self.mark {
            Some(Mark::Top1) => "ok",
            Some(Mark::Top3) => "top3",
            Some(Mark::Miss) => "MISS",
            Some(Mark::Quiet) => "ok",
            Some(Mark::FalsePositive) => "FALSE",
            None => "-",
        };
        let number = |value: Option<f64>, digits| value.map_or(String::new(), |n| format!("{n:.digits$}"));
        columns([
            &self.scenario,
            &self.truth,
            &self.said,
            &self.confidence,
            &number(self.share, 2),
            &self.culprit,
            result,
            &number(self.wall_seconds, 1),
            &number(self.overhead_cpu_percent, 2),
            &self.note,
        ])
    }
}

fn columns(cells: [&str; 10]) -> String {
    const WIDTHS: [usize; 10] = [26, 21, 21, 10, 5, 32, 6, 7, 5, 0];
    let padded: Vec<String> = cells.iter().zip(WIDTHS).map(|(cell, width)| format!("{cell:<width$}")).collect();
    padded.join("  ").trim_end().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        let options = parse(&["--for", "5s", "disk-saturated", "--hold"].map(String::from)).unwrap();
        assert_eq!((options.window.as_str(), options.hold, options.list), ("5s", true, false));
        assert_eq!(options.names, ["disk-saturated"]);
        assert!(parse(&["--fast".into()]).is_err());
        assert!(parse(&["--for".into()]).is_err());
    }

    #[test]
    fn durations_are_those_of_friday() {
        assert_eq!(["20", "20s", "2m"].map(|text| seconds(text).unwrap()), [20, 20, 120]);
        assert!(seconds("soon").is_err());
    }

    #[test]
    fn a_row_shows_what_was_said_first() {
        let said: Said = serde_json::from_str(
            r#"{ "conclusion": "found", "overhead": { "cpu_percent": 0.42 }, "findings": [
                { "cause": "app.sleeps", "confidence": "possible", "share": 0.9,
                  "culprit": { "kind": "function", "name": "await_turn" } } ] }"#,
        )
        .unwrap();
        let mut row = Row::default();
        row.tell(&said, Mark::Top1, 10.25);
        let line = row.line();
        assert!(
            ["app.sleeps", "possible", "0.90", "function await_turn", "ok", "0.42"].iter().all(|w| line.contains(w))
        );
    }
}
