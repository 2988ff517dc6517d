//! The network probes against the kernel's own counters, under real loss, refusal and overflow. Needs root and a kernel
//! that lets programs load. All traffic stays on loopback or in namespaces that end with the processes in them.

use observe::{Labels, Pid, Recording, Series, catalog};
use probes::{
    Session, Tier,
    roots::Roots,
    target::{Request, resolve},
};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// Two network namespaces, 10.98.0.1 and 10.98.0.2, joined by a process that loses packets: `link.loss` is the part of
/// them, from 0 to 1. They are the namespaces of two child processes, which end with their parent, so nothing is left
/// behind however a test ends. Each child runs a function: `near` connects, `far` serves.
const LINK: &str = r#"
import ctypes, fcntl, heapq, os, random, select, signal, socket, struct, subprocess, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
NEWNET, SIGKILL, PDEATHSIG = 0x40000000, 9, 1

def child(address, work):
    mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    pid = os.fork()
    if pid:
        theirs.close()
        _, fds, _, _ = socket.recv_fds(mine, 1, 1)
        os.set_blocking(fds[0], False)
        return pid, fds[0], mine
    libc.prctl(PDEATHSIG, SIGKILL)
    mine.close()
    assert libc.unshare(NEWNET) == 0, 'namespaces'
    tun = os.open('/dev/net/tun', os.O_RDWR)
    fcntl.ioctl(tun, 0x400454ca, struct.pack('16sH22x', b'tun0', 0x1001))
    for command in (f'ip addr add {address}/24 dev tun0', 'ip link set tun0 up', 'ip link set lo up'):
        subprocess.run(command.split(), check=True)
    socket.send_fds(theirs, [b'x'], [tun])
    os.close(tun)
    try:
        work(lambda: theirs.recv(1))
    finally:
        os._exit(0)

class Link:
    loss, delay = 0.0, 0.005
    def run(self, near, far):
        far_pid, far_fd, far_go = child('10.98.0.2', far)
        near_pid, near_fd, near_go = child('10.98.0.1', near)
        print(near_pid, far_pid, flush=True)
        threading.Thread(target=lambda: [go.send(b'x') for _ in sys.stdin for go in (far_go, near_go)], daemon=True).start()
        fds, queue, count = [near_fd, far_fd], [], 0
        while True:
            now = time.monotonic()
            while queue and queue[0][0] <= now:
                _, _, to, packet = heapq.heappop(queue)
                try: os.write(to, packet)
                except OSError: pass
            ready, _, _ = select.select(fds, [], [], max(0, queue[0][0] - now) if queue else 0.05)
            for fd in ready:
                for _ in range(64):
                    try: packet = os.read(fd, 65536)
                    except BlockingIOError: break
                    if random.random() >= self.loss:
                        count += 1
                        heapq.heappush(queue, (time.monotonic() + self.delay, count, fds[1 - fds.index(fd)], packet))

link = Link()

def serve(go):
    listener = socket.create_server(('10.98.0.2', 7000))
    while True:
        connection, _ = listener.accept()
        while connection.recv(1 << 20): pass
"#;

/// A process of the test's, which ends with it.
struct Load {
    child: Child,
    stdin: ChildStdin,
    lines: BufReader<std::process::ChildStdout>,
}

impl Load {
    fn python(script: &str) -> Self {
        let child =
            Command::new("/usr/bin/python3").args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.expect("python3 starts");
        let stdin = child.stdin.take().expect("it was asked for");
        let lines = BufReader::new(child.stdout.take().expect("it was asked for"));
        Load { child, stdin, lines }
    }

    /// Two namespaces and what runs in the first of them, which begins when it is told to.
    fn link(script: &str) -> (Self, Pid) {
        let mut load = Load::python(&format!("{LINK}\n{script}"));
        let line = load.line();
        let near = line.split(' ').next().and_then(|pid| pid.parse().ok());
        let near = Pid(near.unwrap_or_else(|| panic!("two processes in namespaces: {line:?}")));
        // The far end must listen.
        sleep(Duration::from_millis(300));
        (load, near)
    }

