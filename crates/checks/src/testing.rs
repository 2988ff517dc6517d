//! Builds small recordings for tests: ten seconds of a machine with two CPUs.

use crate::{Check, Light};
use observe::{
    Bucket, ClassTimes, Event, Fact, Frame, FrameId, FrameKind, Histogram, Host, Labels, Pid, Point, Process,
    Recording, Series, Stack, Target, ThreadTime, Tid, TimeClass, Wait, Window, catalog, catalog::Metric,
};
use std::time::{Duration, SystemTime};

pub(crate) const WINDOW: f64 = 10.0;

pub(crate) struct Machine {
    pub(crate) rec: Recording,
}

/// The light of one check.
pub(crate) fn light(check: &Check, machine: &Machine) -> Light {
    check.run(&machine.rec).verdict
}

/// A limit of a control group.
pub(crate) fn limit(group: &str, name: &str, value: &str) -> Fact {
    Fact { labels: labels(&[("cgroup", group), ("name", name)]), value: value.into(), source: name.into() }
}

fn seconds(s: f64) -> Duration {
    Duration::from_secs_f64(s)
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
}

impl Machine {
    /// Of which nothing was seen.
    pub(crate) fn new() -> Self {
        let host = Host { name: "host".into(), kernel: "6.1".into(), cpus: 2, memory_bytes: 8 << 30 };
        let window = Window { start: SystemTime::UNIX_EPOCH, length: seconds(WINDOW) };
        Machine { rec: Recording::new(host, Target::system("host"), window) }
    }

    /// A counter that was read at the begin and at the end.
    pub(crate) fn counter(self, metric: &Metric<Series>, pairs: &[(&str, &str)], by: f64) -> Self {
        self.steps(metric, pairs, &[by])
    }

    /// A counter that was read at the begin and after each of its steps.
    pub(crate) fn steps(mut self, metric: &Metric<Series>, pairs: &[(&str, &str)], by: &[f64]) -> Self {
        let mut points = vec![Point { at: Duration::ZERO, value: 0.0 }];
        let mut value = 0.0;
        for (at, step) in by.iter().enumerate() {
            value += step;
            points.push(Point { at: seconds(WINDOW * (at + 1) as f64 / by.len() as f64), value });
        }
        self.rec.push(metric, Series { labels: labels(pairs), points });
        self
    }

    /// Readings of a value, as they are.
    pub(crate) fn gauge(mut self, metric: &Metric<Series>, pairs: &[(&str, &str)], values: &[f64]) -> Self {
        let points = values.iter().enumerate().map(|(at, value)| Point { at: seconds(at as f64), value: *value });
        self.rec.push(metric, Series { labels: labels(pairs), points: points.collect() });
        self
    }

    pub(crate) fn cpu(self, busy: f64) -> Self {
        let (used, idle) = (busy * 2.0 * WINDOW, 2.0 * WINDOW - busy * 2.0 * WINDOW);
        self.counter(&catalog::CPU_TIME, &[("cpu", "0"), ("mode", "user")], used).counter(
            &catalog::CPU_TIME,
            &[("cpu", "0"), ("mode", "idle")],
            idle,
        )
    }

    pub(crate) fn pressure(self, resource: &str, kind: &str, part: f64) -> Self {
        self.counter(&catalog::PRESSURE, &[("resource", resource), ("kind", kind)], part * WINDOW)
    }

    /// Events of paging in the whole window.
    pub(crate) fn paging(self, kind: &str, count: f64) -> Self {
        self.counter(&catalog::PAGING, &[("type", kind)], count)
    }

    pub(crate) fn disk(self, device: &str, busy: f64, queue: f64, requests: f64) -> Self {
        self.counter(&catalog::DISK_BUSY, &[("device", device)], busy * WINDOW)
            .counter(&catalog::DISK_WEIGHTED, &[("device", device)], queue * WINDOW)
            .counter(&catalog::DISK_OPERATIONS, &[("device", device), ("direction", "read")], requests)
    }

    /// Values of one size, in milliseconds.
    pub(crate) fn histogram(self, metric: &Metric<Histogram>, pairs: &[(&str, &str)], count: u64, ms: f64) -> Self {
        self.sizes(metric, pairs, &[(count, ms)])
    }

    /// Values of several sizes, ascending, in milliseconds.
    pub(crate) fn sizes(mut self, metric: &Metric<Histogram>, pairs: &[(&str, &str)], sizes: &[(u64, f64)]) -> Self {
        let ns = |ms: f64| (ms * 1e6).round() as u64;
        let buckets: Vec<Bucket> =
            sizes.iter().map(|(count, ms)| Bucket { low: ns(*ms), high: ns(*ms) + 1, count: *count }).collect();
        self.rec.push(
            metric,
            Histogram {
                labels: labels(pairs),
                count: buckets.iter().map(|b| b.count).sum(),
                sum: buckets.iter().map(|b| b.count * b.low).sum(),
                max: buckets.iter().map(|b| b.low).max().unwrap_or(0),
                buckets,
            },
        );
        self
    }

