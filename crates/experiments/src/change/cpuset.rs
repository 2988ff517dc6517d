//! # CPUs of its own for the victim
//!
//! **Does** keep victim and culprit on different CPUs: by two groups of the cpuset controller (version 1), else by their threads'
//! affinity, which what they fork meanwhile has too. Undone as it was done; affinities are given back thread by thread.
//! **Shows** whether the victim loses time to the culprit on the same CPUs (run queue, caches of a core).
//! **Misleads** where others crowd the victim's CPUs as well, or where the culprit takes more than CPUs: memory bandwidth.

use super::{
    Act, Change, ChangeError, Level, culprits, groups, need_root,
    threads::{self, Mask},
    who,
};
use crate::{Id, Roots, process::Stat};
use std::{collections::BTreeSet, fs};

/// Parts the CPUs that both may use: the first half is the victim's, the rest the culprit's.
///
/// # Errors
/// There is one CPU only, or the kernel refuses.
pub fn plan(roots: &Roots, culprit: &[u32], victims: &[u32]) -> Result<Change, ChangeError> {
    need_root("giving CPUs back")?;
    let hogs = culprits(roots, culprit, victims)?;
    let mut victims_of: Vec<Stat> = Vec::new();
    for pid in victims {
        let stat = Stat::read(&roots.proc, *pid).map_err(|_| crate::Refused::Gone { pid: *pid })?;
        victims_of.push(stat);
    }
    let ids = |stats: &[Stat]| stats.iter().map(Stat::id).collect::<Vec<Id>>();
    let noted = |stats: &[Stat]| threads::read(roots, &ids(stats), |_: &Mask| None);
    let failed = || ChangeError::io("cannot read on which CPUs they may run");
    let (of_hogs, of_victims) = (noted(&hogs).map_err(failed())?, noted(&victims_of).map_err(failed())?);
    let allowed =
        |of: &threads::Of<Mask>| -> BTreeSet<u32> { of.threads.iter().flat_map(|(_, m, _)| m.cpus()).collect() };
    let both: Vec<u32> = allowed(&of_hogs).intersection(&allowed(&of_victims)).copied().collect();
    if both.is_empty() {
        return Err(ChangeError::Impossible("they share no CPU".into()));
    }
    // What only one of them may use stays its own.
    let (first, rest) = both.split_at(both.len().div_ceil(2));
    let apart = |of: &threads::Of<Mask>, others: &[u32]| -> Vec<u32> {
        allowed(of).into_iter().filter(|cpu| !others.contains(cpu)).collect()
    };
    let (for_victims, for_hogs) = (apart(&of_victims, rest), apart(&of_hogs, first));
    if for_victims.is_empty() || for_hogs.is_empty() {
        return Err(ChangeError::Impossible("one CPU cannot be parted".into()));
    }
    let about = format!(
        "keep {} on CPU {} and {} on CPU {}",
        who(&victims_of),
        list(&for_victims),
        who(&hogs),
        list(&for_hogs)
    );
    let change = |notes, acts| Change { kind: "cpuset", about, level: Level::Change, notes, acts };
    let home = groups::v1(roots, &hogs, "cpuset").filter(|home| {
        groups::v1(roots, &victims_of, "cpuset").as_ref() == Some(home) && home.file("cpuset.mems").is_some()
    });
    if let Some(home) = home {
        let mems = home.file("cpuset.mems").and_then(|file| fs::read_to_string(file).ok()).unwrap_or_default();
        let group = |cpus: &[u32], stats: &[Stat]| Act::Group {
            dir: home.new_below(),
            home: home.dir.clone(),
            settings: vec![("cpuset.cpus".into(), list(cpus)), ("cpuset.mems".into(), mems.trim().to_owned())],
            members: ids(stats),
        };
        // Before Linux 6.2 a thread's own affinity is lost on the way.
        let acts = vec![
            Act::Affinity(of_hogs),
            Act::Affinity(of_victims),
            group(&for_victims, &victims_of),
            group(&for_hogs, &hogs),
        ];
        return Ok(change(vec![format!("two control groups below {} for the time", home.shown())], acts));
    }
    let give = |stats: &[Stat], cpus: &[u32]| {
        let mask = Mask::of(cpus.iter().copied());
        // A thread that is bound to some of them stays bound to those.
        threads::read(roots, &ids(stats), |old: &Mask| {
            let own = old.cpus().iter().all(|cpu| cpus.contains(cpu));
            (!own).then(|| mask.clone())
        })
        .map_err(failed())
    };
    let acts = vec![Act::Affinity(give(&hogs, &for_hogs)?), Act::Affinity(give(&victims_of, &for_victims)?)];
    Ok(change(vec!["by the affinity of their threads".into()], acts))
}

/// `0-1,3`.
fn list(cpus: &[u32]) -> String {
    let mut parts: Vec<(u32, u32)> = Vec::new();
    for cpu in cpus {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == *cpu => *last = *cpu,
            _ => parts.push((*cpu, *cpu)),
        }
    }
    let parts: Vec<String> =
        parts.iter().map(|(a, b)| if a == b { a.to_string() } else { format!("{a}-{b}") }).collect();
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_written_as_the_kernel_does() {
        assert_eq!(list(&[0, 1, 2, 5, 7, 8]), "0-2,5,7-8");
        assert_eq!(list(&[3]), "3");
        assert_eq!(list(&[]), "");
    }
}
