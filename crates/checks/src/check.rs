//! What every check has in common: its name, its question, and the function that judges a recording.

use crate::{Light, Test, Verdict};
use observe::{Observed, Recording};

/// One question about one component: one file each, in a folder by component.
pub struct Check {
    /// Stable id, the path of its file: `cpu.run_queue` is `cpu/run_queue.rs`.
    pub id: &'static str,
    /// Where it stands on the board, one of [`crate::GROUPS`].
    pub group: &'static str,
    /// The question, as people ask it.
    pub question: &'static str,
    /// Its file. The head says what is measured, why it matters, when it misleads and how to confirm.
    pub source: &'static str,
    /// The answer, or the reason why there is none. Pure: the same recording gives the same verdict.
    pub judge: fn(&Recording) -> Observed<Verdict>,
}

impl Check {
    /// Judges a recording. What could not be seen is untested, with the reason.
    pub fn run(&self, rec: &Recording) -> Test {
        let verdict = (self.judge)(rec).unwrap_or_else(|absent| Verdict {
            light: Light::Untested,
            why: absent.to_string(),
            evidence: Vec::new(),
        });
        Test {
            id: self.id.to_owned(),
            group: self.group.to_owned(),
            verdict: verdict.light,
            why: verdict.why,
            evidence: verdict.evidence,
            not_here: false,
            remedy: Vec::new(),
        }
    }

    /// The lines at the head of its file, without their comment marks: Markdown for people.
    pub fn about(&self) -> impl Iterator<Item = &'static str> {
        self.source
            .lines()
            .map_while(|line| line.strip_prefix("//!"))
            .map(|line| line.strip_prefix(' ').unwrap_or(line))
    }
}
