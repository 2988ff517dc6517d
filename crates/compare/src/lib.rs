//! Two recordings of one system: what is different, beyond what varies by itself. Pure: a recording is reduced to a
//! [`Summary`], and two of those give [`Change`]s.

mod changes;
mod spread;
mod summary;

pub use changes::{Change, Kind, changes};
pub use spread::Spread;
pub use summary::{SCHEMA, Service, Summary};
