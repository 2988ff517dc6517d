//! The binary as people and scripts use it: results, errors, exit statuses.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

fn friday(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_friday")).args(args).stdin(Stdio::null()).output().expect("friday starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}\n{}", String::from_utf8_lossy(&output.stdout), stderr(output)))
}

/// A run that needs no privilege: without type information, friday reads /proc alone.
const BLIND: [&str; 6] = ["run", "--for", "300ms", "--btf", "/nonexistent/btf", "--case"];

fn blind(case: &Path, more: &[&str]) -> Output {
    let case = case.to_string_lossy().into_owned();
    friday(&[&BLIND[..], &[&case], more].concat())
}

#[test]
fn bad_usage_is_2_and_says_what_is_wrong() {
    for args in [&["run", "-p", "x"][..], &["run", "--for", "3 parsecs"], &["walk"], &["run", "-p", "1", "--unit", "a"]]
    {
        let output = friday(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).contains("error:"), "{args:?}");
        assert!(output.stdout.is_empty());
    }
    assert_eq!(friday(&["--help"]).status.code(), Some(0));
}

#[test]
fn a_target_that_is_not_there_names_the_remedy() {
    for (args, remedy) in [
        (&["run", "-p", "4194303"][..], "without -p finds the victims itself"),
        (&["run", "--cgroup", "/no/such/group"], "/no/such/group"),
        // With systemd the unit is not known; without it, -p and --cgroup are the way.
        (&["run", "--unit", "no-such-thing"], if Path::new("/run/systemd/system").exists() { "unit" } else { "-p" }),
        (&["run", "--", "/no/such/program"], "PATH"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let case = dir.path().join("case").to_string_lossy().into_owned();
        let mut with_case = args.to_vec();
        with_case.splice(1..1, ["--case", &case, "--for", "200ms"]);
        let output = friday(&with_case);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(remedy), "{args:?}: {}", stderr(&output));
        assert!(!Path::new(&case).exists(), "nothing is left behind");
    }
}

#[test]
fn without_tracing_the_run_goes_on_and_says_what_it_could_not_see() {
    let dir = tempfile::tempdir().unwrap();
    let output = blind(&dir.path().join("case"), &["--format", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("CONFIG_DEBUG_INFO_BTF"), "{}", stderr(&output));
    let document = json(&output);
    assert_eq!(document["schema"], "friday.case/1");
    assert_eq!(document["conclusion"], "unknown");
    let untested = document["untested"].as_array().unwrap();
    assert!(untested.iter().any(|u| u["id"] == "cpu profile" && !u["why"].as_str().unwrap().is_empty()));
    assert!(!document["ledger"].as_array().unwrap().is_empty(), "schedstat still gives a coarse ledger");
}

#[test]
fn a_stored_case_can_be_listed_shown_studied_and_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let case = dir.path().join("monday's case");
    let page = dir.path().join("page.html");
    let live = blind(&case, &["--format", "json", "--html", &page.to_string_lossy()]);
    assert_eq!(live.status.code(), Some(0), "{}", stderr(&live));
    for file in ["case.json", "report.html", "cpu.folded", "recording"] {
        assert!(case.join(file).exists(), "{file}");
    }
    assert!(fs::read_to_string(&page).unwrap().contains("<html"));
    let case = case.to_string_lossy().into_owned();
    let (again, shown) =
        (friday(&["replay", &case, "--format", "json"]), friday(&["case", "show", &case, "--format", "json"]));
    assert_eq!(json(&again), json(&live), "replay takes the same path");
    assert_eq!(json(&shown), json(&live));
    let study = friday(&["case", "study", &case]);
    assert!(String::from_utf8_lossy(&study.stdout).starts_with("# "));
    let root = dir.path().to_string_lossy().into_owned();
    let list = json(&friday(&["case", "list", "--root", &root, "--format", "json"]));
    assert_eq!(list.as_array().unwrap().len(), 1);
}

