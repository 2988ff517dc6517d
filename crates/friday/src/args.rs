//! The command line, declared once.

use clap::{Parser, Subcommand, ValueEnum};
use std::{ffi::OsString, path::PathBuf, time::Duration};

/// Takes "it is slow" and returns the root cause, with proof.
#[derive(Parser)]
#[command(name = "friday", version, about, disable_help_subcommand = true)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Find out why this machine, or one target on it, is slow
    Run(Run),
    /// Show the critical path: what the target's time is made of, whoever spends it
    Path(Path),
    /// Conclude again from a stored case; needs neither root nor BPF
    Replay(Replay),
    /// Stored cases
    Case(Case),
    /// Look while all is well, and keep that to compare with
    Baseline(Baseline),
    /// What is different between two cases, beyond what varies by itself
    Compare(Compare),
    /// Static tuning and the problem statement: what system is it, and what is the problem?
    Monday(Monday),
    /// Would everything work in a crisis? Tools, stacks, tracing, access, diagram, source
    Prepare(Prepare),
    /// Which components are well, and which are not: a light for each
    Health(Health),
    /// Is it one of the known issues?
    Checklist(Checklist),
    /// Try it: change something, watch what it does to the victim, and undo it
    Experiment(Experiment),
    /// Show what friday has left changed, and undo it. It does so by itself however it ends; this is for when it could not
    Undo(Undo),
    /// What stands by to undo a change; friday starts it itself
    #[command(hide = true)]
    Guard(Guard),
}

/// Without a target, friday looks at the whole machine and chooses the victims itself. Reads only: nothing on the
/// machine is changed, unless `--allow change` lets it prove what it has found.
#[derive(clap::Args)]
pub struct Run {
    /// Look at one process, and at the workers of the same program that it has forked
    #[arg(short, long, value_name = "PID", group = "target", value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: Option<u32>,

    /// Look at the processes of a control group: an absolute path, or one relative to the cgroup root
    #[arg(long, value_name = "PATH", group = "target")]
    pub cgroup: Option<PathBuf>,

    /// Look at the processes of a systemd unit
    #[arg(long, value_name = "NAME", group = "target")]
    pub unit: Option<String>,

    /// How long to look: 20, 20s, 2m (a bare number is seconds). Ctrl-C ends it early, with a result; `kill -USR1`
    /// makes it longer by as much again
    #[arg(long = "for", value_name = "TIME", default_value = "20s", value_parser = parse_duration)]
    pub window: Duration,

    /// How deep to look, and how dear: 1 reads files of the kernel's only, 2 adds where threads' time goes, 3 adds code
    /// paths, 4 adds the order of things for a few seconds, from which the critical path is computed
    #[arg(long, value_name = "1-4", default_value = "4", value_parser = parse_tier)]
    pub tier: week::Tier,

    /// Prove what was found: `change` holds the culprits of the first findings for a second and a half, three times, and watches
    /// the victims
    #[arg(long, value_name = "LEVEL", value_enum)]
    pub allow: Option<Level>,

    /// Where to keep the case [default: $XDG_DATA_HOME/friday, /var/lib/friday as root, ~/.local/share/friday]
    #[arg(long, value_name = "DIR")]
    pub case: Option<PathBuf>,

    /// How to print the result
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,

    /// Also write the report page to this file
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,

    /// Compare with this case: its folder or its name, or `none` [default: the last `friday baseline` of this machine]
    #[arg(long, value_name = "CASE")]
    pub baseline: Option<PathBuf>,

    #[command(flatten)]
    pub statement: Statement,

    /// Kernel type information, where the kernel does not bring its own
    #[arg(long, value_name = "FILE", default_value = week::Roots::KERNEL_BTF)]
    pub btf: PathBuf,

    /// Start this command and look at it and its descendants. Its output goes to stderr; it runs as the user who called
    /// sudo, and is left running when the window ends
    #[arg(last = true, value_name = "COMMAND", group = "target")]
    pub command: Vec<OsString>,
}

