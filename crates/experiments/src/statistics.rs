//! The few statistics that trials rest on: medians, an exact rank-sum test, a regression line with its interval.

/// The median; `None` of nothing.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// How likely it is that chance alone orders two samples so that `low` lies as far below `high` as it does, or further: the
/// one-sided Mann-Whitney test, exact, by counting all orders (Mann and Whitney, 1947). Equal values count as half. It
/// asks nothing of how the values are distributed. 1 where one sample is empty.
pub(crate) fn rank_sum(low: &[f64], high: &[f64]) -> f64 {
    let (n, m) = (low.len(), high.len());
    if n == 0 || m == 0 {
        return 1.0;
    }
    // Doubled, so that a half is whole: pairs in which the one that should be low is not. A half is rounded up.
    let wrong: usize =
        low.iter().flat_map(|a| high.iter().map(move |b| if a > b { 2 } else { usize::from(a == b) })).sum();
    let all = orders(n, m);
    let as_far: f64 = (0..all.len()).filter(|u| 2 * u <= wrong + 1).map(|u| all[u]).sum();
    as_far / all.iter().sum::<f64>()
}

/// In how many orders of `n` low and `m` high values each number of pairs is the wrong way round.
fn orders(n: usize, m: usize) -> Vec<f64> {
    let most = n * m;
    // Of no low values, or no high ones, there is one order, with no pair.
    let mut table = vec![vec![vec![0.0; most + 1]; m + 1]; n + 1];
    for i in 0..=n {
        for j in 0..=m {
            if i == 0 || j == 0 {
                table[i][j][0] = 1.0;
                continue;
            }
            for u in 0..=most {
                // The largest value is a high one, in no wrong pair, or a low one, in a wrong pair with each high one.
                let high_is_largest = table[i][j - 1][u];
                let low_is_largest = if u >= j { table[i - 1][j][u - j] } else { 0.0 };
                table[i][j][u] = high_is_largest + low_is_largest;
            }
        }
    }
    table[n][m].clone()
}

/// A line through points, with the 95 % interval of its slope.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Slope {
    pub(crate) slope: f64,
    pub(crate) from: f64,
    pub(crate) to: f64,
}

/// Two-sided 95 % quantiles of Student's t by degrees of freedom, from 1.
const STUDENT: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];

/// Ordinary least squares; `None` with fewer than three points or no spread in `x`.
pub(crate) fn slope(points: &[(f64, f64)]) -> Option<Slope> {
    let n = points.len() as f64;
    if points.len() < 3 {
        return None;
    }
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let xx: f64 = points.iter().map(|p| (p.0 - x).powi(2)).sum();
    if xx <= 0.0 {
        return None;
    }
    let slope = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum::<f64>() / xx;
    let rest: f64 = points.iter().map(|p| (p.1 - y - slope * (p.0 - x)).powi(2)).sum();
    let freedom = points.len() - 2;
    let t = STUDENT.get(freedom - 1).copied().unwrap_or(1.96);
    let half = t * (rest / freedom as f64 / xx).sqrt();
    Some(Slope { slope, from: slope - half, to: slope + half })
}

/// Numbers that are as good as random, for the order and length of phases (SplitMix64, Steele et al., 2014).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Between 0 and 1.
    pub(crate) fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// In another order.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = (self.next() % (last as u64 + 1)) as usize;
            items.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn the_rank_sum_test_is_exact() {
        // Three below six: one order of 84; published tables give U <= 2 for p <= 0.05.
        let high = [10.0, 11.0, 12.0, 13.0, 14.0, 15.0];
        let p = |low: &[f64]| rank_sum(low, &high);
        assert!((p(&[1.0, 2.0, 3.0]) - 1.0 / 84.0).abs() < 1e-12);
        assert!((p(&[1.0, 2.0, 10.5]) - 2.0 / 84.0).abs() < 1e-12);
        assert!((p(&[1.0, 2.0, 11.5]) - 4.0 / 84.0).abs() < 1e-12);
        assert!((p(&[1.0, 2.0, 12.5]) - 7.0 / 84.0).abs() < 1e-12);
        assert!(p(&[20.0, 21.0, 22.0]) > 0.999);
        assert!(p(&[12.0, 12.0, 13.0]) > 0.4, "equal values are no difference");
        assert_eq!(rank_sum(&[], &high), 1.0);
        assert!((orders(3, 6).iter().sum::<f64>() - 84.0).abs() < 1e-9);
    }

    #[test]
    fn a_line_has_the_interval_of_its_slope() {
        let exact: Vec<(f64, f64)> = (0..5).map(|x| (f64::from(x), 2.0 - 0.5 * f64::from(x))).collect();
        let line = slope(&exact).unwrap();
        assert!((line.slope + 0.5).abs() < 1e-12 && (line.to - line.from).abs() < 1e-9);
        // By hand: slope 0.6, residual sum 0.2, t(2) = 4.303.
        let line = slope(&[(1.0, 1.0), (2.0, 2.0), (3.0, 2.0), (4.0, 3.0)]).unwrap();
        assert!((line.slope - 0.6).abs() < 1e-12);
        assert!((line.to - 0.6 - 4.303 * (0.2f64 / 2.0 / 5.0).sqrt()).abs() < 1e-9, "{line:?}");
        assert!(slope(&[(1.0, 1.0), (2.0, 2.0)]).is_none());
        assert!(slope(&[(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)]).is_none());
    }

    #[test]
    fn shuffling_keeps_everything() {
        let mut items: Vec<u32> = (0..20).collect();
        Random::new(7).shuffle(&mut items);
        assert_ne!(items, (0..20).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..20).collect::<Vec<_>>());
        let mut random = Random::new(1);
        assert!((0..1000).all(|_| (0.0..1.0).contains(&random.part())));
    }
}
