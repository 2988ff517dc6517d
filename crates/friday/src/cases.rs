//! `friday replay` and `friday case`: what stored cases say.

use crate::{
    args::{Format, Replay},
    print,
    run::{show as show_document, write_page},
};
use serde_json::json;
use std::{
    error::Error,
    path::{Path, PathBuf},
};

/// Concludes again from the recording of a case.
pub fn replay(args: &Replay) -> Result<(), Box<dyn Error>> {
    let dir = find(&args.case)?;
    let (stored, recording) = case::load(&dir)?;
    let document = week::conclude(&recording, &stored.case);
    if let Some(path) = &args.html {
        write_page(path, &report::html(&document, &recording))?;
    }
    show_document(&document, &recording, args.format)
}

/// Shows a case as it was concluded.
pub fn show(case: &Path, format: Format) -> Result<(), Box<dyn Error>> {
    let (document, recording) = case::load(&find(case)?)?;
    show_document(&document, &recording, format)
}

/// Prints a case study.
pub fn study(case: &Path) -> Result<(), Box<dyn Error>> {
    let (document, recording) = case::load(&find(case)?)?;
    print(&report::markdown(&document, &recording))
}

/// Lists the cases.
pub fn list(given: Option<&Path>, format: Format) -> Result<(), Box<dyn Error>> {
    let root = match given {
        Some(root) => root.to_owned(),
        None => root()?,
    };
    let listing = case::list(&root)?;
    for error in &listing.unreadable {
        eprintln!("friday: {}", report::clean(&error.to_string()));
    }
    if format == Format::Json {
        let rows: Vec<_> = listing
            .cases
            .iter()
            .map(|c| {
                json!({
                    "case": c.dir, "host": c.host, "target": c.target, "window": c.window,
                    "conclusion": c.conclusion, "headline": c.headline, "causes": c.causes,
                })
            })
            .collect();
        return print(&format!("{}\n", serde_json::to_string_pretty(&rows)?));
    }
    if listing.cases.is_empty() {
        return print(&format!("no cases in {}\n", root.display()));
    }
    let mut text = String::new();
    for case in &listing.cases {
        text.push_str(&report::clean(&format!("{}\n", case.dir.display())));
        text.push_str(&format!("\n    {}\n", report::clean(&case.headline)));
    }
    print(&text)
}

/// A case by its folder, or by its name under the default place.
fn find(case: &Path) -> Result<PathBuf, Box<dyn Error>> {
    if case.exists() || case.components().count() != 1 {
        return Ok(case.to_owned());
    }
    let kept = root()?.join(case);
    Ok(if kept.exists() { kept } else { case.to_owned() })
}

fn root() -> Result<PathBuf, Box<dyn Error>> {
    // SAFETY: no arguments, cannot fail.
    let is_root = unsafe { libc::geteuid() } == 0;
    Ok(case::place::root(|name| std::env::var_os(name), is_root)?)
}
