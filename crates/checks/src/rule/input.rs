//! What a health tool's expressions see of a recording: metrics of the catalog, its own readings, lost time, waits and code
//! paths.

use super::expression::context;
use crate::lost::{Lost, is_ordinary};
use cel::{Context, Value, objects::Key};
use observe::{
    Absent, Event, Fact, Histogram, Labels, Observed, Pid, Ratio, Recording, Series, TimeClass, catalog,
    catalog::Entry,
    reading::{Parse, ReadFrom, Reading},
};
use serde::Deserialize;
use std::{collections::BTreeMap, collections::HashMap, time::Duration};

/// ours: a command is given as long as a person would wait for a prompt; the board's time is bounded by the longest allowed.
const COMMAND_TIMEOUT: f64 = 2.0;
const LONGEST_TIMEOUT: f64 = 5.0;

/// An input as the file states it: exactly one of its sources, and how it is cut.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InputPart {
    metric: Option<String>,
    #[serde(default, rename = "where")]
    filter: BTreeMap<String, OneOrMany>,
    key: Option<String>,
    file: Option<String>,
    command: Option<Vec<String>>,
    timeout: Option<f64>,
    parse: Option<String>,
    columns: Option<[usize; 2]>,
    hex: Option<bool>,
    containing: Option<Vec<String>>,
    scale: Option<f64>,
    lost: Option<Vec<String>>,
    samples: Option<Vec<String>>,
    waits: Option<WaitsPart>,
    /// The value where there is no row of the metric.
    default: Option<f64>,
    /// Missing is `null`, not the end of the judgement.
    #[serde(default)]
    optional: bool,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn has(&self, value: &str) -> bool {
        match self {
            OneOrMany::One(one) => matches(one, value),
            OneOrMany::Many(many) => many.iter().any(|one| matches(one, value)),
        }
    }
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct WaitsPart {
    #[serde(default)]
    class: Vec<String>,
    #[serde(default)]
    resource: Vec<String>,
    #[serde(default)]
    syscall: Vec<String>,
    #[serde(default)]
    function: Vec<String>,
}

/// An input, checked.
#[derive(Debug)]
pub(super) struct Input {
    source: Source,
    optional: bool,
}

enum Source {
    Metric { entry: &'static Entry, filter: BTreeMap<String, OneOrMany>, key: Option<String>, default: Option<f64> },
    Reading { from: ReadFrom, parse: Parse, scale: f64 },
    Lost(Vec<TimeClass>),
    Samples(Vec<String>),
    Waits { classes: Vec<TimeClass>, part: WaitsPart },
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.told())
    }
}

/// Whether a name is a pattern's: `*` at its begin or end stands for anything.
fn matches(pattern: &str, name: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(rest), Some(_)) => name.contains(rest.trim_end_matches('*')),
        (Some(end), None) => name.ends_with(end),
        (None, Some(begin)) => name.starts_with(begin),
        (None, None) => name == pattern,
    }
}

/// What compilers append to the name of a function that they split or change.
const APPENDED: [&str; 6] = [".isra.", ".constprop.", ".part.", ".cold", ".llvm.", ".lto_priv."];

/// A function without what compilers append to its name and the version of its symbol.
fn plain(name: &str) -> &str {
    let plain = name.split('@').next().unwrap_or(name);
    let mut dots = plain.match_indices('.').map(|(at, _)| at);
    let end = dots.find(|at| APPENDED.iter().any(|suffix| plain[*at..].starts_with(suffix)));
    &plain[..end.unwrap_or(plain.len())]
}

/// Whether a function is one of these, with or without what is appended to its name.
fn is_function(patterns: &[String], name: &str) -> bool {
    let plain = plain(name);
    patterns.iter().any(|pattern| matches(pattern, name) || matches(pattern, plain))
}

/// Of every frame of the recording whether it is one of these functions: far fewer than the stacks that they are in.
fn are_functions(rec: &Recording, patterns: &[String]) -> Vec<bool> {
    rec.frames.iter().map(|frame| !patterns.is_empty() && is_function(patterns, &frame.name)).collect()
}

fn classes(names: &[String]) -> Result<Vec<TimeClass>, String> {
    let class = |name: &String| {
        TimeClass::from_name(name).ok_or_else(|| {
            let all: Vec<&str> = TimeClass::ALL.iter().map(|class| class.name()).collect();
            format!("`{name}` is no class of time; there are {}", all.join(", "))
        })
    };
    names.iter().map(class).collect()
}