#[test]
fn monday_judges_settings_and_keeps_what_people_say() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("statement.toml");
    fs::write(&file, "schema = \"friday.statement/1\"\nproblem = \"checkout takes 3 s\"\n").unwrap();
    let (case, file) = (dir.path().join("case"), file.to_string_lossy().into_owned());
    let case = case.to_string_lossy().into_owned();
    let started = Instant::now();
    let told = friday(&["monday", "--case", &case, "--statement", &file, "--others", "mail too", "--baseline", "none"]);
    assert_eq!(told.status.code(), Some(0), "{}", stderr(&told));
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    for part in
        ["Problem statement", "“checkout takes 3 s”", "“mail too”", "Static tuning", "Known at the end of Monday"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (again, shown) =
        (friday(&["replay", &case, "--format", "json"]), friday(&["case", "show", &case, "--format", "json"]));
    let document = json(&again);
    assert_eq!(document, json(&shown), "replay takes the same path");
    assert_eq!(document["statement"][0]["said"], "checkout takes 3 s");
    assert_eq!(document["statement"][4]["said"], "mail too");
    let tests = json(&friday(&["monday", "memory", "--format", "json", "--for", "200ms", "--baseline", "none"]));
    let tests = tests.as_array().unwrap();
    assert!(!tests.is_empty() && tests.iter().all(|test| test["group"] == "memory" && test["verdict"].is_string()));
}

#[test]
fn prepare_ends_in_time_with_a_light_for_each_point_and_a_replay_says_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let case = dir.path().join("case");
    let began = Instant::now();
    let output = friday(&["prepare", "--for", "300ms", "--format", "json", "--case", &case.to_string_lossy()]);
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let tests = json(&output);
    let light = |tests: &serde_json::Value, id: &str| {
        let one = tests.as_array().unwrap().iter().find(|test| test["id"] == id).unwrap_or_else(|| panic!("no {id}"));
        (one["verdict"].clone(), one["why"].clone(), one["remedy"].clone())
    };
    let replayed = json(&friday(&["replay", &case.to_string_lossy(), "--format", "json"]));
    let shown = json(&friday(&["case", "show", &case.to_string_lossy(), "--format", "json"]));
    assert_eq!(replayed, shown, "replay takes the same path");
    let days = replayed["days"].as_array().unwrap();
    let prior = &days.iter().find(|day| day["day"] == "prior").unwrap()["tests"];
    for id in [
        "tools",
        "tools.procps",
        "tracing.kprobes",
        "tracing.spans",
        "access.capabilities",
        "diagram.complete",
        "source",
    ] {
        assert_eq!(light(&tests, id), light(prior, id), "{id}");
    }
    let (verdict, why, _) = light(&tests, "tools.procps");
    assert!(verdict == "good" && why.as_str().unwrap().ends_with(", runs"), "{why}");
}

#[test]
fn what_cannot_be_is_refused_before_anybody_waits() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("statement.toml");
    fs::write(&file, "schema = \"friday.statement/1\"\nspeed = \"slow\"\n").unwrap();
    let file = file.to_string_lossy().into_owned();
    let place = format!("{file}:2:1: no question is called `speed`");
    for (args, why) in [
        (&["health", "no.such", "--for", "1h"][..], "no health tool or group is called `no.such`"),
        (&["checklist", "no.such", "--for", "1h"], "no known issue is called `no.such`"),
        (&["monday", "no.such", "--for", "1h"], "no check or group of static tuning is called `no.such`"),
        (&["monday", "--statement", &file, "--for", "1h"], &place),
        (&["run", "--statement", &file, "--for", "1h"], &place),
    ] {
        let output = friday(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).contains(why), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn an_unusable_place_for_the_case_is_said_before_anything_is_measured() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("letter.txt"), "mine").unwrap();
    let started = Instant::now();
    let place = dir.path().to_string_lossy().into_owned();
    let output = friday(&["run", "--for", "30s", "--case", &place]);
    assert_eq!(output.status.code(), Some(1));
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!(stderr(&output).contains("--case DIR"), "{}", stderr(&output));
    assert_eq!(fs::read_to_string(dir.path().join("letter.txt")).unwrap(), "mine");
    let output = friday(&["run", "--for", "30s", "--case", "/proc/friday/case"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("--case DIR"), "{}", stderr(&output));
}

