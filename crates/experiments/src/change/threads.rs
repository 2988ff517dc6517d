//! Scheduling attributes and CPU affinity of all threads of some processes: read, set, and given back, also to what they
//! forked meanwhile.

use super::step::Undone;
use crate::{
    Id, Roots,
    process::{self, Stat},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

/// Policy, niceness and priority of a thread (`sched_getattr`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attr {
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// The kernel's `struct sched_attr`, first version.
#[repr(C)]
#[derive(Default)]
struct RawAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// `SCHED_FLAG_RESET_ON_FORK`, the only flag that is a thread's own to keep.
const RESET_ON_FORK: u64 = 1;

impl Attr {
    /// An ordinary thread of a niceness.
    pub(crate) fn ordinary(nice: i32) -> Self {
        Attr { policy: 0, flags: 0, nice, priority: 0, runtime: 0, deadline: 0, period: 0 }
    }

    /// Whether it is preferred to ordinary threads whatever their niceness.
    pub(crate) fn is_realtime(&self) -> bool {
        let policy = self.policy as libc::c_int;
        policy == libc::SCHED_FIFO || policy == libc::SCHED_RR || policy == libc::SCHED_DEADLINE
    }

    /// The same thread held back as far as its policy allows.
    pub(crate) fn held_back(&self) -> Self {
        let policy = self.policy as libc::c_int;
        let stays = policy == libc::SCHED_BATCH || policy == libc::SCHED_IDLE;
        Attr { policy: if stays { self.policy } else { 0 }, ..Attr::ordinary(19) }
    }
}

/// The CPUs that a thread may run on, as the kernel's bits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mask(Vec<u64>);

/// ours: 8192 CPUs, the most that Linux is built for.
const MASK_WORDS: usize = 128;

impl Mask {
    /// Of these CPUs.
    pub(crate) fn of(cpus: impl IntoIterator<Item = u32>) -> Self {
        let mut words = Vec::new();
        for cpu in cpus {
            let word = cpu as usize / 64;
            if words.len() <= word {
                words.resize(word + 1, 0);
            }
            words[word] |= 1 << (cpu % 64);
        }
        Mask(words)
    }

    /// Its CPUs.
    pub(crate) fn cpus(&self) -> Vec<u32> {
        let bits = |(at, word): (usize, &u64)| {
            let word = *word;
            (0..64).filter(move |bit| word & (1 << bit) != 0).map(move |bit| at as u32 * 64 + bit)
        };
        self.0.iter().enumerate().flat_map(bits).collect()
    }
}

/// What every thread has its own of.
pub trait Property: Clone + PartialEq {
    /// Reads it.
    ///
    /// # Errors
    /// The thread is gone, or the kernel refused.
    fn get(tid: u32) -> io::Result<Self>;
    /// Sets it.
    ///
    /// # Errors
    /// The thread is gone, or the kernel refused.
    fn set(&self, tid: u32) -> io::Result<()>;
}

impl Property for Attr {
    fn get(tid: u32) -> io::Result<Self> {
        let mut raw = RawAttr::default();
        let size = size_of::<RawAttr>();
        // SAFETY: a valid place of the size that is given.
        let result = unsafe { libc::syscall(libc::SYS_sched_getattr, tid, &raw mut raw, size, 0) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        // A real-time thread keeps a niceness for later, which only this call tells: 20 less it.
        // SAFETY: plain numbers.
        let nice = unsafe { libc::syscall(libc::SYS_getpriority, libc::PRIO_PROCESS, tid) };
        if nice < 0 {
            return Err(io::Error::last_os_error());
        }
        let nice = 20 - nice as i32;
        let RawAttr { policy, flags, priority, runtime, deadline, period, .. } = raw;
        // The slice of ordinary threads is shown as their runtime, and is no setting of theirs.
        let own = policy as libc::c_int == libc::SCHED_DEADLINE;
        let (runtime, deadline, period) = if own { (runtime, deadline, period) } else { (0, 0, 0) };
        Ok(Attr { policy, flags: flags & RESET_ON_FORK, nice, priority, runtime, deadline, period })
    }

    fn set(&self, tid: u32) -> io::Result<()> {
        let Attr { policy, flags, nice, priority, runtime, deadline, period } = *self;
        let size = size_of::<RawAttr>() as u32;
        let raw = RawAttr { size, policy, flags, nice, priority, runtime, deadline, period };
        // SAFETY: a valid structure that says its size.
        if unsafe { libc::syscall(libc::SYS_sched_setattr, tid, &raw const raw, 0) } < 0 {
            return Err(io::Error::last_os_error());
        }
        if !self.is_realtime() {
            return Ok(());
        }
        // SAFETY: plain numbers.
        let result = unsafe { libc::syscall(libc::SYS_setpriority, libc::PRIO_PROCESS, tid, nice) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl Property for Mask {
    fn get(tid: u32) -> io::Result<Self> {
        let mut words = vec![0u64; MASK_WORDS];
        // SAFETY: a buffer of the length that is given; the kernel returns how much of it it filled.
        let length = unsafe { libc::syscall(libc::SYS_sched_getaffinity, tid, words.len() * 8, words.as_mut_ptr()) };
        if length < 0 {
            return Err(io::Error::last_os_error());
        }
        while words.last() == Some(&0) {
            words.pop();
        }
        Ok(Mask(words))
    }

    fn set(&self, tid: u32) -> io::Result<()> {
        // SAFETY: a buffer of the length that is given.
        let result = unsafe { libc::syscall(libc::SYS_sched_setaffinity, tid, self.0.len() * 8, self.0.as_ptr()) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// A property of all threads of some processes, before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Of<P> {
    /// The processes.
    pub processes: Vec<Id>,
    /// Their threads, each with what it had and what it was given. Where nothing was given, the kernel may have changed it
    /// on the way.
    pub threads: Vec<(Id, P, Option<P>)>,
    /// When this was noted, in clock ticks since boot: what was forked later has it from its parent.
    pub since: u64,
}

impl<P> Of<P> {
    pub(super) fn about(&self, what: &str) -> String {
        let pids: Vec<String> = self.processes.iter().map(|id| id.pid.to_string()).collect();
        format!("give {} threads of {} their {what} back", self.threads.len(), pids.join(", "))
    }
}

/// Every thread of processes that is to change, with what it has. `given` says what it gets; `None` leaves it.
///
/// # Errors
/// A thread's property cannot be read.
pub(crate) fn read<P: Property>(roots: &Roots, processes: &[Id], given: impl Fn(&P) -> Option<P>) -> io::Result<Of<P>> {
    let mut threads = Vec::new();
    for id in processes {
        for tid in process::threads(&roots.proc, id.pid) {
            let Ok(stat) = Stat::read_thread(&roots.proc, id.pid, tid) else { continue };
            match P::get(tid) {
                Ok(old) => {
                    let new = given(&old);
                    threads.push((stat.id(), old, new));
                }
                Err(e) if e.raw_os_error() == Some(libc::ESRCH) => {}
                Err(e) => return Err(e),
            }
        }
    }
    Ok(Of { processes: processes.to_vec(), threads, since: now() })
}

/// Gives each thread what it is to get.
///
/// # Errors
/// The kernel refused.
pub(crate) fn give<P: Property>(of: &Of<P>) -> io::Result<()> {
    for (thread, _, new) in &of.threads {
        match new.as_ref().map_or(Ok(()), |new| new.set(thread.pid)) {
            Err(e) if e.raw_os_error() != Some(libc::ESRCH) => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

/// ours: each pass meets what was forked during the one before.
const PASSES: usize = 5;

/// Gives back what each thread had. What was forked since, has what was given and is of the same family gets what its
/// process had.
pub(super) fn restore<P: Property>(roots: &Roots, of: &Of<P>) -> io::Result<Undone> {
    let known: BTreeMap<Id, (&P, Option<&P>)> =
        of.threads.iter().map(|(id, old, new)| (*id, (old, new.as_ref()))).collect();
    let Some((_, first, _)) = of.threads.first() else { return Ok(Undone::Nothing("no threads were changed".into())) };
    let (mut restored, mut left, mut ended) = (BTreeSet::new(), BTreeSet::new(), of.threads.len());
    for pass in 0..PASSES {
        let mut more = false;
        let mut met = 0;
        for stat in family(roots, of).values() {
            for tid in process::threads(&roots.proc, stat.pid) {
                let Ok(thread) = Stat::read_thread(&roots.proc, stat.pid, tid) else { continue };
                let Ok(present) = P::get(tid) else { continue };
                let old = match known.get(&thread.id()) {
                    Some((old, new)) => {
                        met += 1;
                        if present == **old {
                            continue;
                        }
                        if new.is_some_and(|new| present != *new) {
                            left.insert(tid);
                            continue;
                        }
                        *old
                    }
                    // Born since with what its parent had been given.
                    None if thread.start >= of.since
                        && of.threads.iter().any(|(_, _, n)| n.as_ref() == Some(&present)) =>
                    {
                        of.threads.iter().find(|(id, _, _)| id.pid == stat.pid).map_or(first, |(_, old, _)| old)
                    }
                    None => continue,
                };
                match old.set(tid) {
                    Ok(()) => {
                        more = true;
                        restored.insert(tid);
                    }
                    Err(e) if e.raw_os_error() == Some(libc::ESRCH) => {}
                    Err(e) => return Err(e),
                }
            }
        }
        if pass == 0 {
            ended -= met;
        }
        if !more {
            break;
        }
    }
    let text = format!(
        "{} threads have back what they had{}",
        restored.len(),
        if ended > 0 { format!(", {ended} have ended") } else { String::new() }
    );
    Ok(match (restored.is_empty(), left.is_empty()) {
        (_, false) => Undone::Left(format!("{text}; {} were changed by somebody else and stay so", left.len())),
        (true, true) => Undone::Nothing("every thread has what it had".into()),
        (false, true) => Undone::Restored(text),
    })
}

/// The processes that were changed, and what came after them and descends from them, or shares their session and has lost its
/// parent since.
fn family<P>(roots: &Roots, of: &Of<P>) -> BTreeMap<u32, Stat> {
    let all = process::all(&roots.proc);
    let known = |stat: &Stat| of.processes.contains(&stat.id());
    let tops: BTreeSet<u32> = all.values().filter(|s| known(s)).map(|s| s.pid).collect();
    let sessions: BTreeSet<u32> = all.values().filter(|s| known(s) && s.session != 0).map(|s| s.session).collect();
    let below = process::with_descendants(&all, &tops);
    let session_of = |pid: u32| all.get(&pid).map(|stat| stat.session);
    let orphaned = |s: &Stat| sessions.contains(&s.session) && session_of(s.parent) != Some(s.session);
    let of_it = |s: &Stat| known(s) || s.start >= of.since && (below.contains(&s.pid) || orphaned(s));
    let found: BTreeSet<u32> = all.values().filter(|stat| of_it(stat)).map(|stat| stat.pid).collect();
    all.into_iter().filter(|(pid, _)| found.contains(pid)).collect()
}

/// Now, in clock ticks since boot, as start times are given.
pub(crate) fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid place; both calls only read.
    let ticks = unsafe {
        libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut time);
        libc::sysconf(libc::_SC_CLK_TCK)
    };
    let ticks = ticks.max(1) as u64;
    time.tv_sec as u64 * ticks + time.tv_nsec as u64 * ticks / 1_000_000_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};

    struct Sleeper(Child);

    impl Sleeper {
        fn start() -> (Sleeper, Id) {
            let child = Command::new("sleep").arg("60").spawn().unwrap();
            let id = Stat::read("/proc".as_ref(), child.id()).unwrap().id();
            (Sleeper(child), id)
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn cpus_of_a_mask() {
        assert_eq!(Mask::of([0, 1, 65]).cpus(), [0, 1, 65]);
        assert_eq!(Mask::of([]).cpus(), Vec::<u32>::new());
    }

    #[test]
    fn niceness_is_given_and_given_back() {
        let (_sleeper, id) = Sleeper::start();
        let roots = Roots::default();
        let before = Attr::get(id.pid).unwrap();
        assert!(!before.is_realtime());
        let of = read(&roots, &[id], |old: &Attr| Some(old.held_back())).unwrap();
        assert_eq!(of.threads.len(), 1);
        give(&of).unwrap();
        assert_eq!(Attr::get(id.pid).unwrap().nice, 19);
        match restore(&roots, &of) {
            Ok(done) => {
                assert!(matches!(done, Undone::Restored(_)), "{done:?}");
                assert_eq!(Attr::get(id.pid).unwrap(), before);
                assert!(matches!(restore(&roots, &of).unwrap(), Undone::Nothing(_)));
            }
            // Who is not root may only become nicer.
            Err(e) => assert_eq!(e.raw_os_error(), Some(libc::EPERM)),
        }
    }

    #[test]
    fn a_realtime_thread_gets_its_niceness_back_too() {
        let (_sleeper, id) = Sleeper::start();
        let realtime = Attr { policy: libc::SCHED_RR as u32, priority: 1, ..Attr::ordinary(5) };
        if realtime.set(id.pid).is_err() {
            eprintln!("skipped: only root may");
            return;
        }
        assert_eq!(Attr::get(id.pid).unwrap(), realtime);
        let of = read(&Roots::default(), &[id], |old: &Attr| Some(old.held_back())).unwrap();
        give(&of).unwrap();
        assert_eq!(Attr::get(id.pid).unwrap(), Attr::ordinary(19));
        restore(&Roots::default(), &of).unwrap();
        assert_eq!(Attr::get(id.pid).unwrap(), realtime);
    }

    #[test]
    fn what_somebody_else_changed_meanwhile_stays() {
        let (_sleeper, id) = Sleeper::start();
        let roots = Roots::default();
        let of = read(&roots, &[id], |_: &Attr| Some(Attr::ordinary(7))).unwrap();
        give(&of).unwrap();
        Attr::ordinary(12).set(id.pid).unwrap();
        assert!(matches!(restore(&roots, &of).unwrap(), Undone::Left(_)));
        assert_eq!(Attr::get(id.pid).unwrap().nice, 12);
    }

    #[test]
    fn what_was_forked_meanwhile_gets_its_parents_cpus_back() {
        let mine = Mask::get(0).unwrap();
        let Some(one) = mine.cpus().first().copied().filter(|_| mine.cpus().len() > 1) else {
            eprintln!("skipped: one CPU leaves nothing to take away");
            return;
        };
        let mut shell = Command::new("sh")
            .args(["-c", "read go; sleep 60 & echo $!; wait"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let roots = Roots::default();
        let id = Stat::read(&roots.proc, shell.id()).unwrap().id();
        let of = read(&roots, &[id], |_: &Mask| Some(Mask::of([one]))).unwrap();
        give(&of).unwrap();
        drop(shell.stdin.take());
        let mut line = String::new();
        io::BufRead::read_line(&mut io::BufReader::new(shell.stdout.take().unwrap()), &mut line).unwrap();
        let child: u32 = line.trim().parse().unwrap();
        assert_eq!(Mask::get(child).unwrap().cpus(), [one], "it has it from its parent");
        let done = restore(&roots, &of).unwrap();
        let (parent, forked) = (Mask::get(id.pid).unwrap(), Mask::get(child).unwrap());
        let _ = Command::new("kill").arg(child.to_string()).status();
        let _ = shell.wait();
        assert!(matches!(done, Undone::Restored(_)), "{done:?}");
        assert_eq!((parent, forked), (mine.clone(), mine));
    }
}