impl Input {
    pub(super) fn new(part: InputPart) -> Result<Self, String> {
        let given = [
            part.metric.is_some(),
            part.file.is_some(),
            part.command.is_some(),
            part.lost.is_some(),
            part.samples.is_some(),
            part.waits.is_some(),
        ];
        if given.iter().filter(|given| **given).count() != 1 {
            return Err("name exactly one of `metric`, `file`, `command`, `lost`, `samples`, `waits`".to_owned());
        }
        let is_read = part.file.is_some() || part.command.is_some();
        let stray = [
            ("where", !part.filter.is_empty() && part.metric.is_none()),
            ("key", part.key.is_some() && part.metric.is_none()),
            ("default", part.default.is_some() && part.metric.is_none()),
            ("timeout", part.timeout.is_some() && part.command.is_none()),
            ("parse", part.parse.is_some() && !is_read),
            ("scale", part.scale.is_some() && !is_read),
            ("columns", part.columns.is_some() != (is_read && part.parse.as_deref() == Some("table"))),
            ("hex", part.hex.is_some() && part.parse.as_deref() != Some("sums")),
            (
                "containing",
                part.containing.is_some() != (is_read && matches!(part.parse.as_deref(), Some("lines" | "words"))),
            ),
        ];
        if let Some((name, _)) = stray.iter().find(|(_, stray)| *stray) {
            return Err(format!("`{name}` does not go with this source, or is missing for it"));
        }
        let source = if let Some(name) = &part.metric {
            metric(name, part.filter, part.key, part.default)?
        } else if let Some(names) = &part.lost {
            Source::Lost(classes(names)?)
        } else if let Some(functions) = part.samples {
            Source::Samples(functions)
        } else if let Some(waits) = part.waits {
            Source::Waits { classes: classes(&waits.class)?, part: waits }
        } else {
            let parse = parse(part.parse.as_deref(), part.columns, part.hex, part.containing)?;
            Source::Reading {
                from: from(part.file, part.command, part.timeout)?,
                parse,
                scale: part.scale.unwrap_or(1.0),
            }
        };
        Ok(Input { source, optional: part.optional })
    }

    /// Whether it is several values by name.
    pub(super) fn is_keyed(&self) -> bool {
        match &self.source {
            Source::Metric { key, .. } => key.is_some(),
            Source::Reading { from, parse, .. } => {
                matches!(from, ReadFrom::File(path) if path.contains('*'))
                    || matches!(parse, Parse::Pairs | Parse::Table { .. } | Parse::Sums { .. })
            }
            Source::Lost(_) | Source::Samples(_) | Source::Waits { .. } => false,
        }
    }

    /// What has to be read for it.
    pub(super) fn reading(&self, tool: &str, name: &str) -> Option<Reading> {
        let Source::Reading { from, parse, scale } = &self.source else { return None };
        Some(Reading {
            tool: tool.to_owned(),
            input: name.to_owned(),
            from: from.clone(),
            parse: parse.clone(),
            scale: *scale,
        })
    }

    /// Where its values come from, for people.
    pub(super) fn told(&self) -> String {
        self.source.told()
    }

    /// Its value in a recording; `null` where it is missing and optional.
    ///
    /// # Errors
    /// Why it is missing.
    pub(super) fn value(&self, rec: &Recording, tool: &str, name: &str) -> Observed<Value> {
        let value = match &self.source {
            Source::Metric { entry, filter, key, default } => of_metric(rec, entry, filter, key.as_deref(), *default),
            Source::Reading { .. } => of_reading(rec, tool, name, self.is_keyed()),
            Source::Lost(classes) => Lost::to(rec, |class| classes.contains(&class)).map(|lost| of_lost(&lost)),
            Source::Samples(functions) => of_samples(rec, functions),
            Source::Waits { classes, part } => of_waits(rec, classes, part),
        };
        match value {
            Err(_) if self.optional => Ok(Value::Null),
            other => other,
        }
    }
}

