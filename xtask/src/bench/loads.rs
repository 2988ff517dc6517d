//! What is slowed down: each load is set up once, then run with the same number of operations beside every tool.

use super::{own, parse};
use crate::processes::{self, Stop};
use crate::programs::{create, last_words, present};
use serde::Serialize;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// ours: no run takes longer; beside a tool that slows it down further it has fewer operations.
pub const LIMIT: Duration = Duration::from_secs(15);

/// One line of the table of loads.
pub struct Load {
    /// What the command line calls it.
    pub name: &'static str,
    /// What it does, in a phrase.
    pub about: &'static str,
    /// Of its figures.
    pub unit: &'static str,
    /// Which figures are good.
    pub better: Better,
    /// Rounds by default.
    pub rounds: usize,
    /// A number of operations that takes less than some seconds on a slow machine.
    pub few: u64,
    /// Makes everything ready; the folder is the load's own.
    pub set_up: fn(&Path) -> Result<Runner, Stop>,
}

/// Does that many operations and says how fast: its figure is per operation or per time, and does not grow with them.
pub type Runner = Box<dyn FnMut(u64) -> Result<f64, Stop>>;

/// The direction of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// Times.
    Less,
    /// Rates.
    More,
}

impl Better {
    /// How many times slower a figure is than the reference.
    pub fn slower(self, reference: f64, figure: f64) -> f64 {
        match self {
            Better::Less => figure / reference,
            Better::More => reference / figure,
        }
    }
}

/// Every load, in the order of the table.
pub const LOADS: [Load; 6] = [
    Load {
        name: "switch-storm",
        about: "two processes on one CPU hand a byte back and forth: perf bench sched pipe",
        unit: "µs/op",
        better: Better::Less,
        // The switch is what every tool hooks into, and so short that its figures vary most.
        rounds: 9,
        few: 10_000,
        set_up: switch_storm,
    },
    Load {
        name: "syscall-loop",
        about: "one process makes the cheapest system call: perf bench syscall basic",
        unit: "µs/op",
        better: Better::Less,
        rounds: 5,
        few: 100_000,
        set_up: syscall_loop,
    },
    Load {
        name: "redis",
        about: "50 clients set and get at a redis server of its own: redis-benchmark",
        unit: "requests/s",
        better: Better::More,
        rounds: 5,
        few: 3_000,
        set_up: redis,
    },
    Load {
        name: "fork-exec",
        about: "one process starts /bin/true over and over",
        unit: "spawns/s",
        better: Better::More,
        rounds: 5,
        few: 100,
        set_up: own::fork_exec,
    },
    Load {
        name: "block-io",
        about: "one process reads 4 KiB blocks of a file at random, past the page cache",
        unit: "reads/s",
        better: Better::More,
        rounds: 5,
        few: 200,
        set_up: own::block_io,
    },
    Load {
        name: "hackbench",
        about: "2 groups of 40 processes send each other messages, one by each sender a loop: hackbench",
        unit: "ms/loop",
        better: Better::Less,
        rounds: 5,
        few: 50,
        set_up: hackbench,
    },
];

fn switch_storm(dir: &Path) -> Result<Runner, Stop> {
    present("perf")?;
    let cpu = own::last_cpu()?.to_string();
    let words = ["taskset", "-c", &cpu, "perf", "bench", "sched", "pipe", "-l", "{n}"];
    command(dir, &words, parse::perf_bench)
}

fn syscall_loop(dir: &Path) -> Result<Runner, Stop> {
    let mut perf = match command(dir, &["perf", "bench", "syscall", "basic", "-l", "{n}"], parse::perf_bench) {
        Ok(perf) => perf,
        Err(Stop::Skip(_)) => return Ok(Box::new(own::syscalls)),
        Err(stop) => return Err(stop),
    };
    // Older versions of perf lack it; the loop here makes the same call.
    Ok(if perf(1_000).is_ok() { perf } else { Box::new(own::syscalls) })
}

fn hackbench(dir: &Path) -> Result<Runner, Stop> {
    let mut seconds = command(dir, &["hackbench", "-g", "2", "-l", "{n}"], parse::hackbench)?;
    Ok(Box::new(move |loops| Ok(seconds(loops)? * 1e3 / loops.max(1) as f64)))
}

fn redis(dir: &Path) -> Result<Runner, Stop> {
    let port = processes::free_port()?.to_string();
    let place = dir.display().to_string();
    let client = ["redis-benchmark", "-p", &port, "-c", "50", "-t", "set,get", "-n", "{n}", "--csv"];
    let run = command(dir, &client, parse::redis_benchmark)?;
    let mut server = Command::new("redis-server");
    server.args(["--port", &port, "--bind", "127.0.0.1", "--dir", &place, "--save", "", "--appendonly", "no"]);
    server.stdout(Stdio::null()).stderr(Stdio::null());
    present("redis-server")?;
    let mut child = processes::bind(&mut server).spawn().map_err(|e| format!("redis-server: {e}"))?;
    let number = port.parse().map_err(|e| format!("{port}: {e}"))?;
    processes::wait_for_port(number, child.id(), "redis-server", || match child.try_wait() {
        Ok(None) => Ok(()),
        Ok(Some(status)) => Err(Stop::Broken(format!("redis-server has ended ({status})"))),
        Err(error) => Err(Stop::Broken(format!("redis-server: {error}"))),
    })?;
    Ok(run)
}

/// A load that is a command with `{n}` for the number of operations; its figure is read from its output.
fn command(dir: &Path, words: &[&str], read: fn(&str) -> Option<f64>) -> Result<Runner, Stop> {
    present(words.first().ok_or("an empty command".to_string())?)?;
    let words: Vec<String> = words.iter().map(|word| word.to_string()).collect();
    let (out, err) = (dir.join("load.out"), dir.join("load.err"));
    Ok(Box::new(move |operations| {
        let words: Vec<String> = words.iter().map(|word| word.replace("{n}", &operations.to_string())).collect();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdout(create(&out)?).stderr(create(&err)?);
        let child = processes::bind(&mut command).spawn().map_err(|e| format!("{}: {e}", words[0]))?;
        let (status, _) = processes::wait(child, LIMIT)?;
        if !status.success() {
            return Err(Stop::Broken(format!("{}: {status}{}", words.join(" "), last_words(&err))));
        }
        let text = fs::read_to_string(&out).map_err(|e| format!("{}: {e}", out.display()))?;
        read(&text).ok_or_else(|| Stop::Broken(format!("no figure in the output of {}", words.join(" "))))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_nothing_is_played_without_rounds() {
        let names: std::collections::BTreeSet<_> = LOADS.iter().map(|load| load.name).collect();
        assert_eq!(names.len(), LOADS.len());
        assert!(LOADS.iter().all(|load| load.rounds > 0 && load.few > 0));
    }

    #[test]
    fn a_missing_program_is_a_reason_to_skip() {
        let missing = command(Path::new("/"), &["no-such-program-here", "{n}"], parse::hackbench);
        assert!(matches!(missing, Err(Stop::Skip(reason)) if reason == "no-such-program-here is not installed"));
    }
}
