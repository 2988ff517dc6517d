//! What is done to a service, and what friday has to say of it.

use super::services::Service;
use super::stage::Stage;
use crate::processes::Stop;
use serde::Deserialize;
use std::fs;
use std::path::PathBuf;

/// A setting that every kernel has and nobody notices: vm.stat_interval, in seconds.
const SETTING: &str = "/proc/sys/vm/stat_interval";
/// ours: how many times the work is a slower implementation.
const SLOWER: u32 = 3;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Case {
    /// Nothing.
    Again,
    /// A setting is changed.
    Config,
    /// Its program is replaced and it is started anew.
    Upgrade,
    /// It is asked twice as often.
    Load,
    /// Each request takes more.
    Slower,
}

/// All, in the order in which they are played: each can be undone before the next.
pub const CASES: [Case; 5] = [Case::Again, Case::Config, Case::Load, Case::Slower, Case::Upgrade];

/// A difference that friday names.
#[derive(Clone, Debug, Deserialize)]
pub struct Change {
    kind: String,
    of: String,
    before: String,
    after: String,
    times: Option<f64>,
}

impl Case {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Case::Again => "same again",
            Case::Config => "setting",
            Case::Upgrade => "upgrade",
            Case::Load => "load x2",
            Case::Slower => "slower",
        }
    }

    /// Does it to a service; what has to be undone is when what comes back is dropped.
    pub fn play(self, stage: &mut Stage, service: &Service) -> Result<Option<Setting>, Stop> {
        match self {
            Case::Again => {}
            Case::Config => return Ok(Some(Setting::change()?)),
            Case::Upgrade => stage.upgrade()?,
            Case::Load => stage.ask(2 * service.rate)?,
            Case::Slower => stage.work(SLOWER * service.steps)?,
        }
        Ok(None)
    }

    /// Undoes it as far as the next case needs.
    pub fn undo(self, stage: &mut Stage, service: &Service) -> Result<(), Stop> {
        match self {
            Case::Load => stage.ask(service.rate),
            Case::Slower => stage.work(service.steps),
            Case::Again | Case::Config | Case::Upgrade => Ok(()),
        }
    }

    /// Whether what friday names is what was done, and nothing else; what follows of it may be named as well.
    /// `times` as often as before it was really asked.
    pub fn wrong(self, changes: &[Change], times: f64, server: &str, program: &str) -> Option<String> {
        /// ours: so much may what friday counts be off, second by second.
        const WITHIN: f64 = 0.1;
        let of_it = |change: &Change| change.of.starts_with(&format!("{server} "));
        let more = |change: &Change| change.times.is_some_and(|times| times > 1.0);
        let done = |change: &Change| match self {
            Case::Again => false,
            Case::Config => change.kind == "config" && change.of == "vm.stat_interval",
            Case::Upgrade => change.kind == "software" && change.of == program && change.before != change.after,
            Case::Load => {
                change.kind == "load"
                    && of_it(change)
                    && change.times.is_some_and(|t| (t / times - 1.0).abs() <= WITHIN)
            }
            Case::Slower => change.kind == "cost" && of_it(change) && more(change),
        };
        // Busier CPUs and longer answers follow from more work.
        let follows = |change: &Change| match (self, change.kind.as_str()) {
            (Case::Load | Case::Slower, "busy") => change.of == "cpu" && more(change),
            (Case::Load | Case::Slower, "latency") => of_it(change),
            (Case::Slower, "software") => change.of == program,
            _ => false,
        };
        let mut wrong: Vec<String> = Vec::new();
        if self != Case::Again && !changes.iter().any(done) {
            wrong.push("not named".into());
        }
        wrong.extend(changes.iter().filter(|change| !done(change) && !follows(change)).map(Change::told));
        (!wrong.is_empty()).then(|| wrong.join("; "))
    }
}

impl Change {
    fn told(&self) -> String {
        format!("{} of {}: {} -> {}", self.kind, self.of, self.before, self.after)
    }
}

/// A setting that is put back when dropped.
pub struct Setting {
    path: PathBuf,
    was: String,
}

impl Setting {
    fn change() -> Result<Setting, String> {
        let failed = |e| format!("{SETTING}: {e}");
        let was = fs::read_to_string(SETTING).map_err(failed)?;
        let setting = Setting { path: SETTING.into(), was };
        fs::write(&setting.path, if setting.was.trim() == "1" { "2" } else { "1" }).map_err(failed)?;
        Ok(setting)
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        if let Err(error) = fs::write(&self.path, &self.was) {
            eprintln!("baseline: {} could not be put back to {}: {error}", self.path.display(), self.was.trim());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(kind: &str, of: &str, times: f64) -> Change {
        Change { kind: kind.into(), of: of.into(), before: "1".into(), after: "2".into(), times: Some(times) }
    }

    fn wrong(case: Case, changes: &[Change]) -> Option<String> {
        case.wrong(changes, 2.0, "redis-server", "/srv/redis-server")
    }

    #[test]
    fn nothing_is_named_where_nothing_was_done() {
        assert_eq!(wrong(Case::Again, &[]), None);
        assert!(wrong(Case::Again, &[change("busy", "cpu", 1.2)]).is_some());
        for case in CASES.into_iter().filter(|case| *case != Case::Again) {
            assert_eq!(wrong(case, &[]).as_deref(), Some("not named"), "{case:?}");
        }
    }

    #[test]
    fn what_was_done_is_named_and_what_follows_may_be() {
        let load = change("load", "redis-server 6379", 2.0);
        assert_eq!(wrong(Case::Load, &[load.clone(), change("busy", "cpu", 1.5)]), None);
        assert!(wrong(Case::Load, &[load.clone(), change("cost", "redis-server 6379", 1.5)]).is_some());
        assert!(wrong(Case::Load, &[change("load", "redis-server 6379", 1.5)]).is_some(), "not twice");
        assert!(wrong(Case::Slower, &[change("cost", "redis-server 6379", 3.0), load]).is_some());
        assert_eq!(wrong(Case::Upgrade, &[change("software", "/srv/redis-server", 0.0)]), None);
        assert!(wrong(Case::Upgrade, &[change("software", "/usr/bin/vi", 0.0)]).is_some());
        assert_eq!(wrong(Case::Config, &[change("config", "vm.stat_interval", 0.0)]), None);
    }
}
