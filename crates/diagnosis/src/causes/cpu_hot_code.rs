//! # The victim burns CPU in its own code
//!
//! **Speaks for it:** user time dominates, and a thread is on the CPU most of the window.
//! **Speaks against it:** nobody asked: work that burns CPU without anybody waiting is not a fault, so this needs a target
//! that the user named.
//! **Experiment:** none that is gentle; the profile is the proof.

use crate::{
    Cause, Confidence, Draft, Effect, Party, Scene, Victim,
    cause::{MATTERS, how_much},
    code::{Hot, JIT, hot_user},
    path::Removes,
};
use checks::Evidence;
use observe::{Ratio, TimeClass};
use std::time::Duration;

/// Stands in the registry.
pub const CAUSE: Cause = Cause { id: "cpu.hot-code", frozen: Effect::None, root_of: &[], judge };

/// ours: with less of its time in its own code, something else is the story.
const DOMINATES: Ratio = Ratio(0.35);

/// ours: a thread that is on the CPU less than this is not held up by its own speed.
const ON_CPU: Ratio = Ratio(0.5);

/// ours: with fewer samples, shares of functions have a standard error above 7 points.
const ENOUGH_SAMPLES: u64 = 50;

/// ours: a function with less of the time is one of several that another one calls.
const STANDS_FOR_IT: Ratio = Ratio(1.0 / 3.0);

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let user = victim.times[TimeClass::RunningUser];
    let time = user + own_queue(scene, victim);
    let busiest = victim.busiest_thread(scene);
    if !victim.named || victim.share(time) < DOMINATES || busiest < ON_CPU {
        return Vec::new();
    }
    let Ok(Some(hot)) = hot_user(scene, victim) else { return Vec::new() };
    let in_it = Ratio::of_counts(hot.samples as f64, hot.of as f64);
    let runs = match &hot.by {
        Some((native, module)) => format!(", mostly {native} of {module}"),
        None => format!(" ({})", hot.module),
    };
    let below = hot.below(scene, victim);
    let (name, part, said) = match &below {
        None => (&hot.function, in_it, format!("in {}{runs}", hot.function)),
        Some((caller, all)) if in_it < STANDS_FOR_IT => {
            (caller, *all, format!("below {caller}, most in {}{runs}", hot.function))
        }
        Some((caller, all)) => (&hot.function, in_it, format!("in {}{runs}, and {all} below {caller}", hot.function)),
    };
    // The rest of its code has to run without that function as well.
    let in_function = time.mul_f64(part.0);
    let enough = hot.of >= ENOUGH_SAMPLES && victim.share(in_function) >= MATTERS;
    let confidence = if enough { Confidence::Likely } else { Confidence::Possible };
    vec![Draft {
        confidence,
        time: in_function,
        summary: format!(
            "{} spends {} running its own code{}, {part} of it {said}.",
            victim.label(),
            how_much(victim, time),
            if time > user { " or queued behind its own threads" } else { "" },
        ),
        culprit: Party {
            kind: "function".into(),
            pid: None,
            name: name.clone(),
            detail: Some(match &hot.by {
                _ if *name != hot.function => format!("most in {}{runs}", hot.function),
                Some((native, module)) => format!("{native} of {module}"),
                None => hot.module.clone(),
            }),
        },
        evidence: [Evidence::new("ledger: running.user", user.as_secs_f64(), "s").at("recording/ledger.parquet")]
            .into_iter()
            .chain(seen(&hot, below.as_ref()))
            .chain([Evidence::new("busiest thread on CPU", busiest.0 * 100.0, "% of the window").against("> 50 %")])
            .collect(),
        next: next(victim, &hot, below.as_ref().map_or(&hot.function, |(caller, _)| caller)),
        codepath: hot.path,
        // The replay follows threads, not the one piece of work that they hand on.
        removes: if victim.takes_turns(scene) { Removes::Unsaid } else { Removes::work(victim, in_function) },
        descriptive: false,
    }]
}

