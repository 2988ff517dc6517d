//! Disks: how busy they are, how fast they answer, who waits for them.

pub(crate) mod latency;
pub(crate) mod pressure;
pub(crate) mod utilization;

use crate::lost::Lost;
use observe::{Observed, Recording, TimeClass};

/// What processes lost to one disk. Waits whose disk is none of `known` (not noted, a file system, a mapped device) may
/// be for any of them.
fn lost_to(rec: &Recording, disk: &str, known: &[&str]) -> Observed<Lost> {
    Lost::to_waits(rec, |wait| {
        let named = wait.resource.strip_prefix("disk:").filter(|name| known.contains(name));
        matches!(wait.class, TimeClass::BlockedDisk | TimeClass::BlockedFs) && named.is_none_or(|name| name == disk)
    })
}
