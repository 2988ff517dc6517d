//! A case folder: exact round trip, replacement, damage, strangers, lists.

use case::{Day, Document, Error, Files, Overhead, Question, SCHEMA, WaitRow, list, load, load_document, save};
use checks::{Evidence, Light, Test};
use diagnosis::{Conclusion, Confidence, Eliminated, Finding, Party, ShareIs, Untested};
use observe::{
    Absent, Bucket, ClassTimes, Cost, Event, Fact, Frame, FrameId, FrameKind, Histogram, Host, Labels, Pid, Point,
    Process, ProgramCost, Ratio, Recording, Series, Stack, Target, TargetKind, ThreadTime, Tid, TimeClass, Wait,
    Window, catalog,
};
use std::{
    fs,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

const FILES: Files<'_> = Files { html: "<!doctype html>", cpu_folded: "a;b 1\n" };
const HOSTILE: &str = "\u{0}\u{1b}[31m\r\n\t\"\\'<script>;|`\u{fffd}\u{202e}\u{2028}\u{feff}🦀é";

fn classes(start: u64) -> ClassTimes {
    let mut times = ClassTimes::default();
    for (at, class) in TimeClass::ALL.iter().enumerate() {
        times.add(*class, Duration::from_nanos(start + at as u64 * 1_000_003));
    }
    times
}

fn thread(pid: u32, tid: u32, name: &str) -> ThreadTime {
    let classes = classes(u64::from(tid));
    ThreadTime { pid: Pid(pid), tid: Tid(tid), name: name.into(), wall: classes.total(), classes, switches: u64::MAX }
}

fn wait(tid: u32, by: Option<(Pid, Tid)>, stack: Vec<FrameId>) -> Wait {
    Wait {
        pid: Pid(1),
        tid: Tid(tid),
        class: TimeClass::BlockedDisk,
        resource: format!("disk:{HOSTILE}"),
        by,
        syscall: "fsync".into(),
        after_failure: tid.is_multiple_of(2),
        time: Duration::from_nanos(123_456_789_012),
        count: 3,
        longest: Duration::from_nanos(1),
        waker_stack: stack.iter().rev().copied().collect(),
        stack,
    }
}

fn recording() -> Recording {
    let host = Host { name: HOSTILE.into(), kernel: "6.18".into(), cpus: 2, memory_bytes: u64::MAX };
    let target =
        Target { kind: TargetKind::Command, pid: Some(Pid(7)), name: HOSTILE.into(), members: vec![Pid(7), Pid(9)] };
    let start = SystemTime::UNIX_EPOCH + Duration::new(1_795_297_440, 123_456_789);
    let mut rec = Recording::new(host, target, Window { start, length: Duration::from_nanos(20_000_000_001) });
    rec.cost = Cost {
        cpu: Duration::from_nanos(77),
        rss_bytes: 1 << 40,
        lost_events: 5,
        lost: [(HOSTILE.to_owned(), 5)].into(),
        programs: vec![ProgramCost { name: HOSTILE.into(), ns_per_run: 12, runs: u64::MAX }],
        programs_measured: Duration::from_secs(2),
        arming: Duration::from_nanos(3),
    };
    for (pid, name) in [(0, String::new()), (7, HOSTILE.to_owned()), (u32::MAX, "x".repeat(200_000))] {
        let process = Process {
            pid: Pid(pid),
            parent: Pid(1),
            name: name.clone(),
            exe: name.clone(),
            cmdline: name.clone(),
            cgroup: name.clone(),
            container: name,
            is_kernel: pid == 0,
            is_friday: pid == 7,
            allowed_cpus: 1,
            nice: -20,
            policy: "fifo 50".into(),
            life: (pid == 7).then(|| Duration::from_nanos(3)),
        };
        rec.processes.insert(Pid(pid), process);
    }
    for kind in [FrameKind::Kernel, FrameKind::User] {
        rec.frames.push(Frame { name: HOSTILE.into(), module: "m".into(), kind, unknown: String::new() });
        rec.frames.push(Frame { name: String::new(), module: String::new(), kind, unknown: HOSTILE.into() });
    }
    let labels = || Labels::new([("name", HOSTILE.to_owned()), (HOSTILE, String::new())]);
    rec.push(&catalog::HOST_FACT, Fact { labels: labels(), value: HOSTILE.into(), source: HOSTILE.into() });
    rec.set(&catalog::MOUNT, Err(Absent::NoPermission(HOSTILE.into())));
    rec.set(&catalog::CGROUP_QUOTA, Ok(vec![]));
    let point = |ns, value| Point { at: Duration::from_nanos(ns), value };
    rec.push(&catalog::CPU_TIME, Series { labels: labels(), points: vec![point(0, 0.1), point(9, f64::MIN_POSITIVE)] });
    rec.push(&catalog::CPU_TIME, Series { labels: labels(), points: vec![] });
    rec.push(&catalog::CPU_TIME, Series { labels: labels(), points: vec![point(1, -1e308)] });
    rec.set(&catalog::MEMORY, Err(Absent::Unsupported("no".into())));
    rec.push(&catalog::RUN_QUEUE_WAIT, Histogram { labels: labels(), ..Histogram::default() });
    let mut slots = [0u32; 255];
    (slots[3], slots[40], slots[251]) = (1, u32::MAX, 7);
    rec.push(&catalog::RUN_QUEUE_WAIT, Histogram::from_slots(labels(), &slots, u64::MAX, u64::MAX));
    let last = Bucket { low: u64::MAX - 1, high: u64::MAX, count: 1 };
    rec.push(&catalog::BLOCK_LATENCY, Histogram { labels: labels(), count: 1, sum: 1, max: 2, buckets: vec![last] });
    rec.set(&catalog::SYSCALL_TIME, Err(Absent::Failed("later".into())));
    let stack = vec![FrameId(0), FrameId(3), FrameId(0)];
    rec.push(&catalog::CPU_STACKS, Stack { pid: Pid(7), tid: Tid(8), samples: u64::MAX, frames: stack.clone() });
    rec.push(&catalog::CPU_STACKS, Stack { pid: Pid(7), tid: Tid(8), samples: 0, frames: vec![] });
    rec.push(&catalog::THREAD_TIME, thread(7, 8, HOSTILE));
    rec.push(&catalog::WAITS, wait(1, Some((Pid(3), Tid(4))), stack));
    rec.push(&catalog::WAITS, wait(2, None, vec![]));
    let event = |pid| Event { at: Duration::from_nanos(5), pid, labels: labels(), value: -0.25 };
    rec.push(&catalog::PROCESS_EXIT, event(None));
    rec.push(&catalog::SLOW_BLOCK_IO, event(Some(Pid(9))));
    rec.set(&catalog::SLOW_SYSCALL, Err(Absent::NotCollected(String::new())));
    rec
}

fn document(recording: &Recording) -> Document {
    let party = Party { kind: "process".into(), pid: Some(7), name: HOSTILE.into(), detail: None };
    let evidence = vec![Evidence::new("s", 0.1 + 0.2, "s").against("> 1").at("recording/waits.parquet")];
    Document {
        schema: SCHEMA.into(),
        case: "/var/lib/friday/x".into(),
        host: (&recording.host).into(),
        target: (&recording.target).into(),
        window: (&recording.window).into(),
        conclusion: Conclusion::Found,
        headline: HOSTILE.into(),
        statement: vec![Question { id: "problem".into(), said: HOSTILE.into(), ..Question::default() }],
        chosen: String::new(),
        findings: vec![Finding {
            rank: 1,
            cause: "cpu.throttled".into(),
            confidence: Confidence::Likely,
            share: Ratio(0.617_283_945_061_728_4),
            share_is: ShareIs::AtMost,
            victim: party.clone(),
            culprit: party,
            summary: HOSTILE.into(),
            evidence: evidence.clone(),
            codepath: vec![HOSTILE.into()],
            next: vec![HOSTILE.into()],
            experiment: None,
        }],
        days: vec![Day {
            day: "monday".into(),
            known: vec![HOSTILE.into()],
            tests: vec![Test {
                id: "disk".into(),
                group: String::new(),
                verdict: Light::Maybe,
                why: HOSTILE.into(),
                evidence,
                not_here: false,
                remedy: Vec::new(),
            }],
        }],
        eliminated: vec![Eliminated { id: "disk".into(), why: HOSTILE.into(), evidence: vec![] }],
        ledger: vec![(&thread(7, 8, HOSTILE)).into()],
        waits: vec![WaitRow {
            waiter: HOSTILE.into(),
            by: String::new(),
            resource: "cpu".into(),
            seconds: 1.0 / 3.0,
            count: 7,
            longest_s: 1.0 / 7.0,
        }],
        whose: vec![],
        paths: vec![],
        requests: vec![],
        upstreams: vec![],
        stacks: vec![],
        compared: None,
        untested: vec![Untested { id: "pmc".into(), why: HOSTILE.into() }],
        armed: vec![],
        overhead: Overhead::of(recording),
    }
}

fn saved(dir: &Path) -> (Document, Recording) {
    let recording = recording();
    let document = document(&recording);
    save(dir, &document, &recording, FILES).unwrap();
    (document, recording)
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn what_is_loaded_is_what_was_saved() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("a case");
    let (document, recording) = saved(&dir);
    let (document_back, recording_back) = load(&dir).unwrap();
    assert_eq!(document_back, document);
    assert_eq!(recording_back, recording);
    assert_eq!(load_document(&dir).unwrap(), document);
    assert_eq!(names(root.path()), ["a case"]);
    assert_eq!(names(&dir), ["case.json", "cpu.folded", "recording", "report.html"]);
    assert_eq!(fs::read_to_string(dir.join("cpu.folded")).unwrap(), FILES.cpu_folded);
}

#[test]
fn an_empty_recording_round_trips_too() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("c");
    let full = recording();
    let empty = Recording::new(full.host.clone(), Target::system("h"), full.window);
    save(&dir, &document(&empty), &empty, FILES).unwrap();
    assert_eq!(load(&dir).unwrap().1, empty);
}

