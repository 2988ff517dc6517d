//! What a scenario's programs are built from, and with what.

use super::scenario::Program;
use crate::processes::{Stop, wait};
use crate::programs::{create, go_apart, last_words, present, rustc};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// ours: compilers are done within this.
const LIMIT: Duration = Duration::from_secs(300);

/// Compiles a source of a folder into `bin` below the scenario's folder, under its name without the ending and from a
/// copy of the same name; what is no source is copied there. Go keeps in `kept` what serves the next time. `command`
/// makes a command of words.
pub fn build(
    program: &Program,
    sources: &Path,
    dir: &Path,
    kept: &Path,
    command: impl Fn(&[String]) -> Result<Command, String>,
) -> Result<(), Stop> {
    let source = sources.join(&program.source);
    let (stem, ending) = program.source.rsplit_once('.').unwrap_or((&program.source, ""));
    let copy_to = |target: &Path| fs::copy(&source, target).map_err(|e| format!("{}: {e}", source.display()));
    let Some(compiler) = compiler(ending) else {
        copy_to(&dir.join("bin").join(program.name.as_ref().unwrap_or(&program.source)))?;
        return Ok(());
    };
    let name = program.name.as_deref().unwrap_or(stem);
    let copy = dir.join("src").join(format!("{name}.{ending}"));
    copy_to(&copy)?;
    present(&compiler[0])?;
    let mut compile = command(&compiler)?;
    compile.args(&program.flags);
    match ending {
        "java" => compile.arg("-d").arg(dir.join("bin")),
        _ => compile.arg("-o").arg(dir.join("bin").join(name)),
    };
    go_apart(compile.arg(&copy), kept);
    let errors = dir.join("src/errors");
    compile.stdout(Stdio::null()).stderr(create(&errors)?);
    let child = compile.spawn().map_err(|e| format!("{}: {e}", compiler[0]))?;
    if wait(child, LIMIT)?.0.success() {
        return Ok(());
    }
    Err(Stop::Broken(format!("{} could not compile {}{}", compiler[0], program.source, last_words(&errors))))
}

/// The command that compiles sources with this ending.
fn compiler(ending: &str) -> Option<Vec<String>> {
    let words: &[&str] = match ending {
        "c" => &["cc", "-O2", "-pthread"],
        "cpp" => &["c++", "-O2", "-pthread"],
        "go" => &["go", "build"],
        "java" => &["javac"],
        "rs" => {
            let path = rustc().map_or("rustc".into(), |path| path.display().to_string());
            return Some([&path, "-O", "--edition", "2024"].map(String::from).into());
        }
        _ => return None,
    };
    Some(words.iter().map(|word| word.to_string()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_compiled_and_all_else_is_copied() {
        let words = |ending| compiler(ending).map(|words| words[0].clone()).unwrap_or_default();
        assert_eq!(["c", "cpp", "go", "java", "py", "sh"].map(words), ["cc", "c++", "go", "javac", "", ""]);
        assert!(words("rs").ends_with("rustc"));
    }
}
