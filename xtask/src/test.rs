//! Formatting, lints and every test, counted into one last line; tests named `live_…` run as root.

use crate::{cargo, passes, root};
use serde::Deserialize;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// ours: no live test binary takes longer; a hanging one must not hang the run.
const LIVE_LIMIT: &str = "1200";

/// What a live test binary locks while it runs: friday keeps one journal and its probes per machine, so two checkouts
/// that are tested at once would take each other's for their own. A directory, so that no lock file is left.
const MACHINE: &str = "/run";

/// Passed, failed and skipped tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Counts {
    fn add(&mut self, other: Counts) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    /// The counts in a test harness's `test result:` line.
    fn parse(line: &str) -> Option<Counts> {
        let rest = line.trim().strip_prefix("test result:")?;
        let mut counts = Counts::default();
        for part in rest.split(['.', ';']) {
            let mut words = part.split_whitespace();
            let (Some(number), Some(what)) = (words.next().and_then(|n| n.parse().ok()), words.next()) else {
                continue;
            };
            match what {
                "passed" => counts.passed = number,
                "failed" => counts.failed = number,
                "ignored" => counts.skipped = number,
                _ => {}
            }
        }
        Some(counts)
    }
}

/// Runs everything and says whether nothing failed.
pub fn run(args: &[String]) -> Result<bool, String> {
    if let Some(word) = args.first() {
        return Err(format!("test takes no arguments: {word}"));
    }
    let mut counts = Counts::default();
    let mut broken = Vec::new();
    if !passes(&["fmt", "--check"])? {
        broken.push("formatting (./x fmt mends it)".to_string());
    }
    if !passes(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])? {
        broken.push("lints".to_string());
    }

    let mut all = cargo();
    all.args(["test", "--workspace", "--locked", "--no-fail-fast"]);
    let (seen, ok) = counted(&mut all, "cargo test --workspace")?;
    counts.add(seen);
    if !ok && seen.failed == 0 {
        broken.push("cargo test".to_string());
    }

    // The ordinary run counted each live test as ignored, that is, as skipped.
    let binaries = if ok || seen.passed > 0 { binaries()? } else { Vec::new() };
    let sudo = root::prefix();
    for binary in &binaries {
        let live = live_tests(binary);
        let Some(sudo) = &sudo else {
            live.iter().for_each(|name| println!("test {name} ... skipped, it needs root: neither root nor sudo here"));
            continue;
        };
        if live.is_empty() {
            continue;
        }
        let mut words = sudo.clone();
        words.extend(["env".into(), format!("CARGO_MANIFEST_DIR={}", binary.folder.display())]);
        words.extend(["flock".into(), "--close".into(), MACHINE.into()]);
        words.extend(["timeout".into(), LIVE_LIMIT.into(), binary.path.display().to_string()]);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["--ignored", "--test-threads=1", "live_"]).current_dir(&binary.folder);
        command.stdin(Stdio::null());
        let (seen, ok) = counted(&mut command, &format!("live tests of {}", binary.name))?;
        counts.skipped = counts.skipped.saturating_sub(live.len() as u64);
        counts.add(seen);
        let missing = (live.len() as u64).saturating_sub(seen.passed + seen.failed + seen.skipped);
        counts.failed += missing;
        if !ok && seen.failed == 0 && missing == 0 {
            broken.push(format!("live tests of {}", binary.name));
        }
    }

    broken.iter().for_each(|what| println!("FAILED: {what}"));
    counts.failed += broken.len() as u64;
    println!("{} passed, {} failed, {} skipped", counts.passed, counts.failed, counts.skipped);
    Ok(counts.failed == 0)
}

/// Runs a command whose output holds test results, shows it, and adds the results up.
fn counted(command: &mut Command, name: &str) -> Result<(Counts, bool), String> {
    eprintln!("$ {name}");
    let fail = |e: std::io::Error| format!("{name}: {e}");
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(fail)?;
    let mut counts = Counts::default();
    for line in BufReader::new(child.stdout.take().ok_or("no output")?).split(b'\n') {
        let line = String::from_utf8_lossy(&line.map_err(fail)?).into_owned();
        println!("{line}");
        counts.add(Counts::parse(&line).unwrap_or_default());
    }
    Ok((counts, child.wait().map_err(fail)?.success()))
}

/// A test binary and the folder of its package, where cargo runs it.
struct Binary {
    name: String,
    path: PathBuf,
    folder: PathBuf,
}

#[derive(Deserialize)]
struct Artifact {
    executable: Option<PathBuf>,
    manifest_path: PathBuf,
    target: Target,
    profile: Profile,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Every test binary of the workspace, all of them built before.
fn binaries() -> Result<Vec<Binary>, String> {
    let output = cargo()
        .args(["test", "--workspace", "--locked", "--no-run", "--quiet", "--message-format=json"])
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| format!("cargo test --no-run: {e}"))?;
    let built = String::from_utf8_lossy(&output.stdout);
    let artifacts = built.lines().filter_map(|line| serde_json::from_str::<Artifact>(line).ok());
    Ok(artifacts
        .filter(|artifact| artifact.profile.test)
        .filter_map(|artifact| {
            let folder = artifact.manifest_path.parent().unwrap_or(Path::new(".")).to_path_buf();
            Some(Binary { name: artifact.target.name, path: artifact.executable?, folder })
        })
        .collect())
}

/// The names of a binary's live tests.
fn live_tests(binary: &Binary) -> Vec<String> {
    let listed = Command::new(&binary.path)
        .args(["live_", "--ignored", "--list", "--format", "terse"])
        .current_dir(&binary.folder)
        .output();
    let text = listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_counted() {
        let line = "test result: FAILED. 12 passed; 1 failed; 3 ignored; 0 measured; 4 filtered out; finished in 0.01s";
        assert_eq!(Counts::parse(line), Some(Counts { passed: 12, failed: 1, skipped: 3 }));
        assert_eq!(Counts::parse("test live_run ... ok"), None);
    }

    #[test]
    fn artifacts_of_other_kinds_are_not_test_binaries() {
        assert!(serde_json::from_str::<Artifact>(r#"{"reason":"build-finished","success":true}"#).is_err());
        let line = r#"{"reason":"compiler-artifact","manifest_path":"/a/Cargo.toml","executable":"/t/a-1",
            "target":{"name":"a","kind":["lib"]},"profile":{"test":true}}"#;
        assert!(serde_json::from_str::<Artifact>(line).unwrap().profile.test);
    }
}
