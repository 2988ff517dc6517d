//! What is different from how it was: a service under a paced load, as it was, asked for twice as much, with a setting
//! changed, upgraded, and made slower.

use serde_json::Value;
use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Answers a line with a line after some work.
const SERVICE: &str = r#"
import socketserver, sys
class Desk(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            sum(i * i for i in range(WORK))
            self.wfile.write(b"done\n")
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
Server(("127.0.0.1", int(sys.argv[1])), Desk).serve_forever()
"#;

/// Asks so many times a second, whatever the answers take.
const CLIENT: &str = r#"
import socket, sys, time
port, rate = int(sys.argv[1]), float(sys.argv[2])
s = socket.create_connection(("127.0.0.1", port)); s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
f = s.makefile("rb"); at = time.monotonic()
while True:
    s.sendall(b"next\n"); f.readline()
    at += 1 / rate
    time.sleep(max(0, at - time.monotonic()))
"#;

const PYTHON: &str = "/usr/bin/python3";

struct Shop {
    dir: PathBuf,
    port: u16,
    service: Child,
    client: Option<Child>,
    /// Requests per second.
    rate: u32,
}

/// One window on it.
struct Look {
    case: PathBuf,
    /// CPU seconds per request by the scheduler's own account, over friday's whole run.
    cost: f64,
}

impl Drop for Shop {
    fn drop(&mut self) {
        for child in self.client.iter_mut().chain([&mut self.service]) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn python(exe: &Path, script: &Path, args: &[&str]) -> Child {
    let mut command = Command::new(exe);
    command.arg(script).args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("python3")
}

impl Shop {
    /// With a program of its own, which can be upgraded. What is there already and the same keeps its time of change.
    fn open(dir: &Path, port: u16, work: u32) -> Shop {
        let text = SERVICE.replace("WORK", &work.to_string());
        if fs::read_to_string(dir.join("service.py")).ok().as_ref() != Some(&text) {
            fs::write(dir.join("service.py"), text).unwrap();
        }
        if !dir.join("client.py").exists() {
            fs::write(dir.join("client.py"), CLIENT).unwrap();
            fs::copy(PYTHON, dir.join("python3")).unwrap();
        }
        let service = python(&dir.join("python3"), &dir.join("service.py"), &[&port.to_string()]);
        let started = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(10), "the service listens");
            thread::sleep(Duration::from_millis(20));
        }
        Shop { dir: dir.to_owned(), port, service, client: None, rate: 0 }
    }

    fn load(&mut self, rate: u32) {
        if let Some(mut client) = self.client.take() {
            let _ = client.kill();
            let _ = client.wait();
        }
        self.rate = rate;
        let client = self.dir.join("client.py");
        self.client = Some(python(Path::new(PYTHON), &client, &[&self.port.to_string(), &rate.to_string()]));
        thread::sleep(Duration::from_millis(500));
    }

    fn look(&self, name: &str) -> Look {
        let (before, began) = (self.cpu(), Instant::now());
        let case = self.dir.join(name);
        let pid = self.service.id().to_string();
        let status = Command::new(env!("CARGO_BIN_EXE_friday"))
            .args(["run", "--baseline", "none", "--for", "8s", "--tier", "3", "-p", &pid, "--case"])
            .arg(&case)
            .stdin(Stdio::null())
            .output()
            .expect("friday");
        assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
        let requests = began.elapsed().as_secs_f64() * f64::from(self.rate);
        Look { case, cost: (self.cpu() - before).as_secs_f64() / requests }
    }

    /// CPU time of the service by the scheduler's account.
    fn cpu(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.service.id())).unwrap();
        let of = |task: fs::DirEntry| {
            let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
        };
        Duration::from_nanos(tasks.map(|task| of(task.unwrap())).sum())
    }
}

/// Puts another program in the place of one, as packages do: it does the same under another build-id.
fn upgrade(program: &Path) {
    // elf(5): sizes of name and description, the type NT_GNU_BUILD_ID, the name; the id follows.
    const HEAD: &[u8] = b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0";
    let mut bytes = fs::read(program).unwrap();
    let at = bytes.windows(HEAD.len()).position(|part| part == HEAD).expect("a build-id") + HEAD.len();
    bytes[at] ^= 0xff;
    let new = program.with_extension("new");
    fs::write(&new, bytes).unwrap();
    fs::set_permissions(&new, fs::metadata(program).unwrap().permissions()).unwrap();
    fs::rename(&new, program).unwrap();
}