    fn pid(&self) -> Pid {
        Pid(self.child.id())
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("its output can be read");
        line.trim().to_owned()
    }

    fn go(&mut self) {
        self.stdin.write_all(b"go\n").expect("it listens");
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Watches from before something begins until it has ended.
fn watch(request: &Request, tier: Tier, window: Duration, begin: impl FnOnce()) -> Recording {
    let roots = Roots::default();
    let target = resolve(&roots, request).expect("the target is there");
    let mut session = Session::start(&roots, target, tier).expect("the machine can be read");
    if tier > Tier::Counters {
        assert!(session.blind().is_none(), "the kernel cannot be traced: {:?}", session.blind());
    }
    begin();
    let started = Instant::now();
    while started.elapsed() < window {
        sleep(Duration::from_millis(50));
        session.poll();
    }
    session.finish()
}

fn total(rows: &[Series], wanted: impl Fn(&Labels) -> bool) -> f64 {
    rows.iter().filter(|row| wanted(&row.labels)).map(Series::last).sum()
}

/// A counter of a process' network namespace, as the kernel has it.
fn snmp(pid: Pid, protocol: &str, counter: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/net/snmp")).expect("the counters are there");
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(protocol)?.strip_prefix(": "));
    let (names, values) = (lines.next().expect("names"), lines.next().expect("numbers"));
    let found = names.split(' ').zip(values.split(' ')).find(|(name, _)| *name == counter);
    found.and_then(|(_, value)| value.parse().ok()).expect("the counter is there")
}

fn counter(rec: &Recording, protocol: &str, counter: &str) -> f64 {
    let rows = rec.get(&catalog::NET_PROTOCOL).expect("protocol counters");
    let row = rows.iter().find(|row| row.labels.get("protocol") == protocol && row.labels.get("counter") == counter);
    row.and_then(Series::increase).unwrap_or_else(|| panic!("{protocol} {counter}"))
}

fn of(pid: Pid) -> impl Fn(&Labels) -> bool {
    move |labels| labels.pid() == Some(pid)
}

/// Sends for three seconds over a link that loses one packet in thirty and stands still for a while.
const LOSSY: &str = r"
def near(go):
    go()
    s = socket.create_connection(('10.98.0.2', 7000))
    end = time.monotonic() + 3
    s.setblocking(False)
    while time.monotonic() < end:
        try: s.send(b'x' * 8000)
        except BlockingIOError: time.sleep(0.002)
    time.sleep(30)
def run():
    link.loss = 0.03
    def dark():
        time.sleep(0.8)
        while True:
            link.loss = 1.0; time.sleep(0.7)
            link.loss = 0.03; time.sleep(1.2)
    threading.Thread(target=dark, daemon=True).start()
    link.run(near, serve)
run()
";

#[test]
#[ignore = "live: needs root and BPF"]
fn live_retransmissions_agree_with_the_kernels_counter() {
    let (mut load, near) = Load::link(LOSSY);
    let rec = watch(&Request::System, Tier::Times, Duration::from_secs(6), || load.go());
    let counted = snmp(near, "Tcp", "RetransSegs");
    let rows = rec.get(&catalog::TCP_RETRANSMITS).expect("the programs ran");
    let traced = total(rows, of(near));
    eprintln!("traced {traced}, counted {counted}: {rows:?}");
    assert!(counted > 50.0, "the link loses: {counted}");
    assert!((traced - counted).abs() <= 0.02 * counted, "traced {traced}, counted {counted}");
    assert!(rows.iter().filter(|row| of(near)(&row.labels)).all(|row| row.labels.get("peer") == "10.98.0.2:7000"));
    let kind = |kind: &str| total(rows, |labels| of(near)(labels) && labels.get("kind") == kind);
    assert!(kind("timeout") > 0.0 && kind("fast") > 0.0, "{rows:?}");
    let waited = total(rec.get(&catalog::TCP_RTO_WAIT).expect("the programs ran"), of(near));
    assert!((0.2..6.0).contains(&waited), "it stood still for {waited} s");
}

#[test]
#[ignore = "live: needs root and BPF"]
fn live_a_target_in_another_namespace_is_seen_without_programs() {
    let (mut load, near) = Load::link(LOSSY);
    let rec = watch(&Request::Process(near), Tier::Counters, Duration::from_secs(6), || load.go());
    let counted = snmp(near, "Tcp", "RetransSegs");
    assert_eq!(counter(&rec, "Tcp", "RetransSegs"), counted);
    let rows = rec.get(&catalog::TCP_SEGMENTS).expect("sock_diag");
    let again = total(rows, |labels| of(near)(labels) && labels.get("what") == "retransmitted");
    assert!(counted > 50.0 && (again - counted).abs() <= 0.02 * counted, "of the socket {again}, of all {counted}");
    let rtt = rec.get(&catalog::TCP_RTT).expect("sock_diag").iter().find(|row| of(near)(&row.labels)).expect("its row");
    assert!(rtt.last() > 0.010, "twice the delay: {rtt:?}");
    assert!(rec.get(&catalog::NET_IO).expect("interfaces").iter().any(|row| row.labels.get("device") == "target/tun0"));
    assert!(rec.get(&catalog::TCP_RETRANSMITS).is_err(), "programs did not run");
}

#[test]
#[ignore = "live: needs root and BPF"]
fn live_refused_connections_are_counted_exactly() {
    let mut load = Load::python(
        r"
import socket, sys, time
listener = socket.create_server(('127.0.0.1', 0))
closed = socket.socket(); closed.bind(('127.0.0.1', 0))
print(closed.getsockname()[1], listener.getsockname()[1], flush=True)
sys.stdin.readline()
for _ in range(50):
    s = socket.socket()
    try: s.connect(closed.getsockname())
    except ConnectionRefusedError: pass
kept = []
for at in range(30):
    client = socket.create_connection(listener.getsockname())
    server = listener.accept()[0]
    client.sendall(b'x' * 1000)
    while len(server.recv(1000, socket.MSG_PEEK)) < 1000: pass
    if at % 3 == 0:
        client.close()
        server.recv(1000)
        server.close()
    else:
        kept += client, server
time.sleep(30)
",
    );
    let line = load.line();
    let (closed, open) = line.split_once(' ').expect("two ports");
    let pid = load.pid();
    let rec = watch(&Request::System, Tier::Times, Duration::from_secs(2), || load.go());
    let failed = rec.get(&catalog::TCP_CONNECT_FAILED).expect("the programs ran");
    let refused = |labels: &Labels| {
        of(pid)(labels) && labels.get("why") == "ECONNREFUSED" && labels.get("peer") == format!("127.0.0.1:{closed}")
    };
    assert_eq!(total(failed, refused), 50.0, "{failed:?}");
    assert_eq!(total(failed, of(pid)), 50.0, "and nothing else failed");
    let made = rec.get(&catalog::TCP_CONNECT).expect("the programs ran");
    let made = made.iter().find(|h| of(pid)(&h.labels)).expect("its row");
    assert_eq!((made.count, made.labels.get("peer")), (30, format!("127.0.0.1:{open}").as_str()));
    let accepted = rec.get(&catalog::TCP_ACCEPTED).expect("the programs ran");
    let here = |labels: &Labels| labels.get("local_port") == open && of(pid)(labels);
    assert_eq!(total(accepted, here), 30.0, "{accepted:?}");
    let arrived = rec.get(&catalog::TCP_ARRIVED).expect("the programs ran");
    let bytes = total(arrived, |labels| labels.get("local_port") == open);
    assert_eq!(bytes, 30_010.0, "the end of a connection counts as a byte: {arrived:?}");
}

#[test]
#[ignore = "live: needs root and BPF"]
fn live_a_connection_that_nobody_answers_is_seen_while_it_waits_and_when_it_is_given_up() {
    let (mut load, near) = Load::link(
        r"
def near(go):
    go()
    waiting = socket.socket(); waiting.setblocking(False)
    try: waiting.connect(('10.98.0.2', 7001))
    except BlockingIOError: pass
    try: socket.create_connection(('10.98.0.2', 7002), timeout=1.5)
    except TimeoutError: pass
    with open('/proc/sys/net/ipv4/ip_local_port_range', 'w') as ports: ports.write('40000 40000')
    kept = []
    for _ in range(3):
        s = socket.socket(); s.setblocking(False); kept.append(s)
        try: s.connect(('10.98.0.2', 7003))
        except OSError: pass
    time.sleep(30)
link.loss = 1.0
link.run(near, serve)
",
    );
    let rec = watch(&Request::Process(near), Tier::Times, Duration::from_secs(4), || load.go());
    let wasted = rec.get(&catalog::TCP_CONNECT_WASTED).expect("the programs ran");
    let time = |why: &str| total(wasted, |labels| of(near)(labels) && labels.get("why") == why);
    assert!((1.4..1.8).contains(&time("given up")), "{wasted:?}");
    let pending = |labels: &Labels| labels.get("why") == "pending" && labels.get("peer") == "10.98.0.2:7001";
    assert!((3.5..4.5).contains(&total(wasted, pending)), "{wasted:?}");
    let failed = rec.get(&catalog::TCP_CONNECT_FAILED).expect("the programs ran");
    let no_port = |labels: &Labels| of(near)(labels) && labels.get("why") == "EADDRNOTAVAIL";
    assert_eq!(total(failed, no_port), 2.0, "one port, three connections: {failed:?}");
    let again = rec.get(&catalog::TCP_RETRANSMITS).expect("the programs ran");
    assert!(total(again, |labels| of(near)(labels) && labels.get("kind") == "syn") >= 2.0, "{again:?}");
    let connecting = rec.get(&catalog::TCP_CONNECTING).expect("sock_diag");
    assert!(connecting.iter().any(|row| of(near)(&row.labels) && row.labels.get("peer") == "10.98.0.2:7001"));
}

#[test]
#[ignore = "live: needs root and BPF"]
fn live_a_listener_that_does_not_accept_overflows() {
    let mut load = Load::python(
        r"
import socket, sys, time
listener = socket.create_server(('127.0.0.1', 0), backlog=1)
print(listener.getsockname()[1], flush=True)
sys.stdin.readline()
kept = []
for _ in range(8):
    s = socket.socket(); s.setblocking(False); kept.append(s)
    try: s.connect(listener.getsockname())
    except BlockingIOError: pass
time.sleep(30)
",
    );
    let (address, pid) = (format!("127.0.0.1:{}", load.line()), load.pid());
    let rec = watch(&Request::System, Tier::Counters, Duration::from_secs(3), || load.go());
    let row = |rows: &[Series]| {
        let mine = |row: &&Series| row.labels.get("address") == address && of(pid)(&row.labels);
        rows.iter().find(mine).expect("its row").clone()
    };
    let dropped = row(rec.get(&catalog::LISTEN_DROPS).expect("sock_diag")).increase().expect("two readings");
    assert!(dropped >= 6.0, "{dropped} dropped");
    assert!(counter(&rec, "TcpExt", "ListenOverflows") >= dropped, "the kernel counts them too");
    assert_eq!(row(rec.get(&catalog::LISTEN_BACKLOG).expect("sock_diag")).last(), 1.0);
    assert_eq!(row(rec.get(&catalog::LISTEN_QUEUE).expect("sock_diag")).max(), 2.0, "one more than the backlog");
}

#[test]
#[ignore = "live: needs root and BPF"]
fn live_packets_for_nobody_are_dropped_for_that_reason() {
    let mut load = Load::python(
        r"
import socket, sys, time
closed = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); closed.bind(('127.0.0.1', 0))
address = closed.getsockname(); closed.close()
sys.stdin.readline()
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(500): s.sendto(b'x', address)
full = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); full.bind(('127.0.0.1', 0))
for _ in range(3000): s.sendto(b'x' * 1000, full.getsockname())
time.sleep(30)
",
    );
    let pid = load.pid();
    let rec = watch(&Request::System, Tier::Times, Duration::from_secs(2), || load.go());
    let rows = rec.get(&catalog::PACKET_DROPS).expect("the programs ran");
    let no_socket = total(rows, |labels| labels.get("reason") == "NO_SOCKET");
    assert!((500.0..600.0).contains(&no_socket), "{rows:?}");
    let full = total(rows, |labels| labels.get("reason") == "SOCKET_RCVBUFF");
    assert_eq!(
        total(rec.get(&catalog::UDP_DROPS).expect("sock_diag"), of(pid)),
        full,
        "the same, by whose socket it is"
    );
    assert!(full > 1000.0 && (counter(&rec, "Udp", "RcvbufErrors") - full).abs() <= 2.0, "{rows:?}");
    assert!(rows.iter().all(|row| !["NOT_SPECIFIED", "CONSUMED"].contains(&row.labels.get("reason"))));
}

