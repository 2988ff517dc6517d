//! How far away is memory, and how fast does it come?

use super::{Benchmark, Place, Values};
use observe::{Absent, Observed};
use std::{fs, time::Instant};

/// A chain of loads, each from where the one before said.
pub const LATENCY: Benchmark = Benchmark {
    id: "load.memory-latency",
    group: "memory",
    about: "loads that depend on one another, all over 64 MiB",
    unit: "ns",
    bound: "64 MiB, 2.5 million loads",
    more_is_better: false,
    run: latency,
};

/// Reading it all, by one thread.
pub const BANDWIDTH: Benchmark = Benchmark {
    id: "load.memory-bandwidth",
    group: "memory",
    about: "one thread reads 64 MiB again and again",
    unit: "GB/s",
    bound: "64 MiB, read ten times",
    more_is_better: true,
    run: bandwidth,
};

/// ours: larger than the caches of nearly every CPU, and small beside what is left.
const BYTES: usize = 64 << 20;
const LINE: usize = 64;

/// Refuses where memory is short: the benchmark would make it shorter.
fn enough() -> Observed<()> {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = available.and_then(|rest| rest.split_whitespace().next()?.parse::<usize>().ok());
    match kib {
        Some(kib) if kib << 10 < 8 * BYTES => {
            Err(Absent::NotCollected(format!("only {} MiB of memory are available", kib >> 10)))
        }
        _ => Ok(()),
    }
}

fn latency(_: &Place) -> Observed<Values> {
    enough()?;
    const LOADS: usize = 250_000;
    let count = BYTES / LINE;
    // Each line holds which comes next: one circle through all of them in an order that no prefetcher foresees (Sattolo).
    let mut order: Vec<u32> = (0..count as u32).collect();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for at in (1..count).rev() {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        order.swap(at, (random % at as u64) as usize);
    }
    let mut lines = vec![[0_u64; LINE / 8]; count];
    for at in 0..count {
        let next = order[(at + 1) % count];
        lines[order[at] as usize][0] = u64::from(next);
    }
    drop(order);
    let mut at = 0_usize;
    let each = (0..9)
        .map(|_| {
            let began = Instant::now();
            for _ in 0..LOADS {
                at = lines[at][0] as usize;
            }
            at = std::hint::black_box(at);
            began.elapsed().as_secs_f64() * 1e9 / LOADS as f64
        })
        .collect();
    Ok(Values::new(each, "64 MiB").slow_from(300.0, "ours: 60 to 200 ns with the misses of the TLB"))
}

fn bandwidth(_: &Place) -> Observed<Values> {
    enough()?;
    let memory = vec![1_u64; BYTES / 8];
    let each = (0..9)
        .map(|_| {
            let began = Instant::now();
            std::hint::black_box(memory.iter().fold(0_u64, |sum, word| sum.wrapping_add(*word)));
            BYTES as f64 / began.elapsed().as_secs_f64() / 1e9
        })
        .collect();
    Ok(Values::new(each, "64 MiB").slow_from(3.0, "ours: one core reads 5 to 20 GB/s"))
}
