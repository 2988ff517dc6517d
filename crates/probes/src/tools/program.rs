//! Programs that health tools name: bounded in time, memory and output, and gone with all they started when that is passed.

use std::{
    io::Read,
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// ours: more is a log, not a verdict.
const MOST_OUTPUT: u64 = 1 << 20;

/// ours: of what it complains, this much is told.
const MOST_COMPLAINT: usize = 200;

/// How often it is looked whether a program has ended.
const LOOK: Duration = Duration::from_millis(5);

/// ours: a program that was killed is gone in a few milliseconds, unless it waits for a device.
const DYING: Duration = Duration::from_millis(200);

/// What a program may take.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// Wall time.
    pub(crate) timeout: Duration,
    /// Writable memory of its own in bytes; what is only reserved does not count.
    pub(crate) memory: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { timeout: Duration::from_secs(2), memory: 256 << 20 }
    }
}

/// Runs a program and gives what it wrote to stdout.
///
/// # Errors
/// What came in between, in words: not there, failed with a status, killed for a limit.
pub(crate) fn run(argv: &[String], limits: Limits) -> Result<String, String> {
    let (program, arguments) = argv.split_first().ok_or_else(|| "no program is named".to_owned())?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let memory = limits.memory;
    // SAFETY: setrlimit and prctl are async-signal-safe and their arguments are owned by the closure.
    unsafe {
        command.pre_exec(move || {
            let limit = libc::rlimit { rlim_cur: memory, rlim_max: memory };
            if libc::setrlimit(libc::RLIMIT_DATA, &limit) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            // Gone with friday, whatever ends it.
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    let mut child = command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "not installed".to_owned(),
        _ => error.to_string(),
    })?;
    let out = gather(child.stdout.take());
    let complaint = gather(child.stderr.take());
    let deadline = Instant::now() + limits.timeout;
    let ended = wait(&mut child, deadline);
    // What it has started does not outlive it.
    // SAFETY: a plain system call; the group is the child's own, whose id is not reused before it is waited for.
    unsafe { libc::kill(-(child.id() as i32), libc::SIGKILL) };
    let status = match ended {
        Some(Ok(status)) => status,
        Some(Err(error)) => return Err(error.to_string()),
        None => {
            // One that the kernel does not let go of, on a file system that hangs, is not waited for.
            let _ = wait(&mut child, Instant::now() + DYING);
            return Err(format!("killed, it took longer than {:.1} s", limits.timeout.as_secs_f64()));
        }
    };
    let (text, whole) = out.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
    // Whoever writes more finds the pipe closed, and fails for that.
    if text.len() as u64 > MOST_OUTPUT {
        return Err(format!("it wrote more than {MOST_OUTPUT} bytes"));
    }
    if !status.success() {
        let (said, _) = complaint.recv_timeout(Duration::from_millis(100)).unwrap_or_default();
        // Of a Python program that fails, the last line tells.
        let said =
            if said.contains("Traceback") { said.trim().lines().last().unwrap_or_default() } else { said.trim() };
        let said: String = said.chars().take(MOST_COMPLAINT).collect();
        let said = if said.is_empty() { String::new() } else { format!(": {said}") };
        return Err(format!("{status}{said}"));
    }
    if !whole {
        return Err("what it wrote could not be read".to_owned());
    }
    Ok(text)
}

/// Its end, or `None` at the deadline.
fn wait(child: &mut Child, deadline: Instant) -> Option<std::io::Result<std::process::ExitStatus>> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(Ok(status)),
            Ok(None) if Instant::now() >= deadline => return None,
            Ok(None) => thread::sleep(LOOK),
            Err(error) => return Some(Err(error)),
        }
    }
}

/// Reads a pipe beside, to its end or to the limit: the text, and whether that was all.
fn gather(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<(String, bool)> {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = pipe.map_or(Ok(0), |pipe| pipe.take(MOST_OUTPUT + 1).read_to_end(&mut bytes));
        let whole = read.is_ok() && bytes.len() as u64 <= MOST_OUTPUT;
        // Nobody listens any more after the deadline.
        let _ = send.send((String::from_utf8_lossy(&bytes).into_owned(), whole));
    });
    receive
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, timeout: f64) -> Result<String, String> {
        let argv = ["sh", "-c", script].map(str::to_owned);
        run(&argv, Limits { timeout: Duration::from_secs_f64(timeout), ..Limits::default() })
    }

    #[test]
    fn output_comes_back() {
        assert_eq!(sh("echo a; echo b >&2", 2.0), Ok("a\n".to_owned()));
    }

    #[test]
    fn what_fails_says_how() {
        assert!(sh("echo broken >&2; exit 4", 2.0).unwrap_err().contains("4: broken"));
        let python = "printf 'Traceback (most recent call last):\\n  x\\nException: no kprobes\\n' >&2; exit 1";
        assert!(sh(python, 2.0).unwrap_err().ends_with("1: Exception: no kprobes"));
        assert_eq!(run(&["no-such-program-here".to_owned()], Limits::default()), Err("not installed".to_owned()));
        assert!(run(&[], Limits::default()).is_err());
    }

    #[test]
    fn a_program_that_hangs_is_killed_with_what_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let script = format!("sleep 60 & echo $! >{}; wait", pid.display());
        assert!(sh(&script, 0.5).unwrap_err().contains("longer than 0.5 s"));
        let pid: i32 = std::fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
        let gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        };
        let deadline = Instant::now() + Duration::from_secs(5);
        while !gone() {
            assert!(Instant::now() < deadline, "{pid} still runs");
            thread::sleep(LOOK);
        }
    }

    #[test]
    fn output_and_memory_are_bounded() {
        assert!(sh("head -c 2000000 /dev/zero", 5.0).unwrap_err().contains("more than"));
        assert!(sh("exec tail -c 1000000000 /dev/zero", 5.0).is_err());
    }
}
