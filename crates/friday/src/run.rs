//! `friday run`: one window on the live system, its conclusion, its case.

use crate::{
    args::{Format, Level, Run},
    command::Held,
    compared, experiment, print,
    progress::Progress,
    prove, statement,
};
use case::Document;
use observe::{Pid, Recording, Target, TargetKind};
use report::{FoldedKind, Style};
use std::{
    error::Error,
    fs,
    io::IsTerminal,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};
use week::{Request, Roots, Session, Span, Tier, target};

/// How often the probes are drained.
const POLL: Duration = Duration::from_millis(100);

/// What is wanted of a window.
#[derive(Clone, Copy)]
pub enum Wanted<'a> {
    /// Everything.
    Causes,
    /// Everything, to compare later runs with.
    Baseline,
    /// The critical path from an event window of so many episodes at most, and the event window in a file.
    Path { episodes: usize, trace: Option<&'a Path> },
}

/// When the event window opens. A command is followed from its start; else what is in the middle of the window has settled,
/// and is still there if the run is ended a little early.
fn span(args: &Run, wanted: Wanted) -> Span {
    /// ours: long enough for a few hundred requests, short enough to stay cheap.
    const LENGTH: Duration = Duration::from_secs(3);
    /// ours: friday stays under 150 MB.
    const MOST: usize = 150_000;
    let part = |part| args.window.mul_f64(part);
    match wanted {
        Wanted::Path { episodes, .. } => Span { after: Duration::ZERO, length: args.window, most: episodes },
        Wanted::Causes | Wanted::Baseline if !args.command.is_empty() => {
            Span { after: Duration::ZERO, length: LENGTH.max(part(0.2)), most: MOST }
        }
        Wanted::Causes | Wanted::Baseline => Span { after: part(0.5), length: LENGTH.min(part(0.2)), most: MOST },
    }
}

/// Runs one window and prints what it comes to.
pub fn run(args: &Run, wanted: Wanted) -> Result<(), Box<dyn Error>> {
    let given = statement::given(&args.statement)?;
    let roots = Roots { btf: args.btf.clone(), ..Roots::default() };
    let mut progress = Progress::new(args.window);
    experiment::mention_leftovers(&mut progress);
    let mut held = None;
    let chosen = if args.command.is_empty() {
        let request = request(args);
        if let Some(note) = target::note(&roots, &request) {
            progress.say(&note);
        }
        target::resolve(&roots, &request)?
    } else {
        let child = Held::start(&args.command)?;
        let pid = Pid(child.pid);
        held = Some(child);
        let program = Path::new(&args.command[0]).file_name().unwrap_or(&args.command[0]);
        let name = program.to_string_lossy().into_owned();
        Target { kind: TargetKind::Command, pid: Some(pid), name, members: vec![pid] }
    };
    let place = place(args.case.as_deref(), &chosen, &mut progress)?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let more = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGUSR1, Arc::clone(&more))?;
    let what = match chosen.kind {
        TargetKind::System => "the whole machine".to_owned(),
        _ => format!("{} ({} processes)", chosen.name, chosen.members.len()),
    };
    progress.say(&format!("watching {what} for {:.0} s", args.window.as_secs_f64()));
    let tools = week::plugged::usual(is_root()).begin(&roots);
    let mut session = Session::start(&roots, chosen, args.tier)?;
    session.with_tools(tools);
    if args.tier >= Tier::Events {
        session.plan_events(span(args, wanted));
    }
    if let Some(why) = session.blind().filter(|_| args.tier > Tier::Counters) {
        progress.say(&format!("the kernel cannot be traced, only /proc is read: {why}"));
    }
    if held.is_some() {
        // The event window is open before the command begins.
        session.poll();
    }
    let running = held.map(Held::release).transpose()?;
    let started = Instant::now();
    let mut window = args.window;
    while started.elapsed() < window && !stop.load(Ordering::Relaxed) {
        std::thread::sleep(POLL.min(window.saturating_sub(started.elapsed())));
        session.poll();
        if more.swap(false, Ordering::Relaxed) {
            window += args.window;
            progress.extend(window);
        }
        progress.at(started.elapsed());
        if let Some(how) = running.as_ref().and_then(|r| r.ended()) {
            progress.say(&how);
            break;
        }
    }
    progress.clear();
    let mut recording = session.finish();
    given.record(&mut recording);
    if !matches!(wanted, Wanted::Baseline) {
        compared::remember(args.baseline.as_deref(), &mut recording, &mut progress)?;
    }
    let case = place.as_deref().map_or_else(String::new, |dir| dir.display().to_string());
    let mut document = week::conclude(&recording, &case);
    if args.allow >= Some(Level::Change) && prove::prove(&document, &mut recording, &stop, &mut progress) {
        document = week::conclude(&recording, &case);
    }
    // What the user waits for comes before the files are drawn and kept.
    let told = tell(&document, &recording, args.format, wanted);
    let stored = store(place.as_deref(), args.html.as_deref(), &document, &recording);
    // A conclusion was reached, whatever became of the files.
    match (stored, wanted, place) {
        (Err(error), ..) => crate::complain(error.as_ref()),
        (Ok(()), Wanted::Baseline, Some(case)) => compared::keep(&case, &document, &mut progress)?,
        (Ok(()), Wanted::Baseline, None) => progress.say("there is no case, so no baseline either"),
        (Ok(()), ..) => {}
    }
    told
}

