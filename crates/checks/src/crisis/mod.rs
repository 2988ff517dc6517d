//! The crisis tools: whether each is here with all its programs, in what version, whether it really runs on this machine, and
//! one command that installs all that is missing.

mod distribution;
mod table;

pub use distribution::{Distribution, Manager};

use crate::{Light, Test};
use observe::{
    Recording, catalog,
    reading::{Parse, ReadFrom, Reading},
};
use std::{collections::BTreeSet, time::Duration};
use table::TOOLS;

/// Where they stand among the points of the preparation.
const GROUP: &str = "crisis tools";
/// What the packages' versions are read under.
const PACKAGES: &str = "tools.packages";
/// ours: the slowest of them, those that compile what they trace, take two or three seconds.
const TIMEOUT: Duration = Duration::from_secs(5);
/// ours: with less than this part of them here, a crisis begins with installing.
const FEW: f64 = 0.5;
/// How it begins why a program was not run for want of time.
const NOT_RUN: &str = "not run: ";

/// One package of tools. Of names with `|` between them, one is enough: distributions call programs differently.
struct Crisis {
    id: &'static str,
    /// What is asked with it.
    serves: &'static str,
    programs: &'static [&'static str],
    /// What is run to see whether it works here; it changes nothing.
    runs: &'static [&'static str],
    /// What tells its version; empty where only the package does.
    version: &'static [&'static str],
    /// Its packages, by [`Manager`]; empty where there is none.
    packages: [&'static str; 5],
    /// Its packages on Ubuntu and what comes of it, where they are others than on Debian.
    ubuntu: &'static str,
    home: &'static str,
}

/// What is read for the crisis tools.
pub fn readings() -> Vec<Reading> {
    let mut all: Vec<Reading> = TOOLS.iter().flat_map(Crisis::readings).collect();
    for (manager, script) in [
        (Manager::Apt, "dpkg-query -W -f '${Package} ${Version}\\n'"),
        (Manager::Dnf, "rpm -q --qf '%{NAME} %{VERSION}\\n'"),
        (Manager::Zypper, "rpm -q --qf '%{NAME} %{VERSION}\\n'"),
        (Manager::Apk, "apk info -v"),
        (Manager::Pacman, "pacman -Q"),
    ] {
        // Those that are not installed make the whole command fail.
        let script =
            format!("{script} {} 2>/dev/null; true", packages(Distribution { manager, ubuntu: false }).join(" "));
        all.push(text(PACKAGES, script_name(manager), ["sh", "-c", &script].map(str::to_owned).to_vec()));
    }
    all
}

fn script_name(manager: Manager) -> String {
    manager.install().split(' ').next().unwrap_or_default().to_owned()
}

/// The packages of all crisis tools, each once.
pub fn packages(on: Distribution) -> Vec<&'static str> {
    let mut seen = BTreeSet::new();
    let words = TOOLS.iter().flat_map(|tool| tool.package(on).split(' '));
    words.filter(|name| !name.is_empty() && seen.insert(*name)).collect()
}

/// Judges each tool, and all of them together.
pub fn tests(rec: &Recording) -> Vec<Test> {
    let on = Distribution::here(rec);
    let judged: Vec<Judged> = TOOLS.iter().map(|tool| tool.judge(rec, on)).collect();
    let mut tests = vec![summary(&judged, on)];
    tests.extend(judged.into_iter().map(|judged| judged.test));
    tests
}

struct Judged {
    test: Test,
    /// Packages that would bring what is missing.
    lacks: &'static str,
    /// Whether it, or part of it, is missing.
    missing: bool,
}

fn summary(judged: &[Judged], on: Option<Distribution>) -> Test {
    let count = |light| judged.iter().filter(|one| one.test.verdict == light).count();
    let (ready, all) = (count(Light::Good), judged.len());
    let mut seen = BTreeSet::new();
    let lacks: Vec<&str> = judged
        .iter()
        .flat_map(|one| one.lacks.split(' '))
        .filter(|name| !name.is_empty() && seen.insert(*name))
        .collect();
    let elsewhere = judged.iter().filter(|one| one.missing && one.lacks.is_empty()).count();
    let broken = judged.iter().filter(|one| one.test.verdict == Light::Maybe && !one.missing).count();
    let mut why = format!("{ready} of {all} are here and run");
    for (number, what) in [
        (broken, "here and do not run"),
        (elsewhere, "not packaged for this distribution"),
        (count(Light::Untested), "untested"),
    ] {
        if number > 0 {
            why += &format!("; {number} {what}");
        }
    }
    if !lacks.is_empty() {
        why += &format!(
            "; {} to install",
            if lacks.len() == 1 { "1 package".to_owned() } else { format!("{} packages", lacks.len()) }
        );
    }
    let verdict = match ready {
        ready if ready == all => Light::Good,
        _ if count(Light::Untested) == all => Light::Untested,
        ready if (ready as f64) < FEW * all as f64 => Light::Bad,
        _ => Light::Maybe,
    };
    let remedy = on.filter(|_| !lacks.is_empty()).map(|on| format!("{} {}", on.manager.install(), lacks.join(" ")));
    Test { remedy: remedy.into_iter().collect(), ..test("tools", verdict, why) }
}

