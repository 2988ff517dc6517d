//! # The device is busy, and the culprit issues most of the I/O
//!
//! **Speaks for it:** the victim is blocked on a device that was busy nearly all the time, with requests queued.
//! **Speaks against it:** a device that answers many requests at once can be "100 % busy" and unhurt: without a queue of
//! others' requests, being busy is the victim's own reading.
//! **Experiment:** freezing or throttling the culprit helps the victim.

use super::mem_cgroup_limit;
use crate::{
    Cause, Confidence, Draft, Effect, Party, Scene, Victim,
    cause::{grade, how_much, process},
    devices,
    path::Removes,
};
use checks::Evidence;
use observe::{Bytes, Pid, Ratio, Recording, TimeClass, catalog};
use std::{collections::BTreeMap, time::Duration};

/// Stands in the registry.
pub const CAUSE: Cause = Cause {
    id: "disk.saturated",
    frozen: Effect::Helps,
    root_of: &["disk.sync-writes", "cache.misses", "mem.major-faults", "fs.writeback", "disk.slow", "disk.outliers"],
    judge,
};

/// awesome-prometheus-alerts: a disk above 80 % busy is called saturated.
pub const BUSY: Ratio = Ratio(0.80);

/// ours: with fewer in flight, nobody is held up for long by others.
pub const QUEUED: f64 = 2.0;

/// ours: who holds at least this part of the device's time is the culprit.
const MOST: Ratio = Ratio(0.5);

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let blocked = victim.times[TimeClass::BlockedDisk] + victim.times[TimeClass::BlockedFs];
    let Some(mut confidence) = grade(scene, victim, blocked) else { return Vec::new() };
    let Some(device) = devices::of(scene, victim) else { return Vec::new() };
    let load = Load::of(scene.rec, &device);
    if load.busy < BUSY {
        return Vec::new();
    }
    let Some((culprit, family)) = load.heaviest(scene) else { return Vec::new() };
    let all: Duration = load.issuers.values().map(|io| io.time).sum();
    let part = Ratio::of(family.time, all);
    let own = victim.contains(culprit);
    // Alone on the device, a single reader keeps it busy without being held up by anybody; and nobody who floods a
    // device is to be pitied, unless the user asks why it does not go faster.
    if own && (load.queue < QUEUED || !victim.named || devices::crawls(scene.rec, &device).is_some()) {
        return Vec::new();
    }
    // It asks for so much because its group has no room to keep what it read.
    if own && mem_cgroup_limit::explains(scene, victim) {
        return Vec::new();
    }
    if part < MOST {
        confidence = confidence.min(Confidence::Possible);
    }
    let party = if scene.rec.processes.get(&culprit).is_some_and(|p| p.is_kernel) {
        Party { detail: Some("kernel writeback on behalf of earlier writers".into()), ..process(scene, culprit) }
    } else {
        process(scene, culprit)
    };
    vec![Draft {
        confidence,
        time: blocked,
        summary: format!(
            "{} waits for disk {device} for {}, which was {} busy; {} issued {part} of its work ({} requests, {}).",
            victim.label(),
            how_much(victim, blocked),
            load.busy,
            if own { "it itself".to_owned() } else { scene.label(culprit) },
            family.requests,
            Bytes(family.bytes as u64),
        ),
        culprit: party,
        evidence: vec![
            Evidence::new("ledger: blocked.disk and blocked.fs", blocked.as_secs_f64(), "s")
                .at("recording/ledger.parquet"),
            Evidence::new(format!("/proc/diskstats: {device} busy"), load.busy.0 * 100.0, "%")
                .against("> 80 %")
                .at("recording/series.parquet"),
            Evidence::new(format!("/proc/diskstats: {device} mean queue length"), load.queue, "requests")
                .at("recording/series.parquet"),
            Evidence::new("device time of the culprit's requests", part.0 * 100.0, "%").at("recording/series.parquet"),
        ],
        codepath: Vec::new(),
        next: if own {
            vec![
                "read and write less: cache, larger blocks, fewer passes".to_owned(),
                format!("or put the data on a faster device than {device}"),
            ]
        } else {
            vec![
                format!("slow it down: ionice -c3 -p {culprit}, or an I/O limit on its cgroup (io.max)"),
                "or move one of the two to another device".to_owned(),
            ]
        },
        removes: Removes::waits(&[TimeClass::BlockedDisk]),
        descriptive: false,
    }]
}

/// Whether others keep the device busy that the victim waits for.
pub fn is_held_by_others(scene: &Scene, victim: &Victim) -> bool {
    let Some(device) = devices::of(scene, victim) else { return false };
    let load = Load::of(scene.rec, &device);
    let others = load.heaviest(scene).is_some_and(|(culprit, _)| !victim.contains(culprit));
    others && load.busy >= BUSY && load.queue >= QUEUED
}

