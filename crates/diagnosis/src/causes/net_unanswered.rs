//! Questions to which no answer comes: who polls for one, and for whatever else may wake it, looks idle.
//!
//! A job with one connection that hangs does nothing that could be traced: when it asked, nobody looked. What is left of it
//! is in its socket.

use super::net_silent::{host, ping};
use crate::{Confidence, Draft, Party, Scene, Victim, path::Removes};
use checks::Evidence;
use observe::{Pid, Ratio, Series, catalog};
use std::collections::BTreeSet;

/// ours: who does anything for more of the window than this does not just wait.
const IDLE: Ratio = Ratio(0.1);

/// The one question of a victim that does nothing else: its own end, the other's, and for how long that is silent.
struct Question<'a> {
    local: &'a str,
    peer: &'a str,
    seconds: f64,
}

/// Only where somebody asks about it: nobody else can say that an answer should have come. Who serves others waits for them,
/// and who has several connections may wait at none of them.
fn question<'a>(scene: &Scene<'a>, victim: &Victim) -> Option<Question<'a>> {
    if !victim.named || Ratio::of(victim.active(), scene.window()) > IDLE || is_asked(scene, victim) {
        return None;
    }
    let rows = scene.rec.get(&catalog::TCP_UNANSWERED).ok()?.iter();
    let mut mine = rows.filter(|row| row.labels.pid().is_some_and(|pid| victim.contains(pid)));
    let (row, None) = (mine.next()?, mine.next()) else { return None };
    Some(Question { local: row.labels.get("local"), peer: row.labels.get("peer"), seconds: row.last() })
}

/// Whether others ask the victim, or may: it, or the parent that gave it its socket, listens.
fn is_asked(scene: &Scene, victim: &Victim) -> bool {
    let parents = victim.pids.iter().filter_map(|pid| Some(scene.rec.processes.get(pid)?.parent));
    let mut family = parents.filter(|parent| parent.0 > 1).chain(victim.pids.iter().copied());
    let rows = scene.rec.get(&catalog::LISTEN_QUEUE).into_iter().flatten();
    let listening: Vec<Pid> = rows.filter_map(|row| row.labels.pid()).collect();
    victim.serves(scene) || family.any(|pid| listening.contains(&pid))
}

/// The other end takes its time, as far as can be seen.
pub fn unanswered(scene: &Scene, victim: &Victim) -> Option<Draft> {
    let question = question(scene, victim)?;
    let next = match answerer(scene, &question) {
        Some(pid) => format!("look at {}: friday run -p {pid}", scene.label(pid)),
        None => format!("run friday on {}, for the process that listens there", host(question.peer)),
    };
    Some(Draft {
        next: vec![next, format!("ss -tino dst {} (lastsnd, lastrcv)", host(question.peer))],
        ..draft(scene, victim, &question, String::new())
    })
}

/// The answer is on its way, and does not get through: the other end is on this machine, and sends it again.
pub fn sent_again(scene: &Scene, victim: &Victim) -> Option<Draft> {
    let question = question(scene, victim)?;
    let (_, port) = question.peer.rsplit_once(':')?;
    // Of exactly this connection, as its other end has it.
    let rows = scene.rec.get(&catalog::TCP_SEGMENTS).ok()?.iter();
    let open = rows.filter(|row| row.labels.get("what") == "unacknowledged" && row.last() > 0.0);
    let end = open.map(|row| &row.labels).find(|l| l.get("peer") == question.local && l.get("local_port") == port)?;
    // A server's clients are told without their ports.
    let to_it = |row: &&Series| {
        let peer = row.labels.get("peer");
        peer == question.local || row.labels.get("local_port") == port && peer == host(question.local)
    };
    let rows = scene.rec.get(&catalog::TCP_RTO_WAIT).ok()?.iter();
    let stood: f64 = rows.filter(to_it).map(Series::last).sum();
    let rows = scene.rec.get(&catalog::TCP_RETRANSMITS).ok()?.iter();
    let times: f64 = rows.filter(to_it).filter(|row| row.labels.get("kind") == "timeout").map(Series::last).sum();
    if times == 0.0 {
        return None;
    }
    let by = end.pid().map_or_else(|| "the other end".to_owned(), |pid| scene.label(pid));
    let why = format!(
        " {by} has sent something there again, {times:.0} times after timers of {stood:.1} s together, and it is still not \
         acknowledged: it is lost on the way."
    );
    let mut draft = draft(scene, victim, &question, why);
    draft.confidence = Confidence::Likely;
    draft.evidence.push(
        Evidence::new("tcp_retransmit_skb: the other end stood still until it sent again", stood, "s")
            .at("recording/series.parquet"),
    );
    draft.next = vec![
        ping(question.peer),
        "ss -ti at the other end (retrans, rto, pmtu); mtr to find the hop that loses".to_owned(),
    ];
    Some(draft)
}

