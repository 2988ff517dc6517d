//! Whose stacks reach their root and whose frames have names: of each process that ran or waited, why not, and what mends it.

use super::{HARDLY_UNWOUND, NOT_TAKEN, UNWOUND, remedy, test};
use checks::{Evidence, Light, Test};
use observe::{Observed, Pid, Process, Recording, Series, catalog};
use std::collections::BTreeMap;

/// Where a stack that was walked to where its thread began ends; the other is cut at the depth that is kept.
const WHOLE: [&str; 2] = ["root", "deep"];
/// What says nothing of a process: no stack was taken, or it was before its tables were there, or its last frame pointer is
/// zero in code without names, which is the root or none.
const NOT_JUDGED: [&str; 3] = [NOT_TAKEN, "frame pointers only", "unclear"];
/// How it begins why frames have no name of a process that ended before it could be looked at.
const GONE: [&str; 2] = ["process gone", "no memory of its own"];
/// ours: a summary names these; the evidence has all.
const NAMED: usize = 3;
/// ours: more rows than anybody reads.
const MOST_ROWS: usize = 200;

/// The lights of what each process' stacks and frames are worth.
pub(crate) fn tests(rec: &Recording) -> Vec<Test> {
    let stacks = Question {
        id: "stacks",
        unit: "stacks",
        good: "reach their root",
        bad: "do not",
        none: "no stack was taken that tells",
        remedy: |rec, process, why, module| remedy::stacks(rec, process, why, module),
    };
    let symbols = Question {
        id: "symbols",
        unit: "frames",
        good: "have names",
        bad: "have none",
        none: "no stack was taken",
        remedy: |rec, process, why, module| remedy::symbols(rec, process, why, module),
    };
    vec![
        stacks.judge(
            rec,
            counts(rec.get(&catalog::PROCESS_STACKS), "end", |end| {
                (!NOT_JUDGED.contains(&end)).then(|| WHOLE.contains(&end))
            }),
        ),
        symbols.judge(
            rec,
            counts(rec.get(&catalog::PROCESS_FRAMES), "why", |why| {
                (!GONE.iter().any(|gone| why.starts_with(gone))).then_some(why.is_empty())
            }),
        ),
    ]
}

/// What was counted of one process.
#[derive(Default)]
struct Count {
    good: f64,
    /// By reason and module.
    not: BTreeMap<(String, String), f64>,
    /// Whether there is code made at run time that has names: a runtime tells them.
    told: bool,
}

impl Count {
    fn all(&self) -> f64 {
        self.good + self.not.values().sum::<f64>()
    }

    fn part(&self) -> Option<f64> {
        (self.all() > 0.0).then(|| self.good / self.all())
    }

    fn worst(&self) -> Option<(&str, &str)> {
        let most = self.not.iter().max_by(|a, b| a.1.total_cmp(b.1))?;
        Some((&most.0.0, &most.0.1))
    }
}

/// `good` says of a label whether what it counts is as it should be; `None` where that says nothing.
fn counts(
    rows: Observed<&[Series]>,
    label: &str,
    good: impl Fn(&str) -> Option<bool>,
) -> Observed<BTreeMap<Pid, Count>> {
    let mut all: BTreeMap<Pid, Count> = BTreeMap::new();
    for row in rows? {
        let Some(pid) = row.labels.pid() else { continue };
        let (why, module) = (row.labels.get(label), row.labels.get("in"));
        let count = all.entry(pid).or_default();
        match good(why) {
            Some(true) => {
                count.good += row.last();
                count.told |= module == remedy::JIT;
            }
            Some(false) => *count.not.entry((why.to_owned(), module.to_owned())).or_default() += row.last(),
            None => {}
        }
    }
    Ok(all)
}

fn light(part: f64) -> Light {
    match part {
        part if part >= UNWOUND => Light::Good,
        part if part >= HARDLY_UNWOUND => Light::Maybe,
        _ => Light::Bad,
    }
}

struct Question {
    id: &'static str,
    unit: &'static str,
    good: &'static str,
    bad: &'static str,
    none: &'static str,
    remedy: fn(&Recording, &Process, &str, &str) -> String,
}

