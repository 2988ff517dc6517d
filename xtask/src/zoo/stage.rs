//! Where a scenario plays: its folder, its processes, its cgroups; all gone when dropped.

use super::cgroup::Cgroup;
use super::scenario::{Program, Scenario, Start};
use crate::processes::{self, Stop, pause, wait};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

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
        let mut stage =
            Stage { dir: new_folder()?, port: processes::free_port()?, cgroups: Vec::new(), running: Vec::new() };
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
        processes::bind(command.current_dir(&self.dir));
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
        if start.listens { processes::wait_for_port(self.port, &start.role, || self.check_alive()) } else { Ok(()) }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        processes::end_descendants();
        self.running.clear();
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
