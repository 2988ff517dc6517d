//! Peers that have gone silent: what was sent to them is sent again and again, ever less often, and nothing comes back.
//!
//! Few segments are sent again in one window then, or none: the timer doubles each time. Firewalls that forget connections,
//! machines that are gone, and paths that drop large packets do that.

use crate::{Confidence, Draft, Party, Scene, Victim, cause::how_much, code::path, path::Removes};
use checks::Evidence;
use observe::{Ratio, Series, TimeClass, Wait, catalog};
use std::time::Duration;

/// ours: less than this is a pause of the path's.
const LEAST: f64 = 1.0;

/// ours: who waits for less of the window than this has other things to do.
const MOSTLY: Ratio = Ratio(0.5);

/// Of connections that the victim has made; clients of its own that are gone are nobody's loss.
pub fn silent(scene: &Scene, victim: &Victim) -> Option<Draft> {
    let rows = scene.rec.get(&catalog::TCP_SILENT).ok()?.iter();
    let own = rows.filter(|row| row.labels.pid().is_some_and(|pid| victim.contains(pid)) && row.last() >= LEAST);
    let made = own.filter(|row| !listened(scene, row.labels.get("local_port")));
    let waits_for = |row: &&Series| -> Duration { waits(scene, victim, row.labels.get("peer")).map(|w| w.time).sum() };
    let worst = made.max_by_key(waits_for)?;
    let (peer, seconds) = (worst.labels.get("peer"), worst.last());
    let waited = waits_for(&worst);
    let mostly = Ratio::of(waited, scene.window()) >= MOSTLY;
    if !mostly && !victim.named {
        return None;
    }
    let time = if mostly { waited } else { victim.active() };
    let host = host(peer);
    let heaviest = waits(scene, victim, peer).max_by_key(|wait| wait.time);
    Some(Draft {
        confidence: if mostly { Confidence::Likely } else { Confidence::Possible },
        time,
        summary: format!(
            "{} waits for {peer} for {}: for {seconds:.0} s that has acknowledged nothing of what was sent, again and \
             again. The connection is dead, or everything of it is lost on the way.",
            victim.label(),
            how_much(victim, time),
        ),
        culprit: Party { kind: "peer".into(), pid: None, name: peer.to_owned(), detail: None },
        evidence: vec![
            Evidence::new("tcp_info: since anything was acknowledged", seconds, "s").at("recording/series.parquet"),
            Evidence::new("sched_switch: blocked on it", waited.as_secs_f64(), "s").at("recording/waits.parquet"),
        ],
        codepath: heaviest.map(|wait| path(scene.rec, &wait.stack)).unwrap_or_default(),
        next: vec![
            format!(
                "ss -tino dst {host} (backoff, unacked, lastrcv); does a new connection to {peer} work? then a firewall or \
                 NAT on the way forgot this one"
            ),
            ping(peer),
            "give the client a time limit, and connections TCP keep-alive (TCP_USER_TIMEOUT)".to_owned(),
        ],
        removes: Removes::Unsaid,
        descriptive: false,
    })
}

/// Its waits on connections to a peer.
fn waits<'s>(scene: &'s Scene, victim: &'s Victim, peer: &'s str) -> impl Iterator<Item = &'s Wait> + 's {
    let on_it = move |wait: &&Wait| wait.end() == Some(peer);
    victim.waits(scene).filter(|wait| wait.class == TimeClass::BlockedNetwork).filter(on_it)
}

/// The address of an end, without its port and without brackets.
pub fn host(end: &str) -> &str {
    end.rsplit_once(':').map_or(end, |(host, _)| host).trim_start_matches('[').trim_end_matches(']')
}

/// What tells whether a path takes large packets: 1500 bytes with the headers of IP and ICMP.
pub fn ping(end: &str) -> String {
    let (host, bytes) = (host(end), if end.starts_with('[') { 1452 } else { 1472 });
    format!("ping -M do -s {bytes} {host}: do large packets get there? if only small ones do, lower the MTU")
}

fn listened(scene: &Scene, port: &str) -> bool {
    let rows = scene.rec.get(&catalog::LISTEN_QUEUE).into_iter().flatten();
    rows.filter_map(|row| row.labels.get("address").rsplit_once(':')).any(|(_, own)| own == port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{System, all, one};

    fn client(silent: f64) -> System {
        System::new()
            .thread(10, "prices", &[(TimeClass::BlockedNetwork, 10.0)])
            .wait(10, TimeClass::BlockedNetwork, "recvfrom", "tcp:10.0.0.2:6379 (sent again)", None, 10.0, 1)
            .total(&catalog::TCP_SILENT, &[("pid", "10"), ("local_port", "40000"), ("peer", "10.0.0.2:6379")], silent)
    }

    #[test]
    fn who_waits_for_a_dead_connection_is_told_so() {
        let finding = one(&client(14.0).target(10).build(), "net.retransmits");
        assert_eq!((finding.culprit.name.as_str(), finding.confidence), ("10.0.0.2:6379", Confidence::Likely));
        assert!(finding.summary.contains("for 14 s that has acknowledged nothing"), "{}", finding.summary);
        assert_eq!(one(&client(14.0).build(), "net.retransmits").confidence, Confidence::Likely, "nobody is named");
    }

    #[test]
    fn a_pause_of_the_path_and_a_client_that_is_gone_are_none() {
        assert!(all(&client(0.4).target(10).build(), "net.retransmits").is_empty());
        let server =
            client(14.0).sampled(&catalog::LISTEN_QUEUE, &[("address", "0.0.0.0:40000"), ("pid", "10")], &[0.0, 0.0]);
        assert!(all(&server.target(10).build(), "net.retransmits").is_empty());
    }
}
