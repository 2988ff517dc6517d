//! perf's profiles of a program, reported flat: one taken alone, with copies of stacks, one taken beside friday, and two taken
//! beside one another, which show how far perf is from itself.

use super::compare::Flat;
use super::names;
use super::scene::Scene;
use crate::processes::{self, Stop};
use crate::programs::{create, last_words, present};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

/// ours: samples a second of each CPU, five times friday's.
const HZ: u32 = 499;
/// As many as friday takes.
const FRIDAYS_HZ: u32 = 99;
/// ours: at five times friday's rate, half of friday's window says more than friday's.
const SECONDS: f64 = 5.0;
/// ours: walking copied stacks takes perf this long at most.
const LIMIT: Duration = Duration::from_secs(120);
/// A process that ends between the list and the recording makes perf refuse.
const TRIES: usize = 3;
/// How perf walks stacks without frame pointers: it copies them.
const COPIES: [&str; 2] = ["--call-graph", "dwarf"];

/// A recording that goes on.
pub struct Recording {
    child: Child,
    data: PathBuf,
    err: PathBuf,
    /// The program's processes.
    pids: Vec<String>,
}

/// Profiles all of a program's processes while nobody else looks at them.
pub fn alone(scene: &Scene) -> Result<Flat, Stop> {
    let mut tries = 0;
    loop {
        tries += 1;
        match begin(scene, "alone", SECONDS, HZ, &COPIES).and_then(|recording| end(recording, scene)) {
            Err(Stop::Broken(_)) if tries < TRIES => {}
            other => return other,
        }
    }
}

/// Begins a profile of the same beside friday; without stacks, so that it hardly costs anything.
pub fn beside(scene: &Scene, seconds: f64) -> Result<Recording, Stop> {
    begin(scene, "beside", seconds, HZ, &[])
}

/// Profiles the same twice at the same time: often, and as often as friday does.
pub fn twice(scene: &Scene) -> Result<[Flat; 2], Stop> {
    let often = begin(scene, "often", SECONDS, HZ, &[])?;
    let seldom = begin(scene, "seldom", SECONDS, FRIDAYS_HZ, &[])?;
    Ok([end(often, scene)?, end(seldom, scene)?])
}

fn begin(scene: &Scene, name: &str, seconds: f64, hz: u32, more: &[&str]) -> Result<Recording, Stop> {
    present("perf")?;
    let [data, out, err] = ["data", "out", "err"].map(|kind| scene.dir().join(format!("perf-{name}.{kind}")));
    let mut command = Command::new("perf");
    // Without -N it would keep copies of binaries in the user's home.
    // By CPU, as friday samples: the clock of a thread starts when it has been switched to, and misses the switch itself.
    command.args(["record", "-q", "-N", "-a", "-e", "cpu-clock", "-F", &hz.to_string()]).args(more);
    command.arg("-o").arg(&data).args(["--", "sleep", &seconds.to_string()]);
    command.stdout(create(&out)?).stderr(create(&err)?);
    let child = processes::bind(&mut command).spawn().map_err(|e| format!("perf: {e}"))?;
    let pids = scene.pids().iter().map(u32::to_string).collect();
    Ok(Recording { child, data, err, pids })
}

/// Waits for a recording and counts its samples.
pub fn end(recording: Recording, scene: &Scene) -> Result<Flat, Stop> {
    finish(recording.child, &recording.err)?;
    let [out, err] = ["out", "err"].map(|kind| scene.dir().join(format!("perf-report.{kind}")));
    let mut command = Command::new("perf");
    command.args(["report", "-f", "--stdio", "--no-children", "-g", "none", "--no-inline", "--percent-limit", "0"]);
    command.args(["--pid", &recording.pids.join(",")]);
    command.args(["-s", "dso,sym", "-F", "sample,dso,sym", "-t", "|", "-i"]).arg(&recording.data);
    // It would ask servers on the network for symbols.
    command.env_remove("DEBUGINFOD_URLS").stdout(create(&out)?).stderr(create(&err)?);
    finish(processes::bind(&mut command).spawn().map_err(|e| format!("perf: {e}"))?, &err)?;
    let text = fs::read(&out).map_err(|e| format!("{}: {e}", out.display()))?;
    let flat = parse(&String::from_utf8_lossy(&text));
    if flat.total() == 0 { Err(Stop::Broken("perf took no samples".into())) } else { Ok(flat) }
}

fn finish(child: Child, err: &Path) -> Result<(), Stop> {
    let (status, _) = processes::wait(child, LIMIT)?;
    if status.success() { Ok(()) } else { Err(Stop::Broken(format!("perf: {status}{}", last_words(err)))) }
}

/// The rows of a flat report: samples, object, symbol.
fn parse(text: &str) -> Flat {
    let mut flat = Flat::default();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let columns: Vec<&str> = line.splitn(3, '|').map(str::trim).collect();
        if let [samples, object, symbol] = columns[..]
            && let Ok(samples) = samples.parse()
        {
            flat.add(names::perf(object, symbol), samples);
        }
    }
    flat
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_and_comments_are_not() {
        let text = "# Samples: 10  of event 'cpu-clock'\n#\n# Samples|Shared Object    |Symbol   \n 6          \
                    |[kernel.kallsyms]|[k] vfs_read\n 3          |node             |[.] a::operator|(int)\n\
                    1 |redis-check-rdb  |[.] 0x00000000000bd22f\n\n";
        let flat = parse(text);
        assert_eq!(flat.total(), 10);
        assert_eq!(flat.percent("[k] vfs_read"), 60.0);
        assert_eq!(flat.percent("[redis-check-rdb]"), 10.0);
    }
}
