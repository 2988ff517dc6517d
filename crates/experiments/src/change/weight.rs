//! # Lower the culprit's weight
//!
//! **Does** give the accused processes a hundredth of the usual claim to CPUs: by the weight of their control group where it is
//! theirs alone, by a group of their own below it (version 1), else by niceness 19. Undone as it was done.
//! **Shows** whether the victim waits for CPUs behind them; gentler than freezing, since they go on where CPUs are free.
//! **Misleads** where CPUs are not what they compete for: nothing moves.

use super::{
    Act, Change, ChangeError, Level, culprits, groups, need_root,
    threads::{self, Attr},
    who,
};
use crate::Roots;
use std::{collections::BTreeSet, fs};

/// A hundredth of the default of 100 (`cpu.weight`), and of 1024 (`cpu.shares`).
const WEIGHT: &str = "1";
const SHARES: &str = "10";

/// Lowers the weight of the culprits and their workers.
///
/// # Errors
/// It cannot be lowered here, or not be raised again.
pub fn plan(roots: &Roots, culprit: &[u32], victims: &[u32]) -> Result<Change, ChangeError> {
    need_root("raising a priority again")?;
    let stats = culprits(roots, culprit, victims)?;
    let pids: BTreeSet<u32> = stats.iter().map(|stat| stat.pid).collect();
    let ids: Vec<_> = stats.iter().map(|stat| stat.id()).collect();
    let change = |how: String, acts| Change {
        kind: "weight",
        about: format!("lower the weight of {} {how}", who(&stats)),
        level: Level::Change,
        notes: Vec::new(),
        acts,
    };
    // Real-time threads are preferred whatever the weight.
    let attrs = threads::read(roots, &ids, |old: &Attr| Some(old.held_back()))
        .map_err(ChangeError::io("cannot read its priority"))?;
    if attrs.threads.iter().any(|(_, old, _)| old.is_realtime()) {
        return Ok(change("from real time to niceness 19".into(), vec![Act::Scheduling(attrs)]));
    }
    let own = |group: &groups::Group| group.holds_only(&pids);
    let v2 = groups::v2(roots, &stats).filter(own).and_then(|g| Some((g.file("cpu.weight")?, WEIGHT, g.shown())));
    let v1 = groups::v1(roots, &stats, "cpu");
    let v1_own = || v1.clone().filter(own).and_then(|g| Some((g.file("cpu.shares")?, SHARES, g.shown())));
    if let Some((path, new, shown)) = v2.or_else(v1_own) {
        return Ok(change(format!("by its control group {shown}"), vec![Act::Write { path, new: new.into() }]));
    }
    if let Some(home) = v1.filter(|group| group.file("cpu.shares").is_some()) {
        let settings = vec![("cpu.shares".into(), SHARES.into())];
        let (dir, how) = (home.new_below(), format!("in a control group of its own below {}", home.shown()));
        return Ok(change(how, vec![Act::Group { dir, home: home.dir, settings, members: ids }]));
    }
    // Niceness counts within one group only.
    let victims: Vec<_> = victims.iter().filter_map(|pid| crate::process::Stat::read(&roots.proc, *pid).ok()).collect();
    let (theirs, its) = (groups::v2(roots, &stats), groups::v2(roots, &victims));
    let same_group = theirs.is_some() && theirs == its;
    let session = |pid: u32| {
        let text = fs::read_to_string(roots.proc.join(format!("{pid}/autogroup"))).unwrap_or_default();
        text.split_whitespace().next().unwrap_or_default().to_owned()
    };
    let autogroup =
        fs::read_to_string(roots.proc.join("sys/kernel/sched_autogroup_enabled")).is_ok_and(|t| t.trim() == "1");
    let sessions: BTreeSet<String> = stats.iter().chain(&victims).map(|stat| session(stat.pid)).collect();
    if !same_group || autogroup && sessions.len() > 1 {
        return Err(ChangeError::Impossible(
            "its control group holds others too, and niceness counts only within one group or session: freeze it, or \
             give it a group of its own"
                .into(),
        ));
    }
    Ok(change("to niceness 19".into(), vec![Act::Scheduling(attrs)]))
}
