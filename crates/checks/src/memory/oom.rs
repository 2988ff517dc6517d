//! # Did the kernel kill something for memory?
//!
//! **Measures** out-of-memory kills in the window, of the whole machine and of memory control groups.
//! **Matters** because a killed process is a hard failure, whatever the averages say.
//! **Misleads** when a kill came before the window began: then only the kernel log shows it.
//! **Confirm** by matching the victim and the time in the kernel log.

use crate::{Check, Evidence, Light, Verdict, memory::paging};
use observe::{Observed, Recording};

/// Stands in the registry.
pub const CHECK: Check = Check {
    id: "memory.oom",
    group: "memory",
    question: "Did the kernel kill something for memory?",
    source: include_str!("oom.rs"),
    judge,
};

/// Netdata, PCP, Coroot, awesome-prometheus-alerts: any is an error.
const BAD: f64 = 0.0;

fn judge(rec: &Recording) -> Observed<Verdict> {
    let kills = paging(rec, "oom_kill")?;
    let light = if kills.by > BAD { Light::Bad } else { Light::Good };
    let why = format!("{:.0} out-of-memory kills in {:.1} s", kills.by, kills.over.as_secs_f64());
    let evidence = Evidence::new("/proc/vmstat oom_kill", kills.by, "kills").against("> 0");
    Ok(Verdict { light, why, evidence: vec![evidence.at("recording/series.parquet")] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, light};

    #[test]
    fn any_is_bad_and_unknown_is_not_none() {
        assert_eq!(light(&CHECK, &Machine::new().paging("oom_kill", 0.0)), Light::Good);
        assert_eq!(light(&CHECK, &Machine::new().paging("oom_kill", 1.0)), Light::Bad);
        assert_eq!(light(&CHECK, &Machine::new().paging("fault", 1.0)), Light::Untested);
    }
}
