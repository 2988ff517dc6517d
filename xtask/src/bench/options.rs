//! What the command line of the benchmark asks for.

use super::loads::{LOADS, Load};
use super::tools::{TOOLS, Tool};
use std::path::{Path, PathBuf};

/// What to measure.
pub struct Options {
    /// The binary under test.
    pub friday: PathBuf,
    /// What is slowed down.
    pub loads: Vec<&'static Load>,
    /// What slows it down; the first is `none`, the reference of all others.
    pub tools: Vec<&'static Tool>,
    /// Rounds of every load; each load has its own number by default.
    pub rounds: Option<usize>,
    /// Only say what there is.
    pub list: bool,
}

/// Reads the words after `bench`.
pub fn parse(args: &[String]) -> Result<Options, String> {
    let this = std::env::current_exe().map_err(|e| e.to_string())?;
    let target = this.parent().and_then(Path::parent).ok_or("xtask lies in no target folder")?;
    let (friday, tools) = (target.join("release/friday"), TOOLS.iter().collect());
    let mut options = Options { friday, loads: Vec::new(), tools, rounds: None, list: false };
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--friday" => options.friday = value()?.into(),
            "--tools" => options.tools = tools_named(value()?)?,
            "--rounds" => options.rounds = Some(rounds(value()?)?),
            "--list" => options.list = true,
            flag if flag.starts_with('-') => return Err(format!("no such option: {flag}")),
            name => {
                let load = LOADS.iter().find(|load| load.name == name);
                let load = load.ok_or(format!("no such load: {name}; --list shows them"))?;
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

fn rounds(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("--rounds takes a number from 1 on, not {text}")),
    }
}

/// The tools of a list, in the table's order; the reference is always among them.
fn tools_named(list: &str) -> Result<Vec<&'static Tool>, String> {
    let names: Vec<&str> = list.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if let Some(name) = names.iter().find(|name| !TOOLS.iter().any(|tool| tool.name == **name)) {
        return Err(format!("no such tool: {name}; --list shows them"));
    }
    Ok(TOOLS.iter().filter(|tool| tool.is_none() || names.contains(&tool.name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Options, String> {
        parse(&line.split_whitespace().map(String::from).collect::<Vec<_>>())
    }

    #[test]
    fn everything_is_measured_by_default() {
        let options = read("--friday /f").unwrap();
        assert_eq!((options.loads.len(), options.tools.len()), (LOADS.len(), TOOLS.len()));
        assert_eq!((options.friday, options.rounds, options.list), ("/f".into(), None, false));
    }

    #[test]
    fn loads_and_tools_are_chosen_by_name() {
        let options = read("redis --tools perf-trace,friday-3 --rounds 2 hackbench redis").unwrap();
        assert_eq!(options.loads.iter().map(|load| load.name).collect::<Vec<_>>(), ["redis", "hackbench"]);
        assert_eq!(options.tools.iter().map(|tool| tool.name).collect::<Vec<_>>(), ["none", "friday-3", "perf-trace"]);
        assert_eq!(options.rounds, Some(2));
    }

    #[test]
    fn what_does_not_exist_is_refused() {
        for line in ["nothing", "--tools none,gdb", "--rounds 0", "--rounds many", "--tools", "--fast"] {
            assert!(read(line).is_err(), "{line}");
        }
    }
}
