//! A service that is asked at a steady rate, in a folder of its own; both gone when dropped.

use super::services::Service;
use crate::processes::{self, STEP, Stop, pause, wait};
use crate::programs::{create, last_words, postgres, present, somebody};
use crate::root;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// ours: what makes a service ready is done within this.
const PREPARE_LIMIT: Duration = Duration::from_secs(60);
/// ours: caches are filled and connections made within this.
const WARM_UP: Duration = Duration::from_secs(2);
/// ours: a server that is told to leave has left within this.
const LEAVE_LIMIT: Duration = Duration::from_secs(10);

/// A service that runs.
pub struct Stage<'a> {
    service: &'static Service,
    programs: &'a Path,
    dir: PathBuf,
    port: u16,
    rate: u32,
    server: Option<Child>,
    client: Option<Child>,
}

impl<'a> Stage<'a> {
    /// Prepares and starts a service and who asks it.
    pub fn set(service: &'static Service, programs: &'a Path) -> Result<Stage<'a>, Stop> {
        let (dir, port) = (processes::new_folder()?, processes::free_port()?);
        let mut stage = Stage { service, programs, dir, port, rate: service.rate, server: None, client: None };
        service.needs.iter().try_for_each(|need| present(&stage.fill(need)))?;
        let dir = &stage.dir;
        let ready = fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).and_then(|()| match stage.user() {
            Some((user, group)) => chown(dir, Some(user), Some(group)),
            None => Ok(()),
        });
        ready.map_err(|e| format!("{}: {e}", dir.display()))?;
        service.prepare.iter().try_for_each(|words| stage.run(words))?;
        stage.write_program(|bytes| bytes)?;
        stage.write_work(service.steps)?;
        stage.start()?;
        Ok(stage)
    }

    /// The service's first process.
    pub fn pid(&self) -> u32 {
        self.server.as_ref().map_or(0, Child::id)
    }

    /// The file that is the service's program.
    pub fn program(&self) -> PathBuf {
        let name = self.service.program.rsplit('/').next().unwrap_or_default();
        self.dir.join(name)
    }

    /// Has it asked so many times a second from now on.
    pub fn ask(&mut self, rate: u32) -> Result<(), Stop> {
        self.rate = rate;
        end(self.client.take(), true);
        self.client = Some(self.spawn(self.service.client, "client")?);
        pause(WARM_UP)?;
        self.check()
    }

    /// How many times a second it was asked lately, in the middle of so many seconds: as who asks says, or as told.
    pub fn asked(&self, seconds: usize) -> f64 {
        let said = fs::read_to_string(self.dir.join("client.err")).unwrap_or_default();
        let mut rates: Vec<f64> = said.lines().rev().filter_map(per_second).take(seconds).collect();
        rates.sort_by(f64::total_cmp);
        rates.get(rates.len() / 2).copied().unwrap_or(f64::from(self.rate))
    }

    /// Has each request take so many steps from now on.
    pub fn work(&mut self, steps: u32) -> Result<(), Stop> {
        self.write_work(steps)?;
        if self.service.load.is_empty() {
            return self.restart();
        }
        self.run(self.service.load)?;
        pause(WARM_UP)
    }

    /// Replaces its program by another one that does the same, as packages do, and starts it anew.
    pub fn upgrade(&mut self) -> Result<(), Stop> {
        self.write_program(another)?;
        if self.service.load.is_empty() {
            self.write_work(self.service.steps)?;
        }
        self.restart()
    }

    /// An error where the service or who asks has ended.
    pub fn check(&mut self) -> Result<(), Stop> {
        for (child, role) in [(&mut self.server, "server"), (&mut self.client, "client")] {
            if let Some(child) = child
                && let Some(status) = child.try_wait().map_err(|e| format!("wait: {e}"))?
            {
                let said = last_words(&self.dir.join(format!("{role}.err")));
                return Err(Stop::Broken(format!("the {role} has ended ({status}){said}")));
            }
        }
        Ok(())
    }

    fn restart(&mut self) -> Result<(), Stop> {
        end(self.client.take(), true);
        end(self.server.take(), false);
        self.start()
    }

    fn start(&mut self) -> Result<(), Stop> {
        self.server = Some(self.spawn(self.service.server, "server")?);
        let (port, pid) = (self.port, self.pid());
        processes::wait_for_port(port, pid, self.service.name, || self.check())?;
        if !self.service.load.is_empty() {
            self.run(self.service.load)?;
        }
        self.ask(self.rate)
    }

    /// Puts the program's file where it is run from, by another name first, so that one that runs stays whole.
    fn write_program(&self, change: fn(Vec<u8>) -> Vec<u8>) -> Result<(), String> {
        let (from, to) = (self.fill(self.service.program), self.program());
        let new = to.with_extension("new");
        let bytes = fs::read(&from).map_err(|e| format!("{from}: {e}"))?;
        fs::write(&new, change(bytes))
            .and_then(|()| fs::set_permissions(&new, fs::Permissions::from_mode(0o755)))
            .and_then(|()| fs::rename(&new, &to))
            .map_err(|e| format!("{}: {e}", to.display()))
    }

    /// Fills in how much each request takes. The file keeps its size: only its time of change tells.
    fn write_work(&self, steps: u32) -> Result<(), String> {
        let (from, to) = (self.programs.join(self.service.work), self.dir.join(self.service.work));
        let text = fs::read_to_string(&from).map_err(|e| format!("{}: {e}", from.display()))?;
        fs::write(&to, text.replace("STEPS", &format!("{steps}"))).map_err(|e| format!("{}: {e}", to.display()))
    }

    fn fill(&self, word: &str) -> String {
        let postgres = postgres().map_or("postgres".into(), |path| path.display().to_string());
        word.replace("{dir}", &self.dir.display().to_string())
            .replace("{programs}", &self.programs.display().to_string())
            .replace("{postgres}", &postgres)
            .replace("{port}", &self.port.to_string())
            .replace("{rate}", &self.rate.to_string())
    }

    /// Whom it has to run as, where it cannot run as root.
    fn user(&self) -> Option<(u32, u32)> {
        if self.service.unprivileged && root::is_root() { somebody() } else { None }
    }

    fn spawn(&self, words: &[&str], role: &str) -> Result<Child, Stop> {
        let words: Vec<String> = words.iter().map(|word| self.fill(word)).collect();
        let mut command = Command::new(words.first().ok_or("an empty command".to_string())?);
        command.args(&words[1..]).current_dir(&self.dir);
        command.stdout(Stdio::null()).stderr(create(&self.dir.join(format!("{role}.err")))?);
        if let Some((user, group)) = self.user() {
            command.uid(user).gid(group);
        }
        Ok(processes::bind(&mut command).spawn().map_err(|e| format!("{}: {e}", words[0]))?)
    }

    fn run(&self, words: &[&str]) -> Result<(), Stop> {
        let (status, _) = wait(self.spawn(words, "step")?, PREPARE_LIMIT)?;
        if status.success() {
            return Ok(());
        }
        let said = last_words(&self.dir.join("step.err"));
        Err(Stop::Broken(format!("{}: {status}{said}", self.fill(&words.join(" ")))))
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        end(self.client.take(), true);
        end(self.server.take(), false);
        processes::end_descendants();
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("baseline: could not remove {}: {error}", self.dir.display());
        }
    }
}

