//! Trials with a control: bounded load, and changes of the running system that are always undone.

pub mod change;
pub mod load;
