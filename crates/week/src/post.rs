//! Afterwards: what was found becomes a signature, so that the next one is faster.

use case::Document;
use diagnosis::Finding;
use std::fmt::Write;

/// ours: half of what was seen is the same issue again; less of a wait is felt by nobody.
const OF_WHAT_WAS_SEEN: f64 = 0.5;
const LEAST: f64 = 0.1;

/// What of a mechanism can be seen again: the input, and what has to hold for it.
struct Mechanism {
    input: String,
    bad: String,
    maybe: String,
    says: String,
}

/// How the cause of a finding is seen again, where a rule can see it.
fn mechanism(finding: &Finding) -> Option<Mechanism> {
    let share = (finding.share.0 * OF_WHAT_WAS_SEEN).clamp(LEAST, 1.0);
    let name = finding.culprit.name.as_str();
    let (kind, named) = (finding.culprit.kind.as_str(), !name.is_empty() && !name.starts_with('['));
    let is_function = named && matches!(kind, "function" | "kernel function");
    let function = if is_function { Some(name) } else { finding.codepath.last().map(String::as_str) };
    let function = function.filter(|name| !name.is_empty() && !name.starts_with('['));
    let samples = |function: &str| Mechanism {
        input: format!("samples = [{}]", quoted(function)),
        bad: format!("seen.share > {share:.2} && seen.count >= 50.0"),
        maybe: format!("seen.share > {:.2} && seen.count >= 20.0", share / 2.0),
        says: "{seen.share|percent} of the CPU time was there, most of it {seen.who}".to_owned(),
    };
    let lost = |input: String| Mechanism {
        input,
        bad: format!("seen.felt && seen.share > {share:.2}"),
        maybe: "seen.felt".to_owned(),
        says: "{seen.seconds|seconds} lost, most by {seen.who}: {seen.share|percent} of its time".to_owned(),
    };
    // What a wait is known by again is the function or the thing that the culprit is. Where it is neither, the innermost
    // function of the code path is one that every wait of the kind goes through, and says nothing.
    let of = match kind {
        _ if is_function => format!(", function = [{}]", quoted(name)),
        "peer" if named => format!(", resource = [{}]", quoted(&format!("*{name}"))),
        "file" if named => format!(", resource = [{}]", quoted(&format!("file:{name}"))),
        _ => String::new(),
    };
    let waits = |classes: &str| Some(lost(format!("waits = {{ class = [{classes}]{of} }}")));
    let count = |metric: &str, filter: String, value: &str| Mechanism {
        input: format!("metric = \"{metric}\"\nwhere = {{ {filter} }}\ndefault = 0.0"),
        bad: format!("seen.{value} >= 5.0"),
        maybe: format!("seen.{value} > 0.0"),
        says: format!("{{seen.{value}|count}} in {{window.seconds|seconds}}"),
    };
    match finding.cause.as_str() {
        "cpu.saturated" => Some(lost("lost = [\"runnable.busy\"]".to_owned())),
        "cpu.priority" => Some(lost("lost = [\"runnable.outranked\"]".to_owned())),
        "cpu.pinned" => Some(lost("lost = [\"runnable.pinned\"]".to_owned())),
        "cpu.throttled" => Some(lost("lost = [\"runnable.throttled\"]".to_owned())),
        "cpu.interrupts" => Some(lost("lost = [\"running.interrupted\"]".to_owned())),
        "cpu.hot-code" | "cpu.kernel-time" | "cpu.spin" | "app.algorithm" | "app.gc" | "mem.page-faults"
        | "mem.tlb-shootdown" | "app.event-loop" | "app.global-lock" => function.map(samples),
        "lock.contention" => waits("\"blocked.lock\""),
        "lock.kernel" => waits("\"blocked.kernel_lock\""),
        "app.sleeps" => waits("\"blocked.sleep\""),
        "app.waits-for-child" | "app.pool" => waits("\"blocked.process\", \"blocked.thread\""),
        "app.failing-calls" => Some(count("process.syscall.errors", format!("syscall = {}", quoted(name)), "last")),
        "limits.fds" => Some(count("process.syscall.errors", "errno = [\"EMFILE\", \"ENFILE\"]".to_owned(), "last")),
        "app.short-lived" | "app.crash-loop" => {
            Some(count("process.exit", format!("name = {}", quoted(name)), "count"))
        }
        "mem.oom" => Some(count("process.memory.oom_kill", "name = \"*\"".to_owned(), "count")),
        cause => match cause.split('.').next() {
            Some("disk" | "cache") => waits("\"blocked.disk\", \"blocked.fs\""),
            Some("fs") => waits("\"blocked.fs\""),
            Some("mem") => waits("\"blocked.memory\""),
            Some("net") => waits("\"blocked.network\""),
            _ => None,
        },
    }
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// A name that can stand in an id: small letters, digits and dashes.
fn slug(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() => out.push(c),
            _ if out.ends_with('-') || out.is_empty() => {}
            _ => out.push('-'),
        }
    }
    let out: String = out.trim_matches('-').chars().take(24).collect();
    if out.starts_with(|c: char| c.is_ascii_lowercase()) { out } else { format!("x-{out}") }
}

