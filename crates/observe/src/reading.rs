//! Readings that health tools ask for themselves: a file or a command's output, and how its text becomes numbers.
//! Pure; `probes` does the reading.

use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// One thing that a health tool wants read, at the begin and at the end of the window.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The tool's id.
    pub tool: String,
    /// What the tool calls it.
    pub input: String,
    /// Where it is read.
    pub from: ReadFrom,
    /// How its text becomes values.
    pub parse: Parse,
    /// What numbers are multiplied with, for a unit that people use (1024 where the file counts in KiB).
    pub scale: f64,
}

/// Where a reading comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// A file. A `*` stands for any part of one name; what it stood for is the key of the value.
    File(String),
    /// A program's standard output, by its arguments; no shell.
    Command {
        /// The program and its arguments.
        argv: Vec<String>,
        /// It is killed after this time.
        timeout: Duration,
    },
    /// Where programs of these names lie; those that are nowhere have no value.
    Programs(Vec<String>),
}

/// How text becomes values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Parse {
    /// The text is one number; what follows it (a unit) is left out.
    #[default]
    Number,
    /// The text as it is, without white space at its ends.
    Text,
    /// What stands in brackets of a choice: `always [madvise] never`.
    Choice,
    /// Lines of `name value`, `name: value` or `name=value`; what follows a number is left out.
    Pairs,
    /// Lines of columns.
    Table {
        /// The column of the name, from 1.
        key: usize,
        /// The column of the value, from 1.
        value: usize,
    },
    /// Columns of numbers, each summed over the lines, by the names in the first line or, where that holds numbers, by
    /// their place from 1. White space, `,` and `/` part them.
    Sums {
        /// Whether the numbers are hexadecimal without saying so.
        hex: bool,
    },
    /// How many lines hold one of these texts.
    Lines(Vec<String>),
    /// Those words of the text that are one of these, each once and in their order; `*` at an end stands for anything.
    Words(Vec<String>),
}

/// A value that was read.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number.
    Number(f64),
    /// Anything else.
    Text(String),
}

impl Value {
    /// A number where the text begins with one.
    fn of(text: &str, scale: f64) -> Value {
        number(text).map_or_else(|| Value::Text(text.trim().to_owned()), |value| Value::Number(value * scale))
    }
}

/// The number that a text begins with, where it is followed by nothing or by white space and a unit.
fn number(text: &str) -> Option<f64> {
    let first = text.split_whitespace().next()?;
    match first.strip_prefix("0x") {
        Some(digits) => hexadecimal(digits),
        None => first.parse::<f64>().ok().filter(|value| value.is_finite()),
    }
}

fn hexadecimal(digits: &str) -> Option<f64> {
    u64::from_str_radix(digits, 16).ok().map(|value| value as f64)
}

impl Parse {
    /// The values of a text by name; one value without a name where the text is one.
    ///
    /// # Errors
    /// What was expected and is not there.
    pub fn values(&self, text: &str, scale: f64) -> Result<BTreeMap<String, Value>, String> {
        let one = |value| Ok(BTreeMap::from([(String::new(), value)]));
        match self {
            Parse::Number => match number(text) {
                Some(value) => one(Value::Number(value * scale)),
                None => Err(format!("no number: `{}`", text.trim().chars().take(40).collect::<String>())),
            },
            Parse::Text => one(Value::Text(text.trim().to_owned())),
            Parse::Choice => match text.split_once('[').and_then(|(_, rest)| rest.split_once(']')) {
                Some((chosen, _)) => one(Value::Text(chosen.trim().to_owned())),
                None => one(Value::Text(text.trim().to_owned())),
            },
            Parse::Pairs => some(text.lines().filter_map(|line| {
                let end = line.trim_start().find([':', '=', ' ', '\t'])?;
                let (name, rest) = line.trim_start().split_at(end);
                let value = rest.trim_start_matches([':', '=', ' ', '\t']);
                (!name.is_empty() && !value.is_empty()).then(|| (name.to_owned(), Value::of(value, scale)))
            })),
            Parse::Table { key, value } => some(text.lines().filter_map(|line| {
                let columns: Vec<&str> = line.split_whitespace().collect();
                let column = |number: usize| columns.get(number.checked_sub(1)?).copied();
                Some((column(*key)?.trim_end_matches([':', ',']).to_owned(), Value::of(column(*value)?, scale)))
            })),
            Parse::Sums { hex } => some(sums(text, if *hex { hexadecimal } else { number }, scale).into_iter()),
            Parse::Lines(texts) => {
                let holds = |line: &&str| texts.iter().any(|text| line.contains(text.as_str()));
                one(Value::Number(text.lines().filter(holds).count() as f64))
            }
            Parse::Words(wanted) => one(Value::Text(words(text, wanted).join(" "))),
        }
    }
}

fn sums(text: &str, number: fn(&str) -> Option<f64>, scale: f64) -> BTreeMap<String, Value> {
    let columns =
        |line| str::split(line, |c: char| c.is_whitespace() || c == ',' || c == '/').filter(|part| !part.is_empty());
    let mut lines = text.lines().peekable();
    let names: Vec<&str> = match lines.peek().filter(|first| columns(first).any(|column| number(column).is_none())) {
        Some(first) => columns(first).collect(),
        None => Vec::new(),
    };
    let mut all: BTreeMap<String, f64> = BTreeMap::new();
    for line in lines.skip(usize::from(!names.is_empty())) {
        for (at, value) in columns(line).enumerate() {
            let name = names.get(at).map_or_else(|| (at + 1).to_string(), |name| (*name).to_owned());
            if let Some(value) = number(value) {
                *all.entry(name).or_default() += value * scale;
            }
        }
    }
    all.into_iter().map(|(name, value)| (name, Value::Number(value))).collect()
}

