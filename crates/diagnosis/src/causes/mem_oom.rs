//! # The kernel killed something for want of memory
//!
//! **Speaks for it:** the kernel's own word: whom it killed, in which memory group, and who had asked for memory.
//! **Speaks against it:** a kill among others, whose memory is not the victim's: neither in its group nor one of it.
//! **Experiment:** none; a kill is a hard error, whatever the averages say.

use crate::{
    Cause, Confidence, Draft, Effect, Party, Scene, Victim,
    cause::process,
    groups::{Groups, holds, memory_limit},
    memory::{Holder, holders},
    path::Removes,
};
use checks::Evidence;
use observe::{Bytes, Event, Pid, catalog};
use std::time::Duration;

/// Stands in the registry.
pub const CAUSE: Cause =
    Cause { id: "mem.oom", frozen: Effect::None, root_of: &["app.crash-loop", "app.short-lived"], judge };

/// ours: who is seen to hold less than this part of a limit is not who filled it: those who did are gone.
const FILLED: f64 = 0.25;

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let kills = kills(scene, victim);
    let Some(first) = kills.first() else { return Vec::new() };
    let group = first.labels.get("cgroup");
    let limit = memory_limit(scene.rec, group);
    let enough = limit.map_or(Bytes(1), |(_, bytes)| Bytes((bytes.0 as f64 * FILLED) as u64));
    let eater = eater(scene, first, group, limit.is_some()).filter(|eater| eater.held >= enough);
    let (name, asking) = (first.labels.get("name"), first.labels.get("asking_name"));
    let killed = first.pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
    let mut evidence = vec![
        Evidence::new("mark_victim: processes killed", kills.len() as f64, "kills")
            .against("> 0")
            .at("recording/events.parquet"),
    ];
    if let Some((name, bytes)) = limit {
        evidence.push(Evidence::new(format!("{name} of {group}"), bytes.0 as f64, "bytes"));
    }
    if let Some(eater) = eater {
        let held = Evidence::new("most memory that the culprit had", eater.held.0 as f64, "bytes");
        evidence.push(held.at("recording/series.parquet"));
    }
    let culprit = eater.map(|eater| eater.pid).or(first.pid);
    vec![Draft {
        confidence: Confidence::Likely,
        time: lost(scene, victim, first),
        summary: format!(
            "The kernel killed {name}{killed} for want of memory {}, after {:.1} s, when {asking} asked for more{}.{}",
            match limit {
                Some((_, bytes)) => format!("under the limit of {group} ({bytes})"),
                None => "on the machine".to_owned(),
            },
            first.at.as_secs_f64(),
            match kills.len() {
                1 => String::new(),
                all => format!("; {all} processes were killed in all"),
            },
            match eater.filter(|eater| Some(eater.pid) != first.pid) {
                Some(eater) => format!(" {} held most ({}).", scene.label(eater.pid), eater.held),
                None => String::new(),
            },
        ),
        culprit: culprit.map_or_else(
            || Party { kind: "process".into(), pid: None, name: name.to_owned(), detail: None },
            |pid| process(scene, pid),
        ),
        evidence,
        codepath: Vec::new(),
        next: vec![
            match limit {
                Some((name, bytes)) => format!("raise {name} of {group} (now {bytes}), or let it hold less"),
                None => "add memory, or give what grows a limit of its own (memory.max)".to_owned(),
            },
            "read who held what at that moment: dmesg -T | grep -A40 'oom-kill\\|Out of memory'".to_owned(),
        ],
        removes: Removes::Unsaid,
        descriptive: false,
    }]
}

/// Who was killed.
pub fn killed(scene: &Scene) -> Vec<Pid> {
    let kills = scene.rec.get(&catalog::OOM_KILL).unwrap_or_default();
    kills.iter().filter_map(|kill| kill.pid).collect()
}

