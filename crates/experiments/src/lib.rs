//! Trials with a control: bounded load, and changes of the running system that are always undone.

pub mod change;
pub mod dose;
mod judge;
pub mod load;
pub mod meter;
mod process;
mod roots;
mod statistics;
pub mod trial;

pub use process::{Id, Refused};
pub use roots::Roots;
