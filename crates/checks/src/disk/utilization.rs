//! # Is a disk busy, with requests queued and somebody waiting?
//!
//! **Measures** the part of the time in which a disk had a request in flight, its mean queue, and its mean answer time.
//! **Matters** because requests behind others wait for them.
//! **Misleads** on disks that serve many requests at once (SSDs, arrays, cloud volumes): 100 % busy may be a tenth of
//! what they can do. One request at a time keeps a disk busy with nobody queued.
//! **Confirm** by limiting the I/O of the process that issues most for ten seconds (`--allow change`).

use crate::{
    Check, Evidence, Light, Verdict,
    counter::{Growth, find},
    disk::lost_to,
};
use observe::{Absent, Observed, Ratio, Recording, catalog};

/// Stands in the registry.
pub const CHECK: Check = Check {
    id: "disk.utilization",
    group: "block devices",
    question: "Is a disk busy, with requests queued and somebody waiting?",
    source: include_str!("utilization.rs"),
    judge,
};

/// awesome-prometheus-alerts: part of the time.
const BUSY: Ratio = Ratio(0.80);

/// Requests in flight: with no more than one, nobody is queued behind another.
const QUEUED: f64 = 1.0;

/// node_exporter mixin, awesome-prometheus-alerts: requests in flight.
const LONG_QUEUE: f64 = 10.0;

/// Netdata: mean milliseconds from submission to completion.
const SLOW_MS: f64 = 10.0;

struct Disk<'a> {
    name: &'a str,
    light: Light,
    busy: Ratio,
    queue: f64,
    text: String,
}

fn judge(rec: &Recording) -> Observed<Verdict> {
    let rows = rec.get(&catalog::DISK_BUSY)?;
    let known: Vec<&str> = rows.iter().map(|row| row.labels.get("device")).collect();
    // A disk that came at the end has one reading.
    let (disks, unread): (Vec<_>, Vec<_>) = known.iter().map(|name| look(rec, name, &known)).partition(Result::is_ok);
    let mut disks: Vec<Disk> = disks.into_iter().flatten().collect();
    disks.sort_by(|a, b| (b.light, b.busy.0).partial_cmp(&(a.light, a.busy.0)).unwrap_or(std::cmp::Ordering::Equal));
    let Some(worst) = disks.first() else {
        let why = unread.into_iter().find_map(Result::err);
        return Err(why.unwrap_or_else(|| Absent::Unsupported("no disk has done any I/O yet".into())));
    };
    let evidence = vec![
        Evidence::new(format!("/proc/diskstats: {} busy", worst.name), worst.busy.0 * 100.0, "%")
            .against(format!("> {BUSY}"))
            .at("recording/series.parquet"),
        Evidence::new(format!("/proc/diskstats: {} mean queue", worst.name), worst.queue, "requests")
            .against(format!("> {QUEUED}"))
            .at("recording/series.parquet"),
    ];
    let why = format!("{}; the busiest of {} disks", worst.text, disks.len());
    Ok(Verdict { light: worst.light, why, evidence })
}

fn look<'a>(rec: &Recording, name: &'a str, known: &[&str]) -> Observed<Disk<'a>> {
    let busy = Growth::find(rec, &catalog::DISK_BUSY, &[("device", name)])?;
    let in_flight = Growth::find(rec, &catalog::DISK_WEIGHTED, &[("device", name)])?;
    let requests: f64 = ["read", "write", "discard", "flush"]
        .iter()
        .filter_map(|direction| {
            let row = find(rec, &catalog::DISK_OPERATIONS, &[("device", name), ("direction", direction)]).ok()?;
            Growth::of(row).ok()
        })
        .map(|growth| growth.by)
        .sum();
    let (share, queue) = (Ratio(busy.share().0.min(1.0)), in_flight.rate());
    let answer_ms = if requests > 0.0 { in_flight.by * 1e3 / requests } else { 0.0 };
    let seconds = busy.over.as_secs_f64();
    let mut text = format!(
        "{name} was {share} busy over {seconds:.1} s, {queue:.1} requests in flight, mean {answer_ms:.1} ms over \
         {requests:.0}"
    );
    let mut light = Light::Good;
    if share > BUSY && queue > QUEUED {
        light = Light::Maybe;
        let lost = lost_to(rec, name, known).ok();
        if let Some(loss) = lost.as_ref().and_then(|lost| lost.felt()) {
            text += &format!("; {}", loss.text());
            if queue > LONG_QUEUE || answer_ms > SLOW_MS {
                light = Light::Bad;
            }
        }
    }
    Ok(Disk { name, light, busy: share, queue, text })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, light};
    use observe::TimeClass;

    fn waits(machine: Machine, disk: &str) -> Machine {
        machine.thread(7, "db", &[(TimeClass::RunningUser, 2.0), (TimeClass::BlockedDisk, 8.0)]).wait(
            7,
            TimeClass::BlockedDisk,
            disk,
            None,
            8.0,
            100,
        )
    }

    #[test]
    fn busy_counts_only_with_a_queue_and_bad_only_with_somebody_waiting() {
        assert_eq!(light(&CHECK, &Machine::new().disk("vda", 0.80, 5.0, 1e3)), Light::Good);
        assert_eq!(light(&CHECK, &Machine::new().disk("vda", 0.81, 5.0, 1e3)), Light::Maybe);
        assert_eq!(light(&CHECK, &Machine::new().disk("vda", 1.0, 1.0, 1e3)), Light::Good, "one at a time");
        assert_eq!(light(&CHECK, &Machine::new().disk("vda", 1.0, 50.0, 1e3)), Light::Maybe);
        assert_eq!(light(&CHECK, &waits(Machine::new().disk("vda", 1.0, 50.0, 1e3), "disk:vda")), Light::Bad);
    }

    #[test]
    fn a_parallel_disk_that_answers_fast_is_not_saturated() {
        let answers = |requests| waits(Machine::new().disk("nvme0n1", 1.0, 4.0, requests), "disk");
        assert_eq!(light(&CHECK, &answers(400_000.0)), Light::Maybe, "0.1 ms");
        assert_eq!(light(&CHECK, &answers(4000.0)), Light::Maybe, "10 ms");
        assert_eq!(light(&CHECK, &answers(3900.0)), Light::Bad, "above 10 ms");
    }

    #[test]
    fn a_disk_that_was_read_once_hides_no_other() {
        let late = || Machine::new().gauge(&catalog::DISK_BUSY, &[("device", "vdz")], &[1.0]);
        assert_eq!(light(&CHECK, &late()), Light::Untested);
        assert_eq!(light(&CHECK, &late().disk("vda", 1.0, 50.0, 1e3)), Light::Maybe);
    }

    #[test]
    fn waits_for_another_disk_do_not_count() {
        let two = Machine::new().disk("vda", 1.0, 50.0, 1e3).disk("vdb", 0.1, 0.1, 1e3);
        assert_eq!(light(&CHECK, &waits(two, "disk:vdb")), Light::Maybe);
    }
}