fn test(id: &str, verdict: Light, why: String) -> Test {
    Test {
        id: id.to_owned(),
        group: GROUP.to_owned(),
        verdict,
        why,
        evidence: Vec::new(),
        not_here: false,
        remedy: Vec::new(),
    }
}

fn text(tool: &str, input: String, argv: Vec<String>) -> Reading {
    let from = ReadFrom::Command { argv, timeout: TIMEOUT };
    Reading { tool: tool.to_owned(), input, from, parse: Parse::Text, scale: 1.0 }
}

impl Crisis {
    fn package(&self, on: Distribution) -> &'static str {
        if on.ubuntu && !self.ubuntu.is_empty() { self.ubuntu } else { self.packages[on.manager as usize] }
    }

    fn readings(&self) -> Vec<Reading> {
        let names = self.programs.iter().flat_map(|names| names.split('|')).map(str::to_owned).collect();
        let mut all = vec![Reading {
            tool: self.id.to_owned(),
            input: "programs".to_owned(),
            from: ReadFrom::Programs(names),
            parse: Parse::Text,
            scale: 1.0,
        }];
        for (input, argv) in [("runs", self.runs), ("version", self.version)] {
            let Some((names, arguments)) = argv.split_first() else { continue };
            for name in names.split('|') {
                let argv = [name].iter().chain(arguments).map(|word| (*word).to_owned()).collect();
                all.push(text(self.id, format!("{input} {name}"), argv));
            }
        }
        all
    }

    fn judge(&self, rec: &Recording, on: Option<Distribution>) -> Judged {
        let texts = || rec.get(&catalog::TOOL_TEXT).unwrap_or_default().iter();
        let here: BTreeSet<&str> = texts()
            .filter(|row| row.labels.get("tool") == self.id && row.labels.get("input") == "programs")
            .map(|row| row.labels.get("key"))
            .collect();
        let name_of = |names: &'static str| names.split('|').find(|name| here.contains(name));
        let absent: Vec<&str> = self
            .programs
            .iter()
            .filter(|names| name_of(names).is_none())
            .filter_map(|names| names.split('|').next())
            .collect();
        let package = on.map_or("", |on| self.package(on));
        let install = match (on, package) {
            (Some(on), package) if !package.is_empty() => format!("{} {package}", on.manager.install()),
            (Some(_), _) => format!("not packaged, see {}", self.home),
            (None, _) => format!("its package is not known for this distribution, see {}", self.home),
        };
        let say = |verdict, why, missing| Judged {
            test: test(self.id, verdict, why),
            lacks: if missing { package } else { "" },
            missing,
        };
        if absent.len() == self.programs.len() {
            return say(Light::Maybe, format!("not here ({}): {install}", self.serves), true);
        }
        let title = match self.version(rec, on, &name_of) {
            Some(version) => format!("{} {version}", self.name()),
            None => format!("{} is here, its version is not known", self.name()),
        };
        if !absent.is_empty() {
            return say(Light::Maybe, format!("{title}, without {}: {install}", absent.join(", ")), true);
        }
        let Some(runs) = self.runs.first().and_then(|names| name_of(names)) else {
            return say(Light::Untested, format!("{title}; it was not run, since it does not end by itself"), false);
        };
        let why = rec
            .get(&catalog::TOOL_ABSENT)
            .unwrap_or_default()
            .iter()
            .find(|row| row.labels.get("tool") == self.id && row.labels.get("input") == format!("runs {runs}"));
        let command = self.runs[1..].iter().fold(runs.to_owned(), |line, word| line + " " + word);
        match why.map(|row| reason(&row.value, &command)) {
            None => say(Light::Good, format!("{title}, runs"), false),
            Some(why) if why.starts_with(NOT_RUN) => say(Light::Untested, format!("{title}, {why}"), false),
            Some(why) => {
                say(Light::Maybe, format!("{title} does not run here: `{command}`: {why}{}", self.mend(why, on)), false)
            }
        }
    }

    fn name(&self) -> &'static str {
        self.id.strip_prefix("tools.").unwrap_or(self.id)
    }

    /// By what it says itself, or else by its package.
    fn version(
        &self,
        rec: &Recording,
        on: Option<Distribution>,
        name_of: &impl Fn(&'static str) -> Option<&'static str>,
    ) -> Option<String> {
        let texts = || rec.get(&catalog::TOOL_TEXT).unwrap_or_default().iter();
        let text = |tool: &str, input: &str| {
            texts()
                .find(|row| row.labels.get("tool") == tool && row.labels.get("input") == input)
                .map(|row| row.value.as_str())
        };
        let own = self.version.first().and_then(|names| {
            let name = name_of(names).unwrap_or(names);
            version(text(self.id, &format!("version {name}"))?)
        });
        own.or_else(|| {
            let on = on?;
            let package = self.package(on);
            let installed = text(PACKAGES, &script_name(on.manager))?;
            let line = installed
                .lines()
                .find(|line| line.strip_prefix(package).is_some_and(|rest| rest.starts_with([' ', '-'])));
            line?.strip_prefix(package).map(|rest| rest.trim_start_matches([' ', '-']).to_owned())
        })
    }

    /// What helps where it is known.
    fn mend(&self, why: &str, on: Option<Distribution>) -> String {
        match self.id {
            "tools.msr-tools" | "tools.turbostat" if why.contains("msr") => {
                " (modprobe msr, as root; guests and kernels under lockdown have none)".to_owned()
            }
            "tools.perf" if why.contains("not found for kernel") => {
                on.map_or_else(String::new, |on| format!(" ({} {})", on.manager.install(), self.package(on)))
            }
            _ => String::new(),
        }
    }
}

