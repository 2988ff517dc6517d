//! What friday itself may do on this machine: user, capabilities, namespaces, and what takes calls away from it.

use crate::{host::text, roots::Roots};
use observe::{Absent, Fact, Labels, Recording, catalog};
use std::fs;

/// Capabilities by their number. Source: include/uapi/linux/capability.h.
const CAPABILITIES: [&str; 41] = [
    "cap_chown",
    "cap_dac_override",
    "cap_dac_read_search",
    "cap_fowner",
    "cap_fsetid",
    "cap_kill",
    "cap_setgid",
    "cap_setuid",
    "cap_setpcap",
    "cap_linux_immutable",
    "cap_net_bind_service",
    "cap_net_broadcast",
    "cap_net_admin",
    "cap_net_raw",
    "cap_ipc_lock",
    "cap_ipc_owner",
    "cap_sys_module",
    "cap_sys_rawio",
    "cap_sys_chroot",
    "cap_sys_ptrace",
    "cap_sys_pacct",
    "cap_sys_admin",
    "cap_sys_boot",
    "cap_sys_nice",
    "cap_sys_resource",
    "cap_sys_time",
    "cap_sys_tty_config",
    "cap_mknod",
    "cap_lease",
    "cap_audit_write",
    "cap_audit_control",
    "cap_setfcap",
    "cap_mac_override",
    "cap_mac_admin",
    "cap_syslog",
    "cap_wake_alarm",
    "cap_block_suspend",
    "cap_audit_read",
    "cap_perfmon",
    "cap_bpf",
    "cap_checkpoint_restore",
];

/// The namespaces that a machine starts with. Source: include/linux/proc_ns.h, PROC_PID_INIT_INO and PROC_USER_INIT_INO.
const NAMESPACES: [(&str, &str, &str); 2] =
    [("pid_namespace", "pid", "pid:[4026531836]"), ("user_namespace", "user", "user:[4026531837]")];

/// Files that runtimes put into a container, and what each is of.
const MARKS: [(&str, &str); 3] =
    [("var/run/secrets/kubernetes.io", "kubernetes"), (".dockerenv", "docker"), ("run/.containerenv", "podman")];

/// Adds all of it.
pub(super) fn collect(roots: &Roots, into: &mut Recording) {
    let status = match fs::read_to_string(roots.proc.join("self/status")) {
        Ok(status) => status,
        Err(error) => return into.set(&catalog::ACCESS, Err(Absent::Failed(format!("/proc/self/status: {error}")))),
    };
    let mut rows = Vec::new();
    let mut add = |name: &str, value: String, source: &str| {
        rows.push(Fact { labels: Labels::new([("name", name.to_owned())]), value, source: source.to_owned() });
    };
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    // Real, effective, saved, and of files.
    if let Some(uid) = field("Uid").and_then(|ids| ids.split_ascii_whitespace().nth(1)) {
        add("uid", uid.to_owned(), "/proc/self/status");
    }
    for (name, key) in [("capabilities", "CapEff"), ("bounding", "CapBnd")] {
        if let Some(set) = field(key).and_then(|set| u64::from_str_radix(set, 16).ok()) {
            add(name, named(set), "/proc/self/status");
        }
    }
    for (name, key) in [("seccomp", "Seccomp"), ("seccomp_filters", "Seccomp_filters"), ("no_new_privs", "NoNewPrivs")]
    {
        if let Some(value) = field(key) {
            add(name, value.to_owned(), "/proc/self/status");
        }
    }
    for (name, kind, of_the_machine) in NAMESPACES {
        if let Ok(link) = fs::read_link(roots.proc.join("self/ns").join(kind)) {
            let own = link.as_os_str() != of_the_machine;
            add(name, if own { "own" } else { "machine" }.to_owned(), "/proc/self/ns");
        }
    }
    let root = roots.proc.join("self/root");
    if let Some((mark, kind)) = MARKS.iter().find(|(mark, _)| root.join(mark).exists()) {
        add("container", (*kind).to_owned(), mark);
    } else if let Some(kind) = text(&roots.proc.join("1/environ")).and_then(|all| container(&all)) {
        add("container", kind, "/proc/1/environ");
    }
    if let Ok(program) = fs::read_link(roots.proc.join("self/exe")) {
        add("program", program.display().to_string(), "/proc/self/exe");
    }
    into.set(&catalog::ACCESS, Ok(rows));
}

