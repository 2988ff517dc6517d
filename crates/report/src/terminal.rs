//! The report for a person in a crisis: text in 100 columns that leads with the conclusion.

pub mod board;
mod parts;

use crate::{
    blocks::{Block, Section, conclusion_about, conclusion_word},
    clean,
    content::{self, Rows},
    wrap::wrap,
};
use case::{Compared, Document};
use checks::Test;
use diagnosis::Conclusion;
use observe::Recording;

/// Columns of the report.
pub(crate) const COLUMNS: usize = 100;

/// How the text is decorated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// ANSI colours.
    pub color: bool,
}

/// One decoration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ink {
    Bold,
    Dim,
    Red,
    Yellow,
    Green,
    Blue,
}

impl Style {
    /// The text in that ink, if colour was asked for.
    pub(crate) fn ink(self, ink: Ink, text: &str) -> String {
        if !self.color || text.is_empty() {
            return text.to_owned();
        }
        let code = match ink {
            Ink::Bold => "1",
            Ink::Dim => "2",
            Ink::Red => "31",
            Ink::Yellow => "33",
            Ink::Green => "32",
            Ink::Blue => "34",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// The report as text. Lines are at most 100 columns wide, colour aside; nothing in the case can reach the terminal
/// as a control sequence.
pub fn terminal(document: &Document, recording: &Recording, style: Style) -> String {
    let mut out = Out { lines: Vec::new(), style };
    for line in wrap(&clean(&document.headline), COLUMNS, 4) {
        out.push(style.ink(Ink::Bold, &line));
    }
    out.blank();
    let word = conclusion_word(document.conclusion).to_uppercase();
    let ink = match document.conclusion {
        Conclusion::Found => Ink::Red,
        Conclusion::Suspected | Conclusion::Unknown => Ink::Yellow,
        Conclusion::Healthy | Conclusion::Idle => Ink::Green,
    };
    out.push(format!("{}  {}", style.ink(ink, &word), conclusion_about(document.conclusion)));
    let opening = content::opening(document);
    out.blocks(&opening.blocks);
    out.section(&content::statement(document, Rows(2)));
    if !document.findings.is_empty() {
        out.section(&content::findings(document, Rows(6)));
    }
    out.section(&content::compared(document, Rows(12)));
    out.section(&content::ledger(document, recording, Rows(10)));
    out.section(&content::whose(document, Rows(2), Rows(5)));
    if !document.paths.is_empty() {
        out.section(&content::path(document, recording, Rows(1), Rows(6)));
    }
    out.section(&content::waits(document, Rows(8)));
    out.section(&content::requests(document, recording, Rows(8)));
    out.section(&content::week(document));
    out.section(&content::review(document, Rows(6)));
    out.section(&content::eliminated(document, Rows(10)));
    out.section(&content::untested(document, Rows(8)));
    out.blank();
    out.blocks(&content::overhead(document, false).blocks);
    out.hanging("Case: ", &format!("{} (report.html, case.json, recording/)", document.case), 3);
    let mut text = out.lines.join("\n");
    text.push('\n');
    text
}

/// What is different between two cases, as text.
pub fn compared(compared: &Compared, style: Style) -> String {
    let mut out = Out { lines: Vec::new(), style };
    out.section(&content::compared_section(compared, Rows::ALL));
    let mut text = out.lines.join("\n");
    text.push('\n');
    text
}

/// Monday alone, as text: the problem statement, the lights of static tuning as they are given, and what is known at the end
/// of the day.
pub fn monday(document: &Document, lights: &str, style: Style) -> String {
    let mut out = Out { lines: Vec::new(), style };
    out.section(&content::statement(document, Rows::ALL));
    out.lines.drain(..out.lines.len().min(1));
    out.blank();
    out.push(style.ink(Ink::Bold, "Static tuning"));
    out.lines.extend(lights.lines().map(str::to_owned));
    let monday = document.days.iter().filter(|day| day.day == "monday");
    let known: Vec<&str> = monday.flat_map(|day| &day.known).map(String::as_str).collect();
    out.section(&Section::new("known", "Known at the end of Monday", vec![Block::Steps(known)]));
    let mut text = out.lines.join("\n");
    text.push('\n');
    text
}

/// The preparation alone, as text: a line for each of its points, what would mend them as commands that can be copied, the
/// lights as they are given, the functional diagram, and what is known.
pub fn prepare(document: &Document, recording: &Recording, tests: &[Test], lights: &str, style: Style) -> String {
    let mut out = Out { lines: Vec::new(), style };
    board::points(&mut out, checks::PREPARE_GROUPS, tests);
    let mut commands: Vec<&str> = Vec::new();
    for command in tests.iter().flat_map(|test| &test.remedy) {
        if !commands.contains(&command.as_str()) {
            commands.push(command);
        }
    }
    if !commands.is_empty() {
        out.blank();
        out.push(style.ink(Ink::Bold, "What would mend it, as root"));
        // Never wrapped: whoever copies a line copies all of it.
        commands.iter().for_each(|command| out.push(format!("  {}", clean(command))));
    }
    out.blank();
    out.lines.extend(lights.lines().map(str::to_owned));
    out.section(&content::diagram(recording, Some(document)));
    let prior = document.days.iter().filter(|day| day.day == "prior");
    let known: Vec<&str> = prior.flat_map(|day| &day.known).map(String::as_str).collect();
    out.section(&Section::new("known", "Known before Monday", vec![Block::Steps(known)]));
    let mut text = out.lines.join("\n");
    text.push('\n');
    text
}

/// Only the critical paths, as text.
pub fn path(document: &Document, recording: &Recording, style: Style) -> String {
    let mut out = Out { lines: Vec::new(), style };
    out.section(&content::path(document, recording, Rows::ALL, Rows::ALL));
    let mut text = out.lines.join("\n");
    text.push('\n');
    text
}

/// Lines as they come.
pub(crate) struct Out {
    lines: Vec<String>,
    style: Style,
}

impl Out {
    pub(crate) fn push(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    fn blank(&mut self) {
        self.lines.push(String::new());
    }

    /// A label and a text that hangs under itself; the text is cleaned, wrapped and cut after so many lines.
    pub(crate) fn hanging(&mut self, label: &str, text: &str, lines: usize) {
        let indent = crate::wrap::width(label);
        for (at, line) in wrap(&clean(text), COLUMNS - indent, lines).into_iter().enumerate() {
            let start = if at == 0 { self.style.ink(Ink::Dim, label) } else { " ".repeat(indent) };
            self.push(start + &line);
        }
    }

    fn section(&mut self, section: &Section<'_>) {
        if section.blocks.is_empty() {
            return;
        }
        self.blank();
        self.push(self.style.ink(Ink::Bold, &section.title));
        self.blocks(&section.blocks);
    }

    fn blocks(&mut self, blocks: &[Block<'_>]) {
        for (at, block) in blocks.iter().enumerate() {
            match block {
                Block::Text(text) => self.hanging("", text, 6),
                Block::Note(text) => self.hanging("  ", text, 3),
                Block::Pairs(pairs) => {
                    for (name, value) in pairs {
                        self.hanging(&format!("{name:<8}"), value, 3);
                    }
                }
                Block::Finding(finding) => {
                    if at > 0 {
                        self.blank();
                    }
                    parts::finding(self, self.style, finding);
                }
                Block::Table(table) => parts::table(self, self.style, table),
                Block::Steps(steps) => steps.iter().for_each(|step| self.hanging("  - ", step, 3)),
                Block::List(items) => parts::list(self, items),
                Block::Statement(questions, rows) => parts::statement(self, questions, *rows),
                Block::Week(days) => parts::week(self, days),
                Block::Bars(bars) => parts::bars(self, self.style, bars),
                Block::Diagram(drawn) => parts::diagram(self, drawn),
                // Pictures and questions are for pages.
                Block::Distributions(_) | Block::Lines(_) | Block::Flame(_) | Block::Question(_) => {}
            }
        }
    }
}
