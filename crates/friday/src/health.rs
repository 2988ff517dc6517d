//! `friday health` and `friday checklist`: lights, without looking for causes.

use crate::{
    Usage,
    args::{Checklist, ChecklistCommand, Format, Health, HealthCommand, Look},
    cases, print,
    progress::Progress,
    run::{color, is_root},
};
use observe::{Recording, Target};
use report::{Style, board};
use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    io::IsTerminal,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use week::{
    Asked, Roots, Session, Tier,
    checks::{self, Light, Rule, Test, Tool},
    plugged::{self, Places},
};

/// How often the probes are drained.
const POLL: Duration = Duration::from_millis(100);

/// The board, or what was asked about it.
pub fn health(args: &Health) -> Result<(), Box<dyn Error>> {
    match &args.command {
        Some(HealthCommand::List { format }) => return list(*format),
        Some(HealthCommand::Check { file }) => return check(file),
        None => {}
    }
    let mut places = Places::usual("health.d", |name| std::env::var_os(name));
    for program in &args.beside {
        places.beside(program);
    }
    for package in &args.package {
        places.package(package)?;
    }
    let tools = checks::tools();
    let asked = plugged::asked(&places, is_root());
    HEALTH.check(&args.names, &tools, &asked)?;
    let stop = stop()?;
    loop {
        let recording = watch(args.look.window, Tier::Stacks, asked.clone(), &stop)?;
        let tests = HEALTH.chosen(week::health(&recording), &args.names, &tools)?;
        if args.watch && std::io::stdout().is_terminal() {
            // Home, and nothing below.
            print("\u{1b}[H\u{1b}[2J")?;
        }
        show(&tests, &tools, &args.look, !args.names.is_empty())?;
        if !args.watch || stop.load(Ordering::Relaxed) {
            return Ok(());
        }
    }
}

/// The known issues.
pub fn checklist(args: &Checklist) -> Result<(), Box<dyn Error>> {
    let tools: Vec<Tool> = checks::checklist().iter().map(Tool::Rule).collect();
    if let Some(ChecklistCommand::List) = args.command {
        return print(&board::signatures(&tools, &records(), Style { color: color() }));
    }
    let asked = plugged::asked(&Places::usual("checklist.d", |name| std::env::var_os(name)), is_root());
    CHECKLIST.check(&args.names, &tools, &asked)?;
    let stop = stop()?;
    let recording = watch(args.look.window, Tier::Stacks, asked, &stop)?;
    let mut tests = checks::known_issues(&recording);
    tests.extend(checks::plugged_in(&recording));
    show(&CHECKLIST.chosen(tests, &args.names, &tools)?, &tools, &args.look, !args.names.is_empty())
}

/// How often each signature was right here, by the cases that were closed.
fn records() -> BTreeMap<String, (u32, u32)> {
    let records = cases::root().map(|root| case::records(&root)).unwrap_or_default();
    records.into_iter().map(|(id, record)| (id, (record.hits, record.misses))).collect()
}

/// Ends what is running, with a result.
pub fn stop() -> Result<Arc<AtomicBool>, Box<dyn Error>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

/// Looks at the whole machine.
pub fn watch(window: Duration, tier: Tier, asked: Asked, stop: &AtomicBool) -> Result<Recording, Box<dyn Error>> {
    let roots = Roots::default();
    let mut progress = Progress::new(window);
    let tools = asked.begin(&roots);
    let host = fs::read_to_string(roots.proc.join("sys/kernel/hostname")).unwrap_or_default();
    let mut session = Session::start(&roots, Target::system(host.trim()), tier)?;
    session.with_tools(tools);
    if let Some(why) = session.blind().filter(|_| tier > Tier::Counters) {
        progress.say(&format!("the kernel cannot be traced, only /proc is read: {why}"));
    }
    let started = Instant::now();
    while started.elapsed() < window && !stop.load(Ordering::Relaxed) {
        std::thread::sleep(POLL.min(window.saturating_sub(started.elapsed())));
        session.poll();
        progress.at(started.elapsed());
    }
    progress.clear();
    Ok(session.finish())
}

/// What names stand for.
pub struct Named {
    /// One of them.
    pub what: &'static str,
    /// The command that lists all.
    pub list: &'static str,
}

const HEALTH: Named = Named { what: "health tool or group", list: "friday health list" };
const CHECKLIST: Named = Named { what: "known issue", list: "friday checklist list" };

impl Named {
    /// Whether a name stands for a test: its id, its group, or the first part of its id.
    fn is(name: &str, id: &str, group: &str) -> bool {
        id == name || group == name || id.split('.').next() == Some(name)
    }

