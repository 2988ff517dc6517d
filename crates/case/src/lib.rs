//! The case folder: what a run leaves behind and replay reads.

mod baseline;
mod closed;
mod document;
mod error;
mod list;
mod meta;
pub mod place;
mod shapes;
mod store;
mod table;

pub use baseline::{baseline, set_baseline};
pub use closed::{Closed, Record, close, closed, records};
pub use document::{
    Armed, Compared, Day, Document, HostPart, LedgerRow, Overhead, Question, Reason, RequestRow, SCHEMA, StackSet,
    TargetPart, UpstreamRow, WaitRow, WindowPart,
};
pub use error::Error;
pub use list::{Listing, Summary, list};
pub use store::{Files, load, load_document, save};
pub use table::TableError;