/// Kills of the victim's processes, of their children, or in their memory groups; in order.
fn kills<'a>(scene: &Scene<'a>, victim: &Victim) -> Vec<&'a Event> {
    let groups = Groups::of(scene, victim);
    let concerns = |event: &&Event| {
        let parent = event.pid.and_then(|pid| scene.rec.processes.get(&pid)).map(|process| process.parent);
        let group = event.labels.get("cgroup");
        event.pid.is_some_and(|pid| victim.contains(pid))
            || parent.is_some_and(|parent| victim.contains(parent))
            || group.len() > 1 && groups.are_in(group)
    };
    let mut kills: Vec<&Event> =
        scene.rec.get(&catalog::OOM_KILL).unwrap_or_default().iter().filter(concerns).collect();
    kills.sort_by_key(|event| event.at);
    kills
}

/// What held most of the memory that ran out: in the group where a group's did.
fn eater(scene: &Scene, kill: &Event, group: &str, limited: bool) -> Option<Holder> {
    let inside = |pid: Pid| Some(pid) == kill.pid || holds(scene.rec, group, pid);
    holders(scene).into_iter().filter(|holder| !limited || inside(holder.pid)).max_by_key(|holder| holder.held)
}

/// From the kill on, nothing is done by what was killed.
fn lost(scene: &Scene, victim: &Victim, kill: &Event) -> Duration {
    let threads = kill.pid.filter(|pid| victim.contains(*pid)).map_or(1, |pid| scene.workers(pid).len().max(1));
    (scene.window().saturating_sub(kill.at) * threads as u32).min(victim.active())
}

#[cfg(test)]
mod tests {
    use crate::{
        Conclusion, Confidence, diagnose,
        testing::{System, all, one},
    };
    use observe::{TimeClass::RunningUser, catalog};

    fn machine(group: &str) -> System {
        let held = |pid: &'static str| [("pid", pid), ("kind", "anonymous")];
        let labels = [("name", "worker"), ("asking", "30"), ("asking_name", "loader"), ("cgroup", group)];
        System::new()
            .thread(10, "worker", &[(RunningUser, 4.0)])
            .thread(20, "api", &[(RunningUser, 4.0)])
            .thread(30, "loader", &[(RunningUser, 4.0)])
            .cgroup(20, "/web")
            .cgroup(30, "/batch")
            .sampled(&catalog::MEMORY_USAGE, &held("10"), &[1e7, 1e7])
            .sampled(&catalog::MEMORY_USAGE, &held("20"), &[3e8, 3e8])
            .sampled(&catalog::MEMORY_USAGE, &held("30"), &[5e8, 9e8])
            .event(&catalog::OOM_KILL, 10, &labels)
    }

    #[test]
    fn who_held_the_machines_memory_is_the_culprit() {
        let finding = one(&machine("/").target(10).build(), "mem.oom");
        assert_eq!((finding.culprit.pid, finding.confidence), (Some(30), Confidence::Likely));
        assert!(finding.summary.contains("killed worker (pid 10) for want of memory on the machine"));
    }

    #[test]
    fn in_a_group_with_a_limit_it_is_who_held_that_groups() {
        let rec = machine("/web").limit("/web", "memory.max", "314572800").target(20).build();
        let finding = one(&rec, "mem.oom");
        assert_eq!(finding.culprit.pid, Some(20));
        assert!(finding.summary.contains("limit of /web (300 MiB)"), "{}", finding.summary);
    }

    #[test]
    fn who_is_left_and_holds_next_to_nothing_did_not_fill_the_group() {
        let rec = machine("/web").limit("/web", "memory.max", "4000000000").target(20).build();
        let finding = one(&rec, "mem.oom");
        assert_eq!(finding.culprit.pid, Some(10));
        assert!(!finding.summary.contains("held most"), "{}", finding.summary);
    }

    #[test]
    fn a_kill_among_others_is_not_the_victims() {
        let rec = machine("/web").limit("/web", "memory.max", "314572800").target(30).build();
        assert!(all(&rec, "mem.oom").is_empty());
    }

    #[test]
    fn whoever_was_killed_is_a_victim_though_nobody_named_it() {
        let diagnosis = diagnose(&machine("/").build(), &[]);
        assert_eq!(diagnosis.conclusion, Conclusion::Found, "{}", diagnosis.headline);
        assert_eq!(diagnosis.findings[0].victim.pid, Some(10));
    }
}
