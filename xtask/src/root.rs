//! Ways to run something as root.

use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// Whether this process is root.
pub fn is_root() -> bool {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// The words to put before a command so that it runs as root: none for root itself, sudo where it works without a
/// password or can ask for one, `None` where there is no way.
pub fn prefix() -> Option<Vec<String>> {
    if is_root() {
        return Some(Vec::new());
    }
    let quiet = || Command::new("sudo").args(["-n", "true"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let asking = || Command::new("sudo").arg("-v").status();
    let works = quiet().is_ok_and(|s| s.success())
        || std::io::stdin().is_terminal() && asking().is_ok_and(|status| status.success());
    let path = std::env::var("PATH").unwrap_or_default();
    works.then(|| vec!["sudo".into(), "env".into(), format!("PATH={path}")])
}

/// Becomes this program's task as root; returns, with the reason, only where that fails.
pub fn again(task: &str, args: &[String]) -> String {
    let Some(words) = prefix() else { return format!("{task} needs root: neither root nor sudo here") };
    match (words.first(), std::env::current_exe()) {
        (Some(sudo), Ok(this)) => {
            Command::new(sudo).args(&words[1..]).arg(this).arg(task).args(args).exec().to_string()
        }
        (None, _) => format!("{task} is root already"),
        (_, Err(error)) => error.to_string(),
    }
}
