//! Health tools that are files: TOML with expressions, judged like the checks that are code.

mod examples;
mod expression;
mod format;
mod input;
mod judge;

pub use examples::{Played, play};
pub use format::{Issue, Place, Rule, RuleError, SCHEMA};
