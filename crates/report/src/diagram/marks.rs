//! What later days say about boxes: findings' culprits and victims, and Tuesday's lights.

use super::{
    Tone,
    ends::address,
    links::{Key, Links},
};
use crate::format;
use case::Document;
use checks::{Light, Test};
use diagnosis::{Confidence, Finding, Party};
use observe::{Pid, Recording};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

/// What is said, by box, the worst first; and what is said of no box that there is.
#[derive(Default)]
pub struct Marks {
    pub of: BTreeMap<Key, Vec<(Tone, String)>>,
    pub elsewhere: Vec<String>,
}

impl Marks {
    pub fn of(recording: &Recording, links: &Links, document: Option<&Document>) -> Marks {
        let mut marks = Marks::default();
        let Some(document) = document else { return marks };
        let mut keys: BTreeSet<&Key> = links.edges.keys().flat_map(|(from, to)| [from, to]).collect();
        let groups: Vec<Key> = (0..links.groups.all.len()).map(Key::Group).collect();
        let interfaces: Vec<Key> = links.routes.values().cloned().map(Key::Interface).collect();
        keys.extend(groups.iter().chain(&interfaces));
        let boxes = Boxes { recording, links, keys };
        for finding in &document.findings {
            marks.finding(&boxes, finding);
        }
        for test in document.days.iter().filter(|day| day.day == "tuesday").flat_map(|day| &day.tests) {
            marks.light(&boxes, test);
        }
        marks.of.values_mut().for_each(|said| said.sort_by_key(|(tone, _)| Reverse(*tone)));
        marks
    }

    /// Whether a finding is about it.
    pub fn finds(&self, key: &Key) -> bool {
        let light = |text: &str| text.ends_with(" bad") || text.ends_with(" maybe");
        self.of.get(key).is_some_and(|said| said.iter().any(|(_, text)| !light(text)))
    }

    fn add(&mut self, keys: Vec<Key>, tone: Tone, text: &str) {
        for key in keys {
            let said = self.of.entry(key).or_default();
            if said.iter().all(|(_, there)| there != text) {
                said.push((tone, text.to_owned()));
            }
        }
    }

    fn finding(&mut self, boxes: &Boxes<'_>, finding: &Finding) {
        let tone = if finding.confidence == Confidence::Possible { Tone::Maybe } else { Tone::Bad };
        let culprits = boxes.party(&finding.culprit);
        let victims = boxes.party(&finding.victim);
        let itself = culprits == victims && !victims.is_empty();
        if itself {
            return self.add(culprits, tone, &format!("{} {}", format::percent(finding.share.0), finding.cause));
        }
        if culprits.is_empty() {
            self.elsewhere.push(format!("culprit of {}: {}", finding.cause, format::party(&finding.culprit)));
        }
        self.add(culprits, tone, &format!("causes {}", finding.cause));
        self.add(victims, Tone::Victim, &format!("{} {}", format::percent(finding.share.0), finding.cause));
    }

    fn light(&mut self, boxes: &Boxes<'_>, test: &Test) {
        let tone = match test.verdict {
            Light::Maybe => Tone::Maybe,
            Light::Bad => Tone::Bad,
            Light::Good | Light::Untested => return,
        };
        let text = format!("{} {}", test.id, format::light(test.verdict));
        match boxes.judged(test) {
            keys if keys.is_empty() => self.elsewhere.push(text),
            keys => self.add(keys, tone, &text),
        }
    }
}

struct Boxes<'a> {
    recording: &'a Recording,
    links: &'a Links,
    keys: BTreeSet<&'a Key>,
}

impl Boxes<'_> {
    fn those(&self, fits: impl Fn(&Key) -> bool) -> Vec<Key> {
        self.keys.iter().filter(|key| fits(key)).map(|key| (*key).clone()).collect()
    }

    fn groups(&self, fits: impl Fn(Pid) -> bool) -> Vec<Key> {
        let all = self.links.groups.all.iter().enumerate();
        all.filter(|(_, group)| group.pids.iter().any(|pid| fits(*pid))).map(|(at, _)| Key::Group(at)).collect()
    }

    /// The boxes of a finding's party.
    fn party(&self, party: &Party) -> Vec<Key> {
        if let Some(group) = party.pid.and_then(|pid| self.links.groups.holding(Pid(pid))) {
            return vec![Key::Group(group)];
        }
        let name = party.name.as_str();
        let process = |pid: Pid| &self.recording.processes[&pid];
        match party.kind.as_str() {
            "process" | "thread" => self.groups(|pid| process(pid).name == name),
            "cgroup" => self.groups(|pid| {
                process(pid).cgroup.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }),
            "device" => self.those(|key| matches!(key, Key::Device(one) | Key::Interface(one) if one == name)),
            "peer" if name.starts_with("port ") => {
                let listener = self.links.listener("tcp", &name["port ".len()..]);
                listener.map(Key::Group).into_iter().collect()
            }
            "peer" => {
                let host = address(name).map_or(name, |(host, _)| host);
                self.those(|key| matches!(key, Key::Server(one) | Key::Client(one) if one == host))
            }
            "file system" => self.those(|key| matches!(key, Key::FileSystem(one) if one == name)),
            "file" => {
                let holding =
                    |key: &&Key| matches!(key, Key::FileSystem(one) if std::path::Path::new(name).starts_with(one));
                let place = |key: &Key| if let Key::FileSystem(one) = key { one.len() } else { 0 };
                let holding = self.keys.iter().copied().filter(holding).max_by_key(|key| place(key));
                holding.into_iter().cloned().collect()
            }
            _ => Vec::new(),
        }
    }

    /// The boxes that a light is about: those that it names, of the kinds that its component has.
    fn judged(&self, test: &Test) -> Vec<Key> {
        let component = test.id.split('.').next().unwrap_or_default();
        let words: BTreeSet<&str> = test.why.split(|c: char| c.is_whitespace() || ",;:()".contains(c)).collect();
        let named = |name: &str| words.contains(name);
        match component {
            "cpu" => vec![Key::Cpus],
            "memory" => vec![Key::Memory],
            "disk" => match self.those(|key| matches!(key, Key::Device(one) if named(one))) {
                found if found.is_empty() => {
                    let all = self.those(|key| matches!(key, Key::Device(one) if !one.starts_with("/dev/")));
                    if all.len() == 1 { all } else { Vec::new() }
                }
                found => found,
            },
            "fs" => self.those(|key| matches!(key, Key::FileSystem(one) if named(one))),
            "net" => self.those(|key| match key {
                Key::Interface(one) => named(one),
                Key::Server(one) | Key::Client(one) => named(one),
                Key::Group(at) => named(&self.links.groups.all[*at].title),
                _ => false,
            }),
            _ => self.those(|key| matches!(key, Key::Group(at) if named(&self.links.groups.all[*at].title))),
        }
    }
}
