//! Of each binary that ran most, whether its source and its debug information can be had, and by which command.

use super::{remedy, test};
use checks::{
    Evidence, Light, Test,
    crisis::{Distribution, Manager},
};
use observe::{Labels, Recording, catalog};
use std::collections::BTreeSet;

const GROUP: &str = "source";
/// ours: of a build-id, as much as tells it from others.
const SHORT: usize = 12;

/// One light for all, and one for each of the hot binaries; none where it was not asked.
pub(super) fn tests(rec: &Recording) -> Vec<Test> {
    let rows = match rec.get(&catalog::BINARY) {
        Ok(rows) => rows,
        Err(observe::Absent::NotCollected(_)) => return Vec::new(),
        Err(why) => return vec![test("source", GROUP, Light::Untested, why.to_string(), Vec::new())],
    };
    let all: f64 = rec
        .get(&catalog::CPU_STACKS)
        .into_iter()
        .flatten()
        .filter(|stack| !rec.is_friday(stack.pid))
        .map(|stack| stack.samples as f64)
        .sum();
    let each: Vec<Test> = rows
        .iter()
        .map(|row| {
            let (verdict, why) = judge(&row.labels);
            let name = row.labels.get("path").rsplit('/').next().unwrap_or_default();
            let part = if all > 0.0 { row.last() / all } else { 0.0 };
            let evidence =
                vec![Evidence::new(format!("CPU samples in {}", row.labels.get("path")), row.last(), "{sample}")];
            test(
                &format!("source.{name}"),
                GROUP,
                verdict,
                format!("{:.0} % of CPU samples; {why}", part * 100.0),
                evidence,
            )
        })
        .collect();
    let mut all = vec![summary(rec, rows.iter().map(|row| &row.labels).collect(), &each)];
    all.extend(each);
    all
}

fn judge(of: &Labels) -> (Light, String) {
    let (package, source, tree, debug) = (of.get("package"), of.get("source"), of.get("tree"), of.get("debug"));
    let id: String = match of.get("build_id") {
        "" => "no build-id".to_owned(),
        id => format!("build-id {}…", id.chars().take(SHORT).collect::<String>()),
    };
    let origin = match (package, tree) {
        ("", "") if of.get("why").is_empty() => {
            format!("{}: of no package, and nothing tells its source", of.get("path"))
        }
        ("", "") => of.get("why").to_owned(),
        ("", tree) => format!("compiled in {tree}"),
        (package, _) if source.is_empty() => format!("package {package} {}", of.get("version")),
        (package, _) => format!("package {package} {}, source {source}", of.get("version")),
    };
    let known = !package.is_empty() || !tree.is_empty();
    let verdict = match (known, debug) {
        (true, debug) if !debug.is_empty() => Light::Good,
        (false, _) if !of.get("why").is_empty() => Light::Untested,
        _ => Light::Maybe,
    };
    let debug =
        if debug.is_empty() { "no debug information here".to_owned() } else { format!("debug information in {debug}") };
    (verdict, format!("{origin}; {debug}; {id}"))
}

fn summary(rec: &Recording, rows: Vec<&Labels>, each: &[Test]) -> Test {
    if rows.is_empty() {
        return test(
            "source",
            GROUP,
            Light::Untested,
            "nothing ran on a CPU while stacks were taken".to_owned(),
            Vec::new(),
        );
    }
    let count = |light| each.iter().filter(|test| test.verdict == light).count();
    let with = |label: &str| rows.iter().filter(|row| !row.get(label).is_empty()).count();
    let known = rows.iter().filter(|row| !row.get("package").is_empty() || !row.get("tree").is_empty()).count();
    let why = format!(
        "of {} binaries that ran most, where the source of {known} is known, and {} have debug information here",
        rows.len(),
        with("debug")
    );
    let verdict = match count(Light::Good) {
        good if good == rows.len() => Light::Good,
        _ if count(Light::Untested) == rows.len() => Light::Untested,
        _ => Light::Maybe,
    };
    let mut one = test("source", GROUP, verdict, why, Vec::new());
    one.remedy.extend(Distribution::here(rec).and_then(|on| sources(on.manager, &rows)));
    let ids: Vec<&str> = rows
        .iter()
        .filter(|row| row.get("debug").is_empty())
        .map(|row| row.get("build_id"))
        .filter(|id| !id.is_empty())
        .collect();
    if let (Some(server), false) = (remedy::debuginfod(rec), ids.is_empty()) {
        one.remedy.push(format!(
            "for id in {}; do DEBUGINFOD_URLS={server} debuginfod-find debuginfo $id; done",
            ids.join(" ")
        ));
    }
    one
}

