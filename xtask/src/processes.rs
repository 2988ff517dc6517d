//! Taking charge of processes: what is started dies with this one, and Ctrl-C ends all of it in an orderly way.

use std::ffi::CString;
use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Between two looks at something that is waited for.
pub const STEP: Duration = Duration::from_millis(50);
/// ours: a service listens within this.
const LISTEN_LIMIT: Duration = Duration::from_secs(10);
/// ours: after an interrupt friday has this long to undo what it changed.
const LEAVE_LIMIT: Duration = Duration::from_secs(5);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Why something did not run to its end.
#[derive(Debug)]
pub enum Stop {
    /// The machine cannot produce it.
    Skip(String),
    /// Something is broken.
    Broken(String),
    /// The user wants out.
    Interrupted,
}

impl From<String> for Stop {
    fn from(message: String) -> Self {
        Stop::Broken(message)
    }
}

/// Makes Ctrl-C a wish that is looked at between steps, and this process the parent of every orphan it causes.
pub fn take_charge() {
    extern "C" fn note(_: libc::c_int) {
        INTERRUPTED.store(true, Ordering::Relaxed);
    }
    let handler = note as extern "C" fn(libc::c_int) as libc::sighandler_t;
    // SAFETY: the handler only stores to an atomic; prctl takes plain numbers.
    unsafe {
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            libc::signal(signal, handler);
        }
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    }
}

/// Sleeps, unless interrupted.
pub fn pause(length: Duration) -> Result<(), Stop> {
    let end = Instant::now() + length;
    loop {
        if INTERRUPTED.load(Ordering::Relaxed) {
            return Err(Stop::Interrupted);
        }
        match end.checked_duration_since(Instant::now()) {
            Some(left) => sleep(left.min(STEP)),
            None => return Ok(()),
        }
    }
}

/// Makes a command die with this process, and keeps the terminal's Ctrl-C and input from it.
pub fn bind(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).process_group(0);
    // SAFETY: prctl with plain numbers may be called between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
            Ok(())
        })
    }
}

/// Waits for a process and says how long it took; past the limit or on Ctrl-C it is made to leave.
pub fn wait(mut child: Child, limit: Duration) -> Result<(ExitStatus, Duration), Stop> {
    let begin = Instant::now();
    let stop = loop {
        if let Some(status) = child.try_wait().map_err(|e| format!("wait: {e}"))? {
            return Ok((status, begin.elapsed()));
        }
        if begin.elapsed() > limit {
            break Stop::Broken(format!("still running after {} s", limit.as_secs()));
        }
        if let Err(stop) = pause(STEP) {
            break stop;
        }
    };
    interrupt(&child);
    let end = Instant::now() + LEAVE_LIMIT;
    while Instant::now() < end && matches!(child.try_wait(), Ok(None)) {
        sleep(STEP);
    }
    Err(stop)
}

/// Sends a process that has not been waited for what Ctrl-C would send it.
pub fn interrupt(child: &Child) {
    // SAFETY: the child has not been waited for, so its id is still its own.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGINT) };
}

/// Kills and reaps everything that descends from this process, orphans included.
pub fn end_descendants() {
    for _ in 0..500 {
        let pids = descendants(std::process::id());
        if pids.is_empty() {
            return;
        }
        // SAFETY: plain numbers; the ids belong to processes below this one, which only this one reaps.
        unsafe {
            for pid in pids {
                libc::kill(pid as libc::pid_t, libc::SIGKILL);
            }
            while libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) > 0 {}
        }
        sleep(Duration::from_millis(10));
    }
    eprintln!("xtask: these processes do not end: {:?}", descendants(std::process::id()));
}

/// The processes below one.
pub fn descendants(top: u32) -> Vec<u32> {
    let numbers = fs::read_dir("/proc").into_iter().flatten();
    let pids = numbers.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let parents: Vec<(u32, u32)> = pids.filter_map(|pid: u32| Some((pid, parent(pid)?))).collect();
    let mut found = vec![top];
    let mut next = 0;
    while next < found.len() {
        let above = found[next];
        found.extend(parents.iter().filter(|(_, parent)| *parent == above).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// A new folder on a disk, under a name that tells nothing.
pub fn new_folder() -> Result<PathBuf, String> {
    let template = CString::new("/var/tmp/srv.XXXXXX").map_err(|e| e.to_string())?;
    let raw = template.into_raw();
    // SAFETY: mkdtemp writes within the template, which is taken back once and only here.
    let (made, name) = unsafe { (!libc::mkdtemp(raw).is_null(), CString::from_raw(raw)) };
    if made {
        Ok(PathBuf::from(name.to_string_lossy().into_owned()))
    } else {
        Err(format!("/var/tmp: {}", std::io::Error::last_os_error()))
    }
}

/// A port that nobody listens on.
pub fn free_port() -> Result<u16, String> {
    free_ports(1).map(|ports| ports[0])
}

/// As many different ports that nobody listens on.
pub fn free_ports(count: usize) -> Result<Vec<u16>, String> {
    let bound: io::Result<Vec<_>> = (0..count).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect();
    let ports = |bound: Vec<TcpListener>| bound.iter().map(|bound| Ok(bound.local_addr()?.port())).collect();
    bound.and_then(ports).map_err(|e| format!("no free port: {e}"))
}

/// Waits until some socket in the network of this process listens on the port; `alive` says whether the one to come
/// still can.
pub fn wait_for_port(port: u16, pid: u32, name: &str, mut alive: impl FnMut() -> Result<(), Stop>) -> Result<(), Stop> {
    let end = Instant::now() + LISTEN_LIMIT;
    while !listened_on(port, pid) {
        alive()?;
        pause(STEP)?;
        if Instant::now() > end {
            return Err(Stop::Broken(format!("{name} does not listen on port {port}")));
        }
    }
    Ok(())
}

/// Whether some socket in the network of a process listens on the port; asked of the kernel, so that the service
/// notices nothing.
fn listened_on(port: u16, pid: u32) -> bool {
    let table = |name| fs::read_to_string(format!("/proc/{pid}/net/{name}")).unwrap_or_default();
    let wanted = format!(":{port:04X}");
    [table("tcp"), table("tcp6")].iter().flat_map(|table| table.lines()).any(|line| {
        let row: Vec<&str> = line.split_whitespace().take(4).collect();
        row.len() == 4 && row[1].ends_with(&wanted) && row[3] == "0A"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descendants_are_found() {
        let mut child = Command::new("sleep").arg("30").spawn().unwrap();
        assert!(descendants(std::process::id()).contains(&child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn free_ports_differ() {
        let ports: std::collections::BTreeSet<u16> = free_ports(3).unwrap().into_iter().collect();
        assert_eq!(ports.len(), 3);
    }

    #[test]
    fn a_listening_port_is_seen() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(listened_on(port, std::process::id()));
        drop(listener);
        // A process that another test forks at this moment has it open until it becomes another program.
        let end = Instant::now() + LISTEN_LIMIT;
        while listened_on(port, std::process::id()) {
            assert!(Instant::now() < end, "still listened on");
            sleep(STEP);
        }
    }
}