#[test]
fn an_older_case_is_replaced_and_notes_beside_it_stay() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("c");
    saved(&dir);
    fs::write(dir.join("notes.md"), "mine").unwrap();
    let recording = recording();
    let mut newer = document(&recording);
    newer.headline = "newer".into();
    save(&dir, &newer, &recording, FILES).unwrap();
    assert_eq!(load(&dir).unwrap().0.headline, "newer");
    assert_eq!(names(&dir), ["case.json", "cpu.folded", "notes.md", "recording", "report.html"]);
}

#[test]
fn an_empty_folder_is_used_and_a_strangers_is_not() {
    let root = tempfile::tempdir().unwrap();
    let empty = root.path().join("empty");
    fs::create_dir(&empty).unwrap();
    saved(&empty);
    load(&empty).unwrap();
    let theirs = root.path().join("theirs");
    fs::create_dir(&theirs).unwrap();
    fs::write(theirs.join("case.json"), "{\"schema\": \"something else\"}").unwrap();
    let recording = recording();
    let refused = save(&theirs, &document(&recording), &recording, FILES).unwrap_err();
    assert!(matches!(refused, Error::Taken { .. }), "{refused}");
    assert_eq!(names(&theirs), ["case.json"]);
}

#[test]
fn nothing_is_left_of_a_case_that_could_not_be_written() {
    let root = tempfile::tempdir().unwrap();
    let recording = recording();
    fs::write(root.path().join("file"), "").unwrap();
    let dir = root.path().join("file/case");
    let failed = save(&dir, &document(&recording), &recording, FILES).unwrap_err();
    assert!(std::error::Error::source(&failed).is_some() || matches!(failed, Error::Taken { .. }), "{failed}");
    assert_eq!(names(root.path()), ["file"]);
}

