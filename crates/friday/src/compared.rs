//! `friday baseline`, `friday compare`, and what later runs are compared with.

use crate::{
    args::{Compare, Format},
    cases, print,
    progress::Progress,
    run::{color, write_page},
};
use case::{Compared, Document};
use compare::Summary;
use observe::{Fact, Labels, Recording, catalog};
use report::Style;
use std::{error::Error, path::Path};
use week::diagnosis::Conclusion;

/// Puts the baseline's summary into a recording: the case that the user names, or the last one of this machine.
///
/// # Errors
/// The named case cannot be read. One that nobody named is left out, with a word why.
pub fn remember(
    named: Option<&Path>,
    recording: &mut Recording,
    progress: &mut Progress,
) -> Result<(), Box<dyn Error>> {
    if named.is_some_and(|case| case == Path::new("none")) {
        return Ok(());
    }
    let found = match named {
        Some(case) => Some(cases::find(case)?),
        None => cases::root().ok().and_then(|root| case::baseline(&root).ok().flatten()),
    };
    let Some(dir) = found else { return Ok(()) };
    let then = match case::load(&dir) {
        Ok((_, then)) => then,
        Err(error) if named.is_some() => return Err(error.into()),
        Err(error) => {
            progress.say(&format!("nothing is compared with the baseline: {error}"));
            return Ok(());
        }
    };
    if then.host.name != recording.host.name {
        progress.say(&format!("the baseline is of another machine, {}", then.host.name));
    }
    let name = dir.file_name().map_or_else(|| dir.display().to_string(), |name| name.to_string_lossy().into_owned());
    let value = serde_json::to_string(&Summary::of(&then))?;
    let fact = Fact { labels: Labels::new([("case", name)]), value, source: dir.display().to_string() };
    recording.set(&catalog::BASELINE, Ok(vec![fact]));
    Ok(())
}

/// Makes a case this machine's baseline.
pub fn keep(case: &Path, document: &Document, progress: &mut Progress) -> Result<(), Box<dyn Error>> {
    case::set_baseline(&cases::root()?, case)?;
    if matches!(document.conclusion, Conclusion::Found | Conclusion::Suspected) {
        progress.say("this is the baseline now, though not all is well: see above");
    } else {
        progress.say("this is the baseline now: later runs are compared with it");
    }
    Ok(())
}

/// Says what is different between two cases.
pub fn compare(args: &Compare) -> Result<(), Box<dyn Error>> {
    let (_, before) = case::load(&cases::find(&args.before)?)?;
    let (_, after) = case::load(&cases::find(&args.after)?)?;
    let changes = compare::changes(&Summary::of(&before), &Summary::of(&after));
    let compared = Compared { with: args.before.display().to_string(), changes };
    if let Some(path) = &args.html {
        write_page(path, &report::compared_html(&compared, &before, &after))?;
    }
    match args.format {
        Format::Json => print(&(serde_json::to_string_pretty(&compared)? + "\n")),
        Format::Text => print(&report::compared(&compared, Style { color: color() })),
    }
}
