//! One scenario plays at a time on a machine, so that none is a neighbour of another.

use crate::processes::{STEP, Stop, pause};
use std::fs::File;
use std::os::fd::AsRawFd;

/// What all zoos of the machine agree on.
const LOCK: &str = "/run/friday-zoo.lock";

/// Waits until no other zoo plays; others wait until what is returned is dropped.
pub fn wait() -> Result<File, Stop> {
    // Those that wait already look again within a step.
    pause(2 * STEP)?;
    let file = File::create(LOCK).map_err(|e| format!("{LOCK}: {e}"))?;
    // SAFETY: the file is open.
    while unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
        pause(STEP)?;
    }
    Ok(file)
}
