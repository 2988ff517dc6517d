//! `friday run --allow change`: holds the culprits of what was found first, and puts what it did to the victims into the
//! recording.

use crate::{experiment::Places, progress::Progress};
use case::Document;
use experiments::{
    change::freeze,
    trial::{self, Design, Setup, TrialError},
};
use observe::{Experiment, Fact, Labels, Recording, Verdict, catalog};
use std::{sync::atomic::AtomicBool, time::Duration};

/// ours: findings that are tried, and for how long the victim is measured each time: under a minute together.
const MOST: usize = 3;
const PHASE: Duration = Duration::from_millis(1500);

/// Tries the first findings that name a process which could be held. Says whether there is anything new to conclude from.
pub fn prove(document: &Document, recording: &mut Recording, stop: &AtomicBool, progress: &mut Progress) -> bool {
    let accused = week::accusations(recording, &document.findings);
    if accused.is_empty() {
        progress.say("nothing that was found can be proved by holding a process");
        return false;
    }
    let places = match Places::here() {
        Ok(places) => places,
        Err(error) => {
            progress.say(&format!("nothing is tried: {error}"));
            return false;
        }
    };
    let mut done: Vec<Experiment> = Vec::new();
    let mut trials = 0;
    for accusation in accused {
        let victims: Vec<u32> = accusation.victims.iter().map(|pid| pid.0).collect();
        let mut culprits: Vec<u32> = accusation.culprits.iter().map(|pid| pid.0).collect();
        let culprit = culprits.first().copied().unwrap_or_default();
        // Of those beside it, some may have ended since.
        culprits.retain(|pid| *pid == culprit || std::path::Path::new(&format!("/proc/{pid}")).exists());
        // The same parties need no second trial for another cause.
        let known = done.iter().find(|tried| {
            victims.first() == Some(&tried.victim)
                && tried.culprit == Some(culprit)
                && tried.expect == Some(accusation.expect)
        });
        if let Some(known) = known {
            let again = Experiment { cause: accusation.cause.clone(), ..known.clone() };
            done.push(again);
            continue;
        }
        if trials == MOST {
            break;
        }
        trials += 1;
        let design = Design { rounds: 3, phase: PHASE, expect: Some(accusation.expect), claim: Some(accusation.share) };
        let setup = Setup {
            roots: &places.roots,
            journal: &places.journal,
            program: &places.program,
            victims: &victims,
            culprits: &culprits,
            cause: &accusation.cause,
            stop,
        };
        let tried =
            freeze::plan(setup.roots, setup.culprits, setup.victims).map_err(TrialError::from).and_then(|change| {
                progress.say(&format!(
                    "is it {}? {}, about {:.0} s",
                    accusation.cause,
                    change.about,
                    design.length().as_secs_f64()
                ));
                trial::conduct(&setup, &change, &design, &mut |_| ())
            });
        match tried {
            Ok(experiment) => {
                progress.say(&experiment.said);
                done.push(experiment);
            }
            Err(TrialError::Stopped) => break,
            Err(error) => {
                let said = format!("Not tried: {error}.");
                progress.say(&said);
                done.push(Experiment {
                    kind: "freeze".to_owned(),
                    about: String::new(),
                    cause: accusation.cause.clone(),
                    victim: victims.first().copied().unwrap_or_default(),
                    culprit: Some(culprit),
                    expect: Some(accusation.expect),
                    verdict: Verdict::Unclear,
                    said,
                    measure: None,
                    beside: Vec::new(),
                    dose: None,
                    notes: Vec::new(),
                });
            }
        }
    }
    for experiment in &done {
        let labels = Labels::new([
            ("cause", experiment.cause.clone()),
            ("victim", experiment.victim.to_string()),
            ("culprit", experiment.culprit.map(|pid| pid.to_string()).unwrap_or_default()),
        ]);
        match serde_json::to_string(experiment) {
            Ok(value) => recording
                .push(&catalog::EXPERIMENT, Fact { labels, value, source: catalog::EXPERIMENT.source.to_owned() }),
            Err(error) => progress.say(&format!("what was tried cannot be kept: {error}")),
        }
    }
    !done.is_empty()
}
