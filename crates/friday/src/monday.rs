//! `friday monday`: static tuning and the problem statement, in a window of a second that attaches nothing.

use crate::{
    args::{Format, Monday},
    compared,
    health::{self, Named},
    print,
    progress::Progress,
    run::{self, color},
    statement,
};
use report::{Style, board};
use signal_hook::{consts::SIGINT, flag};
use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use week::{
    Tier,
    checks::{self, Test, Tool},
    plugged,
};

const CHECKS: Named = Named { what: "check or group of static tuning", list: "friday monday -v" };

/// Looks, asks what is to be asked, and prints.
pub fn monday(args: &Monday) -> Result<(), Box<dyn Error>> {
    let tools: Vec<Tool> = checks::settings().iter().map(Tool::Rule).collect();
    let asked = plugged::settings();
    CHECKS.check(&args.names, &tools, &asked)?;
    let mut given = statement::given(&args.statement)?;
    let stop = health::stop()?;
    // While somebody is asked, Ctrl-C is the end.
    let asking = Arc::new(AtomicBool::new(false));
    flag::register_conditional_default(SIGINT, Arc::clone(&asking))?;
    let mut recording = health::watch(args.window, Tier::Counters, asked, &stop)?;
    let mut progress = Progress::new(args.window);
    compared::remember(args.baseline.as_deref(), &mut recording, &mut progress)?;
    given.record(&mut recording);
    let mut document = week::conclude(&recording, "");
    let alone = args.names.is_empty();
    if alone && args.format == Format::Text && statement::can_ask() && !stop.load(Ordering::Relaxed) {
        asking.store(true, Ordering::Relaxed);
        statement::ask(&document.statement, &mut given, &mut std::io::stdin().lock())?;
        asking.store(false, Ordering::Relaxed);
        given.record(&mut recording);
    }
    let place = if args.case.is_some() || !given.is_empty() {
        run::place(args.case.as_deref(), &recording.target, &mut progress)?
    } else {
        None
    };
    let case = place.as_deref().map_or_else(String::new, |dir| dir.display().to_string());
    document = week::conclude(&recording, &case);
    let stored = run::store(place.as_deref(), args.html.as_deref(), &document, &recording);
    let days = document.days.iter().filter(|day| day.day == "monday");
    let tests: Vec<Test> = days.flat_map(|day| day.tests.iter().cloned()).collect();
    let tests = CHECKS.chosen(tests, &args.names, &tools)?;
    let style = Style { color: color() };
    match args.format {
        Format::Json => print(&(serde_json::to_string_pretty(&tests)? + "\n"))?,
        Format::Text => {
            let full = args.verbose || !alone;
            let mut lights =
                if args.verbose { health::explained(&tests, &tools, !alone, style) } else { String::new() };
            lights.push_str(&if full { board::board(&tests, style) } else { board::folded(&tests, style) });
            print(&if alone { report::monday(&document, &lights, style) } else { lights })?;
        }
    }
    // What was said is printed, whatever became of the files.
    match stored {
        Err(error) => crate::complain(error.as_ref()),
        Ok(()) if place.is_some() => progress.say(&format!("kept as {case}")),
        Ok(()) => {}
    }
    Ok(())
}
