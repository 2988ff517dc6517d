//! When frequent events, such as system calls, are traced: always while that is cheap, in slices when a storm of them
//! would make it dear.

use std::time::Duration;

/// ours: what tracing one call costs, measured with `perf bench syscall basic`: 0.4 µs in the two programs and 0.2 µs for
/// the kernel's slower way into and out of the call.
pub(crate) const CALL_COST: Duration = Duration::from_nanos(600);

/// ours: part of the machine's CPU time that tracing may take.
const SHARE: f64 = 0.005;

/// ours: CPU time that may be spent ahead, so that short bursts are seen whole.
pub(crate) const CALL_AHEAD: Duration = Duration::from_millis(60);

/// An account of CPU time: tracing spends it, time fills it up. Empty, tracing pauses until the account is full again.
#[derive(Debug)]
pub(crate) struct Budget {
    cpus: u32,
    /// Of one event.
    cost: Duration,
    /// What a full account holds.
    ahead: f64,
    /// Seconds at hand; below zero after a burst.
    account: f64,
    last: Duration,
    seen: u64,
    on: bool,
}

impl Budget {
    /// A full account of some CPUs, for events that cost so much each, which holds so much; tracing is on.
    pub fn new(cpus: u32, cost: Duration, ahead: Duration) -> Self {
        let ahead = ahead.as_secs_f64();
        Budget { cpus, cost, ahead, account: ahead, last: Duration::ZERO, seen: 0, on: true }
    }

    /// Whether events should be traced from now on, given how many were so far.
    pub fn decide(&mut self, now: Duration, events_seen: u64) -> bool {
        let filled = now.saturating_sub(self.last).as_secs_f64() * f64::from(self.cpus) * SHARE;
        let spent = events_seen.saturating_sub(self.seen) as f64 * self.cost.as_secs_f64();
        self.account = (self.account + filled - spent).min(self.ahead);
        (self.last, self.seen) = (now, events_seen);
        // Half full is enough to go on: the first slices tell most.
        self.on = if self.on { self.account > 0.0 } else { self.account >= self.ahead / 2.0 };
        self.on
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Part of a minute in which calls at a steady rate are traced, and the CPU time that takes.
    fn traced(rate: f64) -> (f64, f64) {
        let mut budget = Budget::new(2, CALL_COST, CALL_AHEAD);
        let (mut seen, mut on, mut slices) = (0.0, true, 0);
        for step in 1..=600 {
            if on {
                seen += rate * 0.1;
                slices += 1;
            }
            on = budget.decide(Duration::from_millis(step * 100), seen as u64);
        }
        (f64::from(slices) / 600.0, seen * CALL_COST.as_secs_f64())
    }

    #[test]
    fn ordinary_rates_are_traced_all_the_time() {
        assert_eq!(traced(10_000.0).0, 1.0);
    }

    #[test]
    fn storms_are_traced_in_slices_and_the_cost_is_bounded() {
        for rate in [100_000.0, 1_000_000.0] {
            let (part, cpu) = traced(rate);
            assert!(part > 0.005 && part < 0.5, "{rate}: {part}");
            assert!(
                cpu <= 60.0 * 2.0 * SHARE + CALL_AHEAD.as_secs_f64() + rate * 0.1 * CALL_COST.as_secs_f64(),
                "{rate}: {cpu}"
            );
        }
    }

    #[test]
    fn a_burst_is_seen_whole() {
        let mut budget = Budget::new(2, CALL_COST, CALL_AHEAD);
        assert!(budget.decide(Duration::from_millis(100), 90_000));
        assert!(budget.decide(Duration::from_millis(200), 90_000));
    }
}