/// The differences of [`KINDS`]: what, of what, how many times as much. The same work was seen to take twice the time on a
/// virtual CPU, minutes later: what friday says of the cost is held to the scheduler's own account.
fn different(before: &Look, after: &Look) -> Vec<(String, String, f64)> {
    let text = |change: &Value, name: &str| change[name].as_str().unwrap().to_owned();
    let mut all: Vec<_> = changes(before, after)
        .iter()
        .filter(|change| KINDS.contains(&change["kind"].as_str().unwrap()))
        .map(|change| (text(change, "kind"), text(change, "of"), change["times"].as_f64().unwrap_or(0.0)))
        .collect();
    let really = after.cost / before.cost;
    if let Some((_, of, times)) = all.iter().find(|(kind, ..)| kind == "cost") {
        assert!((times / really - 1.0).abs() < 0.15, "{of}: {times} times the cost, by the scheduler {really}");
    }
    // Five times the work is meant, and more than any CPU was seen to change by.
    all.retain(|(kind, ..)| kind != "cost" || !(1.0 / MEANT..MEANT).contains(&really) || (0.9..1.1).contains(&really));
    all
}

/// ours: between twice the time for the same work, and five times the work on a CPU that does twice as much meanwhile.
const MEANT: f64 = 2.1;

fn changes(before: &Look, after: &Look) -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_friday"))
        .args(["compare", "--format", "json"])
        .args([&before.case, &after.case])
        .output()
        .expect("friday");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let compared: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    compared["changes"].as_array().unwrap().clone()
}

/// What a service is asked for and what that costs, and everything that does not move by itself. Whether a resource is
/// busier depends on what else this machine does meanwhile.
const KINDS: [&str; 5] = ["load", "cost", "config", "software", "hardware"];

#[test]
#[ignore = "needs root"]
fn live_what_is_different_is_named_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut shop = Shop::open(dir.path(), port, 8_000);
    shop.load(100);
    let before = shop.look("before");

    let again = shop.look("again");
    assert_eq!(different(&before, &again), [], "the same again");

    shop.load(200);
    let more = different(&before, &shop.look("more"));
    let [(kind, of, times)] = &more[..] else { panic!("only the load: {more:?}") };
    assert!(kind == "load" && of.starts_with("python3 ") && (1.9..=2.1).contains(times), "{more:?}");

    // One that exists everywhere, that nobody notices, and that is put back.
    struct Setting(String);
    impl Drop for Setting {
        fn drop(&mut self) {
            let _ = fs::write("/proc/sys/vm/stat_interval", &self.0);
        }
    }
    shop.load(100);
    let setting = Setting(fs::read_to_string("/proc/sys/vm/stat_interval").unwrap());
    fs::write("/proc/sys/vm/stat_interval", if setting.0.trim() == "1" { "2" } else { "1" }).unwrap();
    let set = different(&before, &shop.look("set"));
    drop(setting);
    assert_eq!(
        set.iter().map(|(kind, of, _)| (kind.as_str(), of.as_str())).collect::<Vec<_>>(),
        [("config", "vm.stat_interval")]
    );
    drop(shop);

    upgrade(&dir.path().join("python3"));
    let mut shop = Shop::open(dir.path(), port, 8_000);
    shop.load(100);
    let upgraded = shop.look("upgraded");
    let named = different(&before, &upgraded);
    let [(kind, of, _)] = &named[..] else { panic!("only the program: {named:?}") };
    assert!(kind == "software" && *of == dir.path().join("python3").display().to_string(), "{named:?}");
    let changes = changes(&before, &upgraded);
    let of_it = changes.iter().find(|change| change["of"].as_str() == Some(of)).unwrap();
    let [then, now] = ["before", "after"].map(|name| of_it[name].as_str().unwrap());
    assert!(then.starts_with("build-id ") && now.starts_with("build-id ") && then != now, "{of_it:?}");
    drop(shop);

    // Another version of it, that takes five times the work; reading and answering stays what it is.
    let mut shop = Shop::open(dir.path(), port, 40_000);
    shop.load(100);
    let slower = different(&upgraded, &shop.look("slower"));
    let [(cost, of, times), (software, script, _)] = &slower[..] else { panic!("cost and script: {slower:?}") };
    assert!(cost == "cost" && of.starts_with("python3 ") && *times > MEANT, "{slower:?}");
    assert!(software == "software" && script.ends_with("service.py"), "{slower:?}");
}
