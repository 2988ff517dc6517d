//! Programs, built in a folder of their own; all gone when dropped.

use super::programs::Program;
use crate::processes::{self, Stop};
use crate::programs::{create, go_apart, last_words, present};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// ours: compilers are done within this.
const BUILD_LIMIT: Duration = Duration::from_secs(300);

/// Programs that are ready to be started.
pub struct Stage {
    dir: PathBuf,
}

impl Stage {
    /// With nothing in it.
    pub fn empty() -> Result<Stage, Stop> {
        Ok(Stage { dir: processes::new_folder()? })
    }

    /// Builds everything.
    pub fn set(program: &Program, sources: &Path, rustc: &Option<PathBuf>) -> Result<Stage, Stop> {
        let rustc = rustc.as_ref().map_or("rustc".into(), |path| path.display().to_string());
        program.needs.iter().try_for_each(|need| present(&need.replace("{rustc}", &rustc)))?;
        let stage = Stage::empty()?;
        program.files.iter().try_for_each(|file| stage.build(file, &sources.join(file), &rustc))?;
        Ok(stage)
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Compiles a source; a script loses its ending, and what is no program stays as it is.
    fn build(&self, file: &str, source: &Path, rustc: &str) -> Result<(), Stop> {
        let (stem, ending) = file.rsplit_once('.').unwrap_or((file, ""));
        let words: &[&str] = match ending {
            "c" => return self.compile_c(source, stem, &[]),
            "rs" => &[rustc, "-O", "--edition", "2021", "-o", stem],
            "go" => &["go", "build", "-o", stem],
            "java" => &["javac", "-d", "."],
            _ => return Ok(self.copy(file, stem, source)?),
        };
        self.compile(words, source)
    }

    /// Compiles a source in C under a name, with some constants: `SIZE=3`.
    pub fn compile_c(&self, source: &Path, name: &str, constants: &[String]) -> Result<(), Stop> {
        let mut words: Vec<String> = ["cc", "-O2", "-pthread", "-o", name].map(String::from).to_vec();
        words.extend(constants.iter().map(|constant| format!("-D{constant}")));
        self.compile(&words.iter().map(String::as_str).collect::<Vec<_>>(), source)
    }

    fn compile(&self, words: &[&str], source: &Path) -> Result<(), Stop> {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(source).current_dir(&self.dir);
        let errors = self.dir.join("build.err");
        command.stdout(Stdio::null()).stderr(create(&errors)?);
        go_apart(&mut command, &self.dir);
        let child = processes::bind(&mut command).spawn().map_err(|e| format!("{}: {e}", words[0]))?;
        let (status, _) = processes::wait(child, BUILD_LIMIT)?;
        if status.success() {
            return Ok(());
        }
        Err(Stop::Broken(format!("{} could not build {}{}", words[0], source.display(), last_words(&errors))))
    }

    fn copy(&self, file: &str, stem: &str, source: &Path) -> Result<(), String> {
        let failed = |e| format!("{}: {e}", source.display());
        let text = fs::read_to_string(source).map_err(failed)?;
        let script = text.starts_with("#!");
        let target = self.dir.join(if script { stem } else { file });
        fs::write(&target, text).map_err(failed)?;
        let mode = if script { 0o755 } else { 0o644 };
        fs::set_permissions(&target, fs::Permissions::from_mode(mode)).map_err(failed)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        processes::end_descendants();
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("truth: could not remove {}: {error}", self.dir.display());
        }
    }
}
