//! The report as one page that needs nothing else: styles, pictures and flame graphs are inside, and it never
//! touches the network.

mod charts;
mod parts;

use crate::{
    blocks::{Block, Section, conclusion_about, conclusion_word},
    clean,
    content::{self, Rows},
    format,
};
use case::{Compared, Document};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use observe::Recording;

/// Nothing may be fetched, whatever a name in the case contains.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; \
                      form-action 'none'; base-uri 'none'";

/// The report as a self-contained HTML page. Every text from the system is escaped.
pub fn html(document: &Document, recording: &Recording) -> String {
    let sections: Vec<Section<'_>> = [
        content::statement(document, Rows::ALL),
        content::findings(document, Rows::ALL),
        content::compared(document, Rows::ALL),
        content::load(recording),
        content::ledger(document, recording, Rows(30)),
        content::whose(document, Rows::ALL, Rows::ALL),
        content::path(document, recording, Rows::ALL, Rows(20)),
        content::waits(document, Rows(30)),
        content::requests(document, recording, Rows::ALL),
        content::week(document),
        content::review(document, Rows::ALL),
        content::latency(recording),
        content::outliers(recording),
        content::flames(document, recording),
        content::syscalls(recording),
        content::eliminated(document, Rows::ALL),
        content::untested(document, Rows::ALL),
        content::overhead(document, true),
    ]
    .into_iter()
    .filter(|section| !section.blocks.is_empty())
    .collect();
    let title = format!("{} on {}", format::target(&document.target), document.host.name);
    page(
        &title,
        &opening(document),
        &sections,
        &html! {
            "Case " code { (clean(&document.case)) } " · " (document.schema.as_str())
        },
    )
}

/// What is different between two cases, with flame graphs of the difference.
pub fn compared_html(compared: &Compared, before: &Recording, after: &Recording) -> String {
    let sections: Vec<Section<'_>> =
        [content::compared_section(compared, Rows::ALL), content::differences(before, after)]
            .into_iter()
            .filter(|section| !section.blocks.is_empty())
            .collect();
    let title = format!("{} compared with {}", after.host.name, compared.with);
    let head = html! {
        header {
            div.brand { "friday" }
            h1 { (clean(&title)) }
        }
    };
    page(&title, &head, &sections, &html! {})
}

/// A page that needs nothing else.
fn page(title: &str, head: &Markup, sections: &[Section<'_>], foot: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                title { "friday: " (clean(title)) }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                (head)
                nav {
                    @for section in sections { a href={ "#" (section.id) } { (section.title) } }
                }
                main { @for section in sections { (self::section(section)) } }
                footer { (foot) " · friday " (env!("CARGO_PKG_VERSION")) }
            }
        }
    };
    page.into_string()
}

fn opening(document: &Document) -> Markup {
    let word = conclusion_word(document.conclusion);
    html! {
        header {
            div.brand { "friday" }
            div.verdict {
                span class={ "badge " (word) } { (word) }
                span.about { (conclusion_about(document.conclusion)) }
            }
            h1 { (clean(&document.headline)) }
            @for block in &content::opening(document).blocks { (self::block(block)) }
        }
    }
}

fn section(section: &Section<'_>) -> Markup {
    html! {
        section id=(section.id) {
            h2 { (section.title) }
            @for block in &section.blocks { (self::block(block)) }
        }
    }
}

fn block(block: &Block<'_>) -> Markup {
    match block {
        Block::Text(text) => html! { p { (clean(text)) } },
        Block::Note(text) => html! { p.note { (clean(text)) } },
        Block::Question(text) => html! { p.question { (text) } },
        Block::Pairs(pairs) => html! {
            dl.pairs { @for (name, value) in pairs { div { dt { (name) } dd { (clean(value)) } } } }
        },
        Block::Steps(steps) => html! { ul { @for step in steps { li { (clean(step)) } } } },
        Block::List(items) => html! {
            dl.list { @for item in items { dt { (clean(item.id)) } dd { (clean(item.why)) } } }
        },
        Block::Finding(finding) => parts::finding(finding),
        Block::Table(table) => parts::table(table),
        Block::Statement(questions, rows) => parts::statement(questions, *rows),
        Block::Week(days) => parts::week(days),
        Block::Bars(bars) => charts::bars(bars),
        Block::Distributions(shown) => charts::distributions(shown),
        Block::Lines(lines) => charts::lines(lines),
        Block::Flame(flame) => parts::flame(flame),
    }
}
