//! The case study: what happened, why, how it was found, what is still open. Text from the system is escaped.

use crate::{
    blocks::{Align, Bar, Block, Distribution, Section, Table, conclusion_about, conclusion_word},
    clean,
    content::{self, Rows},
    format,
};
use case::{Day, Document, Question};
use checks::Evidence;
use diagnosis::Finding;
use observe::{Ratio, Recording};

/// The case study as Markdown (GitHub flavour).
pub fn markdown(document: &Document, recording: &Recording) -> String {
    let mut out = Out::default();
    let title = format!("Case study: {} on {}", format::target(&document.target), document.host.name);
    out.line(format!("# {}", escape(&title)));
    out.line(format!("**{}**", escape(&document.headline)));
    for section in sections(document, recording) {
        out.section(&section);
    }
    out.text
}

fn sections<'a>(document: &'a Document, recording: &Recording) -> Vec<Section<'a>> {
    let mut problem = content::opening(document);
    // A person has the last word where nobody has said anything.
    let open = |id: &str| !document.statement.iter().any(|question| question.id == id && !question.said.is_empty());
    let asked = [
        ("problem", "What did people notice, and how is it measured: latency, run time, errors?"),
        ("performed_well", "Has it ever performed well? Since when does it not?"),
        ("changed", "What changed before it began: software, hardware, settings, load?"),
        ("others", "Who else is affected?"),
    ];
    problem.blocks.extend(content::statement(document, Rows::ALL).blocks);
    problem.blocks.extend(asked.into_iter().filter(|(id, _)| open(id)).map(|(_, text)| Block::Question(text)));
    let word = conclusion_word(document.conclusion);
    let about = conclusion_about(document.conclusion);
    let conclusion = vec![Block::Text(format!("{}: {} {about}", format::day(word), document.headline))];
    let mut steps: Vec<&str> = Vec::new();
    for step in document.findings.iter().flat_map(|finding| &finding.next) {
        if !steps.contains(&step.as_str()) {
            steps.push(step);
        }
    }
    let mut next = vec![Block::Question("What was done, when, and what did it gain?")];
    if !steps.is_empty() {
        next.insert(0, Block::Steps(steps));
    }
    vec![
        problem,
        Section::new("conclusion", "Conclusion", conclusion),
        content::findings(document, Rows::ALL),
        renamed(content::week(document), "How it was found"),
        content::review(document, Rows(30)),
        renamed(content::eliminated(document, Rows::ALL), "What was ruled out"),
        renamed(content::untested(document, Rows::ALL), "What could not be seen"),
        content::compared(document, Rows::ALL),
        content::load(recording),
        content::ledger_table(document, recording, Rows(20)),
        content::whose(document, Rows::ALL, Rows::ALL),
        content::path(document, recording, Rows::ALL, Rows(20)),
        content::waits(document, Rows(20)),
        content::requests(document, recording, Rows::ALL),
        content::latency(recording),
        content::overhead(document, true),
        Section::new("next", "Next steps", next),
        Section::new(
            "retrospective",
            "Retrospective",
            vec![
                Block::Question("Where did the time of the investigation go, and what would have found it sooner?"),
                Block::Question("Which check should have told us before anybody noticed?"),
            ],
        ),
    ]
}

fn renamed<'a>(mut section: Section<'a>, title: &str) -> Section<'a> {
    title.clone_into(&mut section.title);
    section
}

/// The text with everything escaped that Markdown or HTML would read as markup; never more than one line.
fn escape(text: &str) -> String {
    let text = clean(text);
    let mut out = String::with_capacity(text.len());
    let chars: Vec<char> = text.chars().collect();
    for (at, c) in chars.iter().enumerate() {
        let word = |at: Option<usize>| at.and_then(|at| chars.get(at)).is_some_and(|c| c.is_alphanumeric());
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '`' | '*' | '[' | ']' | '|' | '~' | '$' => out.extend(['\\', *c]),
            // Inside a word it is a letter.
            '_' if !(word(at.checked_sub(1)) && word(Some(at + 1))) => out.extend(['\\', '_']),
            // A heading, an image.
            '#' | '!' if at == 0 => out.extend(['\\', *c]),
            // A list or a rule, but not a negative number.
            '+' | '-' | '=' if at == 0 && !word(Some(1)) => out.extend(['\\', *c]),
            // A numbered list, but not a decimal.
            '.' | ')' if at > 0 && !word(Some(at + 1)) && chars[..at].iter().all(char::is_ascii_digit) => {
                out.extend(['\\', *c]);
            }
            c => out.push(*c),
        }
    }
    out
}

