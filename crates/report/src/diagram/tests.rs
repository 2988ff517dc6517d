//! What is one box, what is merged, what is left out, and what is said of boxes.

use super::*;
use checks::{Light, Test};
use diagnosis::{Confidence, Finding, Party, ShareIs};
use observe::{Absent, Host, Labels, Pid, Process, Ratio, Series, Target, TargetKind, Tid, TimeClass, Wait, Window};
use std::time::{Duration, SystemTime};

fn recording(target: Option<u32>) -> Recording {
    let host = Host { name: "h".into(), kernel: "6".into(), cpus: 2, memory_bytes: 1 << 30 };
    let window = Window { start: SystemTime::UNIX_EPOCH, length: Duration::from_secs(10) };
    let target = match target {
        None => Target::system("h"),
        Some(pid) => {
            Target { kind: TargetKind::Process, pid: Some(Pid(pid)), name: "t".into(), members: vec![Pid(pid)] }
        }
    };
    let mut rec = Recording::new(host, target, window);
    rec.set(&catalog::TOPOLOGY, Ok(Vec::new()));
    rec.set(&catalog::TOPOLOGY_UNSEEN, Ok(Vec::new()));
    rec
}

fn run(rec: &mut Recording, pid: u32, parent: u32, name: &str, container: &str) {
    let (name, exe) = (name.to_owned(), format!("/bin/{name}"));
    let process =
        Process { pid: Pid(pid), parent: Pid(parent), name, exe, container: container.into(), ..Process::default() };
    rec.processes.insert(Pid(pid), process);
}

fn link(rec: &mut Recording, from: &str, to: &str, by: &str, what: &str, count: f64) {
    let labels = Labels::new([("from", from.into()), ("to", to.into()), ("by", by.into()), ("what", what.into())]);
    rec.push(&catalog::TOPOLOGY, Series::total(labels, Duration::ZERO, count));
}

/// A web server before an application before a database with its files, on a logical volume.
fn shop(target: Option<u32>) -> Recording {
    let mut rec = recording(target);
    run(&mut rec, 10, 1, "nginx", "unit nginx.service");
    run(&mut rec, 11, 10, "nginx", "unit nginx.service");
    run(&mut rec, 20, 1, "python3", "");
    for pid in 31..=36 {
        run(&mut rec, pid, 30, "postgres", "");
    }
    run(&mut rec, 30, 1, "postgres", "");
    run(&mut rec, 40, 1, "bash", "");
    for pid in [41, 42, 43] {
        link(&mut rec, &format!("peer:10.0.0.{pid}"), "process:11", "tcp", "80", 2.0);
        link(&mut rec, &format!("peer:10.0.0.{pid}"), "interface:eth0", "route", "", 1.0);
    }
    link(&mut rec, "process:10", "", "listens", "tcp 0.0.0.0:80", 1.0);
    link(&mut rec, "process:11", "process:20", "tcp", "8000", 4.0);
    link(&mut rec, "process:20", "process:31", "tcp", "5432", 2.0);
    link(&mut rec, "process:20", "peer:192.0.2.9", "tcp", "443", 1.0);
    link(&mut rec, "peer:192.0.2.9", "interface:eth0", "route", "", 1.0);
    link(&mut rec, "process:31", "filesystem:/data", "file", "write", 3.0);
    link(&mut rec, "process:32", "filesystem:/data", "file", "read", 1.0);
    link(&mut rec, "filesystem:/data", "device:dm-0", "mount", "xfs", 1.0);
    link(&mut rec, "device:dm-0", "device:vda3", "layer", "", 1.0);
    link(&mut rec, "device:vda3", "device:vda", "layer", "", 1.0);
    rec
}

fn drawn(rec: &Recording) -> Diagram {
    diagram(rec, None).unwrap()
}

fn node<'a>(drawn: &'a Diagram, title: &str) -> &'a Node {
    let titles: Vec<&str> = drawn.nodes.iter().map(|node| node.title.as_str()).collect();
    drawn.nodes.iter().find(|node| node.title == title).unwrap_or_else(|| panic!("{title} is not among {titles:?}"))
}

fn edges(drawn: &Diagram) -> Vec<String> {
    let name = |at: usize| &drawn.nodes[at].title;
    drawn.edges.iter().map(|edge| format!("{} > {}: {}", name(edge.from), name(edge.to), edge.about)).collect()
}

