//! What looks on meanwhile: friday at each tier and its peers, attached before a load and ended after it.

use super::parse::{self, Overhead};
use crate::machine::{self, CpuTime};
use crate::processes::{self, STEP, Stop, pause};
use crate::programs::{create, last_line, last_words, present};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// ours: a tool is attached within this.
const ATTACH_LIMIT: Duration = Duration::from_secs(30);
/// ours: what a tool holds has not changed for this long: it has attached all it will.
const STEADY: Duration = Duration::from_millis(500);
/// ours: what a tool does once it is attached (reading symbols, say) is over after this. Without a tool it is waited too.
const SETTLE: Duration = Duration::from_secs(2);
/// ours: the lowest tier may attach nothing to the kernel; it has begun this long after it said so.
const BEGUN: Duration = Duration::from_secs(4);
/// ours: after the interrupt a tool has this long to conclude.
const END_LIMIT: Duration = Duration::from_secs(60);

/// Time off the CPU by stack, as a script of one line.
const OFF_CPU: &str = "tracepoint:sched:sched_switch {
  if (args->prev_pid != 0) {
    @began[args->prev_pid] = nsecs; @kernel[args->prev_pid] = kstack; @user[args->prev_pid] = ustack;
  }
  $began = @began[args->next_pid];
  if ($began != 0) {
    @off[args->next_comm, @kernel[args->next_pid], @user[args->next_pid]] = sum(nsecs - $began);
    delete(@began[args->next_pid]);
  }
}
END { clear(@began); clear(@kernel); clear(@user); }";

/// One line of the table of tools.
pub struct Tool {
    /// What the command line calls it.
    pub name: &'static str,
    /// What it records.
    pub about: &'static str,
    kind: Kind,
}

enum Kind {
    Nothing,
    /// `friday run` at a tier; every switch alone with `friday path`.
    Friday {
        tier: u8,
    },
    /// A command with `{dir}` for the folder it may write to.
    Peer(&'static [&'static str]),
}

const fn friday(name: &'static str, tier: u8, about: &'static str) -> Tool {
    Tool { name, about, kind: Kind::Friday { tier } }
}