/// Watches every switch between threads for the whole time, so a few seconds are enough; a busy machine fills the event
/// window earlier.
#[derive(clap::Args)]
pub struct Path {
    #[command(flatten)]
    pub run: Run,

    /// Also write the event window to this file, for ui.perfetto.dev
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,

    /// The event window ends early after so many times off a CPU; each takes 0.4 KB of memory. By default it holds five
    /// seconds of 200,000 switches and wake-ups a second
    #[arg(long, value_name = "N", default_value = "600000", value_parser = clap::value_parser!(u32).range(1..))]
    pub episodes: u32,
}

#[derive(clap::Args)]
pub struct Replay {
    /// The case folder
    pub case: PathBuf,

    /// How to print the result
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,

    /// Also write the report page to this file
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// Later runs on this machine are compared with it; `friday run --baseline CASE` compares with another.
#[derive(clap::Args)]
pub struct Baseline {
    #[command(flatten)]
    pub run: Run,
}

/// Of numbers, what lies outside of what both cases vary by; settings, programs and hardware that are not the same in both.
#[derive(clap::Args)]
pub struct Compare {
    /// The case to compare with: its folder, or its name under the default place
    pub before: PathBuf,

    /// The other one
    pub after: PathBuf,

    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,

    /// Also write a page with flame graphs of the difference to this file
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// What people say about the problem. What the data can answer is answered beside it.
#[derive(clap::Args)]
pub struct Statement {
    /// Answers to the six questions below, in a file (docs/problem-statement.md); single ones here take their place
    #[arg(long, value_name = "FILE", help_heading = "Problem statement")]
    pub statement: Option<PathBuf>,

    /// What makes you think there is a performance problem?
    #[arg(long, value_name = "TEXT", help_heading = "Problem statement")]
    pub problem: Option<String>,

    /// Has this system ever performed well?
    #[arg(long, value_name = "TEXT", help_heading = "Problem statement")]
    pub performed_well: Option<String>,

    /// What changed recently: software, hardware, load?
    #[arg(long, value_name = "TEXT", help_heading = "Problem statement")]
    pub changed: Option<String>,

    /// Can the problem be expressed in terms of latency or runtime?
    #[arg(long, value_name = "TEXT", help_heading = "Problem statement")]
    pub latency: Option<String>,

    /// Does the problem affect other people or applications?
    #[arg(long, value_name = "TEXT", help_heading = "Problem statement")]
    pub others: Option<String>,

    /// What is the environment: software, hardware, versions, configuration?
    #[arg(long, value_name = "TEXT", help_heading = "Problem statement")]
    pub environment: Option<String>,
}

/// Judges the system without regard to its load (settings, limits, past errors), and states the problem: six questions, answered
/// by what was measured and what changed lately; on a terminal you are asked the others. Reads only; attaches nothing.
#[derive(clap::Args)]
pub struct Monday {
    /// Only these checks of static tuning, or groups of them; nothing is asked then
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,

    /// All evidence, what it means, when it misleads, and what would settle it
    #[arg(short, long)]
    pub verbose: bool,

    /// How long counters are watched
    #[arg(long = "for", value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    pub window: Duration,

    /// How to print the result: as JSON, only the checks
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,

    /// Keep a case there [default: where those of `friday run` are, if anybody answered a question; else none]
    #[arg(long, value_name = "DIR")]
    pub case: Option<PathBuf>,

    /// Also write the report page to this file
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,

    /// Compare with this case: its folder or its name, or `none` [default: the last `friday baseline` of this machine]
    #[arg(long, value_name = "CASE")]
    pub baseline: Option<PathBuf>,

    #[command(flatten)]
    pub statement: Statement,
}

/// Scores this machine before anything is slow, and says what is missing with the command that brings it. Programs are run to
/// see whether they work; nothing is installed or changed.
#[derive(clap::Args)]
pub struct Prepare {
    /// Only these checks, or groups of them
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,

