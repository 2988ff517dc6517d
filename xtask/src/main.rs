//! Developer tasks: `cargo xtask test | lint | zoo | bench | survey | truth | baseline`; `./x` sets the machine up and calls these.

mod baseline;
mod bench;
mod machine;
mod processes;
mod programs;
mod results;
mod root;
mod survey;
mod test;
mod truth;
mod zoo;

use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match args.split_first() {
        Some((task, rest)) => match task.as_str() {
            "test" => test::run(rest),
            "lint" => lint(),
            "zoo" => zoo::run(rest),
            "bench" => bench::run(rest),
            "survey" => survey::run(rest),
            "truth" => truth::run(rest),
            "baseline" => baseline::run(rest),
            other => {
                Err(format!("no such task: {other}; there are test, lint, zoo, bench, survey, truth and baseline"))
            }
        },
        None => Err("name a task: test, lint, zoo, bench, survey, truth or baseline".into()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::from(2)
        }
    }
}

/// Whether formatting and lints are clean.
fn lint() -> Result<bool, String> {
    let formatted = passes(&["fmt", "--check"])?;
    Ok(passes(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])? && formatted)
}

/// Runs cargo and says whether it succeeded.
fn passes(args: &[&str]) -> Result<bool, String> {
    eprintln!("$ cargo {}", args.join(" "));
    Ok(cargo().args(args).status().map_err(|e| format!("cargo: {e}"))?.success())
}

/// The cargo that started this.
fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