#[derive(Default)]
struct Out {
    text: String,
}

impl Out {
    /// A block of its own: followed by a blank line.
    fn line(&mut self, line: impl AsRef<str>) {
        self.text.push_str(line.as_ref());
        self.text.push_str("\n\n");
    }

    fn item(&mut self, line: impl AsRef<str>) {
        self.text.push_str("- ");
        self.text.push_str(line.as_ref());
        self.text.push('\n');
    }

    fn section(&mut self, section: &Section<'_>) {
        if section.blocks.is_empty() {
            return;
        }
        self.line(format!("## {}", section.title));
        for block in &section.blocks {
            self.block(block);
        }
    }

    fn block(&mut self, block: &Block<'_>) {
        match block {
            Block::Text(text) => self.line(escape(text)),
            Block::Note(text) => self.line(format!("*{}*", escape(text))),
            Block::Question(text) => self.line(format!("> **To be answered by a person:** {text}")),
            Block::Pairs(pairs) => {
                for (name, value) in pairs {
                    self.item(format!("**{name}:** {}", escape(value)));
                }
                self.text.push('\n');
            }
            Block::Steps(steps) => {
                steps.iter().for_each(|step| self.item(escape(step)));
                self.text.push('\n');
            }
            Block::List(items) => {
                for item in items {
                    self.item(format!("**{}**: {}", escape(item.id), escape(item.why)));
                }
                self.text.push('\n');
            }
            Block::Finding(finding) => self.finding(finding),
            Block::Table(table) => self.table(table),
            Block::Statement(questions, rows) => questions.iter().for_each(|question| self.question(question, *rows)),
            Block::Week(days) => days.iter().for_each(|day| self.day(day)),
            Block::Distributions(shown) => self.distributions(shown),
            Block::Bars(bars) => self.bars(bars),
            Block::Lines(lines) => {
                for line in lines {
                    let values = || line.points.iter().map(|(_, value)| *value);
                    let (least, most) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
                    let range = format!("{} to {}", format::digits(least), format::digits(most));
                    self.item(format!("{}: {range}", escape(&line.title)));
                }
                self.text.push('\n');
            }
            Block::Flame(_) => {}
        }
    }

    fn question(&mut self, question: &Question, rows: Rows) {
        self.line(format!("**{}**", escape(&question.asks)));
        if !question.said.is_empty() {
            self.line(format!("> {}", escape(&question.said.replace('\n', " "))));
        }
        let unknown = question.unknown.iter().map(|why| format!("not known: {why}"));
        question.measured.iter().take(rows.0).cloned().chain(unknown).for_each(|text| self.item(escape(&text)));
        self.text.push('\n');
    }

    fn finding(&mut self, finding: &Finding) {
        let confidence = format::confidence(finding.confidence);
        let share = format::share(finding);
        let (cause, victim) = (escape(&finding.cause), escape(&finding.victim.name));
        self.line(format!("### {}. {cause} ({confidence}, {share} of the time of {victim})", finding.rank));
        self.line(escape(&finding.summary));
        self.item(format!("**Victim:** {}", escape(&format::party(&finding.victim))));
        self.item(format!("**Culprit:** {}", escape(&format::party(&finding.culprit))));
        if !finding.codepath.is_empty() {
            let path: Vec<String> = finding.codepath.iter().map(|name| escape(name)).collect();
            self.item(format!("**Code path:** {}", path.join(" → ")));
        }
        let tried = finding.experiment.as_deref().unwrap_or("nothing; the finding rests on observation");
        self.item(format!("**Experiment:** {}", escape(tried)));
        self.text.push('\n');
        self.evidence(&finding.evidence);
    }