#[test]
#[ignore = "live: needs root and BPF"]
fn live_a_reader_that_does_not_read_closes_the_window() {
    let mut load = Load::python(
        r"
import socket, sys, time
listener = socket.create_server(('127.0.0.1', 0))
writer = socket.create_connection(listener.getsockname())
reader = listener.accept()[0]
print(writer.getsockname()[1], flush=True)
sys.stdin.readline()
writer.setblocking(False)
end = time.monotonic() + 30
while time.monotonic() < end:
    try: writer.send(b'x' * 65536)
    except BlockingIOError: time.sleep(0.01)
",
    );
    let (port, pid) = (load.line(), load.pid());
    let rec = watch(&Request::System, Tier::Counters, Duration::from_secs(5), || load.go());
    let mine = |labels: &Labels| of(pid)(labels) && labels.get("local_port") == port;
    let limited = rec.get(&catalog::TCP_LIMITED).expect("sock_diag");
    let by = |by: &str| total(limited, |labels| mine(labels) && labels.get("by") == by);
    assert!(by("receive_window") > 4.0 && by("busy") >= by("receive_window"), "{limited:?}");
    let window = rec.get(&catalog::TCP_PEER_WINDOW).expect("sock_diag");
    let window = window.iter().find(|row| mine(&row.labels)).expect("its row");
    assert_eq!(window.last(), 0.0, "{window:?}");
}

#[test]
#[ignore = "live: needs root and BPF"]
fn live_questions_to_name_servers_are_counted() {
    let mut load = Load::python(
        r"
import socket, sys, time
sys.stdin.readline()
for _ in range(20):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(('127.0.0.9', 53)); s.send(b'x'); s.close()
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(10): s.sendto(b'x', ('127.0.0.8', 53)); time.sleep(0.01)
time.sleep(30)
",
    );
    let pid = load.pid();
    let rec = watch(&Request::System, Tier::Times, Duration::from_secs(2), || load.go());
    let rows = rec.get(&catalog::DNS_LOOKUPS).expect("the programs ran");
    let asked = |server: &str| total(rows, |labels| of(pid)(labels) && labels.get("server") == server);
    assert_eq!((asked("127.0.0.9"), asked("127.0.0.8")), (20.0, 10.0), "{rows:?}");
}