#[test]
fn numbers_that_json_cannot_hold_do_not_spoil_the_case() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("c");
    let recording = recording();
    let mut bad = document(&recording);
    bad.findings[0].share = Ratio(f64::NAN);
    bad.findings[0].evidence.push(Evidence::new("s", f64::INFINITY, "s"));
    save(&dir, &bad, &recording, FILES).unwrap();
    let back = load_document(&dir).unwrap();
    assert_eq!((back.findings[0].share, back.findings[0].evidence.len()), (Ratio(0.0), 1));
}

#[test]
fn strangers_newer_versions_and_damage_are_told_apart() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("c");
    assert!(matches!(load(&dir), Err(Error::NotACase { .. })));
    assert!(matches!(load(Path::new("/dev/null")), Err(Error::NotACase { .. })));
    saved(&dir);
    let path = dir.join("case.json");
    let good = fs::read_to_string(&path).unwrap();
    fs::write(&path, good.replace("friday.case/1", "friday.case/2")).unwrap();
    assert!(matches!(load(&dir), Err(Error::Newer { .. })));
    fs::write(&path, good.replace("friday.case/1", "else/1")).unwrap();
    assert!(matches!(load(&dir), Err(Error::NotACase { .. })));
    fs::write(&path, &good[..good.len() / 2]).unwrap();
    assert!(matches!(load(&dir), Err(Error::Json { .. })));
    fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(matches!(load(&dir), Err(Error::Read { .. })));
    fs::write(&path, good.replacen('{', "{\"added_later\": [1],", 1)).unwrap();
    load(&dir).unwrap();
    fs::remove_file(dir.join("recording/waits.parquet")).unwrap();
    let error = load(&dir).unwrap_err();
    assert!(matches!(error, Error::Table { .. }));
    assert!(error.to_string().contains("waits.parquet"), "{error}");
}