const fn peer(name: &'static str, words: &'static [&'static str], about: &'static str) -> Tool {
    Tool { name, about, kind: Kind::Peer(words) }
}

/// The tool that all others are compared to.
pub const REFERENCE: &str = "none";

/// All that goes on for as long as friday looks. The event window of the next tier opens in the middle of a window, which here
/// is far beyond the load.
const FULL: u8 = 3;
/// The event window, open all the time.
const PATH: u8 = 4;
/// ours: more than a load of some seconds makes.
const EPISODES: &str = "6000000";

/// Every tool, in the order of the columns; the reference is the first.
pub const TOOLS: [Tool; 10] = [
    Tool { name: REFERENCE, about: "nothing: what all others are compared to", kind: Kind::Nothing },
    friday("friday-1", 1, "friday run --tier 1: counters"),
    friday("friday-2", 2, "friday run --tier 2: times, aggregated"),
    friday("friday-3", FULL, "friday run --tier 3: everything but the event window"),
    friday("friday-path", PATH, "friday path: everything, and the event window open all the time"),
    peer("bpftrace", &["bpftrace", "-e", OFF_CPU], "time off the CPU by kernel and user stack, by a bpftrace script"),
    peer("offcputime", &["offcputime-bpfcc", "-f"], "time off the CPU by kernel and user stack, by bcc"),
    peer(
        "perf-record",
        &["perf", "record", "-g", "-a", "-F", "99", "-o", "{dir}/perf.data"],
        "samples of all CPUs with stacks: perf record -g -a -F 99",
    ),
    peer(
        "perf-sched",
        &["perf", "sched", "record", "-o", "{dir}/perf.data"],
        "every scheduler event: perf sched record",
    ),
    peer("perf-trace", &["perf", "trace", "-s", "-a"], "every system call, summed up: perf trace -s -a"),
];

/// The binary under test.
pub struct Friday {
    path: PathBuf,
    /// What it says its version is.
    pub version: String,
    knows_tiers: bool,
}

impl Friday {
    /// Asks the binary what it is and what it can.
    pub fn ask(path: &Path) -> Result<Friday, String> {
        let help = Command::new(path).args(["run", "--help"]).output();
        let help = help.map_err(|e| format!("{}: {e}; ./x build makes it", path.display()))?;
        let version = machine::version(&path.display().to_string()).unwrap_or_default();
        let knows_tiers = String::from_utf8_lossy(&help.stdout).contains("--tier");
        Ok(Friday { path: path.into(), version, knows_tiers })
    }
}

/// A tool that looks on.
pub struct Attached {
    is_friday: bool,
    dir: PathBuf,
    child: Option<Child>,
    /// How long that took.
    pub seconds: f64,
    /// How busy the machine was then, before the load.
    pub busy_percent: Option<f64>,
}

/// A tool that is done.
#[derive(Default)]
pub struct Ended {
    /// From the interrupt until it was gone; `None` where it had to be killed.
    pub seconds: Option<f64>,
    /// What friday said about itself.
    pub overhead: Option<Overhead>,
}

impl Tool {
    /// Whether it is the reference.
    pub fn is_none(&self) -> bool {
        matches!(self.kind, Kind::Nothing)
    }

    /// Whether it is friday, at whatever tier.
    pub fn is_friday(&self) -> bool {
        matches!(self.kind, Kind::Friday { .. })
    }

    /// What to start; empty for the reference.
    fn words(&self, friday: &Friday, dir: &Path) -> Result<Vec<String>, Stop> {
        let place = dir.display().to_string();
        match self.kind {
            Kind::Nothing => Ok(Vec::new()),
            Kind::Friday { tier } => {
                let binary = friday.path.display().to_string();
                let case = format!("{place}/case");
                let command = if tier == PATH { "path" } else { "run" };
                let mut words =
                    [&binary, command, "--for", "600s", "--format", "json", "--case", &case].map(String::from).to_vec();
                if tier == PATH {
                    words.extend(["--episodes", EPISODES].map(String::from));
                } else if friday.knows_tiers {
                    words.extend(["--tier".into(), tier.to_string()]);
                } else if tier != FULL {
                    return Err(Stop::Skip("this friday has no --tier".into()));
                }
                Ok(words)
            }
            Kind::Peer(words) => {
                words.iter().take(1).try_for_each(|program| present(program))?;
                let words = words.iter().map(|word| word.replace("{dir}", &place));
                Ok(own_tracefs().into_iter().map(String::from).chain(words).collect())
            }
        }
    }
}

/// What to put before a command that reads the kernel's events where nobody has mounted them: mounts of its own, gone
/// with it, so that the machine stays as it is. The command keeps the process id.
fn own_tracefs() -> Vec<&'static str> {
    if ["/sys/kernel/tracing/events", "/sys/kernel/debug/tracing/events"].iter().any(|path| Path::new(path).exists()) {
        return Vec::new();
    }
    let script =
        "mount -t debugfs debugfs /sys/kernel/debug; mount -t tracefs tracefs /sys/kernel/tracing; exec \"$@\"";
    vec!["unshare", "--mount", "sh", "-c", script, "sh"]
}

/// Starts a tool and waits until it looks on.
pub fn attach(tool: &Tool, friday: &Friday, dir: &Path) -> Result<Attached, Stop> {
    let words = tool.words(friday, dir)?;
    let mut attached =
        Attached { is_friday: tool.is_friday(), dir: dir.into(), child: None, seconds: 0.0, busy_percent: None };
    let begin = Instant::now();
    if let Some((program, arguments)) = words.split_first() {
        let mut command = Command::new(program);
        let out = if tool.is_friday() { create(&dir.join("out"))?.into() } else { Stdio::null() };
        command.args(arguments).current_dir(dir).stdout(out).stderr(create(&dir.join("err"))?);
        for name in ["SUDO_UID", "SUDO_GID", "SUDO_USER"] {
            command.env_remove(name);
        }
        attached.child = Some(processes::bind(&mut command).spawn().map_err(|e| format!("{program}: {e}"))?);
        attached.wait_until_steady(matches!(tool.kind, Kind::Friday { tier: 1 }))?;
    }
    attached.seconds = begin.elapsed().as_secs_f64();
    let then = CpuTime::now();
    pause(SETTLE)?;
    attached.busy_percent = then.and_then(|then| CpuTime::now()?.busy_percent_since(then));
    attached.check()?;
    Ok(attached)
}

