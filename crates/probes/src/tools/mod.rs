//! What health tools ask for themselves: files and commands, read before and after the window, and programs that judge on
//! their own. Nothing of it runs while the window is open. Measured: 20 µs a file; a command costs what it costs, once each
//! time.

mod files;
pub(crate) mod program;

use crate::{preparation, roots::Roots};
use observe::{
    Fact, Labels, Point, Recording, Series, catalog,
    reading::{ReadFrom, Reading, Value},
};
use program::Limits;
use std::{
    collections::BTreeMap,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// ours: as many commands at once as keep a small machine usable.
const AT_ONCE: usize = 4;

/// ours: a program that judges may take as long as the longest command.
const PROGRAM_TIMEOUT: Duration = Duration::from_secs(5);

/// ours: all commands of the preparation together; with its window and what it attaches it stays under 30 s.
const PREPARATION_TIME: Duration = Duration::from_secs(10);

/// ours: with less time left than this, nothing is begun any more.
const LEAST_TIME: Duration = Duration::from_millis(100);

/// Where programs lie that are called by their name alone, and those that distributions put beside.
const PLACES: [&str; 8] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
    "/usr/share/bcc/tools",
    "/usr/share/bpftrace/tools",
];

/// Health tools that are not friday's own, and what all of them want read.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Files and commands.
    pub readings: Vec<Reading>,
    /// Tools that are files, by their path, with their text.
    pub rules: Vec<(PathBuf, String)>,
    /// Tools that are programs.
    pub programs: Vec<PathBuf>,
    /// Tools that are not used, by name, with the reason.
    pub refused: Vec<(String, String)>,
    /// This is for `friday prepare`: everything is read once, after the window and within a time for all, and tracing, access
    /// and the sources of what runs are tried.
    pub preparation: bool,
}

/// Values of one reading by name, or why there are none.
type Values = Result<BTreeMap<String, Value>, String>;

/// What was read before the window.
pub struct Begun {
    asked: Asked,
    roots: Roots,
    first: Vec<Values>,
    since: Instant,
}

impl Asked {
    /// Reads everything for the first time.
    pub fn begin(self, roots: &Roots) -> Begun {
        let since = Instant::now();
        let first = if self.preparation {
            self.readings.iter().map(|_| Err(String::new())).collect()
        } else {
            read_all(roots, &self.readings, None)
        };
        Begun { asked: self, roots: roots.clone(), first, since }
    }
}

impl Begun {
    /// Reads everything again, asks the programs, and puts all of it into the recording.
    pub fn finish(self, into: &mut Recording) {
        let over = self.since.elapsed();
        let within = self.asked.preparation.then_some(PREPARATION_TIME);
        let last = read_all(&self.roots, &self.asked.readings, within);
        for metric in [&catalog::TOOL_TEXT, &catalog::TOOL_ABSENT, &catalog::TOOL_RULE, &catalog::TOOL_VERDICT] {
            into.set(metric, Ok(Vec::new()));
        }
        into.set(&catalog::TOOL_READING, Ok(Vec::new()));
        for ((reading, first), last) in self.asked.readings.iter().zip(self.first).zip(last) {
            store(reading, first.unwrap_or_default(), last, over, into);
        }
        for (path, text) in self.asked.rules {
            let (tool, source) = (stem(&path), path.display().to_string());
            into.push(&catalog::TOOL_RULE, Fact { labels: named(&tool), value: text, source });
        }
        let said = in_parallel(&self.asked.programs, |path| {
            let argv = [path.to_string_lossy().into_owned()];
            program::run(&argv, Limits { timeout: PROGRAM_TIMEOUT, ..Limits::default() })
        });
        for (path, said) in self.asked.programs.iter().zip(said) {
            let (tool, source) = (stem(path), path.display().to_string());
            match said {
                Ok(value) => into.push(&catalog::TOOL_VERDICT, Fact { labels: named(&tool), value, source }),
                Err(why) => {
                    let value = format!("{source}: {why}");
                    into.push(&catalog::TOOL_ABSENT, Fact { labels: named(&tool), value, source });
                }
            }
        }
        for (tool, why) in self.asked.refused {
            into.push(&catalog::TOOL_ABSENT, Fact { labels: named(&tool), value: why, source: "friday".to_owned() });
        }
        if self.asked.preparation {
            preparation::collect(&self.roots, into);
        }
    }
}