    /// A process with one thread; the time that is not given is idle.
    pub(crate) fn thread(mut self, pid: u32, name: &str, times: &[(TimeClass, f64)]) -> Self {
        let mut classes = ClassTimes::default();
        for (class, time) in times {
            classes.add(*class, seconds(*time));
        }
        classes.add(TimeClass::BlockedIdle, seconds(WINDOW).saturating_sub(classes.total()));
        let wall = classes.total();
        let row = ThreadTime { pid: Pid(pid), tid: Tid(pid), name: name.into(), wall, classes, switches: 1 };
        self.rec.push(&catalog::THREAD_TIME, row);
        self.named(pid, name)
    }

    pub(crate) fn wait(
        mut self,
        pid: u32,
        class: TimeClass,
        resource: &str,
        by: Option<u32>,
        time: f64,
        count: u64,
    ) -> Self {
        let wait = Wait {
            pid: Pid(pid),
            tid: Tid(pid),
            class,
            resource: resource.into(),
            by: by.map(|pid| (Pid(pid), Tid(pid))),
            syscall: String::new(),
            after_failure: false,
            time: seconds(time),
            count,
            longest: seconds(time / count.max(1) as f64),
            stack: Vec::new(),
            waker_stack: Vec::new(),
        };
        self.rec.push(&catalog::WAITS, wait);
        self
    }

    fn process(&mut self, pid: u32) -> &mut Process {
        let process = self.rec.processes.entry(Pid(pid)).or_default();
        process.pid = Pid(pid);
        process
    }

    pub(crate) fn named(mut self, pid: u32, name: &str) -> Self {
        self.process(pid).name = name.into();
        self
    }

    pub(crate) fn friday(mut self, pid: u32) -> Self {
        self.process(pid).is_friday = true;
        self
    }

    pub(crate) fn kernel(mut self, pid: u32) -> Self {
        self.process(pid).is_kernel = true;
        self
    }

    pub(crate) fn cgroup(mut self, pid: u32, group: &str) -> Self {
        self.process(pid).cgroup = group.into();
        self
    }

    pub(crate) fn fact(mut self, name: &str, value: &str) -> Self {
        let fact = Fact { labels: labels(&[("name", name)]), value: value.into(), source: "test".into() };
        self.rec.push(&catalog::HOST_FACT, fact);
        self
    }

    /// CPU samples of a code path, outermost first.
    pub(crate) fn samples(mut self, pid: u32, user: &[&str], kernel: &[&str], samples: u64) -> Self {
        let user = user.iter().map(|name| (*name, FrameKind::User));
        let frames: Vec<_> = user.chain(kernel.iter().map(|name| (*name, FrameKind::Kernel))).collect();
        let first = self.rec.frames.len() as u32;
        let ids = (first..first + frames.len() as u32).map(FrameId).collect();
        self.rec.frames.extend(frames.into_iter().map(|(name, kind)| Frame {
            name: name.into(),
            module: String::new(),
            kind,
            unknown: String::new(),
        }));
        self.rec.push(&catalog::CPU_STACKS, Stack { pid: Pid(pid), tid: Tid(pid), samples, frames: ids });
        self
    }

    /// Processes of one name that lived this long and were started by one parent.
    pub(crate) fn exits(mut self, parent: u32, name: &str, life: f64, count: u32) -> Self {
        for n in 0..count {
            let labels = labels(&[("name", name), ("parent", &parent.to_string()), ("parent_name", "starter")]);
            let pid = Some(Pid(100_000 + n));
            self.rec.push(&catalog::PROCESS_EXIT, Event { at: Duration::ZERO, pid, labels, value: life });
        }
        self
    }

    pub(crate) fn calls(self, pid: u32, call: &str, count: u64, errno: &str, failures: f64) -> Self {
        let pid = pid.to_string();
        let base = [("pid", pid.as_str()), ("syscall", call)];
        let failed = [base[0], base[1], ("errno", errno), ("argument", "")];
        let mut machine = self.histogram(&catalog::SYSCALL_TIME, &base, count, 0.01);
        machine.rec.push(&catalog::SYSCALL_ERRORS, Series::total(labels(&failed), seconds(WINDOW), failures));
        machine
    }

