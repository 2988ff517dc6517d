//! # File pages come back from disk
//!
//! **Speaks for it:** time blocked in faults on mapped files, whose pages were not in memory.
//! **Speaks against it:** swapped pages, which are nobody's file (`mem.swap`); a memory group at its limit that evicts them
//! (`mem.cgroup-limit`) is the root.
//! **Experiment:** reading the file once ahead, if memory is left for it.

use crate::{
    Cause, Draft, Effect, Party, Scene, Victim,
    cause::{grade, how_much},
    code::{path, running},
    memory::{self, faults, waited, waits},
    path::{Removes, Waits},
    scene::totals_of,
};
use checks::Evidence;
use observe::{Bytes, Ratio, TimeClass, catalog};

/// Stands in the registry.
pub const CAUSE: Cause = Cause {
    id: "mem.major-faults",
    frozen: Effect::None,
    root_of: &["cpu.kernel-time", "cache.misses", "mem.page-faults"],
    judge,
};

/// How waits in such faults are called.
pub const FAULT: &str = "memory:major fault";

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let blocked = waited(scene, victim, FAULT);
    // On a fast device much of it is the kernel's own work: finding the page, asking for it, mapping it.
    let faulting = memory::worked_for(scene, victim, &["fault"]) * memory::major_part(scene, victim).0;
    let working = running(scene, victim, faulting as u64);
    let time = blocked.time + working;
    let Some(confidence) = grade(scene, victim, time) else { return Vec::new() };
    let rate = faults(scene, victim, "major") / scene.window().as_secs_f64();
    let heaviest = waits(scene, victim, FAULT).max_by_key(|wait| wait.time);
    let file = file(scene, victim);
    let mean = blocked.time.as_secs_f64() * 1e3 / blocked.count.max(1) as f64;
    let on = file.as_ref().map_or_else(|| "a mapped file that could not be named".to_owned(), |(name, _)| name.clone());
    vec![Draft {
        confidence,
        time,
        summary: format!(
            "{} waits for pages of mapped files to come from disk, and fetches them, for {}: {} waits of {mean:.2} ms, mostly \
             {on}.",
            victim.label(),
            how_much(victim, time),
            blocked.count,
        ),
        culprit: Party {
            kind: "file".into(),
            pid: None,
            name: on.clone(),
            detail: file.and_then(|(_, size)| size).map(|size| format!("{size} large")),
        },
        evidence: vec![
            Evidence::new("sched_switch: blocked in faults on files", blocked.time.as_secs_f64(), "s")
                .at("recording/waits.parquet"),
            Evidence::new("in the kernel for such faults, by samples", working.as_secs_f64(), "s")
                .at("recording/series.parquet"),
            Evidence::new("mean wait", mean, "ms").at("recording/waits.parquet"),
            Evidence::new("task_struct maj_flt", rate, "faults/s").at("recording/series.parquet"),
        ],
        codepath: heaviest.map(|wait| path(scene.rec, &wait.stack)).unwrap_or_default(),
        next: vec![
            format!("see what of it is in memory: fincore {on}; read it ahead (vmtouch -t, madvise MADV_WILLNEED)"),
            "leave memory for the page cache, or map less; MADV_RANDOM stops reading ahead what is not wanted"
                .to_owned(),
        ],
        removes: Removes::Waits(Waits {
            classes: vec![TimeClass::BlockedMemory],
            resources: vec![FAULT.to_owned()],
            work: Ratio::of(working, victim.times.sum(TimeClass::is_running)).0,
            ..Waits::default()
        }),
        descriptive: false,
    }]
}

/// The file that most of them were on, and its size.
fn file(scene: &Scene, victim: &Victim) -> Option<(String, Option<Bytes>)> {
    let rows = scene.rec.get(&catalog::FILE_WAITS).ok()?;
    let mine = totals_of(rows, |pid| victim.contains(pid)).filter(|row| row.labels.get("for") == "fault");
    let row = mine.max_by(|a, b| a.last().total_cmp(&b.last()))?;
    let sizes = scene.rec.get(&catalog::FILE_SIZE).unwrap_or_default().iter();
    let size = sizes.filter(|size| size.labels.get("file") == row.labels.get("file")).map(|size| size.last()).next();
    Some((row.labels.get("file").to_owned(), size.map(|size| Bytes(size as u64))))
}

#[cfg(test)]
mod tests {
    use super::FAULT;
    use crate::{
        Confidence,
        testing::{System, all, one},
    };
    use observe::{
        TimeClass::{BlockedMemory, RunningUser},
        catalog,
    };

    fn reader(blocked: f64) -> System {
        System::new()
            .thread(10, "lookupd", &[(RunningUser, 2.0), (BlockedMemory, blocked)])
            .wait(10, BlockedMemory, "", FAULT, None, blocked, 7000)
            .target(10)
    }

    #[test]
    fn the_mapped_file_is_the_culprit() {
        let labels = [("pid", "10"), ("file", "/data/index"), ("for", "fault")];
        let rec = reader(6.0).total(&catalog::FILE_WAITS, &labels, 6.0).build();
        let finding = one(&rec, "mem.major-faults");
        assert_eq!((finding.culprit.name.as_str(), finding.confidence), ("/data/index", Confidence::Likely));
    }

    #[test]
    fn without_a_name_it_is_said_and_a_little_is_nothing() {
        assert!(one(&reader(6.0).build(), "mem.major-faults").culprit.name.contains("could not be named"));
        assert!(all(&reader(0.05).build(), "mem.major-faults").is_empty());
    }

    #[test]
    fn swapped_pages_are_another_story() {
        let rec = System::new()
            .thread(10, "cache", &[(RunningUser, 2.0), (BlockedMemory, 6.0)])
            .wait(10, BlockedMemory, "", "memory:swap-in", None, 6.0, 7000)
            .target(10)
            .build();
        assert!(all(&rec, "mem.major-faults").is_empty());
    }
}