#[test]
fn a_page_that_cannot_be_written_costs_no_conclusion() {
    let dir = tempfile::tempdir().unwrap();
    let output = blind(&dir.path().join("case"), &["--format", "json", "--html", "/proc/no/page.html"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stderr(&output).contains("--html FILE"), "{}", stderr(&output));
    assert_eq!(json(&output)["schema"], "friday.case/1");
}

#[test]
fn a_conclusion_that_cannot_be_printed_is_kept_in_its_case() {
    let dir = tempfile::tempdir().unwrap();
    let case = dir.path().join("case");
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_friday"));
    command.args(BLIND).arg(&case).stdin(Stdio::null()).stdout(full);
    let output = command.output().expect("friday starts");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("No space left"), "{}", stderr(&output));
    let kept = friday(&["replay", &case.to_string_lossy(), "--format", "json"]);
    assert_eq!(json(&kept)["conclusion"], "unknown");
    assert!(case.join("report.html").is_file());
}

#[test]
fn a_trace_that_cannot_be_written_costs_no_path() {
    let dir = tempfile::tempdir().unwrap();
    let case = dir.path().join("case");
    let place = case.to_string_lossy().into_owned();
    let args = [&["path"], &BLIND[1..], &[&place, "--format", "json", "--trace", "/proc/no/trace"]].concat();
    let output = friday(&args);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("--trace FILE"), "{}", stderr(&output));
    assert!(!output.stdout.is_empty(), "the path is printed all the same");
    assert!(case.join("case.json").is_file());
}

#[test]
fn a_broken_case_is_an_error_and_not_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    let case = dir.path().join("case");
    blind(&case, &[]);
    fs::write(case.join("case.json"), "{\"schema\": \"friday.case/1\", ").unwrap();
    let output = friday(&["replay", &case.to_string_lossy()]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.contains("damaged") && !text.contains("panicked"), "{text}");
    assert_eq!(friday(&["replay", "/nonexistent"]).status.code(), Some(1));
}

#[test]
fn a_command_is_watched_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let case = dir.path().join("case").to_string_lossy().into_owned();
    let started = Instant::now();
    let output = friday(&[
        "run",
        "--for",
        "20s",
        "--btf",
        "/nonexistent",
        "--case",
        &case,
        "--format",
        "json",
        "--",
        "sh",
        "-c",
        "echo to-stdout; sleep 0.4; exit 3",
    ]);
    assert!(started.elapsed() < Duration::from_secs(15), "the window ends with the command");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("ended with status 3") && stderr(&output).contains("to-stdout"));
    assert_eq!(json(&output)["target"]["kind"], "command");
}

