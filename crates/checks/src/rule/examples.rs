//! Examples of a health tool: what it is to say of values that are given, in a file beside it. They are its tests.

use super::format::{Place, Rule, RuleError};
use crate::{Light, Test};
use observe::{
    Bucket, ClassTimes, Fact, Frame, FrameId, FrameKind, Histogram, Host, Labels, Pid, Point, Process, Recording,
    Series, Stack, Target, ThreadTime, Tid, TimeClass, Wait, Window, catalog,
    reading::{Reading, Value},
};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

/// The machine of an example: ten seconds of two CPUs and 8 GiB.
const WINDOW: f64 = 10.0;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FilePart {
    example: Vec<Example>,
}

/// One example.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Example {
    /// What the values stand for.
    name: String,
    /// The light that is expected.
    says: Light,
    /// What the line is expected to hold.
    #[serde(default)]
    why: String,
    /// Whether the machine is expected not to have what is judged.
    #[serde(default)]
    not_here: bool,
    #[serde(default)]
    kernel: Option<String>,
    #[serde(default)]
    cpus: Option<u32>,
    /// Bytes of memory.
    memory: Option<u64>,
    /// Texts of the tool's own files and commands, by input.
    #[serde(default)]
    read: BTreeMap<String, ReadPart>,
    #[serde(default)]
    series: Vec<SeriesPart>,
    #[serde(default)]
    histogram: Vec<HistogramPart>,
    #[serde(default)]
    fact: Vec<FactPart>,
    #[serde(default)]
    thread: Vec<ThreadPart>,
    #[serde(default)]
    samples: Vec<SamplesPart>,
    #[serde(default)]
    wait: Vec<WaitPart>,
}

