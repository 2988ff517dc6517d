//! The files among friday's health tools, the checks of static tuning, those of the preparation, and the signatures of known
//! issues: `rules/`, `static/`, `prepare/` and `checklist/` beside `src/`.

macro_rules! files {
    ($($(#[$doc:meta])* $name:ident: $folder:literal, [$($file:literal),* $(,)?];)*) => {$(
        $(#[$doc])*
        pub(crate) const $name: &[(&str, &str)] = &[$(
            (concat!($file, ".toml"), include_str!(concat!("../", $folder, "/", $file, ".toml"))),
        )*];
    )*};
}

files! {
    /// Health tools, by their files' names.
    ALL: "rules", [
        "cache.dirty",
        "cache.dropped",
        "cache.refaults",
        "conntrack.drops",
        "conntrack.usage",
        "cpu.thermal",
        "disk.errors",
        "disk.nvme",
        "disk.raid",
        "dns.resolver",
        "fs.btrfs-errors",
        "fs.ext4-errors",
        "fs.inodes",
        "fs.journal",
        "fs.lookups",
        "fs.readonly",
        "fs.space",
        "gpu.clocks",
        "gpu.errors",
        "irq.backlog",
        "irq.balance",
        "irq.budget",
        "irq.time",
        "kernel.entropy",
        "kernel.log",
        "limits.aio",
        "limits.files",
        "limits.threads",
        "locks.memory-map",
        "locks.spin",
        "memory.commit",
        "memory.edac",
        "memory.numa",
        "memory.slab",
        "memory.thp",
        "nic.carrier",
        "nic.fifo",
        "nic.link",
        "sched.pinned",
        "sched.priority",
        "sockets.memory",
        "sockets.unread",
        "tcp.dctcp",
        "tcp.memory",
        "tcp.orphans",
        "tcp.ports",
        "tcp.syn-queue",
        "tcp.timewait",
        "time.sync",
        "time.unstable",
        "udp.fragments",
        "udp.memory",
        "udp.receive-buffer",
        "virt.balloon",
        "zfs.arc",
        "zfs.l2arc",
        "zfs.pool",
        "zfs.writes",
    ];
    /// Static performance tuning: what can be judged without load.
    STATIC: "static", [
        "cpu.boost",
        "cpu.cooling",
        "cpu.energy-bias",
        "cpu.energy-preference",
        "cpu.frequency-limit",
        "cpu.full-dynticks",
        "cpu.governor",
        "cpu.idle-driver",
        "cpu.isolated",
        "cpu.microcode",
        "cpu.mitigations",
        "cpu.online",
        "cpu.performance-limit",
        "cpu.power-cap",
        "cpu.realtime-limit",
        "cpu.smt",
        "cpu.steady-tsc",
        "cpu.turbo",
        "cpu.uncore-cap",
        "kernel.audit-rules",
        "kernel.boot-debug",
        "kernel.boot-limits",
        "kernel.boot-workarounds",
        "kernel.bpf-statistics",
        "kernel.build",
        "kernel.clock-choice",
        "kernel.console",
        "kernel.delay-accounting",
        "kernel.integrity",
        "kernel.livepatch",
        "kernel.profile-rate",
        "kernel.realtime",
        "kernel.scheduler-statistics",
        "kernel.stack-tracer",
        "kernel.timer-migration",
        "kernel.trace-events",
        "kernel.tracepoint-printk",
        "kernel.tracer",
        "limits.asynchronous",
        "limits.file-table",
        "limits.pids",
        "limits.service-cpu",
        "limits.service-memory",
        "limits.service-tasks",
        "limits.watches",
        "memory.cache-pressure",
        "memory.corrupted",
        "memory.dirty-background",
        "memory.dirty-limit",
        "memory.huge-page-mode",
        "memory.huge-pages",
        "memory.khugepaged",
        "memory.laptop-mode",
        "memory.map-count",
        "memory.overcommit",
        "memory.proactive-compaction",
        "memory.reserve",
        "memory.same-pages",
        "memory.swappiness",
        "memory.watermarks",
        "memory.writeback-timer",
        "memory.zone-reclaim",
        "memory.zram",
        "network.backlog",
        "network.bond",
        "network.bond-monitoring",
        "network.bpf-compiler",
        "network.bpf-hardening",
        "network.budget",
        "network.busy-poll",
        "network.congestion",
        "network.conntrack-buckets",
        "network.cookies",
        "network.device-output",
        "network.duplicate-sacks",
        "network.early-demux",
        "network.fin-timeout",
        "network.half-open-backlog",
        "network.listen-limit",
        "network.mtu",
        "network.name-servers",
        "network.neighbours",
        "network.overflow-reset",
        "network.path-mtu",
        "network.pcie-link",
        "network.port-range",
        "network.receive-autotuning",
        "network.receive-buffer",
        "network.receive-queues",
        "network.rmem-max",
        "network.search-domains",
        "network.selective-ack",
        "network.send-buffer",
        "network.send-queue",
        "network.time-wait",
        "network.timestamps",
        "network.window-scaling",
        "network.wmem-max",
        "past.audit",
        "past.clock",
        "past.conntrack-full",
        "past.disk-resets",
        "past.fs-errors",
        "past.hardware",
        "past.hung-task",
        "past.io-errors",
        "past.iommu-faults",
        "past.limits",
        "past.link-down",
        "past.lockup",
        "past.neighbours",
        "past.nfs-server",
        "past.nic-timeout",
        "past.nmi",
        "past.nvme-timeout",
        "past.oom",
        "past.page-allocation",
        "past.pcie",
        "past.perf-slow",
        "past.raid-failures",
        "past.rcu-stall",
        "past.segfaults",
        "past.syn-flood",
        "past.tcp-memory",
        "past.thermal",
        "storage.alignment",
        "storage.link-power",
        "storage.merges",
        "storage.mount-atime",
        "storage.mount-barrier",
        "storage.mount-journal",
        "storage.mount-sync",
        "storage.nfs-sizes",
        "storage.nfs-udp",
        "storage.nfs-uncached",
        "storage.pcie-link",
        "storage.queue-depth",
        "storage.read-ahead",
        "storage.rebuild-limit",
        "storage.request-size",
        "storage.scheduler",
        "storage.snapshots",
        "storage.statistics",
        "versions.java-containers",
        "versions.kernel",
        "versions.python",
        "virt.burstable",
        "virt.cpu-model",
        "virt.disk-driver",
        "virt.halt-polling",
        "virt.nested-paging",
        "virt.network-driver",
        "virt.options",
        "virt.steal-since-boot",
    ];
    /// Preparation: would everything work in a crisis?
    PREPARE: "prepare", [
        "access.perf",
        "access.processes",
        "access.ptrace",
        "source.debuginfod",
        "source.packages",
        "tracing.lockdown",
    ];
    /// Signatures of known issues.
    CHECKLIST: "checklist", [
        "cgroup.migration-lock",
        "cgroup.runtime-threads",
        "cgroup.unused-quota",
        "cgroup.zombies",
        "conntrack.dns-race",
        "conntrack.full",
        "cpu.slow-governor",
        "cpu.wide-vectors",
        "disk.bfq",
        "disk.writeback-throttling",
        "dns.five-seconds",
        "fs.dirty-flood",
        "fs.journal-stall",
        "fs.negative-dentries",
        "fs.overlay-copy-up",
        "fs.postgres-checkpoint",
        "fs.xfs-log-space",
        "kernel.audit-cost",
        "kernel.debug-build",
        "kernel.mitigations-cost",
        "kernel.random-pool",
        "kernel.seccomp-cost",
        "kernel.serial-console",
        "kernel.tracer-left-on",
        "limits.inotify",
        "limits.open-files",
        "locks.futex-hash",
        "locks.gil-convoy",
        "locks.malloc-arena",
        "locks.postgres-lock-manager",
        "locks.postgres-spin",
        "memory.fault-tower",
        "memory.fork-copies",
        "memory.fork-huge-pages",
        "memory.khugepaged",
        "memory.kmem-accounting",
        "memory.kswapd-loop",
        "memory.numa-balancing",
        "memory.swap-with-room",
        "memory.thp-stall",
        "memory.zone-reclaim",
        "process.close-loop",
        "process.jvm-statistics",
        "process.libuv-pool",
        "process.log-socket",
        "process.map-readers",
        "tcp.accept-herd",
        "tcp.backlog-128",
        "tcp.buffer-collapse",
        "tcp.nagle",
        "tcp.port-search",
        "time.slow-clock",
    ];
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Light, Rule, play};
    use std::{collections::BTreeSet, fs, path::Path};

    fn folder(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
    }

    #[test]
    fn every_file_is_listed() {
        for (name, listed) in [("rules", ALL), ("static", STATIC), ("prepare", PREPARE), ("checklist", CHECKLIST)] {
            let files =
                fs::read_dir(folder(name)).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let files: BTreeSet<String> = files.filter(|file| !file.ends_with(".examples.toml")).collect();
            let listed: BTreeSet<String> = listed.iter().map(|(file, _)| (*file).to_owned()).collect();
            assert_eq!(files, listed);
        }
    }

    #[test]
    fn every_file_says_what_its_examples_expect() {
        let mut wrong = Vec::new();
        for (name, listed) in [("rules", ALL), ("static", STATIC), ("prepare", PREPARE), ("checklist", CHECKLIST)] {
            for (file, text) in listed {
                let rule = Rule::parse(file, text).unwrap_or_else(|error| panic!("{error}"));
                let examples = file.replace(".toml", ".examples.toml");
                let text = fs::read_to_string(folder(name).join(&examples)).unwrap_or_else(|_| panic!("no {examples}"));
                let played = play(&rule, &examples, &text).unwrap_or_else(|error| panic!("{error}"));
                let lights: BTreeSet<Light> = played.iter().map(|one| one.test.verdict).collect();
                let told = lights.contains(&Light::Bad) || lights.contains(&Light::Maybe);
                assert!(
                    told && lights.contains(&Light::Good) && lights.contains(&Light::Untested),
                    "{examples}: {lights:?}"
                );
                let broken = played.iter().filter(|one| !one.wrong.is_empty());
                wrong.extend(broken.map(|one| format!("{examples}: {}: {}: {}", one.name, one.wrong, one.test.why)));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
