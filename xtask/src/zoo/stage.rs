//! Where a scenario plays: its folder, its processes, its cgroups; all gone when dropped.

use super::cgroup::Cgroup;
use super::scenario::{Program, Scenario, Start};
use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Between two looks at something that is waited for.
const STEP: Duration = Duration::from_millis(50);
/// ours: a service listens within this.
const LISTEN_LIMIT: Duration = Duration::from_secs(10);
/// ours: after an interrupt friday has this long to undo what it changed.
const LEAVE_LIMIT: Duration = Duration::from_secs(5);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Why a scenario did not run.
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

/// A scenario set up.
pub struct Stage {
    dir: PathBuf,
    port: u16,
    cgroups: Vec<(String, Cgroup)>,
    running: Vec<(String, Child)>,
}

impl Stage {
    /// Builds, prepares and starts everything, and lets it warm up.
    pub fn set(scenario: &Scenario, programs: &Path) -> Result<Stage, Stop> {
        let mut stage = Stage { dir: new_folder()?, port: free_port()?, cgroups: Vec::new(), running: Vec::new() };
        for condition in &scenario.skip_unless {
            let mut shell = stage.command(&["sh".into(), "-c".into(), condition.run.clone()])?;
            let status = shell.stdout(Stdio::null()).stderr(Stdio::null()).status();
            if !status.map_err(|e| format!("sh: {e}"))?.success() {
                return Err(Stop::Skip(condition.reason.clone()));
            }
        }
        for program in &scenario.programs {
            stage.build(program, programs)?;
        }
        for words in &scenario.prepare {
            let mut command = stage.command(words)?;
            command.stdout(Stdio::null());
            let child = command.spawn().map_err(|e| format!("{words:?}: {e}"))?;
            let status = wait(child, Duration::from_secs(300))?.0;
            if !status.success() {
                return Err(Stop::Broken(format!("{words:?}: {status}")));
            }
        }
        for limit in &scenario.cgroups {
            let made = Cgroup::with_quota(&limit.name, limit.cpus)?;
            let made = made.ok_or_else(|| Stop::Skip("no CPU controller for cgroups here".into()))?;
            stage.cgroups.push((limit.name.clone(), made));
        }
        for start in &scenario.start {
            stage.start(start)?;
        }
        pause(Duration::from_secs_f64(scenario.warm_up))?;
        stage.check_alive()?;
        Ok(stage)
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The process of a role.
    pub fn pid(&self, role: &str) -> Option<u32> {
        self.running.iter().find(|(name, _)| name == role).map(|(_, child)| child.id())
    }

    /// Each role with its process.
    pub fn roles(&self) -> impl Iterator<Item = (&str, u32)> {
        self.running.iter().map(|(role, child)| (role.as_str(), child.id()))
    }

    /// An error where something that was started has ended.
    pub fn check_alive(&mut self) -> Result<(), Stop> {
        for (role, child) in &mut self.running {
            if let Some(status) = child.try_wait().map_err(|e| format!("{role}: {e}"))? {
                let said = fs::read_to_string(self.dir.join(format!("{role}.err"))).unwrap_or_default();
                return Err(Stop::Broken(format!("{role} has ended ({status}): {}", said.trim())));
            }
        }
        Ok(())
    }

    /// A word with its placeholders filled in.
    pub fn fill(&self, word: &str) -> String {
        let cpus = std::thread::available_parallelism().map_or(1, |n| n.get());
        word.replace("{dir}", &self.dir.to_string_lossy())
            .replace("{port}", &self.port.to_string())
            .replace("{cpus}", &cpus.to_string())
            .replace("{many}", &(2 * cpus).to_string())
    }

    /// A command in the folder, with the scenario's programs first in its path, that dies with this process.
    pub fn command(&self, words: &[String]) -> Result<Command, String> {
        let words: Vec<String> = words.iter().map(|word| self.fill(word)).collect();
        let own = self.dir.join("bin").join(words.first().ok_or("an empty command")?);
        let mut command = Command::new(if own.is_file() { own.as_os_str() } else { words[0].as_ref() });
        let path = std::env::var("PATH").unwrap_or_default();
        command.args(&words[1..]).env("PATH", format!("{}/bin:{path}", self.dir.display()));
        command.current_dir(&self.dir).stdin(Stdio::null()).process_group(0);
        // SAFETY: prctl with plain numbers may be called between fork and exec.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
                Ok(())
            })
        };
        Ok(command)
    }

    fn build(&self, program: &Program, programs: &Path) -> Result<(), String> {
        let source = programs.join(&program.source);
        let compiled = program.source.ends_with(".c");
        let stem = program.source.strip_suffix(".c").unwrap_or(&program.source);
        let name = program.name.as_deref().unwrap_or(stem);
        let target = self.dir.join("bin").join(name);
        let copy = if compiled { self.dir.join("src").join(format!("{name}.c")) } else { target.clone() };
        fs::copy(&source, &copy).map_err(|e| format!("{}: {e}", source.display()))?;
        if !compiled {
            return Ok(());
        }
        let mut compiler = self.command(&["cc".into(), "-O2".into(), "-pthread".into()])?;
        compiler.args(&program.flags).arg("-o").arg(&target).arg(&copy);
        let status = compiler.status().map_err(|e| format!("cc: {e}"))?;
        if status.success() { Ok(()) } else { Err(format!("cc could not compile {}", source.display())) }
    }

    fn start(&mut self, start: &Start) -> Result<(), Stop> {
        let mut command = self.command(&start.run)?;
        let errors = self.dir.join(format!("{}.err", start.role));
        command.stdout(Stdio::null()).stderr(File::create(&errors).map_err(|e| format!("{}: {e}", errors.display()))?);
        let group = self.cgroups.iter().find(|(name, _)| Some(name) == start.cgroup.as_ref());
        let procs = group.map(|(_, cgroup)| File::options().write(true).open(cgroup.procs()));
        let procs = procs.transpose().map_err(|e| format!("cgroup.procs: {e}"))?;
        let fd = procs.as_ref().map(AsRawFd::as_raw_fd);
        // SAFETY: all zeros is the empty set.
        let mut cpus: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        for cpu in &start.affinity {
            // SAFETY: CPU_SET checks its bounds.
            unsafe { libc::CPU_SET(*cpu, &mut cpus) };
        }
        let pinned = !start.affinity.is_empty();
        let check = |result: isize| if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) };
        // SAFETY: only system calls on values made before the fork.
        unsafe {
            command.pre_exec(move || {
                if let Some(fd) = fd {
                    check(libc::write(fd, c"0".as_ptr().cast(), 1))?;
                }
                if pinned {
                    check(libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &cpus) as isize)?;
                }
                Ok(())
            })
        };
        let child = command.spawn().map_err(|e| format!("{}: {e}", start.run.join(" ")))?;
        self.running.push((start.role.clone(), child));
        let end = Instant::now() + LISTEN_LIMIT;
        while start.listens && !listened_on(self.port) {
            self.check_alive()?;
            pause(STEP)?;
            if Instant::now() > end {
                return Err(Stop::Broken(format!("{} does not listen on port {}", start.role, self.port)));
            }
        }
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        end_descendants();
        self.running.clear();
        self.cgroups.clear();
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("zoo: could not remove {}: {error}", self.dir.display());
        }
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
    // SAFETY: the child has not been waited for, so its id is still its own.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGINT) };
    let end = Instant::now() + LEAVE_LIMIT;
    while Instant::now() < end && matches!(child.try_wait(), Ok(None)) {
        sleep(STEP);
    }
    Err(stop)
}

