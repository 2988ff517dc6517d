//! The command line.

use super::scenario::Scenario;
use std::path::{Path, PathBuf};

/// What it asks for.
pub struct Options {
    /// The binary that is judged.
    pub friday: PathBuf,
    /// How long it looks.
    pub window: String,
    /// Only show what there is.
    pub list: bool,
    /// Start without friday, to be looked at by hand.
    pub hold: bool,
    /// Do not tell friday the target.
    pub system: bool,
    /// Go on without this terminal.
    pub background: bool,
    /// How often each scenario is run.
    pub repeat: usize,
    /// The results to complete.
    pub resume: Option<PathBuf>,
    /// The results whose recordings are judged anew.
    pub again: Option<PathBuf>,
    names: Vec<String>,
}

impl Options {
    /// Reads the words of the command line.
    pub fn parse(args: &[String]) -> Result<Options, String> {
        let this = std::env::current_exe().map_err(|e| e.to_string())?;
        let target = this.parent().and_then(Path::parent).ok_or("xtask lies in no target folder")?;
        let mut options = Options {
            friday: target.join("release/friday"),
            window: "5s".into(),
            list: false,
            hold: false,
            system: false,
            background: false,
            repeat: 1,
            resume: None,
            again: None,
            names: Vec::new(),
        };
        let mut words = args.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().cloned().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--friday" => options.friday = value()?.into(),
                "--for" => options.window = value()?,
                "--list" => options.list = true,
                "--hold" => options.hold = true,
                "--system" => options.system = true,
                "--background" => options.background = true,
                "--repeat" => options.repeat = value()?.parse().map_err(|_| "--repeat takes a number")?,
                "--again" => options.again = Some(value()?.into()),
                "--resume" => options.resume = Some(std::path::absolute(value()?).map_err(|e| e.to_string())?),
                flag if flag.starts_with('-') => return Err(format!("no such option: {flag}")),
                name => options.names.push(name.to_string()),
            }
        }
        Ok(options)
    }

    /// The scenarios asked for, all by default; without the target, the faults that one process has.
    pub fn choose(&self, mut scenarios: Vec<Scenario>) -> Result<Vec<Scenario>, String> {
        if let Some(name) = self.names.iter().find(|name| !scenarios.iter().any(|s| s.name == **name)) {
            return Err(format!("no such scenario: {name}; --list shows them"));
        }
        scenarios.retain(|scenario| self.names.is_empty() || self.names.contains(&scenario.name));
        scenarios.retain(|scenario| !self.system || scenario.cause.is_some() && scenario.targets_a_role());
        Ok(scenarios)
    }

    /// The seconds of the window, which friday takes as `20`, `20s` or `2m`.
    pub fn seconds(&self) -> Result<u64, String> {
        seconds(&self.window)
    }
}

fn seconds(text: &str) -> Result<u64, String> {
    let (digits, factor) = match text.strip_suffix('m') {
        Some(minutes) => (minutes, 60),
        None => (text.strip_suffix('s').unwrap_or(text), 1),
    };
    digits.parse::<u64>().map(|n| n * factor).map_err(|_| format!("--for takes 20, 20s or 2m, not {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(&line.split_whitespace().map(String::from).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_read() {
        let options = parse("--for 5s disk-saturated --hold --repeat 3 --resume some/where").unwrap();
        assert_eq!((options.window.as_str(), options.hold, options.list, options.system), ("5s", true, false, false));
        assert_eq!((options.repeat, options.resume), (3, std::path::absolute("some/where").ok()));
        assert_eq!(options.names, ["disk-saturated"]);
        assert!(parse("--fast").is_err());
        assert!(parse("--for").is_err());
        assert!(parse("--repeat often").is_err());
    }

    #[test]
    fn without_a_target_only_faults_of_a_process_are_left() {
        let scenario = |name: &str, more: &str| {
            let text = format!("about = 'x'\n{more}\n[[start]]\nrole = 'a'\nrun = ['true']");
            Scenario { name: name.into(), ..toml::from_str(&text).unwrap() }
        };
        let fault = "cause = 'app.sleeps'\nculprit = { kind = [], any = [] }";
        let all = vec![
            scenario("nap", &format!("target = 'a'\n{fault}")),
            scenario("nap-system", &format!("target = 'system'\n{fault}")),
            scenario("fine", "target = 'a'\nexpect = ['healthy']"),
        ];
        let names = |line: &str| {
            let chosen = parse(line).unwrap().choose(all.clone()).unwrap();
            chosen.into_iter().map(|scenario| scenario.name).collect::<Vec<_>>()
        };
        assert_eq!(names("").len(), 3);
        assert_eq!(names("fine nap"), ["nap", "fine"]);
        assert_eq!(names("--system"), ["nap"]);
        assert!(parse("sleep").unwrap().choose(all.clone()).is_err());
    }

    #[test]
    fn durations_are_those_of_friday() {
        assert_eq!(["20", "20s", "2m"].map(|text| seconds(text).unwrap()), [20, 20, 120]);
        assert!(seconds("soon").is_err());
    }
}
