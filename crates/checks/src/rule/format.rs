//! The file of a health tool, `friday.health/1`: what it may say, and where in it something is wrong.

use super::{
    expression::{Expression, Text},
    input::{Input, InputPart},
};
use serde::Deserialize;
use std::{collections::BTreeMap, fmt};
use toml::Spanned;

/// The version of the format that this friday reads.
pub const SCHEMA: &str = "friday.health/1";

/// ours: nobody reads more, and a board of thousands of lights says nothing.
const LONGEST_FILE: usize = 64 * 1024;

/// What is wrong with a file, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{place}: {what}")]
pub struct RuleError {
    /// The file.
    pub file: String,
    /// Where in it.
    pub place: Place,
    /// What is wrong, and what would be right.
    pub what: String,
}

/// A place in a text, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

impl Place {
    /// Of a byte in a text.
    pub fn of(text: &str, at: usize) -> Self {
        let before = text.get(..at.min(text.len())).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
        Place { line, column }
    }
}

/// A health tool that is a file.
#[derive(Debug)]
pub struct Rule {
    /// Stable id, `GROUP.NAME`.
    pub id: String,
    /// The group of the board in which it stands.
    pub group: String,
    /// The question, as people ask it.
    pub question: String,
    /// What is measured, why it matters, when it misleads and how to confirm.
    pub about: Vec<String>,
    /// Who published the thresholds: addresses, or `ours:` with the reason.
    pub sources: Vec<String>,
    /// The experiment that would settle it.
    pub experiment: Option<String>,
    /// What is known of the issue, where the file is one of the checklist's.
    pub issue: Option<Issue>,
    pub(super) each: Option<String>,
    pub(super) inputs: BTreeMap<String, Input>,
    pub(super) values: Vec<Value>,
    pub(super) untested: Vec<Untested>,
    pub(super) bad: Option<Expression>,
    pub(super) maybe: Option<Expression>,
    pub(super) says: Says,
}

/// A known issue: since when, for whom, what helps, and how often the signature was right.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issue {
    /// The day of the signature, `2026-11-26`.
    pub dated: String,
    /// Raised when the signature changes.
    pub version: u32,
    /// Who is affected: versions, settings, kinds of load.
    pub affects: String,
    /// What helps.
    pub fix: String,
    /// The causes that a run finds where it is this issue.
    #[serde(default)]
    pub causes: Vec<String>,
    /// How often it fired and was the cause.
    #[serde(default)]
    pub hits: u32,
    /// How often it fired and was not.
    #[serde(default)]
    pub misses: u32,
}

/// A number that follows from the inputs and may be shown.
#[derive(Debug)]
pub(super) struct Value {
    pub(super) name: String,
    pub(super) is: Expression,
    pub(super) unit: Option<String>,
    pub(super) threshold: Option<String>,
    pub(super) source: Option<String>,
}

/// When nothing can be said.
#[derive(Debug)]
pub(super) struct Untested {
    pub(super) when: Expression,
    pub(super) why: Text,
    /// The machine does not have what is judged.
    pub(super) not_here: bool,
}