    /// All evidence, what it means, when it misleads, and what would settle it
    #[arg(short, long)]
    pub verbose: bool,

    /// How long stacks are taken, of whatever runs
    #[arg(long = "for", value_name = "TIME", default_value = "4s", value_parser = parse_duration)]
    pub window: Duration,

    /// How to print the result: as JSON, only the checks
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,

    /// Keep a case there
    #[arg(long, value_name = "DIR")]
    pub case: Option<PathBuf>,

    /// Also write the report page, with the functional diagram, to this file
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,

    /// Leave this program and a script that installs the crisis tools in a new folder, for a machine without network
    #[arg(long, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
}

/// A light is good, maybe (a threshold is passed), bad (and somebody's time is hit, or there is a hard error) or untested.
/// Looks at the live system for some seconds; reads only.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Health {
    #[command(subcommand)]
    pub command: Option<HealthCommand>,

    /// Only these health tools, or groups of them
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,

    #[command(flatten)]
    pub look: Look,

    /// Again and again, until Ctrl-C
    #[arg(long)]
    pub watch: bool,

    /// Also the health tools that lie beside this program
    #[arg(long, value_name = "PATH")]
    pub beside: Vec<PathBuf>,

    /// Also the health tools that this installed package brings
    #[arg(long, value_name = "NAME")]
    pub package: Vec<String>,
}

/// How a command that judges looks and prints.
#[derive(clap::Args)]
pub struct Look {
    /// All evidence, what it means, when it misleads, and what would settle it
    #[arg(short, long)]
    pub verbose: bool,

    /// How long to look
    #[arg(long = "for", value_name = "TIME", default_value = "8s", value_parser = parse_duration)]
    pub window: Duration,

    /// How to print the result
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

#[derive(Subcommand)]
pub enum HealthCommand {
    /// List the health tools with their questions
    List {
        /// How to print them
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Say what is wrong with the file of a health tool, play its examples, and judge this machine by it
    Check {
        /// The file
        file: PathBuf,
    },
}

/// Signatures of known issues, judged on the live system; reads only.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Checklist {
    #[command(subcommand)]
    pub command: Option<ChecklistCommand>,

    /// Only these issues
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,

