//! A latency or size distribution with log-linear buckets, as the kernel side aggregates it.

use crate::{Labels, Ratio};
use std::time::Duration;

/// One bucket: values in `low..high`, in the histogram's unit (nanoseconds for time).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Smallest value that falls into it.
    pub low: u64,
    /// First value that no longer does.
    pub high: u64,
    /// How many did.
    pub count: u64,
}

/// A distribution. Time is in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// What it is the distribution of: device, process, system call.
    pub labels: Labels,
    /// Number of values.
    pub count: u64,
    /// Sum of all values, exact.
    pub sum: u64,
    /// Largest value, exact.
    pub max: u64,
    /// Non-empty buckets, ascending.
    pub buckets: Vec<Bucket>,
}

impl Histogram {
    /// Linear steps in each power of two: a bucket is at most a quarter of its value wide.
    pub const STEPS: u64 = 4;

    /// The bounds of the bucket with this index in the kernel's array: below `2 * STEPS` one value each, then
    /// `STEPS` linear steps for each power of two.
    pub fn bounds(index: usize) -> (u64, u64) {
        Self::bounds_of(index, Self::STEPS)
    }

    /// The same with another number of steps, a power of two.
    fn bounds_of(index: usize, steps: u64) -> (u64, u64) {
        let index = index as u64;
        if index < 2 * steps {
            return (index, index + 1);
        }
        let shift = index / steps - 1;
        let step = index % steps;
        let low = (steps + step) << shift;
        (low, low.saturating_add(1 << shift))
    }

    /// From the kernel's array of counts.
    pub fn from_slots(labels: Labels, slots: &[u32], sum: u64, max: u64) -> Self {
        Self::from_steps(labels, slots, Self::STEPS, sum, max)
    }

    /// From an array with another number of linear steps in each power of two.
    pub fn from_steps(labels: Labels, slots: &[u32], steps: u64, sum: u64, max: u64) -> Self {
        let buckets: Vec<Bucket> = slots
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
            .map(|(index, count)| {
                let (low, high) = Self::bounds_of(index, steps);
                Bucket { low, high, count: u64::from(*count) }
            })
            .collect();
        let count = buckets.iter().map(|b| b.count).sum();
        Histogram { labels, count, sum, max, buckets }
    }

    /// Adds another distribution's values; labels stay.
    pub fn merge(&mut self, other: &Histogram) {
        self.count += other.count;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
        for bucket in &other.buckets {
            match self.buckets.binary_search_by_key(&bucket.low, |b| b.low) {
                Ok(at) => self.buckets[at].count += bucket.count,
                Err(at) => self.buckets.insert(at, *bucket),
            }
        }
    }

    /// The value below which the given part of all values lies, interpolated inside its bucket and never above the
    /// largest value seen. `None` when empty.
    pub fn quantile(&self, part: Ratio) -> Option<u64> {
        if self.count == 0 {
            return None;
        }
        let wanted = (part.0 * self.count as f64).max(1.0);
        let mut seen = 0u64;
        for bucket in &self.buckets {
            if (seen + bucket.count) as f64 >= wanted {
                let inside = (wanted - seen as f64) / bucket.count as f64;
                let value = bucket.low as f64 + inside * (bucket.high - bucket.low) as f64;
                return Some((value as u64).min(self.max));
            }
            seen += bucket.count;
        }
        Some(self.max)
    }

    /// [`Self::quantile`] of a distribution of times.
    pub fn quantile_time(&self, part: Ratio) -> Option<Duration> {
        self.quantile(part).map(Duration::from_nanos)
    }

    /// The mean of a distribution of times; zero when empty.
    pub fn mean_time(&self) -> Duration {
        Duration::from_nanos(self.sum.checked_div(self.count).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_tile_the_number_line() {
        let mut expected = 0;
        for index in 0..160 {
            let (low, high) = Histogram::bounds(index);
            assert_eq!(low, expected, "bucket {index}");
            assert!(high > low);
            expected = high;
        }
    }

    #[test]
    fn quantiles_interpolate_and_stay_below_the_largest_value() {
        let mut slots = [0u32; 64];
        slots[5] = 99;
        slots[40] = 1;
        let (low, _) = Histogram::bounds(40);
        let h = Histogram::from_slots(Labels::default(), &slots, 99 * 5 + low, low);
        assert_eq!(h.count, 100);
        assert_eq!(h.quantile(Ratio(0.5)), Some(5));
        // 20 ms, sixteen steps: at most a sixteenth off.
        let mut slots = [0u32; 544];
        slots[(24 - 4 + 1) * 16 + (20_000_000 >> 20 & 15)] = 7;
        let fine = Histogram::from_steps(Labels::default(), &slots, 16, 140_000_000, 20_000_000);
        let median = fine.quantile(Ratio(0.5)).unwrap();
        assert!((19_000_000..=20_000_000).contains(&median), "{median}");
        assert_eq!(h.quantile(Ratio(1.0)), Some(low));
        assert_eq!(Histogram::default().quantile(Ratio(0.5)), None);
    }

    #[test]
    fn merging_keeps_order_and_counts() {
        let mut slots = [0u32; 16];
        slots[3] = 2;
        let mut a = Histogram::from_slots(Labels::default(), &slots, 6, 3);
        slots[1] = 1;
        let b = Histogram::from_slots(Labels::default(), &slots, 7, 3);
        a.merge(&b);
        assert_eq!(a.buckets.iter().map(|b| (b.low, b.count)).collect::<Vec<_>>(), [(1, 1), (3, 4)]);
        assert_eq!((a.count, a.sum), (5, 13));
    }
}