impl Source {
    fn told(&self) -> String {
        match self {
            Source::Metric { entry, filter, .. } => {
                let filter: Vec<String> = filter
                    .values()
                    .map(|value| match value {
                        OneOrMany::One(one) => one.clone(),
                        OneOrMany::Many(many) => many.join("|"),
                    })
                    .collect();
                format!("{} {}", entry.source, filter.join(" ")).trim_end().to_owned()
            }
            Source::Reading { from: ReadFrom::File(path), .. } => path.clone(),
            Source::Reading { from: ReadFrom::Command { argv, .. }, .. } => argv.join(" "),
            Source::Reading { from: ReadFrom::Programs(names), .. } => names.join(" "),
            Source::Lost(classes) => {
                format!("ledger {}", classes.iter().map(|class| class.name()).collect::<Vec<_>>().join(", "))
            }
            Source::Samples(functions) => format!("CPU samples in {}", functions.join(", ")),
            Source::Waits { .. } => "waits".to_owned(),
        }
    }
}

fn metric(
    name: &str,
    filter: BTreeMap<String, OneOrMany>,
    key: Option<String>,
    default: Option<f64>,
) -> Result<Source, String> {
    let entry = catalog::ALL.iter().find(|entry| entry.name == name).ok_or_else(|| {
        let near = catalog::ALL.iter().filter(|entry| entry.name.split('.').any(|part| name.contains(part)));
        let near: Vec<&str> = near.map(|entry| entry.name).take(8).collect();
        format!("no metric `{name}`; there are {} …", near.join(", "))
    })?;
    if !["Series", "Histogram", "Fact", "Event"].contains(&entry.shape) {
        return Err(format!("{name} holds {}s, which `lost`, `samples` and `waits` give access to", entry.shape));
    }
    match filter.keys().chain(&key).find(|label| !entry.labels.contains(&label.as_str())) {
        Some(label) => Err(format!("{name} has no label `{label}`; it has {}", entry.labels.join(", "))),
        None => Ok(Source::Metric { entry, filter, key, default }),
    }
}

fn parse(
    name: Option<&str>,
    columns: Option<[usize; 2]>,
    hex: Option<bool>,
    containing: Option<Vec<String>>,
) -> Result<Parse, String> {
    Ok(match name.unwrap_or("number") {
        "number" => Parse::Number,
        "text" => Parse::Text,
        "choice" => Parse::Choice,
        "pairs" => Parse::Pairs,
        "table" => {
            let [key, value] = columns.unwrap_or([1, 2]);
            Parse::Table { key, value }
        }
        "sums" => Parse::Sums { hex: hex.unwrap_or(false) },
        "lines" => Parse::Lines(containing.unwrap_or_default()),
        "words" => Parse::Words(containing.unwrap_or_default()),
        other => return Err(format!("`{other}` is not number, text, choice, pairs, table, sums, lines or words")),
    })
}

fn from(file: Option<String>, command: Option<Vec<String>>, timeout: Option<f64>) -> Result<ReadFrom, String> {
    if let Some(path) = file {
        return if path.starts_with('/') { Ok(ReadFrom::File(path)) } else { Err("a file begins with `/`".to_owned()) };
    }
    let argv = command.unwrap_or_default();
    if argv.is_empty() {
        return Err("a command is a list, its program first".to_owned());
    }
    let timeout = timeout.unwrap_or(COMMAND_TIMEOUT);
    if !(0.1..=LONGEST_TIMEOUT).contains(&timeout) {
        return Err(format!("`timeout` is 0.1 to {LONGEST_TIMEOUT} seconds"));
    }
    Ok(ReadFrom::Command { argv, timeout: Duration::from_secs_f64(timeout) })
}

fn map(pairs: impl IntoIterator<Item = (String, Value)>) -> Value {
    let map: HashMap<Key, Value> = pairs.into_iter().map(|(key, value)| (Key::from(key), value)).collect();
    Value::Map(map.into())
}

