//! `friday prepare`: would everything work in a crisis?

use crate::{
    args::{Format, Prepare},
    bundle,
    health::{self, Named},
    print,
    progress::Progress,
    run,
};
use case::Document;
use observe::Recording;
use report::{Style, board};
use std::error::Error;
use week::{
    Tier,
    checks::{self, Light, Test, Tool},
    plugged,
};

const CHECKS: Named = Named { what: "check or group of the preparation", list: "friday prepare -v" };

/// Looks for some seconds, runs the crisis tools to see whether they work, and prints.
pub fn prepare(args: &Prepare) -> Result<(), Box<dyn Error>> {
    if let Some(folder) = &args.bundle {
        bundle::leave(folder)?;
        return print(&format!(
            "{}: friday, install-crisis-tools.sh and README. Copy the folder; run the script there as root.\n",
            folder.display()
        ));
    }
    let tools: Vec<Tool> = checks::preparation().iter().map(Tool::Rule).collect();
    let asked = plugged::preparation();
    // Those that are code have no rule: with names, all are looked at first.
    let stop = health::stop()?;
    let recording = health::watch(args.window, Tier::Stacks, asked, &stop)?;
    let place = match &args.case {
        Some(folder) => run::place(Some(folder), &recording.target, &mut Progress::new(args.window))?,
        None => None,
    };
    let case = place.as_deref().map_or_else(String::new, |dir| dir.display().to_string());
    let document = conclude(&recording, &case);
    let stored = run::store(place.as_deref(), args.html.as_deref(), &document, &recording);
    let days = document.days.iter().filter(|day| day.day == "prior");
    let tests: Vec<Test> = days.flat_map(|day| day.tests.iter().cloned()).collect();
    let tests = CHECKS.chosen(tests, &args.names, &tools)?;
    let style = Style { color: run::color() };
    let alone = args.names.is_empty();
    match args.format {
        Format::Json => print(&(serde_json::to_string_pretty(&tests)? + "\n"))?,
        Format::Text => {
            let mut lights =
                if args.verbose { health::explained(&tests, &tools, !alone, style) } else { String::new() };
            lights.push_str(&board::board(&tests, style));
            print(&if alone { report::prepare(&document, &recording, &tests, &lights, style) } else { lights })?;
        }
    }
    stored
}

/// What a recording comes to; of a preparation, with whether the functional diagram shows all that runs.
pub fn conclude(recording: &Recording, case: &str) -> Document {
    let mut document = week::conclude(recording, case);
    let prepared = |test: &Test| test.group == "crisis tools";
    if let Some(prior) = document.days.iter_mut().find(|day| day.day == "prior" && day.tests.iter().any(prepared)) {
        prior.tests.push(diagram(recording));
        prior.tests.sort_by_key(|test| checks::PREPARE_GROUPS.iter().position(|group| *group == test.group));
    }
    document
}

fn diagram(recording: &Recording) -> Test {
    let (verdict, why) = match report::diagram_is_complete(recording) {
        Ok(()) => (Light::Good, "all that runs, and what it is connected with, could be drawn".to_owned()),
        Err(reasons) => (Light::Maybe, format!("not all could be seen: {}", reasons.join(" "))),
    };
    Test {
        id: "diagram.complete".to_owned(),
        group: "diagram".to_owned(),
        verdict,
        why,
        evidence: Vec::new(),
        not_here: false,
        remedy: Vec::new(),
    }
}