/// The command that gets the source packages. Sources: apt-get(8), dnf-download(8), zypper(8), the wikis of Alpine and Arch.
fn sources(manager: Manager, rows: &[&Labels]) -> Option<String> {
    let mut seen = BTreeSet::new();
    let words: Vec<String> = rows
        .iter()
        .filter(|row| !row.get("package").is_empty())
        .map(|row| match (manager, row.get("source").split_once(' ')) {
            (Manager::Apt, Some((source, version))) => format!("{source}={version}"),
            (Manager::Apk | Manager::Pacman, None) => row.get("package").to_owned(),
            (Manager::Dnf, _) => format!("{}-{}", row.get("package"), row.get("version")),
            _ if row.get("source").is_empty() => row.get("package").to_owned(),
            _ => row.get("source").to_owned(),
        })
        .filter(|word| seen.insert(word.clone()))
        .collect();
    if words.is_empty() {
        return None;
    }
    let words = words.join(" ");
    Some(match manager {
        Manager::Apt => format!("apt-get source {words}"),
        Manager::Dnf => format!("dnf download --source {words}"),
        Manager::Zypper => format!("zypper source-install --no-build-deps {words}"),
        Manager::Apk => format!("git clone https://gitlab.alpinelinux.org/alpine/aports  # {words}"),
        Manager::Pacman => format!("pkgctl repo clone {words}"),
    })
}

#[cfg(test)]
mod tests {
    use super::{super::recording, *};
    use observe::{Fact, Series};

    fn seen(os: &str, rows: &[&[(&str, &str)]]) -> Vec<Test> {
        let mut rec = recording();
        let os = Fact { labels: Labels::new([("name", "os.id".into())]), value: os.into(), source: "s".into() };
        rec.set(&catalog::HOST_FACT, Ok(vec![os]));
        let length = rec.window.length;
        let row = |known: &&[(&str, &str)]| {
            let value = |name: &str| known.iter().find(|(of, _)| *of == name).map_or("", |(_, value)| value).to_owned();
            let names = ["path", "build_id", "debug", "package", "version", "source", "tree", "why"];
            Series::total(Labels::new(names.map(|name| (name, value(name)))), length, 5.0)
        };
        rec.set(&catalog::BINARY, Ok(rows.iter().map(row).collect()));
        tests(&rec)
    }

    const BASH: &[(&str, &str)] = &[
        ("path", "/usr/bin/bash"),
        ("build_id", "135afc8c6d1b9e02356cce218bf0109c3687ad9f"),
        ("package", "bash"),
        ("version", "5.2.15-2+b8"),
        ("source", "bash 5.2.15-2"),
    ];

    #[test]
    fn a_packaged_binary_has_its_source_and_its_debug_information_by_one_command_each() {
        let tests = seen("debian", &[BASH]);
        assert_eq!((tests[0].id.as_str(), tests[1].id.as_str()), ("source", "source.bash"));
        assert_eq!(tests[0].remedy[0], "apt-get source bash=5.2.15-2");
        assert_eq!(
            tests[0].remedy[1],
            "for id in 135afc8c6d1b9e02356cce218bf0109c3687ad9f; do DEBUGINFOD_URLS=https://debuginfod.debian.net debuginfod-find debuginfo $id; done"
        );
        assert_eq!(tests[1].verdict, Light::Maybe);
        assert!(
            tests[1].why.contains("package bash 5.2.15-2+b8, source bash 5.2.15-2; no debug information here"),
            "{}",
            tests[1].why
        );
        let whole = [BASH, &[("debug", "/usr/lib/debug/x.debug")]].concat();
        let tests = seen("debian", &[&whole]);
        assert!(tests.iter().all(|test| test.verdict == Light::Good), "{tests:?}");
    }

    #[test]
    fn each_distribution_has_its_command() {
        let fedora = [("path", "/usr/bin/bash"), ("package", "bash"), ("version", "5.2.26-3.fc40"), ("source", "bash")];
        assert_eq!(seen("fedora", &[&fedora])[0].remedy[0], "dnf download --source bash-5.2.26-3.fc40");
        assert_eq!(seen("opensuse-leap suse", &[&fedora])[0].remedy[0], "zypper source-install --no-build-deps bash");
        let plain = [("path", "/usr/bin/bash"), ("package", "bash"), ("version", "5.2-1")];
        assert_eq!(seen("arch", &[&plain])[0].remedy[0], "pkgctl repo clone bash");
        assert!(seen("alpine", &[&plain])[0].remedy[0].ends_with("# bash"));
    }

    #[test]
    fn what_is_not_known_is_not_good() {
        let own = [("path", "/opt/app"), ("tree", "/build/app"), ("debug", "/opt/app")];
        assert_eq!(seen("debian", &[&own])[1].verdict, Light::Good);
        assert_eq!(seen("debian", &[&[("path", "/opt/app")]])[1].verdict, Light::Maybe);
        let gone = seen("debian", &[&[("path", "app"), ("why", "its process has ended")]]);
        assert!(gone[1].verdict == Light::Untested && gone[1].why.contains("has ended"), "{gone:?}");
        assert_eq!(seen("debian", &[])[0].verdict, Light::Untested);
        assert!(tests(&recording()).is_empty());
    }
}
