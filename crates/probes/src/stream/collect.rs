//! From raw episodes to the recording's: what each wait was for, and who ended it.

use super::Streamed;
use crate::{
    bpf::types::{self, episode_kind as Kind},
    sched::{Books, Namer, Waited, default_class, name_waits},
    stacks::Stacks,
    syscalls,
};
use observe::{Episode, EpisodeKind, Labels, Pid, Point, Recording, Series, TIMER, Tid, TimeClass, Wait, catalog};
use std::{collections::HashMap, time::Duration};

/// Woken from an interrupt, hard or soft; `enum wait_flags`.
const WOKEN_IN_INTERRUPT: u16 = 32;

/// A wait that was not looked at is told by what can be had of it without looking.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Outside {
    syscall: i16,
    call: u8,
}

/// Adds the event window to the recording. `began` is the window's begin on the kernel's clock.
pub(crate) fn collect(
    streamed: Streamed,
    books: &Books,
    stacks: &Stacks,
    namer: &mut Namer,
    began: u64,
    into: &mut Recording,
) {
    let Streamed { begin, end, mut episodes, waits, lost, requests: _ } = streamed;
    let mut keys: Vec<(types::wait_key, types::wait_value)> =
        waits.into_iter().map(|key| (key, types::wait_value::default())).collect();
    for (episode, wait) in &episodes {
        if let Some((_, value)) = wait.and_then(|at| keys.get_mut(at as usize)) {
            let ns = until(episode.woken_at, end).saturating_sub(episode.off_at);
            value.ns += ns;
            value.count += 1;
            value.max = value.max.max(ns);
        }
    }
    // Waits that the whole window has seen help to tell those that the event window has not looked at.
    let own = keys.len();
    keys.extend(books.waits().copied());
    let named = name_waits(&keys, books, stacks, namer);
    let alike = Alike::of(&keys, &named);
    let mut rows: Vec<Wait> = named.iter().take(own).map(|named| named.wait.clone()).collect();
    let mut more = More::default();

    episodes.sort_by_key(|(episode, _)| (until(episode.on_at, u64::MAX), episode.off_at, episode.tid));
    let at = |ns: u64| Duration::from_nanos(ns.clamp(begin, end).saturating_sub(began));
    let moment = |ns: u64| (ns != 0 && ns <= end).then(|| at(ns));
    let told =
        episodes.into_iter().filter(|(episode, _)| until(episode.on_at, u64::MAX) >= begin && episode.off_at < end);
    let told: Vec<Episode> = told
        .map(|(episode, looked_at)| {
            let kind = match Kind(u32::from(episode.kind)) {
                Kind::EPISODE_BLOCKED => EpisodeKind::Blocked,
                Kind::EPISODE_BORN => EpisodeKind::Born,
                Kind::EPISODE_ENDED => EpisodeKind::Ended,
                Kind::EPISODE_RUNNING => EpisodeKind::Running,
                _ => EpisodeKind::Preempted,
            };
            let (by, wait) = match (kind, looked_at) {
                (EpisodeKind::Blocked, Some(row)) => (named.get(row as usize).and_then(|named| named.waker), Some(row)),
                (EpisodeKind::Blocked, None) => {
                    let (model, by) = alike.find(&episode);
                    let row = more.row(model, &episode, &named, &mut rows);
                    (by, Some(row))
                }
                (EpisodeKind::Born, _) => (waker_of(&episode), None),
                _ => (None, None),
            };
            Episode {
                pid: Pid(episode.tgid),
                tid: Tid(episode.tid),
                kind,
                off: at(if kind == EpisodeKind::Running { episode.on_at } else { episode.off_at }),
                woken: moment(episode.woken_at),
                on: moment(episode.on_at),
                cpu: u32::from(episode.cpu),
                throttled: Duration::from_micros(u64::from(episode.throttled_us)),
                pinned: Duration::from_micros(u64::from(episode.pinned_us)),
                by: by.filter(|_| episode.woken_at != 0 || kind == EpisodeKind::Born),
                wait,
            }
        })
        .collect();
    into.set(&catalog::EPISODES, Ok(told));
    into.set(&catalog::EPISODE_WAITS, Ok(rows));
    let row = |what: &str, value: f64| Series {
        labels: Labels::new([("what", what.to_owned())]),
        points: vec![Point { at: Duration::from_nanos(end - began), value }],
    };
    let seconds = |ns: u64| (ns - began) as f64 / 1e9;
    into.set(
        &catalog::EVENT_WINDOW,
        Ok(vec![row("begin", seconds(begin)), row("end", seconds(end)), row("lost", lost as f64)]),
    );
}

