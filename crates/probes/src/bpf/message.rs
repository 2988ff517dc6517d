//! Errors of the bpf system call, with what libbpf and the verifier said last.

use observe::Absent;
use std::sync::Mutex;

/// What libbpf said since it was asked last.
static MESSAGES: Mutex<String> = Mutex::new(String::new());

/// Has libbpf's messages kept here rather than printed.
pub(super) fn listen() {
    libbpf_rs::set_print(Some((libbpf_rs::PrintLevel::Warn, keep_message)));
}

fn keep_message(_: libbpf_rs::PrintLevel, message: String) {
    if let Ok(mut kept) = MESSAGES.lock() {
        kept.push_str(&message);
    }
}

/// Sorts an error of the bpf system call into what a person can do about it.
pub(crate) fn refused(what: &str, error: &libbpf_rs::Error) -> Absent {
    refused_program(what, error).0
}

/// The same, with the name of the program that libbpf could not load, if it was one.
pub(super) fn refused_program(what: &str, error: &libbpf_rs::Error) -> (Absent, Option<String>) {
    let mut said = MESSAGES.lock().map(|mut kept| std::mem::take(&mut *kept)).unwrap_or_default();
    if std::env::var_os("FRIDAY_BPF_LOG").is_some() {
        let mut from = said.len().saturating_sub(6000);
        while !said.is_char_boundary(from) {
            from += 1;
        }
        eprintln!("{}", &said[from..]);
    }
    said.retain(|c| c != '\r');
    // SAFETY: no arguments, cannot fail.
    let root = unsafe { libc::geteuid() } == 0;
    let why = match error.kind() {
        libbpf_rs::ErrorKind::PermissionDenied if !root => Absent::NoPermission(format!(
            "{what} was refused: run as root, or with CAP_BPF, CAP_PERFMON and CAP_SYS_RESOURCE"
        )),
        _ => Absent::Failed(format!("{what}: {error:#} ({})", last_words(&said))),
    };
    (why, program_in(&said))
}

/// The verifier's last words, or libbpf's; empty when nothing was said.
fn last_words(said: &str) -> &str {
    let telling = |line: &&str| !line.is_empty() && !line.starts_with("processed ") && !line.starts_with("-- END");
    said.lines().rfind(telling).unwrap_or_default().trim()
}

/// The program that libbpf speaks of.
fn program_in(said: &str) -> Option<String> {
    let (_, rest) = said.split_once("prog '")?;
    Some(rest.split_once('\'')?.0.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refused_program_is_found_in_what_libbpf_says() {
        let said = "libbpf: prog 'net_drop': BPF program load failed: Permission denied\n\
                    libbpf: prog 'net_drop': -- BEGIN PROG LOAD LOG --\n\
                    0: R1=ctx()\nR2 unbounded memory access\nprocessed 12 insns\n-- END PROG LOAD LOG --\n";
        assert_eq!(program_in(said).as_deref(), Some("net_drop"));
        assert_eq!(last_words(said), "R2 unbounded memory access");
        assert_eq!(program_in("libbpf: map 'x': failed to create"), None);
    }
}