    /// A machine on which everything is seen and next to nothing happens.
    pub(crate) fn idle() -> Self {
        let machine = Machine::new()
            .cpu(0.01)
            .counter(&catalog::CPU_TIME, &[("cpu", "0"), ("mode", "steal")], 0.0)
            .thread(7, "daemon", &[(TimeClass::RunningUser, 0.05), (TimeClass::RunnableBusy, 0.01)])
            .thread(9, "jbd2", &[(TimeClass::BlockedDisk, 4.0)])
            .kernel(9)
            .disk("vda", 0.01, 0.01, 30.0)
            .memory(&[0.7])
            .histogram(&catalog::RUN_QUEUE_WAIT, &[("pid", "7")], 40, 0.1)
            .histogram(&catalog::BLOCK_LATENCY, &[("device", "vda"), ("direction", "write")], 30, 2.0)
            .calls(7, "epoll_wait", 100, "EINTR", 1.0)
            .exits(1, "sh", 0.01, 3)
            .fact("clocksource", "tsc")
            .fact("kernel.tainted", "0");
        let machine = [("fault", 900.0), ("major_fault", 2.0)].into_iter().fold(machine, |m, (k, n)| m.paging(k, n));
        let machine =
            ["swap_in", "swap_out", "direct_reclaim", "oom_kill"].into_iter().fold(machine, |m, k| m.paging(k, 0.0));
        let mut machine = machine
            .pressure("cpu", "some", 0.02)
            .pressure("io", "some", 0.4)
            .pressure("io", "full", 0.4)
            .pressure("memory", "some", 0.0)
            .pressure("memory", "full", 0.0);
        for metric in [&catalog::CGROUP_CPU, &catalog::CGROUP_EVENTS, &catalog::CGROUP_PIDS] {
            machine.rec.set(metric, Ok(Vec::new()));
        }
        machine.rec.set(&catalog::CGROUP_LIMIT, Ok(Vec::new()));
        machine.rec.set(&catalog::RECLAIM_TIME, Ok(Vec::new()));
        machine.rec.set(&catalog::CPU_STACKS, Ok(Vec::new()));
        machine.rec.set(&catalog::WAITS, Ok(Vec::new()));
        machine.idle_network()
    }

    /// A machine on which everything is short.
    pub(crate) fn saturated() -> Self {
        use TimeClass::*;
        let times =
            [(RunningUser, 2.0), (RunnableBusy, 2.0), (BlockedDisk, 2.0), (BlockedMemory, 2.0), (BlockedLock, 2.0)];
        let machine = Machine::new()
            .cpu(0.99)
            .steps(&catalog::CPU_TIME, &[("cpu", "0"), ("mode", "steal")], &[3.0; 4])
            .thread(6, "batch", &[(RunningUser, 3.0), (RunnableBusy, 7.0)])
            .thread(7, "api", &times)
            .wait(7, BlockedDisk, "disk:vda", None, 2.0, 200)
            .wait(7, BlockedLock, "futex:0x1", Some(7), 2.0, 200)
            .thread(8, "make", &[(RunningUser, 1.0), (BlockedProcess, 9.0)])
            .exits(8, "true", 0.002, 900)
            .disk("vda", 0.99, 30.0, 1000.0)
            .memory(&[0.02])
            .histogram(&catalog::RUN_QUEUE_WAIT, &[("pid", "7")], 1000, 9.0)
            .histogram(&catalog::BLOCK_LATENCY, &[("device", "vda"), ("direction", "read")], 1000, 60.0)
            .calls(7, "openat", 100, "EMFILE", 90.0)
            .fact("clocksource", "hpet")
            .fact("kernel.tainted", "128");
        let machine = [("cpu", "some"), ("io", "some"), ("io", "full"), ("memory", "some")]
            .into_iter()
            .fold(machine, |m, (resource, kind)| m.pressure(resource, kind, 0.9));
        let machine = [("periods", 100.0), ("throttled_periods", 90.0), ("throttled_time", 5.0)]
            .into_iter()
            .fold(machine, |m, (what, by)| m.counter(&catalog::CGROUP_CPU, &[("cgroup", "/web"), ("what", what)], by));
        let paging = [
            ("fault", 1e6),
            ("major_fault", 9000.0),
            ("swap_in", 5000.0),
            ("swap_out", 5000.0),
            ("direct_reclaim", 800.0),
            ("oom_kill", 1.0),
        ];
        let mut machine = paging.into_iter().fold(machine, |m, (kind, count)| m.paging(kind, count));
        machine = [("memory.max", "/web", 900.0), ("pids.max", "/web", 3.0)]
            .into_iter()
            .fold(machine, |m, row| m.counter(&catalog::CGROUP_EVENTS, &[("cgroup", row.1), ("event", row.0)], row.2));
        machine = ["direct", "cgroup", "compaction"].into_iter().fold(machine, |m, kind| {
            m.histogram(&catalog::RECLAIM_TIME, &[("pid", "7"), ("kind", kind), ("cgroup", "/web")], 100, 20.0)
        });
        machine = machine.samples(7, &["main"], &["asm_exc_page_fault"], 900).samples(7, &["main"], &[], 100);
        machine = machine.gauge(&catalog::CGROUP_PIDS, &[("cgroup", "/web")], &[99.0]);
        machine.rec.push(&catalog::CGROUP_LIMIT, limit("/web", "pids.max", "100"));
        let labels = labels(&[("pid", "7"), ("syscall", "clock_gettime")]);
        machine.rec.push(&catalog::SYSCALL_CPU, Series::total(labels, seconds(WINDOW), 2.0));
        machine.rec.cost.lost_events = 500;
        machine.saturated_network()
    }

    /// Available memory as parts of all, over time.
    pub(crate) fn memory(self, available: &[f64]) -> Self {
        let total = self.rec.host.memory_bytes as f64;
        let bytes: Vec<f64> = available.iter().map(|part| part * total).collect();
        self.gauge(&catalog::MEMORY, &[("state", "total")], &vec![total; bytes.len()]).gauge(
            &catalog::MEMORY,
            &[("state", "available")],
            &bytes,
        )
    }
}