/// Why a command failed, without the command.
fn reason<'a>(told: &'a str, command: &str) -> &'a str {
    told.strip_prefix(command).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(told)
}

/// The first thing in a text that looks like a version: numbers with dots between them, or a number after the word.
fn version(text: &str) -> Option<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '~');
    let words = || text.split(|c: char| !is_part(c)).map(|word| word.trim_matches('.'));
    let plain = |word: &str| word.strip_prefix('v').unwrap_or(word).to_owned();
    let dotted = words().map(plain).find(|word| {
        let mut parts = word.split('.');
        let number = |part: Option<&str>| part.is_some_and(|part| part.starts_with(|c: char| c.is_ascii_digit()));
        number(parts.next()) && number(parts.next())
    });
    dotted.or_else(|| {
        let mut words = words().skip_while(|word| !word.eq_ignore_ascii_case("version")).skip(1);
        words.next().filter(|word| word.starts_with(|c: char| c.is_ascii_digit())).map(str::to_owned)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Machine;
    use observe::{Fact, Labels};

    fn machine(os: &str) -> Machine {
        let mut machine = Machine::new();
        let labels = Labels::new([("name", "os.id".into())]);
        machine.rec.push(&catalog::HOST_FACT, Fact { labels, value: os.into(), source: "/etc/os-release".into() });
        machine.rec.set(&catalog::TOOL_TEXT, Ok(Vec::new()));
        machine.rec.set(&catalog::TOOL_ABSENT, Ok(Vec::new()));
        machine
    }

    impl Machine {
        fn read(&mut self, tool: &str, input: &str, key: &str, value: &str) {
            let labels = Labels::new([("tool", tool.into()), ("input", input.into()), ("key", key.into())]);
            self.rec.push(&catalog::TOOL_TEXT, Fact { labels, value: value.into(), source: "s".into() });
        }

        fn fails(&mut self, tool: &str, input: &str, why: &str) {
            let labels = Labels::new([("tool", tool.into()), ("input", input.into())]);
            self.rec.push(&catalog::TOOL_ABSENT, Fact { labels, value: why.into(), source: "s".into() });
        }

        fn judged(&self, id: &str) -> Test {
            tests(&self.rec).into_iter().find(|test| test.id == id).unwrap()
        }

        /// Every program of every tool is here, and all run.
        fn complete(mut self) -> Self {
            for tool in TOOLS {
                for names in tool.programs {
                    self.read(tool.id, "programs", names.split('|').next().unwrap(), "/usr/bin/x");
                }
            }
            self
        }
    }

    #[test]
    fn one_command_installs_all_that_is_missing_on_each_distribution() {
        for (os, part) in [
            ("debian", "apt install procps util-linux sysstat iproute2 numactl linux-perf linux-cpupower bpfcc-tools"),
            (
                "linuxmint ubuntu debian",
                "numactl linux-tools-common linux-tools-$(uname -r) bpfcc-tools bpftrace perf-tools-unstable",
            ),
            (
                "rocky rhel centos fedora",
                "dnf install procps-ng util-linux sysstat iproute numactl perf kernel-tools bcc-tools",
            ),
            ("opensuse-leap suse opensuse", "zypper install procps util-linux sysstat iproute2 numactl perf cpupower"),
            (
                "alpine",
                "apk add procps util-linux sysstat iproute2 numactl-tools perf bcc-tools bpftrace bpftool trace-cmd ethtool",
            ),
            (
                "manjaro arch",
                "pacman -S procps-ng util-linux sysstat iproute2 numactl perf turbostat bcc-tools bpftrace bpf",
            ),
        ] {
            let seen = machine(os);
            let all = seen.judged("tools");
            assert_eq!(all.verdict, Light::Bad);
            assert!(all.remedy.len() == 1 && all.remedy[0].contains(part), "{os}: {:?}", all.remedy);
            let words: Vec<&str> = all.remedy[0].split(' ').collect();
            assert_eq!(words.len(), words.iter().collect::<BTreeSet<_>>().len(), "{os}: each once");
        }
        assert!(machine("gentoo").judged("tools").remedy.is_empty());
        assert!(machine("gentoo").judged("tools.perf").why.contains("not known for this distribution"));
        assert!(
            machine("debian").judged("tools.pmc-cloud-tools").why.contains("not packaged, see https://github.com/")
        );
    }

    #[test]
    fn a_tool_is_good_with_all_its_programs_running_and_says_its_version() {
        let mut seen = machine("debian").complete();
        seen.read("tools.sysstat", "version sar", "", "sysstat version 12.6.1\n(C) x");
        seen.read(PACKAGES, "apt", "", "numactl 2.0.16-1\nbpfcc-tools 0.26.0+ds-1");
        assert_eq!(seen.judged("tools.sysstat").why, "sysstat 12.6.1, runs");
        assert_eq!(seen.judged("tools.numactl").why, "numactl 2.0.16-1, runs");
        assert_eq!(seen.judged("tools.bcc").verdict, Light::Good);
        assert!(
            seen.judged("tools").why.starts_with("22 of 24 are here and run; 2 untested"),
            "{:?}",
            seen.judged("tools")
        );
        seen.fails(
            "tools.perf",
            "runs perf",
            "perf stat --log-fd 1 -e cpu-clock true: exit status: 2: perf not found for kernel 6.1",
        );
        let perf = seen.judged("tools.perf");
        assert!(
            perf.verdict == Light::Maybe && perf.why.contains("true`: exit status: 2: perf not found"),
            "{}",
            perf.why
        );
        assert!(perf.why.contains("(apt install linux-perf)"));
        seen.fails(
            "tools.gdb",
            "runs gdb",
            "gdb --batch -ex print 1: not run: the 10 s for all programs together were gone",
        );
        assert_eq!(seen.judged("tools.gdb").verdict, Light::Untested);
        seen.fails("tools.bcc", "runs opensnoop", "opensnoop -d 1: not installed");
        assert_eq!(seen.judged("tools.bcc").verdict, Light::Good, "the other name is the one that is here");
    }

    #[test]
    fn a_part_that_is_missing_is_named() {
        let mut seen = machine("debian");
        seen.read("tools.sysstat", "programs", "iostat", "/usr/bin/iostat");
        let sysstat = seen.judged("tools.sysstat");
        assert!(sysstat.why.ends_with("without mpstat, pidstat, sar: apt install sysstat"), "{}", sysstat.why);
    }

    #[test]
    fn versions_are_found_in_what_tools_say() {
        for (text, expected) in [
            ("vmstat from procps-ng 4.0.2", Some("4.0.2")),
            ("ss utility, iproute2-6.1.0, libbpf 1.1.0", Some("6.1.0")),
            ("bpftrace v0.17.0", Some("0.17.0")),
            ("GNU gdb (Debian 13.1-3) 13.1", Some("13.1")),
            ("strace -- version 6.1\nCopyright", Some("6.1")),
            ("cpuid version 20230120", Some("20230120")),
            ("turbostat version 2022.10.04 - Len Brown", Some("2022.10.04")),
            ("usage: x", None),
        ] {
            assert_eq!(version(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn ids_and_programs_are_no_more_than_once() {
        let ids: BTreeSet<&str> = TOOLS.iter().map(|tool| tool.id).collect();
        assert_eq!(ids.len(), TOOLS.len());
        for tool in TOOLS {
            assert!(tool.home.starts_with("https://") && !tool.programs.is_empty(), "{}", tool.id);
            assert!(tool.runs.first().is_none_or(|run| tool.programs.contains(run)), "{}", tool.id);
        }
    }
}
