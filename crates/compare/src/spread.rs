//! A value and how much it varies by itself, from what it was in each second.

use observe::Series;
use serde::{Deserialize, Serialize};

/// ours: fewer pieces say nothing of how a value varies.
const LEAST: usize = 4;

/// ours: what differs by less is no difference to anybody, however steady it is.
const NOTICED: f64 = 0.10;

/// ours: about what Student's distribution of so few is wider by than the normal one: 1.8 times of five pieces, 1.2 of twenty.
const FEW: f64 = 4.0;

/// The middle value of the pieces of a window, and the range that holds the middle four fifths of them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Median.
    pub median: f64,
    /// 10th percentile.
    pub low: f64,
    /// 90th percentile.
    pub high: f64,
    /// How many pieces.
    pub pieces: usize,
}

impl Spread {
    /// Of values; `None` when there are too few, or one is not a number.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        if values.len() < LEAST || values.iter().any(|value| !value.is_finite()) {
            return None;
        }
        values.sort_by(f64::total_cmp);
        // Linear between the two nearest, R's type 7.
        let quantile = |part: f64| {
            let at = part * (values.len() - 1) as f64;
            let (low, high) = (values[at.floor() as usize], values[at.ceil() as usize]);
            low + (high - low) * at.fract()
        };
        Some(Spread { median: quantile(0.5), low: quantile(0.1), high: quantile(0.9), pieces: values.len() })
    }

    /// Of a counter's growth per second, piece by piece.
    pub fn of_rate(row: &Series) -> Option<Self> {
        Self::of(rates(row).into_iter().map(|(_, rate)| rate).collect())
    }

    /// Whether another value is different: it lies outside of what both vary by, and by a tenth at least.
    pub fn differs(&self, other: &Spread) -> bool {
        let (low, high) = if self.median <= other.median { (self, other) } else { (other, self) };
        // What each varies by on the side of the other, added up: two ranges that merely touch are no difference.
        let varies = (low.high - low.median) * low.widened() + (high.median - high.low) * high.widened();
        let by = high.median - low.median;
        by > varies && by > NOTICED * low.median.abs().max(high.median.abs())
    }

    /// By how much few pieces show less of how a value varies than many do.
    fn widened(&self) -> f64 {
        1.0 + FEW / self.pieces as f64
    }

    /// How many times as large another is; `None` when this is nothing.
    pub fn ratio(&self, other: &Spread) -> Option<f64> {
        (self.median > 0.0).then(|| other.median / self.median)
    }
}

/// A counter's growth per second between each two readings, by the time of the second.
pub(crate) fn rates(row: &Series) -> Vec<(f64, f64)> {
    row.points
        .windows(2)
        .filter_map(|pair| {
            let seconds = pair[1].at.checked_sub(pair[0].at)?.as_secs_f64();
            (seconds > 0.2).then(|| (pair[1].at.as_secs_f64(), (pair[1].value - pair[0].value) / seconds))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(values: &[f64]) -> Spread {
        Spread::of(values.to_vec()).unwrap()
    }

    #[test]
    fn the_middle_and_what_it_varies_by() {
        let of = spread(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0]);
        assert_eq!((of.median, of.low, of.high, of.pieces), (6.0, 2.0, 10.0, 11));
        assert_eq!(Spread::of(vec![1.0; 3]), None);
        assert_eq!(Spread::of(vec![1.0, f64::NAN, 1.0, 1.0]), None);
    }

    #[test]
    fn a_difference_is_more_than_both_vary_by_and_more_than_a_trifle() {
        let steady = spread(&[100.0, 101.0, 99.0, 100.0, 100.0]);
        assert!(steady.differs(&spread(&[200.0, 202.0, 198.0, 201.0, 199.0])));
        assert!(!steady.differs(&spread(&[105.0, 104.0, 106.0, 105.0, 105.0])), "a twentieth");
        let wild = spread(&[60.0, 140.0, 90.0, 110.0, 100.0, 70.0, 130.0]);
        assert!(!wild.differs(&spread(&[100.0, 180.0, 130.0, 150.0, 140.0, 110.0, 170.0])), "within the noise");
        assert!(!wild.differs(&wild) && !steady.differs(&steady));
        let [few, far] = [0.0, 25.0].map(|by| [90.0, 95.0, 100.0, 105.0, 110.0].map(|value| value + by));
        assert!(!spread(&few).differs(&spread(&far)), "five pieces");
        assert!(spread(&few.repeat(8)).differs(&spread(&far.repeat(8))), "forty of them");
        assert_eq!(steady.ratio(&spread(&[200.0; 5])), Some(2.0));
        assert_eq!(spread(&[0.0; 5]).ratio(&steady), None);
    }
}
