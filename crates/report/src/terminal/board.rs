//! The board of health tools: a line a light, by group; and one tool with all it has to say.

use super::{COLUMNS, Ink, Out, Style};
use crate::{
    clean, format,
    wrap::{clip, left, width, wrap},
};
use checks::{Light, Test, Tool};
use std::collections::BTreeMap;

/// Columns of a tool's id.
const ID: usize = 24;

/// A light as a sign that tells without colour, and its ink.
fn sign(light: Light) -> (&'static str, Ink) {
    match light {
        Light::Good => ("● good    ", Ink::Green),
        Light::Maybe => ("◐ maybe   ", Ink::Yellow),
        Light::Bad => ("○ BAD     ", Ink::Red),
        Light::Untested => ("· untested", Ink::Dim),
    }
}

/// The word for a light.
fn word(light: Light) -> &'static str {
    match light {
        Light::Good => "good",
        Light::Maybe => "maybe",
        Light::Bad => "bad",
        Light::Untested => "untested",
    }
}

fn finish(out: Out) -> String {
    let mut text = out.lines.join("\n");
    text.push('\n');
    text
}

/// A line for each test, in the order given; a group's name stands where it begins. What the machine does not have is only
/// named, at the end.
pub fn board(tests: &[Test], style: Style) -> String {
    let mut out = Out { lines: Vec::new(), style };
    let mut group = None;
    for test in tests.iter().filter(|test| !test.not_here) {
        if group != Some(&test.group) {
            out.push(style.ink(Ink::Bold, &clip(&clean(&test.group), COLUMNS)));
            group = Some(&test.group);
        }
        line(&mut out, test);
    }
    counts(&mut out, tests);
    finish(out)
}

/// A line for each group that has lights: the worst of them and its reason, and how many more are no better.
pub(super) fn points(out: &mut Out, groups: &[&str], tests: &[Test]) {
    for group in groups {
        let here: Vec<&Test> = tests.iter().filter(|test| test.group == *group && !test.not_here).collect();
        let worst = [Light::Bad, Light::Maybe, Light::Good, Light::Untested];
        let first = worst.iter().find_map(|light| here.iter().find(|test| test.verdict == *light));
        let Some(first) = first else { continue };
        let count = |light| here.iter().filter(|test| test.verdict == light).count();
        let why = match first.verdict {
            Light::Good => match count(Light::Untested) {
                0 => format!("all {} good", here.len()),
                untested => format!("{} good, {untested} untested", count(Light::Good)),
            },
            Light::Untested => first.why.clone(),
            Light::Bad | Light::Maybe => {
                let more = count(Light::Bad) + count(Light::Maybe) - 1;
                let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
                format!("{}{more}", first.why)
            }
        };
        line(out, &Test { id: (*group).to_owned(), why, ..(*first).clone() });
    }
}

/// One light with its reason.
fn line(out: &mut Out, test: &Test) {
    let (text, ink) = sign(test.verdict);
    let label = format!("  {}  {}  ", out.style.ink(ink, text), left(&clip(&clean(&test.id), ID), ID));
    let room = COLUMNS - (2 + width(text) + 2 + ID + 2);
    // What is well takes a line; what is not, as many as it needs.
    let lines = if matches!(test.verdict, Light::Maybe | Light::Bad) { 4 } else { 1 };
    for (at, line) in wrap(&clean(&test.why), room, lines).into_iter().enumerate() {
        let line = if lines == 1 { out.style.ink(Ink::Dim, &line) } else { line };
        let start = if at == 0 { label.clone() } else { " ".repeat(COLUMNS - room) };
        out.push(format!("{start}{line}"));
    }
}

/// What the machine does not have, and how many lights there are of each kind.
fn counts(out: &mut Out, tests: &[Test]) {
    let lacking: Vec<&str> = tests.iter().filter(|test| test.not_here).map(|test| test.id.as_str()).collect();
    out.push(String::new());
    if !lacking.is_empty() {
        out.hanging("Not on this machine: ", &lacking.join(", "), 3);
    }
    let count = |light| tests.iter().filter(|test| test.verdict == light && !test.not_here).count();
    let counts = [Light::Bad, Light::Maybe, Light::Good, Light::Untested]
        .map(|light| format!("{} {}", count(light), word(light)));
    let worst = [Light::Bad, Light::Maybe].into_iter().find(|light| count(*light) > 0).unwrap_or(Light::Good);
    out.push(out.style.ink(sign(worst).1, &counts.join(", ")));
}