/// What was asked of a device.
pub struct Load {
    /// Part of the window with a request in flight.
    pub busy: Ratio,
    /// Mean number of requests in flight.
    pub queue: f64,
    /// Who asked.
    pub issuers: BTreeMap<Pid, Issued>,
}

/// One process' requests.
#[derive(Default)]
pub struct Issued {
    /// Their time in the device, summed.
    pub time: Duration,
    /// Their number.
    pub requests: u64,
    /// Their size.
    pub bytes: f64,
}

impl Load {
    /// Who asked most, copies of one program under one parent taken together: its busiest process, and their sum.
    fn heaviest(&self, scene: &Scene) -> Option<(Pid, Issued)> {
        let mut families: Vec<(Pid, Duration, Issued)> = Vec::new();
        for (pid, io) in &self.issuers {
            let place = families.iter().position(|(first, ..)| scene.siblings(*first, *pid));
            let place = place.unwrap_or_else(|| {
                families.push((*pid, Duration::ZERO, Issued::default()));
                families.len() - 1
            });
            let (first, most, sum) = &mut families[place];
            sum.time += io.time;
            sum.requests += io.requests;
            sum.bytes += io.bytes;
            if io.time > *most {
                (*first, *most) = (*pid, io.time);
            }
        }
        families.into_iter().max_by_key(|(_, _, sum)| sum.time).map(|(pid, _, sum)| (pid, sum))
    }

    /// Of one device; zero where nothing was collected, which no cause takes for health.
    pub fn of(rec: &Recording, device: &str) -> Self {
        let (busy, queue) = devices::load(rec, device);
        let mut issuers: BTreeMap<Pid, Issued> = BTreeMap::new();
        for (metric, what) in [(&catalog::BLOCK_TIME, 0), (&catalog::BLOCK_OPERATIONS, 1), (&catalog::BLOCK_ISSUED, 2)]
        {
            for row in rec.get(metric).into_iter().flatten().filter(|r| r.labels.get("device") == device) {
                let Some(pid) = row.labels.pid().filter(|pid| !rec.is_friday(*pid)) else { continue };
                let issued = issuers.entry(pid).or_default();
                match what {
                    0 => issued.time += Duration::from_secs_f64(row.last().max(0.0)),
                    1 => issued.requests += row.last() as u64,
                    _ => issued.bytes += row.last(),
                }
            }
        }
        Load { busy, queue, issuers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{System, all, one};

    fn blocked() -> System {
        System::new()
            .thread(10, "db", &[(TimeClass::RunningUser, 1.0), (TimeClass::BlockedDisk, 8.0)])
            .thread(20, "backup", &[(TimeClass::BlockedDisk, 10.0)])
            .target(10)
    }

    #[test]
    fn who_holds_the_device_is_the_culprit() {
        let rec = blocked().disk("vda", 0.97, 12.0).issued(10, "vda", 8.0).issued(20, "vda", 90.0).build();
        let finding = one(&rec, "disk.saturated");
        assert_eq!(finding.culprit.pid, Some(20));
        assert_eq!(finding.confidence, Confidence::Likely);
    }

    #[test]
    fn what_a_neighbour_slows_down_follows_from_it() {
        let writer = |culprit| {
            System::new()
                .thread(10, "db", &[(TimeClass::RunningUser, 1.0), (TimeClass::BlockedFs, 8.0)])
                .thread(20, "backup", &[(TimeClass::BlockedDisk, 10.0)])
                .wait(10, TimeClass::BlockedFs, "fsync", "file:/data/log", None, 8.0, 90)
                .wait(10, TimeClass::BlockedDisk, "fsync", "disk:vda", None, 0.1, 1)
                .disk("vda", 0.97, 12.0)
                .issued(culprit, "vda", 90.0)
                .target(10)
                .build()
        };
        assert_eq!(one(&writer(20), "disk.saturated").rank, 1);
        assert!(one(&writer(20), "disk.sync-writes").summary.contains("It follows from disk.saturated"));
        assert!(!one(&writer(10), "disk.sync-writes").summary.contains("It follows"));
    }

    #[test]
    fn a_busy_device_without_a_queue_is_the_victims_own_reading() {
        let rec = blocked().disk("vda", 0.97, 1.0).issued(10, "vda", 8.0).build();
        assert!(all(&rec, "disk.saturated").is_empty());
        let rec = blocked().disk("vda", 0.5, 6.0).issued(20, "vda", 90.0).build();
        assert!(all(&rec, "disk.saturated").is_empty(), "below the threshold");
    }
}
