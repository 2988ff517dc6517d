//! A scenario: which programs to start and how, and the truth about them.

use serde::Deserialize;
use std::path::Path;

/// One file of `zoo/scenarios`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The file's stem.
    #[serde(skip)]
    pub name: String,
    /// What is going on, in a sentence.
    pub about: String,
    /// The true cause; absent where nothing is wrong.
    pub cause: Option<String>,
    /// The true culprit.
    pub culprit: Option<Culprit>,
    /// Where nothing is wrong: the conclusions that are right.
    #[serde(default)]
    pub expect: Vec<String>,
    /// `system`, `command`, or the role whose process is named to friday.
    pub target: String,
    /// What friday starts itself, for the target `command`.
    #[serde(default)]
    pub command: Vec<String>,
    /// Debian packages as `package:command`.
    #[serde(default)]
    pub packages: Vec<String>,
    /// Shell conditions of the machine, and what to say where one does not hold.
    #[serde(default)]
    pub skip_unless: Vec<Condition>,
    /// What is compiled or copied.
    #[serde(default)]
    pub programs: Vec<Program>,
    /// Commands that run to their end first.
    #[serde(default)]
    pub prepare: Vec<Vec<String>>,
    /// CPU limits.
    #[serde(default)]
    pub cgroups: Vec<Limit>,
    /// What runs meanwhile, in this order.
    #[serde(default)]
    pub start: Vec<Start>,
    /// Seconds between the last start and friday's.
    #[serde(default = "two_seconds")]
    pub warm_up: f64,
}

/// Who did it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Culprit {
    /// The right values of `culprit.kind`, each a part of it.
    pub kind: Vec<String>,
    /// Words of which one must begin a word of `culprit.name` or `culprit.detail`.
    pub any: Vec<String>,
}

/// A condition of the machine.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// A shell command that succeeds where the scenario can run.
    pub run: String,
    /// What to say where it does not.
    pub reason: String,
}

/// A program of `zoo/programs`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Its file; `.c` is compiled, all else copied.
    pub source: String,
    /// The name it runs under; its own by default.
    pub name: Option<String>,
    /// Compiler flags after `-O2 -pthread`.
    #[serde(default)]
    pub flags: Vec<String>,
}

/// A cgroup with a CPU quota.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Its name at the root.
    pub name: String,
    /// CPUs' worth of time it may use.
    pub cpus: f64,
}

/// A process to start. In its words `{dir}` is the scenario's folder, `{port}` a free port, `{cpus}` the number of
/// CPUs and `{many}` twice that.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// What the target calls it.
    pub role: String,
    /// The command.
    pub run: Vec<String>,
    /// The cgroup it runs in.
    pub cgroup: Option<String>,
    /// The CPUs it may use.
    #[serde(default)]
    pub affinity: Vec<usize>,
    /// Wait until `{port}` is listened on.
    #[serde(default)]
    pub listens: bool,
}

fn two_seconds() -> f64 {
    2.0
}

/// The scenarios of a folder, by name.
pub fn load_all(folder: &Path) -> Result<Vec<Scenario>, String> {
    let entries = std::fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort_by_key(|path| path.file_stem().map(ToOwned::to_owned));
    paths.iter().map(|path| load(path)).collect()
}

fn load(path: &Path) -> Result<Scenario, String> {
    let fail = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let text = std::fs::read_to_string(path).map_err(|e| fail(&e))?;
    let mut scenario: Scenario = toml::from_str(&text).map_err(|e| fail(&e))?;
    scenario.name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    scenario.check().map_err(|e| fail(&e))?;
    Ok(scenario)
}

impl Scenario {
    fn check(&self) -> Result<(), String> {
        if self.cause.is_some() != self.culprit.is_some() || self.cause.is_some() != self.expect.is_empty() {
            return Err("either a cause and a culprit, or the conclusions to expect".into());
        }
        if (self.target == "command") == self.command.is_empty() {
            return Err("a command goes with the target `command`".into());
        }
        let role = |start: &Start| start.role == self.target;
        if !["system", "command"].contains(&self.target.as_str()) && !self.start.iter().any(role) {
            return Err(format!("the target is no role: {}", self.target));
        }
        let limited = |name: &String| self.cgroups.iter().any(|limit| limit.name == *name);
        match self.start.iter().filter_map(|start| start.cgroup.as_ref()).find(|name| !limited(name)) {
            Some(name) => Err(format!("no such cgroup: {name}")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<(), String> {
        toml::from_str::<Scenario>(text).map_err(|e| e.to_string())?.check()
    }

    #[test]
    fn the_scenarios_at_hand_are_sound() {
        let zoo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../zoo");
        let all = load_all(&zoo.join("scenarios")).unwrap();
        assert!(all.iter().filter(|scenario| scenario.cause.is_some()).count() >= 13);
        assert!(all.iter().filter(|scenario| scenario.cause.is_none()).count() >= 4);
        for program in all.iter().flat_map(|scenario| &scenario.programs) {
            assert!(zoo.join("programs").join(&program.source).is_file(), "{}", program.source);
        }
    }

    #[test]
    fn contradictions_are_refused() {
        let good = "about = 'x'\ntarget = 'system'\nexpect = ['healthy']";
        assert_eq!(parse(good), Ok(()));
        assert!(parse(&format!("{good}\ncause = 'cpu.saturated'")).is_err());
        assert!(parse("about = 'x'\ntarget = 'nobody'\nexpect = ['healthy']").is_err());
        assert!(parse("about = 'x'\ntarget = 'command'\nexpect = ['healthy']").is_err());
        assert!(parse(&format!("{good}\nwarmup = 3")).is_err());
    }
}