/// The same with what is good or untested only counted, a line a group: for boards of many lights, most of them good.
pub fn folded(tests: &[Test], style: Style) -> String {
    let mut out = Out { lines: Vec::new(), style };
    let here: Vec<&Test> = tests.iter().filter(|test| !test.not_here).collect();
    for (at, test) in here.iter().enumerate() {
        if at == 0 || here[at - 1].group != test.group {
            let group: Vec<&Test> = here[at..].iter().copied().take_while(|other| other.group == test.group).collect();
            let count = |light| group.iter().filter(|test| test.verdict == light).count();
            let counts = [Light::Bad, Light::Maybe, Light::Good, Light::Untested].map(|light| (count(light), light));
            let counts: Vec<String> = counts
                .iter()
                .filter(|(count, _)| *count > 0)
                .map(|(count, light)| format!("{count} {}", word(*light)))
                .collect();
            let name = left(&clip(&clean(&test.group), ID), ID - 8);
            out.push(format!("{}  {}", style.ink(Ink::Bold, &name), style.ink(Ink::Dim, &counts.join(", "))));
        }
        if matches!(test.verdict, Light::Maybe | Light::Bad) {
            line(&mut out, test);
        }
    }
    counts(&mut out, tests);
    finish(out)
}

/// One tool with its question, verdict, numbers, what it means and what would settle it.
pub fn tool(test: &Test, tool: Option<&Tool<'_>>, style: Style) -> String {
    let mut out = Out { lines: Vec::new(), style };
    let (_, ink) = sign(test.verdict);
    let id = clip(&clean(&test.id), COLUMNS / 2);
    out.push(format!("{}  {}", style.ink(Ink::Bold, &id), style.ink(ink, word(test.verdict))));
    out.hanging("  ", &test.why, 6);
    for evidence in &test.evidence {
        let against = evidence.threshold.as_ref().map_or_else(String::new, |threshold| format!("  ({threshold})"));
        out.hanging("  Evidence  ", &format!("{}: {}{against}", evidence.source, format::evidence_value(evidence)), 3);
    }
    if let Some(tool) = tool {
        out.push(String::new());
        paragraphs(&mut out, &tool.about());
        for source in tool.sources() {
            out.hanging("  Source    ", source, 2);
        }
        if let Some(experiment) = tool.experiment() {
            out.hanging("  Settles it  ", &format!("friday experiment {experiment}"), 1);
        }
        if let Tool::Rule(rule) = tool {
            for read in rule.reads() {
                out.hanging("  Reads     ", &read, 2);
            }
            if let Some(issue) = &rule.issue {
                out.hanging("  Affects   ", &issue.affects, 3);
                out.hanging("  Fix       ", &issue.fix, 3);
                let record = format!(
                    "{}, version {}: right {} times, wrong {}",
                    issue.dated, issue.version, issue.hits, issue.misses
                );
                out.hanging("  Signature ", &record, 1);
            }
        }
    }
    finish(out)
}

/// Markdown lines as paragraphs: a line that begins with `**` begins one.
fn paragraphs(out: &mut Out, lines: &[&str]) {
    let mut texts: Vec<String> = Vec::new();
    for line in lines.iter().filter(|line| !line.is_empty()) {
        match texts.last_mut() {
            Some(last) if !line.starts_with("**") && !line.starts_with('#') => {
                last.push(' ');
                last.push_str(line);
            }
            _ => texts.push((*line).to_owned()),
        }
    }
    for text in texts {
        let plain = text.trim_start_matches("# ").replace("**", "");
        out.hanging("  ", &plain, 8);
    }
}

