//! # Are pages being swapped?
//!
//! **Measures** pages read from and written to swap, by the second.
//! **Matters** because a page that comes back from swap stops its thread for a disk access.
//! **Misleads** when swap is merely used: pages that went out long ago and stay there cost nothing. Pages going out
//! alone may be the kernel making room in good time.
//! **Confirm** by protecting the victim's memory, `memory.low` (`--allow change`).

use crate::{
    Check, Evidence, Light, Verdict,
    memory::{felt, paging},
};
use observe::{Observed, Recording};

/// Stands in the registry.
pub const CHECK: Check = Check {
    id: "memory.swapping",
    group: "memory",
    question: "Are pages being swapped?",
    source: include_str!("swapping.rs"),
    judge,
};

/// PCP pmie: pages a second.
const MAYBE: f64 = 5.0;

fn judge(rec: &Recording) -> Observed<Verdict> {
    let (back, out) = (paging(rec, "swap_in")?, paging(rec, "swap_out")?);
    let felt = if back.rate() >= MAYBE { felt(rec) } else { None };
    let light = match &felt {
        Some(_) => Light::Bad,
        None if back.rate() >= MAYBE || out.rate() >= MAYBE => Light::Maybe,
        None => Light::Good,
    };
    let mut why = format!(
        "{:.0} pages swapped in and {:.0} out in {:.1} s ({:.1} and {:.1} a second)",
        back.by,
        out.by,
        back.over.as_secs_f64(),
        back.rate(),
        out.rate(),
    );
    if let Some(felt) = felt {
        why += &format!("; {felt}");
    }
    let evidence = |field, rate| {
        Evidence::new(format!("/proc/vmstat {field}"), rate, "pages/s")
            .against(format!(">= {MAYBE} pages/s"))
            .at("recording/series.parquet")
    };
    Ok(Verdict { light, why, evidence: vec![evidence("pswpin", back.rate()), evidence("pswpout", out.rate())] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, light};

    fn pages(back: f64, out: f64) -> Machine {
        Machine::new().paging("swap_in", back).paging("swap_out", out)
    }

    #[test]
    fn boundaries() {
        assert_eq!(light(&CHECK, &pages(49.0, 49.0)), Light::Good);
        assert_eq!(light(&CHECK, &pages(50.0, 0.0)), Light::Maybe);
        assert_eq!(light(&CHECK, &pages(0.0, 50.0)), Light::Maybe);
        assert_eq!(light(&CHECK, &pages(51.0, 0.0).pressure("memory", "some", 0.5)), Light::Bad);
        assert_eq!(light(&CHECK, &pages(0.0, 51.0).pressure("memory", "some", 0.5)), Light::Maybe, "out alone");
    }

    #[test]
    fn one_direction_missing_is_untested() {
        assert_eq!(light(&CHECK, &Machine::new().paging("swap_in", 0.0)), Light::Untested);
    }
}