/// Of a line of pgbench's progress: `progress: 4.0 s, 198.0 tps, lat 0.731 ms …`.
fn per_second(line: &str) -> Option<f64> {
    let (before, _) = line.strip_prefix("progress: ")?.split_once(" tps")?;
    before.rsplit(' ').next()?.parse().ok()
}

/// Ends a process: at once, or by asking it first.
fn end(child: Option<Child>, at_once: bool) {
    let Some(mut child) = child else { return };
    if !at_once {
        processes::interrupt(&child);
        let limit = Instant::now() + LEAVE_LIMIT;
        while Instant::now() < limit && matches!(child.try_wait(), Ok(None)) {
            sleep(STEP);
        }
    }
    let _ = child.kill().and_then(|()| child.wait());
}

/// A program that does the same and is another one: with another build-id where it has one, else with a line more.
fn another(mut bytes: Vec<u8>) -> Vec<u8> {
    // elf(5): sizes of name and description, the type NT_GNU_BUILD_ID, the name; the id follows.
    const HEAD: &[u8] = b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0";
    match bytes.windows(HEAD.len()).position(|part| part == HEAD).map(|at| at + HEAD.len()) {
        Some(id) if id < bytes.len() => bytes[id] ^= 0xff,
        _ => bytes.extend(b"# another version\n"),
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::{another, per_second};

    #[test]
    fn progress_is_read() {
        let line = "progress: 4.0 s, 198.0 tps, lat 0.731 ms stddev 0.100, 0 failed, lag 0.200 ms";
        assert_eq!((per_second(line), per_second("pgbench: shutting down")), (Some(198.0), None));
    }

    #[test]
    fn another_version_has_another_build_id_or_a_line_more() {
        let elf = b"\x7fELF..\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0\x01\x02".to_vec();
        let new = another(elf.clone());
        assert_eq!((new.len(), new[22], new[23]), (elf.len(), 0xfe, 2));
        assert_eq!(another(b"print()\n".to_vec()), b"print()\n# another version\n");
    }
}
