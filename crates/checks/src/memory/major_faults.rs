//! # Must pages come back from disk before programs can go on?
//!
//! **Measures** major page faults by the second, over all processes.
//! **Matters** because each is a disk access in the middle of an ordinary instruction.
//! **Misleads** when programs start, or map a file and read it for the first time.
//! **Confirm** by reading the file or range ahead and trying again (`--allow load`).

use crate::{
    Check, Evidence, Light, Verdict,
    memory::{felt, paging},
};
use observe::{Observed, Recording};

/// Stands in the registry.
pub const CHECK: Check = Check {
    id: "memory.major_faults",
    group: "page cache",
    question: "Must pages come back from disk before programs can go on?",
    source: include_str!("major_faults.rs"),
    judge,
};

/// node_exporter mixin: faults a second (awesome-prometheus-alerts: 1000).
const MAYBE: f64 = 500.0;

fn judge(rec: &Recording) -> Observed<Verdict> {
    let faults = paging(rec, "major_fault")?;
    let felt = if faults.rate() > MAYBE { felt(rec) } else { None };
    let light = match &felt {
        Some(_) => Light::Bad,
        None if faults.rate() > MAYBE => Light::Maybe,
        None => Light::Good,
    };
    let seconds = faults.over.as_secs_f64();
    let mut why = format!("{:.0} major faults in {seconds:.1} s ({:.1} a second)", faults.by, faults.rate());
    if let Some(felt) = felt {
        why += &format!("; {felt}");
    }
    let evidence = Evidence::new("/proc/vmstat pgmajfault", faults.rate(), "faults/s").against(format!("> {MAYBE}/s"));
    Ok(Verdict { light, why, evidence: vec![evidence.at("recording/series.parquet")] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, light};
    use observe::TimeClass;

    #[test]
    fn boundaries() {
        let faults = |count| Machine::new().paging("major_fault", count);
        assert_eq!(light(&CHECK, &faults(4990.0)), Light::Good);
        assert_eq!(light(&CHECK, &faults(5000.0)), Light::Good);
        assert_eq!(light(&CHECK, &faults(5010.0)), Light::Maybe);
        let hit = faults(5010.0).thread(7, "api", &[(TimeClass::RunningUser, 5.0), (TimeClass::BlockedMemory, 2.0)]);
        assert_eq!(light(&CHECK, &hit), Light::Bad);
        assert_eq!(light(&CHECK, &hit.friday(7)), Light::Maybe);
    }
}
