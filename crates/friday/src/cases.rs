//! `friday replay` and `friday case`: what stored cases say.

use crate::{
    Usage,
    args::{Format, Replay},
    print,
    run::{is_root, show as show_document, write_page},
};
use case::{Closed, Document};
use serde_json::json;
use std::{
    error::Error,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};
use week::{
    checks::{self, KNOWN_ISSUES, Light, Test},
    plugged::Places,
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
pub fn find(case: &Path) -> Result<PathBuf, Box<dyn Error>> {
    if case.exists() || case.components().count() != 1 {
        return Ok(case.to_owned());
    }
    let kept = root()?.join(case);
    Ok(if kept.exists() { kept } else { case.to_owned() })
}

/// The folder that holds the cases.
pub fn root() -> Result<PathBuf, Box<dyn Error>> {
    Ok(case::place::root(|name| std::env::var_os(name), is_root())?)
}

/// What is said of a case at its end.
pub struct Closing<'a> {
    pub cause: &'a str,
    pub note: &'a str,
    pub signatures: &'a [String],
    pub into: Option<PathBuf>,
}

/// Closes a case, and drafts a signature of what it was.
pub fn close(given: &Path, said: Closing) -> Result<(), Box<dyn Error>> {
    let dir = find(given)?;
    let document = case::load_document(&dir)?;
    let causes: Vec<&str> = week::causes().collect();
    if !causes.contains(&said.cause) {
        let near: Vec<&str> =
            causes.iter().filter(|id| id.split('.').any(|part| said.cause.contains(part))).copied().collect();
        let near = if near.is_empty() { causes.join(", ") } else { near.join(", ") };
        return Err(Usage(format!("no cause is called `{}`; there are {near}", said.cause)).into());
    }
    let mut closed = Closed::new(now(), said.cause.to_owned());
    closed.note = said.note.to_owned();
    for (id, right) in fired(&document, &said) {
        closed.fired.insert(id, right);
    }
    let finding = document.findings.iter().find(|finding| finding.cause == said.cause);
    let mut text = format!("{} is closed: {}\n", dir.display(), said.cause);
    for (id, right) in &closed.fired {
        text += &format!("  signature {id} had fired: {}\n", if *right { "right" } else { "wrong" });
    }
    match finding.map(|finding| week::post::draft(&document, finding, &closed.at[..10])) {
        None => text += "  no signature is drafted: the run has not found this cause\n",
        Some(None) => {
            text +=
                "  no signature is drafted: no rule can see such a cause; docs/health-tools.md says what they see\n";
        }
        Some(Some((id, draft))) => {
            let path = write_draft(said.into, &id, &draft)?;
            text += &format!(
                "  a signature is drafted: {}\n  read and better it, then: friday health check {}\n",
                path.display(),
                path.display()
            );
            closed.signature = path.display().to_string();
        }
    }
    case::close(&dir, &closed)?;
    print(&text.lines().map(|line| report::clean(line) + "\n").collect::<String>())
}

/// The signatures that had fired, and whether each was right: one that names the cause, or that the user names. What only
/// might have been is no miss.
fn fired(document: &Document, said: &Closing) -> Vec<(String, bool)> {
    let names = |id: &str| {
        let rule = checks::checklist().iter().find(|rule| rule.id == id);
        let issue = rule.and_then(|rule| rule.issue.as_ref());
        issue.is_some_and(|issue| issue.causes.iter().any(|cause| cause == said.cause))
    };
    let tests = document.days.iter().flat_map(|day| &day.tests).filter(|test| test.group == KNOWN_ISSUES);
    let judged = tests.filter_map(|Test { id, verdict, .. }| {
        let right = said.signatures.contains(id) || names(id);
        let counts = *verdict == Light::Bad || (*verdict == Light::Maybe && right);
        counts.then(|| (id.clone(), right))
    });
    judged.collect()
}

/// Puts a draft into a folder under its own name; a file that is there already is left alone.
fn write_draft(into: Option<PathBuf>, id: &str, draft: &str) -> Result<PathBuf, Box<dyn Error>> {
    let folders = Places::usual("checklist.d", |name| std::env::var_os(name)).folders;
    // The administrator's as root, else the user's, which comes last.
    let usual = || if is_root() { folders.get(1) } else { folders.get(2) }.cloned();
    let folder = into
        .or_else(usual)
        .ok_or_else(|| Usage("no home folder is known: name a folder with --into DIR".to_owned()))?;
    fs::create_dir_all(&folder).map_err(|source| DraftError { path: folder.clone(), source })?;
    for number in 1.. {
        let name = if number == 1 { format!("{id}.toml") } else { format!("{id}-{number}.toml") };
        let path = folder.join(name);
        match fs::File::create_new(&path) {
            Ok(mut file) => {
                let written = std::io::Write::write_all(&mut file, draft.as_bytes());
                written.map_err(|source| DraftError { path: path.clone(), source })?;
                return Ok(path);
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists && number < 100 => {}
            Err(source) => return Err(DraftError { path, source }.into()),
        }
    }
    unreachable!("the loop returns")
}

/// A drafted signature could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the drafted signature to {}: choose another folder with --into DIR", path.display())]
struct DraftError {
    path: PathBuf,
    #[source]
    source: std::io::Error,
}

/// Now, RFC 3339.
pub fn now() -> String {
    case::place::timestamp(std::time::SystemTime::now())
}
