//! The binary: arguments, progress, exit status; nothing else.

mod args;
mod bundle;
mod cases;
mod command;
mod compared;
mod experiment;
mod health;
mod load;
mod monday;
mod prepare;
mod progress;
mod prove;
mod run;
mod statement;

use args::{Args, CaseCommand, Command};
use clap::Parser;
use run::Wanted;
use std::{error::Error, io::Write, process::ExitCode};

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help and version are not errors; bad usage is 2.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let outcome = match args.command {
        Command::Run(run) => run::run(&run, Wanted::Causes),
        Command::Path(path) => {
            run::run(&path.run, Wanted::Path { episodes: path.episodes as usize, trace: path.trace.as_deref() })
        }
        Command::Replay(replay) => cases::replay(&replay),
        Command::Case(case) => match case.command {
            CaseCommand::List { root, format } => cases::list(root.as_deref(), format),
            CaseCommand::Show { case, format } => cases::show(&case, format),
            CaseCommand::Study { case } => cases::study(&case),
            CaseCommand::Close { case, cause, note, signature, into } => {
                cases::close(&case, cases::Closing { cause: &cause, note: &note, signatures: &signature, into })
            }
        },
        Command::Baseline(baseline) => run::run(&baseline.run, Wanted::Baseline),
        Command::Compare(compare) => compared::compare(&compare),
        Command::Monday(monday) => monday::monday(&monday),
        Command::Prepare(prepare) => prepare::prepare(&prepare),
        Command::Health(health) => health::health(&health),
        Command::Checklist(checklist) => health::checklist(&checklist),
        Command::Experiment(experiment) => experiment::run(&experiment),
        Command::Undo(undo) => experiment::undo(&undo),
        Command::Guard(guard) => experiment::guard(&guard),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // As bad usage: nothing was done.
        Err(error) if error.is::<experiment::NotAllowed>() => {
            complain(error.as_ref());
            ExitCode::from(2)
        }
        Err(error) => {
            complain(error.as_ref());
            ExitCode::from(if error.is::<Usage>() { 2 } else { 1 })
        }
    }
}

/// What was asked for cannot be: exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// Prints the chain of an error once. What comes from the system is neutralised.
pub fn complain(error: &dyn Error) {
    let mut text = report::clean(&error.to_string());
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&report::clean(&cause.to_string()));
        source = cause.source();
    }
    let _ = writeln!(std::io::stderr(), "friday: {text}");
}

/// Writes to stdout; a reader that has gone away is no error.
fn print(text: &str) -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}