/// One line by light.
#[derive(Debug)]
pub(super) struct Says {
    pub(super) good: Text,
    pub(super) maybe: Text,
    pub(super) bad: Text,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FilePart {
    schema: Spanned<String>,
    id: Spanned<String>,
    group: Option<String>,
    question: String,
    measures: String,
    matters: String,
    misleads: String,
    confirm: String,
    sources: Spanned<Vec<String>>,
    experiment: Option<String>,
    each: Option<Spanned<String>>,
    input: BTreeMap<String, Spanned<InputPart>>,
    #[serde(default)]
    value: Vec<ValuePart>,
    #[serde(default)]
    untested: Vec<UntestedPart>,
    verdict: VerdictPart,
    says: SaysPart,
    issue: Option<Issue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ValuePart {
    name: Spanned<String>,
    is: Spanned<String>,
    unit: Option<String>,
    threshold: Option<String>,
    source: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UntestedPart {
    when: Spanned<String>,
    why: Spanned<String>,
    #[serde(default)]
    not_here: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VerdictPart {
    bad: Option<Spanned<String>>,
    maybe: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SaysPart {
    good: Spanned<String>,
    maybe: Option<Spanned<String>>,
    bad: Option<Spanned<String>>,
}

/// Puts a file together, and knows where its parts stand.
struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    known: Vec<String>,
}

impl Reader<'_> {
    fn error(&self, at: usize, what: impl Into<String>) -> RuleError {
        RuleError { file: self.file.to_owned(), place: Place::of(self.text, at), what: what.into() }
    }

    /// The byte of the file at which a place in a string of it stands; the string's quotes come first.
    fn inside(&self, start: usize, line: usize, column: usize) -> usize {
        let quotes = self.text.get(start..).map_or(0, |rest| {
            let triple = rest.starts_with("\"\"\"") || rest.starts_with("'''");
            let newline = usize::from(triple && rest.get(3..).is_some_and(|rest| rest.starts_with('\n')));
            if triple { 3 + newline } else { 1 }
        });
        let body = self.text.get(start + quotes..).unwrap_or("");
        let lines: usize = body.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
        start + quotes + lines + column.saturating_sub(1)
    }

    fn expression(&self, part: &Spanned<String>) -> Result<Expression, RuleError> {
        let wrong = |(line, column, what): (usize, usize, String)| {
            self.error(self.inside(part.span().start, line, column), what)
        };
        let expression = Expression::parse(part.get_ref()).map_err(wrong)?;
        self.knows(&expression, part.span().start)?;
        Ok(expression)
    }

    fn text(&self, part: &Spanned<String>) -> Result<Text, RuleError> {
        let wrong = |(line, column, what): (usize, usize, String)| {
            self.error(self.inside(part.span().start, line, column), what)
        };
        let text = Text::parse(part.get_ref()).map_err(wrong)?;
        for expression in text.expressions() {
            self.knows(expression, part.span().start)?;
        }
        Ok(text)
    }

    /// Whether an expression names only what there is.
    fn knows(&self, expression: &Expression, at: usize) -> Result<(), RuleError> {
        match expression.names().into_iter().find(|name| !self.known.contains(name)) {
            None => Ok(()),
            Some(name) => Err(self.error(
                at,
                format!("`{name}` is no input and no value that stands before; there are {}", self.known.join(", ")),
            )),
        }
    }
}

/// Whether a name can stand in an expression.
fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// Whether an id is `GROUP.NAME`.
fn is_id(id: &str) -> bool {
    let is_part = |part: &str| is_name(&part.replace('-', "_"));
    id.len() <= 64 && id.split_once('.').is_some_and(|(group, name)| is_part(group) && name.split('.').all(is_part))
}

impl Rule {
    /// Reads a health tool from the text of its file.
    ///
    /// # Errors
    /// The first thing that is wrong with it, with its line and column.
    pub fn parse(file: &str, text: &str) -> Result<Rule, RuleError> {
        let mut reader = Reader { file, text, known: ["host", "window"].map(str::to_owned).into() };
        if text.len() > LONGEST_FILE {
            return Err(reader.error(0, format!("longer than {LONGEST_FILE} bytes")));
        }
        let part: FilePart = toml::from_str(text)
            .map_err(|error| reader.error(error.span().map_or(0, |span| span.start), error.message()))?;
        if part.schema.get_ref() != SCHEMA {
            let what = format!("this friday reads the schema `{SCHEMA}` only");
            return Err(reader.error(part.schema.span().start, what));
        }
        if !is_id(part.id.get_ref()) {
            let what = "an id is `GROUP.NAME` of small letters, digits, `-` and `_`";
            return Err(reader.error(part.id.span().start, what));
        }
        if part.sources.get_ref().is_empty() {
            return Err(reader.error(part.sources.span().start, "say who published the thresholds, or `ours:` and why"));
        }
        let mut inputs = BTreeMap::new();
        for (name, input) in part.input {
            let at = input.span().start;
            if !is_name(&name) || reader.known.contains(&name) || name == "it" {
                return Err(
                    reader.error(at, format!("`{name}` cannot name an input: use small letters, digits and `_`"))
                );
            }
            let input = Input::new(input.into_inner()).map_err(|what| reader.error(at, format!("{name}: {what}")))?;
            reader.known.push(name.clone());
            inputs.insert(name, input);
        }
        if let Some(each) = &part.each {
            if !inputs.get(each.get_ref()).is_some_and(Input::is_keyed) {
                let what = "`each` names an input with several values: one with a `key`, a `*`, pairs or a table";
                return Err(reader.error(each.span().start, what));
            }
            reader.known.push("it".to_owned());
        }
        let mut values = Vec::new();
        for value in part.value {
            let is = reader.expression(&value.is)?;
            let name = value.name.get_ref().clone();
            if !is_name(&name) || reader.known.contains(&name) {
                let what = format!("`{name}` cannot name a value, or is taken");
                return Err(reader.error(value.name.span().start, what));
            }
            reader.known.push(name.clone());
            values.push(Value { name, is, unit: value.unit, threshold: value.threshold, source: value.source });
        }
        let untested = part
            .untested
            .iter()
            .map(|part| {
                let (when, why) = (reader.expression(&part.when)?, reader.text(&part.why)?);
                Ok(Untested { when, why, not_here: part.not_here })
            })
            .collect::<Result<_, RuleError>>()?;
        let expression = |part: &Option<Spanned<String>>| part.as_ref().map(|part| reader.expression(part)).transpose();
        let (bad, maybe) = (expression(&part.verdict.bad)?, expression(&part.verdict.maybe)?);
        let line = |part: &Option<Spanned<String>>, wanted: bool, light: &str| match part {
            Some(part) => reader.text(part),
            None if wanted => {
                let at = text.find("[says]").unwrap_or(0);
                Err(reader.error(at, format!("what is said when it is {light}?")))
            }
            None => Ok(Text::default()),
        };
        let says = Says {
            good: reader.text(&part.says.good)?,
            maybe: line(&part.says.maybe, maybe.is_some(), "maybe")?,
            bad: line(&part.says.bad, bad.is_some(), "bad")?,
        };
        let id = part.id.into_inner();
        let about = [
            format!("# {}", part.question),
            String::new(),
            format!("**Measures** {}", part.measures),
            format!("**Matters** {}", part.matters),
            format!("**Misleads** {}", part.misleads),
            format!("**Confirm** {}", part.confirm),
        ];
        Ok(Rule {
            group: part.group.unwrap_or_else(|| id.split('.').next().unwrap_or_default().to_owned()),
            id,
            question: part.question,
            about: about.into(),
            sources: part.sources.into_inner(),
            experiment: part.experiment,
            issue: part.issue,
            each: part.each.map(Spanned::into_inner),
            inputs,
            values,
            untested,
            bad,
            maybe,
            says,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: &str = r#"schema = "friday.health/1"
id = "dns.resolver"
question = "Does it?"
measures = "a"
matters = "b"
misleads = "c"
confirm = "d"
sources = ["ours: a test"]

[input.memory]
metric = "system.memory.usage"
key = "state"

[[value]]
name = "free"
is = "memory.available.last / memory.total.last"
unit = "1"

[verdict]
maybe = "free < 0.1"

[says]
good = "{free|percent} is free"
maybe = "only {free|percent} is free"
"#;

    fn place(text: &str) -> (usize, usize, String) {
        let error = Rule::parse("x.toml", text).unwrap_err();
        (error.place.line, error.place.column, error.what)
    }

    #[test]
    fn a_rule_is_read() {
        let rule = Rule::parse("x.toml", RULE).unwrap();
        assert_eq!((rule.id.as_str(), rule.group.as_str()), ("dns.resolver", "dns"));
        assert_eq!(rule.about[0], "# Does it?");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let changed = |from: &str, to: &str| {
            assert!(RULE.contains(from), "{from}");
            place(&RULE.replace(from, to))
        };
        assert_eq!(changed("health/1", "health/9").0, 1);
        assert_eq!(changed("dns.resolver", "DNS").0, 2);
        let (line, column, what) = changed("free < 0.1", "free < ");
        assert_eq!((line, what.is_empty()), (20, false));
        assert!(column > 9, "{column}");
        let (line, _, what) = changed("{free|percent} is free\"\nmaybe", "{fre|percent} is free\"\nmaybe");
        assert!(line == 23 && what.contains("`fre` is no input"), "{line} {what}");
        let (line, _, what) = changed("|percent} is free\"\nmaybe", "|parcent} is free\"\nmaybe");
        assert!(line == 23 && what.contains("parcent"), "{line} {what}");
        let (line, _, what) = changed("system.memory.usage", "system.memory.use");
        assert!(line == 10 && what.contains("system.memory.use"), "{line} {what}");
        assert!(changed("misleads = \"c\"\n", "").2.contains("misleads"));
        assert!(changed("misleads", "mislead").2.contains("mislead"));
        assert!(changed("name = \"free\"", "name = \"memory\"").2.contains("taken"));
        assert!(changed("maybe = \"only {free|percent} is free\"\n", "").2.contains("maybe"));
        assert!(changed("[\"ours: a test\"]", "[]").2.contains("published"));
        assert_eq!(changed("[says]", "[says").0, 22);
    }

    #[test]
    fn each_goes_over_an_input_with_several_values() {
        let each = RULE.replace("sources", "each = \"memory\"\nsources");
        assert!(Rule::parse("x.toml", &each).is_ok());
        assert!(place(&each.replace("key = \"state\"\n", "")).2.contains("several values"));
        assert!(place(&each.replace("each = \"memory\"", "each = \"disk\"")).2.contains("several values"));
    }
}