/// Kills and reaps everything that descends from this process, orphans included.
fn end_descendants() {
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
    eprintln!("zoo: these processes do not end: {:?}", descendants(std::process::id()));
}

/// The processes below one.
fn descendants(top: u32) -> Vec<u32> {
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
fn new_folder() -> Result<PathBuf, String> {
    let template = CString::new("/var/tmp/srv.XXXXXX").map_err(|e| e.to_string())?;
    let raw = template.into_raw();
    // SAFETY: mkdtemp writes within the template, which is taken back once and only here.
    let (made, name) = unsafe { (!libc::mkdtemp(raw).is_null(), CString::from_raw(raw)) };
    if !made {
        return Err(format!("/var/tmp: {}", std::io::Error::last_os_error()));
    }
    let dir = PathBuf::from(name.to_string_lossy().into_owned());
    let open = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    let ready = fs::set_permissions(&dir, open).and_then(|()| fs::create_dir(dir.join("bin")));
    ready.and_then(|()| fs::create_dir(dir.join("src"))).map_err(|e| format!("{}: {e}", dir.display()))?;
    Ok(dir)
}

fn free_port() -> Result<u16, String> {
    let bound = std::net::TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    bound.map(|address| address.port()).map_err(|e| format!("no free port: {e}"))
}

/// Whether some socket listens on the port; asked of the kernel, so that the service notices nothing.
fn listened_on(port: u16) -> bool {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let wanted = format!(":{port:04X}");
    tables.iter().flat_map(|table| table.lines()).any(|line| {
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
    fn a_listening_port_is_seen() {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(listened_on(port));
        drop(listener);
        assert!(!listened_on(port));
    }
}
