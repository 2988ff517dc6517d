//! Who waits for whom, and on whom that time rests in the end: the wait graph and its cascaded redistribution.

mod account;
mod knots;
mod node;
#[cfg(test)]
mod random;
mod redistribute;
mod service;
mod whose;

pub use account::{Account, Edge};
pub use node::{Node, listener};
pub use redistribute::{Part, Root, redistribute};
pub use service::{Merged, Services};
pub use whose::{Whose, WhosePart, whose};

use crate::Scene;
use observe::{Pid, ThreadTime, Tid, Wait};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

/// The books of every thread and process of a recording.
#[derive(Debug, Default)]
pub struct WaitGraph {
    threads: BTreeMap<(Pid, Tid), Account>,
    processes: BTreeMap<Pid, Process>,
}

/// A process as somebody waits for it.
#[derive(Debug, Default)]
struct Process {
    /// Its working threads together.
    account: Account,
    /// For how long of the window it can have been at work: its busiest thread, or its short-lived ones in turns.
    at_work: Duration,
}

impl WaitGraph {
    /// Of a recording. friday's own threads are no part of it.
    pub fn of(scene: &Scene) -> Self {
        let mut graph = WaitGraph::default();
        let queues = account::queues(scene);
        for pid in scene.all_processes().filter(|pid| !scene.rec.is_friday(*pid)) {
            let mut by_thread: HashMap<Tid, Vec<&Wait>> = HashMap::new();
            scene.waits(pid).iter().for_each(|w| by_thread.entry(w.tid).or_default().push(w));
            let pauses_matter = scene.pausing(pid);
            let short = |t: &ThreadTime| t.wall < scene.window() / 2;
            let account = |thread: &&ThreadTime| {
                let waits = by_thread.get(&thread.tid).map_or(&[][..], Vec::as_slice);
                // A thread that was made for a piece of work does all it does for that.
                let on_the_way = pauses_matter(thread) || short(thread);
                (thread.tid, Account::of_thread(scene, thread, on_the_way, waits))
            };
            let mut threads: BTreeMap<Tid, Account> = scene.threads(pid).iter().map(account).collect();
            for ((_, device), ahead) in queues.iter().filter(|((waiter, _), _)| *waiter == pid) {
                let longest = threads.values().map(|account| account.blocked_on(device)).max().unwrap_or_default();
                threads.values_mut().for_each(|account| account.split_queue(device, longest, ahead));
            }
            let of = |tids: BTreeSet<Tid>| threads.iter().filter(move |(tid, _)| tids.contains(tid)).map(|(_, a)| a);
            let in_turns = of(scene.threads(pid).iter().filter(|t| short(t)).map(|t| t.tid).collect());
            let busiest = threads.values().map(Account::active).max().unwrap_or_default();
            let at_work = busiest.max(in_turns.map(Account::active).sum::<Duration>().min(scene.window()));
            let account = Account::sum(of(scene.workers(pid).iter().map(|t| t.tid).collect()));
            graph.processes.insert(pid, Process { account, at_work });
            graph.threads.extend(threads.into_iter().map(|(tid, account)| ((pid, tid), account)));
        }
        graph
    }
}
