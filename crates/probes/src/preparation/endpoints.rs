//! Where spans are sent to: what friday's own environment and that of running processes say of OTLP, and whether somebody
//! accepts a connection there. Of the environment nothing else is read out, and of addresses only host and port: the rest may
//! hold credentials. Source: opentelemetry.io/docs/specs/otel/protocol/exporter.

use crate::roots::Roots;
use observe::{Fact, Labels, Pid, Recording, catalog};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{TcpStream, ToSocketAddrs},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// Variables that name an endpoint, the one that counts for spans first.
const VARIABLES: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// ours: for all endpoints together; they are asked at once.
const PATIENCE: Duration = Duration::from_secs(1);
/// ours: a machine has one collector, or a few.
const MOST: usize = 8;
/// ours: as many processes are looked at.
const MOST_PROCESSES: usize = 4096;
/// What a kernel gives a process' environment at most, and a hundred times what is usual.
const LONGEST: u64 = 256 << 10;

/// Who is configured to send spans where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Configured {
    address: Address,
    variable: &'static str,
    /// `None` for friday itself.
    pid: Option<Pid>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Address {
    Tcp(String, u16),
    /// Not an address that can be connected to by TCP.
    Other(&'static str),
}

/// What came of a connection: state, and why.
type Answer = (&'static str, String);

/// Adds every endpoint that is configured.
pub(super) fn collect(roots: &Roots, into: &mut Recording) {
    let mut all: Vec<Configured> = Vec::new();
    let own =
        VARIABLES.iter().find_map(|name| Some((*name, std::env::var(name).ok().filter(|value| !value.is_empty())?)));
    all.extend(own.map(|(variable, url)| Configured { address: address(&url), variable, pid: None }));
    let mut unread = 0;
    let others = into.processes.values().filter(|process| !process.is_kernel && !process.is_friday);
    for pid in others.map(|process| process.pid).take(MOST_PROCESSES) {
        match environment(roots, pid) {
            Ok(environment) => all.extend(configured(&environment).map(|(variable, url)| Configured {
                address: address(&url),
                variable,
                pid: Some(pid),
            })),
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => unread += 1,
            Err(_) => {}
        }
    }
    let asked: BTreeSet<&Address> = all.iter().map(|one| &one.address).collect();
    let answers = ask(asked.into_iter().cloned().collect());
    let row = |one: &Configured| {
        let (state, why) =
            answers.get(&one.address).cloned().unwrap_or(("untested", format!("only {MOST} endpoints are asked")));
        let (state, why) = match one.pid {
            // What a process in a network of its own reaches cannot be known from here.
            Some(pid) if state != "accepts" && !same_network(roots, pid) => {
                ("untested", "the process is in a network of its own, and from friday's nobody accepts".to_owned())
            }
            _ => (state, why),
        };
        let process = one.pid.map_or("friday".to_owned(), |pid| into.process_name(pid));
        let labels = Labels::new([
            ("variable", one.variable.to_owned()),
            ("process", process),
            ("pid", one.pid.map_or(String::new(), |pid| pid.to_string())),
            ("address", one.address.label()),
            ("state", state.to_owned()),
        ]);
        Fact { labels, value: why, source: "/proc/PID/environ".to_owned() }
    };
    let mut rows: Vec<Fact> = all.iter().map(row).collect();
    if unread > 0 {
        let labels = Labels::new([("state", "unread".to_owned())]);
        let value = format!("the environment of {unread} processes cannot be read: run as root");
        rows.push(Fact { labels, value, source: "/proc/PID/environ".to_owned() });
    }
    into.set(&catalog::TRACE_ENDPOINT, Ok(rows));
}

fn environment(roots: &Roots, pid: Pid) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    fs::File::open(roots.proc.join(format!("{pid}/environ")))?.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The variable that counts in an environment, and its value.
fn configured(environment: &[u8]) -> Option<(&'static str, String)> {
    let value = |name: &str| {
        let mut variables = environment.split(|byte| *byte == 0);
        let value = variables.find_map(|one| one.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
        Some(String::from_utf8_lossy(value).into_owned()).filter(|value| !value.is_empty())
    };
    VARIABLES.iter().find_map(|name| Some((*name, value(name)?)))
}

/// Host and port of a URL, or of `host:port` as gRPC takes it.
fn address(url: &str) -> Address {
    let (scheme, rest) = url.trim().split_once("://").unwrap_or(("", url.trim()));
    let port = match scheme {
        "" => None,
        "http" => Some(80),
        "https" => Some(443),
        _ => return Address::Other("an address that is not http, https or HOST:PORT"),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    let (host, given) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => place.rsplit_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    let port = given.and_then(|port| port.parse().ok()).or(port.filter(|_| given.is_none()));
    match (host, port) {
        (host, Some(port))
            if !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:%".contains(c)) =>
        {
            Address::Tcp(host.to_owned(), port)
        }
        _ => Address::Other("an address without host and port"),
    }
}

impl Address {
    fn label(&self) -> String {
        match self {
            Address::Tcp(host, port) if host.contains(':') => format!("[{host}]:{port}"),
            Address::Tcp(host, port) => format!("{host}:{port}"),
            Address::Other(what) => (*what).to_owned(),
        }
    }
}

/// Asks all at once; whoever has not answered in time is silent. A name that does not resolve in time leaves a thread behind,
/// which ends with friday.
fn ask(addresses: Vec<Address>) -> BTreeMap<Address, Answer> {
    let (send, receive) = mpsc::channel();
    let mut answers = BTreeMap::new();
    for address in addresses.into_iter().take(MOST) {
        match &address {
            Address::Tcp(host, port) => {
                let silent = format!("no answer in {} s", PATIENCE.as_secs());
                let (send, host, port) = (send.clone(), host.clone(), *port);
                answers.insert(address.clone(), ("silent", silent));
                // A thread that cannot be made leaves it silent.
                let _ = thread::Builder::new().spawn(move || {
                    // Nobody listens any more after the deadline.
                    let _ = send.send((Address::Tcp(host.clone(), port), connect(&host, port)));
                });
            }
            Address::Other(what) => drop(answers.insert(address.clone(), ("untested", (*what).to_owned()))),
        }
    }
    drop(send);
    let deadline = Instant::now() + PATIENCE;
    while let Ok((address, answer)) = receive.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        answers.insert(address, answer);
    }
    answers
}

fn connect(host: &str, port: u16) -> Answer {
    let found = match (host, port).to_socket_addrs() {
        Ok(found) => found,
        Err(error) => return ("unresolved", format!("its name does not resolve: {error}")),
    };
    let mut why = "its name has no address".to_owned();
    for address in found {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(_) => return ("accepts", "a connection was accepted, and closed".to_owned()),
            Err(error) => why = error.to_string(),
        }
    }
    ("refused", why)
}

fn same_network(roots: &Roots, pid: Pid) -> bool {
    let namespace = |who: &str| fs::read_link(roots.proc.join(who).join("ns/net")).ok();
    namespace("self").is_some_and(|own| namespace(&pid.to_string()) == Some(own))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn of_an_address_only_host_and_port_are_kept() {
        for (url, label) in [
            ("http://localhost:4318", "localhost:4318"),
            ("https://user:secret@otel.example.com/v1/traces?token=secret", "otel.example.com:443"),
            ("http://[::1]:4318/v1/traces", "[::1]:4318"),
            ("http://collector", "collector:80"),
            ("collector:4317", "collector:4317"),
        ] {
            assert_eq!(address(url).label(), label, "{url}");
        }
        for url in ["unix:///run/secret.sock", "secret", "http://", "http://host:secret", "https://a b secret:1"] {
            let label = address(url).label();
            assert!(matches!(address(url), Address::Other(_)) && !label.contains("secret"), "{url}: {label}");
        }
    }

    #[test]
    fn the_variable_for_spans_comes_first_and_nothing_else_is_read_out() {
        let environment =
            b"PASSWORD=x\0OTEL_EXPORTER_OTLP_ENDPOINT=http://a:1\0OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://b:2\0";
        assert_eq!(configured(environment), Some(("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://b:2".to_owned())));
        assert_eq!(configured(b"OTEL_EXPORTER_OTLP_ENDPOINT=\0MY_OTEL_EXPORTER_OTLP_ENDPOINT=http://a:1\0"), None);
    }

    #[test]
    fn whoever_listens_accepts_and_whoever_does_not_is_told_in_time() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap().port();
        let closed = {
            let gone = TcpListener::bind("127.0.0.1:0").unwrap();
            gone.local_addr().unwrap().port()
        };
        let tcp = |port| Address::Tcp("127.0.0.1".to_owned(), port);
        let began = Instant::now();
        let answers = ask(vec![tcp(open), tcp(closed), Address::Tcp("192.0.2.1".to_owned(), 4317)]);
        assert!(began.elapsed() < Duration::from_secs(3));
        assert_eq!(answers[&tcp(open)].0, "accepts");
        assert_eq!(answers[&tcp(closed)].0, "refused");
        assert_ne!(answers[&Address::Tcp("192.0.2.1".to_owned(), 4317)].0, "accepts");
    }
}
