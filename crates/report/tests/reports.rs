//! The reports as people see them: exact text, widths, escaping, a page that stands alone.

mod common;

use observe::{Absent, FrameId, Labels, Pid, Recording, Series, Stack, Target, Tid, catalog};
use report::{FoldedKind, Style, folded, html, markdown, terminal};
use std::{fs, path::Path, time::Duration};
use unicode_width::UnicodeWidthStr;

/// Compares with the checked-in text; `BLESS=1` rewrites it.
fn expect(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/expected").join(name);
    if std::env::var_os("BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, actual).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(actual, expected, "{} differs; BLESS=1 rewrites it", path.display());
}

#[test]
fn the_terminal_report_is_as_expected() {
    let (document, recording) = common::realistic();
    expect("case.txt", &terminal(&document, &recording, Style { color: false }));
}

#[test]
fn the_case_study_is_as_expected() {
    let (document, recording) = common::realistic();
    expect("case.md", &markdown(&document, &recording));
}

#[test]
fn the_folded_stacks_are_as_expected() {
    let (_, recording) = common::realistic();
    for (kind, name) in
        [(FoldedKind::Cpu, "cpu.folded"), (FoldedKind::OffCpu, "off.folded"), (FoldedKind::OffCpuWaker, "waker.folded")]
    {
        expect(name, &folded(&recording, kind));
    }
}

#[test]
fn python_functions_have_a_flame_graph_of_their_own() {
    let (document, mut recording) = common::realistic();
    assert!(!html(&document, &recording).contains("Python flame graph"));
    let stack = recording.get(&catalog::CPU_STACKS).unwrap()[0].clone();
    recording.set(&catalog::INTERPRETED_STACKS, Ok(vec![observe::Stack { samples: 123, ..stack }]));
    let text = folded(&recording, FoldedKind::Interpreted);
    assert!(text.trim_end().ends_with(" 123") && text.lines().count() == 1, "{text}");
    assert!(html(&document, &recording).contains("Python flame graph"));
}

#[test]
fn the_terminal_report_fits_100_columns_whatever_the_names() {
    for (document, recording) in [common::realistic(), common::hostile()] {
        let text = terminal(&document, &recording, Style { color: false });
        for line in text.lines() {
            assert!(line.width() <= 100, "{} columns: {line}", line.width());
            assert!(!line.chars().any(|c| c.is_control() || c == '\u{202e}' || c == '\u{200d}'), "{line:?}");
        }
        assert!(text.lines().count() < 400, "{} lines", text.lines().count());
    }
}

#[test]
fn colour_is_the_only_difference_that_colour_makes() {
    let (document, recording) = common::hostile();
    let plain = terminal(&document, &recording, Style { color: false });
    let mut coloured = terminal(&document, &recording, Style { color: true });
    assert!(coloured.contains("\u{1b}[1m"));
    for code in ["0", "1", "2", "31", "32", "33", "34"] {
        coloured = coloured.replace(&format!("\u{1b}[{code}m"), "");
    }
    assert_eq!(coloured, plain);
}

#[test]
fn the_page_escapes_names_and_fetches_nothing() {
    let (document, recording) = common::hostile();
    let page = html(&document, &recording);
    assert!(!page.contains("<script>alert"), "a name became a script");
    assert!(!page.chars().any(|c| c.is_control() && c != '\n' || c == '\u{202e}'));
    // A frame's contents are escaped once as an attribute and once as a picture.
    let frames: Vec<&str> = page.split("srcdoc=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(frames.len(), 3);
    for frame in frames {
        assert!(!frame.contains("&lt;script&gt;alert("), "a name would become a script inside a flame graph");
        assert!(frame.contains("&amp;lt;script&amp;gt;alert("));
    }
    for fetch in ["src=\"http", "href=\"http", "url(http", "@import", "<link", "<base"] {
        assert!(!page.contains(fetch), "{fetch}");
    }
}

/// The functional diagram of a page.
fn picture(page: &str) -> &str {
    let from = page.find("<figure class=\"diagram\">").expect("a diagram");
    let to = page[from..].find("</figure>").expect("its end");
    &page[from..from + to]
}

#[test]
fn the_diagram_is_as_expected() {
    let (document, recording) = common::realistic();
    let page = html(&document, &recording);
    expect("diagram.svg.html", &picture(&page).replace("><", ">\n<"));
    assert!(page.contains("Not seen: Of 1 connection within the machine, the process at one end is not known."));
}

#[test]
fn hostile_names_stay_text_in_the_diagram() {
    let (document, recording) = common::hostile();
    let page = html(&document, &recording);
    let picture = picture(&page);
    assert!(!picture.contains("<script") && picture.contains("&lt;script&gt;"), "a name became a script");
    // A text longer than its box would cover what is beside it.
    for text in picture.split("<text class=\"title\"").skip(1) {
        let text = text.split_once('>').unwrap().1.split("</text>").next().unwrap();
        let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&");
        assert!(text.width() <= 22, "{text}");
    }
}

#[test]
fn the_case_study_keeps_markup_in_names_as_text() {
    let (document, recording) = common::hostile();
    let text = markdown(&document, &recording);
    assert!(!text.contains("<script>"));
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'));
    // Every table row has the columns that its table promises: no name adds one.
    let mut columns = None;
    for line in text.lines() {
        let bars = line.replace("\\\\", "").replace("\\|", "").matches('|').count();
        if !line.starts_with('|') {
            columns = None;
        } else {
            assert_eq!(*columns.get_or_insert(bars), bars, "{line}");
        }
    }
}

#[test]
fn a_coarse_ledger_says_so() {
    let (document, mut recording) = common::realistic();
    let note = "waits are from looking a few times a second";
    assert!(!terminal(&document, &recording, Style::default()).contains(note));
    let row = Series::total(Labels::default(), Duration::ZERO, 1.0);
    recording.push(&catalog::COARSE_LEDGER, row);
    assert!(terminal(&document, &recording, Style::default()).contains(note));
    assert!(html(&document, &recording).contains(note) && markdown(&document, &recording).contains(note));
}

#[test]
fn requests_that_were_not_followed_say_why() {
    let (mut document, mut recording) = common::realistic();
    (document.requests, document.upstreams) = (vec![], vec![]);
    let seen = |recording: &Recording, text: &str| {
        let reports = [html(&document, recording), markdown(&document, recording)];
        let shown = terminal(&document, recording, Style::default());
        reports.iter().chain([&shown]).all(|report| report.contains(text))
    };
    assert!(seen(&recording, "No request came in on a TCP or unix socket."));
    recording.set(&catalog::REQUESTS, Err(Absent::Unsupported("no tracepoints".into())));
    assert!(seen(&recording, "Requests were not followed: not available here: no tracepoints."));
}

#[test]
fn monday_opens_with_the_statement_and_ends_with_what_is_known() {
    let (document, recording) = common::realistic();
    let monday = &document.days.iter().find(|day| day.day == "monday").unwrap();
    let text = report::monday(&document, &report::board::folded(&monday.tests, Style::default()), Style::default());
    let places: Vec<usize> =
        ["Problem statement", "“checkout takes 3 s", "within 14 days: no file", "Static tuning", "not known: neither"]
            .iter()
            .chain(&[
                "config.mount",
                "1 bad, 1 maybe, 1 good, 0 untested",
                "Known at the end of Monday",
                "- it is real",
            ])
            .map(|part| text.find(part).unwrap_or_else(|| panic!("{part}: {text}")))
            .collect();
    assert!(places[0] == 0 && places[1] < places[2] && places[2] < places[4] && places[4] < places[3], "{text}");
    assert!(places[3] < places[5] && places[5..].is_sorted(), "{text}");
    let page = html(&document, &recording);
    assert!(page.contains("&lt;b&gt;every&lt;/b&gt;") && !page.contains("<b>every"), "what people say is escaped too");
    assert!(page.find("id=\"statement\"") < page.find("id=\"findings\""), "the statement comes first");
}

#[test]
fn an_empty_case_still_makes_every_report() {
    let (mut document, full) = common::realistic();
    let target = Target::system("web-1");
    document.target = (&target).into();
    (document.findings, document.days, document.ledger) = (vec![], vec![], vec![]);
    (document.waits, document.eliminated, document.untested) = (vec![], vec![], vec![]);
    (document.whose, document.paths, document.statement) = (vec![], vec![], vec![]);
    (document.requests, document.upstreams) = (vec![], vec![]);
    let mut recording = Recording::new(full.host.clone(), target, full.window);
    recording.set(&catalog::CPU_STACKS, Err(Absent::NoPermission("perf_event_paranoid is 3".into())));
    let page = html(&document, &recording);
    assert!(page.contains("perf_event_paranoid is 3"), "the reason for missing data is told");
    assert!(terminal(&document, &recording, Style::default()).lines().count() < 20);
    assert!(markdown(&document, &recording).contains("No cause was found"));
    assert_eq!(folded(&recording, FoldedKind::Cpu), "");
}

#[test]
fn stacks_of_a_damaged_recording_do_not_stop_a_report() {
    let (document, mut recording) = common::realistic();
    let stack = Stack { pid: Pid(812), tid: Tid(1), samples: u64::MAX, frames: vec![FrameId(u32::MAX)] };
    recording.push(&catalog::CPU_STACKS, stack.clone());
    recording.push(&catalog::CPU_STACKS, stack);
    assert!(folded(&recording, FoldedKind::Cpu).contains("shopd;[missing] 18446744073709551615"));
    html(&document, &recording);
}

#[test]
fn flame_graphs_survive_names_that_end_in_numbers_or_sort_oddly() {
    let (document, mut recording) = common::realistic();
    let mut names = vec!["worker 3", "worker", "worker 1x", "# comment", "a;b", "", "x 1.5"];
    for process in recording.processes.values_mut() {
        process.name = names.pop().unwrap_or("other").to_owned();
    }
    for (frame, name) in recording.frames.iter_mut().zip(["f 12", "f", "f 1x", "f!", "f "]) {
        frame.name = name.into();
    }
    recording.target = Target::system("h");
    assert_eq!(html(&document, &recording).matches("<iframe").count(), 3);
    let graph = folded(&recording, FoldedKind::Cpu);
    assert!(graph.lines().all(|line| !line.starts_with('#')));
}

/// `PAGE=/tmp/report.html cargo test -p report write_a_page` writes the page to look at it.
#[test]
fn write_a_page() {
    let (document, recording) = common::realistic();
    let page = html(&document, &recording);
    assert_eq!(page.matches("<iframe").count(), 3);
    if let Some(path) = std::env::var_os("PAGE") {
        fs::write(path, page).unwrap();
    }
}
