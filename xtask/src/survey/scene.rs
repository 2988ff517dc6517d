//! A program under load, in a folder of its own; ended in an orderly way and gone without a trace when dropped.

use super::loads::Load;
use crate::processes::{self, STEP, Stop, pause, wait};
use crate::programs::{create, go_apart, last_words, postgres, present, somebody};
use crate::root;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// ours: compilers are done within this.
const PREPARE_LIMIT: Duration = Duration::from_secs(300);
/// ours: caches are filled and hot code is compiled within this.
const WARM_UP: Duration = Duration::from_secs(6);
/// ours: a server that is told to leave has left within this.
const LEAVE_LIMIT: Duration = Duration::from_secs(10);

/// A program that runs.
pub struct Scene {
    /// What runs.
    pub load: &'static Load,
    dir: PathBuf,
    port: u16,
    /// What words stand for, beside the folder, the port and the server.
    places: Vec<(&'static str, String)>,
    server: Option<Child>,
    client: Option<Child>,
}

impl Scene {
    /// Prepares and starts a program and its load, and lets both warm up.
    pub fn set(load: &'static Load, programs: &Path, rustc: &Option<PathBuf>) -> Result<Scene, Stop> {
        let shown = |path: &Path| path.display().to_string();
        let places = vec![
            ("{programs}", shown(programs)),
            ("{postgres}", postgres().map_or("postgres".into(), |path| shown(&path))),
            ("{rustc}", rustc.as_ref().map_or("rustc".into(), |path| shown(path))),
        ];
        let (dir, port) = (processes::new_folder()?, processes::free_port()?);
        let mut scene = Scene { load, dir, port, places, server: None, client: None };
        load.needs.iter().try_for_each(|program| present(&scene.fill(program)))?;
        let dir = &scene.dir;
        let ready = fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).and_then(|()| match scene.user() {
            Some((user, group)) => chown(dir, Some(user), Some(group)),
            None => Ok(()),
        });
        ready.map_err(|e| format!("{}: {e}", dir.display()))?;
        load.prepare.iter().try_for_each(|words| scene.run(words))?;
        scene.server = Some(scene.start(load.server, "server")?);
        if load.listens {
            let (port, pid) = (scene.port, scene.pid());
            processes::wait_for_port(port, pid, load.name, || scene.check())?;
        }
        load.fill.iter().try_for_each(|words| scene.run(words))?;
        if !load.client.is_empty() {
            scene.client = Some(scene.start(load.client, "client")?);
        }
        pause(WARM_UP)?;
        scene.check()?;
        Ok(scene)
    }

    /// Where it may write.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its first process.
    pub fn pid(&self) -> u32 {
        self.server.as_ref().map_or(0, Child::id)
    }

    /// All of its processes, as of now.
    pub fn pids(&self) -> Vec<u32> {
        [vec![self.pid()], processes::descendants(self.pid())].concat()
    }

    /// Makes its runtime list the names of the code it has compiled so far.
    pub fn refresh_names(&self) -> Result<(), Stop> {
        if self.load.names.is_empty() { Ok(()) } else { self.run(self.load.names) }
    }

    /// An error where it or its load has ended.
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

    fn fill(&self, word: &str) -> String {
        let word = self.places.iter().fold(word.to_string(), |word, (name, value)| word.replace(name, value));
        word.replace("{dir}", &self.dir.display().to_string())
            .replace("{port}", &self.port.to_string())
            .replace("{pid}", &self.pid().to_string())
    }

    /// Whom it has to run as, where it cannot run as root.
    fn user(&self) -> Option<(u32, u32)> {
        if self.load.unprivileged && root::is_root() { somebody() } else { None }
    }

    /// A command that writes what it says into the folder.
    fn command(&self, words: &[&str], role: &str) -> Result<Command, Stop> {
        let words: Vec<String> = words.iter().map(|word| self.fill(word)).collect();
        let mut command = Command::new(words.first().ok_or("an empty command".to_string())?);
        command.args(&words[1..]).current_dir(&self.dir);
        go_apart(&mut command, &self.dir);
        command.stdout(Stdio::null()).stderr(create(&self.dir.join(format!("{role}.err")))?);
        if let Some((user, group)) = self.user() {
            command.uid(user).gid(group);
        }
        processes::bind(&mut command);
        Ok(command)
    }

    fn start(&self, words: &[&str], role: &str) -> Result<Child, Stop> {
        Ok(self.command(words, role)?.spawn().map_err(|e| format!("{}: {e}", self.fill(words[0])))?)
    }

    fn run(&self, words: &[&str]) -> Result<(), Stop> {
        let (status, _) = wait(self.start(words, "step")?, PREPARE_LIMIT)?;
        if status.success() {
            return Ok(());
        }
        let said = last_words(&self.dir.join("step.err"));
        Err(Stop::Broken(format!("{}: {status}{said}", self.fill(&words.join(" ")))))
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(client) = &mut self.client {
            let _ = client.kill().and_then(|()| client.wait());
        }
        let pid = self.pid();
        if let Some(server) = &mut self.server {
            // PostgreSQL keeps shared memory, the JVM a socket, which each removes only itself.
            processes::interrupt(server);
            let end = Instant::now() + LEAVE_LIMIT;
            while Instant::now() < end && matches!(server.try_wait(), Ok(None)) {
                sleep(STEP);
            }
        }
        processes::end_descendants();
        // Whoever asks for a perf map has to remove it.
        let _ = fs::remove_file(format!("/tmp/perf-{pid}.map"));
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("survey: could not remove {}: {error}", self.dir.display());
        }
    }
}
