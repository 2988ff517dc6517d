//! The scheduler's own account of each thread, from `/proc/PID/task/TID`: what the ledger rests on where nothing is attached.

use crate::{bpf::types, cpu::Split, roots::Roots};
use observe::Target;
use std::{collections::HashMap, fs, time::Duration};

/// A thread's times so far.
#[derive(Clone, Copy, Default)]
struct Account {
    running: Duration,
    runnable: Duration,
    /// Ticks in user space and in the kernel.
    ticks: Split,
    switches: u64,
}

/// The accounts of threads at one moment.
pub(crate) struct Totals {
    by_thread: HashMap<(u32, u32), Account>,
}

impl Totals {
    /// Reads the threads of the target, or of every process when none is named.
    pub fn read(roots: &Roots, target: &Target) -> Self {
        let pids: Vec<u32> = if target.is_named() {
            target.members.iter().map(|pid| pid.0).collect()
        } else {
            let dir = fs::read_dir(&roots.proc).into_iter().flatten().flatten();
            dir.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
        };
        let mut by_thread = HashMap::new();
        for pid in pids.into_iter().filter(|pid| *pid != std::process::id()) {
            let tasks = fs::read_dir(roots.proc.join(format!("{pid}/task"))).into_iter().flatten().flatten();
            for tid in tasks.filter_map(|entry| entry.file_name().to_str()?.parse().ok()) {
                if let Some(account) = read_thread(roots, pid, tid) {
                    by_thread.insert((pid, tid), account);
                }
            }
        }
        Totals { by_thread }
    }

    /// What the threads that were there then and are there now did meanwhile, as the kernel side would tell it, and how
    /// their running time is split.
    pub fn until_now(
        &self,
        roots: &Roots,
        target: &Target,
        length: Duration,
    ) -> (Vec<types::thread_times>, HashMap<u32, Split>) {
        let after = Totals::read(roots, target);
        let (mut threads, mut splits) = (Vec::new(), HashMap::new());
        for ((pid, tid), now) in &after.by_thread {
            let Some(before) = self.by_thread.get(&(*pid, *tid)) else { continue };
            let running = now.running.saturating_sub(before.running).min(length);
            let runnable = now.runnable.saturating_sub(before.runnable).min(length - running);
            let ns = |time: Duration| time.as_nanos() as u64;
            let name = fs::read(roots.proc.join(format!("{pid}/task/{tid}/comm"))).unwrap_or_default();
            let mut comm = [0; 16];
            for (to, from) in comm.iter_mut().take(15).zip(name.iter().take_while(|byte| **byte != b'\n')) {
                *to = *from as i8;
            }
            threads.push(types::thread_times {
                tid: *tid,
                tgid: *pid,
                end: ns(length),
                running: ns(running),
                executed: ns(running),
                runnable: ns(runnable),
                blocked: ns(length - running - runnable),
                switches: now.switches.saturating_sub(before.switches),
                comm,
                ..Default::default()
            });
            let kernel = now.ticks.kernel.saturating_sub(before.ticks.kernel);
            splits.insert(*tid, Split { all: now.ticks.all.saturating_sub(before.ticks.all), kernel });
        }
        (threads, splits)
    }
}

fn read_thread(roots: &Roots, pid: u32, tid: u32) -> Option<Account> {
    let folder = roots.proc.join(format!("{pid}/task/{tid}"));
    let line = fs::read_to_string(folder.join("schedstat")).ok()?;
    let mut fields = line.split_whitespace().map(|f| f.parse::<u64>());
    let mut next = || fields.next()?.ok();
    let (running, runnable, switches) = (next()?, next()?, next()?);
    let ns = Duration::from_nanos;
    let ticks = crate::processes::stat(&folder)
        .map_or_else(Split::default, |stat| Split { all: stat.utime.saturating_add(stat.stime), kernel: stat.stime });
    Some(Account { running: ns(running), runnable: ns(runnable), ticks, switches })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn write(proc: &Path, schedstat: &str, user: u64, kernel: u64) {
        let folder = proc.join("7/task/8");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("schedstat"), schedstat).unwrap();
        fs::write(folder.join("comm"), "worker\n").unwrap();
        let rest = "0 ".repeat(30);
        fs::write(folder.join("stat"), format!("8 (worker) S 1 1 1 0 -1 0 0 0 0 0 {user} {kernel} {rest}\n")).unwrap();
    }

    #[test]
    fn what_a_thread_did_is_the_difference_of_its_accounts() {
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots { proc: dir.path().into(), ..Roots::default() };
        let target = Target::system("host");
        write(dir.path(), "1000 500 3", 10, 10);
        let before = Totals::read(&roots, &target);
        write(dir.path(), "4000 1500 9", 13, 11);
        let (threads, splits) = before.until_now(&roots, &target, Duration::from_nanos(10_000));
        let thread = threads[0];
        assert_eq!((thread.running, thread.runnable, thread.blocked, thread.switches), (3000, 1000, 6000, 6));
        assert_eq!((splits[&8].all, splits[&8].kernel), (4, 1));
        assert_eq!(crate::bpf::text(&thread.comm), "worker");
    }
}
