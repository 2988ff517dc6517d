//! Expressions (CEL, the Common Expression Language) and texts that hold some.

use cel::{Context, ExecutionError, Program, Value};
use observe::{Absent, Bytes, Observed, Ratio};
use std::{collections::HashSet, fmt};

/// Functions of our own, besides CEL's.
const FUNCTIONS: [&str; 3] = ["ratio", "least", "most"];

/// What is wrong, with its line and column in the expression's text, from 1.
type Wrong = (usize, usize, String);

/// An expression, ready to be evaluated.
pub(crate) struct Expression {
    text: String,
    program: Program,
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Expression {
    pub(crate) fn parse(text: &str) -> Result<Self, Wrong> {
        let program = Program::compile(text).map_err(|errors| {
            let Some(first) = errors.errors.first() else { return (1, 1, "not an expression".to_owned()) };
            let at = |n: isize| usize::try_from(n).unwrap_or(1).max(1);
            (at(first.pos.0), at(first.pos.1), format!("not an expression: {}", first.msg))
        })?;
        Ok(Expression { text: text.to_owned(), program })
    }

    /// The names of inputs and values that it needs.
    pub(crate) fn names(&self) -> Vec<String> {
        let bound = bound(&self.text);
        let mut names: Vec<String> = self.program.references().variables().into_iter().map(str::to_owned).collect();
        names.retain(|name| !name.starts_with('@') && !bound.contains(name.as_str()));
        names.sort_unstable();
        names
    }

    /// Its value.
    ///
    /// # Errors
    /// What is missing, or why it cannot be computed from what was seen.
    pub(crate) fn value(&self, context: &Context) -> Observed<Value> {
        self.program.execute(context).map_err(|error| match error {
            ExecutionError::NoSuchKey(key) => Absent::Unsupported(format!("there is no {key} (in `{}`)", self.text)),
            other => Absent::Failed(format!("`{}`: {other}", self.text)),
        })
    }

    /// Whether it holds.
    ///
    /// # Errors
    /// As [`Expression::value`], and when it is neither true nor false.
    pub(crate) fn holds(&self, context: &Context) -> Observed<bool> {
        match self.value(context)? {
            Value::Bool(holds) => Ok(holds),
            other => Err(Absent::Failed(format!("`{}` is {other:?}, neither true nor false", self.text))),
        }
    }
}

/// Names that macros such as `exists(x, …)` bind in an expression.
fn bound(text: &str) -> HashSet<&str> {
    const MACROS: [&str; 5] = ["all(", "exists(", "exists_one(", "map(", "filter("];
    let after = MACROS.iter().flat_map(|name| text.match_indices(name).map(|(at, found)| &text[at + found.len()..]));
    after.filter_map(|rest| rest.split_once(',').map(|(name, _)| name.trim())).collect()
}

/// A context with the functions that every expression may use.
pub(crate) fn context() -> Context<'static, 'static> {
    let mut context = Context::default();
    // What is added here is declared nowhere else, which is all that can be refused.
    let _ = context.add_function("ratio", |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 });
    let _ = context.add_function("least", |a: f64, b: f64| a.min(b));
    let _ = context.add_function("most", |a: f64, b: f64| a.max(b));
    debug_assert_eq!(FUNCTIONS.len(), 3);
    context
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Plain,
    Percent,
    Bytes,
    Seconds,
    Count,
}

impl Shown {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "percent" => Shown::Percent,
            "bytes" => Shown::Bytes,
            "seconds" => Shown::Seconds,
            "count" => Shown::Count,
            _ => return None,
        })
    }

    fn write(self, value: &Value) -> String {
        let Some(number) = number(value) else {
            return match value {
                Value::String(text) => text.to_string(),
                Value::Bool(is) => is.to_string(),
                Value::Null => "nothing".to_owned(),
                other => format!("{other:?}"),
            };
        };
        // A sum of nothing is -0.0, which nobody writes.
        let number = number + 0.0;
        match self {
            Shown::Percent => Ratio(number).to_string(),
            Shown::Bytes => Bytes(number.max(0.0) as u64).to_string(),
            Shown::Seconds if number.abs() >= 1.0 => format!("{number:.2} s"),
            Shown::Seconds if number.abs() >= 1e-3 => format!("{:.2} ms", number * 1e3),
            Shown::Seconds => format!("{:.1} µs", number * 1e6),
            Shown::Count => format!("{number:.0}"),
            Shown::Plain if number.fract() == 0.0 || number.abs() >= 1000.0 => format!("{number:.0}"),
            Shown::Plain if number.abs() >= 10.0 => format!("{number:.1}"),
            Shown::Plain => format!("{number:.2}"),
        }
    }
}

/// A value as a number; truth is 1.
pub(crate) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Float(number) => Some(*number),
        Value::Int(number) => Some(*number as f64),
        Value::UInt(number) => Some(*number as f64),
        _ => None,
    }
}