fn draft(scene: &Scene, victim: &Victim, question: &Question, why: String) -> Draft {
    let Question { peer, seconds, .. } = question;
    let pid = answerer(scene, question);
    Draft {
        confidence: Confidence::Possible,
        time: victim.active(),
        summary: format!(
            "{} does nothing, and was the last to speak on its only connection: what it sent to {peer} {seconds:.1} s before \
             the window ended has arrived, and nothing has come since.{}",
            victim.label(),
            if why.is_empty() { " Whether that asks for an answer cannot be seen from here." } else { &why },
        ),
        culprit: Party {
            kind: "peer".into(),
            pid: pid.map(|pid| pid.0),
            name: (*peer).to_owned(),
            detail: pid.map(|pid| format!("{}, of this machine", scene.label(pid))),
        },
        evidence: vec![
            Evidence::new("tcp_info: since it sent something, and nothing has come", *seconds, "s")
                .against("> 1 s")
                .at("recording/series.parquet"),
        ],
        codepath: Vec::new(),
        next: Vec::new(),
        removes: Removes::Unsaid,
        descriptive: false,
    }
}

/// Who listens at the other end, where that is one process of this machine.
fn answerer(scene: &Scene, question: &Question) -> Option<Pid> {
    let (host, port) = question.peer.rsplit_once(':')?;
    let rows = scene.rec.get(&catalog::LISTEN_QUEUE).ok()?.iter();
    let listens = |address: &str| {
        let any = |own: &str| {
            matches!(own, "0.0.0.0" | "[::]") && host == question.local.rsplit_once(':').unwrap_or_default().0
        };
        address.rsplit_once(':').is_some_and(|(own, at)| at == port && (own == host || any(own)))
    };
    let pids: BTreeSet<Pid> =
        rows.filter(|row| listens(row.labels.get("address"))).filter_map(|row| row.labels.pid()).collect();
    pids.first().copied().filter(|pid| pids.len() == 1 && pid.0 > 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{System, all, one};
    use observe::TimeClass;

    const MINE: &[(&str, &str)] = &[("pid", "10"), ("local", "10.77.0.1:50142"), ("peer", "10.77.0.2:80")];

    fn hung() -> System {
        System::new()
            .thread(10, "curl", &[(TimeClass::RunningKernel, 0.01)])
            .total(&catalog::TCP_UNANSWERED, MINE, 4.2)
            .target(10)
    }

    #[test]
    fn a_job_that_hangs_at_a_question_is_not_idle() {
        let rec = hung().build();
        let finding = one(&rec, "net.peer-slow");
        assert_eq!((finding.culprit.name.as_str(), finding.confidence), ("10.77.0.2:80", Confidence::Possible));
        assert!(finding.summary.contains("sent to 10.77.0.2:80 4.2 s before"), "{}", finding.summary);
        assert!(all(&rec, "net.retransmits").is_empty());
        let local = hung().sampled(&catalog::LISTEN_QUEUE, &[("address", "10.77.0.2:80"), ("pid", "30")], &[0.0, 0.0]);
        assert_eq!(one(&local.build(), "net.peer-slow").culprit.pid, Some(30));
    }

    #[test]
    fn an_answer_that_is_sent_again_does_not_get_through() {
        let again = &[("pid", "30"), ("local_port", ""), ("peer", "10.77.0.1:50142")];
        let kind = &[("pid", "30"), ("local_port", ""), ("peer", "10.77.0.1:50142"), ("kind", "timeout")];
        let open = &[("pid", "30"), ("local_port", "80"), ("peer", "10.77.0.1:50142"), ("what", "unacknowledged")];
        let lossy = || hung().total(&catalog::TCP_RTO_WAIT, again, 1.7).total(&catalog::TCP_RETRANSMITS, kind, 2.0);
        let repaired = lossy().total(&catalog::TCP_SEGMENTS, open, 0.0).build();
        assert!(all(&repaired, "net.retransmits").is_empty());
        let rec = lossy().total(&catalog::TCP_SEGMENTS, open, 10.0).build();
        let finding = one(&rec, "net.retransmits");
        assert_eq!((finding.culprit.name.as_str(), finding.confidence), ("10.77.0.2:80", Confidence::Likely));
    }

    #[test]
    fn who_serves_or_has_others_to_wait_for_or_was_not_asked_about_is_idle() {
        let serves = hung().sampled(&catalog::LISTEN_QUEUE, &[("address", "0.0.0.0:9000"), ("pid", "10")], &[0.0, 0.0]);
        assert!(all(&serves.build(), "net.peer-slow").is_empty());
        let other = &[("pid", "10"), ("local", "10.77.0.1:50143"), ("peer", "10.77.0.3:80")];
        assert!(all(&hung().total(&catalog::TCP_UNANSWERED, other, 3.0).build(), "net.peer-slow").is_empty());
        let unasked = System::new().thread(10, "curl", &[]).total(&catalog::TCP_UNANSWERED, MINE, 4.2);
        assert!(all(&unasked.build(), "net.peer-slow").is_empty());
    }
}