/// What was seen of the function, and below its caller.
fn seen(hot: &Hot, below: Option<&(String, Ratio)>) -> Vec<Evidence> {
    let (unit, of, at) = match &hot.by {
        Some(_) => ("looks", "while it ran", "recording/stacks.parquet"),
        None => ("samples", "in user code", "cpu.folded"),
    };
    let whole = format!("of {} {of}", hot.of);
    let caller = below.map(|(caller, part)| {
        Evidence::new(format!("{} below {caller}", hot.what()), part.0 * 100.0, "%").against(whole.clone()).at(at)
    });
    let own = Evidence::new(format!("{} in {}", hot.what(), hot.function), hot.samples as f64, unit);
    caller.into_iter().chain([own.against(whole.clone()).at(at)]).collect()
}

fn next(victim: &Victim, hot: &Hot, at: &str) -> Vec<String> {
    let read = match (hot.module.as_str(), victim.pids.first()) {
        // Where nobody can tell what its runtime has compiled.
        (JIT, Some(pid)) if !hot.named => format!(
            "have the runtime name its code: jcmd {pid} Compiler.perfmap (JDK 17 or later), or start it with \
             --perf-basic-prof (Node)"
        ),
        _ if hot.by.is_some() => format!("read {at} and what it calls"),
        _ if at != hot.function => format!("read {at} and what it calls (CPU flame graph in report.html)"),
        _ => format!("read {} and its callers (CPU flame graph in report.html)", hot.function),
    };
    vec![read, "ask whether the work is needed, how often, and whether its cost grows with the data".to_owned()]
}

