//! What every cause has in common: its id, what it reads, and the draft of a finding.

use crate::{Confidence, Finding, Party, Scene, ShareIs, Victim, path::Removes};
use checks::Evidence;
use observe::Ratio;
use std::time::Duration;

/// A possible root cause: one file each under `causes/`.
pub struct Cause {
    /// Stable id, such as `cpu.throttled`.
    pub id: &'static str,
    /// What becomes of the victim when the culprit is frozen or slowed: the direction an experiment should show.
    pub frozen: Effect,
    /// Ids of the causes that are mere consequences where this one is found for the same victim's time.
    pub root_of: &'static [&'static str],
    /// What speaks for it in one victim's time.
    pub judge: fn(&Scene, &Victim) -> Vec<Draft>,
}

/// What becomes of a victim while its culprit is frozen, or slowed by so much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It gets faster: the culprit competes with it.
    Helps,
    /// It stops or gets slower: it depends on the culprit.
    Hurts,
    /// The culprit is nobody that could be frozen: a setting, a limit, the victim's own code.
    None,
}

/// A finding before it is ranked.
pub struct Draft {
    /// How sure.
    pub confidence: Confidence,
    /// The victim's time that goes away without the cause, at most.
    pub time: Duration,
    /// Who or what causes it.
    pub culprit: Party,
    /// One or two sentences; the first makes a headline.
    pub summary: String,
    /// The numbers.
    pub evidence: Vec<Evidence>,
    /// Code path, outermost first.
    pub codepath: Vec<String>,
    /// What to do next.
    pub next: Vec<String>,
    /// What goes away without it.
    pub removes: Removes,
    /// It says what the time goes to, without calling it wrong: alone, it leaves the conclusion `healthy`.
    pub descriptive: bool,
}

impl Draft {
    /// The finding for a victim, not yet ranked.
    pub fn finish(self, cause: &Cause, victim: &Victim) -> Finding {
        Finding {
            rank: 0,
            cause: cause.id.to_owned(),
            confidence: self.confidence,
            share: Ratio((victim.share(self.time).0 * 1e4).round() / 1e4),
            share_is: ShareIs::AtMost,
            victim: victim.party(),
            culprit: self.culprit,
            summary: self.summary,
            evidence: self.evidence,
            codepath: self.codepath,
            next: self.next,
            experiment: None,
        }
    }
}

/// ours: below a twentieth of its time nobody calls a service slow because of it.
pub const WORTH_SAYING: Ratio = Ratio(0.05);

/// ours: from here on it is what a person feels.
pub const MATTERS: Ratio = Ratio(0.15);

/// ours: a loss of less than this part of the window is nobody's problem, whatever its share.
pub const FELT: Ratio = Ratio(0.03);

/// ours: below this part of the window, a loss is not worth a word.
pub const NOTICED: Ratio = Ratio(0.01);

/// Graded by what the victim loses, for a mechanism that is seen: `likely` where it matters, `possible` where it is
/// worth saying, `None` below, or when the victim hardly did anything.
pub fn grade(scene: &Scene, victim: &Victim, time: Duration) -> Option<Confidence> {
    grade_part(victim.share(time), Ratio::of(time, scene.window()))
}

/// The same for a part of something else that is the victim's, and of the window.
pub fn grade_part(share: Ratio, of_window: Ratio) -> Option<Confidence> {
    if share >= MATTERS && of_window >= FELT {
        Some(Confidence::Likely)
    } else if share >= WORTH_SAYING && of_window >= NOTICED {
        Some(Confidence::Possible)
    } else {
        None
    }
}

/// `62 % of its active time (12.4 s)`.
pub fn how_much(victim: &Victim, time: Duration) -> String {
    format!("{} of its active time ({:.1} s)", victim.share(time), time.as_secs_f64())
}

/// A process as a culprit.
pub fn process(scene: &Scene, pid: observe::Pid) -> Party {
    let seen = scene.rec.processes.get(&pid);
    let parts = seen.into_iter().flat_map(|p| [p.container.as_str(), p.cmdline.as_str()]);
    let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    let detail = Some(parts.join(": ")).filter(|detail| !detail.is_empty());
    Party { kind: "process".into(), pid: Some(pid.0), name: scene.rec.process_name(pid), detail }
}