    /// Refuses names that stand for nothing, before anything is looked at. Programs of others say only afterwards who they are.
    ///
    /// # Errors
    /// The first such name, with those that are like it.
    pub fn check(&self, names: &[String], tools: &[Tool], asked: &Asked) -> Result<(), Usage> {
        if !asked.programs.is_empty() {
            return Ok(());
        }
        let files: Vec<Rule> =
            asked.rules.iter().filter_map(|(path, text)| Rule::parse(&path.display().to_string(), text).ok()).collect();
        let broken: Vec<String> =
            asked.rules.iter().filter_map(|(path, _)| Some(path.file_stem()?.to_string_lossy().into_owned())).collect();
        let mut known: Vec<(&str, &str)> = tools.iter().map(|tool| (tool.id(), tool.group())).collect();
        known.extend(files.iter().map(|rule| (rule.id.as_str(), rule.group.as_str())));
        known.extend(broken.iter().map(|name| (name.as_str(), "other")));
        known.extend(asked.refused.iter().map(|(name, _)| (name.as_str(), "other")));
        self.refuse(names, &known, tools)
    }

    fn refuse(&self, names: &[String], known: &[(&str, &str)], tools: &[Tool]) -> Result<(), Usage> {
        let is_known = |name: &String| known.iter().any(|(id, group)| Self::is(name, id, group));
        let Some(unknown) = names.iter().find(|name| !is_known(name)) else { return Ok(()) };
        let near = |id: &&str| unknown.split(['.', '-', '_']).any(|part| part.len() > 2 && id.contains(part));
        let near: Vec<&str> = tools.iter().map(Tool::id).filter(near).take(6).collect();
        let near = if near.is_empty() { String::new() } else { format!("; there are {}", near.join(", ")) };
        Err(Usage(format!("no {} is called `{unknown}`{near}. See `{}`", self.what, self.list)))
    }

    /// The tests that were asked for.
    ///
    /// # Errors
    /// A name that stands for none of them.
    pub fn chosen(&self, tests: Vec<Test>, names: &[String], tools: &[Tool]) -> Result<Vec<Test>, Usage> {
        let known: Vec<(&str, &str)> = tests.iter().map(|test| (test.id.as_str(), test.group.as_str())).collect();
        self.refuse(names, &known, tools)?;
        let wanted = |test: &Test| names.is_empty() || names.iter().any(|name| Self::is(name, &test.id, &test.group));
        Ok(tests.into_iter().filter(wanted).collect())
    }
}

fn show(tests: &[Test], tools: &[Tool], look: &Look, named: bool) -> Result<(), Box<dyn Error>> {
    let style = Style { color: color() };
    if look.format == Format::Json {
        return print(&(serde_json::to_string_pretty(tests)? + "\n"));
    }
    if !look.verbose {
        return print(&board::board(tests, style));
    }
    let mut text = explained(tests, tools, named, style);
    text.push_str(&board::board(tests, style));
    print(&text)
}

/// Each test with all it has to say. Of a whole board, what is well needs no explanation.
pub fn explained(tests: &[Test], tools: &[Tool], named: bool, style: Style) -> String {
    let mut text = String::new();
    for test in tests.iter().filter(|test| named || matches!(test.verdict, Light::Maybe | Light::Bad)) {
        text.push_str(&board::tool(test, tools.iter().find(|tool| tool.id() == test.id), style));
        text.push('\n');
    }
    text
}

fn list(format: Format) -> Result<(), Box<dyn Error>> {
    let tools = checks::tools();
    if format == Format::Text {
        return print(&board::tools(&tools, Style { color: color() }));
    }
    let rows: Vec<_> = tools
        .iter()
        .map(|tool| serde_json::json!({ "id": tool.id(), "group": tool.group(), "question": tool.question() }))
        .collect();
    print(&(serde_json::to_string_pretty(&rows)? + "\n"))
}

/// Lints a file, plays the examples beside it, and judges this machine by it.
fn check(file: &Path) -> Result<(), Box<dyn Error>> {
    let name = file.display().to_string();
    let text = fs::read_to_string(file).map_err(|error| Usage(format!("cannot read {name}: {error}")))?;
    let rule = Rule::parse(&name, &text)?;
    print(&report::clean(&format!("{name}: {} is well formed", rule.id)))?;
    print("\n")?;
    let examples = file.with_extension("examples.toml");
    if let Ok(text) = fs::read_to_string(&examples) {
        let played = checks::play(&rule, &examples.display().to_string(), &text)?;
        for one in &played {
            let what = if one.wrong.is_empty() { "as expected".to_owned() } else { format!("WRONG: {}", one.wrong) };
            print(&(report::clean(&format!("example: {}: {what}: {}", one.name, one.test.why)) + "\n"))?;
        }
        if played.iter().any(|one| !one.wrong.is_empty()) {
            return Err("examples say something else than expected".into());
        }
    } else {
        print(&(report::clean(&format!("no examples: {} would hold them", examples.display())) + "\n"))?;
    }
    let places = Places { folders: Vec::new(), files: vec![file.to_owned()] };
    let asked = plugged::asked(&places, is_root());
    let stop = stop()?;
    let recording = watch(Duration::from_secs(2), Tier::Stacks, asked, &stop)?;
    print(&board::tool(&rule.run(&recording), Some(&Tool::Rule(&rule)), Style { color: color() }))
}
