//! Recording to verdict: pure checks, one file per question.

mod verdict;

pub use verdict::{Evidence, Light, Test, Verdict};
