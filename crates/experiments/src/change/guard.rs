//! The guard: a process of its own that undoes what friday changed when friday vanishes, or when its time is over.
//!
//! It is friday itself, started again. It holds one end of a pipe whose other end only friday holds: however friday ends,
//! the kernel closes that, and the guard replays the journal. It is in a session of its own and ignores what a terminal
//! sends, so that Ctrl-C and a lost connection do not end it.

use super::journal::{self, JournalError, Report};
use crate::Roots;
use std::{
    fs, io,
    io::Read,
    os::fd::AsRawFd,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

/// The hidden command under which friday becomes a guard; the journal and the seconds follow.
pub const COMMAND: &str = "guard";

/// What a guard says when it is ready.
const READY: &[u8] = b"ready\n";

/// Why there is no guard.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// It could not be started, or ended at once.
    #[error("the guard process that would undo the change did not start, so nothing is changed")]
    Start(#[source] io::Error),
    /// It has ended while friday was at work.
    #[error("the guard process has ended, so everything is undone now")]
    Lost,
}

/// The guard, seen from friday. Dropping it lets the guard replay the journal.
pub struct Guard {
    child: Child,
    /// The pipe whose end tells the guard that friday is gone.
    line: Option<ChildStdin>,
    says: ChildStdout,
}

impl Guard {
    /// Starts `program` (friday itself) as the guard of a journal, and waits until it says that it is ready.
    ///
    /// # Errors
    /// It is not ready within seconds.
    pub fn start(program: &Path, journal: &Path, patience: Duration) -> Result<Guard, GuardError> {
        let mut command = Command::new(program);
        command.arg(COMMAND).arg(journal).arg(patience.as_secs().max(1).to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(GuardError::Start)?;
        let (line, says) = (child.stdin.take(), child.stdout.take());
        let (Some(line), Some(mut says)) = (line, says) else {
            return Err(GuardError::Start(io::Error::other("no pipe")));
        };
        // It says one word or ends; either comes at once.
        let mut word = [0; READY.len()];
        if let Err(error) = says.read_exact(&mut word) {
            let _ = child.wait();
            return Err(GuardError::Start(error));
        }
        if word != READY {
            return Err(GuardError::Start(io::Error::other("the guard said something else")));
        }
        Ok(Guard { child, line: Some(line), says })
    }

    /// Whether it is still there.
    ///
    /// # Errors
    /// It is not.
    pub fn check(&self) -> Result<(), GuardError> {
        let mut poll = libc::pollfd { fd: self.says.as_raw_fd(), events: 0, revents: 0 };
        // SAFETY: one valid structure; no waiting.
        let changed = unsafe { libc::poll(&mut poll, 1, 0) };
        // Its end of the pipe is closed when it ends.
        if changed > 0 { Err(GuardError::Lost) } else { Ok(()) }
    }

    /// Tells it that friday is done, and waits for its end. It undoes what friday could not.
    pub fn dismiss(mut self) {
        drop(self.line.take());
        let _ = self.child.wait();
    }
}

/// What the guard does, from its start to its end: to be called from friday's `main` and nothing after it.
///
/// Returns what it had to undo; nothing where friday had done so itself.
///
/// # Errors
/// The journal cannot be read or written.
pub fn stand(roots: &Roots, journal: &Path, patience: Duration) -> Result<Vec<Report>, JournalError> {
    detach();
    let deadline = Instant::now() + patience;
    let mut out = io::stdout();
    // Nobody reads it: friday is gone already.
    let _ = io::Write::write_all(&mut out, READY).and_then(|()| io::Write::flush(&mut out));
    wait_for_end(deadline);
    journal::replay(roots, journal)
}

/// Away from the terminal and its signals, and the last to be chosen when memory runs out.
fn detach() {
    // SAFETY: no arguments; constants of the system's.
    unsafe {
        libc::setsid();
        for signal in [
            libc::SIGINT,
            libc::SIGTERM,
            libc::SIGHUP,
            libc::SIGQUIT,
            libc::SIGPIPE,
            libc::SIGTSTP,
            libc::SIGTTIN,
            libc::SIGTTOU,
            libc::SIGUSR1,
            libc::SIGUSR2,
        ] {
            libc::signal(signal, libc::SIG_IGN);
        }
    }
    // Only root may; without, it is as likely to be killed as others.
    let _ = fs::write("/proc/self/oom_score_adj", "-1000");
    // Its folder could not be unmounted meanwhile.
    let _ = std::env::set_current_dir("/");
}

/// Until the other end of standard input is closed, or the time is over.
fn wait_for_end(deadline: Instant) {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        let mut poll = libc::pollfd { fd: 0, events: libc::POLLIN, revents: 0 };
        let wait = left.as_millis().clamp(1, 60_000) as libc::c_int;
        // SAFETY: one valid structure.
        if unsafe { libc::poll(&mut poll, 1, wait) } > 0 {
            let mut buffer = [0u8; 64];
            match io::stdin().read(&mut buffer) {
                Ok(0) => return,
                Err(e) if e.kind() != io::ErrorKind::Interrupted => return,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_say_that_it_is_ready_is_no_guard() {
        for program in ["/bin/true", "/bin/echo", "/no/such/program"] {
            let started = Guard::start(program.as_ref(), "/tmp/journal".as_ref(), Duration::from_secs(1));
            assert!(matches!(started, Err(GuardError::Start(_))), "{program}");
        }
    }
}