    #[command(flatten)]
    pub look: Look,
}

#[derive(Subcommand)]
pub enum ChecklistCommand {
    /// List the known issues
    List,
}

#[derive(clap::Args)]
pub struct Case {
    #[command(subcommand)]
    pub command: CaseCommand,
}

#[derive(Subcommand)]
pub enum CaseCommand {
    /// List stored cases, newest first
    List {
        /// The folder that holds them
        #[arg(long = "root", value_name = "DIR")]
        root: Option<PathBuf>,

        /// How to print them
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Show what a stored case concluded
    Show {
        /// The case folder, or its name under the default place
        case: PathBuf,

        /// How to print it
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Print a case study of a stored case in Markdown
    Study {
        /// The case folder, or its name under the default place
        case: PathBuf,
    },
    /// Say what it was: closes the case, keeps the record of the signatures that fired, and drafts a new one
    Close {
        /// The case folder, or its name under the default place
        case: PathBuf,

        /// The cause, as `friday run` names it
        #[arg(long, value_name = "ID")]
        cause: String,

        /// What else there is to say
        #[arg(long, value_name = "TEXT", default_value = "")]
        note: String,

        /// The signature of the checklist that told it, where it names no causes itself
        #[arg(long, value_name = "ID")]
        signature: Vec<String>,

        /// Where to put the drafted signature [default: checklist.d of /etc/friday as root, else of the user's settings]
        #[arg(long, value_name = "DIR")]
        into: Option<PathBuf>,
    },
}

/// Each experiment is a trial with a control: the victim is measured without the change, with it, and without it again, some
/// times over. A guard process undoes the change however friday ends, `kill -9` included.
#[derive(clap::Args)]
pub struct Experiment {
    #[command(subcommand)]
    pub kind: Kind,

    /// Do it without asking. Without this, friday asks on a terminal and refuses elsewhere
    #[arg(long, value_name = "LEVEL", value_enum, global = true)]
    pub allow: Option<Level>,

    /// How often the change is made
    #[arg(long, value_name = "N", default_value = "3", global = true, value_parser = clap::value_parser!(u32).range(3..=20))]
    pub rounds: u32,

    /// For how long the victim is measured each time
    #[arg(long = "for", value_name = "TIME", default_value = "2s", global = true, value_parser = parse_phase)]
    pub phase: Duration,

    /// What it should do to the victim if you are right; without it, either way counts
    #[arg(long, value_enum, global = true)]
    pub expect: Option<Expect>,

    /// How to print the result
    #[arg(long, value_enum, default_value_t = Format::Text, global = true)]
    pub format: Format,
}

#[derive(Subcommand)]
pub enum Kind {
    /// What there is, and what it asks of the system
    List,
    /// Micro-benchmarks of the machine's components, bounded in time and volume
    Load {
        /// Only these
        #[arg(value_name = "NAME")]
        names: Vec<String>,

        /// The file system, and the disk below it, that are tried
        #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
        on: PathBuf,

        /// All is well now: compare later results with these
        #[arg(long)]
        keep: bool,
    },
    /// Hold the culprit (its control group's freezer, else SIGSTOP)
    Freeze {
        #[command(flatten)]
        parties: Parties,

        /// Hold it for 10, 20 and 40 % of the time only, in random order, and give the answer as a line
        #[arg(long)]
        dose: bool,
    },
    /// Lower the culprit's claim to CPUs
    Weight {
        #[command(flatten)]
        parties: Parties,
    },
    /// Keep victim and culprit on different CPUs
    Cpuset {
        #[command(flatten)]
        parties: Parties,
    },
    /// Limit the culprit's I/O
    IoLimit {
        #[command(flatten)]
        parties: Parties,

        /// To so many bytes a second, read and written each; a tenth of what it does now where not given
        #[arg(long, value_name = "BYTES")]
        rate: Option<u64>,
    },
    /// Give a control group another CPU quota
    Quota {
        /// The control group: an absolute path, or one relative to the cgroup root
        cgroup: PathBuf,

        /// So many CPUs' worth of time, or `max`
        #[arg(value_parser = parse_quota)]
        cpus: Quota,

        #[command(flatten)]
        watched: Watched,
    },
    /// Change a setting below /proc/sys
    Sysctl {
        /// Such as vm.swappiness=10
        #[arg(value_name = "NAME=VALUE")]
        setting: String,

        #[command(flatten)]
        watched: Watched,
    },
    /// Do without the second-level cache of ZFS for a dataset
    ZfsL2arc {
        /// The dataset, such as tank/srv
        dataset: String,

        #[command(flatten)]
        watched: Watched,
    },
    /// Switch transparent huge pages
    Thp {
        /// always, madvise or never
        to: String,

        #[command(flatten)]
        watched: Watched,
    },
}

/// Who is watched.
#[derive(clap::Args)]
pub struct Watched {
    /// Who suffers: it is measured with all its descendants
    #[arg(long = "victim", value_name = "PID", required = true, value_parser = clap::value_parser!(u32).range(1..))]
    pub victims: Vec<u32>,
}

/// Who is watched, and to whom it is done.
#[derive(clap::Args)]
pub struct Parties {
    #[command(flatten)]
    pub watched: Watched,

    /// Who is accused: it, and the workers of the same program that it has forked
    #[arg(long = "culprit", value_name = "PID", required = true, value_parser = clap::value_parser!(u32).range(1..))]
    pub culprits: Vec<u32>,
}

/// CPUs' worth of time; `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quota(pub Option<f64>);

/// How much may be asked of the system; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Level {
    /// Micro-benchmarks, bounded
    Load,
    /// Changes that are undone
    Change,
    /// What disturbs those who work there
    Disrupt,
}

/// What a change should do to the victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Expect {
    /// It gets faster: the culprit competes with it
    Helps,
    /// It stops or gets slower: it depends on the culprit
    Stops,
}

#[derive(clap::Args)]
pub struct Undo {
    /// Only show what there is to undo
    #[arg(long)]
    pub show: bool,
}

#[derive(clap::Args)]
pub struct Guard {
    /// The undo journal
    pub journal: PathBuf,

