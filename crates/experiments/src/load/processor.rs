//! How fast does the CPU's clock run?

use super::{Benchmark, Place, Values, text};
use observe::{Absent, Observed};
use std::time::Instant;

/// Additions that wait for one another take a cycle each on every CPU of the last thirty years.
pub const CLOCK: Benchmark = Benchmark {
    id: "load.cpu-clock",
    group: "cpu",
    about: "additions that depend on one another, one a cycle",
    unit: "MHz",
    bound: "100 ms of one CPU",
    more_is_better: true,
    run,
};

/// Additions in one repetition: 5 to 10 ms.
const ADDITIONS: u64 = 20_000_000;
const REPETITIONS: usize = 9;

/// ours: below this part of the highest frequency that the CPU reports, power or heat hold it back.
const PART: f64 = 0.7;

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn additions(times: u64) -> u64 {
    let mut sum = 0_u64;
    for _ in 0..times / 10 {
        // SAFETY: arithmetic in a register.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            std::arch::asm!(
                "add {0}, 1", "add {0}, 1", "add {0}, 1", "add {0}, 1", "add {0}, 1",
                "add {0}, 1", "add {0}, 1", "add {0}, 1", "add {0}, 1", "add {0}, 1",
                inout(reg) sum, options(nomem, nostack)
            );
            #[cfg(target_arch = "aarch64")]
            std::arch::asm!(
                "add {0}, {0}, #1", "add {0}, {0}, #1", "add {0}, {0}, #1", "add {0}, {0}, #1", "add {0}, {0}, #1",
                "add {0}, {0}, #1", "add {0}, {0}, #1", "add {0}, {0}, #1", "add {0}, {0}, #1", "add {0}, {0}, #1",
                inout(reg) sum, options(nomem, nostack)
            );
        }
    }
    sum
}

fn run(_: &Place) -> Observed<Values> {
    if !cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        return Err(Absent::Unsupported("not written for this architecture".to_owned()));
    }
    // Until the governor has noticed.
    std::hint::black_box(additions(ADDITIONS));
    let each = (0..REPETITIONS)
        .map(|_| {
            let began = Instant::now();
            let done = std::hint::black_box(additions(ADDITIONS));
            done as f64 / began.elapsed().as_secs_f64() / 1e6
        })
        .collect();
    let values = Values::new(each, "one CPU");
    let highest = text("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq").and_then(|khz| khz.parse::<f64>().ok());
    Ok(match highest {
        Some(khz) => values.slow_from(khz / 1e3 * PART, "ours: 70 % of cpuinfo_max_freq"),
        None => values,
    })
}
