//! What the command line of the survey asks for, and what has to be built for it.

use super::loads::{LOADS, Load};
use crate::cargo;
use crate::programs::rustc;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// What to survey.
pub struct Options {
    /// The binary under test.
    pub friday: PathBuf,
    /// The programs.
    pub loads: Vec<&'static Load>,
    /// The length of a window.
    pub seconds: f64,
    /// Only say what there is.
    pub list: bool,
    /// The test that compares with framehop.
    pub oracle: Option<PathBuf>,
    /// The compiler itself, not the one that picks a compiler by the user's settings.
    pub rustc: Option<PathBuf>,
}

/// Reads the words after `survey`.
pub fn parse(args: &[String]) -> Result<Options, String> {
    let this = std::env::current_exe().map_err(|e| e.to_string())?;
    let target = this.parent().and_then(Path::parent).ok_or("xtask lies in no target folder")?;
    let friday = target.join("release/friday");
    let mut options = Options { friday, loads: Vec::new(), seconds: 10.0, list: false, oracle: None, rustc: None };
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--friday" => options.friday = value()?.into(),
            "--for" => options.seconds = seconds(value()?)?,
            "--oracle" => options.oracle = Some(value()?.into()),
            "--rustc" => options.rustc = Some(value()?.into()),
            "--list" => options.list = true,
            flag if flag.starts_with('-') => return Err(format!("no such option: {flag}")),
            name => {
                let load = LOADS.iter().find(|load| load.name == name);
                let load = load.ok_or(format!("no such program: {name}; --list shows them"))?;
                if !options.loads.iter().any(|other| other.name == name) {
                    options.loads.push(load);
                }
            }
        }
    }
    if options.loads.is_empty() {
        options.loads = LOADS.iter().collect();
    }
    Ok(options)
}

impl Options {
    /// Builds and finds what is not given; the words that give it.
    pub fn provide(&mut self) -> Result<Vec<String>, String> {
        let mut words = Vec::new();
        if self.oracle.is_none() {
            let built = oracle()?;
            words.extend(["--oracle".into(), built.display().to_string()]);
            self.oracle = Some(built);
        }
        if self.rustc.is_none()
            && let Some(rustc) = rustc()
        {
            words.extend(["--rustc".into(), rustc.display().to_string()]);
            self.rustc = Some(rustc);
        }
        Ok(words)
    }
}

/// The windows are short: in seconds.
fn seconds(text: &str) -> Result<f64, String> {
    match text.strip_suffix('s').unwrap_or(text).parse() {
        Ok(number) if (1.0..=600.0).contains(&number) => Ok(number),
        _ => Err(format!("--for takes seconds from 1 to 600, such as 10s, not {text}")),
    }
}

/// Builds the tests of the crate that unwinds.
fn oracle() -> Result<PathBuf, String> {
    #[derive(Deserialize)]
    struct Artifact {
        executable: PathBuf,
    }
    let words = ["test", "--locked", "--package", "probes", "--lib", "--no-run", "--message-format=json"];
    eprintln!("$ cargo {}", words.join(" "));
    let output = cargo().args(words).stderr(Stdio::inherit()).output().map_err(|e| format!("cargo test: {e}"))?;
    let built = String::from_utf8_lossy(&output.stdout);
    let found = built.lines().find_map(|line| serde_json::from_str::<Artifact>(line).ok());
    found.map(|artifact| artifact.executable).ok_or("the tests of probes could not be built".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Options, String> {
        parse(&line.split_whitespace().map(String::from).collect::<Vec<_>>())
    }

    #[test]
    fn every_program_is_surveyed_by_default() {
        let options = read("--friday /f").unwrap();
        assert_eq!((options.loads.len(), options.seconds, options.list), (LOADS.len(), 10.0, false));
        assert_eq!(options.friday, Path::new("/f"));
    }

    #[test]
    fn programs_are_chosen_by_name() {
        let options = read("node redis --for 5 node --oracle /o --rustc /r").unwrap();
        assert_eq!(options.loads.iter().map(|load| load.name).collect::<Vec<_>>(), ["node", "redis"]);
        assert_eq!((options.seconds, options.oracle, options.rustc), (5.0, Some("/o".into()), Some("/r".into())));
    }

    #[test]
    fn what_does_not_exist_is_refused() {
        for line in ["nothing", "--for", "--for 0", "--for 2m", "--fast"] {
            assert!(read(line).is_err(), "{line}");
        }
    }
}
