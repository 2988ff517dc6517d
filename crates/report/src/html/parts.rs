//! Findings, tables, days and flame graphs as HTML.

use crate::{
    blocks::{Align, Flame, Table},
    clean,
    content::Rows,
    format,
};
use case::{Day, Question};
use checks::{Evidence, Light, Test};
use diagnosis::{Finding, Party, ShareIs};
use maud::{Markup, html};

pub fn finding(finding: &Finding) -> Markup {
    let confidence = format::confidence(finding.confidence);
    let width = format!("width:{:.1}%", finding.share.0.clamp(0.0, 1.0) * 100.0);
    html! {
        article class={ "finding " (confidence) } {
            div.share {
                div.rank { "#" (finding.rank) }
                @if finding.share_is == ShareIs::AtMost { div.most { "at most" } }
                div.number { (finding.share) }
                div.meter { span style=(width) {} }
                div.of { "of the time of " (clean(&finding.victim.name)) }
            }
            div.story {
                div.cause {
                    code { (clean(&finding.cause)) }
                    span class={ "pill " (confidence) } { (confidence) }
                }
                p.summary { (clean(&finding.summary)) }
                dl.parties {
                    div { dt { "Victim" } dd { (party(&finding.victim)) } }
                    div { dt { "Culprit" } dd { (party(&finding.culprit)) } }
                }
                @if !finding.codepath.is_empty() {
                    div.path {
                        @for (at, name) in finding.codepath.iter().enumerate() {
                            @if at > 0 { span.arrow { "›" } wbr; }
                            code { (clean(name)) }
                        }
                    }
                }
                @if !finding.evidence.is_empty() { (evidence(&finding.evidence)) }
                @if let Some(experiment) = &finding.experiment {
                    p.tried { strong { "Experiment. " } (clean(experiment)) }
                }
                @if !finding.next.is_empty() {
                    div.next { strong { "Next" } ul { @for step in &finding.next { li { (clean(step)) } } } }
                }
            }
        }
    }
}

fn party(party: &Party) -> Markup {
    html! {
        span.kind { (clean(&party.kind)) } " " strong { (clean(&format::party_name(party))) }
        @if let Some(detail) = &party.detail { " " span.detail { (clean(detail)) } }
    }
}

fn evidence(evidence: &[Evidence]) -> Markup {
    html! {
        table.evidence {
            tbody {
                @for e in evidence {
                    tr {
                        td { (clean(&e.source)) }
                        td.right { strong { (clean(&format::evidence_value(e))) } }
                        td.dim { @if let Some(threshold) = &e.threshold { (clean(threshold)) } }
                        td.dim { @if let Some(reference) = &e.reference { code { (clean(reference)) } } }
                    }
                }
            }
        }
    }
}

pub fn table(table: &Table) -> Markup {
    let class = |align: Align| (align == Align::Right).then_some("right");
    html! {
        div.scroll {
            table {
                thead { tr { @for (title, align) in &table.columns { th class=[class(*align)] { (title) } } } }
                tbody {
                    @for row in &table.rows {
                        tr {
                            @for (cell, (_, align)) in row.iter().zip(&table.columns) {
                                td class=[class(*align)] { (clean(cell)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

pub fn statement(questions: &[Question], rows: Rows) -> Markup {
    html! {
        ol.statement {
            @for question in questions {
                li {
                    div.asks { (clean(&question.asks)) }
                    div.answers {
                        @if !question.said.is_empty() { blockquote { (clean(&question.said)) } }
                        @if !question.measured.is_empty() {
                            ul { @for text in question.measured.iter().take(rows.0) { li { (clean(text)) } } }
                        }
                        @for why in &question.unknown { p.note { "Not known: " (clean(why)) "." } }
                    }
                }
            }
        }
    }
}

pub fn week(days: &[Day]) -> Markup {
    html! {
        ol.week {
            @for day in days.iter().filter(|day| !day.known.is_empty() || !day.tests.is_empty()) {
                li {
                    div.day {
                        strong { (clean(&format::day(&day.day))) }
                        div.lights { @for test in day.tests.iter().filter(|test| !test.not_here) { (dot(test)) } }
                    }
                    div.known {
                        @if day.known.is_empty() { p.note { "Nothing is known for certain yet." } }
                        @else { ul { @for known in &day.known { li { (clean(known)) } } } }
                        @if !day.tests.is_empty() { (tests(&day.tests)) }
                    }
                }
            }
        }
    }
}

fn dot(test: &Test) -> Markup {
    let light = format::light(test.verdict);
    html! { span class={ "light " (light) } title={ (clean(&test.id)) ": " (light) } {} }
}

/// The tests of a day, the worst first.
fn tests(tests: &[Test]) -> Markup {
    let order = |light| match light {
        Light::Bad => 0,
        Light::Maybe => 1,
        Light::Untested => 2,
        Light::Good => 3,
    };
    let mut ranked: Vec<&Test> = tests.iter().filter(|test| !test.not_here).collect();
    ranked.sort_by_key(|test| order(test.verdict));
    let number = |light| tests.iter().filter(|test| test.verdict == light).count();
    let counted: Vec<String> = [Light::Bad, Light::Maybe, Light::Good, Light::Untested]
        .into_iter()
        .filter(|light| number(*light) > 0)
        .map(|light| format!("{} {}", number(light), format::light(light)))
        .collect();
    html! {
        details open[number(Light::Bad) > 0] {
            summary { (format::plural(tests.len() as u64, "test", "tests")) ": " (counted.join(", ")) }
            table.tests {
                tbody {
                    @for test in ranked {
                        tr {
                            td { (dot(test)) " " (format::light(test.verdict)) }
                            td { code { (clean(&test.id)) } }
                            td { (clean(&test.why)) }
                        }
                    }
                }
            }
        }
    }
}

/// Before the picture: it lives in a frame of its own, where the address must stay and its colours follow the page.
const FRAME_HEAD: &str = "<!doctype html><meta charset=utf-8><style>:root{color-scheme:light dark}body{margin:0}\
     svg{display:block;width:100%}text{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace!important}\
     rect[fill='url(#background)']{fill:transparent}#search{opacity:.7!important}#frames text{fill:#111}\
     @media(prefers-color-scheme:dark){#details,#search,#unzoom,#matched{fill:#d6d9de}}</style>\
     <script>history.replaceState=function(){}</script>";
/// After it: some browsers do not tell a picture inside a page that it is loaded.
const FRAME_TAIL: &str = "<script>addEventListener('load',function(){if(!window.svg)init()})</script>";

pub fn flame(flame: &Flame) -> Markup {
    let source = format!("{FRAME_HEAD}{}{FRAME_TAIL}", flame.svg);
    html! {
        figure.flame {
            figcaption {
                strong { (flame.title) " flame graph" }
                span { (flame.about) " Click a frame to zoom; Ctrl+F inside searches." }
            }
            iframe title={ (flame.title) " flame graph" } loading="lazy" style={ "height:" (flame.height) "px" }
                srcdoc=(source) {}
        }
    }
}
