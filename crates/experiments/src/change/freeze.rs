//! # Freeze the culprit
//!
//! **Does** hold the accused processes for some seconds, by the freezer of their control group where it is theirs alone, else
//! by SIGSTOP; SIGCONT or thawing undoes it.
//! **Shows** whether the victim is held up by them: a competitor's absence helps it, a dependency's stops it.
//! **Misleads** where the culprit's clients or supervisors react to its silence: timeouts, health checks.
//! **Takes** effect as a process returns to its own code, so never while it holds a lock of the kernel's.

use super::{Act, Change, ChangeError, Level, culprits, groups, who};
use crate::Roots;
use std::collections::BTreeSet;

/// Holds the culprits and their workers.
///
/// # Errors
/// One of them must not be held, or is not there.
pub fn plan(roots: &Roots, culprit: &[u32], victims: &[u32]) -> Result<Change, ChangeError> {
    let stats = culprits(roots, culprit, victims)?;
    let pids: BTreeSet<u32> = stats.iter().map(|stat| stat.pid).collect();
    let who = who(&stats);
    let own = |group: &groups::Group| group.holds_only(&pids);
    let v2 = groups::v2(roots, &stats).filter(own).and_then(|g| Some((g.file("cgroup.freeze")?, "1", "0", g.shown())));
    let v1 = || {
        let group = groups::v1(roots, &stats, "freezer").filter(own)?;
        let file = group.file("freezer.state")?;
        // Somebody has frozen it already, or one above it.
        let thawed = std::fs::read_to_string(&file).ok()?.trim() == "THAWED";
        thawed.then(|| (file, "FROZEN", "THAWED", group.shown()))
    };
    let by_group = if super::is_root() { v2.or_else(v1) } else { None };
    let (acts, how, notes) = match by_group {
        Some((file, frozen, thawed, shown)) => {
            if std::fs::read_to_string(&file).is_ok_and(|text| text.trim() == frozen) {
                return Err(ChangeError::Impossible(format!("{shown} is frozen already")));
            }
            (
                vec![Act::Freeze { file, frozen, thawed }],
                format!("by the freezer of its control group {shown}"),
                Vec::new(),
            )
        }
        None => (
            stats.iter().map(|stat| Act::Stop(stat.id())).collect(),
            "with SIGSTOP".to_owned(),
            vec!["its parent is told when it stops and goes on: a shell may say `Stopped`".to_owned()],
        ),
    };
    Ok(Change { kind: "freeze", about: format!("freeze {who} {how}"), level: Level::Change, notes, acts })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::groups::tests::machine;
    use std::fs;

    #[test]
    fn a_shared_group_is_not_frozen_but_its_processes_are_stopped() {
        let (_dir, roots) = machine(&[(10, "hog", "/web"), (12, "db", "/web")]);
        let change = plan(&roots, &[10], &[12]).unwrap();
        assert!(matches!(&change.acts[..], [Act::Stop(id)] if id.pid == 10 && id.start == 100), "{change:?}");
        assert!(change.about.contains("hog (pid 10) with SIGSTOP"), "{}", change.about);
        assert!(!change.notes.is_empty());
    }

    #[test]
    fn a_group_of_its_own_is_frozen_as_a_whole() {
        let (_dir, roots) = machine(&[(10, "hog", "/own"), (12, "db", "/web")]);
        let file = roots.sys.join("fs/cgroup/unified/own/cgroup.freeze");
        fs::write(&file, "0\n").unwrap();
        let change = plan(&roots, &[10], &[12]).unwrap();
        if !crate::change::is_root() {
            assert!(matches!(&change.acts[..], [Act::Stop(_)]), "only root may");
            return;
        }
        assert!(matches!(&change.acts[..], [Act::Freeze { file: f, .. }] if *f == file), "{change:?}");
        fs::write(&file, "1\n").unwrap();
        assert!(plan(&roots, &[10], &[12]).unwrap_err().to_string().contains("frozen already"));
    }

    #[test]
    fn the_victim_is_never_frozen_though_it_is_a_worker_of_the_culprit() {
        let (_dir, roots) = machine(&[(10, "web", "/web")]);
        crate::process::tests::fake(&roots.proc, 11, "web", 10, 11, 0);
        crate::process::tests::fake(&roots.proc, 12, "web", 10, 12, 0);
        let change = plan(&roots, &[10], &[11]).unwrap();
        let held: Vec<u32> =
            change.acts.iter().filter_map(|a| if let Act::Stop(id) = a { Some(id.pid) } else { None }).collect();
        assert_eq!(held, [10, 12]);
        assert!(plan(&roots, &[11], &[11]).is_err());
        assert!(plan(&roots, &[99], &[11]).is_err());
    }
}