    fn evidence(&mut self, evidence: &[Evidence]) {
        let columns = vec![
            ("Evidence", Align::Left),
            ("Value", Align::Right),
            ("Compared with", Align::Left),
            ("Data", Align::Left),
        ];
        let rows: Vec<_> = evidence
            .iter()
            .map(|e| {
                let (threshold, reference) = (e.threshold.clone(), e.reference.clone());
                let value = format::evidence_value(e);
                vec![e.source.clone(), value, threshold.unwrap_or_default(), reference.unwrap_or_default()]
            })
            .collect();
        if !rows.is_empty() {
            self.table(&Table { columns, rows });
        }
    }

    fn day(&mut self, day: &Day) {
        if day.known.is_empty() && day.tests.is_empty() {
            return;
        }
        self.line(format!("### {}", escape(&format::day(&day.day))));
        for known in &day.known {
            self.item(escape(known));
        }
        if !day.known.is_empty() {
            self.text.push('\n');
        }
        if !day.tests.is_empty() {
            let columns = vec![("Test", Align::Left), ("Verdict", Align::Left), ("Why", Align::Left)];
            let cells = |t: &checks::Test| vec![t.id.clone(), format::light(t.verdict).to_owned(), t.why.clone()];
            self.table(&Table { columns, rows: day.tests.iter().filter(|test| !test.not_here).map(cells).collect() });
        }
    }

    fn distributions(&mut self, shown: &[Distribution]) {
        let Some(first) = shown.first() else { return };
        let columns = vec![
            (first.about, Align::Left),
            ("Count", Align::Right),
            ("p50", Align::Right),
            ("p99", Align::Right),
            ("Longest", Align::Right),
        ];
        let rows = shown.iter().map(|d| {
            let quantile = |part| d.histogram.quantile_time(Ratio(part)).map_or_else(String::new, format::duration);
            let longest = format::duration(std::time::Duration::from_nanos(d.histogram.max));
            vec![d.title.clone(), format::count(d.histogram.count), quantile(0.5), quantile(0.99), longest]
        });
        self.table(&Table { columns, rows: rows.collect() });
    }

    fn bars(&mut self, bars: &[Bar<'_>]) {
        for bar in bars {
            let parts: Vec<String> = bar
                .parts
                .iter()
                .map(|(class, share)| format!("{} {}", format::percent(*share), class.map_or("unknown", |c| c.name())))
                .collect();
            self.item(format!("{} ({}): {}", escape(bar.name), bar.thread, parts.join(", ")));
        }
        self.text.push('\n');
    }

    fn table(&mut self, table: &Table) {
        let row = |cells: &mut dyn Iterator<Item = String>| format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "));
        self.text.push_str(&row(&mut table.columns.iter().map(|(title, _)| (*title).to_owned())));
        let rule = |(_, align): &(&str, Align)| if *align == Align::Right { "---:" } else { "---" }.to_owned();
        self.text.push_str(&row(&mut table.columns.iter().map(rule)));
        for cells in &table.rows {
            self.text.push_str(&row(&mut cells.iter().map(|cell| escape(cell))));
        }
        self.text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_names_stays_text() {
        assert_eq!(escape("a|b`c`<script>&"), "a\\|b\\`c\\`&lt;script&gt;&amp;");
        assert_eq!(escape("nr_throttled __do_sys *x*"), "nr_throttled \\_\\_do_sys \\*x\\*");
        assert_eq!(escape("# no heading"), "\\# no heading");
        assert_eq!(escape("1. no list"), "1\\. no list");
        assert_eq!([escape("- no list"), escape("-1 s"), escape("2.5 s")], ["\\- no list", "-1 s", "2.5 s"]);
        assert_eq!(escape("two\nlines"), "two\\\\nlines");
        assert_eq!(escape("[a](javascript:x)"), "\\[a\\](javascript:x)");
    }
}
