//! Kernel to recording: the only crate that reads the kernel.

mod block;
mod bpf;
mod changes;
mod cpu;
mod goroutines;
pub mod host;
mod memory;
mod net;
mod preparation;
mod process;
pub mod processes;
mod quality;
mod requests;
pub mod roots;
mod sched;
mod session;
mod snapshots;
mod stacks;
mod stream;
mod syscalls;
pub mod target;
mod threads;
pub mod tools;
pub mod topology;
mod unit;
mod unwind;

pub use session::{Session, Tier};
pub use stream::Span;
