//! # A limit of I/O on the victim's cgroup holds it
//!
//! **Speaks for it:** the victim waits for a device on which its group has a limit, and the group does as much as that
//! allows.
//! **Speaks against it:** a group that stays below its limit; a device that is busy with others' requests anyhow.
//! **Experiment:** raising the limit.

use super::disk_saturated::{BUSY, QUEUED};
use crate::{
    Cause, Confidence, Draft, Effect, Party, Scene, Victim,
    cause::{grade, how_much},
    devices,
    groups::Groups,
    path::{Removes, Waits},
};
use checks::Evidence;
use observe::{Bytes, Fact, Ratio, TimeClass, catalog};
use std::time::Duration;

/// Stands in the registry.
pub const CAUSE: Cause = Cause {
    id: "disk.throttled",
    frozen: Effect::None,
    root_of: &["disk.sync-writes", "disk.slow", "cache.misses", "mem.major-faults", "fs.writeback", "lock.kernel"],
    judge,
};

/// ours: a group that does this part of what its limit allows is held by it: it is kept by the tenth of a second, and a
/// pause in between leaves some of it unused.
const AT_IT: Ratio = Ratio(0.75);

/// A limit that the victim's group is at.
struct Limit<'a> {
    group: &'a str,
    device: &'a str,
    name: &'a str,
    value: f64,
    /// What it does, in the same unit.
    used: f64,
    source: &'a str,
}

impl Limit<'_> {
    fn part(&self) -> Ratio {
        Ratio::of_counts(self.used, self.value)
    }

    fn shown(&self, value: f64) -> String {
        match self.name {
            "rbps" | "wbps" => format!("{}/s", Bytes(value as u64)),
            _ => format!("{value:.0} requests/s"),
        }
    }

    fn direction(&self) -> &'static str {
        if self.name.starts_with('r') { "read" } else { "write" }
    }
}

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let Some(limit) = limit(scene, victim) else { return Vec::new() };
    let time: Duration = devices::waits(scene, victim, limit.device).map(|wait| wait.time).sum();
    let Some(mut confidence) = grade(scene, victim, time) else { return Vec::new() };
    let (busy, queue) = devices::load(scene.rec, limit.device);
    // There it would wait without a limit too.
    if busy >= BUSY && queue >= QUEUED {
        confidence = Confidence::Possible;
    }
    let (group, device, allowed) = (limit.group, limit.device, limit.shown(limit.value));
    vec![Draft {
        confidence,
        time,
        summary: format!(
            "{} is held by the I/O limit of {group} on {device} for {}: the group may {} {allowed} and does {}, while the \
             device is {busy} busy.",
            victim.label(),
            how_much(victim, time),
            limit.direction(),
            limit.shown(limit.used),
        ),
        culprit: Party {
            kind: "cgroup".into(),
            pid: None,
            name: group.to_owned(),
            detail: Some(format!("{} {device} {}={:.0}", limit.source, limit.name, limit.value)),
        },
        evidence: vec![
            Evidence::new("ledger: blocked on the device and its file systems", time.as_secs_f64(), "s")
                .at("recording/waits.parquet"),
            Evidence::new(format!("{} of {group}: part of it in use", limit.source), limit.part().0 * 100.0, "%")
                .against(format!("> {AT_IT}"))
                .at("recording/series.parquet"),
            Evidence::new(format!("/proc/diskstats: {device} busy"), busy.0 * 100.0, "%")
                .at("recording/series.parquet"),
        ],
        codepath: Vec::new(),
        next: vec![
            format!("raise the limit of {group} on {device} (now {allowed}): io.max, or blkio.throttle.* in version 1"),
            format!("or {} less: cache, batch, compress", limit.direction()),
        ],
        removes: Removes::Waits(Waits {
            classes: vec![TimeClass::BlockedDisk, TimeClass::BlockedFs],
            ..Waits::default()
        }),
        descriptive: false,
    }]
}

/// The limit of the victim's groups that is used most.
fn limit<'a>(scene: &Scene<'a>, victim: &Victim) -> Option<Limit<'a>> {
    let groups = Groups::of(scene, victim);
    let used = scene.rec.get(&catalog::CGROUP_IO).ok()?;
    let of = |fact: &'a Fact| {
        let label = |name| fact.labels.get(name);
        Some(Limit {
            group: label("cgroup"),
            device: label("device"),
            name: label("limit"),
            value: fact.value.parse().ok()?,
            used: used.iter().find(|row| row.labels == fact.labels)?.rate()?,
            source: &fact.source,
        })
    };
    let facts = scene.rec.get(&catalog::CGROUP_IO_LIMIT).ok()?.iter();
    let mine = facts.filter(|fact| groups.are_in(fact.labels.get("cgroup"))).filter_map(of);
    mine.filter(|limit| limit.part() >= AT_IT).max_by(|a, b| a.part().0.total_cmp(&b.part().0))
}

#[cfg(test)]
mod tests {
    use crate::{
        Confidence,
        testing::{System, all, one},
    };
    use observe::{
        TimeClass::{BlockedDisk, BlockedFs, RunningUser},
        catalog,
    };

    fn audit(group: &str, limit: &str, allowed: f64, did: f64) -> System {
        let labels = [("cgroup", group), ("device", "vda"), ("limit", limit)];
        System::new()
            .thread(10, "audit", &[(RunningUser, 1.0), (BlockedDisk, 8.0)])
            .wait(10, BlockedDisk, "read", "disk:vda", None, 8.0, 700)
            .member("/audit/sum", 10)
            .disk("vda", 0.05, 0.1)
            .labelled_fact(&catalog::CGROUP_IO_LIMIT, &labels, &allowed.to_string())
            .grows(&catalog::CGROUP_IO, &labels, did * 10.0)
            .target(10)
    }

    #[test]
    fn the_group_that_is_at_its_limit_is_the_culprit() {
        let finding = one(&audit("/audit", "rbps", 8388608.0, 8e6).build(), "disk.throttled");
        assert_eq!(
            (finding.culprit.name.as_str(), finding.confidence, finding.rank),
            ("/audit", Confidence::Likely, 1)
        );
        assert!(finding.summary.contains("may read 8.0 MiB/s"), "{}", finding.summary);
    }

    #[test]
    fn syncs_on_the_device_wait_for_it_too_and_on_others_do_not() {
        let rec = |file: &str| {
            let mount = |system: System, place: &str, device: &str| {
                system.labelled_fact(&catalog::MOUNT, &[("mountpoint", place), ("device", device)], "rw")
            };
            let system = audit("/audit", "wiops", 200.0, 199.0)
                .thread(20, "store", &[(RunningUser, 1.0), (BlockedFs, 8.0)])
                .wait(20, BlockedFs, "fdatasync", file, None, 8.0, 700)
                .member("/audit", 20)
                .target(20);
            mount(mount(system, "/", "vda1"), "/mnt", "vdb").build()
        };
        assert_eq!(one(&rec("file:/var/store/log"), "disk.throttled").confidence, Confidence::Likely);
        assert!(all(&rec("file:/mnt/log"), "disk.throttled").is_empty());
    }

    #[test]
    fn limits_that_are_not_reached_and_other_groups_are_none() {
        assert!(all(&audit("/audit", "riops", 1000.0, 200.0).build(), "disk.throttled").is_empty());
        assert!(all(&audit("/other", "riops", 200.0, 200.0).build(), "disk.throttled").is_empty());
    }
}
