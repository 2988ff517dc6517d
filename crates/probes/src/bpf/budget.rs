//! When frequent events, such as system calls, are traced: always while that is cheap, in slices when a storm of them
//! would make it dear.

use std::time::Duration;

/// An account of CPU time: tracing spends it, time fills it up. Empty, tracing pauses until the account is half full again.
#[derive(Debug)]
pub(crate) struct Budget {
    cpus: u32,
    /// Part of their CPU time that tracing may take.
    share: f64,
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
    /// A full account, with tracing on. `share` is the part of the CPUs' time that tracing may take, `cost` what it takes
    /// for one event, `ahead` what may be spent at once, so that short bursts are seen whole.
    pub fn new(cpus: u32, share: f64, cost: Duration, ahead: Duration) -> Self {
        let ahead = ahead.as_secs_f64();
        Budget { cpus, share, cost, ahead, account: ahead, last: Duration::ZERO, seen: 0, on: true }
    }

    /// Whether events should be traced from now on, given how many were so far.
    pub fn decide(&mut self, now: Duration, events_seen: u64) -> bool {
        let filled = now.saturating_sub(self.last).as_secs_f64() * f64::from(self.cpus) * self.share;
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

    const SHARE: f64 = 0.005;
    const COST: Duration = Duration::from_nanos(600);
    const AHEAD: Duration = Duration::from_millis(60);

    /// Part of a minute in which calls at a steady rate are traced, and the CPU time that takes.
    fn traced(rate: f64) -> (f64, f64) {
        let mut budget = Budget::new(2, SHARE, COST, AHEAD);
        let (mut seen, mut on, mut slices) = (0.0, true, 0);
        for step in 1..=600 {
            if on {
                seen += rate * 0.1;
                slices += 1;
            }
            on = budget.decide(Duration::from_millis(step * 100), seen as u64);
        }
        (f64::from(slices) / 600.0, seen * COST.as_secs_f64())
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
            assert!(cpu <= 60.0 * 2.0 * SHARE + AHEAD.as_secs_f64() + rate * 0.1 * COST.as_secs_f64(), "{rate}: {cpu}");
        }
    }

    #[test]
    fn a_burst_is_seen_whole() {
        let mut budget = Budget::new(2, SHARE, COST, AHEAD);
        assert!(budget.decide(Duration::from_millis(100), 90_000));
        assert!(budget.decide(Duration::from_millis(200), 90_000));
    }
}
