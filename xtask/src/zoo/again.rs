//! Judges stored runs anew: friday concludes again from what it recorded then, in a second each.

use super::scenario::Scenario;
use super::score::Said;
use crate::processes::Stop;
use std::path::Path;
use std::process::Command;

/// What friday says now of a recording, or why there is none.
pub fn replay(scenario: &Scenario, friday: &Path, run: &Path) -> Result<Said, Stop> {
    let case = run.join("case");
    if !case.is_dir() {
        return Err(Stop::Skip(format!("{} was not recorded there", scenario.name)));
    }
    let output = Command::new(friday).args(["replay", "--format", "json"]).arg(&case).output();
    let output = output.map_err(|e| format!("{}: {e}", friday.display()))?;
    if !output.status.success() {
        return Err(Stop::Broken(String::from_utf8_lossy(&output.stderr).trim().to_string()));
    }
    serde_json::from_slice(&output.stdout).map_err(|e| Stop::Broken(format!("friday's JSON: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_recorded_is_skipped() {
        let scenario: Scenario = toml::from_str("about = 'x'\ntarget = 'system'\nexpect = ['healthy']").unwrap();
        assert!(matches!(replay(&scenario, Path::new("friday"), Path::new("/nowhere")), Err(Stop::Skip(_))));
    }
}
