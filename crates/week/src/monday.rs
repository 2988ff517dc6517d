//! Monday: how large is the issue, and on what system?

use crate::Seen;
use diagnosis::Confidence;
use observe::{Bytes, catalog};

/// The magnitude, where somebody's time is known to be lost, and the system's facts.
pub(crate) fn known(seen: &Seen) -> Vec<String> {
    let rec = seen.rec;
    let mut known = Vec::new();
    if let Some(worst) = seen.diagnosis.findings.iter().find(|f| f.confidence >= Confidence::Likely) {
        known.push(format!(
            "it is a real issue: {} loses up to {} of its active time over {:.0} s, measured",
            worst.victim.name,
            worst.share,
            rec.window.length.as_secs_f64()
        ));
    }
    let fact = |name: &str| {
        let facts = rec.get(&catalog::HOST_FACT).ok()?;
        Some(facts.iter().find(|f| f.labels.get("name") == name)?.value.clone())
    };
    let mut host = vec![
        format!("{} CPUs", rec.host.cpus),
        format!("{} of memory", Bytes(rec.host.memory_bytes)),
        format!("kernel {}", rec.host.kernel),
    ];
    for (name, label) in [("cpu.model", ""), ("virtualization", "on "), ("clocksource", "clock source ")] {
        host.extend(fact(name).map(|value| format!("{label}{value}")));
    }
    known.push(format!("system: {}", host.join(", ")));
    known
}
