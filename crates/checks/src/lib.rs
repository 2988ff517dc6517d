//! Recording to verdict: pure checks, one file per question.
//!
//! A threshold alone gives `maybe`; `bad` needs somebody's time to be hit, or a hard error. What was not seen is
//! `untested`, with the reason.

mod check;
mod counter;
mod cpu;
mod lost;
mod verdict;

pub use check::Check;
pub use verdict::{Evidence, Light, Test, Verdict};

use observe::Recording;

/// Every check, in the order in which people read them.
pub fn all() -> &'static [&'static Check] {
    &[&cpu::utilization::CHECK]
}

/// Judges a recording by every check.
pub fn run(rec: &Recording) -> Vec<Test> {
    all().iter().map(|check| check.run(rec)).collect()
}