/// Prints the conclusion, and then writes the event window where it is wanted.
fn tell(document: &Document, recording: &Recording, format: Format, wanted: Wanted) -> Result<(), Box<dyn Error>> {
    match wanted {
        Wanted::Causes | Wanted::Baseline => show(document, recording, format),
        Wanted::Path { trace, .. } => {
            let shown = show_path(document, recording, format);
            if let Some(file) = trace {
                fs::write(file, report::perfetto(recording)).map_err(|source| PageError {
                    what: "the event window",
                    path: file.to_owned(),
                    flag: "--trace",
                    source,
                })?;
            }
            shown
        }
    }
}

fn request(args: &Run) -> Request {
    if let Some(pid) = args.pid {
        Request::Process(Pid(pid))
    } else if let Some(path) = &args.cgroup {
        Request::Cgroup(path.clone())
    } else if let Some(unit) = &args.unit {
        Request::Unit(unit.clone())
    } else {
        Request::System
    }
}

/// Where the case will go. A place that the user named must be usable; without one, the run goes on without a case.
pub fn place(
    named: Option<&Path>,
    target: &Target,
    progress: &mut Progress,
) -> Result<Option<PathBuf>, Box<dyn Error>> {
    let env = |name: &str| std::env::var_os(name);
    match case::place::choose(named, env, is_root(), SystemTime::now(), &target.name) {
        Ok(dir) => Ok(Some(dir)),
        Err(error) if named.is_some() => Err(error.into()),
        Err(error) => {
            progress.say(&format!("the case will not be kept: {error}"));
            Ok(None)
        }
    }
}

/// Stores the case and the page.
pub fn store(
    case: Option<&Path>,
    html: Option<&Path>,
    document: &Document,
    recording: &Recording,
) -> Result<(), Box<dyn Error>> {
    if case.is_none() && html.is_none() {
        return Ok(());
    }
    let page = report::html(document, recording);
    let folded = report::folded(recording, FoldedKind::Cpu);
    let written = html.map(|path| write_page(path, &page)).transpose();
    if let Some(dir) = case {
        case::save(dir, document, recording, case::Files { html: &page, cpu_folded: &folded })?;
    }
    written.map(|_| ())
}

/// Writes the report page to a file of the user's choice.
pub fn write_page(path: &Path, page: &str) -> Result<(), Box<dyn Error>> {
    let failed = |source| PageError { what: "the report page", path: path.to_owned(), flag: "--html", source };
    fs::write(path, page).map_err(failed)?;
    Ok(())
}

/// A file of the user's choice could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {what} to {}: choose another file with {flag} FILE", path.display())]
struct PageError {
    what: &'static str,
    path: PathBuf,
    flag: &'static str,
    #[source]
    source: std::io::Error,
}

/// Prints the critical paths on stdout.
fn show_path(document: &Document, recording: &Recording, format: Format) -> Result<(), Box<dyn Error>> {
    match format {
        Format::Json => print(&(serde_json::to_string_pretty(&document.paths)? + "\n")),
        Format::Text => print(&report::path(document, recording, Style { color: color() })),
    }
}

/// Whether this is root.
pub fn is_root() -> bool {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Whether stdout wants colour.
pub fn color() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Prints a conclusion on stdout.
pub fn show(document: &Document, recording: &Recording, format: Format) -> Result<(), Box<dyn Error>> {
    match format {
        Format::Json => {
            let mut text = serde_json::to_string_pretty(document)?;
            text.push('\n');
            print(&text)
        }
        Format::Text => print(&report::terminal(document, recording, Style { color: color() })),
    }
}