/// Text with `{expression}` or `{expression|percent}` in it; `{{` and `}}` are braces.
#[derive(Debug, Default)]
pub(crate) struct Text {
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    Plain(String),
    Value(Expression, Shown),
}

impl Text {
    pub(crate) fn parse(text: &str) -> Result<Self, Wrong> {
        let wrong = |at: usize, what: String| {
            let before = &text[..at];
            let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
            (before.matches('\n').count() + 1, column, what)
        };
        let (mut parts, mut plain, mut at) = (Vec::new(), String::new(), 0);
        while let Some(c) = text[at..].chars().next() {
            let rest = &text[at..];
            if rest.starts_with("{{") || rest.starts_with("}}") {
                plain.push(c);
                at += 2;
            } else if c == '}' {
                return Err(wrong(at, "a brace that nothing opens; write }} for one".to_owned()));
            } else if c == '{' {
                let end = rest.find('}').ok_or_else(|| wrong(at, "a brace that nothing closes".to_owned()))?;
                let inner = &rest[1..end];
                let (inner, shown) = match inner.rsplit_once('|').filter(|(head, _)| !head.ends_with('|')) {
                    Some((head, name)) => {
                        let what = || format!("`{name}` is not percent, bytes, seconds or count");
                        (head, Shown::named(name.trim()).ok_or_else(|| wrong(at, what()))?)
                    }
                    None => (inner, Shown::Plain),
                };
                let expression = Expression::parse(inner).map_err(|(_, column, what)| wrong(at + column, what))?;
                parts.push(Part::Plain(std::mem::take(&mut plain)));
                parts.push(Part::Value(expression, shown));
                at += end + 1;
            } else {
                plain.push(c);
                at += c.len_utf8();
            }
        }
        parts.push(Part::Plain(plain));
        Ok(Text { parts })
    }

    pub(crate) fn expressions(&self) -> impl Iterator<Item = &Expression> {
        self.parts.iter().filter_map(|part| match part {
            Part::Value(expression, _) => Some(expression),
            Part::Plain(_) => None,
        })
    }

    /// The text with its values.
    ///
    /// # Errors
    /// As [`Expression::value`].
    pub(crate) fn write(&self, context: &Context) -> Observed<String> {
        self.parts
            .iter()
            .map(|part| match part {
                Part::Plain(text) => Ok(text.clone()),
                Part::Value(expression, shown) => Ok(shown.write(&expression.value(context)?)),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(text: &str) -> String {
        let mut context = context();
        context.add_variable_from_value("x", Value::Float(0.25));
        context.add_variable_from_value("n", Value::Float(3.0));
        Text::parse(text).unwrap().write(&context).unwrap()
    }

    #[test]
    fn values_are_written_as_people_read_them() {
        assert_eq!(write("{x|percent} of {n}, {{so}}"), "25 % of 3, {so}");
        assert_eq!(
            write("{x|seconds} {n|seconds} {x / 1000.0|seconds} {n * 1048576.0|bytes}"),
            "250.00 ms 3.00 s 250.0 µs 3.0 MiB"
        );
        assert_eq!(write("{x > 0.1 || n > 9.0} {'a' + 'b'} {x}"), "true ab 0.25");
        assert_eq!(write("{-0.0|seconds} {-0.0}"), "0.0 µs 0");
        assert_eq!(write("{ratio(n, 0.0)} {least(x, n)} {most(x, n)}"), "0 0.25 3");
    }

    #[test]
    fn broken_texts_are_refused_with_their_place() {
        for (text, column) in [("ab {x", 4), ("ab }", 4), ("{x|furlongs}", 1), ("abc {x +}", 5)] {
            let (line, at, what) = Text::parse(text).unwrap_err();
            assert!(line == 1 && at >= column, "{text}: {line}:{at} {what}");
        }
    }

    #[test]
    fn names_are_those_from_outside() {
        let names = |text: &str| Expression::parse(text).unwrap().names();
        assert_eq!(names("a.b + c['d'] > ratio(e, 1.0)"), ["a", "c", "e"]);
        assert_eq!(names("rows.exists(r, rows[r].last > n)"), ["n", "rows"]);
    }

    #[test]
    fn what_is_missing_is_said() {
        let context = context();
        let holds = |text: &str| Expression::parse(text).unwrap().holds(&context);
        assert_eq!(holds("1.0 < 2.0"), Ok(true));
        assert!(matches!(holds("{'a': 1}.b > 1"), Err(Absent::Unsupported(why)) if why.contains('b')));
        assert!(matches!(holds("1.0 + 1.0"), Err(Absent::Failed(_))));
        assert!(matches!(holds("nobody > 1"), Err(Absent::Failed(_))));
    }
}