#[test]
fn ctrl_c_ends_the_window_early_with_a_result() {
    let dir = tempfile::tempdir().unwrap();
    let case = dir.path().join("case").to_string_lossy().into_owned();
    let child = Command::new(env!("CARGO_BIN_EXE_friday"))
        .args(["run", "--for", "60s", "--btf", "/nonexistent", "--case", &case, "--format", "json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let seconds = json(&output)["window"]["seconds"].as_f64().unwrap();
    assert!(seconds > 0.2 && seconds < 30.0, "{seconds}");
}

#[test]
fn a_window_can_be_made_longer() {
    let dir = tempfile::tempdir().unwrap();
    let case = dir.path().join("case").to_string_lossy().into_owned();
    let child = Command::new(env!("CARGO_BIN_EXE_friday"))
        .args(["run", "--for", "2s", "--btf", "/nonexistent", "--case", &case, "--format", "json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(1000));
    Command::new("kill").args(["-USR1", &child.id().to_string()]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(stderr(&output).contains("the window is 4 s now"), "{}", stderr(&output));
    let seconds = json(&output)["window"]["seconds"].as_f64().unwrap();
    assert!((3.9..20.0).contains(&seconds), "{seconds}");
}

/// Waits on a lock for most of the time, as Python tells it: without a name for the lock in the memory.
const LOCKED: &str = "
import threading, time
lock = threading.Lock()
def work():
    while True:
        with lock: time.sleep(0.02)
for n in range(4): threading.Thread(target=work, daemon=True).start()
time.sleep(30)
";

#[test]
#[ignore = "live: needs root and BPF"]
fn live_each_tier_sees_what_it_should() {
    let mut load = Command::new("/usr/bin/python3").args(["-c", LOCKED]).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let pid = load.id().to_string();
    let run = |tier: &str| {
        let dir = tempfile::tempdir().unwrap();
        let case = dir.path().join("case").to_string_lossy().into_owned();
        let words = ["run", "--tier", tier, "--for", "2s", "-p", &pid, "--case", &case, "--format", "json"];
        json(&friday(&words))
    };
    let [one, two, three] = ["1", "2", "3"].map(run);
    let _ = load.kill();
    let _ = load.wait();
    let blocked = |case: &serde_json::Value| {
        let rows = case["ledger"].as_array().unwrap();
        let mine = rows.iter().filter(|row| row["process"].as_u64() == pid.parse().ok());
        let shares = mine.flat_map(|row| row["shares"].as_object().unwrap());
        shares.filter(|(class, _)| class.starts_with("blocked.")).map(|(_, share)| share.as_f64().unwrap()).sum::<f64>()
    };
    for case in [&one, &two, &three] {
        assert!((4.5..=5.0).contains(&blocked(case)), "five threads, all but always blocked: {}", blocked(case));
    }
    assert!(one["overhead"]["programs"].as_array().unwrap().is_empty(), "nothing is attached in the first tier");
    assert!(two["stacks"].as_array().unwrap().is_empty(), "no stacks in the second");
    assert!(!three["stacks"].as_array().unwrap().is_empty());
}

#[test]
#[ignore = "live: needs root and BPF"]
fn live_run_finds_the_hot_function_and_replay_agrees() {
    let dir = tempfile::tempdir().unwrap();
    let case = dir.path().join("case").to_string_lossy().into_owned();
    // The command is left running and keeps friday's stderr open; it ends by itself should the test fail.
    let live = Command::new(env!("CARGO_BIN_EXE_friday"))
        .args(["run", "--for", "3s", "--case", &case, "--format", "json", "--"])
        .args(["timeout", "30", "/usr/bin/python3", "-c", "while True: sum(range(1000))"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .expect("friday starts");
    let document = json(&live);
    let pid = document["target"]["pid"].as_u64().unwrap().to_string();
    assert!(Path::new("/proc").join(&pid).exists(), "the command is left running");
    Command::new("kill").arg(&pid).status().unwrap();
    assert_eq!(document["conclusion"], "found", "{document:#}");
    assert_eq!(document["findings"][0]["cause"], "cpu.hot-code");
    let again = json(&friday(&["replay", &case, "--format", "json"]));
    for part in ["conclusion", "headline", "findings", "eliminated", "untested", "days", "ledger"] {
        assert_eq!(again[part], document[part], "{part}");
    }
}

#[test]
#[ignore = "live: needs root and BPF"]
fn live_run_without_root_goes_on_and_names_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let binary = dir.path().join("friday");
    fs::copy(env!("CARGO_BIN_EXE_friday"), &binary).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(dir.path(), open).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&binary)
        .args(["run", "--for", "300ms", "--format", "json"])
        .env("HOME", dir.path())
        .env_remove("XDG_DATA_HOME")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("run as root"), "{}", stderr(&output));
    assert_eq!(json(&output)["conclusion"], "unknown");
    assert!(dir.path().join(".local/share/friday").exists());
}
