//! # The runtime collects garbage or compiles
//!
//! **Speaks for it:** CPU samples in the collector's functions or threads, and threads that wait until the collector lets
//! them go on.
//! **Speaks against it:** a collector's usual part; Go lets its own take a quarter of the CPUs while it runs.
//! **Experiment:** none from outside.

use crate::{
    Cause, Confidence, Draft, Effect, Party, Scene, Victim,
    cause::{MATTERS, grade, how_much},
    code,
    path::Removes,
};
use checks::Evidence;
use observe::{Pid, Ratio, Stack, ThreadTime, Tid, TimeClass};
use std::{collections::BTreeSet, time::Duration};

/// Stands in the registry.
pub const CAUSE: Cause = Cause {
    id: "app.gc",
    frozen: Effect::None,
    root_of: &[
        "cpu.hot-code",
        "lock.contention",
        "mem.page-faults",
        "app.sleeps",
        "cpu.single-thread",
        "cpu.kernel-time",
    ],
    judge,
};

/// Go's collector may take a quarter of the CPUs while it runs ("A Guide to the Go Garbage Collector"), and collectors of
/// other runtimes aim lower; ours: from here on it is more than that.
const MUCH: Ratio = Ratio(0.3);

/// How the names of collectors' threads begin: HotSpot's (whose VM thread does what stops all others) and .NET's.
const COLLECTORS: &[&str] = &[
    "GC Thread#",
    "G1 ",
    "VM Thread",
    "ParGC",
    "XWorker",
    "XDriver",
    "ZWorker",
    "ZDriver",
    "Shenandoah",
    ".NET Server GC",
    ".NET BGC",
];

/// How the names of compilers' threads begin.
const COMPILERS: &[&str] = &["C1 Compiler", "C2 Compiler", "Graal", "JVMCI", ".NET Tiered Com"];

/// What the functions of a collector are called: Go, V8, CPython, Ruby, PHP, OCaml, Lua, Mono.
const FUNCTIONS: &[&str] = &[
    "runtime.gc",
    "runtime.bgsweep",
    "runtime.bgscavenge",
    "runtime.scanobject",
    "runtime.markroot",
    "runtime.sweepone",
    "runtime.(*sweepLocked).sweep",
    "v8::internal::Heap::CollectGarbage",
    "v8::internal::Heap::PerformGarbageCollection",
    "v8::internal::Scavenger",
    "v8::internal::MarkCompactCollector",
    "v8::internal::ConcurrentMarking",
    "v8::internal::Sweeper",
    "v8::internal::IncrementalMarking",
    "v8::internal::MinorMarkCompactCollector",
    "gc_collect_main",
    "gc_collect_generations",
    "gc_collect_with_callback",
    "PyGC_Collect",
    "gc_marks",
    "gc_sweep",
    "rb_gc",
    "zend_gc_collect_cycles",
    "gc_collect_cycles",
    "caml_major_collection_slice",
    "caml_empty_minor_heap",
    "luaC_",
    "sgen_",
];

/// Which of a process' threads do which kind of work for the runtime.
struct Threads {
    collect: BTreeSet<Tid>,
    compile: BTreeSet<Tid>,
}

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let threads = Threads::of(scene, victim);
    let (collecting, compiling) =
        (runs(scene, victim, &threads, is_collecting), runs(scene, victim, &threads, is_compiling));
    let stopped = stopped(scene, victim, &threads.collect);
    let collected = collecting + stopped;
    let (time, what) = if compiling > collected { (compiling, "compiling") } else { (collected, "collecting garbage") };
    let Some(mut confidence) = grade(scene, victim, time).filter(|_| victim.share(time) >= MATTERS) else {
        return Vec::new();
    };
    // What was just started compiles; that passes.
    if victim.share(time) < MUCH || compiling > collected {
        confidence = Confidence::Possible;
    }
    let Some(pid) = busiest(scene, victim) else { return Vec::new() };
    let hot =
        code::hottest(scene, |s| victim.contains(s.pid) && is_collecting(scene, s, &threads), |_, f| f.last().copied());
    let hot = hot.ok().flatten();
    let stops = match stopped {
        Duration::ZERO => String::new(),
        stopped => format!(", and its threads waited {:.1} s to go on after it", stopped.as_secs_f64()),
    };
    vec![Draft {
        confidence,
        time,
        summary: format!(
            "{} spends {} {what}: the runtime itself wanted a CPU for {:.1} s{stops}.",
            victim.label(),
            how_much(victim, time),
            collecting.max(compiling).as_secs_f64(),
        ),
        culprit: Party {
            kind: "process".into(),
            pid: Some(pid.0),
            name: scene.rec.process_name(pid),
            detail: Some(format!("its runtime, {what}")),
        },
        evidence: vec![
            Evidence::new("in the collector, running or waiting for a CPU, by samples", collecting.as_secs_f64(), "s")
                .at("cpu.folded"),
            Evidence::new("threads stopped for it", stopped.as_secs_f64(), "s").at("recording/waits.parquet"),
            Evidence::new("in the compiler, running or waiting for a CPU, by samples", compiling.as_secs_f64(), "s")
                .at("cpu.folded"),
            Evidence::new("share of its active time", victim.share(time).0 * 100.0, "%").against(format!("> {MUCH}")),
        ],
        codepath: hot.map(|hot| hot.path).unwrap_or_default(),
        next: vec![
            format!("read the runtime's own log: jstat -gcutil {pid} 1s, GODEBUG=gctrace=1, node --trace-gc"),
            "give it a larger heap (-Xmx, GOGC or GOMEMLIMIT, --max-old-space-size), or allocate less".to_owned(),
        ],
        removes: Removes::Unsaid,
        descriptive: confidence == Confidence::Possible,
    }]
}