/// Numbers of one value, summed over the rows that make it up.
#[derive(Default)]
struct Numbers(BTreeMap<&'static str, f64>);

impl Numbers {
    fn add(&mut self, name: &'static str, value: f64) {
        *self.0.entry(name).or_default() += value;
    }

    fn series(&mut self, row: &Series) {
        let Some(first) = row.points.first() else { return };
        self.add("first", first.value);
        self.add("last", row.last());
        self.add("max", row.max());
        self.add("mean", row.mean());
        if let (Some(increase), Some(rate)) = (row.increase(), row.rate()) {
            self.add("increase", increase);
            self.add("rate", rate);
        }
    }

    fn value(self) -> Value {
        map(self.0.into_iter().map(|(name, value)| (name.to_owned(), Value::Float(value))))
    }
}

/// The name of a row's key: of a process, its name with its id.
fn key_of(rec: &Recording, labels: &Labels, key: &str) -> String {
    match (key, labels.pid()) {
        ("pid", Some(pid)) => format!("{} (pid {pid})", rec.process_name(pid)),
        _ => labels.get(key).to_owned(),
    }
}

/// Whether rows with these labels count: friday's own and the kernel's threads' are nobody's.
fn counts(rec: &Recording, labels: &Labels, filter: &BTreeMap<String, OneOrMany>) -> bool {
    labels.pid().is_none_or(|pid| is_ordinary(rec, pid))
        && filter.iter().all(|(label, wanted)| wanted.has(labels.get(label)))
}

fn of_metric(
    rec: &Recording,
    entry: &'static Entry,
    filter: &BTreeMap<String, OneOrMany>,
    key: Option<&str>,
    default: Option<f64>,
) -> Observed<Value> {
    let mut values: BTreeMap<String, Numbers> = BTreeMap::new();
    let name = |labels: &Labels| key.map_or_else(String::new, |key| key_of(rec, labels, key));
    match entry.shape {
        "Fact" => {
            let rows = table::<Fact>(rec, entry)?.iter().filter(|row| counts(rec, &row.labels, filter));
            let facts: BTreeMap<String, Value> =
                rows.map(|row| (name(&row.labels), Value::from(row.value.as_str()))).collect();
            return settle(entry, facts, key, None);
        }
        "Series" => {
            for row in table::<Series>(rec, entry)?.iter().filter(|row| counts(rec, &row.labels, filter)) {
                values.entry(name(&row.labels)).or_default().series(row);
            }
        }
        "Event" => {
            for row in table::<Event>(rec, entry)?.iter() {
                if row.pid.is_none_or(|pid| is_ordinary(rec, pid)) && counts(rec, &row.labels, filter) {
                    let numbers = values.entry(name(&row.labels)).or_default();
                    numbers.add("count", 1.0);
                    numbers.add("sum", row.value);
                }
            }
        }
        _ => {
            let mut merged: BTreeMap<String, Histogram> = BTreeMap::new();
            for row in table::<Histogram>(rec, entry)?.iter().filter(|row| counts(rec, &row.labels, filter)) {
                merged.entry(name(&row.labels)).and_modify(|sum| sum.merge(row)).or_insert_with(|| row.clone());
            }
            for (name, hist) in merged.iter().filter(|(_, hist)| hist.count > 0) {
                let numbers = values.entry(name.clone()).or_default();
                let seconds = |part| hist.quantile_time(Ratio(part)).map_or(0.0, |time| time.as_secs_f64());
                numbers.add("count", hist.count as f64);
                numbers.add("mean", hist.mean_time().as_secs_f64());
                numbers.add("p50", seconds(0.5));
                numbers.add("p90", seconds(0.9));
                numbers.add("p99", seconds(0.99));
                numbers.add("max", Duration::from_nanos(hist.max).as_secs_f64());
            }
        }
    }
    settle(entry, values.into_iter().map(|(name, numbers)| (name, numbers.value())).collect(), key, default)
}

fn table<'a, S: observe::Shape>(rec: &'a Recording, entry: &Entry) -> Observed<&'a [S]> {
    match rec.tables::<S>().get(entry.name) {
        Some(Ok(rows)) => Ok(rows),
        Some(Err(why)) => Err(why.clone()),
        None => Err(Absent::NotCollected(format!("{} was not part of this run", entry.name))),
    }
}

/// One value, or all of them by name.
fn settle(
    entry: &Entry,
    mut values: BTreeMap<String, Value>,
    key: Option<&str>,
    default: Option<f64>,
) -> Observed<Value> {
    if key.is_some() {
        return Ok(map(values));
    }
    if let Some(value) = values.remove("") {
        return Ok(value);
    }
    let Some(default) = default else {
        return Err(Absent::Unsupported(format!("{} has no such row ({})", entry.name, entry.source)));
    };
    let names = ["first", "last", "max", "mean", "increase", "rate", "count", "sum", "p50", "p90", "p99"];
    Ok(map(names.map(|name| (name.to_owned(), Value::Float(default)))))
}

