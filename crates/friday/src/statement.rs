//! What people say about the problem: a file, options, or questions on a terminal.

use crate::{Usage, args::Statement, print};
use case::Question;
use std::{
    error::Error,
    io::{BufRead, IsTerminal},
};
use week::{Given, QUESTIONS};

/// The answers of the file and the options.
///
/// # Errors
/// What is wrong with the file.
pub fn given(args: &Statement) -> Result<Given, Usage> {
    let mut given = match &args.statement {
        None => Given::default(),
        Some(file) => Given::read(file).map_err(|error| {
            let source = error.source().map_or_else(String::new, |source| format!(": {source}"));
            Usage(format!("{error}{source}"))
        })?,
    };
    for (id, _) in QUESTIONS {
        let said = match id {
            "problem" => &args.problem,
            "performed_well" => &args.performed_well,
            "changed" => &args.changed,
            "latency" => &args.latency,
            "others" => &args.others,
            _ => &args.environment,
        };
        given.say(id, said.as_deref().unwrap_or(""), &format!("--{}", id.replace('_', "-")));
    }
    Ok(given)
}

/// Whether there is somebody to ask.
pub fn can_ask() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// Asks what neither people nor the data have answered. An empty answer is none; the end of the input ends the questions.
///
/// # Errors
/// The terminal cannot be written or read.
pub fn ask(statement: &[Question], given: &mut Given, input: &mut impl BufRead) -> Result<(), Box<dyn Error>> {
    let open = |id: &str| statement.iter().any(|q| q.id == id && q.said.is_empty() && q.measured.is_empty());
    for (at, (id, asks)) in QUESTIONS.into_iter().filter(|(id, _)| open(id)).enumerate() {
        if at == 0 {
            print("What the data cannot answer; Enter skips a question.\n")?;
        }
        print(&format!("{asks}\n> "))?;
        let mut said = String::new();
        if input.read_line(&mut said)? == 0 {
            print("\n")?;
            break;
        }
        given.say(id, &said, "asked");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Statement {
        let none = None::<String>;
        Statement {
            statement: None,
            problem: none.clone(),
            performed_well: none.clone(),
            changed: none.clone(),
            latency: none.clone(),
            others: none.clone(),
            environment: none,
        }
    }

    #[test]
    fn options_take_the_place_of_the_files_answers() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("s.toml");
        std::fs::write(&file, "schema = \"friday.statement/1\"\nproblem = \"slow\"\nothers = \"all\"\n").unwrap();
        let all = given(&Statement { statement: Some(file.clone()), problem: Some("very slow".into()), ..options() })
            .unwrap();
        let mut expected = Given::default();
        expected.say("others", "all", &file.display().to_string());
        expected.say("problem", "very slow", "--problem");
        assert_eq!(all, expected);
        assert!(given(&options()).unwrap().is_empty());
        let wrong = given(&Statement { statement: Some("/nowhere".into()), ..options() }).unwrap_err();
        assert!(wrong.0.contains("/nowhere: No such file"), "{}", wrong.0);
    }

    #[test]
    fn only_what_nobody_answered_is_asked() {
        let question = |id: &str, said: &str, measured: &[&str]| Question {
            id: id.into(),
            said: said.into(),
            measured: measured.iter().map(|text| (*text).to_owned()).collect(),
            ..Question::default()
        };
        let statement = [
            question("problem", "", &[]),
            question("changed", "", &["x"]),
            question("latency", "", &[]),
            question("others", "me", &[]),
        ];
        let mut asked = Given::default();
        ask(&statement, &mut asked, &mut "\n3 s each\nlost".as_bytes()).unwrap();
        let mut expected = Given::default();
        expected.say("latency", "3 s each", "asked");
        assert_eq!(asked, expected);
    }
}