fn words<'a>(text: &'a str, wanted: &[String]) -> Vec<&'a str> {
    let is_wanted = |word: &str| {
        wanted.iter().any(|one| one.strip_suffix('*').map_or(word == one, |begin| word.starts_with(begin)))
    };
    let mut found: Vec<&str> = Vec::new();
    for word in text.split_whitespace().filter(|word| is_wanted(word)) {
        if !found.contains(&word) {
            found.push(word);
        }
    }
    found
}

fn some(values: impl Iterator<Item = (String, Value)>) -> Result<BTreeMap<String, Value>, String> {
    let values: BTreeMap<_, _> = values.collect();
    if values.is_empty() { Err("no line of the expected form".to_owned()) } else { Ok(values) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(parse: &Parse, text: &str) -> Vec<(String, Value)> {
        parse.values(text, 1.0).unwrap().into_iter().collect()
    }

    #[test]
    fn a_number_may_have_a_unit() {
        assert_eq!(read(&Parse::Number, " 42 kB\n"), [(String::new(), Value::Number(42.0))]);
        assert_eq!(Parse::Number.values("2", 1024.0).unwrap()[""], Value::Number(2048.0));
        assert!(Parse::Number.values("performance", 1.0).is_err());
        assert!(Parse::Number.values("", 1.0).is_err());
        assert!(Parse::Number.values("inf", 1.0).is_err());
        assert_eq!(read(&Parse::Number, "0x1f\n"), [(String::new(), Value::Number(31.0))]);
        assert!(Parse::Number.values("0xyz", 1.0).is_err());
    }

    #[test]
    fn a_choice_is_what_stands_in_brackets() {
        assert_eq!(read(&Parse::Choice, "always [madvise] never\n")[0].1, Value::Text("madvise".into()));
        assert_eq!(read(&Parse::Choice, "none\n")[0].1, Value::Text("none".into()));
    }

    #[test]
    fn pairs_are_written_in_three_ways() {
        let text = "MemTotal:  16 kB\nnr_free_pages 12\nMODE=fast\n\nlonely\n";
        let values = read(&Parse::Pairs, text);
        assert_eq!(values.len(), 3);
        assert!(values.contains(&("MemTotal".into(), Value::Number(16.0))));
        assert!(values.contains(&("nr_free_pages".into(), Value::Number(12.0))));
        assert!(values.contains(&("MODE".into(), Value::Text("fast".into()))));
        assert!(Parse::Pairs.values("\n", 1.0).is_err());
    }

    #[test]
    fn a_table_has_its_name_and_its_value_in_columns() {
        let text = "13 1 0x01 90 2448\nname type data\nhits 4 100\nsize 4 7\n";
        let values = read(&Parse::Table { key: 1, value: 3 }, text);
        assert!(values.contains(&("hits".into(), Value::Number(100.0))));
        assert!(values.contains(&("size".into(), Value::Number(7.0))));
        let listed = read(&Parse::Table { key: 1, value: 2 }, "0, 0x0000000000000040\n");
        assert_eq!(listed, [("0".into(), Value::Number(64.0))]);
        assert!(Parse::Table { key: 0, value: 3 }.values(text, 1.0).is_err());
        assert!(Parse::Table { key: 1, value: 9 }.values(text, 1.0).is_err());
    }

    #[test]
    fn columns_are_summed_by_the_names_above_them_or_by_their_place() {
        let value = |parse: &Parse, text: &str, name: &str| parse.values(text, 1.0).unwrap().get(name).cloned();
        let (decimal, hex) = (Parse::Sums { hex: false }, Parse::Sums { hex: true });
        let cpus = "0b2a98ae 00000001 000000e8\n0c3b9cb9 0000000f 000000b2\n";
        assert_eq!(value(&hex, cpus, "2"), Some(Value::Number(16.0)));
        assert_eq!(value(&hex, cpus, "3"), Some(Value::Number(410.0)));
        let named = "entries  drop early_drop\n00000001  0000000a 00000000\n00000001  00000001 00000002\n";
        assert_eq!(value(&hex, named, "drop"), Some(Value::Number(11.0)));
        assert_eq!(value(&hex, named, "2"), None);
        assert_eq!(value(&decimal, "638\t0\t2466174\n", "3"), Some(Value::Number(2_466_174.0)));
        assert_eq!(value(&decimal, "1.42 1.44 1.52 1/109 23691\n", "5"), Some(Value::Number(109.0)));
        assert!(decimal.values("a b\n", 1.0).is_err());
    }

    #[test]
    fn lines_are_counted() {
        let parse = Parse::Lines(vec!["Out of memory".into(), "oom-kill".into()]);
        assert_eq!(read(&parse, "Out of memory: x\nfine\noom-kill:y\n")[0].1, Value::Number(2.0));
        assert_eq!(read(&parse, "")[0].1, Value::Number(0.0));
    }
    #[test]
    fn words_are_found_whole_or_by_their_begin_each_once() {
        let parse = Parse::Words(vec!["nosmt".into(), "slub_debug*".into(), "idle=poll".into()]);
        let text = "quiet nosmt=force slub_debug=FZ nosmt idle=polling nosmt\n";
        assert_eq!(read(&parse, text)[0].1, Value::Text("slub_debug=FZ nosmt".into()));
        assert_eq!(read(&parse, "")[0].1, Value::Text(String::new()));
    }
}