fn of_reading(rec: &Recording, tool: &str, input: &str, keyed: bool) -> Observed<Value> {
    let mine = |labels: &Labels| labels.get("tool") == tool && labels.get("input") == input;
    if let Some(why) = rec.get(&catalog::TOOL_ABSENT).into_iter().flatten().find(|row| mine(&row.labels)) {
        // As the C library words EACCES and EPERM: there is something, and it is kept from us.
        let refused = ["Permission denied", "Operation not permitted"].iter().any(|text| why.value.contains(text));
        let absent = if refused { Absent::NoPermission } else { Absent::Unsupported };
        return Err(absent(why.value.clone()));
    }
    let mut values: BTreeMap<String, Value> = BTreeMap::new();
    for row in rec.get(&catalog::TOOL_READING).into_iter().flatten().filter(|row| mine(&row.labels)) {
        let mut numbers = Numbers::default();
        numbers.series(row);
        values.insert(row.labels.get("key").to_owned(), numbers.value());
    }
    for row in rec.get(&catalog::TOOL_TEXT).into_iter().flatten().filter(|row| mine(&row.labels)) {
        values.insert(row.labels.get("key").to_owned(), Value::from(row.value.as_str()));
    }
    if values.is_empty() {
        return Err(Absent::NotCollected(format!("{input} was not read in this run")));
    }
    if keyed {
        return Ok(map(values));
    }
    values.into_values().next().ok_or_else(|| Absent::Failed(format!("{input} is empty")))
}

fn of_lost(lost: &Lost) -> Value {
    let most = lost.losses.first();
    map([
        ("felt".to_owned(), Value::Bool(lost.felt().is_some())),
        ("seconds".to_owned(), Value::Float(lost.losses.iter().map(|loss| loss.time.as_secs_f64()).sum())),
        ("of_window".to_owned(), Value::Float(lost.of_window().0)),
        ("share".to_owned(), Value::Float(lost.felt().or(most).map_or(0.0, |loss| loss.share.0))),
        (
            "who".to_owned(),
            Value::from(lost.felt().or(most).map_or_else(|| "nobody".to_owned(), |loss| loss.who.clone())),
        ),
        ("most".to_owned(), Value::Float(lost.felt().or(most).map_or(0.0, |loss| loss.time.as_secs_f64()))),
    ])
}

/// Who did most of something, and how much of it.
fn most<T: PartialOrd + Copy>(rec: &Recording, by: &BTreeMap<Pid, T>) -> Option<(String, T)> {
    let mut most: Option<(Pid, T)> = None;
    for (pid, value) in by {
        if most.is_none_or(|(_, best)| *value > best) {
            most = Some((*pid, *value));
        }
    }
    most.map(|(pid, value)| (format!("{} (pid {pid})", rec.process_name(pid)), value))
}

fn of_samples(rec: &Recording, functions: &[String]) -> Observed<Value> {
    let (mut all, mut found) = (0_u64, 0_u64);
    let mut by: BTreeMap<Pid, u64> = BTreeMap::new();
    let mut taken: BTreeMap<Pid, u64> = BTreeMap::new();
    let wanted = are_functions(rec, functions);
    for stack in rec.get(&catalog::CPU_STACKS)?.iter().filter(|stack| is_ordinary(rec, stack.pid)) {
        all += stack.samples;
        *taken.entry(stack.pid).or_default() += stack.samples;
        if stack.frames.iter().any(|frame| wanted[frame.0 as usize]) {
            found += stack.samples;
            *by.entry(stack.pid).or_default() += stack.samples;
        }
    }
    let who = most(rec, &by).map_or_else(|| "nobody".to_owned(), |(who, _)| who);
    let mut values = vec![
        ("all".to_owned(), Value::Float(all as f64)),
        ("count".to_owned(), Value::Float(found as f64)),
        ("share".to_owned(), Value::Float(Ratio::of_counts(found as f64, all as f64).0)),
        ("who".to_owned(), Value::from(who)),
    ];
    // Without a ledger nobody knows what time the samples stand for.
    if let Ok(spent) = spent(rec, &by, &taken) {
        let of_who = spent.felt().or(spent.losses.first());
        values.extend([
            ("felt".to_owned(), Value::Bool(spent.felt().is_some())),
            ("seconds".to_owned(), Value::Float(spent.losses.iter().map(|loss| loss.time.as_secs_f64()).sum())),
            ("of_window".to_owned(), Value::Float(spent.of_window().0)),
            ("of_who".to_owned(), Value::Float(of_who.map_or(0.0, |loss| loss.share.0))),
        ]);
        if let Some(loss) = of_who {
            values.retain(|(name, _)| name != "who");
            values.push(("who".to_owned(), Value::from(loss.who.clone())));
        }
    }
    Ok(map(values))
}

