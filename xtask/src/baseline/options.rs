//! The command line.

use super::services::{SERVICES, Service};
use std::path::{Path, PathBuf};

/// What it asks for.
pub struct Options {
    /// The binary that is judged.
    pub friday: PathBuf,
    /// The services.
    pub services: Vec<&'static Service>,
    /// How long friday looks.
    pub window: String,
    /// How often each is played.
    pub repeat: usize,
    /// Results to which these are added.
    pub resume: Option<PathBuf>,
    /// Only say what there is.
    pub list: bool,
}

impl Options {
    /// How many whole seconds friday looks.
    pub fn seconds(&self) -> usize {
        self.window.trim_end_matches('s').parse().unwrap_or(5)
    }
}

/// Reads the words after `baseline`.
pub fn parse(args: &[String]) -> Result<Options, String> {
    let this = std::env::current_exe().map_err(|e| e.to_string())?;
    let target = this.parent().and_then(Path::parent).ok_or("xtask lies in no target folder")?;
    let friday = target.join("release/friday");
    let mut options =
        Options { friday, services: Vec::new(), window: "5s".into(), repeat: 10, resume: None, list: false };
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().cloned().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--friday" => options.friday = value()?.into(),
            "--for" => options.window = value()?,
            "--repeat" => options.repeat = value()?.parse().map_err(|_| "--repeat takes a number")?,
            "--resume" => options.resume = Some(std::path::absolute(value()?).map_err(|e| e.to_string())?),
            "--list" => options.list = true,
            flag if flag.starts_with('-') => return Err(format!("no such option: {flag}")),
            name => {
                let service = SERVICES.iter().find(|service| service.name == name);
                options.services.push(service.ok_or(format!("no such service: {name}; --list shows them"))?);
            }
        }
    }
    if options.services.is_empty() {
        options.services = SERVICES.iter().collect();
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Options, String> {
        parse(&line.split_whitespace().map(String::from).collect::<Vec<_>>())
    }

    #[test]
    fn services_are_chosen_by_name_and_all_by_default() {
        let options = read("redis --friday /f --repeat 3 --for 8s").unwrap();
        assert_eq!(options.services.iter().map(|service| service.name).collect::<Vec<_>>(), ["redis"]);
        assert_eq!((options.friday.as_path(), options.repeat, options.window.as_str()), (Path::new("/f"), 3, "8s"));
        assert_eq!(read("--list").unwrap().services.len(), SERVICES.len());
    }

    #[test]
    fn what_does_not_exist_is_refused() {
        for line in ["nothing", "--friday", "--fast", "--repeat many"] {
            assert!(read(line).is_err(), "{line}");
        }
    }
}
