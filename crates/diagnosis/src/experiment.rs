//! Which findings an experiment can prove, and what one has proved: confirmed, or taken back.

use crate::{Confidence, Effect, Finding, causes};
use observe::{Expect, Experiment, Pid, Ratio, Recording, Verdict, catalog};

/// A finding that says who holds up whom, and so what becomes of the victim while the culprit is held.
#[derive(Clone, Debug, PartialEq)]
pub struct Accusation {
    /// The cause.
    pub cause: String,
    /// Who suffers: one process, or all of a target that was named.
    pub victims: Vec<Pid>,
    /// Who is to be held, who was accused first: of a competitor also what runs under the same name with the same arguments,
    /// since a finding sums over those.
    pub culprits: Vec<Pid>,
    /// What it does to the victim if it is true.
    pub expect: Expect,
    /// The part of the victim's time that it is about.
    pub share: Ratio,
}

/// The findings that can be proved by holding a process, in their order.
pub fn accusations(rec: &Recording, findings: &[Finding]) -> Vec<Accusation> {
    let of = |finding: &Finding| {
        let cause = causes::ALL.iter().find(|cause| cause.id == finding.cause)?;
        let expect = match cause.frozen {
            Effect::Helps => Expect::Helps,
            Effect::Hurts => Expect::Stops,
            Effect::None => return None,
        };
        let culprit = Pid(finding.culprit.pid?);
        let is_target = rec.target.is_named() && finding.victim.name == rec.target.name;
        let victims = match finding.victim.pid {
            Some(pid) => vec![Pid(pid)],
            None if is_target => rec.target.members.clone(),
            None => Vec::new(),
        };
        let alike = |pid: &Pid| match (rec.processes.get(pid), rec.processes.get(&culprit)) {
            (Some(one), Some(other)) => one.name == other.name && one.cmdline == other.cmdline && one.exe == other.exe,
            _ => false,
        };
        let mut culprits = vec![culprit];
        if expect == Expect::Helps {
            let more = rec.processes.keys().filter(|pid| **pid != culprit && !victims.contains(pid) && alike(pid));
            culprits.extend(more);
        }
        let is_other = !victims.is_empty() && !victims.contains(&culprit);
        let is_kernel = rec.processes.get(&culprit).is_some_and(|p| p.is_kernel);
        (is_other && !is_kernel).then(|| Accusation {
            cause: finding.cause.clone(),
            victims,
            culprits,
            expect,
            share: finding.share,
        })
    };
    findings.iter().filter_map(of).collect()
}

/// Applies what was tried to the finding that it was to prove. What the recording says of it is all there is: a replay
/// concludes the same.
pub(crate) fn apply(rec: &Recording, finding: &mut Finding) {
    let Some(culprit) = finding.culprit.pid else { return };
    let rows = rec.get(&catalog::EXPERIMENT).into_iter().flatten();
    let tried = rows.filter_map(|row| parse(&row.value)).find(|tried| {
        let is_target = finding.victim.pid.is_none() && rec.target.members.contains(&Pid(tried.victim));
        tried.cause == finding.cause
            && tried.culprit == Some(culprit)
            && (finding.victim.pid == Some(tried.victim) || is_target)
    });
    let Some(tried) = tried else { return };
    match tried.verdict {
        Verdict::Confirmed => finding.confidence = Confidence::Confirmed,
        Verdict::Refuted => {
            finding.confidence = Confidence::Possible;
            finding.summary += " But an experiment speaks against it: holding it did not do what it should have done.";
        }
        Verdict::Unclear => {}
    }
    finding.experiment = Some(tried.said);
}

/// Every experiment of a recording.
pub fn experiments(rec: &Recording) -> Vec<Experiment> {
    rec.get(&catalog::EXPERIMENT).into_iter().flatten().filter_map(|row| parse(&row.value)).collect()
}

fn parse(text: &str) -> Option<Experiment> {
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Conclusion, diagnose, testing::System};
    use observe::{Fact, Labels, TimeClass};

    fn queued() -> Recording {
        System::new()
            .cpu_busy(0.99)
            .thread(10, "api", &[(TimeClass::RunningUser, 1.0), (TimeClass::RunnableBusy, 3.0)])
            .thread(20, "batch", &[(TimeClass::RunningUser, 10.0)])
            .behind(10, 20, 2.9)
            .target(10)
            .build()
    }

    fn tried(verdict: Verdict, cause: &str, culprit: u32) -> Fact {
        let experiment = Experiment {
            kind: "freeze".into(),
            about: "freeze batch".into(),
            cause: cause.into(),
            victim: 10,
            culprit: Some(culprit),
            expect: Some(Expect::Helps),
            verdict,
            said: "what was seen".into(),
            measure: None,
            beside: Vec::new(),
            dose: None,
            notes: Vec::new(),
        };
        let value = serde_json::to_string(&experiment).unwrap();
        Fact { labels: Labels::default(), value, source: String::new() }
    }

    #[test]
    fn a_competitor_can_be_held_to_prove_it() {
        let rec = queued();
        let findings = diagnose(&rec, &[]).findings;
        let found = accusations(&rec, &findings);
        assert_eq!(found.len(), 1, "{findings:#?}");
        let first = &found[0];
        assert_eq!((first.cause.as_str(), first.expect), ("cpu.saturated", Expect::Helps));
        assert_eq!(first.culprits, [Pid(20)]);
        assert_eq!(first.victims, [Pid(10)]);
        assert!(first.share.0 > 0.5);
        // Findings sum over processes of one name and with the same arguments.
        let mut several = queued();
        let worker = observe::Process { pid: Pid(21), ..several.processes[&Pid(20)].clone() };
        let other = observe::Process { pid: Pid(22), cmdline: "another".into(), ..worker.clone() };
        several.processes.extend([(Pid(21), worker), (Pid(22), other)]);
        assert_eq!(accusations(&several, &findings)[0].culprits, [Pid(20), Pid(21)]);
        let mut kernel = queued();
        kernel.processes.get_mut(&Pid(20)).unwrap().is_kernel = true;
        assert!(accusations(&kernel, &findings).is_empty(), "the kernel's threads cannot be held");
    }

    #[test]
    fn what_was_tried_raises_the_finding_or_takes_it_back() {
        for (verdict, confidence, conclusion) in [
            (Verdict::Confirmed, Confidence::Confirmed, Conclusion::Found),
            (Verdict::Refuted, Confidence::Possible, Conclusion::Suspected),
            (Verdict::Unclear, Confidence::Likely, Conclusion::Found),
        ] {
            let mut rec = queued();
            rec.push(&catalog::EXPERIMENT, tried(verdict, "cpu.saturated", 20));
            let diagnosis = diagnose(&rec, &[]);
            let first = &diagnosis.findings[0];
            assert_eq!((first.confidence, diagnosis.conclusion), (confidence, conclusion), "{verdict}");
            assert_eq!(first.experiment.as_deref(), Some("what was seen"));
            assert_eq!(first.summary.contains("speaks against it"), verdict == Verdict::Refuted);
        }
    }

    #[test]
    fn what_was_tried_of_another_says_nothing() {
        for fact in [tried(Verdict::Refuted, "cpu.saturated", 21), tried(Verdict::Refuted, "cpu.priority", 20)] {
            let mut rec = queued();
            rec.push(&catalog::EXPERIMENT, fact);
            let first = &diagnose(&rec, &[]).findings[0];
            assert_eq!((first.confidence, first.experiment.is_none()), (Confidence::Likely, true));
        }
    }
}