/// Time its threads spent runnable behind one another: its own appetite for CPU.
fn own_queue(scene: &Scene, victim: &Victim) -> Duration {
    let behind_itself = victim
        .waits(scene)
        .filter(|w| w.class.is_behind_others() && w.by.is_some_and(|(pid, _)| victim.contains(pid)))
        .map(|w| w.time)
        .sum::<Duration>();
    behind_itself.min(victim.times.sum(TimeClass::is_behind_others))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{System, all, one};

    fn busy() -> System {
        System::new().thread(10, "report", &[(TimeClass::RunningUser, 9.0), (TimeClass::BlockedDisk, 1.0)])
    }

    #[test]
    fn the_function_is_the_culprit_and_the_c_library_is_not() {
        let rec = busy()
            .samples(10, &[("main", "report"), ("match_rows", "report"), ("memcmp", "libc.so.6")], 300)
            .samples(10, &[("main", "report"), ("print", "report")], 200)
            .target(10)
            .build();
        let finding = one(&rec, "cpu.hot-code");
        assert_eq!(finding.culprit.name, "match_rows");
        assert_eq!(finding.codepath, ["main", "match_rows", "memcmp"]);
        assert_eq!(finding.confidence, Confidence::Likely);
        assert!((finding.share.0 - 0.9 * 0.6).abs() < 0.01, "what is gained without that function: {}", finding.share);
    }

    #[test]
    fn what_most_of_it_is_below_is_named_where_no_function_stands_for_it() {
        let scan = |leaf: &'static str| [("main", "db"), ("execute", "db"), ("scan", "db"), (leaf, "db")];
        let rec = busy()
            .samples(10, &scan("is_visible"), 110)
            .samples(10, &scan("compare"), 105)
            .samples(10, &scan("next_page"), 105)
            .samples(10, &[("main", "db"), ("execute", "db"), ("parse", "db")], 40)
            .target(10)
            .build();
        let finding = one(&rec, "cpu.hot-code");
        assert_eq!(finding.culprit.name, "scan");
        assert_eq!(finding.evidence[1].source, "CPU samples below scan");
        assert_eq!(finding.culprit.detail.as_deref(), Some("most in is_visible (db)"));
        assert!(finding.summary.contains("89 % of it below scan, most in is_visible (db)."), "{}", finding.summary);
        assert!((finding.share.0 - 0.9 * 8.0 / 9.0).abs() < 0.01, "what is gained without that: {}", finding.share);
        let dominated =
            busy().samples(10, &scan("is_visible"), 200).samples(10, &scan("compare"), 100).target(10).build();
        let finding = one(&dominated, "cpu.hot-code");
        assert_eq!(finding.culprit.name, "is_visible");
        assert!(
            finding.summary.contains("67 % of it in is_visible (db), and 100 % below scan."),
            "{}",
            finding.summary
        );
        assert!(finding.next[0].starts_with("read scan and what it calls"), "{finding:#?}");
        let alone = busy().samples(10, &scan("is_visible"), 300).target(10).build();
        let finding = one(&alone, "cpu.hot-code");
        assert!(!finding.summary.contains("below"), "{}", finding.summary);
        assert!(finding.next[0].starts_with("read is_visible and its callers"), "{finding:#?}");
    }

    #[test]
    fn of_an_interpreted_program_its_own_function_is_named() {
        let path =
            [("main", "python3.11"), ("_PyEval_EvalFrameDefault", "python3.11"), ("list_contains", "python3.11")];
        let native = busy().samples(10, &path, 400).target(10);
        let known = native.looks(10, &["<module> (news.py:1)", "is_known (news.py:9)"], 170);
        let rec = known.looks(10, &["<module> (news.py:1)"], 30).build();
        let finding = one(&rec, "cpu.hot-code");
        assert_eq!(finding.culprit.name, "is_known (news.py:9)");
        assert_eq!(finding.evidence[1].source, "looks at the interpreter in is_known (news.py:9)");
        assert_eq!(finding.culprit.detail.as_deref(), Some("list_contains of python3.11"));
        assert!(finding.summary.contains("85 % of it in is_known (news.py:9), mostly list_contains of python3.11."));
        // It lets go of the interpreter nearly all the time.
        let rec = busy().samples(10, &path, 400).target(10).looks(10, &["<module> (news.py:1)"], 40).build();
        assert_eq!(one(&rec, "cpu.hot-code").culprit.name, "list_contains");
    }

    #[test]
    fn compiled_code_without_a_name_is_not_its_callers() {
        let rec = busy().samples(10, &[("Builtins_JSEntry", "node"), ("", "[jit]")], 300).target(10).build();
        let finding = one(&rec, "cpu.hot-code");
        assert!(finding.culprit.name.starts_with("[jit]"), "{finding:#?}");
        assert!(finding.next[0].contains("jcmd 10 Compiler.perfmap"));
        let rec = busy().samples(10, &[("start_thread", "libc.so.6"), ("Matcher.distance", "[jit]")], 300).target(10);
        let finding = one(&rec.build(), "cpu.hot-code");
        assert!(finding.next[0].starts_with("read Matcher.distance"), "{finding:#?}");
    }

    #[test]
    fn compiled_code_without_a_name_is_the_function_s_that_runs_it() {
        let path = [
            ("Builtins_JSEntry", "node"),
            ("isProper", "bin/signup.js"),
            ("Builtins_RegExpPrototypeTest", "node"),
            ("", "[jit]"),
        ];
        let entered = [("Builtins_JSEntry", "node"), ("isProper", "bin/signup.js"), ("", "[jit]")];
        let rec = busy().samples(10, &path, 300).samples(10, &entered, 20).target(10).build();
        assert_eq!(one(&rec, "cpu.hot-code").culprit.name, "Builtins_RegExpPrototypeTest");
        // What enters all compiled code, whatever it is called, has none of it around it.
        let rec = busy().samples(10, &[("JavaCalls::call_helper", "libjvm.so"), ("", "[jit]")], 300).target(10).build();
        assert!(one(&rec, "cpu.hot-code").culprit.name.starts_with("[jit]"));
        // Neither of two has most of it.
        let other = [("isProper", "bin/signup.js"), ("Builtins_StringPrototypeReplace", "node"), ("", "[jit]")];
        let rec = busy().samples(10, &path, 200).samples(10, &other, 180).target(10).build();
        assert!(one(&rec, "cpu.hot-code").culprit.name.starts_with("[jit]"));
    }

    #[test]
    fn nobody_asked_about_it() {
        let rec = busy().samples(10, &[("main", "report")], 300).build();
        let only_said = one(&rec, "cpu.hot-code");
        assert_eq!(only_said.confidence, Confidence::Possible);
        assert!(only_said.summary.contains("Nobody asked about it"), "{}", only_said.summary);
    }

    #[test]
    fn a_service_that_is_mostly_idle_is_not_held_up_by_its_code() {
        let rec = System::new()
            .thread(10, "cache", &[(TimeClass::RunningUser, 2.0), (TimeClass::BlockedIdle, 8.0)])
            .samples(10, &[("main", "cache")], 100)
            .target(10)
            .build();
        assert!(all(&rec, "cpu.hot-code").is_empty());
    }
}
