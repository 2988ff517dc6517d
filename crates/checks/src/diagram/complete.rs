//! # Does the functional diagram show all that runs?
//!
//! **Measures** processes, descriptors, connections and links that could not be seen or were too many to look at.
//! **Matters** because what is not on the diagram is not asked when something is slow.
//! **Misleads** when what was not seen has nothing to do with the services: of a connection that closes at that moment, the
//! process at one end is never known.
//! **Confirm** by running again as root.

use crate::{Check, Evidence, Light, Verdict};
use observe::{Observed, Recording, catalog};

/// Stands among the preparation's.
pub const CHECK: Check = Check {
    id: "diagram.complete",
    group: "diagram",
    question: "Does the functional diagram show all that runs?",
    source: include_str!("complete.rs"),
    judge,
};

/// Never `bad`: it says nothing against the machine.
fn judge(rec: &Recording) -> Observed<Verdict> {
    let links = rec.get(&catalog::TOPOLOGY)?.len();
    let missing = unseen(rec)?;
    let (light, why) = match missing.as_slice() {
        [] => (Light::Good, format!("all that runs, and what it is connected with, could be seen: {links} links")),
        missing => (Light::Maybe, format!("{links} links, and not all could be seen: {}", missing.join(" "))),
    };
    let rows = rec.get(&catalog::TOPOLOGY_UNSEEN)?;
    let evidence = rows.iter().map(|row| {
        Evidence::new(format!("topology: unseen {}", row.labels.get("what")), row.last(), "1").against("> 0")
    });
    Ok(Verdict { light, why, evidence: evidence.collect() })
}

/// In sentences, what the diagram lacks and why.
///
/// # Errors
/// The topology was not looked at.
pub fn unseen(rec: &Recording) -> Observed<Vec<String>> {
    let mut rows: Vec<(&str, u64)> = rec
        .get(&catalog::TOPOLOGY_UNSEEN)?
        .iter()
        .map(|row| (row.labels.get("what"), row.last() as u64))
        .filter(|(_, count)| *count > 0)
        .collect();
    rows.sort_unstable();
    Ok(rows.into_iter().map(|(what, count)| sentence(what, count)).collect())
}

fn sentence(what: &str, count: u64) -> String {
    let of = |one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
    match what {
        "processes" => format!(
            "The descriptors of {} may not be read: run as root, or with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH.",
            of("process", "processes")
        ),
        "ends" => {
            format!("Of {} within the machine, the process at one end is not known.", of("connection", "connections"))
        }
        "namespaces" => {
            format!(
                "The sockets of {} could not be listed: run as root.",
                of("network namespace", "network namespaces")
            )
        }
        "more_processes" => format!("{} more were not looked at.", of("process", "processes")),
        "more_descriptors" => format!("{} more were not looked at.", of("descriptor", "descriptors")),
        "more_connections" => format!("{} are too many to list.", of("connection", "connections")),
        "more_links" => format!("{} more were found and not kept.", of("link", "links")),
        other => format!("{count} {other}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, light};

    fn machine(unseen: &[(&str, f64)]) -> Machine {
        let mut machine = Machine::new();
        machine.rec.set(&catalog::TOPOLOGY, Ok(Vec::new()));
        machine.rec.set(&catalog::TOPOLOGY_UNSEEN, Ok(Vec::new()));
        let rows = unseen.iter();
        rows.fold(machine, |machine, (what, count)| {
            machine.counter(&catalog::TOPOLOGY_UNSEEN, &[("what", what)], *count)
        })
    }

    #[test]
    fn what_could_not_be_seen_makes_it_incomplete() {
        assert_eq!(light(&CHECK, &machine(&[])), Light::Good);
        assert_eq!(light(&CHECK, &machine(&[("ends", 0.0), ("processes", 0.0)])), Light::Good);
        let lacking = machine(&[("processes", 1.0), ("ends", 1200.0)]);
        assert_eq!(light(&CHECK, &lacking), Light::Maybe);
        let sentences = unseen(&lacking.rec).unwrap();
        assert!(sentences[0].starts_with("Of 1200 connections") && sentences[1].contains("of 1 process may"));
    }

    #[test]
    fn what_was_not_looked_at_is_untested() {
        assert_eq!(light(&CHECK, &Machine::new()), Light::Untested);
    }
}
