//! `friday experiment load`: micro-benchmarks, judged against what this machine did when it was well, or its class.

use crate::{
    Usage,
    args::{Format, Level},
    cases,
    experiment::NotAllowed,
    print,
    progress::Progress,
    run::color,
};
use experiments::load::{self, Benchmark, Kept, Place, judge};
use observe::{Absent, Observed};
use report::{Style, board};
use std::{
    error::Error,
    fs,
    io::{self, BufRead, IsTerminal, Write},
    path::{Path, PathBuf},
    time::Duration,
};

/// Where results are kept, in the folder that holds the cases.
const KEPT: &str = "benchmarks.json";

/// What is wanted.
pub struct Wanted<'a> {
    pub names: &'a [String],
    pub folder: &'a Path,
    pub keep: bool,
    pub allow: Option<Level>,
    pub format: Format,
}

/// Runs them and prints their lights.
pub fn run(wanted: &Wanted) -> Result<(), Box<dyn Error>> {
    let chosen = chosen(wanted.names)?;
    ask(&chosen, wanted.allow)?;
    let root = cases::root()?;
    let kept = kept(&root);
    let place = Place { folder: wanted.folder.to_owned() };
    let mut progress = Progress::new(Duration::ZERO);
    let mut tests = Vec::new();
    let mut fresh = Vec::new();
    for benchmark in chosen {
        progress.say(&format!("{}: {} ({})", benchmark.id, benchmark.about, benchmark.bound));
        let seen: Observed<load::Measured> = benchmark.measure(&place);
        let before = kept.iter().find(|kept| kept.id == benchmark.id);
        tests.push(judge(benchmark, &seen, before));
        if let Ok(seen) = seen.as_ref().map_err(Absent::clone) {
            fresh.push(Kept {
                id: benchmark.id.to_owned(),
                at: cases::now(),
                median: seen.median,
                least: seen.least,
                most: seen.most,
            });
        }
    }
    if wanted.keep {
        keep(&root, kept, fresh)?;
        progress.say("these results are what later ones are compared with");
    }
    match wanted.format {
        Format::Json => print(&(serde_json::to_string_pretty(&tests)? + "\n")),
        Format::Text => print(&board::board(&tests, Style { color: color() })),
    }
}

fn chosen(names: &[String]) -> Result<Vec<&'static Benchmark>, Usage> {
    let is = |benchmark: &Benchmark, name: &String| {
        benchmark.id == *name || benchmark.id.strip_prefix("load.") == Some(name)
    };
    let all = load::all();
    if let Some(unknown) = names.iter().find(|name| !all.iter().any(|benchmark| is(benchmark, name))) {
        let ids: Vec<&str> = all.iter().map(|benchmark| benchmark.id.trim_start_matches("load.")).collect();
        return Err(Usage(format!("no benchmark is called `{unknown}`; there are {}", ids.join(", "))));
    }
    Ok(all.iter().copied().filter(|b| names.is_empty() || names.iter().any(|name| is(b, name))).collect())
}

/// Goes on only if it may: by `--allow`, or because somebody at the terminal says so.
fn ask(chosen: &[&Benchmark], allowed: Option<Level>) -> Result<(), Box<dyn Error>> {
    if allowed >= Some(Level::Load) {
        return Ok(());
    }
    let what = format!("put load on this machine with {} micro-benchmarks", chosen.len());
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(NotAllowed::NobodyToAsk { what, level: "load" }.into());
    }
    let mut text = format!("This will {what}:\n");
    for benchmark in chosen {
        text += &format!("  {}: {}\n", benchmark.id, benchmark.bound);
    }
    text += "Go on? [y/N] ";
    let mut err = io::stderr().lock();
    err.write_all(text.as_bytes())?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") { Ok(()) } else { Err(NotAllowed::No.into()) }
}

/// What was kept; nothing where that cannot be read.
fn kept(root: &Path) -> Vec<Kept> {
    let text = fs::read_to_string(root.join(KEPT)).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// Results that could not be kept.
#[derive(Debug, thiserror::Error)]
#[error("cannot keep the results in {}: free some space there, or make it writable", path.display())]
struct KeepError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

fn keep(root: &Path, mut all: Vec<Kept>, fresh: Vec<Kept>) -> Result<(), Box<dyn Error>> {
    all.retain(|old| !fresh.iter().any(|new| new.id == old.id));
    all.extend(fresh);
    let path = root.join(KEPT);
    let aside = root.join(format!(".{KEPT}-{}", std::process::id()));
    let text = serde_json::to_string_pretty(&all)? + "\n";
    let written =
        fs::create_dir_all(root).and_then(|()| fs::write(&aside, text)).and_then(|()| fs::rename(&aside, &path));
    written.map_err(|source| {
        let _ = fs::remove_file(&aside);
        KeepError { path, source }.into()
    })
}
