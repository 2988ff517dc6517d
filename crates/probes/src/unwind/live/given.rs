//! The same comparison on programs that others run: their process ids are given in `FRIDAY_ORACLE_PIDS`, separated by
//! commas, and the busiest thread of each is looked at. `./x survey` does so on real programs under load.

use super::*;
use std::{fs, thread::sleep};

/// Long enough to tell which thread is the busiest.
const WATCH: Duration = Duration::from_millis(500);
/// ours: a share of complete stacks this much below framehop's, in points, is no chance.
const BEHIND: f64 = 2.0;
/// ours: fewer samples say nothing.
const FEWEST: u64 = 50;

#[test]
#[ignore = "needs root, and FRIDAY_ORACLE_PIDS: processes that run"]
fn given_processes_agree_with_framehop() {
    let given = std::env::var("FRIDAY_ORACLE_PIDS").expect("FRIDAY_ORACLE_PIDS names the processes to look at");
    let pids: Vec<u32> = given.split(',').map(|pid| pid.trim().parse().expect("a process id")).collect();
    let mut all = Vec::new();
    for pid in pids {
        let tid = busiest(pid);
        let found = compare(&format!("process {pid}, thread {tid}"), pid, tid);
        let (ours, theirs) = (share(found.complete, found.samples), share(found.oracle_complete, found.oracle_samples));
        // What the survey reads.
        eprintln!(
            "oracle pid={pid} tid={tid} samples={} complete={ours:.2} guessed={:.2} framehop={theirs:.2} equal={:.2}",
            found.samples,
            share(found.guessed, found.samples),
            share(found.equal, found.samples),
        );
        all.push((found, ours, theirs));
    }
    for (found, ours, theirs) in all {
        assert!(found.samples >= FEWEST, "too few samples to tell: {found:?}");
        assert!(ours + BEHIND >= theirs, "fewer stacks are complete than framehop's: {found:?}");
    }
}

/// The thread of a process that uses most CPU time.
fn busiest(pid: u32) -> u32 {
    let threads = || -> HashMap<u32, u64> {
        let listed = fs::read_dir(format!("/proc/{pid}/task")).expect("a process that runs");
        let ids = listed.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        ids.map(|tid| (tid, ticks(pid, tid))).collect()
    };
    let before = threads();
    sleep(WATCH);
    let used = threads().into_iter().map(|(tid, now)| (now - before.get(&tid).copied().unwrap_or(0).min(now), tid));
    used.max().map_or(pid, |(_, tid)| tid)
}

/// CPU time of a thread so far, in ticks; none where it is gone.
fn ticks(pid: u32, tid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/task/{tid}/stat")).unwrap_or_default();
    let words = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ').skip(11).take(2);
    words.filter_map(|word| word.parse::<u64>().ok()).sum()
}
