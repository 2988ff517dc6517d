//! The case folder: what a run leaves behind and replay reads.

mod document;

pub use document::{Day, Document, HostPart, LedgerRow, Overhead, RequestRow, SCHEMA, TargetPart, WaitRow, WindowPart};
