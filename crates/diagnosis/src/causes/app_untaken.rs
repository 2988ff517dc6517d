//! What a server does not take, though it has the time: connections that stay in its accept queue, and data that stays
//! unread in connections that it has accepted.
//!
//! Whoever sent it waits, and nothing moves: neither end is woken in the window, so no wait tells who holds up whom. The
//! kernel's books of sockets do.

use crate::{Confidence, Draft, Scene, Victim, cause::process, graph::listener, path::Removes};
use checks::Evidence;
use observe::{Pid, Ratio, Series, TimeClass, catalog};
use std::time::Duration;

/// ours: a server that does this much has work, and takes more when that is done.
const IDLE: Ratio = Ratio(0.05);

/// ours: what lies unread for less than this is on its way.
const LEAST: Duration = Duration::from_secs(2);

/// What somebody leaves untaken.
struct Untaken {
    server: Pid,
    /// Connections that it has not accepted.
    unaccepted: f64,
    /// Connections that it has accepted, with something unread.
    unread: usize,
    /// Processes of this machine at the other ends.
    clients: Vec<Pid>,
    /// Where it listens.
    address: String,
}

impl Untaken {
    /// Of one process that listens, or holds such connections.
    fn of(scene: &Scene, server: Pid) -> Option<Untaken> {
        let rows = scene.rec.get(&catalog::TCP_UNREAD).into_iter().flatten();
        // What a server has said by itself lies unread in many an idle client: a greeting, a farewell.
        let serves = |row: &&Series| listener(scene, &format!(":{}", row.labels.get("local_port"))).is_some();
        let rows: Vec<&Series> = rows.filter(|row| row.labels.pid() == Some(server)).filter(serves).collect();
        let (address, unaccepted) = unaccepted(scene, server).unwrap_or_default();
        let mut clients: Vec<Pid> =
            rows.iter().filter_map(|row| row.labels.get("peer_pid").parse().ok().map(Pid)).collect();
        clients.sort_unstable();
        clients.dedup();
        let unread = rows.iter().filter(|row| row.labels.get("accepted") == "yes").count();
        let something = unaccepted > 0.0 || unread > 0;
        let long = scene.window() >= LEAST;
        (something && long).then_some(Untaken { server, unaccepted, unread, clients, address })
    }

    /// The same where its server has the time for it: it and its fellows hardly do anything, and nobody has stopped them.
    fn idly(self, scene: &Scene) -> Option<Untaken> {
        let fellows = scene
            .children(self.server)
            .filter(|pid| scene.rec.process_name(*pid) == scene.rec.process_name(self.server));
        let all = fellows.chain([self.server]).flat_map(|pid| scene.threads(pid));
        let busiest = all.map(|t| t.classes.active().saturating_sub(t.classes[TimeClass::BlockedSleep])).max();
        (Ratio::of(busiest.unwrap_or_default(), scene.window()) < IDLE).then_some(self)
    }
}

/// Where a process listens, and how many connections stayed in its accept queue from the begin of the window to its end.
fn unaccepted(scene: &Scene, server: Pid) -> Option<(String, f64)> {
    let rows = scene.rec.get(&catalog::LISTEN_QUEUE).into_iter().flatten();
    let stays = |row: &&Series| {
        let values: Vec<f64> = row.points.iter().map(|point| point.value).collect();
        values.len() > 1 && values[0] >= 1.0 && values.windows(2).all(|pair| pair[1] >= pair[0])
    };
    let own = rows.filter(|row| row.labels.pid() == Some(server)).filter(stays);
    let most = own.max_by(|a, b| a.points[0].value.total_cmp(&b.points[0].value))?;
    Some((most.labels.get("address").to_owned(), most.points[0].value))
}

/// Servers that leave something untaken, though they have the time.
pub fn servers(scene: &Scene) -> Vec<Pid> {
    let listening = scene.rec.get(&catalog::LISTEN_QUEUE).into_iter().flatten().filter_map(|row| row.labels.pid());
    let reading = scene.rec.get(&catalog::TCP_UNREAD).into_iter().flatten().filter_map(|row| row.labels.pid());
    let mut all: Vec<Pid> = listening.chain(reading).collect();
    all.sort_unstable();
    all.dedup();
    all.retain(|pid| !scene.is_background(*pid) && untaken(scene, *pid).is_some());
    all
}

