//! Small systems built by hand, for the tests of causes.

use crate::{Finding, diagnose};
use observe::*;
use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

/// A system under construction; the window is ten seconds.
pub struct System {
    rec: Recording,
    frames: BTreeMap<(String, String), FrameId>,
}

fn seconds(s: f64) -> Duration {
    Duration::from_secs_f64(s)
}

const WINDOW: Duration = Duration::from_secs(10);

fn named(labels: &[(&str, &str)]) -> Labels {
    Labels(labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
}

impl System {
    pub fn new() -> Self {
        let host = Host { name: "host".into(), kernel: "6.1".into(), cpus: 2, memory_bytes: 1 << 30 };
        let window = Window { start: SystemTime::UNIX_EPOCH, length: WINDOW };
        let mut rec = Recording::new(host, Target::system("host"), window);
        rec.set(&catalog::THREAD_TIME, Ok(Vec::new()));
        rec.set(&catalog::WAITS, Ok(Vec::new()));
        rec.set(&catalog::CPU_STACKS, Ok(Vec::new()));
        rec.set(&catalog::PROCESS_EXIT, Ok(Vec::new()));
        rec.set(&catalog::SYSCALL_TIME, Ok(Vec::new()));
        for metric in
            [&catalog::SYSCALL_CPU, &catalog::SYSCALL_ERRORS, &catalog::SYSCALL_EMPTY, &catalog::SYSCALL_BYTES]
        {
            rec.set(metric, Ok(Vec::new()));
        }
        System { rec, frames: BTreeMap::new() }
    }

    /// One that goes on from a recording.
    pub fn with(rec: Recording) -> Self {
        System { rec, frames: BTreeMap::new() }
    }

    pub fn thread(self, pid: u32, name: &str, times: &[(TimeClass, f64)]) -> Self {
        self.thread_of(pid, pid, name, times)
    }

    pub fn thread_of(mut self, pid: u32, tid: u32, name: &str, times: &[(TimeClass, f64)]) -> Self {
        let mut classes = ClassTimes::default();
        for (class, time) in times {
            classes.add(*class, seconds(*time));
        }
        classes.add(TimeClass::BlockedIdle, WINDOW.saturating_sub(classes.total()));
        let wall = classes.total();
        let row = ThreadTime { pid: Pid(pid), tid: Tid(tid), name: name.into(), wall, classes, switches: 1 };
        self.rec.push(&catalog::THREAD_TIME, row);
        let process = self.rec.processes.entry(Pid(pid)).or_default();
        process.pid = Pid(pid);
        if tid == pid {
            process.name = name.into();
        }
        self
    }

    /// The parent of a process, and its command line or what it has put in the place of it.
    pub fn titled(mut self, pid: u32, parent: u32, title: &str) -> Self {
        let process = self.rec.processes.entry(Pid(pid)).or_default();
        (process.parent, process.cmdline) = (Pid(parent), title.into());
        self
    }

    /// A thread that lived only so long.
    pub fn short_thread(mut self, pid: u32, tid: u32, name: &str, class: TimeClass, time: f64) -> Self {
        let mut classes = ClassTimes::default();
        classes.add(class, seconds(time));
        let wall = classes.total();
        let row = ThreadTime { pid: Pid(pid), tid: Tid(tid), name: name.into(), wall, classes, switches: 2 };
        self.rec.push(&catalog::THREAD_TIME, row);
        self
    }

    #[allow(clippy::too_many_arguments)]
    pub fn wait(
        mut self,
        pid: u32,
        class: TimeClass,
        syscall: &str,
        resource: &str,
        by: Option<(u32, u32)>,
        time: f64,
        count: u64,
    ) -> Self {
        let wait = Wait {
            pid: Pid(pid),
            tid: Tid(pid),
            class,
            resource: resource.into(),
            by: by.map(|(pid, tid)| (Pid(pid), Tid(tid))),
            syscall: syscall.into(),
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

    /// Goroutines of a process waited for a lock in one function, and another one let it go.
    pub fn goroutines_wait(
        mut self,
        pid: u32,
        lock: &str,
        waiter: &str,
        time: f64,
        holder: &str,
        by_holder: f64,
    ) -> Self {
        let sides = [(&catalog::GOROUTINE_WAITS, waiter, time), (&catalog::GOROUTINE_HOLDERS, holder, by_holder)];
        for (metric, function, time) in sides {
            let path = [("main.main", "prog"), (function, "prog"), ("sync.(*Mutex).lockSlow", "prog")];
            let stack = self.stack(&path, &[]);
            let wait = Wait {
                pid: Pid(pid),
                tid: Tid(pid),
                class: TimeClass::BlockedLock,
                resource: lock.into(),
                by: None,
                syscall: String::new(),
                after_failure: false,
                time: seconds(time),
                count: 100,
                longest: seconds(time / 100.0),
                stack,
                waker_stack: Vec::new(),
            };
            self.rec.push(metric, wait);
        }
        self
    }

    /// Where the last wait was, in user code.
    pub fn waiting_in(mut self, path: &[(&str, &str)]) -> Self {
        let stack = self.stack(path, &[]);
        let mut waits = self.rec.get(&catalog::WAITS).unwrap().to_vec();
        waits.last_mut().unwrap().stack = stack;
        self.rec.set(&catalog::WAITS, Ok(waits));
        self
    }

    /// The system call of the last wait.
    pub fn in_call(mut self, syscall: &str) -> Self {
        let mut waits = self.rec.get(&catalog::WAITS).unwrap().to_vec();
        waits.last_mut().unwrap().syscall = syscall.into();
        self.rec.set(&catalog::WAITS, Ok(waits));
        self
    }

    /// A static fact of the machine.
    pub fn fact(mut self, name: &str, value: &str) -> Self {
        let labels = Labels::new([("name", name.into())]);
        self.rec.push(&catalog::HOST_FACT, Fact { labels, value: value.into(), source: name.into() });
        self
    }

    /// The longest of the last row's waits, in milliseconds.
    pub fn longest(mut self, ms: f64) -> Self {
        let mut waits = self.rec.get(&catalog::WAITS).unwrap().to_vec();
        waits.last_mut().unwrap().longest = seconds(ms / 1e3);
        self.rec.set(&catalog::WAITS, Ok(waits));
        self
    }

    /// A fact with labels.
    pub fn labelled_fact(mut self, metric: &catalog::Metric<Fact>, labels: &[(&str, &str)], value: &str) -> Self {
        self.rec.push(metric, Fact { labels: named(labels), value: value.into(), source: String::new() });
        self
    }

    /// A wait of one of several threads.
    pub fn wait_of(
        self,
        pid: u32,
        tid: u32,
        class: TimeClass,
        resource: &str,
        by: Option<(u32, u32)>,
        time: f64,
    ) -> Self {
        let mut system = self.wait(pid, class, "", resource, by, time, 100);
        let mut waits = system.rec.get(&catalog::WAITS).unwrap().to_vec();
        waits.last_mut().unwrap().tid = Tid(tid);
        system.rec.set(&catalog::WAITS, Ok(waits));
        system
    }

    /// A process' requests were queued while a device served another's.
    pub fn queued(mut self, pid: u32, device: &str, ahead: u32, time: f64) -> Self {
        let labels = Labels::new([("device", device.into()), ("pid", pid.to_string()), ("behind", ahead.to_string())]);
        self.rec.push(&catalog::BLOCK_BEHIND, Series::total(labels, WINDOW, time));
        self
    }

    /// Makes the last wait a pause after a failed call.
    pub fn after_failure(mut self) -> Self {
        let mut waits = self.rec.get(&catalog::WAITS).unwrap().to_vec();
        waits.last_mut().unwrap().after_failure = true;
        self.rec.set(&catalog::WAITS, Ok(waits));
        self
    }

    pub fn behind(self, pid: u32, runner: u32, time: f64) -> Self {
        self.wait(pid, TimeClass::RunnableBusy, "", "cpu", Some((runner, runner)), time, 100)
    }

    pub fn cpu_busy(mut self, part: f64) -> Self {
        for (mode, time) in [("user", part * 20.0), ("idle", (1.0 - part) * 20.0)] {
            let labels = Labels::new([("cpu", "0".into()), ("mode", mode.into())]);
            self.counter(&catalog::CPU_TIME, labels, time);
        }
        self
    }

    /// A total over the window.
    pub fn total(mut self, metric: &catalog::Metric<Series>, labels: &[(&str, &str)], value: f64) -> Self {
        self.rec.push(metric, Series::total(named(labels), WINDOW, value));
        self
    }

    /// A counter that grew by so much.
    pub fn grows(mut self, metric: &catalog::Metric<Series>, labels: &[(&str, &str)], increase: f64) -> Self {
        self.counter(metric, named(labels), increase);
        self
    }

    /// A distribution: how many took how many milliseconds.
    pub fn durations(
        mut self,
        metric: &catalog::Metric<Histogram>,
        labels: &[(&str, &str)],
        of: &[(u64, f64)],
    ) -> Self {
        let mut all = Histogram { labels: named(labels), ..Histogram::default() };
        for (count, ms) in of {
            let low = (ms * 1e6) as u64;
            let bucket = Bucket { low, high: low + low / 16 + 1, count: *count };
            let labels = Labels::default();
            all.merge(&Histogram { labels, count: *count, sum: low * count, max: low, buckets: vec![bucket] });
        }
        self.rec.push(metric, all);
        self
    }

    /// A process' TCP connection to a service: its round trips in milliseconds as read and at best, and the segments with
    /// data that it sent.
    pub fn connection(self, pid: u32, peer: &str, rtt_ms: f64, min_rtt_ms: f64, sent: f64) -> Self {
        let pid = pid.to_string();
        let labels = [("pid", pid.as_str()), ("local_port", "40000"), ("peer", peer)];
        self.total(&catalog::TCP_RTT, &labels, rtt_ms / 1e3)
            .total(&catalog::TCP_MIN_RTT, &labels, min_rtt_ms / 1e3)
            .total(&catalog::TCP_SEGMENTS, &[labels[0], labels[1], labels[2], ("what", "sent")], sent)
    }

    /// A process that polls for a long answer from 10.0.0.2:80, all of the window. Process 30, which sends it, lives in another
    /// network namespace of this machine: the round trip is 10 ms, and as it sends so much.
    pub fn fetching(pid: u32, bytes: f64, rtt_ms: f64) -> Self {
        let (own, theirs) = (pid.to_string(), "10.0.0.1:40000");
        let here = [("pid", own.as_str()), ("local_port", "40000"), ("peer", "10.0.0.2:80")];
        let there = [("pid", "30"), ("local_port", "80"), ("peer", theirs)];

        System::new()
            .thread(pid, "fetch", &[(TimeClass::RunningUser, 0.5), (TimeClass::BlockedNetwork, 9.5)])
            .thread(30, "server", &[(TimeClass::RunningUser, 0.1)])
            .wait(pid, TimeClass::BlockedNetwork, "epoll_wait", "tcp:10.0.0.2:80", None, 9.5, 900)
            .connection(pid, "10.0.0.2:80", 10.0, 10.0, 0.0)
            .total(&catalog::TCP_IO, &[here[0], here[1], here[2], ("direction", "receive")], bytes)
            .total(&catalog::TCP_SEGMENTS, &[here[0], here[1], here[2], ("what", "received")], bytes / 1448.0)
            .total(&catalog::TCP_RTT, &there, rtt_ms / 1e3)
            .total(&catalog::TCP_MIN_RTT, &there, 0.01)
            .total(&catalog::TCP_LIMITED, &[there[0], there[1], there[2], ("by", "busy")], 9.5)
    }

    /// Exchanges of a process with a peer, for the sake of requests to a service (or none).
    pub fn asked(self, pid: u32, peer: &str, service: &str, of: &[(u64, f64)]) -> Self {
        let pid = pid.to_string();
        let labels = [("pid", pid.as_str()), ("peer", peer), ("peer_pid", ""), ("service", service)];
        self.durations(&catalog::UPSTREAM, &labels, of)
    }

    /// Time of the requests that a process serves.
    pub fn request_time(self, pid: u32, service: &str, time: f64) -> Self {
        let pid = pid.to_string();
        let labels = [("pid", pid.as_str()), ("service", service), ("part", "elsewhere")];
        self.total(&catalog::REQUEST_TIME, &labels, time)
    }

    /// A value that was sampled, at even distances from begin to end.
    pub fn sampled(mut self, metric: &catalog::Metric<Series>, labels: &[(&str, &str)], values: &[f64]) -> Self {
        let step = WINDOW / values.len().saturating_sub(1).max(1) as u32;
        let points = values.iter().zip(0u32..).map(|(value, n)| Point { at: step * n, value: *value }).collect();
        self.rec.push(metric, Series { labels: named(labels), points });
        self
    }

    /// Something that happened to a process in the middle of the window.
    pub fn event(mut self, metric: &catalog::Metric<Event>, pid: u32, labels: &[(&str, &str)]) -> Self {
        self.rec.push(metric, Event { at: WINDOW / 2, pid: Some(Pid(pid)), labels: named(labels), value: 1.0 });
        self
    }

    /// That a process is in a control group.
    pub fn member(mut self, group: &str, pid: u32) -> Self {
        let labels = named(&[("cgroup", group), ("pid", &pid.to_string())]);
        self.rec.push(&catalog::CGROUP_MEMBER, Fact { labels, value: "member".into(), source: String::new() });
        self
    }

    /// The stack of page faults in user code.
    pub fn faulted(mut self, pid: u32, path: &[(&str, &str)], faults: u64) -> Self {
        let frames = self.stack(path, &[]);
        let stack = Stack { pid: Pid(pid), tid: Tid(pid), samples: faults, frames };
        self.rec.push(&catalog::FAULT_STACKS, stack);
        self
    }

    /// Where in the kernel the last wait was.
    pub fn waiting_in_kernel(mut self, kernel: &[&str]) -> Self {
        let stack = self.stack(&[], kernel);
        let mut waits = self.rec.get(&catalog::WAITS).unwrap().to_vec();
        waits.last_mut().unwrap().stack = stack;
        self.rec.set(&catalog::WAITS, Ok(waits));
        self
    }

    fn counter(&mut self, metric: &catalog::Metric<Series>, labels: Labels, increase: f64) {
        let points = vec![Point { at: Duration::ZERO, value: 100.0 }, Point { at: WINDOW, value: 100.0 + increase }];
        self.rec.push(metric, Series { labels, points });
    }

    pub fn cgroup(mut self, pid: u32, group: &str) -> Self {
        self.rec.processes.entry(Pid(pid)).or_default().cgroup = group.into();
        self
    }

    /// A process' niceness and scheduling policy.
    pub fn policy(mut self, pid: u32, nice: i32, policy: &str) -> Self {
        let process = self.rec.processes.entry(Pid(pid)).or_default();
        (process.nice, process.policy) = (nice, policy.into());
        self
    }

    pub fn kernel_thread(mut self, pid: u32) -> Self {
        self.rec.processes.entry(Pid(pid)).or_default().is_kernel = true;
        self
    }

    /// A limit or weight of a control group.
    pub fn limit(mut self, group: &str, name: &str, value: &str) -> Self {
        let labels = Labels::new([("cgroup", group.into()), ("name", name.into())]);
        self.rec.push(&catalog::CGROUP_LIMIT, Fact { labels, value: value.into(), source: name.into() });
        self
    }

    pub fn allowed(mut self, pid: u32, cpus: u32) -> Self {
        self.rec.processes.entry(Pid(pid)).or_default().allowed_cpus = cpus;
        self
    }

    pub fn throttled(mut self, group: &str, periods: f64, throttled: f64, time: f64) -> Self {
        for (what, value) in [("periods", periods), ("throttled_periods", throttled), ("throttled_time", time)] {
            let labels = Labels::new([("cgroup", group.into()), ("what", what.into())]);
            self.counter(&catalog::CGROUP_CPU, labels, value);
        }
        self
    }

    pub fn disk(mut self, device: &str, busy: f64, queue: f64) -> Self {
        let labels = || Labels::new([("device", device.into())]);
        self.counter(&catalog::DISK_BUSY, labels(), busy * 10.0);
        self.counter(&catalog::DISK_WEIGHTED, labels(), queue * 10.0);
        self
    }

    pub fn issued(mut self, pid: u32, device: &str, time: f64) -> Self {
        let labels =
            || Labels::new([("device", device.into()), ("direction", "read".into()), ("pid", pid.to_string())]);
        self.rec.push(&catalog::BLOCK_TIME, Series::total(labels(), WINDOW, time));
        self.rec.push(&catalog::BLOCK_OPERATIONS, Series::total(labels(), WINDOW, time * 100.0));
        self
    }

    pub fn calls(mut self, pid: u32, call: &str, count: u64, cpu: f64, bytes: f64) -> Self {
        let labels = || Labels::new([("pid", pid.to_string()), ("syscall", call.into())]);
        let hist = Histogram { labels: labels(), count, sum: (cpu * 1e9) as u64, max: 1, buckets: Vec::new() };
        self.rec.push(&catalog::SYSCALL_TIME, hist);
        self.rec.push(&catalog::SYSCALL_CPU, Series::total(labels(), WINDOW, cpu));
        self.rec.push(&catalog::SYSCALL_BYTES, Series::total(labels(), WINDOW, bytes));
        self
    }

    pub fn empty(mut self, pid: u32, call: &str, count: u64) -> Self {
        let labels = Labels::new([("pid", pid.to_string()), ("syscall", call.into())]);
        self.rec.push(&catalog::SYSCALL_EMPTY, Series::total(labels, WINDOW, count as f64));
        self
    }

    /// The calls were on sockets.
    pub fn on_sockets(mut self, pid: u32, call: &str) -> Self {
        let labels = Labels::new([("pid", pid.to_string()), ("syscall", call.into())]);
        self.rec.push(&catalog::SYSCALL_SOCKETS, Series::total(labels, WINDOW, 1.0));
        self
    }

    pub fn failures(mut self, pid: u32, call: &str, errno: &str, argument: &str, count: u64) -> Self {
        let labels = Labels::new([
            ("pid", pid.to_string()),
            ("syscall", call.into()),
            ("errno", errno.into()),
            ("argument", argument.into()),
        ]);
        self.rec.push(&catalog::SYSCALL_ERRORS, Series::total(labels, WINDOW, count as f64));
        self
    }

    pub fn exits(self, parent: u32, parent_name: &str, name: &str, life: f64, count: usize) -> Self {
        self.ends(parent, parent_name, name, life, (0, 0), count)
    }

    /// Processes that ended with a status and by a signal.
    pub fn ends(
        mut self,
        parent: u32,
        parent_name: &str,
        name: &str,
        life: f64,
        (code, signal): (u32, u32),
        count: usize,
    ) -> Self {
        for n in 0..count {
            let labels = Labels::new([
                ("name", name.into()),
                ("parent", parent.to_string()),
                ("parent_name", parent_name.into()),
                ("exec", "yes".into()),
                ("code", code.to_string()),
                ("signal", signal.to_string()),
            ]);
            let pid = Some(Pid(100_000 + n as u32));
            self.rec.push(&catalog::PROCESS_EXIT, Event { at: Duration::ZERO, pid, labels, value: life });
        }
        self
    }

    pub fn samples(self, pid: u32, path: &[(&str, &str)], samples: u64) -> Self {
        self.kernel_samples(pid, path, &[], samples)
    }

    /// Samples of one of several threads.
    pub fn samples_of(mut self, pid: u32, tid: u32, path: &[(&str, &str)], samples: u64) -> Self {
        let frames = self.stack(path, &[]);
        self.rec.push(&catalog::CPU_STACKS, Stack { pid: Pid(pid), tid: Tid(tid), samples, frames });
        self
    }

    /// Looks at the functions of a Python program.
    pub fn looks(mut self, pid: u32, functions: &[&str], looks: u64) -> Self {
        let frames: Vec<(&str, &str)> = functions.iter().map(|name| (*name, "[python]")).collect();
        let frames = self.stack(&frames, &[]);
        self.rec.push(&catalog::INTERPRETED_STACKS, Stack { pid: Pid(pid), tid: Tid(pid), samples: looks, frames });
        self
    }

    /// Samples in the kernel.
    pub fn kernel_samples(mut self, pid: u32, path: &[(&str, &str)], kernel: &[&str], samples: u64) -> Self {
        let frames = self.stack(path, kernel);
        self.rec.push(&catalog::CPU_STACKS, Stack { pid: Pid(pid), tid: Tid(pid), samples, frames });
        self
    }

    fn stack(&mut self, user: &[(&str, &str)], kernel: &[&str]) -> Vec<FrameId> {
        let user = user.iter().map(|(name, module)| (*name, *module, FrameKind::User));
        let frames: Vec<_> = user.chain(kernel.iter().map(|name| (*name, "vmlinux", FrameKind::Kernel))).collect();
        frames.into_iter().map(|(name, module, kind)| self.frame(name, module, kind)).collect()
    }

    fn frame(&mut self, name: &str, module: &str, kind: FrameKind) -> FrameId {
        let next = FrameId(self.rec.frames.len() as u32);
        *self.frames.entry((name.to_owned(), module.to_owned())).or_insert_with(|| {
            self.rec.frames.push(Frame { name: name.into(), module: module.into(), kind, unknown: String::new() });
            next
        })
    }

    /// Time spent spinning for a spin lock of the kernel's.
    pub fn spun(mut self, pid: u32, function: &str, time: f64) -> Self {
        let labels = Labels::new([("pid", pid.to_string()), ("function", function.into())]);
        self.rec.push(&catalog::SPIN_TIME, Series::total(labels, WINDOW, time));
        self
    }

    /// Samples beside an instruction made for waiting in a loop.
    pub fn spins(mut self, pid: u32, function: &str, samples: u64) -> Self {
        let labels = Labels::new([("pid", pid.to_string()), ("function", function.into())]);
        self.rec.push(&catalog::SPIN_SAMPLES, Series::total(labels, WINDOW, samples as f64));
        self
    }

    pub fn target(mut self, pid: u32) -> Self {
        let name = self.rec.process_name(Pid(pid));
        self.rec.target = Target { kind: TargetKind::Process, pid: Some(Pid(pid)), name, members: vec![Pid(pid)] };
        self
    }

    pub fn build(self) -> Recording {
        self.rec
    }
}

/// The findings of one cause.
pub fn all(rec: &Recording, cause: &str) -> Vec<Finding> {
    diagnose(rec, &[]).findings.into_iter().filter(|f| f.cause == cause).collect()
}

/// The one finding of a cause.
pub fn one(rec: &Recording, cause: &str) -> Finding {
    let mut found = all(rec, cause);
    assert_eq!(found.len(), 1, "{cause}: {:#?}", diagnose(rec, &[]).findings);
    found.remove(0)
}
