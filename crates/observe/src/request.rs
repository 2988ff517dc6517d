//! Requests of the event window, one by one.

use crate::{Pid, Tid};
use std::time::Duration;

/// One request that was answered in the event window, as the end that serves it sees it or as the one that asks. Times are
/// since the window (not the event window) began.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// It came in on a connection that was accepted; else it went out on one that was opened.
    pub served: bool,
    /// The process that serves or asks.
    pub pid: Pid,
    /// The thread that sent the last of the answer, or that asked.
    pub tid: Tid,
    /// Its connection: the same number at both ends where both are on this machine.
    pub connection: u64,
    /// The port or path where it came in; of one that went out the other end's address or path.
    pub place: String,
    /// The first data of the question came in; of one that went out: the end of the first call that sent it.
    pub begin: Duration,
    /// A thread read it.
    pub read: Duration,
    /// The last data of the answer went out, or came in.
    pub answered: Duration,
    /// Of one that went out: connection and begin of the one that came in for whose sake the thread seems to have asked.
    pub within: Option<(u64, Duration)>,
}
