//! friday's kernel-side unwinder beside framehop, on the program's busiest thread: what a live test of the crate that
//! unwinds says.

use super::options::Options;
use super::scene::Scene;
use crate::processes::{self, Stop, pause};
use crate::programs::{create, last_words};
use serde::Serialize;
use std::fs;
use std::process::Command;
use std::time::Duration;

/// The test, which takes process ids from the environment.
const TEST: &str = "unwind::live::given::given_processes_agree_with_framehop";
/// ours: it is done within this.
const LIMIT: Duration = Duration::from_secs(60);
/// ours: long enough to tell which process is the busiest.
const WATCH: Duration = Duration::from_secs(1);

/// How friday's stacks compare with framehop's.
#[derive(Debug, PartialEq, Serialize)]
pub struct Agreement {
    /// The thread that both sampled.
    pub thread: u32,
    /// Samples that friday took.
    pub samples: u64,
    /// Of friday's, in percent, those that reached their root.
    pub complete_percent: f64,
    /// Of friday's, in percent, those with a frame found by frame pointer.
    pub guessed_percent: f64,
    /// Of framehop's, in percent, those that reached their root.
    pub framehop_percent: f64,
    /// Of friday's, in percent, those that framehop walked the same way, frame by frame.
    pub equal_percent: f64,
    /// Why the test failed; empty where it did not.
    pub failure: String,
}

/// Compares on one process.
pub fn compare(options: &Options, scene: &Scene, pid: u32) -> Result<Agreement, Stop> {
    let test = options.oracle.as_ref().ok_or_else(|| Stop::Skip("no test was built for it".into()))?;
    let (out, err) = (scene.dir().join("oracle.out"), scene.dir().join("oracle.err"));
    let mut command = Command::new(test);
    command.args(["--ignored", "--exact", TEST, "--nocapture", "--test-threads=1"]);
    command.env("FRIDAY_ORACLE_PIDS", pid.to_string()).current_dir(scene.dir());
    command.stdout(create(&out)?).stderr(create(&err)?);
    let child = processes::bind(&mut command).spawn().map_err(|e| format!("{}: {e}", test.display()))?;
    let (status, _) = processes::wait(child, LIMIT)?;
    let said = fs::read_to_string(&err).unwrap_or_default();
    match parse(&said) {
        Some(mut found) if !status.success() => {
            found.failure = said.lines().find(|line| line.starts_with("thread ")).unwrap_or("failed").to_string();
            Ok(found)
        }
        Some(found) => Ok(found),
        None => Err(Stop::Broken(format!("the comparison with framehop: {status}{}", last_words(&err)))),
    }
}

/// The process of a program that uses most CPU time.
pub fn busiest(scene: &Scene) -> Result<u32, Stop> {
    let before: Vec<(u32, u64)> = scene.pids().into_iter().map(|pid| (pid, ticks(pid))).collect();
    pause(WATCH)?;
    let used = before.into_iter().map(|(pid, then)| (ticks(pid).saturating_sub(then), pid));
    Ok(used.max().map_or(scene.pid(), |(_, pid)| pid))
}

/// CPU time of a process so far; none where it is gone.
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let words = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ').skip(11).take(2);
    words.filter_map(|word| word.parse::<u64>().ok()).sum()
}

/// The line of figures in what the test says.
fn parse(text: &str) -> Option<Agreement> {
    let line = text.lines().find_map(|line| line.strip_prefix("oracle "))?;
    let value = |name: &str| {
        let word = line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))?;
        word.parse::<f64>().ok()
    };
    Some(Agreement {
        thread: value("tid")? as u32,
        samples: value("samples")? as u64,
        complete_percent: value("complete")?,
        guessed_percent: value("guessed")?,
        framehop_percent: value("framehop")?,
        equal_percent: value("equal")?,
        failure: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_figures_is_found_among_others() {
        let text = "\nrunning 1 test\noracle pid=7 tid=9 samples=812 complete=99.5 guessed=0.2 framehop=99.1 equal=98.6 \
                    lost=0\ntest unwind … ok\n";
        let found = parse(text).unwrap();
        assert_eq!((found.thread, found.samples, found.complete_percent), (9, 812, 99.5));
        assert_eq!((found.guessed_percent, found.framehop_percent, found.equal_percent), (0.2, 99.1, 98.6));
        assert_eq!(parse("oracle pid=7\n"), None);
    }

    #[test]
    fn a_process_has_used_time() {
        assert_eq!(ticks(0), 0);
    }
}
