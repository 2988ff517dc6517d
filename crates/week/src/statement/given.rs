//! What people say to the questions of the problem statement: a file, or answers one by one.

use super::{QUESTIONS, SCHEMA};
use checks::Place;
use observe::{Fact, Labels, Recording, catalog};
use std::{collections::BTreeMap, fs::File, io::Read, path::Path};
use toml::Spanned;

/// ours: an answer is a sentence or a few.
const LONGEST_ANSWER: usize = 2000;

/// ours: six answers with comments.
const LONGEST_FILE: u64 = 64 << 10;

/// What is wrong with a statement's file, and where.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// It cannot be read.
    #[error("cannot read the statement {file}")]
    Unreadable {
        /// The file.
        file: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not as it should be.
    #[error("{file}:{place}: {what}")]
    Wrong {
        /// The file.
        file: String,
        /// Where in it.
        place: Place,
        /// What is wrong, and what would be right.
        what: String,
    },
}

/// Answers that people gave, by question, with where they gave them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Given(BTreeMap<&'static str, (String, String)>);

/// A file: names with values.
type Part = BTreeMap<Spanned<String>, Spanned<toml::Value>>;

impl Given {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or something is wrong with it: the first such thing, with its line and column.
    pub fn read(path: &Path) -> Result<Given, StatementError> {
        let file = path.display().to_string();
        let mut text = String::new();
        File::open(path)
            .and_then(|opened| opened.take(LONGEST_FILE + 1).read_to_string(&mut text))
            .map_err(|source| StatementError::Unreadable { file: file.clone(), source })?;
        Given::parse(&file, &text)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// The first thing that is wrong with it, with its line and column.
    pub fn parse(file: &str, text: &str) -> Result<Given, StatementError> {
        let wrong =
            |at: usize, what: String| StatementError::Wrong { file: file.to_owned(), place: Place::of(text, at), what };
        if text.len() as u64 > LONGEST_FILE {
            return Err(wrong(0, format!("longer than {LONGEST_FILE} bytes")));
        }
        let part: Part = toml::from_str(text)
            .map_err(|error| wrong(error.span().map_or(0, |span| span.start), error.message().to_owned()))?;
        let reads = format!("this friday reads the schema `{SCHEMA}` only");
        match part.iter().find(|(name, _)| name.get_ref() == "schema") {
            None => return Err(wrong(0, format!("`schema` is missing: {reads}"))),
            Some((_, schema)) if schema.get_ref().as_str() != Some(SCHEMA) => {
                return Err(wrong(schema.span().start, reads));
            }
            Some(_) => {}
        }
        let mut given = Given::default();
        for (name, answer) in part.into_iter().filter(|(name, _)| name.get_ref() != "schema") {
            let Some((id, _)) = QUESTIONS.iter().find(|(id, _)| id == name.get_ref()) else {
                let known = QUESTIONS.map(|(id, _)| id).join(", ");
                return Err(wrong(
                    name.span().start,
                    format!("no question is called `{}`; there are {known}", name.get_ref()),
                ));
            };
            let toml::Value::String(said) = answer.get_ref() else {
                return Err(wrong(answer.span().start, "an answer is a text in quotes".to_owned()));
            };
            if said.len() > LONGEST_ANSWER {
                return Err(wrong(answer.span().start, format!("an answer has at most {LONGEST_ANSWER} bytes")));
            }
            given.say(id, said, file);
        }
        Ok(given)
    }

    /// Adds an answer to a question; it takes the place of an earlier one. Blank answers say nothing.
    pub fn say(&mut self, question: &'static str, said: &str, from: &str) {
        let said: String = said.trim().chars().take(LONGEST_ANSWER).collect();
        if !said.is_empty() {
            self.0.insert(question, (said, from.to_owned()));
        }
    }

    /// Whether nobody said anything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts the answers into a recording, where replays find them.
    pub fn record(&self, into: &mut Recording) {
        let fact = |(question, (said, from)): (&&str, &(String, String))| Fact {
            labels: Labels::new([("question", (*question).to_owned())]),
            value: said.clone(),
            source: from.clone(),
        };
        into.set(&catalog::STATEMENT, Ok(self.0.iter().map(fact).collect()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Given::parse("s.toml", text).unwrap_err().to_string()
    }

    #[test]
    fn a_file_answers_what_it_can() {
        let text = "schema = \"friday.statement/1\"\n# since the upgrade\nproblem = \"checkout takes 3 s\"\n\
            others = \"\"\"\n  all of\n  the shop\n\"\"\"\nlatency = \"  \"\n";
        let given = Given::parse("s.toml", text).unwrap();
        assert_eq!(given.0["problem"], ("checkout takes 3 s".to_owned(), "s.toml".to_owned()));
        assert_eq!(given.0["others"].0, "all of\n  the shop");
        assert!(!given.0.contains_key("latency") && !given.is_empty());
        assert!(Given::parse("s.toml", "schema = \"friday.statement/1\"").unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let schema = "schema = \"friday.statement/1\"\n";
        assert!(refused("problem = \"x\"\n").starts_with("s.toml:1:1: `schema` is missing"));
        assert!(refused("schema = \"friday.statement/9\"\n").starts_with("s.toml:1:10: this friday reads"));
        let unknown = refused(&format!("{schema}problem = \"x\"\n  speed = \"y\"\n"));
        assert!(unknown.starts_with("s.toml:3:3: no question is called `speed`; there are problem, "), "{unknown}");
        assert_eq!(refused(&format!("{schema}others = 7\n")), "s.toml:2:10: an answer is a text in quotes");
        let torn = refused(&format!("{schema}problem = \"x\n"));
        assert!(torn.starts_with("s.toml:2:"), "{torn}");
        let long = refused(&format!("{schema}problem = \"{}\"\n", "x".repeat(LONGEST_ANSWER + 1)));
        assert!(long.starts_with("s.toml:2:11: an answer has at most"), "{long}");
        assert!(refused(&" ".repeat(LONGEST_FILE as usize + 1)).contains("longer than"));
        let nowhere = Given::read(Path::new("/nowhere/s.toml")).unwrap_err();
        assert!(nowhere.to_string().contains("/nowhere/s.toml"));
    }

    #[test]
    fn a_later_answer_takes_the_place_of_an_earlier_one() {
        let mut given = Given::default();
        given.say("problem", "slow", "s.toml");
        given.say("problem", "", "--problem");
        assert_eq!(given.0["problem"].0, "slow");
        given.say("problem", "very slow", "--problem");
        assert_eq!(given.0["problem"], ("very slow".to_owned(), "--problem".to_owned()));
    }
}
