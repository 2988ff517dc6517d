//! `friday prepare`: would everything work in a crisis?

use crate::{
    args::{Format, Prepare},
    bundle,
    health::{self, Named},
    print,
    progress::Progress,
    run,
};
use report::{Style, board};
use std::error::Error;
use week::{
    Tier,
    checks::{self, Test},
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
    let tools = checks::preparation_tools();
    let asked = plugged::preparation();
    // Those that are code have no rule: with names, all are looked at first.
    let stop = health::stop()?;
    let recording = health::watch(args.window, Tier::Stacks, asked, &stop)?;
    let place = match &args.case {
        Some(folder) => run::place(Some(folder), &recording.target, &mut Progress::new(args.window))?,
        None => None,
    };
    let case = place.as_deref().map_or_else(String::new, |dir| dir.display().to_string());
    let document = week::conclude(&recording, &case);
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
