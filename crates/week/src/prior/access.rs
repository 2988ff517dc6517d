//! May whoever looks see all that a crisis asks for: root, or the capabilities that would do, and what takes them away.

use super::test;
use checks::{Light, Test};
use observe::{Recording, catalog};

const GROUP: &str = "access";

/// A capability that friday uses, what for, and whether next to nothing is seen without it. Source: capabilities(7).
const NEEDED: [(&str, &str, bool); 5] = [
    ("cap_bpf", "to load BPF programs", true),
    ("cap_perfmon", "to attach them and to read perf events", true),
    ("cap_sys_ptrace", "for maps, stacks and environments of other users' processes", false),
    ("cap_syslog", "for addresses of kernel functions and the kernel's log", false),
    ("cap_dac_read_search", "for files that are not everybody's, tracefs among them", false),
];

/// What stands for others. Source: capabilities(7); since Linux 5.8 `CAP_SYS_ADMIN` includes the first two.
const ADMIN: &str = "cap_sys_admin";
const INCLUDED: [&str; 3] = ["cap_bpf", "cap_perfmon", "cap_syslog"];

/// The lights of what friday may do; none where it was not asked.
pub(super) fn tests(rec: &Recording) -> Vec<Test> {
    let Ok(rows) = rec.get(&catalog::ACCESS) else { return Vec::new() };
    let fact = |name: &str| rows.iter().find(|row| row.labels.get("name") == name).map(|row| row.value.as_str());
    let mut tests = vec![capabilities(&fact)];
    tests.extend(namespaces(&fact));
    tests.extend(seccomp(&fact));
    tests
}

/// Whether a set of capabilities has one, by itself or within another.
fn has(set: &str, wanted: &str) -> bool {
    let one = |name: &str| set.split(' ').any(|known| known == name);
    one(wanted)
        || (INCLUDED.contains(&wanted) && one(ADMIN))
        || (wanted == "cap_dac_read_search" && one("cap_dac_override"))
}

fn capabilities<'a>(fact: &impl Fn(&str) -> Option<&'a str>) -> Test {
    let say = |verdict, why| test("access.capabilities", GROUP, verdict, why, Vec::new());
    let (Some(uid), Some(effective)) = (fact("uid"), fact("capabilities")) else {
        return say(Light::Untested, "/proc/self/status says nothing of capabilities".to_owned());
    };
    let who = if uid == "0" { "root (uid 0)".to_owned() } else { format!("uid {uid}") };
    let missing: Vec<_> = NEEDED.iter().filter(|(name, ..)| !has(effective, name)).collect();
    let upper = |name: &str| name.to_uppercase();
    if missing.is_empty() {
        let all: Vec<String> = NEEDED.iter().map(|(name, ..)| upper(name)).collect();
        return say(Light::Good, format!("{who}, with {}", all.join(", ")));
    }
    let blind = missing.iter().any(|(.., blind)| *blind);
    let told: Vec<String> = missing.iter().map(|(name, what, _)| format!("{} {what}", upper(name))).collect();
    let mut one = say(if blind { Light::Bad } else { Light::Maybe }, format!("{who}, without {}", told.join(", ")));
    let names = |separator: &str, prefix: &str| {
        let names = missing.iter().map(|(name, ..)| upper(name).trim_start_matches("CAP_").to_owned());
        names.map(|name| format!("{prefix}{name}")).collect::<Vec<_>>().join(separator)
    };
    let contained = fact("container").is_some() || fact("pid_namespace") == Some("own");
    let withheld = missing.iter().any(|(name, ..)| fact("bounding").is_some_and(|set| !has(set, name)));
    if contained || withheld {
        one.why += "; whoever started this container or service has to give them";
        one.remedy.push(format!("docker run --pid=host {} …", names(" ", "--cap-add=")));
        one.remedy
            .push(format!("kubectl: hostPID: true, securityContext: {{capabilities: {{add: [{}]}}}}", names(", ", "")));
    } else if uid != "0" {
        let program = fact("program").unwrap_or("friday");
        one.why += "; run as root, or give them to the program";
        // setcap replaces what was there.
        let all: Vec<&str> = NEEDED.iter().map(|(name, ..)| *name).collect();
        one.remedy.push(format!("setcap {}+ep {program}", all.join(",")));
        if fact("no_new_privs") == Some("1") {
            one.why += "; no_new_privs is set here, so that neither setcap nor sudo helps in this session";
        }
    }
    one
}