fn untaken(scene: &Scene, server: Pid) -> Option<Untaken> {
    Untaken::of(scene, server)?.idly(scene)
}

/// The server that a victim is, or that it waits for.
fn about(scene: &Scene, victim: &Victim) -> Option<Untaken> {
    let all = servers(scene).into_iter().filter_map(|pid| untaken(scene, pid));
    let connects = |to: Pid| {
        let unanswered = victim.waits(scene).filter(|w| w.class == TimeClass::BlockedProcess && w.by.is_none());
        unanswered.filter_map(|w| listener(scene, w.end()?)).any(|pid| pid == to)
    };
    let asks = |u: &Untaken| u.clients.iter().any(|pid| victim.contains(*pid)) || connects(u.server);
    let mut concerns = all.filter(|u| victim.contains(u.server) || asks(u));
    concerns.next()
}

/// Connections that nobody accepts: those who would are all taken, or the server has all the connections that it may have.
pub fn pool(scene: &Scene, victim: &Victim) -> Option<Draft> {
    let untaken = about(scene, victim).filter(|u| u.unaccepted > 0.0)?;
    let held = held(scene, untaken.server);
    let who = scene.label(untaken.server);
    let has = match held {
        (0, _) => String::new(),
        (connections, 1) => format!(" It has {connections} connections open, and may have reached a limit of its own."),
        (connections, processes) => format!(
            " Its {processes} processes have {connections} connections open, and wait for whoever is at their other ends."
        ),
    };
    Some(Draft {
        next: vec![
            format!("raise the number of workers or connections that {who} may have; ask it for its own status"),
            "shorten how long it keeps a connection that nobody uses (keep-alive), and close those that are not needed"
                .into(),
        ],
        summary: format!(
            "{who} leaves {:.0} connections in the accept queue of {} all the window, though it hardly does anything: \
             whoever made them waits.{has}",
            untaken.unaccepted, untaken.address,
        ),
        ..draft(scene, &untaken)
    })
}

/// Data that lies in connections which a server has accepted.
pub fn unread(scene: &Scene, victim: &Victim) -> Option<Draft> {
    let untaken = about(scene, victim).filter(|u| u.unaccepted == 0.0)?;
    let who = scene.label(untaken.server);
    let whose: Vec<String> = untaken.clients.iter().take(3).map(|pid| scene.label(*pid)).collect();
    let whose = if whose.is_empty() { String::new() } else { format!(" Who sent it: {}.", whose.join(", ")) };
    Some(Draft {
        next: vec![
            format!(
                "ask {who} why it takes nothing: its log, its status; it may hold senders back (an alarm, a limit)"
            ),
            "see what lies unread: ss -tnp (Recv-Q)".into(),
        ],
        summary: format!(
            "{who} leaves unread what came over {} of its connections all the window, though it hardly does anything.{whose}",
            untaken.unread,
        ),
        ..draft(scene, &untaken)
    })
}

fn draft(scene: &Scene, untaken: &Untaken) -> Draft {
    let evidence = [
        ("sock_diag: connections not accepted, all the window", untaken.unaccepted),
        ("sock_diag: connections with data unread, all the window", untaken.unread as f64),
    ];
    let evidence = evidence.into_iter().filter(|(_, count)| *count > 0.0);
    Draft {
        confidence: Confidence::Likely,
        time: scene.window(),
        summary: String::new(),
        culprit: process(scene, untaken.server),
        evidence: evidence
            .map(|(source, count)| Evidence::new(source, count, "connections").at("recording/series.parquet"))
            .collect(),
        codepath: Vec::new(),
        next: Vec::new(),
        removes: Removes::Unsaid,
        descriptive: false,
    }
}

