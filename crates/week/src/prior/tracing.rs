//! What of tracing works: what was attached for a moment, and where spans are sent to.

use super::test;
use checks::{Light, Test};
use observe::{Fact, Recording, catalog};
use std::collections::BTreeMap;

const GROUP: &str = "tracing";

/// By what a trial is called in the recording: its test, and what is seen that way.
const TRIALS: [(&str, &str, &str); 8] = [
    ("btf", "tracing.btf", "types of the kernel (BTF)"),
    ("tracepoint", "tracing.tracepoints", "the kernel's tracepoints, by BPF and its ring buffer"),
    ("kprobe", "tracing.kprobes", "any kernel function, by kprobe"),
    ("fentry", "tracing.fentry", "entries of kernel functions, by fentry"),
    ("uprobe", "tracing.uprobes", "functions of programs, by uprobe"),
    ("iterator", "tracing.iterator", "every thread at one moment, by a BPF iterator"),
    ("counters", "tracing.counters", "hardware counters, by perf events"),
    ("tracefs", "tracing.tracefs", "Ftrace, by tracefs"),
];

/// Those that trace something by themselves.
const TRACERS: [&str; 6] = ["tracepoint", "kprobe", "fentry", "uprobe", "iterator", "tracefs"];

/// ours: more processes than anybody reads.
const NAMED: usize = 3;

/// The lights of what was tried; none where nothing was.
pub(super) fn tests(rec: &Recording) -> Vec<Test> {
    let Ok(rows) = rec.get(&catalog::TRACER) else { return Vec::new() };
    let works = |row: &&Fact| row.labels.get("state") == "works";
    // What the run itself attached counts as well.
    let any = rows.iter().filter(works).any(|row| TRACERS.contains(&row.labels.get("how")))
        || rec.get(&catalog::WAITS).is_ok();
    let judged = TRIALS.iter().filter_map(|(how, id, what)| {
        let row = rows.iter().find(|row| row.labels.get("how") == *how)?;
        let verdict = match row.labels.get("state") {
            "works" => Light::Good,
            // Without any tracer, nothing is seen of the kernel; a single one of them is missed less.
            _ if any => Light::Maybe,
            _ => Light::Bad,
        };
        let mut one = test(id, GROUP, verdict, format!("{what}: {}", row.value), Vec::new());
        if *how == "tracefs" && row.labels.get("state") == "failed" {
            one.remedy.push("mount -t tracefs nodev /sys/kernel/tracing".to_owned());
        }
        Some(one)
    });
    judged.chain(spans(rec)).collect()
}

/// Whether spans arrive where they are sent to.
fn spans(rec: &Recording) -> Option<Test> {
    let rows = rec.get(&catalog::TRACE_ENDPOINT).ok()?;
    let unread: String =
        rows.iter().filter(|row| row.labels.get("state") == "unread").map(|row| format!("; {}", row.value)).collect();
    let mut by: BTreeMap<(&str, &str, &str), Vec<String>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.labels.get("state") != "unread") {
        let (process, pid) = (row.labels.get("process"), row.labels.get("pid"));
        let who = if pid.is_empty() { process.to_owned() } else { format!("{process} ({pid})") };
        by.entry((row.labels.get("state"), row.labels.get("address"), row.value.as_str())).or_default().push(who);
    }
    let verdict = match by.keys().map(|key| key.0).collect::<Vec<_>>().as_slice() {
        [] => Light::Untested,
        states if states.iter().all(|state| *state == "accepts") => Light::Good,
        states if states.iter().all(|state| ["accepts", "untested"].contains(state)) => Light::Untested,
        _ => Light::Maybe,
    };
    let say = |((_, address, why), who): (&(&str, &str, &str), &Vec<String>)| {
        let more = if who.len() > NAMED { format!(" and {} more", who.len() - NAMED) } else { String::new() };
        let who = who.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        format!("{who}{more} to {address}: {why}")
    };
    let why = if by.is_empty() {
        format!(
            "no OTLP endpoint is configured (OTEL_EXPORTER_OTLP_ENDPOINT): of distributed tracing there is nothing to see{unread}"
        )
    } else {
        // What does not arrive comes first.
        let (well, not): (Vec<_>, Vec<_>) = by.iter().partition(|(key, _)| key.0 == "accepts");
        format!("spans of {}{unread}", not.into_iter().chain(well).map(say).collect::<Vec<_>>().join("; of "))
    };
    Some(test("tracing.spans", GROUP, verdict, why, Vec::new()))
}

#[cfg(test)]
mod tests {
    use super::{super::recording, *};
    use observe::{Absent, Labels};

    fn tried(states: &[(&str, &str)]) -> Recording {
        let mut rec = recording();
        rec.set(&catalog::WAITS, Err(Absent::NoPermission("run as root".into())));
        let fact = |(how, state): &(&str, &str)| Fact {
            labels: Labels::new([("how", (*how).into()), ("state", (*state).into())]),
            value: format!("{how} {state}"),
            source: "friday".into(),
        };
        rec.set(&catalog::TRACER, Ok(states.iter().map(fact).collect()));
        rec
    }

    #[test]
    fn one_tracer_that_is_missing_is_maybe_and_none_at_all_is_bad() {
        let some = tests(&tried(&[
            ("kprobe", "unsupported"),
            ("uprobe", "works"),
            ("tracefs", "failed"),
            ("counters", "silent"),
        ]));
        let light = |tests: &[Test], id: &str| tests.iter().find(|test| test.id == id).unwrap().verdict;
        assert_eq!(light(&some, "tracing.kprobes"), Light::Maybe);
        assert_eq!((light(&some, "tracing.uprobes"), light(&some, "tracing.counters")), (Light::Good, Light::Maybe));
        assert!(some[2].remedy.is_empty() && some.iter().any(|test| test.remedy.len() == 1), "{some:?}");
        let none =
            tests(&tried(&[("kprobe", "refused"), ("uprobe", "refused"), ("tracefs", "refused"), ("btf", "works")]));
        assert_eq!(light(&none, "tracing.kprobes"), Light::Bad);
        assert!(none.iter().any(|test| test.why.contains("kprobe refused")));
        assert!(tests(&recording()).is_empty());
    }

    fn sent(rows: &[(&str, &str, &str)]) -> Test {
        let mut rec = recording();
        let fact = |(process, address, state): &(&str, &str, &str)| Fact {
            labels: Labels::new([
                ("process", (*process).into()),
                ("pid", "7".into()),
                ("address", (*address).into()),
                ("state", (*state).into()),
            ]),
            value: format!("it {state}"),
            source: "environ".into(),
        };
        rec.set(&catalog::TRACE_ENDPOINT, Ok(rows.iter().map(fact).collect()));
        spans(&rec).unwrap()
    }

    #[test]
    fn spans_that_nobody_takes_are_told_first() {
        let none = sent(&[]);
        assert!(none.verdict == Light::Untested && none.why.contains("nothing to see"), "{none:?}");
        assert_eq!(sent(&[("web", "otel:4317", "accepts")]).verdict, Light::Good);
        let lost = sent(&[("web", "otel:4317", "accepts"), ("shop", "gone:4317", "refused")]);
        assert_eq!(lost.verdict, Light::Maybe);
        assert!(lost.why.starts_with("spans of shop (7) to gone:4317: it refused; of web (7)"), "{}", lost.why);
        assert_eq!(sent(&[("web", "otel:4317", "untested")]).verdict, Light::Untested);
        let unread = sent(&[("", "", "unread")]);
        assert!(unread.verdict == Light::Untested && unread.why.contains("it unread"), "{unread:?}");
    }
}