/// A text, the same at both ends of the window or not; or by what a `*` stood for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadPart {
    #[serde(default)]
    begin: Option<String>,
    #[serde(default)]
    end: Option<String>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    files: BTreeMap<String, String>,
    /// Those of these files that held something else when the window began.
    #[serde(default)]
    before: BTreeMap<String, String>,
    /// Why it could not be read.
    #[serde(default)]
    absent: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SeriesPart {
    metric: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    values: Vec<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HistogramPart {
    metric: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// How many of which length in seconds.
    sizes: Vec<(u64, f64)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FactPart {
    metric: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    value: String,
}

/// A process with one thread: seconds by class, the rest of the window idle.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ThreadPart {
    pid: u32,
    name: String,
    #[serde(default)]
    times: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SamplesPart {
    pid: u32,
    /// Outermost first.
    stack: Vec<String>,
    count: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WaitPart {
    pid: u32,
    class: String,
    #[serde(default)]
    resource: String,
    #[serde(default)]
    syscall: String,
    #[serde(default)]
    stack: Vec<String>,
    seconds: f64,
    count: u64,
}

/// What an example came to.
pub struct Played {
    /// Its name.
    pub name: String,
    /// What the tool said.
    pub test: Test,
    /// What is not as expected; empty when all is.
    pub wrong: String,
}

/// Plays the examples of a tool.
///
/// # Errors
/// When the file of examples is broken.
pub fn play(rule: &Rule, file: &str, text: &str) -> Result<Vec<Played>, RuleError> {
    let error = |what: String| RuleError { file: file.to_owned(), place: Place { line: 1, column: 1 }, what };
    let part: FilePart = toml::from_str(text).map_err(|wrong| {
        let at = wrong.span().map_or(0, |span| span.start);
        RuleError { file: file.to_owned(), place: Place::of(text, at), what: wrong.message().to_owned() }
    })?;
    part.example
        .into_iter()
        .map(|example| {
            let rec = example.recording(rule).map_err(|what| error(format!("{}: {what}", example.name)))?;
            let test = rule.run(&rec);
            let mut wrong = Vec::new();
            if test.verdict != example.says {
                wrong.push(format!("says {:?}, expected {:?}", test.verdict, example.says));
            }
            if !test.why.contains(&example.why) {
                wrong.push(format!("does not hold `{}`", example.why));
            }
            if test.not_here != example.not_here {
                wrong.push(format!("not here is {}", test.not_here));
            }
            Ok(Played { name: example.name, test, wrong: wrong.join(", ") })
        })
        .collect()
}

fn labels(map: &BTreeMap<String, String>) -> Labels {
    Labels(map.clone())
}

fn points(values: &[f64]) -> Vec<Point> {
    let steps = values.len().saturating_sub(1).max(1) as f64;
    let at = |n: usize| Duration::from_secs_f64(WINDOW * n as f64 / steps);
    values.iter().enumerate().map(|(n, value)| Point { at: at(n), value: *value }).collect()
}

impl Example {
    fn recording(&self, rule: &Rule) -> Result<Recording, String> {
        let kernel = self.kernel.clone().unwrap_or_else(|| "6.18".to_owned());
        let host = Host {
            name: "host".into(),
            kernel,
            cpus: self.cpus.unwrap_or(2),
            memory_bytes: self.memory.unwrap_or(8 << 30),
        };
        let window = Window { start: SystemTime::UNIX_EPOCH, length: Duration::from_secs_f64(WINDOW) };
        let mut rec = Recording::new(host, Target::system("host"), window);
        for reading in rule.readings() {
            self.read(&mut rec, &reading)?;
        }
        for row in &self.series {
            let row_of = Series { labels: labels(&row.labels), points: points(&row.values) };
            push(&mut rec, &row.metric, row_of)?;
        }
        for row in &self.fact {
            let fact = Fact { labels: labels(&row.labels), value: row.value.clone(), source: row.metric.clone() };
            push(&mut rec, &row.metric, fact)?;
        }
        for row in &self.histogram {
            let ns = |seconds: f64| (seconds * 1e9) as u64;
            let buckets: Vec<Bucket> =
                row.sizes.iter().map(|(count, s)| Bucket { low: ns(*s), high: ns(*s) + 1, count: *count }).collect();
            let histogram = Histogram {
                labels: labels(&row.labels),
                count: buckets.iter().map(|b| b.count).sum(),
                sum: buckets.iter().map(|b| b.count * b.low).sum(),
                max: buckets.iter().map(|b| b.low).max().unwrap_or(0),
                buckets,
            };
            push(&mut rec, &row.metric, histogram)?;
        }
        for row in &self.thread {
            let mut classes = ClassTimes::default();
            for (class, seconds) in &row.times {
                classes.add(class_of(class)?, Duration::from_secs_f64(*seconds));
            }
            let window = Duration::from_secs_f64(WINDOW);
            classes.add(TimeClass::BlockedIdle, window.saturating_sub(classes.total()));
            let (pid, tid) = (Pid(row.pid), Tid(row.pid));
            let time = ThreadTime { pid, tid, name: row.name.clone(), wall: classes.total(), classes, switches: 1 };
            rec.push(&catalog::THREAD_TIME, time);
            rec.processes.insert(pid, Process { pid, name: row.name.clone(), ..Process::default() });
        }
        if !self.thread.is_empty() {
            rec.set(&catalog::WAITS, Ok(Vec::new()));
        }
        for row in &self.samples {
            let frames = frames(&mut rec, &row.stack);
            let (pid, tid) = (Pid(row.pid), Tid(row.pid));
            rec.push(&catalog::CPU_STACKS, Stack { pid, tid, samples: row.count, frames });
        }
        for row in &self.wait {
            let stack = frames(&mut rec, &row.stack);
            let time = Duration::from_secs_f64(row.seconds);
            let wait = Wait {
                pid: Pid(row.pid),
                tid: Tid(row.pid),
                class: class_of(&row.class)?,
                resource: row.resource.clone(),
                by: None,
                syscall: row.syscall.clone(),
                after_failure: false,
                time,
                count: row.count,
                longest: time / u32::try_from(row.count.max(1)).unwrap_or(u32::MAX),
                stack,
                waker_stack: Vec::new(),
            };
            rec.push(&catalog::WAITS, wait);
        }
        Ok(rec)
    }

    /// Puts a tool's own reading into the recording, as it would have been read.
    fn read(&self, rec: &mut Recording, reading: &Reading) -> Result<(), String> {
        let of = |key: &str| {
            let pairs = [("tool", &reading.tool), ("input", &reading.input)].map(|(k, v)| (k.to_owned(), v.clone()));
            let mut labels = Labels(pairs.into());
            labels.0.insert("key".to_owned(), key.to_owned());
            labels
        };
        let part = self.read.get(&reading.input);
        let Some(part) = part.filter(|part| part.absent.is_none()) else {
            let why = part.and_then(|part| part.absent.clone()).unwrap_or_else(|| "no such file".to_owned());
            rec.push(&catalog::TOOL_ABSENT, Fact { labels: of(""), value: why, source: "example".into() });
            return Ok(());
        };
        let end = part.end.as_ref().or(part.text.as_ref());
        let begin = part.begin.as_ref().or(end);
        let files = part.files.iter().map(|(key, text)| (key.as_str(), part.before.get(key).unwrap_or(text), text));
        let one = begin.zip(end).map(|(begin, end)| ("", begin, end));
        for (name, begin, end) in files.chain(one) {
            let values = |text: &str| reading.parse.values(text, reading.scale);
            let first = values(begin)?;
            for (key, value) in values(end)? {
                let full =
                    [name, key.as_str()].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
                match (value, first.get(&key)) {
                    (Value::Number(end), begin) => {
                        let begin = if let Some(Value::Number(begin)) = begin { *begin } else { end };
                        let series = Series { labels: of(&full), points: points(&[begin, end]) };
                        rec.push(&catalog::TOOL_READING, series);
                    }
                    (Value::Text(value), _) => {
                        rec.push(&catalog::TOOL_TEXT, Fact { labels: of(&full), value, source: "example".into() });
                    }
                }
            }
        }
        Ok(())
    }
}

fn class_of(name: &str) -> Result<TimeClass, String> {
    TimeClass::from_name(name).ok_or_else(|| format!("`{name}` is no class of time"))
}

fn frames(rec: &mut Recording, stack: &[String]) -> Vec<FrameId> {
    let first = rec.frames.len() as u32;
    rec.frames.extend(stack.iter().map(|name| Frame {
        name: name.clone(),
        module: String::new(),
        kind: FrameKind::Kernel,
        unknown: String::new(),
    }));
    (first..first + stack.len() as u32).map(FrameId).collect()
}

/// Adds a row to a metric of the catalog by name.
fn push<S: observe::Shape>(rec: &mut Recording, metric: &str, row: S) -> Result<(), String> {
    let known = catalog::ALL.iter().any(|entry| entry.name == metric && entry.shape == shape_of::<S>());
    if !known {
        return Err(format!("no metric `{metric}` that holds a {}", shape_of::<S>()));
    }
    let tables = rec.tables::<S>().get(metric).is_some_and(Result::is_ok);
    if !tables {
        rec.restore::<S>(metric, Ok(Vec::new()));
    }
    rec.append(metric, row);
    Ok(())
}

fn shape_of<S>() -> &'static str {
    std::any::type_name::<S>().rsplit("::").next().unwrap_or_default()
}