/// The name of a tool by its file.
fn stem(path: &std::path::Path) -> String {
    path.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn named(tool: &str) -> Labels {
    Labels::new([("tool", tool.to_owned())])
}

fn store(reading: &Reading, first: BTreeMap<String, Value>, last: Values, over: Duration, into: &mut Recording) {
    let labels = |key: &str| {
        Labels::new([("tool", reading.tool.clone()), ("input", reading.input.clone()), ("key", key.to_owned())])
    };
    let source = match &reading.from {
        ReadFrom::File(path) => path.clone(),
        ReadFrom::Command { argv, .. } => argv.join(" "),
        ReadFrom::Programs(names) => names.join(" "),
    };
    let last = match last {
        Ok(last) => last,
        Err(why) => {
            let absent = Labels::new([("tool", reading.tool.clone()), ("input", reading.input.clone())]);
            into.push(&catalog::TOOL_ABSENT, Fact { labels: absent, value: why, source });
            return;
        }
    };
    for (key, value) in last {
        match value {
            Value::Number(last) => {
                let end = Point { at: over, value: last };
                let points = match first.get(&key) {
                    Some(Value::Number(first)) => vec![Point { at: Duration::ZERO, value: *first }, end],
                    _ => vec![end],
                };
                into.push(&catalog::TOOL_READING, Series { labels: labels(&key), points });
            }
            Value::Text(value) => {
                into.push(&catalog::TOOL_TEXT, Fact { labels: labels(&key), value, source: source.clone() });
            }
        }
    }
}

/// Reads all, commands `within` a time for all of them where one is given.
fn read_all(roots: &Roots, readings: &[Reading], within: Option<Duration>) -> Vec<Values> {
    let end = within.map(|within| (Instant::now() + within, within));
    // Many tools ask the same of a command, the kernel's log above all: it runs once.
    let mut commands: Vec<(&[String], Duration)> = Vec::new();
    for reading in readings {
        if let ReadFrom::Command { argv, timeout } = &reading.from
            && !commands.contains(&(argv, *timeout))
        {
            commands.push((argv, *timeout));
        }
    }
    let said = in_parallel(&commands, |(argv, timeout)| {
        let left = end.map_or(*timeout, |(end, _)| end.saturating_duration_since(Instant::now()));
        match end {
            Some((_, within)) if left < LEAST_TIME => {
                Err(format!("not run: the {:.0} s for all programs together were gone", within.as_secs_f64()))
            }
            _ => program::run(argv, Limits { timeout: left.min(*timeout), ..Limits::default() }),
        }
    });
    let said: BTreeMap<(&[String], Duration), Result<String, String>> = commands.into_iter().zip(said).collect();
    in_parallel(readings, |reading| match &reading.from {
        ReadFrom::File(path) => files::read(roots, path).and_then(|texts| {
            let mut all = BTreeMap::new();
            let mut wrong = None;
            for (name, text) in texts {
                match reading.parse.values(&text, reading.scale) {
                    Ok(values) => all.extend(values.into_iter().map(|(key, value)| {
                        let parts = [name.as_str(), key.as_str()].into_iter().filter(|part| !part.is_empty());
                        (parts.collect::<Vec<_>>().join("/"), value)
                    })),
                    Err(why) => wrong = wrong.or(Some(format!("{path}: {why}"))),
                }
            }
            // Of many files, those count that say something.
            if all.is_empty() { Err(wrong.unwrap_or_else(|| format!("{path}: nothing there"))) } else { Ok(all) }
        }),
        ReadFrom::Command { argv, timeout } => {
            let told = |why: &String| format!("{}: {why}", argv.join(" "));
            match said.get(&(argv.as_slice(), *timeout)) {
                Some(Ok(text)) => reading.parse.values(text, reading.scale).map_err(|why| told(&why)),
                Some(Err(why)) => Err(told(why)),
                None => Err(told(&"was not run".to_owned())),
            }
        }
        ReadFrom::Programs(names) => {
            let found = names.iter().filter_map(|name| {
                let path = PLACES.iter().map(|place| Path::new(place).join(name)).find(|path| is_program(path))?;
                Some((name.clone(), Value::Text(path.display().to_string())))
            });
            Ok(found.collect())
        }
    })
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The same for all, a few at once, in their order.
fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let mut done: Vec<(usize, R)> = thread::scope(|scope| {
        let work = &work;
        let share = |lane: usize| items.iter().enumerate().skip(lane).step_by(AT_ONCE);
        let lanes: Vec<_> = (0..AT_ONCE.min(items.len()))
            .map(|lane| scope.spawn(move || share(lane).map(|(at, item)| (at, work(item))).collect::<Vec<_>>()))
            .collect();
        // A lane that panicked has no results; nothing in it panics.
        lanes.into_iter().flat_map(|lane| lane.join().unwrap_or_default()).collect()
    });
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use observe::{Host, Target, Window, reading::Parse};
    use std::{fs, os::unix::fs::PermissionsExt, time::SystemTime};

    fn recording() -> Recording {
        let host = Host { name: "h".into(), kernel: "6".into(), cpus: 2, memory_bytes: 1 };
        let window = Window { start: SystemTime::UNIX_EPOCH, length: Duration::from_secs(1) };
        Recording::new(host, Target::system("h"), window)
    }

    fn reading(input: &str, from: ReadFrom, parse: Parse) -> Reading {
        Reading { tool: "t".into(), input: input.into(), from, parse, scale: 1.0 }
    }

    #[test]
    fn files_and_commands_are_read_at_both_ends_and_absence_has_its_reason() {
        let dir = tempfile::tempdir().unwrap();
        let counter = dir.path().join("counter");
        fs::write(&counter, "5\n").unwrap();
        let file = |name: &str| ReadFrom::File(dir.path().join(name).display().to_string());
        let command = |script: &str| ReadFrom::Command {
            argv: ["sh", "-c", script].map(str::to_owned).into(),
            timeout: Duration::from_secs(2),
        };
        let asked = Asked {
            readings: vec![
                reading("counter", file("counter"), Parse::Number),
                reading("none", file("none"), Parse::Number),
                reading("said", command("echo mode=fast"), Parse::Pairs),
                reading("fails", command("echo oops >&2; exit 3"), Parse::Number),
            ],
            ..Asked::default()
        };
        let begun = asked.begin(&Roots::default());
        fs::write(&counter, "8\n").unwrap();
        let mut rec = recording();
        begun.finish(&mut rec);
        let rows = rec.get(&catalog::TOOL_READING).unwrap();
        assert_eq!((rows.len(), rows[0].increase()), (1, Some(3.0)));
        let texts = rec.get(&catalog::TOOL_TEXT).unwrap();
        assert_eq!((texts[0].labels.get("key"), texts[0].value.as_str()), ("mode", "fast"));
        let absent = rec.get(&catalog::TOOL_ABSENT).unwrap();
        assert_eq!(absent.len(), 2);
        assert!(absent[0].value.contains("none"), "{}", absent[0].value);
        assert!(absent[1].value.contains('3') && absent[1].value.contains("oops"), "{}", absent[1].value);
    }

    #[test]
    fn programs_that_hang_take_no_longer_than_all_have_together_and_the_rest_is_not_run() {
        let hangs = |n: usize| {
            let argv = ["sh".to_owned(), "-c".to_owned(), format!("trap '' TERM; sleep 60 & sleep 6{n}; wait")];
            let from = ReadFrom::Command { argv: argv.into(), timeout: Duration::from_secs(5) };
            reading(&n.to_string(), from, Parse::Text)
        };
        let readings: Vec<Reading> = (0..3 * AT_ONCE).map(hangs).collect();
        let began = Instant::now();
        let values = read_all(&Roots::default(), &readings, Some(Duration::from_millis(800)));
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
        let why: Vec<String> = values.into_iter().map(Result::unwrap_err).collect();
        assert_eq!(
            why.iter().filter(|why| why.contains("killed, it took longer than 0.8 s")).count(),
            AT_ONCE,
            "{why:?}"
        );
        assert_eq!(why.iter().filter(|why| why.contains("1 s for all programs together")).count(), 2 * AT_ONCE);
    }

    #[test]
    fn programs_are_found_by_name() {
        let names = ["sh", "no-such-program-here"].map(str::to_owned).to_vec();
        let found = read_all(&Roots::default(), &[reading("p", ReadFrom::Programs(names), Parse::Text)], None);
        let found = found[0].as_ref().unwrap();
        assert!(found.len() == 1 && matches!(&found["sh"], Value::Text(path) if path.ends_with("bin/sh")), "{found:?}");
    }

    #[test]
    fn programs_are_heard_and_what_they_fail_with_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let program = |name: &str, script: &str| {
            let path = dir.path().join(name);
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        let programs = vec![program("friday-health-a", "echo '{}'"), program("friday-health-b", "exit 7")];
        let mut rec = recording();
        Asked { programs, ..Asked::default() }.begin(&Roots::default()).finish(&mut rec);
        assert_eq!(rec.get(&catalog::TOOL_VERDICT).unwrap()[0].value.trim(), "{}");
        assert!(rec.get(&catalog::TOOL_ABSENT).unwrap()[0].value.contains('7'));
    }
}