impl Attached {
    /// Waits until the tool holds something that the kernel calls, and has got no more of it for a while.
    fn wait_until_steady(&mut self, may_hold_nothing: bool) -> Result<(), Stop> {
        let (begin, mut since, mut before, mut said) = (Instant::now(), Instant::now(), 0, None);
        loop {
            self.check()?;
            let now = self.child.as_ref().map_or(0, |child| held(child.id()));
            if now != before {
                (before, since) = (now, Instant::now());
            }
            if now > 0 && since.elapsed() >= STEADY {
                return Ok(());
            }
            if may_hold_nothing && said.is_none() && last_line(&self.dir.join("err")).contains("watching") {
                said = Some(Instant::now());
            }
            if now == 0 && said.is_some_and(|said| said.elapsed() >= BEGUN) {
                return Ok(());
            }
            if begin.elapsed() > ATTACH_LIMIT {
                return Err(Stop::Broken(format!("attached nothing within {} s", ATTACH_LIMIT.as_secs())));
            }
            pause(STEP)?;
        }
    }

    /// An error where the tool looks on no longer, or cannot.
    pub fn check(&mut self) -> Result<(), Stop> {
        let Some(child) = &mut self.child else { return Ok(()) };
        let said = self.dir.join("err");
        if let Some(status) = child.try_wait().map_err(|e| format!("wait: {e}"))? {
            return Err(Stop::Broken(format!("it has ended ({status}){}", last_words(&said))));
        }
        let blind = self.is_friday && fs::read_to_string(&said).unwrap_or_default().contains("cannot be traced");
        if blind { Err(Stop::Broken(last_line(&said))) } else { Ok(()) }
    }

    /// Interrupts the tool and waits for its result.
    pub fn end(mut self) -> Result<Ended, Stop> {
        let Some(mut child) = self.child.take() else { return Ok(Ended::default()) };
        let begin = Instant::now();
        processes::interrupt(&child);
        let status = loop {
            if let Some(status) = child.try_wait().map_err(|e| format!("wait: {e}"))? {
                break status;
            }
            if begin.elapsed() > END_LIMIT {
                child.kill().and_then(|()| child.wait()).map_err(|e| format!("kill: {e}"))?;
                // It looked on during the load, which is all that its figure says.
                let late = format!("did not end within {} s of an interrupt", END_LIMIT.as_secs());
                return if self.is_friday { Err(Stop::Broken(late)) } else { Ok(Ended::default()) };
            }
            pause(Duration::from_millis(10))?;
        };
        let seconds = Some(begin.elapsed().as_secs_f64());
        if !self.is_friday {
            return Ok(Ended { seconds, overhead: None });
        }
        if !status.success() {
            return Err(Stop::Broken(format!("it ended with {status}{}", last_words(&self.dir.join("err")))));
        }
        let text = fs::read_to_string(self.dir.join("case/case.json")).map_err(|e| format!("friday's case: {e}"))?;
        Ok(Ended { seconds, overhead: Some(parse::overhead(&text)?) })
    }
}

/// How many things a process holds that the kernel calls or counts with: attached programs and performance events.
fn held(pid: u32) -> usize {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
    let targets = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let kinds = ["anon_inode:bpf_link", "anon_inode:[perf_event]", "anon_inode:bpf-raw-tracepoint"];
    targets.filter(|target| kinds.contains(&target.to_string_lossy().as_ref())).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binary(knows_tiers: bool) -> Friday {
        Friday { path: "/f".into(), version: String::new(), knows_tiers }
    }

    #[test]
    fn tiers_are_asked_for_only_where_they_are_known() {
        let words = |at: usize, known| TOOLS[at].words(&binary(known), Path::new("/d")).map(|words| words.join(" "));
        assert_eq!(words(2, true).unwrap(), "/f run --for 600s --format json --case /d/case --tier 2");
        assert_eq!(words(3, false).unwrap(), "/f run --for 600s --format json --case /d/case");
        assert!(matches!(words(1, false), Err(Stop::Skip(_))));
        assert_eq!(words(0, true).unwrap(), "");
    }

    #[test]
    fn the_reference_comes_first_and_names_are_unique() {
        assert!(TOOLS[0].is_none() && TOOLS.iter().skip(1).all(|tool| !tool.is_none()));
        let names: std::collections::BTreeSet<_> = TOOLS.iter().map(|tool| tool.name).collect();
        assert_eq!(names.len(), TOOLS.len());
    }
}