/// A line for each health tool: id and question, by group.
pub fn tools(tools: &[Tool<'_>], style: Style) -> String {
    let mut out = Out { lines: Vec::new(), style };
    let mut group = None;
    for tool in tools {
        if group != Some(tool.group().to_owned()) {
            out.push(style.ink(Ink::Bold, &clean(tool.group())));
            group = Some(tool.group().to_owned());
        }
        out.hanging(&format!("  {}  ", left(&clip(&clean(tool.id()), ID), ID)), tool.question(), 2);
    }
    finish(out)
}

/// A line for each signature: id, question, and how often it was right and wrong, as it came and here.
pub fn signatures(tools: &[Tool<'_>], here: &BTreeMap<String, (u32, u32)>, style: Style) -> String {
    let mut out = Out { lines: Vec::new(), style };
    for tool in tools {
        out.hanging(&format!("  {}  ", left(&clip(&clean(tool.id()), ID), ID)), tool.question(), 2);
        let Tool::Rule(checks::Rule { issue: Some(issue), .. }) = tool else { continue };
        let (hits, misses) = here.get(tool.id()).copied().unwrap_or_default();
        let record = format!(
            "{}, version {}: right {} times and wrong {} as it came, {hits} and {misses} here",
            issue.dated, issue.version, issue.hits, issue.misses
        );
        out.push(style.ink(Ink::Dim, &format!("  {}  {}", " ".repeat(ID), clip(&clean(&record), COLUMNS - ID - 4))));
    }
    finish(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use checks::Evidence;

    fn test(id: &str, group: &str, verdict: Light, why: &str, not_here: bool) -> Test {
        let evidence = vec![Evidence::new("/proc/x", 1.0, "s").against("> 2 s")];
        Test { id: id.into(), group: group.into(), verdict, why: why.into(), evidence, not_here, remedy: Vec::new() }
    }

    #[test]
    fn a_board_is_lines_by_group_with_the_counts_at_the_end() {
        let tests = [
            test("cpu.a", "cpu", Light::Good, "fine", false),
            test("cpu.b", "cpu", Light::Bad, "an \u{1b}[31mevil name", false),
            test("zfs.l2arc", "zfs", Light::Untested, "no ZFS", true),
            test("time.x", "time", Light::Untested, &"long ".repeat(60), false),
        ];
        let text = board(&tests, Style::default());
        assert!(text.lines().all(|line| width(line) <= COLUMNS), "{text}");
        assert!(!text.contains('\u{1b}') && text.contains("\\u{1b}"));
        assert_eq!(text.lines().filter(|line| *line == "cpu").count(), 1);
        assert!(text.contains("Not on this machine: zfs.l2arc"));
        assert!(text.ends_with("1 bad, 0 maybe, 1 good, 1 untested\n"), "{text}");
    }

    #[test]
    fn a_point_is_told_by_its_worst_light() {
        let tests = [
            test("tools", "crisis tools", Light::Maybe, "3 of 4 are here", false),
            test("tools.x", "crisis tools", Light::Bad, "x \u{1b}[31mis broken", false),
            test("access.a", "access", Light::Good, "root", false),
            test("access.b", "access", Light::Untested, "unread", false),
            test("access.c", "access", Light::Bad, "no such thing", true),
            test("diagram.complete", "diagram", Light::Untested, "nothing seen", false),
        ];
        let mut out = Out { lines: Vec::new(), style: Style::default() };
        points(&mut out, &["crisis tools", "tracing", "access", "diagram"], &tests);
        assert_eq!(out.lines.len(), 3, "{:?}", out.lines);
        assert!(out.lines[0].starts_with("  ○ BAD       crisis tools"), "{:?}", out.lines);
        assert!(out.lines[0].ends_with("x \\u{1b}[31mis broken (and 1 more)"), "{:?}", out.lines);
        assert!(out.lines[1].starts_with("  ● good      access") && out.lines[1].ends_with("1 good, 1 untested"));
        assert!(out.lines[2].starts_with("  · untested  diagram") && out.lines[2].ends_with("nothing seen"));
    }

    #[test]
    fn what_is_good_is_only_counted_where_there_is_much_of_it() {
        let tests = [
            test("cpu.a", "cpu", Light::Good, "fine", false),
            test("cpu.b", "cpu", Light::Maybe, "slow \u{1b}[31m", false),
            test("cpu.c", "cpu", Light::Untested, "no such thing", true),
            test("memory.x", "memory", Light::Good, "fine", false),
            test("memory.y", "memory", Light::Untested, "unread", false),
        ];
        let text = folded(&tests, Style::default());
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        assert_eq!(lines[0], "cpu               1 maybe, 1 good");
        assert!(lines[1].starts_with("  ◐ maybe     cpu.b") && lines[1].contains("\\u{1b}"), "{text}");
        assert_eq!(lines[2], "memory            1 good, 1 untested");
        assert_eq!(lines.last(), Some(&"0 bad, 1 maybe, 2 good, 1 untested"));
    }

    #[test]
    fn one_tool_says_what_it_means() {
        let tools = checks::tools();
        let known = tools.iter().find(|tool| tool.id() == "udp.receive-buffer").unwrap();
        let seen = test("udp.receive-buffer", "udp", Light::Maybe, "why", false);
        let text = tool(&seen, Some(known), Style::default());
        for part in ["maybe", "/proc/x: 1", "> 2 s", "Measures", "Misleads", "Source", "Reads"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.lines().all(|line| width(line) <= COLUMNS), "{text}");
    }
}