#[test]
fn frames_that_do_not_exist_are_damage() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("c");
    let mut recording = recording();
    recording.frames.truncate(2);
    save(&dir, &document(&recording), &recording, FILES).unwrap();
    let error = load(&dir).unwrap_err();
    assert!(matches!(error, Error::Table { .. }), "{error}");
    let why = std::error::Error::source(&error).unwrap().to_string();
    assert!(why.contains("frame 3") && why.contains("2 frames"), "{why}");
}

#[test]
fn truncated_tables_are_errors_whatever_the_table() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("c");
    saved(&dir);
    for name in names(&dir.join("recording")) {
        let path = dir.join("recording").join(&name);
        let whole = fs::read(&path).unwrap();
        for part in [0, 4, whole.len() / 2, whole.len() - 1] {
            fs::write(&path, &whole[..part]).unwrap();
            assert!(load(&dir).is_err() || name == "meta.json" && part + 1 == whole.len(), "{name}: {part} bytes");
        }
        fs::write(&path, &whole).unwrap();
    }
    load(&dir).unwrap();
}

#[test]
fn lists_are_newest_first_and_count_what_is_unreadable() {
    let root = tempfile::tempdir().unwrap();
    assert!(list(&root.path().join("none")).unwrap().cases.is_empty());
    let recording = recording();
    for (name, start) in [("b", "2026-01-02T00:00:00Z"), ("a", "2026-03-02T00:00:00Z"), ("c", "2026-02-02T00:00:00Z")] {
        let mut document = document(&recording);
        document.window.start = start.into();
        save(&root.path().join(name), &document, &recording, FILES).unwrap();
    }
    fs::create_dir(root.path().join("not a case")).unwrap();
    fs::create_dir(root.path().join("broken")).unwrap();
    fs::write(root.path().join("broken/case.json"), "{").unwrap();
    let listing = list(root.path()).unwrap();
    let order: Vec<_> = listing.cases.iter().map(|c| c.dir.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(order, ["a", "c", "b"]);
    assert_eq!(listing.cases[0].causes, ["cpu.throttled"]);
    assert_eq!(listing.unreadable.len(), 1);
}

/// `KEEP=/tmp/case cargo test -p case keep_a_case` leaves a case to try other readers on.
#[test]
fn keep_a_case() {
    if let Some(dir) = std::env::var_os("KEEP") {
        saved(Path::new(&dir));
    }
}

#[test]
fn many_threads_and_waits_are_saved_quickly() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("c");
    let mut recording = recording();
    recording.frames = (0..20_000)
        .map(|id| Frame {
            name: format!("function_{id}"),
            module: "libc.so.6".into(),
            kind: FrameKind::User,
            unknown: String::new(),
        })
        .collect();
    recording.set(&catalog::THREAD_TIME, Ok((0..5_000).map(|tid| thread(tid / 8, tid, "worker")).collect()));
    let stack = |seed: u32| (0..24).map(|depth| FrameId((seed * 7 + depth * 31) % 20_000)).collect();
    recording.set(&catalog::WAITS, Ok((0..20_000).map(|n| wait(n, Some((Pid(n), Tid(n))), stack(n))).collect()));
    let document = document(&recording);
    let begin = Instant::now();
    save(&dir, &document, &recording, FILES).unwrap();
    let saving = begin.elapsed();
    assert_eq!(load(&dir).unwrap().1, recording);
    // Unoptimised builds on a busy machine take several times as long as the release build.
    assert!(saving < Duration::from_secs(10), "{saving:?}");
    println!("saved in {saving:?}, loaded in {:?}", begin.elapsed() - saving);
}
