//! Where a scenario plays: its folder, its processes, its cgroups; all gone when dropped, and undone what has to be.

use super::build::build;
use super::cgroup::Cgroup;
use super::scenario::{Scenario, Start};
use super::spawn::spawn;
use crate::processes::{self, Stop, pause, wait};
use crate::programs::create;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// ours: what is interrupted has this long to end by itself.
const LEAVE_LIMIT: Duration = Duration::from_secs(1);

/// A scenario set up.
pub struct Stage {
    dir: PathBuf,
    ports: Vec<u16>,
    cleanup: Vec<Vec<String>>,
    cgroups: Vec<(String, Cgroup)>,
    running: Vec<(String, Child)>,
}

impl Stage {
    /// Builds, prepares and starts everything, and lets it warm up. What a later run can use is kept in `kept`.
    pub fn set(scenario: &Scenario, programs: &Path, kept: &Path) -> Result<Stage, Stop> {
        let (dir, ports) = (new_folder()?, processes::free_ports(3)?);
        let mut stage = Stage { dir, ports, cleanup: Vec::new(), cgroups: Vec::new(), running: Vec::new() };
        for condition in &scenario.skip_unless {
            let mut shell = stage.command(&["sh".into(), "-c".into(), condition.run.clone()])?;
            let status = shell.stdout(Stdio::null()).stderr(Stdio::null()).status();
            if !status.map_err(|e| format!("sh: {e}"))?.success() {
                return Err(Stop::Skip(condition.reason.clone()));
            }
        }
        for program in &scenario.programs {
            build(program, programs, &stage.dir, kept, |words| stage.command(words))?;
        }
        stage.cleanup = scenario.cleanup.clone();
        scenario.prepare.iter().try_for_each(|words| stage.prepare(words))?;
        for limit in &scenario.cgroups {
            stage.cgroups.push((limit.name.clone(), Cgroup::new(limit, &stage.dir)?));
        }
        scenario.start.iter().try_for_each(|start| stage.start(start))?;
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
            .replace("{id}", &self.dir.extension().unwrap_or_default().to_string_lossy())
            .replace("{port}", &self.ports[0].to_string())
            .replace("{port2}", &self.ports[1].to_string())
            .replace("{port3}", &self.ports[2].to_string())
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
        processes::bind(command.current_dir(&self.dir));
        Ok(command)
    }

    /// Runs a command to its end.
    fn prepare(&self, words: &[String]) -> Result<(), Stop> {
        let mut command = self.command(words)?;
        let child = command.stdout(Stdio::null()).spawn().map_err(|e| format!("{words:?}: {e}"))?;
        let status = wait(child, Duration::from_secs(300))?.0;
        if status.success() { Ok(()) } else { Err(Stop::Broken(format!("{words:?}: {status}"))) }
    }

    fn start(&mut self, start: &Start) -> Result<(), Stop> {
        let mut command = self.command(&start.run)?;
        command.envs(start.env.iter().map(|(name, value)| (name, self.fill(value))));
        command.stdout(Stdio::null()).stderr(create(&self.dir.join(format!("{}.err", start.role)))?);
        let cgroup = self.cgroups.iter().find(|(name, _)| Some(name) == start.cgroup.as_ref());
        let child = spawn(command, start, cgroup.map(|(_, cgroup)| cgroup))?;
        let pid = child.id();
        self.running.push((start.role.clone(), child));
        let Some(name) = start.port() else { return Ok(()) };
        let port = self.fill(&format!("{{{name}}}")).parse().map_err(|e| format!("{name}: {e}"))?;
        processes::wait_for_port(port, pid, &start.role, || self.check_alive())
    }
}

impl Stage {
    /// Lets what runs end by itself, the last first: PostgreSQL keeps shared memory, which only it removes.
    fn take_leave(&mut self) {
        let end = Instant::now() + LEAVE_LIMIT;
        for (_, child) in self.running.iter_mut().rev() {
            if matches!(child.try_wait(), Ok(None)) {
                processes::interrupt(child);
            }
        }
        while Instant::now() < end && self.running.iter_mut().any(|(_, child)| matches!(child.try_wait(), Ok(None))) {
            sleep(processes::STEP);
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.take_leave();
        processes::end_descendants();
        self.running.clear();
        for words in &self.cleanup {
            let status = self.command(words).map(|mut command| command.stdout(Stdio::null()).status());
            if !matches!(&status, Ok(Ok(status)) if status.success()) {
                eprintln!("zoo: {words:?}: {status:?}");
            }
        }
        self.cgroups.clear();
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("zoo: could not remove {}: {error}", self.dir.display());
        }
    }
}

/// The folder of a scenario, with room for its programs.
fn new_folder() -> Result<PathBuf, String> {
    let dir = processes::new_folder()?;
    let open = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    let ready = fs::set_permissions(&dir, open).and_then(|()| fs::create_dir(dir.join("bin")));
    ready.and_then(|()| fs::create_dir(dir.join("src"))).map_err(|e| format!("{}: {e}", dir.display()))?;
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::programs::last_line;

    /// What is left of a scenario that only prepares, in a file outside its folder.
    fn after(prepare: &str) -> (bool, String) {
        let left = processes::new_folder().unwrap();
        let file = left.join("left");
        let cleanup = format!("[['sh', '-c', 'echo {{id}} {{port2}} >{}']]", file.display());
        let text = format!("about = 'x'\ntarget = 'system'\nwarm_up = 0.0\nprepare = {prepare}\ncleanup = {cleanup}");
        let set = Stage::set(&toml::from_str(&text).unwrap(), Path::new("/"), Path::new("/"));
        let ready = set.is_ok();
        drop(set);
        let words = last_line(&file);
        fs::remove_dir_all(left).unwrap();
        (ready, words)
    }

    #[test]
    fn what_was_prepared_is_undone_even_where_that_failed() {
        let (ready, words) = after("[['true']]");
        assert!(ready);
        let (id, port) = words.split_once(' ').unwrap();
        assert!(id.len() == 6 && port.parse::<u16>().is_ok(), "{words}");
        let (ready, words) = after("[['false']]");
        assert!(!ready && !words.is_empty());
    }
}
