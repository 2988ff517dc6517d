//! When frequent events, such as system calls, are traced: always while that is cheap, in slices when a storm of them
//! would make it dear.

use std::time::Duration;

/// An account of CPU time for each CPU: tracing spends it, time fills it up. Once one is empty, tracing pauses until it is half
/// full again: a storm on one CPU slows down who runs there, however many others idle.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Part of a CPU's time that tracing may take.
    share: f64,
    /// Of one event.
    cost: Duration,
    /// What a full account holds.
    ahead: f64,
    accounts: Vec<Account>,
    last: Duration,
    on: bool,
}

#[derive(Clone, Debug)]
struct Account {
    /// Seconds at hand; below zero after a burst.
    seconds: f64,
    /// Events so far.
    seen: u64,
}

impl Budget {
    /// Full accounts, with tracing on. `share` is the part of a CPU's time that tracing may take, `cost` what it takes for one
    /// event, `ahead` what may be spent at once, so that short bursts are seen whole.
    pub fn new(share: f64, cost: Duration, ahead: Duration) -> Self {
        Budget { share, cost, ahead: ahead.as_secs_f64(), accounts: Vec::new(), last: Duration::ZERO, on: true }
    }

    /// Whether events should be traced from now on, given how many were so far on each CPU.
    pub fn decide(&mut self, now: Duration, seen: &[u64]) -> bool {
        let filled = now.saturating_sub(self.last).as_secs_f64() * self.share;
        self.last = now;
        self.accounts.resize(self.accounts.len().max(seen.len()), Account { seconds: self.ahead, seen: 0 });
        for (account, seen) in self.accounts.iter_mut().zip(seen) {
            let spent = seen.saturating_sub(account.seen) as f64 * self.cost.as_secs_f64();
            *account = Account { seconds: (account.seconds + filled - spent).min(self.ahead), seen: *seen };
        }
        let least = self.accounts.iter().map(|account| account.seconds).fold(self.ahead, f64::min);
        // Half full is enough to go on: the first slices tell most.
        self.on = if self.on { least > 0.0 } else { least >= self.ahead / 2.0 };
        self.on
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARE: f64 = 0.01;
    const COST: Duration = Duration::from_nanos(600);
    const AHEAD: Duration = Duration::from_millis(60);

    /// Part of a minute in which calls at a steady rate on one of many CPUs are traced, and the CPU time that takes.
    fn traced(rate: f64) -> (f64, f64) {
        let mut budget = Budget::new(SHARE, COST, AHEAD);
        let (mut seen, mut on, mut slices) = (0.0, true, 0);
        for step in 1..=600 {
            if on {
                seen += rate * 0.1;
                slices += 1;
            }
            let mut of_each = [0; 64];
            of_each[7] = seen as u64;
            on = budget.decide(Duration::from_millis(step * 100), &of_each);
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
            assert!(cpu <= 60.0 * SHARE + AHEAD.as_secs_f64() + rate * 0.1 * COST.as_secs_f64(), "{rate}: {cpu}");
        }
    }

    #[test]
    fn a_storm_that_moves_to_another_cpu_is_noticed_there() {
        let mut budget = Budget::new(SHARE, COST, AHEAD);
        assert!(!budget.decide(Duration::from_millis(100), &[1_000_000, 0]));
        // The first has filled up again; what the second has is less than the first ever had.
        assert!(budget.decide(Duration::from_secs(200), &[1_000_000, 0]));
        assert!(!budget.decide(Duration::from_secs(201), &[1_000_000, 500_000]));
    }

    #[test]
    fn a_burst_is_seen_whole() {
        let mut budget = Budget::new(SHARE, COST, AHEAD);
        assert!(budget.decide(Duration::from_millis(100), &[90_000]));
        assert!(budget.decide(Duration::from_millis(200), &[90_000]));
    }
}