#[test]
fn processes_are_grouped_and_joined_from_left_to_right() {
    let drawn = drawn(&shop(Some(20)));
    let mut found = edges(&drawn);
    found.sort();
    let expected = [
        "/data > dm-0: lies on",
        "192.0.2.9 > eth0: leaves by",
        "3 hosts > nginx.service: tcp :80 ×6",
        "dm-0 > vda: lies on",
        "nginx.service > python3: tcp :8000 ×4",
        "postgres ×7 > /data: 1 file open for reading, 3 files open for writing",
        "python3 > 192.0.2.9: tcp :443",
        "python3 > postgres ×7: tcp :5432 ×2",
    ];
    assert_eq!(found, expected);
    let ranks: Vec<usize> = ["3 hosts", "nginx.service", "python3", "postgres ×7", "/data", "dm-0", "vda"]
        .iter()
        .map(|title| node(&drawn, title).rank)
        .collect();
    assert_eq!(ranks, [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(node(&drawn, "nginx.service").lines, ["nginx ×2", "pid 10…", "listens :80"]);
    assert_eq!(node(&drawn, "3 hosts").lines, ["10.0.0.41, 10.0.0.42, …", "by eth0"]);
    assert!(node(&drawn, "python3").is_target);
    assert_eq!(drawn.left_out, ["1 process with no connection and no file open for writing: bash."]);
    assert_eq!((node(&drawn, "2 CPUs").kind, node(&drawn, "eth0").rank), (Kind::Cpus, 6));
}

#[test]
fn waits_make_lines_and_what_is_idle_does_not() {
    let mut rec = shop(None);
    let mut wait = |pid, class, by: Option<u32>, resource: &str| {
        rec.push(
            &catalog::WAITS,
            Wait {
                pid: Pid(pid),
                tid: Tid(pid),
                class,
                resource: resource.into(),
                by: by.map(|pid| (Pid(pid), Tid(pid))),
                syscall: String::new(),
                after_failure: false,
                time: Duration::from_millis(1500),
                count: 3,
                longest: Duration::from_secs(1),
                stack: vec![],
                waker_stack: vec![],
            },
        );
    };
    wait(20, TimeClass::BlockedProcess, Some(33), "");
    wait(11, TimeClass::BlockedIdle, Some(20), "");
    wait(31, TimeClass::BlockedDisk, None, "disk:vda");
    wait(20, TimeClass::BlockedNetwork, None, "tcp:192.0.2.9:443");
    let drawn = drawn(&rec);
    let mut waited: Vec<String> = edges(&drawn).into_iter().filter(|edge| edge.contains("waited")).collect();
    waited.sort();
    let expected = [
        "postgres ×7 > /data: waited 1.50 s, 1 file open for reading, 3 files open for writing",
        "python3 > 192.0.2.9: waited 1.50 s, tcp :443",
        "python3 > postgres ×7: waited 1.50 s, tcp :5432 ×2",
    ];
    assert_eq!(waited, expected);
}

fn party(kind: &str, pid: Option<u32>, name: &str) -> Party {
    Party { kind: kind.into(), pid, name: name.into(), detail: None }
}

#[test]
fn findings_and_lights_are_said_of_their_boxes() {
    let rec = shop(None);
    let mut links = links::Links::of(&rec, rec.get(&catalog::TOPOLOGY).unwrap());
    links.add_waits(&rec);
    let finding = |confidence, culprit| Finding {
        rank: 1,
        cause: "disk.saturated".into(),
        confidence,
        share: Ratio(0.4),
        share_is: ShareIs::Estimate,
        victim: party("process", Some(33), "postgres"),
        culprit,
        summary: String::new(),
        evidence: vec![],
        codepath: vec![],
        next: vec![],
        experiment: None,
    };
    let test = |id: &str, verdict, why: &str| Test {
        id: id.into(),
        group: String::new(),
        verdict,
        why: why.into(),
        evidence: vec![],
        not_here: false,
        remedy: Vec::new(),
    };
    let mut document = document(&rec);
    document.findings = vec![
        finding(Confidence::Likely, party("device", None, "vda")),
        finding(Confidence::Possible, party("setting", None, "vm.swappiness")),
    ];
    let tests = vec![
        test("disk.latency", Light::Maybe, "vda: p99 12 ms"),
        test("memory.oom", Light::Bad, "1 kill"),
        test("net.nic_errors", Light::Good, "eth0: none"),
        test("net.drops", Light::Bad, "eth0: 12 packets"),
        test("process.churn", Light::Maybe, "many"),
    ];
    document.days = vec![case::Day { day: "tuesday".into(), known: vec![], tests }];
    let drawn = diagram(&rec, Some(&document)).unwrap();
    let said = |title: &str| node(&drawn, title).marks.clone();
    assert_eq!(said("vda"), [(Tone::Bad, "causes disk.saturated".into()), (Tone::Maybe, "disk.latency maybe".into())]);
    assert_eq!(said("postgres ×7"), [(Tone::Victim, "40 % disk.saturated".into())]);
    assert_eq!(said("eth0"), [(Tone::Bad, "net.drops bad".into())]);
    assert_eq!(node(&drawn, "Memory 1.0 GiB").tone(), Tone::Bad);
    assert_eq!(node(&drawn, "2 CPUs").tone(), Tone::Plain);
    let elsewhere =
        "Said of nothing drawn here: culprit of disk.saturated: setting vm.swappiness; process.churn maybe.";
    assert_eq!(drawn.left_out[1], elsewhere);
}

fn document(rec: &Recording) -> Document {
    Document {
        schema: case::SCHEMA.into(),
        case: String::new(),
        statement: vec![],
        host: (&rec.host).into(),
        target: (&rec.target).into(),
        window: (&rec.window).into(),
        conclusion: diagnosis::Conclusion::Unknown,
        headline: String::new(),
        chosen: String::new(),
        findings: vec![],
        days: vec![],
        eliminated: vec![],
        ledger: vec![],
        waits: vec![],
        whose: vec![],
        requests: vec![],
        upstreams: vec![],
        stacks: vec![],
        armed: vec![],
        paths: vec![],
        compared: None,
        untested: vec![],
        overhead: case::Overhead::of(rec),
    }
}

#[test]
fn three_hundred_services_stay_readable_and_the_target_stays() {
    let mut rec = recording(Some(299));
    run(&mut rec, 1000, 1, "bus", "");
    for pid in 2..=300 {
        run(&mut rec, pid, 1, &format!("s{pid}"), "");
        link(&mut rec, &format!("process:{pid}"), "process:1000", "unix", "/run/bus", 1.0);
        link(&mut rec, &format!("process:{pid}"), &format!("peer:10.0.1.{}", pid % 250), "tcp", &pid.to_string(), 1.0);
        link(&mut rec, &format!("process:{pid}"), &format!("filesystem:/m{pid}"), "file", "write", 1.0);
        link(&mut rec, &format!("process:{pid}"), "filesystem:/", "file", "write", 1.0);
    }
    link(&mut rec, "process:299", "process:7", "tcp", "7", 1.0);
    let drawn = drawn(&rec);
    assert!(drawn.nodes.len() < 60, "{} boxes", drawn.nodes.len());
    assert!(drawn.edges.len() < 80, "{} lines", drawn.edges.len());
    assert!(node(&drawn, "s299").is_target);
    node(&drawn, "s7");
    let to_root: Vec<String> = edges(&drawn).into_iter().filter(|edge| edge.contains("> /:")).collect();
    assert_eq!(to_root, ["s299 > /: 1 file open for writing"], "only the target's way to what everybody uses");
    assert!(node(&drawn, "/").lines.contains(&"files of 299 services".to_owned()), "{:?}", node(&drawn, "/").lines);
    assert!(drawn.left_out.iter().any(|what| what.contains("276 processes with less to do")), "{:?}", drawn.left_out);
}

#[test]
fn circles_and_unknown_ends_do_no_harm() {
    let mut rec = recording(None);
    for pid in [2, 3, 4] {
        run(&mut rec, pid, 1, &format!("s{pid}"), "");
    }
    for (from, to) in [("2", "3"), ("3", "4"), ("4", "2"), ("9", "2"), ("2", "2")] {
        link(&mut rec, &format!("process:{from}"), &format!("process:{to}"), "tcp", "1", 1.0);
    }
    link(&mut rec, "galaxy:far", "process:2", "tcp", "1", 1.0);
    link(&mut rec, "", "", "", "", 1.0);
    assert_eq!(edges(&drawn(&rec)), ["s2 > s3: tcp :1", "s3 > s4: tcp :1", "s4 > s2: tcp :1"].map(str::to_owned));
}

#[test]
fn what_is_missing_is_told() {
    let mut rec = recording(None);
    assert!(drawn(&rec).unseen.is_empty());
    rec.push(
        &catalog::TOPOLOGY_UNSEEN,
        Series::total(Labels::new([("what", "processes".into())]), Duration::ZERO, 12.0),
    );
    let why =
        "The descriptors of 12 processes may not be read: run as root, or with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH.";
    assert_eq!(drawn(&rec).unseen, [why]);
    rec.set(&catalog::TOPOLOGY, Err(Absent::Failed("no /proc".into())));
    assert!(diagram(&rec, None).is_err());
}