/// A signature drafted from a finding of a closed case, `friday.health/1`, to be read and bettered by a person; `None` where
/// no rule can see such a cause.
pub fn draft(document: &Document, finding: &Finding, day: &str) -> Option<(String, String)> {
    let Mechanism { input, bad, maybe, says } = mechanism(finding)?;
    let id = format!("{}.{}", slug(&finding.cause.replace('.', "-")), slug(&finding.culprit.name));
    let victim = &finding.victim.name;
    let question = format!("Is it {} by {} again?", finding.cause, finding.culprit.name);
    let fix = finding.next.first().cloned().unwrap_or_else(|| "see the case".to_owned());
    let mut text = String::new();
    // Writing into a String cannot fail.
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name} = {}", quoted(value));
    };
    line("schema", checks::SCHEMA);
    line("id", &id);
    line("question", &question);
    line("measures", "what the closed case showed: the same mechanism, on this machine, now.");
    line("matters", &format!("because {}", finding.summary));
    line("misleads", "when the same code or resource is busy for another reason.");
    line("confirm", "by what helped then, see the fix.");
    let _ = writeln!(
        text,
        "sources = [{}]",
        quoted(&format!("ours: half of what the case {} of {day} showed", document.case))
    );
    let _ = write!(text, "\n[input.seen]\n{input}\n\n[verdict]\nbad = {}\nmaybe = {}\n", quoted(&bad), quoted(&maybe));
    let _ = write!(
        text,
        "\n[says]\ngood = {says}\nmaybe = {says}\nbad = {says}\n\n[issue]\ndated = {}\nversion = 1\naffects = {}\nfix = {}\ncauses = [{}]\nhits = 1\n",
        quoted(day),
        quoted(&format!("{victim} on {}", document.host.name)),
        quoted(&fix),
        quoted(&finding.cause),
        says = quoted(&says),
    );
    Some((id, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use checks::Rule;
    use diagnosis::{Confidence, Party, ShareIs};
    use observe::{Host, Ratio, Recording, Target, Window};
    use std::time::{Duration, SystemTime};

    fn finding(cause: &str, kind: &str, culprit: &str) -> Finding {
        let party = |kind: &str, name: &str| Party { kind: kind.into(), pid: Some(7), name: name.into(), detail: None };
        Finding {
            rank: 1,
            cause: cause.into(),
            confidence: Confidence::Likely,
            share: Ratio(0.6),
            share_is: ShareIs::AtMost,
            victim: party("process", "api \"x\"\n"),
            culprit: party(kind, culprit),
            summary: "It {waits} \"long\".".into(),
            evidence: Vec::new(),
            codepath: vec!["main".into(), "a::<b>(c)".into()],
            next: vec!["do \\ this".into()],
            experiment: None,
        }
    }

    #[test]
    fn every_draft_can_be_read_as_a_health_tool() {
        let host = Host { name: "h".into(), kernel: "6".into(), cpus: 2, memory_bytes: 1 };
        let window = Window { start: SystemTime::UNIX_EPOCH, length: Duration::from_secs(1) };
        let document = crate::conclude(&Recording::new(host, Target::system("h"), window), "/cases/x \"y\"");
        for cause in diagnosis::causes() {
            for (kind, culprit) in [("function", "a::<b>(c)"), ("process", "näme \u{1b}[31m \"q\""), ("cgroup", "/7")]
            {
                let Some((id, text)) = draft(&document, &finding(cause, kind, culprit), "2026-11-26") else {
                    assert!(!cause.starts_with("lock.") && !cause.starts_with("disk."), "{cause} has a mechanism");
                    continue;
                };
                let rule = Rule::parse("draft.toml", &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
                assert_eq!(rule.id, id);
                assert_eq!(rule.issue.unwrap().causes, [cause]);
            }
        }
    }

    #[test]
    fn a_wait_is_known_again_by_what_the_culprit_is() {
        let input = |cause, kind, name| mechanism(&finding(cause, kind, name)).unwrap().input;
        assert!(input("net.retransmits", "peer", "10.0.0.2:80").ends_with("resource = [\"*10.0.0.2:80\"] }"));
        assert!(input("disk.sync-writes", "file", "/var/log/x").ends_with("resource = [\"file:/var/log/x\"] }"));
        assert!(input("lock.kernel", "kernel function", "__vm_munmap").ends_with("function = [\"__vm_munmap\"] }"));
        assert!(input("disk.saturated", "process", "tar").ends_with("\"blocked.fs\"] }"));
    }

    #[test]
    fn a_name_becomes_a_part_of_an_id() {
        assert_eq!(slug("Weird  (Name)::x"), "weird-name-x");
        assert_eq!(slug("/7"), "x-7");
        assert_eq!(slug(""), "x-");
    }
}
