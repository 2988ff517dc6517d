//! A scenario: which programs to start and how, and the truth about them.

use super::spawn::resource;
use serde::Deserialize;
use std::collections::BTreeMap;
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
    /// More that is wrong at the same time.
    #[serde(default)]
    pub also: Vec<Fault>,
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
    /// Commands that undo, at the end and whatever comes of it, what `prepare` made outside the folder.
    #[serde(default)]
    pub cleanup: Vec<Vec<String>>,
    /// Cgroups with limits.
    #[serde(default)]
    pub cgroups: Vec<Limit>,
    /// What runs meanwhile, in this order.
    #[serde(default)]
    pub start: Vec<Start>,
    /// Seconds between the last start and friday's.
    #[serde(default = "two_seconds")]
    pub warm_up: f64,
}

/// Something else that is wrong.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The true cause.
    pub cause: String,
    /// The true culprit.
    pub culprit: Culprit,
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
    /// Its file; `.c`, `.cpp`, `.rs`, `.go` and `.java` are compiled, all else copied.
    pub source: String,
    /// The name it runs under; its own by default, and always that of Java's classes.
    pub name: Option<String>,
    /// Compiler flags after the usual ones.
    #[serde(default)]
    pub flags: Vec<String>,
}

/// A cgroup with limits, of which at least one is given.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Its name at the root.
    pub name: String,
    /// CPUs' worth of time it may use.
    pub cpus: Option<f64>,
    /// Its weight for CPU time, against 100 of others.
    pub weight: Option<u64>,
    /// Bytes of memory.
    pub memory: Option<Bytes>,
    /// Bytes of memory from which on it is slowed down; only by version 2 of cgroups.
    pub memory_high: Option<Bytes>,
    /// Threads.
    pub pids: Option<u64>,
    /// Bytes a second that it may read from the disk which holds the scenario's folder.
    pub read_bps: Option<Bytes>,
    /// Bytes a second that it may write there; by version 1 only what is written directly or made durable counts.
    pub write_bps: Option<Bytes>,
    /// Reads a second there.
    pub read_iops: Option<u64>,
    /// Writes a second there, with the same exception.
    pub write_iops: Option<u64>,
}

/// A size like `64M`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct Bytes(pub u64);

impl TryFrom<String> for Bytes {
    type Error = String;

    fn try_from(text: String) -> Result<Bytes, String> {
        let shift = match text.chars().last() {
            Some('K') => 10,
            Some('M') => 20,
            Some('G') => 30,
            _ => 0,
        };
        let digits = text.trim_end_matches(['K', 'M', 'G']);
        digits.parse::<u64>().map(|number| Bytes(number << shift)).map_err(|_| format!("no size: {text}"))
    }
}

/// A process to start. In its words, and in those of all other commands, `{dir}` is the scenario's folder, `{id}` six
/// letters of its own to name things with, `{port}`, `{port2}` and `{port3}` are free ports, `{cpus}` is the number of
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
    /// Wait until it listens: on `{port}` where this is `true`, else on the port named.
    pub listens: Option<Listens>,
    /// More of its environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// How nice it is.
    pub nice: Option<i32>,
    /// Its limits by the names of `prlimit`: `nofile`, `nproc` and the like.
    #[serde(default)]
    pub limits: BTreeMap<String, u64>,
    /// Whom it runs as; root by default.
    pub user: Option<String>,
}

/// Whether and where a process listens.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Listens {
    /// On `{port}`, or not.
    Plain(bool),
    /// On `{port}`, `{port2}` or `{port3}`.
    On(String),
}

impl Start {
    /// The name of the port it listens on.
    pub fn port(&self) -> Option<&str> {
        match self.listens.as_ref()? {
            Listens::Plain(yes) => yes.then_some("port"),
            Listens::On(name) => Some(name),
        }
    }
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
    /// Each cause with its culprit.
    pub fn faults(&self) -> impl Iterator<Item = (&str, &Culprit)> {
        let first = self.cause.as_deref().zip(self.culprit.as_ref());
        first.into_iter().chain(self.also.iter().map(|fault| (fault.cause.as_str(), &fault.culprit)))
    }

    /// What is true, in a word or two.
    pub fn truth(&self) -> String {
        let causes: Vec<&str> = self.faults().map(|(cause, _)| cause).collect();
        if causes.is_empty() { self.expect.join("/") } else { causes.join(" + ") }
    }

    /// Whether the target is one of its processes.
    pub fn targets_a_role(&self) -> bool {
        !["system", "command"].contains(&self.target.as_str())
    }

