//! Quantities with their unit in the type, so that no bare number crosses a crate boundary.

use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// A process id as user space knows it (the kernel's thread group id), in the initial PID namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pid(pub u32);

/// A thread id as user space knows it, in the initial PID namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tid(pub u32);

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Tid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A part of a whole, 0 to 1. Displays as a percentage.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ratio(pub f64);

impl Ratio {
    /// `part / whole`; zero when the whole is empty.
    pub fn of(part: Duration, whole: Duration) -> Self {
        Self::of_counts(part.as_secs_f64(), whole.as_secs_f64())
    }

    /// `part / whole` of two numbers of the same unit; zero when the whole is empty.
    pub fn of_counts(part: f64, whole: f64) -> Self {
        if whole > 0.0 { Ratio(part / whole) } else { Ratio(0.0) }
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = self.0 * 100.0;
        if percent != 0.0 && percent.abs() < 9.95 { write!(f, "{percent:.1} %") } else { write!(f, "{percent:.0} %") }
    }
}

/// An amount of data. Displays with a binary prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
        let mut value = self.0 as f64;
        let mut unit = 0;
        while value >= 1024.0 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        if unit == 0 || value >= 100.0 {
            write!(f, "{value:.0} {}", UNITS[unit])
        } else {
            write!(f, "{value:.1} {}", UNITS[unit])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_show_a_decimal_only_when_small() {
        assert_eq!(Ratio(0.617).to_string(), "62 %");
        assert_eq!(Ratio(0.0123).to_string(), "1.2 %");
        assert_eq!(Ratio(0.0).to_string(), "0 %");
        assert_eq!(Ratio::of(Duration::from_secs(1), Duration::ZERO), Ratio(0.0));
    }

    #[test]
    fn bytes_take_the_largest_prefix_that_fits() {
        assert_eq!(Bytes(512).to_string(), "512 B");
        assert_eq!(Bytes(1536).to_string(), "1.5 KiB");
        assert_eq!(Bytes(24 << 30).to_string(), "24.0 GiB");
    }
}
