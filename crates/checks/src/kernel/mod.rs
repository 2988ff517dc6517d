//! The kernel itself: settings and marks that explain slowness everywhere.

pub(crate) mod clocksource;
pub(crate) mod taint;

use observe::{Absent, Fact, Observed, Recording, catalog};

/// A fact of the machine.
fn fact<'a>(rec: &'a Recording, name: &str) -> Observed<&'a Fact> {
    let fact = rec.get(&catalog::HOST_FACT)?.iter().find(|fact| fact.labels.get("name") == name);
    fact.ok_or_else(|| Absent::Unsupported(format!("this machine does not say its {name}")))
}