impl Question {
    fn judge(&self, rec: &Recording, counts: Observed<BTreeMap<Pid, Count>>) -> Test {
        let group = "stacks and symbols";
        let say = |light, why, evidence| test(self.id, group, light, why, evidence);
        let counts = match counts {
            Ok(counts) => counts,
            Err(why) => return say(Light::Untested, why.to_string(), Vec::new()),
        };
        // Of what has ended already nothing can be switched on.
        let stays = |pid: &Pid| rec.processes.get(pid).is_none_or(|process| process.life.is_none());
        let wanted = |pid: &Pid| if rec.target.is_named() { rec.target.contains(*pid) } else { stays(pid) };
        let of_interest: Vec<_> = counts.iter().filter(|(pid, _)| wanted(pid)).collect();
        let mut judged: Vec<(Pid, &Count, f64)> =
            of_interest.iter().filter_map(|(pid, count)| Some((**pid, *count, count.part()?))).collect();
        if judged.is_empty() {
            return say(Light::Untested, self.none.to_owned(), Vec::new());
        }
        judged.sort_by(|a, b| a.2.total_cmp(&b.2).then(b.1.all().total_cmp(&a.1.all())));
        let bad = judged.iter().filter(|row| light(row.2) == Light::Bad).count();
        let well = judged.iter().filter(|row| light(row.2) == Light::Good).count();
        // Of a whole machine some process is always bad; of a target, each counts.
        let verdict = match bad {
            _ if well == judged.len() => Light::Good,
            bad if bad > 0 && (rec.target.is_named() || bad * 2 >= judged.len()) => Light::Bad,
            _ => Light::Maybe,
        };
        let threshold = UNWOUND * 100.0;
        let mut why = format!(
            "{well} of {} processes: {threshold:.0} % or more of their {} {}",
            judged.len(),
            self.unit,
            self.good
        );
        let untested = of_interest.len() - judged.len();
        if untested > 0 {
            why += &format!("; {untested} more: {}", self.none);
        }
        for row in judged.iter().filter(|row| light(row.2) != Light::Good).take(NAMED) {
            why += &format!("; {}", self.row(rec, row));
        }
        let evidence = judged.iter().take(MOST_ROWS).map(|row| {
            let mut one = Evidence::new(self.row(rec, row), row.2 * 100.0, "%");
            one.threshold = Some(format!("< {threshold:.0} %"));
            one
        });
        say(verdict, why, evidence.collect())
    }

    /// One process in words.
    fn row(&self, rec: &Recording, (pid, count, _): &(Pid, &Count, f64)) -> String {
        let unknown = Process::default();
        let process = rec.processes.get(pid).unwrap_or(&unknown);
        let name = if process.name.is_empty() { "process" } else { &process.name };
        let mut row = format!("{name} ({}): {} of {} {} {}", pid.0, count.good, count.all(), self.unit, self.good);
        if let Some((why, module)) = count.worst() {
            let place = if module.is_empty() || why.contains(module) { String::new() } else { format!(" in {module}") };
            row += &format!(", most that {}: {why}{place}", self.bad);
            let mend = (self.remedy)(rec, process, why, module);
            if !mend.is_empty() {
                row += &format!(" ({mend})");
            }
        }
        if self.id == "symbols" && !count.told {
            row += remedy::interpreted(process);
        }
        row
    }
}

#[cfg(test)]
mod tests {
    use super::{super::remedy::JIT, *};
    use observe::{Absent, Fact, Host, Labels, Target, Window};
    use std::time::{Duration, SystemTime};

    fn recording() -> Recording {
        let host = Host { name: "h".into(), kernel: "6".into(), cpus: 2, memory_bytes: 1 };
        let window = Window { start: SystemTime::UNIX_EPOCH, length: Duration::from_secs(5) };
        let mut rec = Recording::new(host, Target::system("h"), window);
        let os = Labels::new([("name", "os.id".into())]);
        let fact = Fact { labels: os, value: "debian".into(), source: "/etc/os-release".into() };
        rec.set(&catalog::HOST_FACT, Ok(vec![fact]));
        for (pid, name, exe) in [
            (1, "server", "/usr/bin/server"),
            (2, "java", "/usr/lib/jvm/bin/java"),
            (3, "node", "/usr/bin/node"),
            (4, "python3", "/usr/bin/python3.12"),
        ] {
            let process = Process { pid: Pid(pid), name: name.into(), exe: exe.into(), ..Process::default() };
            rec.processes.insert(Pid(pid), process);
        }
        rec.set(&catalog::PROCESS_STACKS, Ok(Vec::new()));
        rec.set(&catalog::PROCESS_FRAMES, Ok(Vec::new()));
        rec
    }

    fn series(pid: u32, label: &str, value: &str, module: &str, count: f64) -> Series {
        let labels = [("pid", pid.to_string()), (label, value.to_owned()), ("in", module.to_owned())];
        Series::total(Labels::new(labels), Duration::from_secs(5), count)
    }

    fn stacks(rows: &[(u32, &str, &str, f64)]) -> Test {
        let mut rec = recording();
        let rows = rows.iter().map(|(pid, end, module, count)| series(*pid, "end", end, module, *count));
        rec.set(&catalog::PROCESS_STACKS, Ok(rows.collect()));
        tests(&rec).swap_remove(0)
    }

    fn symbols(rows: &[(u32, &str, &str, f64)]) -> Test {
        let mut rec = recording();
        let rows = rows.iter().map(|(pid, why, module, count)| series(*pid, "why", why, module, *count));
        rec.set(&catalog::PROCESS_FRAMES, Ok(rows.collect()));
        tests(&rec).swap_remove(1)
    }

