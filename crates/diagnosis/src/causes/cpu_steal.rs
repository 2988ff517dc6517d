//! # The hypervisor runs somebody else
//!
//! **Speaks for it:** time in which the victim's thread was on a CPU that the hypervisor had given to another guest.
//! **Speaks against it:** a guest that was throttled by its own size looks the same from inside: either way the remedy is
//! outside of it. Whoever spins for a kernel lock meanwhile does so because its holder was not run (`lock.kernel`).
//! **Experiment:** none from inside a guest.

use crate::{
    Cause, Draft, Effect, Party, Scene, Victim,
    cause::{grade, how_much},
    path::Removes,
};
use checks::Evidence;
use observe::{Ratio, TimeClass, catalog};
use std::time::Duration;

/// Stands in the registry.
pub const CAUSE: Cause = Cause { id: "cpu.steal", frozen: Effect::None, root_of: &["lock.kernel"], judge };

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let stolen = stolen(scene);
    // No more than the hypervisor took from all: what the ledger has beyond that is no theft.
    let of_machine = stolen.map(|part| scene.window().mul_f64(part.0 * f64::from(scene.rec.host.cpus.max(1))));
    let time = victim.times[TimeClass::RunningStolen].min(of_machine.unwrap_or(Duration::MAX));
    let Some(confidence) = grade(scene, victim, time) else { return Vec::new() };
    let mut evidence =
        vec![Evidence::new("ledger: running.stolen", time.as_secs_f64(), "s").at("recording/ledger.parquet")];
    if let Some(stolen) = stolen {
        // Coroot, node-exporter mixins: above 10 % a guest is called starved.
        let steal = Evidence::new("/proc/stat: steal", stolen.0 * 100.0, "% of CPU time");
        evidence.push(steal.against("> 10 %").at("recording/series.parquet"));
    }
    vec![Draft {
        confidence,
        time,
        summary: format!(
            "{} loses {} to the hypervisor, which ran somebody else on its CPUs{}.",
            victim.label(),
            how_much(victim, time),
            stolen.map_or_else(String::new, |part| format!("; it took {part} of this machine's CPU time")),
        ),
        culprit: Party { kind: "host".into(), pid: None, name: "hypervisor".into(), detail: None },
        evidence,
        codepath: Vec::new(),
        next: vec![
            "ask who runs the host: an overcommitted host, a burstable instance without credits, a CPU cap".to_owned(),
            "move this guest to another host or instance type; watch the st column of vmstat 1".to_owned(),
        ],
        removes: Removes::Unsaid,
        descriptive: false,
    }]
}

/// The part of the machine's CPU time that was stolen.
fn stolen(scene: &Scene) -> Option<Ratio> {
    let rows = scene.rec.get(&catalog::CPU_TIME).ok()?;
    let of = |mode: Option<&str>| {
        let rows = rows.iter().filter(|row| mode.is_none_or(|mode| row.labels.get("mode") == mode));
        rows.filter_map(observe::Series::increase).sum::<f64>()
    };
    let all = of(None);
    (all > 0.0).then(|| Ratio::of_counts(of(Some("steal")), all))
}

#[cfg(test)]
mod tests {
    use crate::{
        Confidence,
        testing::{System, all, one},
    };
    use observe::{
        Labels, Point, Series,
        TimeClass::{RunningStolen, RunningUser},
        catalog,
    };
    use std::time::Duration;

    #[test]
    fn stolen_time_is_the_hosts_doing() {
        let rec = System::new().thread(10, "api", &[(RunningUser, 4.0), (RunningStolen, 3.0)]).target(10).build();
        let finding = one(&rec, "cpu.steal");
        assert_eq!((finding.culprit.kind.as_str(), finding.confidence), ("host", Confidence::Likely));
        let little = System::new().thread(10, "api", &[(RunningUser, 4.0), (RunningStolen, 0.1)]).target(10).build();
        assert!(all(&little, "cpu.steal").is_empty());
    }

    #[test]
    fn nobody_loses_more_than_was_stolen_from_the_machine() {
        let api = || System::new().thread(10, "api", &[(RunningUser, 4.0), (RunningStolen, 3.0)]).target(10);
        let machine = |steal: f64| {
            let row = |mode: &str, seconds| {
                let labels = Labels::new([("cpu", "0".to_owned()), ("mode", mode.to_owned())]);
                let points = vec![
                    Point { at: Duration::ZERO, value: 100.0 },
                    Point { at: Duration::from_secs(10), value: 100.0 + seconds },
                ];
                Series { labels, points }
            };
            let mut rec = api().build();
            rec.set(&catalog::CPU_TIME, Ok(vec![row("steal", steal), row("user", 10.0 - steal)]));
            rec
        };
        assert_eq!(all(&machine(3.0), "cpu.steal").len(), 1);
        assert!(all(&machine(0.1), "cpu.steal").is_empty());
    }
}
