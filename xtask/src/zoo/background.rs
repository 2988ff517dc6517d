//! Going on without a terminal.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Starts the same zoo apart from this terminal, with its results and its log in the folder, and says where it is.
pub fn start(args: &[String], folder: &Path) -> Result<(), String> {
    let shown = folder.display();
    let fail = |e: std::io::Error| format!("{shown}: {e}");
    std::fs::create_dir_all(folder).map_err(fail)?;
    let log = File::create(folder.join("log.txt")).map_err(fail)?;
    let mut command = Command::new(std::env::current_exe().map_err(|e| e.to_string())?);
    command.arg("zoo").args(args.iter().filter(|word| *word != "--background")).arg("--resume").arg(folder);
    command.stdin(Stdio::null()).stdout(log.try_clone().map_err(fail)?).stderr(log);
    // SAFETY: setsid takes nothing and may be called between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::setsid();
            Ok(())
        })
    };
    let child = command.spawn().map_err(|e| format!("zoo: {e}"))?;
    println!("results come into {shown}");
    println!("to watch: tail -f {shown}/log.txt");
    println!("to end it: kill {}", child.id());
    Ok(())
}