/// The running time that samples stand for: the part of a process' samples that was found, of the time that it ran.
fn spent(rec: &Recording, found: &BTreeMap<Pid, u64>, taken: &BTreeMap<Pid, u64>) -> Observed<Lost> {
    let mut running: BTreeMap<Pid, Duration> = BTreeMap::new();
    for row in rec.get(&catalog::THREAD_TIME)? {
        *running.entry(row.pid).or_default() += row.classes.sum(TimeClass::is_running);
    }
    let time = |pid: &Pid, found: u64| {
        let part = Ratio::of_counts(found as f64, taken.get(pid).copied().unwrap_or_default() as f64);
        running.get(pid).copied().unwrap_or_default().mul_f64(part.0)
    };
    Lost::of_times(rec, &found.iter().map(|(pid, found)| (*pid, time(pid, *found))).collect())
}

fn of_waits(rec: &Recording, classes: &[TimeClass], part: &WaitsPart) -> Observed<Value> {
    let any = |patterns: &[String], name: &str| patterns.is_empty() || patterns.iter().any(|p| matches(p, name));
    let wanted = are_functions(rec, &part.function);
    let is = |wait: &observe::Wait| {
        (classes.is_empty() || classes.contains(&wait.class))
            && any(&part.resource, &wait.resource)
            && any(&part.syscall, &wait.syscall)
            && (part.function.is_empty() || wait.stack.iter().any(|frame| wanted[frame.0 as usize]))
    };
    let lost = Lost::to_waits(rec, is)?;
    let (mut count, mut longest) = (0_u64, Duration::ZERO);
    for wait in rec.get(&catalog::WAITS)?.iter().filter(|wait| is(wait) && is_ordinary(rec, wait.pid)) {
        count += wait.count;
        longest = longest.max(wait.longest);
    }
    let seconds: f64 = lost.losses.iter().map(|loss| loss.time.as_secs_f64()).sum();
    let Value::Map(common) = of_lost(&lost) else { return Err(Absent::Failed("waits".to_owned())) };
    let mut all: HashMap<Key, Value> = (*common.map).clone();
    all.insert(Key::from("count".to_owned()), Value::Float(count as f64));
    all.insert(Key::from("longest".to_owned()), Value::Float(longest.as_secs_f64()));
    all.insert(Key::from("mean".to_owned()), Value::Float(Ratio::of_counts(seconds, count as f64).0));
    Ok(Value::Map(all.into()))
}

/// What every tool sees without asking: the machine and the window.
pub(super) fn everywhere(rec: &Recording) -> Context<'static, 'static> {
    let mut context = context();
    let host = [
        ("cpus", f64::from(rec.host.cpus).into_value()),
        ("memory", (rec.host.memory_bytes as f64).into_value()),
        ("kernel", Value::from(rec.host.kernel.as_str())),
        ("release", release(&rec.host.kernel).into_value()),
    ];
    context.add_variable_from_value("host", map(host.map(|(name, value)| (name.to_owned(), value))));
    let window = [("seconds".to_owned(), rec.window.length.as_secs_f64().into_value())];
    context.add_variable_from_value("window", map(window));
    context
}

/// A kernel's release as a number that can be compared: 6.18 is 6018.
fn release(kernel: &str) -> f64 {
    let mut parts = kernel.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<f64>().unwrap_or(0.0));
    parts.next().unwrap_or(0.0) * 1000.0 + parts.next().unwrap_or(0.0)
}

trait IntoValue {
    fn into_value(self) -> Value;
}

