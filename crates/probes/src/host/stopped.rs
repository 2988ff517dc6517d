//! Processes that stand still because somebody stopped them, and those that another process traces.
//!
//! Cost: about 20 µs a process, once.

use crate::roots::Roots;
use observe::{Absent, Fact, Labels, Recording, catalog};
use std::fs;

/// Adds what is so now to the recording.
pub fn collect(roots: &Roots, into: &mut Recording) {
    let entries = match fs::read_dir(&roots.proc) {
        Ok(entries) => entries,
        Err(e) => {
            let why = Absent::Failed(format!("{}: {e}", roots.proc.display()));
            return into.set(&catalog::PROCESS_STOPPED, Err(why));
        }
    };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let pids = names.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    let facts = pids.filter_map(|pid| {
        let status = fs::read_to_string(roots.proc.join(&pid).join("status")).ok()?;
        let (value, tracer) = told(&status)?;
        Some(Fact {
            labels: Labels::new([("pid", pid), ("tracer", tracer)]),
            value: value.to_owned(),
            source: "/proc/PID/status".to_owned(),
        })
    });
    into.set(&catalog::PROCESS_STOPPED, Ok(facts.collect()));
}

/// Whether a process is stopped or traced, and the id of who traces it.
fn told(status: &str) -> Option<(&'static str, String)> {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let tracer = field("TracerPid:").filter(|pid| *pid != "0").unwrap_or_default();
    let stopped = field("State:").is_some_and(|state| state.starts_with(['T', 't']));
    match (stopped, tracer) {
        // Who is traced stops for a moment at every call.
        (true, "") => Some(("stopped", String::new())),
        (_, "") => None,
        (_, tracer) => Some(("traced", tracer.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use observe::{Host, Target, Window};
    use std::time::{Duration, SystemTime};

    fn seen(roots: &Roots) -> Recording {
        let host = Host { name: "h".into(), kernel: "6".into(), cpus: 2, memory_bytes: 1 };
        let window = Window { start: SystemTime::UNIX_EPOCH, length: Duration::from_secs(1) };
        let mut recording = Recording::new(host, Target::system("h"), window);
        collect(roots, &mut recording);
        recording
    }

    #[test]
    fn who_is_stopped_and_who_is_traced_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        for (pid, state, tracer) in [
            ("7", "S (sleeping)", "0"),
            ("8", "T (stopped)", "0"),
            ("9", "t (tracing stop)", "12"),
            ("10", "S (sleeping)", "12"),
        ] {
            fs::create_dir(dir.path().join(pid)).unwrap();
            let status = format!("Name:\tx\nState:\t{state}\nTracerPid:\t{tracer}\n");
            fs::write(dir.path().join(pid).join("status"), status).unwrap();
        }
        let recording = seen(&Roots { proc: dir.path().into(), ..Roots::default() });
        let facts = recording.get(&catalog::PROCESS_STOPPED).unwrap();
        let mut rows: Vec<_> =
            facts.iter().map(|f| (f.labels.get("pid"), f.value.as_str(), f.labels.get("tracer"))).collect();
        rows.sort_unstable();
        assert_eq!(rows, [("10", "traced", "12"), ("8", "stopped", ""), ("9", "traced", "12")]);
    }

    #[test]
    fn what_cannot_be_read_has_its_reason() {
        let recording = seen(&Roots { proc: "/nonexistent/proc".into(), ..Roots::default() });
        assert!(recording.get(&catalog::PROCESS_STOPPED).is_err());
    }
}