    #[test]
    fn a_process_is_good_at_the_threshold_and_not_below() {
        let one = |good: f64| stacks(&[(1, "root", "", good), (1, "no table", "server", 100.0 - good)]).verdict;
        assert_eq!([one(95.0), one(94.0), one(70.0), one(69.0)], [Light::Good, Light::Maybe, Light::Maybe, Light::Bad]);
        assert_eq!(stacks(&[(1, "deep", "", 1.0)]).verdict, Light::Good);
    }

    #[test]
    fn the_worst_comes_first_with_its_reason_and_what_mends_it() {
        let test =
            stacks(&[(1, "root", "", 4.0), (2, "root", "", 1.0), (2, "bad frame", "[jit]", 3.0), (3, "root", "", 9.0)]);
        assert_eq!(test.verdict, Light::Maybe, "one of three");
        let first = &test.evidence[0];
        assert_eq!((first.value, test.evidence.len()), (25.0, 3));
        assert!(first.source.starts_with("java (2): 1 of 4 stacks reach their root"), "{}", first.source);
        assert!(first.source.contains("bad frame in [jit] (start java with -XX:+PreserveFramePointer)"));
        assert!(test.why.starts_with("2 of 3 processes") && test.why.contains("PreserveFramePointer"), "{}", test.why);
    }

    #[test]
    fn half_of_the_processes_or_the_target_make_it_bad() {
        let rows = [(1, "no table", "server", 1.0), (2, "root", "", 1.0)];
        assert_eq!(stacks(&rows).verdict, Light::Bad);
        let mut rec = recording();
        rec.target.members = vec![Pid(2)];
        rec.target.kind = observe::TargetKind::Process;
        let all = rows.iter().map(|(pid, end, module, count)| series(*pid, "end", end, module, *count));
        rec.set(&catalog::PROCESS_STACKS, Ok(all.collect()));
        assert_eq!(tests(&rec)[0].verdict, Light::Good, "others are not asked for");
    }

    #[test]
    fn what_has_ended_is_not_judged() {
        let gone = symbols(&[(1, "", "libc.so.6", 1.0), (1, "process gone before its maps were read", "", 9.0)]);
        assert_eq!((gone.verdict, gone.evidence[0].value), (Light::Good, 100.0));
        let mut rec = recording();
        rec.processes.entry(Pid(1)).and_modify(|process| process.life = Some(Duration::from_secs(1)));
        rec.set(&catalog::PROCESS_STACKS, Ok(vec![series(1, "end", "no table", "server", 1.0)]));
        assert_eq!(tests(&rec)[0].verdict, Light::Untested);
    }

    #[test]
    fn what_tells_nothing_is_neither_good_nor_bad() {
        let test = stacks(&[(1, "not taken", "", 1.0), (2, "frame pointers only", "libc.so.6", 3.0)]);
        assert_eq!((test.verdict, test.evidence.len()), (Light::Untested, 0));
        let test = stacks(&[(1, "root", "", 2.0), (1, "frame pointers only", "", 9.0), (2, "not taken", "", 1.0)]);
        assert_eq!((test.verdict, test.evidence[0].value), (Light::Good, 100.0));
        assert!(test.why.contains("1 more: no stack was taken"), "{}", test.why);
        let mut rec = recording();
        let why = Absent::NotCollected("no stacks were taken".into());
        rec.set(&catalog::PROCESS_STACKS, Err(why.clone()));
        rec.set(&catalog::PROCESS_FRAMES, Err(why));
        for test in tests(&rec) {
            assert!(test.verdict == Light::Untested && test.why.contains("no stacks were taken"), "{test:?}");
        }
    }

    #[test]
    fn names_are_missed_for_a_reason_and_with_what_mends_it() {
        let says = |pid, why: &str, module: &str| {
            let test = symbols(&[(pid, "", "libc.so.6", 1.0), (pid, why, module, 9.0)]);
            assert_eq!(test.verdict, Light::Bad);
            test.evidence[0].source.clone()
        };
        let stripped = says(1, "stripped: no symbols in server", "server");
        assert!(stripped.contains("find-dbgsym-packages --install 1;"), "{stripped}");
        assert!(stripped.contains("https://debuginfod.debian.net"));
        assert!(says(3, "JIT code without a perf map", JIT).contains("start node with --perf-basic-prof"));
        assert!(says(2, "JIT code without a perf map", JIT).contains("jcmd 2 Compiler.perfmap"));
        assert!(
            says(1, "server was deleted or replaced before it could be read", "server").contains("start server again")
        );
        assert!(says(1, "server could not be opened: Permission denied", "server").contains("as root"));
    }

    #[test]
    fn an_interpreter_shows_its_script_only_where_the_runtime_tells() {
        let blind = symbols(&[(4, "", "python3.12", 5.0)]);
        assert!(blind.verdict == Light::Good && blind.evidence[0].source.contains("PYTHONPERFSUPPORT=1"), "{blind:?}");
        let told = symbols(&[(4, "", "python3.12", 5.0), (4, "", JIT, 5.0)]);
        assert!(!told.evidence[0].source.contains("PYTHONPERFSUPPORT"), "{told:?}");
    }
}