impl IntoValue for f64 {
    fn into_value(self) -> Value {
        Value::Float(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Machine;

    fn input(text: &str) -> Result<Input, String> {
        Input::new(toml::from_str(text).map_err(|error| error.to_string())?)
    }

    fn seen(machine: &Machine, part: &str, expression: &str) -> Observed<Value> {
        let input = input(part).unwrap();
        let mut context = everywhere(&machine.rec);
        context.add_variable_from_value("x", input.value(&machine.rec, "a.tool", "x")?);
        super::super::expression::Expression::parse(expression).unwrap().value(&context)
    }

    #[test]
    fn an_input_has_one_source_and_what_goes_with_it() {
        for good in [
            "metric = 'system.memory.usage'\nkey = 'state'",
            "metric = 'system.network.protocol'\nwhere = { protocol = 'Tcp', counter = ['InErrs', 'Out*'] }",
            "file = '/proc/x'\nparse = 'table'\ncolumns = [1, 3]",
            "file = '/var/log/x'\nparse = 'lines'\ncontaining = ['bad']",
            "file = '/proc/net/softnet_stat'\nparse = 'sums'\nhex = true",
            "command = ['zpool', 'list']\ntimeout = 1.0\nparse = 'text'",
            "lost = ['blocked.disk']",
            "samples = ['asm_exc_page_fault']",
            "waits = { class = ['blocked.lock'], function = ['*malloc*'] }",
        ] {
            assert!(input(good).is_ok(), "{good}: {:?}", input(good).err());
        }
        for (bad, why) in [
            ("", "exactly one"),
            ("metric = 'system.memory.usage'\nfile = '/x'", "exactly one"),
            ("metric = 'no.such'", "no metric"),
            ("metric = 'system.memory.usage'\nkey = 'device'", "no label `device`"),
            ("metric = 'thread.waits'", "waits"),
            ("metric = 'system.memory.usage'\nscale = 2.0", "`scale`"),
            ("file = 'proc/x'", "begins with"),
            ("file = '/x'\nparse = 'yaml'", "yaml"),
            ("file = '/x'\nparse = 'table'", "`columns`"),
            ("file = '/x'\nhex = true", "`hex`"),
            ("command = ['x']\ntimeout = 60.0", "0.1 to 5"),
            ("command = []", "a list"),
            ("lost = ['blocked.disc']", "no class of time"),
        ] {
            let error = input(bad).expect_err(bad);
            assert!(error.contains(why), "{bad}: {error}");
        }
    }

    #[test]
    fn series_are_summed_over_rows_and_cut_by_labels() {
        let machine = Machine::idle().counter(&catalog::DISK_BUSY, &[("device", "vdb")], 2.0);
        let busy = "metric = 'system.disk.io_time'";
        assert_eq!(seen(&machine, busy, "x.increase > 2.05 && x.increase < 2.15"), Ok(Value::Bool(true)));
        let one = "metric = 'system.disk.io_time'\nkey = 'device'";
        assert_eq!(seen(&machine, one, "x.vdb.rate"), Ok(Value::Float(0.2)));
        let none = "metric = 'system.disk.io_time'\nwhere = { device = 'sd*' }";
        assert!(matches!(seen(&machine, none, "x.last"), Err(Absent::Unsupported(_))));
        assert_eq!(seen(&machine, &format!("{none}\ndefault = 0.0"), "x.increase"), Ok(Value::Float(0.0)));
        assert_eq!(seen(&machine, &format!("{none}\noptional = true"), "x == null"), Ok(Value::Bool(true)));
        assert!(seen(&Machine::new(), busy, "x.last").is_err());
    }

    #[test]
    fn histograms_are_in_seconds_and_facts_are_text() {
        let machine = Machine::saturated();
        let latency = "metric = 'system.disk.request_latency'";
        assert_eq!(seen(&machine, latency, "x.p99 > 0.05 && x.p99 < 0.07 && x.count == 1000.0"), Ok(Value::Bool(true)));
        let clock = "metric = 'host.fact'\nwhere = { name = 'clocksource' }";
        assert_eq!(seen(&machine, clock, "x"), Ok(Value::from("hpet")));
    }

    #[test]
    fn fridays_own_and_the_kernels_rows_do_not_count() {
        let row = [("pid", "7"), ("kind", "rss")];
        let machine = || Machine::new().gauge(&catalog::MEMORY_USAGE, &row, &[5.0]).named(7, "x");
        let part = "metric = 'process.memory.usage'\nwhere = { kind = 'rss' }\nkey = 'pid'";
        assert_eq!(seen(&machine(), part, "x['x (pid 7)'].last"), Ok(Value::Float(5.0)));
        assert_eq!(seen(&machine().friday(7), part, "x.size()"), Ok(Value::Int(0)));
    }

    #[test]
    fn lost_time_samples_and_waits_name_who() {
        let machine = Machine::saturated();
        assert_eq!(
            seen(&machine, "lost = ['blocked.disk']", "x.felt && x.who == 'api (pid 7)'"),
            Ok(Value::Bool(true))
        );
        assert_eq!(seen(&machine, "samples = ['asm_exc_*']", "x.share"), Ok(Value::Float(0.9)));
        // Nine tenths of the two seconds that it ran, of the ten in which it wanted something.
        let spent = "x.felt && x.who == 'api (pid 7)' && x.seconds > 1.79 && x.seconds < 1.81 && x.of_who < 0.19";
        assert_eq!(seen(&machine, "samples = ['asm_exc_*']", spent), Ok(Value::Bool(true)));
        assert_eq!(seen(&machine, "samples = ['nobody']", "x.felt || x.seconds > 0.0"), Ok(Value::Bool(false)));
        let unclocked = Machine::new().samples(7, &["main"], &[], 10);
        assert!(seen(&unclocked, "samples = ['main']", "x.felt").is_err());
        assert_eq!(seen(&machine, "lost = ['blocked.disk']", "x.most"), Ok(Value::Float(2.0)));
        let waits = "waits = { class = ['blocked.lock'], resource = ['futex:*'] }";
        assert_eq!(seen(&machine, waits, "[x.seconds, x.count]"), seen(&machine, waits, "[2.0, 200.0]"));
        assert_eq!(seen(&machine, "waits = { resource = ['pipe:*'] }", "x.felt"), Ok(Value::Bool(false)));
    }

    #[test]
    fn readings_are_those_of_the_tool_and_the_reason_where_there_are_none() {
        let labels = [("tool", "a.tool"), ("input", "x"), ("key", "hits")];
        let machine = Machine::new().counter(&catalog::TOOL_READING, &labels, 30.0);
        let part = "file = '/proc/x'\nparse = 'pairs'";
        assert_eq!(seen(&machine, part, "x.hits.rate"), Ok(Value::Float(3.0)));
        assert!(matches!(seen(&machine, part, "x.misses.rate"), Err(Absent::Unsupported(_))));
        assert!(matches!(seen(&Machine::new(), part, "x.hits.rate"), Err(Absent::NotCollected(_))));
        let mut machine = Machine::new();
        let labels = Labels::new([("tool", "a.tool".into()), ("input", "x".into())]);
        let why = Fact { labels, value: "/proc/x: No such file".into(), source: "/proc/x".into() };
        machine.rec.push(&catalog::TOOL_ABSENT, why);
        assert!(
            matches!(seen(&machine, part, "x.hits.rate"), Err(Absent::Unsupported(why)) if why.contains("No such"))
        );
        let mut machine = Machine::new();
        let labels = Labels::new([("tool", "a.tool".into()), ("input", "x".into())]);
        let why = Fact { labels, value: "/proc/x: Permission denied (os error 13)".into(), source: "/proc/x".into() };
        machine.rec.push(&catalog::TOOL_ABSENT, why);
        assert!(matches!(seen(&machine, part, "x.hits.rate"), Err(Absent::NoPermission(_))));
    }

    #[test]
    fn functions_are_known_by_their_plain_names() {
        for (pattern, name) in [
            ("do_sync", "do_sync"),
            ("do_sync", "do_sync.isra.0"),
            ("do_sync", "do_sync.part.0.cold"),
            ("malloc", "malloc@@GLIBC_2.2.5"),
            ("*_sync", "do_sync.constprop.0"),
            ("runtime.schedule", "runtime.schedule"),
        ] {
            assert!(is_function(&[pattern.to_owned()], name), "{pattern} {name}");
        }
        for (pattern, name) in [("do_sync", "do_sync_page"), ("runtime", "runtime.schedule"), ("do_sync", "")] {
            assert!(!is_function(&[pattern.to_owned()], name), "{pattern} {name}");
        }
    }

    #[test]
    fn releases_are_ordered() {
        assert!(release("6.18.5-generic") > release("6.9.0") && release("6.18.5") == 6018.0);
        assert_eq!(release(""), 0.0);
    }
}