/// A moment that may not have come.
fn until(moment: u64, otherwise: u64) -> u64 {
    if moment == 0 { otherwise } else { moment }
}

fn waker_of(episode: &types::episode) -> Option<(Pid, Tid)> {
    (episode.waker_tid != 0).then_some((Pid(episode.waker_tgid), Tid(episode.waker_tid)))
}

/// The longest of the waits that were looked at, by thread and by process.
struct Alike<'a> {
    named: &'a [Waited],
    by_thread: HashMap<(u32, Outside), usize>,
    by_process: HashMap<(u32, Outside), usize>,
}

impl<'a> Alike<'a> {
    fn of(keys: &[(types::wait_key, types::wait_value)], named: &'a [Waited]) -> Self {
        let (mut by_thread, mut by_process) = (HashMap::new(), HashMap::new());
        for (at, (key, value)) in keys.iter().enumerate() {
            let outside = Outside { syscall: key.syscall, call: key.kind };
            for (table, id) in [(&mut by_thread, key.tid), (&mut by_process, key.tgid)] {
                let longest = table.entry((id, outside)).or_insert(at);
                if keys[*longest].1.ns < value.ns {
                    *longest = at;
                }
            }
        }
        Alike { named, by_thread, by_process }
    }

    /// The wait that one is taken for, and who can have ended it.
    fn find(&self, episode: &types::episode) -> (Option<usize>, Option<(Pid, Tid)>) {
        let outside = Outside { syscall: episode.syscall, call: episode.call };
        let by_thread = self.by_thread.get(&(episode.tid, outside));
        let model = by_thread.or_else(|| self.by_process.get(&(episode.tgid, outside))).copied();
        let in_interrupt = episode.flags & WOKEN_IN_INTERRUPT != 0;
        // Where waits alike were ended by somebody, so is this one; from an interrupt only where those were.
        let ended = match model.map(|at| &self.named[at]) {
            Some(alike) => alike.waker.is_some() && (!in_interrupt || alike.in_interrupt),
            None => !in_interrupt && episode.waker_syscall >= 0,
        };
        (model, waker_of(episode).filter(|_| ended))
    }
}

/// Rows for waits that were not looked at: what they have in common with one that was, without stacks.
#[derive(Default)]
struct More {
    rows: HashMap<(Option<usize>, u32, Outside), u32>,
}

impl More {
    fn row(&mut self, model: Option<usize>, episode: &types::episode, named: &[Waited], rows: &mut Vec<Wait>) -> u32 {
        let outside = Outside { syscall: episode.syscall, call: episode.call };
        *self.rows.entry((model, episode.tid, outside)).or_insert_with(|| {
            let (class, resource) = match model.map(|at| &named[at].wait) {
                Some(alike) => (alike.class, alike.resource.clone()),
                None => (default_class(usize::from(episode.call)), String::new()),
            };
            rows.push(Wait {
                pid: Pid(episode.tgid),
                tid: Tid(episode.tid),
                class,
                resource: if class == TimeClass::BlockedSleep { TIMER.to_owned() } else { resource },
                by: None,
                syscall: u32::try_from(episode.syscall).map_or_else(|_| String::new(), syscalls::name),
                after_failure: false,
                time: Duration::ZERO,
                count: 0,
                longest: Duration::ZERO,
                stack: Vec::new(),
                waker_stack: Vec::new(),
            });
            rows.len() as u32 - 1
        })
    }
}
