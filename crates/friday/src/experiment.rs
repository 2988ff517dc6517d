//! `friday experiment`, `friday undo`, and the guard behind both: what is asked before, what is said after.

use crate::{
    args::{self, Experiment, Format, Guard, Kind, Level, Parties, Undo, Watched},
    load, print,
    progress::Progress,
};
use experiments::{
    Roots,
    change::{self, Change, ChangeError, journal},
    dose,
    trial::{self, Design, Setup},
};
use observe::Expect;
use serde::Serialize;
use std::{
    error::Error,
    io::{self, BufRead, IsTerminal, Write},
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

/// Nobody said that it may be done.
#[derive(Debug, thiserror::Error)]
pub enum NotAllowed {
    /// There is nobody to ask.
    #[error("this would {what}. Allow it with --allow {level}, or run it on a terminal, where friday asks")]
    NobodyToAsk { what: String, level: &'static str },
    /// The answer was no.
    #[error("nothing was changed")]
    No,
}

/// What there is, for `list`: name, what it does, and the level that it needs.
const CHANGES: [(&str, &str, &str); 9] = [
    ("freeze", "hold the culprit for some seconds", "change"),
    ("freeze --dose", "hold it for 10, 20 and 40 % of the time", "change"),
    ("weight", "lower the culprit's claim to CPUs", "change"),
    ("cpuset", "keep victim and culprit on different CPUs", "change"),
    ("io-limit", "limit the culprit's I/O", "change"),
    ("quota", "give a control group another CPU quota", "change"),
    ("sysctl", "change a setting below /proc/sys", "change"),
    ("thp", "switch transparent huge pages", "change"),
    ("zfs-l2arc", "do without the second-level cache of ZFS", "change"),
];

/// Where the undo journal is kept, and which program stands guard.
pub struct Places {
    pub roots: Roots,
    pub journal: PathBuf,
    pub program: PathBuf,
}

impl Places {
    /// Those of this machine.
    pub fn here() -> Result<Places, Box<dyn Error>> {
        let journal = journal::place(|name| std::env::var_os(name), change::is_root())?;
        // What runs now, even if its file was replaced since.
        let program = std::env::current_exe().ok().filter(|path| path.is_file());
        Ok(Places { roots: Roots::default(), journal, program: program.unwrap_or_else(|| "/proc/self/exe".into()) })
    }
}

/// Ctrl-C and its like end an experiment early, with everything undone.
fn stops() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

/// Says what an earlier friday has left changed.
pub fn mention_leftovers(progress: &mut Progress) {
    let Ok(dir) = journal::place(|name| std::env::var_os(name), change::is_root()) else { return };
    for left in journal::leftovers(&Roots::default(), &dir).iter().filter(|left| !left.in_use) {
        progress.say(&format!(
            "an earlier run could not undo what it changed ({}); `friday undo` does: {}",
            left.about,
            left.pending.join("; ")
        ));
    }
}

/// Runs one experiment and prints what it comes to.
pub fn run(args: &Experiment) -> Result<(), Box<dyn Error>> {
    if let Kind::Load { names, on, keep } = &args.kind {
        return load::run(&load::Wanted { names, folder: on, keep: *keep, allow: args.allow, format: args.format });
    }
    let roots = Roots::default();
    let Some(Plan { change, victims, culprits }) = plan(&roots, &args.kind)? else { return list(args.format) };
    let by_dose = matches!(args.kind, Kind::Freeze { dose: true, .. });
    let design = Design {
        rounds: args.rounds,
        phase: args.phase,
        expect: args.expect.map(|expect| match expect {
            args::Expect::Helps => Expect::Helps,
            args::Expect::Stops => Expect::Stops,
        }),
        claim: None,
    };
    let length = if by_dose { dose::length(&design) } else { design.length() };
    let mut progress = Progress::new(length);
    mention_leftovers(&mut progress);
    ask(&change, &design, by_dose, args.allow)?;
    let places = Places::here()?;
    let stop = stops()?;
    let setup = Setup {
        roots: &places.roots,
        journal: &places.journal,
        program: &places.program,
        victims,
        culprits,
        cause: "",
        stop: &stop,
    };
    progress.say(&format!("{}; about {:.0} s", change.about, length.as_secs_f64()));
    let mut say = |what: &str| progress.say(what);
    let done = if by_dose {
        dose::conduct(&setup, &change, &design, &mut say)?
    } else {
        trial::conduct(&setup, &change, &design, &mut say)?
    };
    match args.format {
        Format::Json => {
            #[derive(Serialize)]
            struct Document<'a> {
                schema: &'static str,
                #[serde(flatten)]
                experiment: &'a observe::Experiment,
            }
            let document = Document { schema: "friday.experiment/1", experiment: &done };
            print(&(serde_json::to_string_pretty(&document)? + "\n"))
        }
        Format::Text => print(&shown(&done)),
    }
}

/// What is to be done, and on whom.
struct Plan<'a> {
    change: Change,
    victims: &'a [u32],
    culprits: &'a [u32],
}