    /// After so many seconds it is replayed even if friday is still there
    pub patience: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// One JSON document
    Json,
}

/// ours: a day. Longer windows are several cases.
const LONGEST: Duration = Duration::from_secs(86_400);

/// `20`, `20s`, `2m`, `1h`, `500ms`; a bare number is seconds.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale = match unit {
        "" | "s" => 1.0,
        "ms" => 1e-3,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("`{unit}` is not a unit of time: use ms, s, m or h")),
    };
    let number: f64 = number.parse().map_err(|_| "a number is missing, such as 20s".to_owned())?;
    let seconds = number * scale;
    if !(0.1..=LONGEST.as_secs_f64()).contains(&seconds) {
        return Err("the window must be between 100ms and 24h".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// A time for which a process may be held.
fn parse_phase(text: &str) -> Result<Duration, String> {
    let longest = experiments::trial::LONGEST_PHASE;
    match parse_duration(text) {
        Ok(phase) if phase > longest => Err(format!("at most {} s at a time", longest.as_secs())),
        other => other,
    }
}

fn parse_quota(text: &str) -> Result<Quota, String> {
    if text == "max" {
        return Ok(Quota(None));
    }
    let cpus = text.parse().ok().filter(|cpus: &f64| (0.01..=8192.0).contains(cpus));
    cpus.map(|cpus| Quota(Some(cpus))).ok_or_else(|| "CPUs' worth of time such as 1.5, or `max`".to_owned())
}

fn parse_tier(text: &str) -> Result<week::Tier, String> {
    match text {
        "1" => Ok(week::Tier::Counters),
        "2" => Ok(week::Tier::Times),
        "3" => Ok(week::Tier::Stacks),
        "4" => Ok(week::Tier::Events),
        _ => Err("there are tiers 1, 2, 3 and 4".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(parse_duration("20"), Ok(Duration::from_secs(20)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
        for bad in ["", "s", "-3", "3x", "0", "25h", "1e9", "nan"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn experiments_are_bounded() {
        let parse = |args: &[&str]| {
            let victim = ["--victim", "1", "--culprit", "2"];
            Args::try_parse_from([&["friday", "experiment", "freeze"][..], &victim[..], args].concat()).is_ok()
        };
        assert!(parse(&["--rounds", "3", "--for", "500ms", "--expect", "stops", "--allow", "change"]));
        assert!(!parse(&["--rounds", "2"]), "two prove nothing");
        assert!(!parse(&["--for", "11s"]), "nobody is held for so long");
        assert!(!parse(&["--allow", "everything"]));
        assert!(Args::try_parse_from(["friday", "experiment", "freeze", "--victim", "1"]).is_err());
        assert_eq!(parse_quota("max"), Ok(Quota(None)));
        assert_eq!(parse_quota("1.5"), Ok(Quota(Some(1.5))));
        assert!(parse_quota("-1").is_err() && parse_quota("many").is_err());
    }

    #[test]
    fn only_one_target_can_be_named() {
        assert!(Args::try_parse_from(["friday", "run", "-p", "1", "--unit", "x"]).is_err());
        assert!(Args::try_parse_from(["friday", "run", "-p", "1", "--", "true"]).is_err());
        assert!(Args::try_parse_from(["friday", "run", "-p", "0"]).is_err());
        assert!(Args::try_parse_from(["friday", "run", "--for", "3s", "--", "true", "-x"]).is_ok());
    }
}
