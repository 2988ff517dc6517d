//! Ways to run something as root.

use std::io::IsTerminal;
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