/// What systemd-nspawn, LXC and podman tell the first process of a container.
fn container(environment: &str) -> Option<String> {
    environment
        .split('\0')
        .find_map(|one| one.strip_prefix("container="))
        .filter(|kind| !kind.is_empty())
        .map(str::to_owned)
}

fn named(set: u64) -> String {
    let names = CAPABILITIES.iter().enumerate().filter(|(bit, _)| set & (1 << bit) != 0).map(|(_, name)| *name);
    names.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use observe::{Host, Target, Window};
    use std::{
        os::unix::fs::symlink,
        time::{Duration, SystemTime},
    };

    fn collected(status: &str, namespace: &str, mark: Option<&str>) -> Recording {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("self");
        fs::create_dir_all(own.join("ns")).unwrap();
        fs::create_dir_all(own.join("root")).unwrap();
        fs::write(own.join("status"), status).unwrap();
        symlink(namespace, own.join("ns/pid")).unwrap();
        if let Some(mark) = mark {
            fs::write(own.join("root").join(mark), "").unwrap();
        }
        let host = Host { name: "h".into(), kernel: "6".into(), cpus: 2, memory_bytes: 1 };
        let window = Window { start: SystemTime::UNIX_EPOCH, length: Duration::from_secs(1) };
        let mut rec = Recording::new(host, Target::system("h"), window);
        collect(&Roots { proc: dir.path().to_owned(), ..Roots::default() }, &mut rec);
        rec
    }

    fn fact(rec: &Recording, name: &str) -> Option<String> {
        let rows = rec.get(&catalog::ACCESS).unwrap();
        rows.iter().find(|row| row.labels.get("name") == name).map(|row| row.value.clone())
    }

    #[test]
    fn capabilities_are_named() {
        let status = "Name:\tx\nUid:\t1000\t0\t0\t0\nCapEff:\t000000c000080000\nCapBnd:\t000001ffffffffff\nNoNewPrivs:\t1\n\
                      Seccomp:\t2\nSeccomp_filters:\t3\n";
        let rec = collected(status, "pid:[4026532999]", Some(".dockerenv"));
        assert_eq!(fact(&rec, "uid").as_deref(), Some("0"));
        assert_eq!(fact(&rec, "capabilities").as_deref(), Some("cap_sys_ptrace cap_perfmon cap_bpf"));
        assert_eq!(fact(&rec, "bounding").unwrap().split(' ').count(), CAPABILITIES.len());
        assert_eq!(fact(&rec, "pid_namespace").as_deref(), Some("own"));
        assert_eq!((fact(&rec, "container").as_deref(), fact(&rec, "seccomp").as_deref()), (Some("docker"), Some("2")));
        assert_eq!(
            (fact(&rec, "seccomp_filters").as_deref(), fact(&rec, "no_new_privs").as_deref()),
            (Some("3"), Some("1"))
        );
    }

    #[test]
    fn what_is_not_there_is_not_made_up() {
        let rec = collected("Name:\tx\n", "pid:[4026531836]", None);
        assert_eq!((fact(&rec, "uid"), fact(&rec, "capabilities"), fact(&rec, "container")), (None, None, None));
        assert_eq!(fact(&rec, "pid_namespace").as_deref(), Some("machine"));
        assert_eq!(container("a=b\0container=lxc\0").as_deref(), Some("lxc"));
    }
}