/// How a change of one process for the sake of another is planned: from the culprits and the victims.
type Planner<'p> = dyn Fn(&[u32], &[u32]) -> Result<Change, ChangeError> + 'p;

/// Nothing where only a list is wanted.
fn plan<'a>(roots: &Roots, kind: &'a Kind) -> Result<Option<Plan<'a>>, ChangeError> {
    let on = |parties: &'a Parties, plan: &Planner| {
        let (victims, culprits) = (&parties.watched.victims[..], &parties.culprits[..]);
        Ok(Some(Plan { change: plan(culprits, victims)?, victims, culprits }))
    };
    let setting = |watched: &'a Watched, change: Result<Change, ChangeError>| {
        Ok(Some(Plan { change: change?, victims: &watched.victims, culprits: &[] }))
    };
    match kind {
        Kind::List | Kind::Load { .. } => Ok(None),
        Kind::Freeze { parties, .. } => on(parties, &|c, v| change::freeze::plan(roots, c, v)),
        Kind::Weight { parties } => on(parties, &|c, v| change::weight::plan(roots, c, v)),
        Kind::Cpuset { parties } => on(parties, &|c, v| change::cpuset::plan(roots, c, v)),
        Kind::IoLimit { parties, rate } => on(parties, &|c, v| change::io_limit::plan(roots, c, v, *rate)),
        Kind::Quota { cgroup, cpus, watched } => setting(watched, change::quota::plan(roots, cgroup, cpus.0)),
        Kind::Sysctl { setting: text, watched } => {
            let (name, to) = text.split_once('=').ok_or_else(|| {
                ChangeError::Impossible("a setting is NAME=VALUE, such as vm.swappiness=10".to_owned())
            })?;
            setting(watched, change::sysctl::plan(roots, name.trim(), to.trim()))
        }
        Kind::ZfsL2arc { dataset, watched } => setting(watched, change::zfs_l2arc::plan(dataset)),
        Kind::Thp { to, watched } => setting(watched, change::thp::plan(roots, to)),
    }
}

/// Goes on only if it may: by `--allow`, or because somebody at the terminal says so.
fn ask(change: &Change, design: &Design, by_dose: bool, allowed: Option<Level>) -> Result<(), Box<dyn Error>> {
    let (needs, level) = match change.level {
        change::Level::Load => (Level::Load, "load"),
        change::Level::Change => (Level::Change, "change"),
        change::Level::Disrupt => (Level::Disrupt, "disrupt"),
    };
    if allowed >= Some(needs) {
        return Ok(());
    }
    let what = report::clean(&change.about);
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(NotAllowed::NobodyToAsk { what, level }.into());
    }
    let in_effect = if by_dose { design.phase * 3 * design.rounds } else { design.in_effect() };
    let times = if by_dose { design.rounds * 3 } else { design.rounds };
    let mut text = format!(
        "This will {what},\n{times} times, {:.0} s together, and undo it each time:\n",
        in_effect.as_secs_f64()
    );
    for line in change.lines() {
        text.push_str(&format!("  {}\n", report::clean(&line)));
    }
    for note in &change.notes {
        text.push_str(&format!("  Note: {}\n", report::clean(note)));
    }
    text.push_str("A guard process undoes it should friday be killed. Go on? [y/N] ");
    let mut err = io::stderr().lock();
    err.write_all(text.as_bytes())?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") { Ok(()) } else { Err(NotAllowed::No.into()) }
}

