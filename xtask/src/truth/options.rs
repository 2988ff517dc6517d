//! What the command line asks for.

use super::pairs::{PAIRS, Pair};
use super::programs::{PROGRAMS, Program};
use crate::programs::rustc;
use std::path::{Path, PathBuf};

/// What to check.
pub struct Options {
    /// The binary under test.
    pub friday: PathBuf,
    /// The programs.
    pub programs: Vec<&'static Program>,
    /// The pairs.
    pub pairs: Vec<&'static Pair>,
    /// Only say what there is.
    pub list: bool,
    /// The compiler itself, not the one that picks a compiler by the user's settings.
    pub rustc: Option<PathBuf>,
}

/// Reads the words after `truth`.
pub fn parse(args: &[String]) -> Result<Options, String> {
    let this = std::env::current_exe().map_err(|e| e.to_string())?;
    let target = this.parent().and_then(Path::parent).ok_or("xtask lies in no target folder")?;
    let friday = target.join("release/friday");
    let mut options = Options { friday, programs: Vec::new(), pairs: Vec::new(), list: false, rustc: None };
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--friday" => options.friday = value()?.into(),
            "--rustc" => options.rustc = Some(value()?.into()),
            "--list" => options.list = true,
            flag if flag.starts_with('-') => return Err(format!("no such option: {flag}")),
            name => {
                let (program, pair) =
                    (PROGRAMS.iter().find(|program| program.name == name), PAIRS.iter().find(|pair| pair.name == name));
                if program.is_none() && pair.is_none() {
                    return Err(format!("no such program: {name}; --list shows them"));
                }
                options.programs.extend(program);
                options.pairs.extend(pair);
            }
        }
    }
    if options.programs.is_empty() && options.pairs.is_empty() {
        options.programs = PROGRAMS.iter().collect();
        options.pairs = PAIRS.iter().collect();
    }
    Ok(options)
}

impl Options {
    /// Finds what is not given; the words that give it.
    pub fn provide(&mut self) -> Vec<String> {
        if self.rustc.is_some() {
            return Vec::new();
        }
        self.rustc = rustc();
        self.rustc.iter().flat_map(|found| ["--rustc".into(), found.display().to_string()]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Options, String> {
        parse(&line.split_whitespace().map(String::from).collect::<Vec<_>>())
    }

    #[test]
    fn programs_are_chosen_by_name_and_all_by_default() {
        let options = read("go --friday /f rust").unwrap();
        assert_eq!(options.programs.iter().map(|program| program.name).collect::<Vec<_>>(), ["go", "rust"]);
        assert_eq!(options.friday, Path::new("/f"));
        let options = read("pair-lock").unwrap();
        assert_eq!((options.programs.len(), options.pairs[0].name), (0, "pair-lock"));
        let options = read("--list").unwrap();
        assert_eq!((options.programs.len(), options.pairs.len()), (PROGRAMS.len(), PAIRS.len()));
    }

    #[test]
    fn what_does_not_exist_is_refused() {
        for line in ["nothing", "--friday", "--fast"] {
            assert!(read(line).is_err(), "{line}");
        }
    }
}