impl Threads {
    fn of(scene: &Scene, victim: &Victim) -> Threads {
        let named = |names: &'static [&'static str]| {
            let threads = victim.pids.iter().flat_map(|pid| scene.threads(*pid).to_vec());
            let ours = threads.filter(|t: &&ThreadTime| names.iter().any(|name| t.name.starts_with(name)));
            ours.map(|t| t.tid).collect()
        };
        Threads { collect: named(COLLECTORS), compile: named(COMPILERS) }
    }
}

fn is_collecting(scene: &Scene, stack: &Stack, threads: &Threads) -> bool {
    let collects = |name: &str| FUNCTIONS.iter().any(|function| name.starts_with(function));
    threads.collect.contains(&stack.tid) || stack.frames.iter().any(|id| collects(&scene.rec.frame(*id).name))
}

fn is_compiling(_: &Scene, stack: &Stack, threads: &Threads) -> bool {
    threads.compile.contains(&stack.tid)
}

/// The time on a CPU, or waiting for one, that some samples stand for.
fn runs(scene: &Scene, victim: &Victim, threads: &Threads, of: fn(&Scene, &Stack, &Threads) -> bool) -> Duration {
    let Ok(stacks) = scene.samples(|pid| victim.contains(pid)) else { return Duration::ZERO };
    let some = stacks.iter().filter(|stack| of(scene, stack, threads)).map(|stack| stack.samples).sum();
    code::wanted(scene, victim, some)
}

/// For how long threads waited until the collector let them go on.
fn stopped(scene: &Scene, victim: &Victim, collectors: &BTreeSet<Tid>) -> Duration {
    let by_it = victim.waits(scene).filter(|w| !collectors.contains(&w.tid)).filter(|w| {
        matches!(w.class, TimeClass::BlockedLock | TimeClass::BlockedThread)
            && w.by.is_some_and(|(_, tid)| collectors.contains(&tid))
    });
    by_it.map(|w| w.time).sum()
}

fn busiest(scene: &Scene, victim: &Victim) -> Option<Pid> {
    victim.pids.iter().copied().max_by_key(|pid| scene.times(*pid).sum(TimeClass::is_running))
}

#[cfg(test)]
mod tests {
    use crate::{
        Confidence,
        testing::{System, all, one},
    };
    use observe::TimeClass::RunningUser;

    #[test]
    fn samples_in_the_collector_are_its_time() {
        let go = |collecting| {
            System::new()
                .thread(10, "api", &[(RunningUser, 8.0)])
                .samples(
                    10,
                    &[("main.handle", "api"), ("runtime.mallocgc", "api"), ("runtime.gcAssistAlloc", "api")],
                    collecting,
                )
                .samples(10, &[("main.handle", "api")], 100)
                .target(10)
                .build()
        };
        assert_eq!(one(&go(100), "app.gc").confidence, Confidence::Likely);
        assert_eq!(one(&go(25), "app.gc").confidence, Confidence::Possible, "a collector's usual part");
        assert!(all(&go(5), "app.gc").is_empty());
    }

    #[test]
    fn a_collectors_threads_are_known_by_their_names() {
        let rec = System::new()
            .thread(10, "java", &[(RunningUser, 3.0)])
            .thread_of(10, 12, "GC Thread#0", &[(RunningUser, 5.0)])
            .samples_of(10, 12, &[("clone3", "libc.so.6")], 200)
            .samples(10, &[("main", "java")], 100)
            .target(10)
            .build();
        let finding = one(&rec, "app.gc");
        assert_eq!((finding.culprit.name.as_str(), finding.confidence), ("java", Confidence::Likely));
    }
}