/// Every experiment there is.
fn list(format: Format) -> Result<(), Box<dyn Error>> {
    let benchmarks: Vec<(String, &str, &str)> =
        experiments::load::all().iter().map(|b| (b.id.replace("load.", "load "), b.about, "load")).collect();
    let changes = CHANGES.iter().map(|(name, about, level)| ((*name).to_owned(), *about, *level));
    let all: Vec<(String, &str, &str)> = benchmarks.into_iter().chain(changes).collect();
    if format == Format::Json {
        let rows: Vec<_> = all
            .iter()
            .map(|(name, about, level)| serde_json::json!({ "name": name, "about": about, "level": level }))
            .collect();
        return print(&(serde_json::to_string_pretty(&rows)? + "\n"));
    }
    let mut text = String::new();
    for (name, about, level) in all {
        text.push_str(&format!("{name:22} {about} (--allow {level})\n"));
    }
    print(&text)
}

/// An experiment for people.
fn shown(done: &observe::Experiment) -> String {
    let mut text = format!("{}\n", done.said);
    for (measured, first) in done.measure.iter().map(|m| (m, true)).chain(done.beside.iter().map(|m| (m, false))) {
        text.push_str(&format!(
            "\n{}{} [{}]\n  without {}\n  with    {}\n  change  {:+.0} % ({:+.0} to {:+.0} %)\n",
            if first { "" } else { "beside: " },
            measured.name,
            measured.unit,
            numbers(&measured.without),
            numbers(&measured.with),
            measured.effect.0 * 100.0,
            measured.from.0 * 100.0,
            measured.to.0 * 100.0,
        ));
    }
    if let Some(dose) = &done.dose {
        text.push_str("\nheld for  the measure against its median without\n");
        let mut points = dose.points.clone();
        points.sort_by(|a, b| a.0.0.total_cmp(&b.0.0));
        points.iter().for_each(|(held, y)| text.push_str(&format!("  {:5.1} %  {y:.3}\n", held.0 * 100.0)));
    }
    text.push('\n');
    done.notes.iter().for_each(|note| text.push_str(&format!("- {note}\n")));
    // Line by line: what is cleaned has no lines.
    text.lines().map(|line| report::clean(line) + "\n").collect()
}

fn numbers(values: &[f64]) -> String {
    let digits = |v: f64| if v.abs() < 10.0 { format!("{v:.3}") } else { format!("{v:.0}") };
    values.iter().map(|v| digits(*v)).collect::<Vec<_>>().join("  ")
}

/// Shows the journals that were left behind and replays them.
pub fn undo(args: &Undo) -> Result<(), Box<dyn Error>> {
    let roots = Roots::default();
    let dir = journal::place(|name| std::env::var_os(name), change::is_root())?;
    let found = journal::leftovers(&roots, &dir);
    if found.is_empty() {
        return print("Nothing to undo.\n");
    }
    let mut text = String::new();
    let mut failed = false;
    let line = |text: &mut String, what: &str| {
        text.push_str(&report::clean(what));
        text.push('\n');
    };
    for left in found {
        line(&mut text, &left.about);
        if args.show || left.in_use {
            if left.in_use {
                line(&mut text, "  its friday is still at work, and undoes it itself");
            }
            left.pending.iter().for_each(|step| line(&mut text, &format!("  {step}")));
            continue;
        }
        for report in journal::replay(&roots, &left.path)? {
            failed |= report.outcome.is_err();
            line(&mut text, &format!("  {}", report.text()));
        }
    }
    print(&text)?;
    if failed { Err("not everything could be undone; what is left stays in the journal".into()) } else { Ok(()) }
}

/// Stands by until friday ends, and undoes what it could not.
pub fn guard(args: &Guard) -> Result<(), Box<dyn Error>> {
    let reports =
        experiments::change::guard::stand(&Roots::default(), &args.journal, Duration::from_secs(args.patience))?;
    if !reports.is_empty() {
        let done: Vec<String> = reports.iter().map(journal::Report::text).collect();
        let text = format!("friday ended before it had undone its change; undone now: {}", done.join("; "));
        let _ = writeln!(io::stderr(), "friday guard: {}", report::clean(&text));
    }
    Ok(())
}