    fn check(&self) -> Result<(), String> {
        if self.cause.is_some() != self.culprit.is_some() || self.cause.is_some() != self.expect.is_empty() {
            return Err("either a cause and a culprit, or the conclusions to expect".into());
        }
        if self.cause.is_none() && !self.also.is_empty() {
            return Err("`also` goes with a cause".into());
        }
        if (self.target == "command") == self.command.is_empty() {
            return Err("a command goes with the target `command`".into());
        }
        if self.targets_a_role() && !self.start.iter().any(|start| start.role == self.target) {
            return Err(format!("the target is no role: {}", self.target));
        }
        if let Some(program) = self.programs.iter().find(|p| p.name.is_some() && p.source.ends_with(".java")) {
            return Err(format!("Java's classes keep their names: {}", program.source));
        }
        self.cgroups.iter().try_for_each(Limit::check)?;
        self.start.iter().try_for_each(|start| start.check(&self.cgroups))
    }
}

impl Limit {
    fn check(&self) -> Result<(), String> {
        let bytes = [&self.memory, &self.memory_high, &self.read_bps, &self.write_bps];
        let numbers = [self.weight, self.pids, self.read_iops, self.write_iops];
        let any = self.cpus.is_some() || bytes.iter().any(|b| b.is_some()) || numbers.iter().any(Option::is_some);
        if any { Ok(()) } else { Err(format!("the cgroup {} limits nothing", self.name)) }
    }
}

impl Start {
    fn check(&self, cgroups: &[Limit]) -> Result<(), String> {
        if let Some(name) = self.cgroup.as_ref().filter(|name| !cgroups.iter().any(|limit| limit.name == **name)) {
            return Err(format!("no such cgroup: {name}"));
        }
        if let Some(name) = self.port().filter(|name| !["port", "port2", "port3"].contains(name)) {
            return Err(format!("no such port: {name}"));
        }
        match self.limits.keys().find(|name| resource(name).is_none()) {
            Some(name) => Err(format!("no such limit: {name}")),
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
        assert!(parse(&format!("{good}\nprograms = [{{ source = 'Shop.java', name = 'shop' }}]")).is_err());
        assert!(parse(&format!("{good}\nalso = [{{ cause = 'a.b', culprit = {{ kind = [], any = [] }} }}]")).is_err());
    }

    #[test]
    fn what_a_start_names_is_there() {
        let start = |more: &str| {
            let cgroups = "cgroups = [{ name = 'web', pids = 9 }]";
            let start = "[[start]]\nrole = 'a'\nrun = ['true']";
            parse(&format!("about = 'x'\ntarget = 'a'\nexpect = ['healthy']\n{cgroups}\n{start}\n{more}"))
        };
        assert_eq!(start("cgroup = 'web'\nlistens = true\nlimits = { nofile = 64 }\nnice = -5"), Ok(()));
        assert_eq!(start("listens = 'port2'\nuser = 'nobody'\nenv = { A = 'b' }"), Ok(()));
        assert!(start("cgroup = 'db'").is_err());
        assert!(start("listens = 'port4'").is_err());
        assert!(start("limits = { files = 64 }").is_err());
    }

    #[test]
    fn a_cgroup_limits_something() {
        let with =
            |limit: &str| parse(&format!("about = 'x'\ntarget = 'system'\nexpect = ['idle']\ncgroups = [{limit}]"));
        assert_eq!(with("{ name = 'web', cpus = 0.4, memory = '64M', write_iops = 100 }"), Ok(()));
        assert!(with("{ name = 'web' }").is_err());
        assert!(with("{ name = 'web', memory = 'little' }").is_err());
    }

    #[test]
    fn sizes_are_in_powers_of_two() {
        let bytes = ["7", "4K", "64M", "1G"].map(|text| Bytes::try_from(text.to_string()).unwrap().0);
        assert_eq!(bytes, [7, 4 << 10, 64 << 20, 1 << 30]);
    }

    #[test]
    fn a_pair_has_two_faults() {
        let culprit = "culprit = { kind = ['process'], any = ['a'] }";
        let text = format!(
            "about = 'x'\ntarget = 'system'\ncause = 'cpu.saturated'\n{culprit}\nalso = [{{ cause = 'app.sleeps', {culprit} }}]"
        );
        let pair: Scenario = toml::from_str(&text).unwrap();
        assert_eq!(pair.check(), Ok(()));
        assert_eq!(pair.truth(), "cpu.saturated + app.sleeps");
    }
}
