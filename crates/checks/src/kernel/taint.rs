//! # Has the kernel met an error of its own since it booted?
//!
//! **Measures** the taint mask: marks that the kernel sets once and keeps until the next boot.
//! **Matters** because after an oops, a bad page, a machine check or a lockup nothing it does can be relied on.
//! **Misleads** when the error is long past and harmless. Marks of foreign or unsigned modules, warnings and firmware
//! oddities are common and are not judged.
//! **Confirm** by the kernel log of that time.

use crate::{Check, Evidence, Light, Verdict, kernel::fact};
use observe::{Absent, Observed, Recording};

/// Stands in the registry.
pub const CHECK: Check = Check {
    id: "kernel.taint",
    group: "kernel",
    question: "Has the kernel met an error of its own since it booted?",
    source: include_str!("taint.rs"),
    judge,
};

/// Kernel documentation, "Tainted kernels": the bits that mean an error of the kernel or the machine.
const ERRORS: &[(u32, &str)] = &[(4, "machine check"), (5, "bad page"), (7, "oops"), (14, "soft lockup")];

/// Never `bad`: when it happened is not known.
fn judge(rec: &Recording) -> Observed<Verdict> {
    let fact = fact(rec, "kernel.tainted")?;
    let mask: u64 = fact
        .value
        .trim()
        .parse()
        .map_err(|_| Absent::Failed(format!("the taint mask is no number: {}", fact.value.escape_default())))?;
    let met: Vec<&str> = ERRORS.iter().filter(|(bit, _)| mask >> bit & 1 == 1).map(|(_, name)| *name).collect();
    let (light, why) = match met.as_slice() {
        [] => (Light::Good, format!("taint mask {mask}: no error of the kernel or the machine since boot")),
        met => (Light::Maybe, format!("taint mask {mask}: {} since boot, not necessarily now", met.join(", "))),
    };
    let evidence =
        Evidence::new(fact.source.clone(), mask as f64, "mask").against("oops, bad page, machine check, lockup");
    Ok(Verdict { light, why, evidence: vec![evidence.at("recording/facts.parquet")] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, light};

    #[test]
    fn errors_are_told_from_marks() {
        let taint = |mask| light(&CHECK, &Machine::new().fact("kernel.tainted", mask));
        assert_eq!([taint("0"), taint("4097"), taint("512")], [Light::Good; 3], "none, foreign module, warning");
        assert_eq!([taint("16"), taint("32"), taint("128"), taint("16384")], [Light::Maybe; 4]);
        assert_eq!(taint("?"), Light::Untested);
    }
}