/// Whether the whole machine is seen.
fn namespaces<'a>(fact: &impl Fn(&str) -> Option<&'a str>) -> Option<Test> {
    let kind = fact("container");
    let what = kind.map_or("the machine itself".to_owned(), |kind| format!("a container ({kind})"));
    let (verdict, why) = match (fact("pid_namespace")?, fact("user_namespace")) {
        ("own", _) => (
            Light::Maybe,
            format!(
                "in {}, with process ids of its own: the machine's other processes are not shown",
                kind.map_or("a container".to_owned(), |kind| format!("a container ({kind})"))
            ),
        ),
        (_, Some("own")) => {
            (Light::Maybe, format!("in {what}, with users of its own: root here is not root of the machine"))
        }
        _ => (Light::Good, format!("in {what}, with the machine's process ids and users")),
    };
    let mut one = test("access.namespaces", GROUP, verdict, why, Vec::new());
    if fact("pid_namespace") == Some("own") {
        one.remedy
            .push("docker run --pid=host --privileged …, or kubectl debug node/NODE --profile=sysadmin".to_owned());
    }
    Some(one)
}

/// Whether system calls are filtered.
fn seccomp<'a>(fact: &impl Fn(&str) -> Option<&'a str>) -> Option<Test> {
    let (verdict, why) = match fact("seccomp")? {
        "0" => (Light::Good, "system calls are not filtered (seccomp)".to_owned()),
        mode => {
            let filters = fact("seccomp_filters").map_or(String::new(), |count| {
                format!(", {count} {}", if count == "1" { "filter" } else { "filters" })
            });
            let mode = if mode == "1" { "strict" } else { "filter" };
            (
                Light::Maybe,
                format!(
                    "seccomp is on (mode {mode}{filters}): bpf and perf_event_open are refused by the usual profiles of containers"
                ),
            )
        }
    };
    let mut one = test("access.seccomp", GROUP, verdict, why, Vec::new());
    if verdict != Light::Good && fact("container").is_some() {
        one.remedy.push("docker run --security-opt seccomp=unconfined …".to_owned());
    }
    Some(one)
}

#[cfg(test)]
mod tests {
    use super::{super::recording, *};
    use observe::{Fact, Labels};

    const ALL: &str = "cap_dac_override cap_sys_ptrace cap_sys_admin";

    fn judged(facts: &[(&str, &str)]) -> Vec<Test> {
        let mut rec = recording();
        let fact = |(name, value): &(&str, &str)| Fact {
            labels: Labels::new([("name", (*name).into())]),
            value: (*value).into(),
            source: "s".into(),
        };
        rec.set(&catalog::ACCESS, Ok(facts.iter().map(fact).collect()));
        tests(&rec)
    }

    #[test]
    fn root_with_everything_is_good() {
        let seen = judged(&[("uid", "0"), ("capabilities", ALL), ("pid_namespace", "machine"), ("seccomp", "0")]);
        assert!(seen.iter().all(|test| test.verdict == Light::Good) && seen.len() == 3, "{seen:?}");
        assert!(seen[0].why.starts_with("root (uid 0), with CAP_BPF"));
    }

    #[test]
    fn a_user_is_told_what_is_missing_and_how_it_is_given() {
        let all = format!("{ALL} cap_bpf cap_perfmon");
        let seen =
            judged(&[("uid", "1000"), ("capabilities", ""), ("bounding", all.as_str()), ("program", "/opt/friday")]);
        assert_eq!(seen[0].verdict, Light::Bad);
        assert_eq!(
            seen[0].remedy,
            ["setcap cap_bpf,cap_perfmon,cap_sys_ptrace,cap_syslog,cap_dac_read_search+ep /opt/friday"]
        );
        let few =
            judged(&[("uid", "1000"), ("capabilities", "cap_bpf cap_perfmon cap_sys_ptrace cap_dac_read_search")]);
        assert!(few[0].verdict == Light::Maybe && few[0].why.contains("CAP_SYSLOG for addresses"), "{few:?}");
        let fixed = judged(&[("uid", "1000"), ("capabilities", ""), ("no_new_privs", "1")]);
        assert!(fixed[0].why.contains("no_new_privs"));
    }

    #[test]
    fn a_container_is_told_its_flags() {
        let facts = [
            ("uid", "0"),
            ("capabilities", "cap_chown cap_dac_override"),
            ("bounding", "cap_chown cap_dac_override"),
            ("container", "docker"),
            ("pid_namespace", "own"),
            ("seccomp", "2"),
            ("seccomp_filters", "1"),
        ];
        let seen = judged(&facts);
        assert!(seen[0].remedy[0].contains("--cap-add=BPF --cap-add=PERFMON"), "{:?}", seen[0].remedy);
        assert!(seen[0].remedy[1].contains("add: [BPF, PERFMON, SYS_PTRACE, SYSLOG]"), "{:?}", seen[0].remedy);
        assert_eq!(seen.iter().map(|test| test.verdict).collect::<Vec<_>>(), [Light::Bad, Light::Maybe, Light::Maybe]);
        assert!(seen[2].why.contains("mode filter, 1 filter)") && seen[2].remedy[0].contains("seccomp=unconfined"));
        assert!(judged(&[])[0].verdict == Light::Untested);
    }
}