/// How many connections were made to a server and its children, and how many of these processes hold one.
fn held(scene: &Scene, server: Pid) -> (u64, usize) {
    let ours = |pid: Pid| pid == server || scene.children(server).any(|child| child == pid);
    let links = scene.rec.get(&catalog::TOPOLOGY).into_iter().flatten();
    let mut by_process = std::collections::BTreeMap::<Pid, f64>::new();
    for row in links.filter(|row| row.labels.get("by") == "tcp") {
        let to = row.labels.get("to").strip_prefix("process:").and_then(|pid| pid.parse().ok()).map(Pid);
        if let Some(pid) = to.filter(|pid| ours(*pid)) {
            *by_process.entry(pid).or_default() += row.last();
        }
    }
    (by_process.values().sum::<f64>() as u64, by_process.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{System, all, one};

    fn server(queue: &[f64], active: f64) -> System {
        System::new()
            .thread(20, "web", &[(TimeClass::RunningUser, active)])
            .thread(30, "browser", &[])
            .sampled(&catalog::LISTEN_QUEUE, &[("address", "127.0.0.1:80"), ("pid", "20")], queue)
            .total(
                &catalog::TOPOLOGY,
                &[("from", "process:30"), ("to", "process:20"), ("by", "tcp"), ("what", "80")],
                24.0,
            )
    }

    #[test]
    fn connections_that_nobody_accepts_are_a_pool_used_up() {
        let finding = one(&server(&[1.0, 1.0, 2.0], 0.01).target(20).build(), "app.pool");
        assert_eq!((finding.culprit.pid, finding.confidence), (Some(20), Confidence::Likely));
        assert!(finding.summary.contains("24 connections open"), "{}", finding.summary);
        assert_eq!(one(&server(&[1.0, 1.0], 0.01).build(), "app.pool").culprit.pid, Some(20), "nobody is named");
    }

    #[test]
    fn who_cannot_even_connect_is_told_of_the_server_and_not_of_its_parent() {
        let rec = server(&[2.0, 2.0], 0.01)
            .thread(10, "visitor", &[(TimeClass::BlockedProcess, 10.0)])
            .wait(10, TimeClass::BlockedProcess, "connect", "tcp:127.0.0.1:80", None, 10.0, 1)
            .thread(5, "shell", &[(TimeClass::BlockedSleep, 10.0)])
            .titled(10, 5, "visitor")
            .target(10)
            .build();
        assert_eq!(one(&rec, "app.pool").culprit.pid, Some(20));
        assert!(all(&rec, "app.waits-for-child").iter().all(|f| f.culprit.pid == Some(20)));
    }

    #[test]
    fn who_accepts_or_has_work_has_no_pool_used_up() {
        assert!(all(&server(&[1.0, 0.0, 1.0], 0.01).target(20).build(), "app.pool").is_empty());
        assert!(all(&server(&[0.0, 1.0], 0.01).target(20).build(), "app.pool").is_empty());
        assert!(all(&server(&[1.0, 1.0], 6.0).target(20).build(), "app.pool").is_empty());
    }

    #[test]
    fn who_sent_what_lies_unread_waits_for_the_one_that_does_not_read() {
        let row = [
            ("pid", "20"),
            ("local_port", "5672"),
            ("peer", "127.0.0.1:40000"),
            ("peer_pid", "10"),
            ("accepted", "yes"),
        ];
        let of = |listens: &str| {
            System::new()
                .thread(20, "broker", &[])
                .thread(10, "orders", &[])
                .total(&catalog::TCP_UNREAD, &row, 4096.0)
                .sampled(&catalog::LISTEN_QUEUE, &[("address", listens), ("pid", "20")], &[0.0, 0.0])
                .target(10)
                .build()
        };
        assert!(all(&of("127.0.0.1:80"), "app.waits-for-child").is_empty(), "a client that does not read a greeting");
        let finding = one(&of("127.0.0.1:5672"), "app.waits-for-child");
        assert_eq!((finding.culprit.pid, finding.confidence), (Some(20), Confidence::Likely));
        assert!(finding.summary.contains("Who sent it: orders (pid 10)"), "{}", finding.summary);
    }
}
