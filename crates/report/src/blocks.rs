//! The few kinds of block that every report is made of. Text in them is as the system gave it: renderers escape it.

use crate::content::Rows;
use case::{Day, Question};
use diagnosis::{Conclusion, Finding};
use observe::{Histogram, TimeClass};

/// A titled run of blocks.
pub struct Section<'a> {
    /// Anchor in pages, unique.
    pub id: &'static str,
    /// Heading.
    pub title: String,
    /// Contents; a section without any is left out.
    pub blocks: Vec<Block<'a>>,
}

impl<'a> Section<'a> {
    /// A section.
    pub fn new(id: &'static str, title: impl Into<String>, blocks: Vec<Block<'a>>) -> Self {
        Section { id, title: title.into(), blocks }
    }
}

/// One block.
pub enum Block<'a> {
    /// A paragraph.
    Text(String),
    /// A remark of less weight: a reason for missing data, a reading aid.
    Note(String),
    /// Names with values.
    Pairs(Vec<(&'static str, String)>),
    /// One ranked cause.
    Finding(&'a Finding),
    /// A table.
    Table(Table),
    /// Things to do, in order.
    Steps(Vec<&'a str>),
    /// Named statements: ruled out, untested.
    List(Vec<Item<'a>>),
    /// The questions of the problem statement, and how many sentences of data each is answered with.
    Statement(&'a [Question], Rows),
    /// What is known at the end of each day, and its lights.
    Week(&'a [Day]),
    /// Where each thread's time went.
    Bars(Vec<Bar<'a>>),
    /// Latency distributions.
    Distributions(Vec<Distribution>),
    /// Values over the window.
    Lines(Vec<Line>),
    /// A flame graph.
    Flame(Flame),
    /// Something only a person can answer.
    Question(&'static str),
}

/// A named statement.
pub struct Item<'a> {
    /// The component, cause or test.
    pub id: &'a str,
    /// What is said about it.
    pub why: &'a str,
}

/// A table. Every row has as many cells as there are columns.
pub struct Table {
    /// Title, and whether it is right-aligned.
    pub columns: Vec<(&'static str, Align)>,
    /// Cells as text.
    pub rows: Vec<Vec<String>>,
}

/// How a column is aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// One thread's wall time.
pub struct Bar<'a> {
    /// Thread name.
    pub name: &'a str,
    /// Thread id.
    pub thread: u32,
    /// Wall time in seconds.
    pub seconds: f64,
    /// Parts of it in reading order; a class this version does not know is `None`.
    pub parts: Vec<(Option<TimeClass>, f64)>,
}

/// One latency distribution.
pub struct Distribution {
    /// Which of the three.
    pub about: &'static str,
    /// Of which process, device or call.
    pub title: String,
    /// The values, in nanoseconds.
    pub histogram: Histogram,
}

/// A value over time.
pub struct Line {
    /// What it is of, with its unit.
    pub title: String,
    /// Seconds since the window began, and the value; ascending in time.
    pub points: Vec<(f64, f64)>,
}

/// One flame graph.
pub struct Flame {
    /// Heading.
    pub title: &'static str,
    /// How to read it, and of whom it is.
    pub about: String,
    /// A complete SVG with its own script.
    pub svg: String,
    /// Its height in pixels.
    pub height: u32,
}

/// The word for a conclusion.
pub fn conclusion_word(conclusion: Conclusion) -> &'static str {
    match conclusion {
        Conclusion::Found => "found",
        Conclusion::Suspected => "suspected",
        Conclusion::Healthy => "healthy",
        Conclusion::Idle => "idle",
        Conclusion::Unknown => "unknown",
    }
}

/// What a conclusion means, for people.
pub fn conclusion_about(conclusion: Conclusion) -> &'static str {
    match conclusion {
        Conclusion::Found => "At least one cause is likely or confirmed.",
        Conclusion::Suspected => "There are only possible causes.",
        Conclusion::Healthy => "The tests ran and none is bad.",
        Conclusion::Idle => "The target waits for work that nobody sends.",
        Conclusion::Unknown => "No cause was found for what looks wrong, or too much could not be seen to say.",
    }
}
