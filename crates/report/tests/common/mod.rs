//! A made-up case: a shop's server under a CPU quota on a machine where a backup keeps the disk busy.
#![allow(dead_code, reason = "each test file uses a part")]

pub mod topology;

use case::{Day, Document, LedgerRow, Overhead, Question, RequestRow, SCHEMA, UpstreamRow, WaitRow};
use checks::{Evidence, Light, Test};
use diagnosis::{
    Conclusion, Confidence, Eliminated, Finding, Party, ShareIs, Untested, Whose, WhosePart,
    path::{Path, PathRow},
};
use observe::{
    Absent, ClassTimes, Cost, Event, Frame, FrameId, FrameKind, Histogram, Host, Labels, Pid, Process, ProgramCost,
    Ratio, Recording, Series, Stack, Target, TargetKind, ThreadTime, Tid, TimeClass, Wait, Window, catalog,
};
use std::time::{Duration, SystemTime};

const SHOP: Pid = Pid(812);
const BACKUP: Pid = Pid(2044);
const BATCH: Pid = Pid(3001);
const JOURNAL: Pid = Pid(311);
const FRIDAY: Pid = Pid(4000);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn requests() -> Vec<RequestRow> {
    let shares = [("queued", 0.31), ("running", 0.12), ("runnable", 0.36), ("blocked", 0.21)];
    let shop = RequestRow {
        service: "shopd".into(),
        port: 8080,
        processes: vec![SHOP.0],
        count: 31_204,
        p50_s: 0.0121,
        p99_s: 0.184,
        rate: 1_560.2,
        seconds: 812.0,
        shares: shares.map(|(part, share)| (part.to_owned(), share)).into(),
        bytes_in: 9_400_000,
        bytes_out: 120_000_000,
        in_flight: 7,
        oldest_s: Some(0.241),
        followed: 0.61,
        upstreams: vec![database(310_000, 14.1, 14.1)],
        ..RequestRow::default()
    };
    let admin = RequestRow { port: 0, path: "/run/shop/admin.sock".into(), count: 0, in_flight: 0, ..shop.clone() };
    vec![shop, admin]
}

fn database(count: u64, seconds: f64, in_requests_s: f64) -> UpstreamRow {
    UpstreamRow {
        process: "shopd".into(),
        peer: "10.0.0.9:5432".into(),
        server: "postgres".into(),
        count,
        p50_s: 0.00031,
        p99_s: 0.0042,
        seconds,
        in_requests_s,
        in_flight: u64::from(count == 0),
        oldest_s: (count == 0).then_some(2.5),
    }
}

fn process(pid: Pid, name: &str) -> Process {
    Process { pid, name: name.into(), is_friday: pid == FRIDAY, ..Process::default() }
}

/// Adds a frame once and gives its id.
fn frame(rec: &mut Recording, name: &str) -> FrameId {
    let (name, kind) = match name.strip_prefix("k:") {
        Some(name) => (name, FrameKind::Kernel),
        None => (name, FrameKind::User),
    };
    let module = if kind == FrameKind::Kernel { "vmlinux" } else { "/opt/shop/bin/shopd" };
    let frame = Frame { name: name.into(), module: module.into(), kind, unknown: String::new() };
    let at = rec.frames.iter().position(|f| *f == frame).unwrap_or_else(|| {
        rec.frames.push(frame);
        rec.frames.len() - 1
    });
    FrameId(u32::try_from(at).unwrap())
}

fn path(rec: &mut Recording, names: &str) -> Vec<FrameId> {
    names.split_whitespace().map(|name| frame(rec, name)).collect()
}

fn cpu(rec: &mut Recording, pid: Pid, samples: u64, names: &str) {
    let frames = path(rec, names);
    rec.push(&catalog::CPU_STACKS, Stack { pid, tid: Tid(pid.0), samples, frames });
}

struct Off<'a> {
    pid: Pid,
    class: TimeClass,
    resource: &'a str,
    by: Option<Pid>,
    ms: u64,
    stack: &'a str,
    waker: &'a str,
}

fn off(rec: &mut Recording, off: Off<'_>) {
    let (stack, waker_stack) = (path(rec, off.stack), path(rec, off.waker));
    let wait = Wait {
        pid: off.pid,
        tid: Tid(off.pid.0 + 1),
        class: off.class,
        resource: off.resource.into(),
        by: off.by.map(|pid| (pid, Tid(pid.0))),
        syscall: String::new(),
        after_failure: false,
        time: ms(off.ms),
        count: 40,
        longest: ms(off.ms / 10),
        stack,
        waker_stack,
    };
    rec.push(&catalog::WAITS, wait);
}

/// What shopd's time in an event window is made of; one episode was lost.
fn critical_path() -> Path {
    let row = |party: &str, class, resource: &str, by: &str, share: f64, codepath: &[&str]| PathRow {
        party: party.into(),
        pid: 812,
        class,
        resource: resource.into(),
        by: by.into(),
        seconds: share * 2.0,
        share: Ratio(share),
        alone: None,
        codepath: codepath.iter().map(|name| (*name).to_owned()).collect(),
    };
    Path {
        victim: "shopd (pid 812)".into(),
        about: "the threads that do its work, on average, over 3.0 s".into(),
        seconds: 3.0,
        lost: 1,
        rows: vec![
            row("shopd (812)", TimeClass::RunnableThrottled, "", "", 0.62, &[]),
            row("shopd (812)", TimeClass::RunningUser, "", "", 0.2, &["main", "serve", "render"]),
            row("shopd (812)", TimeClass::RunnableBusy, "", "<b>batch</b> (3001)", 0.1, &[]),
            row("backup (2044)", TimeClass::BlockedDisk, "disk:vda", "", 0.08, &["read", "io_schedule"]),
        ],
    }
}

fn thread(pid: Pid, tid: u32, name: &str, parts: &[(TimeClass, u64)]) -> ThreadTime {
    let mut classes = ClassTimes::default();
    parts.iter().for_each(|(class, time)| classes.add(*class, ms(*time)));
    ThreadTime { pid, tid: Tid(tid), name: name.into(), wall: classes.total(), classes, switches: 4_000 }
}

/// A distribution with most values around one place and a tail.
fn histogram(labels: Labels, centre: usize, count: u32, tail: &[(usize, u32)]) -> Histogram {
    let mut slots = [0u32; 200];
    for (distance, slot) in slots.iter_mut().enumerate().map(|(at, slot)| (at.abs_diff(centre), slot)) {
        if distance < 12 {
            *slot = count >> (distance / 2);
        }
    }
    tail.iter().for_each(|(slot, count)| slots[*slot] += count);
    let used = |(at, n): (usize, &u32)| (*n > 0).then(|| Histogram::bounds(at).0.saturating_mul(u64::from(*n)));
    let sum = slots.iter().enumerate().filter_map(used).sum();
    let last = slots.iter().rposition(|n| *n > 0).unwrap_or(0);
    Histogram::from_slots(labels, &slots, sum, Histogram::bounds(last).1 - 1)
}

fn recording() -> Recording {
    let host = Host { name: "web-1".into(), kernel: "6.18.0".into(), cpus: 2, memory_bytes: 8_321_499_136 };
    let target = Target { kind: TargetKind::Process, pid: Some(SHOP), name: "shopd".into(), members: vec![SHOP] };
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_297_440);
    let mut rec = Recording::new(host, target, Window { start, length: Duration::from_secs(20) });
    for (pid, name) in
        [(SHOP, "shopd"), (BACKUP, "backup"), (BATCH, "batch"), (JOURNAL, "jbd2/vda1-8"), (FRIDAY, "friday")]
    {
        rec.processes.insert(pid, process(pid, name));
    }
    rec.cost = Cost {
        cpu: ms(92),
        rss_bytes: 31_457_280,
        lost_events: 0,
        lost: Default::default(),
        programs: vec![
            ProgramCost { name: "sched_switch".into(), ns_per_run: 412, runs: 181_220 },
            ProgramCost { name: "sched_waking".into(), ns_per_run: 118, runs: 96_402 },
            ProgramCost { name: "sys_enter".into(), ns_per_run: 74, runs: 402_118 },
        ],
        programs_measured: Duration::from_secs(2),
        arming: ms(310),
    };
    rec
}

fn fill(rec: &mut Recording) {
    use TimeClass::*;
    for (worker, scale) in [(813, 10u64), (814, 9), (815, 8), (816, 6)] {
        let parts = [
            (RunningUser, 300 * scale),
            (RunningKernel, 70 * scale),
            (RunnableThrottled, 820 * scale),
            (RunnableBusy, 90 * scale),
            (BlockedFs, 130 * scale),
            (BlockedLock, 60 * scale),
            (BlockedNetwork, 25 * scale),
        ];
        let used: u64 = parts.iter().map(|(_, time)| time).sum();
        let mut parts = parts.to_vec();
        parts.push((BlockedIdle, 20_000 - used));
        rec.push(&catalog::THREAD_TIME, thread(SHOP, worker, "shop-worker", &parts));
    }
    let busy = [(RunningUser, 9_000), (RunningKernel, 2_000), (RunnableBusy, 4_000), (BlockedDisk, 5_000)];
    rec.push(&catalog::THREAD_TIME, thread(BACKUP, BACKUP.0, "backup", &busy));
    let rest = [(BlockedDisk, 2_400), (BlockedKernelLock, 300), (RunningKernel, 120), (BlockedIdle, 17_180)];
    rec.push(&catalog::THREAD_TIME, thread(JOURNAL, JOURNAL.0, "jbd2/vda1-8", &rest));
    let timer = [(RunningUser, 40), (BlockedSleep, 19_900), (BlockedProcess, 60)];
    rec.push(&catalog::THREAD_TIME, thread(SHOP, 817, "shop-timer", &timer));

    let serve = "_start main shop::server::run shop::http::handle";
    let entry = "k:entry_SYSCALL_64 k:do_syscall_64";
    cpu(rec, SHOP, 310, &format!("{serve} shop::cart::total shop::price::discount shop::price::rules_for regex_exec"));
    cpu(rec, SHOP, 120, &format!("{serve} shop::cart::total shop::price::discount shop::json::parse"));
    cpu(rec, SHOP, 95, &format!("{serve} shop::cart::total shop::price::vat"));
    cpu(rec, SHOP, 160, &format!("{serve} shop::cart::load shop::json::parse shop::json::number"));
    cpu(rec, SHOP, 70, &format!("{serve} shop::cart::load shop::json::parse shop::json::string malloc"));
    cpu(rec, SHOP, 64, &format!("{serve} shop::cart::load read {entry} k:ksys_read k:vfs_read k:ext4_file_read_iter"));
    cpu(
        rec,
        SHOP,
        41,
        &format!("{serve} shop::log::write write {entry} k:ksys_write k:vfs_write k:ext4_buffered_write"),
    );
    cpu(rec, SHOP, 33, &format!("{serve} send {entry} k:__sys_sendto k:tcp_sendmsg k:tcp_write_xmit k:ip_queue_xmit"));
    cpu(rec, SHOP, 12, "_start main shop::timer::tick");
    cpu(rec, BACKUP, 500, "_start main compress deflate");
    cpu(rec, FRIDAY, 20, "_start main friday::sample");

    let total = format!("{serve} shop::cart::total");
    let epoll = format!("{serve} epoll_wait");
    let block = |pid, class, resource, by, ms, stack, waker| Off { pid, class, resource, by, ms, stack, waker };
    let sync =
        format!("{serve} shop::log::write fsync {entry} k:do_fsync k:ext4_sync_file k:jbd2_log_wait_commit k:schedule");
    let commit = "k:ret_from_fork k:kthread k:kjournald2 k:jbd2_journal_commit_transaction k:__wake_up";
    off(rec, block(SHOP, BlockedFs, "journal:vda1", Some(JOURNAL), 3_900, &sync, commit));
    let lock = format!("{serve} shop::cart::total pthread_mutex_lock {entry} k:futex_wait k:schedule");
    let unlock = format!("{serve} shop::cart::load pthread_mutex_unlock {entry} k:futex_wake k:wake_up_q");
    off(rec, block(SHOP, BlockedLock, "futex:0x7f21", Some(SHOP), 1_980, &lock, &unlock));
    let recv = format!("{serve} recv {entry} k:tcp_recvmsg k:sk_wait_data k:schedule_timeout k:schedule");
    let softirq = "k:asm_common_interrupt k:net_rx_action k:tcp_v4_rcv k:sock_def_readable";
    off(rec, block(SHOP, BlockedNetwork, "tcp:10.0.0.9:5432", None, 825, &recv, softirq));
    off(rec, block(SHOP, RunnableThrottled, "cgroup:/shop.slice", None, 27_060, &total, ""));
    off(rec, block(SHOP, RunnableBusy, "cpu", Some(BATCH), 2_970, "", ""));
    off(rec, block(SHOP, BlockedIdle, "epoll", None, 30_000, &epoll, ""));
    off(
        rec,
        block(SHOP, BlockedSleep, "timer", None, 19_900, "_start main shop::timer::wait nanosleep", "k:hrtimer_wakeup"),
    );
    off(rec, block(BACKUP, BlockedDisk, "disk:vda", None, 5_000, "_start main read", ""));

    let pid = |pid: Pid| Labels::new([("pid", pid.to_string())]);
    rec.push(&catalog::RUN_QUEUE_WAIT, histogram(pid(SHOP), 60, 4_000, &[(104, 300), (105, 210), (106, 40), (108, 2)]));
    rec.push(&catalog::RUN_QUEUE_WAIT, histogram(pid(BACKUP), 56, 900, &[(90, 12)]));
    rec.push(&catalog::RUN_QUEUE_WAIT, histogram(pid(FRIDAY), 56, 900, &[]));
    for (direction, centre, count) in [("read", 72, 1_900), ("write", 78, 700)] {
        let labels = Labels::new([("device", "vda".into()), ("direction", direction.into())]);
        rec.push(&catalog::BLOCK_LATENCY, histogram(labels, centre, count, &[(100, 9), (103, 1)]));
    }
    rec.set(&catalog::REQUESTS, Ok(Vec::new()));
    for (name, centre, count, tail) in [
        ("fsync", 88, 40, 12),
        ("read", 44, 9_000, 3),
        ("write", 46, 5_000, 2),
        ("futex", 60, 1_200, 8),
        ("sendto", 50, 2_000, 0),
    ] {
        let labels = || Labels::new([("pid", SHOP.to_string()), ("syscall", name.into())]);
        rec.push(&catalog::SYSCALL_TIME, histogram(labels(), centre, count, &[(102, tail)]));
        let total = |value| Series::total(labels(), Duration::from_secs(20), value);
        rec.push(&catalog::SYSCALL_CPU, total(f64::from(count) * 3e-6));
        if name == "read" {
            rec.push(&catalog::SYSCALL_BYTES, total(88_000_000.0));
            rec.push(&catalog::SYSCALL_EMPTY, total(41.0));
        }
    }
    let failing = Labels::new([
        ("pid", SHOP.to_string()),
        ("syscall", "openat".into()),
        ("errno", "ENOENT".into()),
        ("argument", "/etc/shop/override.d/<script>alert(1)</script>.conf".into()),
    ]);
    rec.push(&catalog::SYSCALL_ERRORS, Series::total(failing, Duration::from_secs(20), 812.0));
    for n in 0..26u64 {
        let labels = Labels::new([("name", "shopd".into()), ("behind", format!("batch ({})", BATCH.0))]);
        let event = Event { at: ms(500 + 700 * n), pid: Some(SHOP), labels, value: 0.04 + 0.002 * n as f64 };
        rec.push(&catalog::SLOW_RUN_QUEUE, event);
    }
    let labels = Labels::new([("device", "vda".into()), ("direction", "write".into()), ("name", "backup".into())]);
    rec.push(&catalog::SLOW_BLOCK_IO, Event { at: ms(12_340), pid: Some(BACKUP), labels, value: 0.112 });
    rec.set(&catalog::SLOW_SYSCALL, Err(Absent::NotCollected("the target made too many calls".into())));
}

fn party(kind: &str, pid: Option<u32>, name: &str, detail: Option<&str>) -> Party {
    Party { kind: kind.into(), pid, name: name.into(), detail: detail.map(str::to_owned) }
}

fn findings() -> Vec<Finding> {
    let shop = || party("process", Some(SHOP.0), "shopd", None);
    let throttled = Finding {
        rank: 1,
        cause: "cpu.throttled".into(),
        confidence: Confidence::Likely,
        share: Ratio(0.617),
        share_is: ShareIs::AtMost,
        victim: shop(),
        culprit: party("cgroup", None, "/shop.slice", Some("cpu.max 40000 100000")),
        summary:
            "shopd was ready to run and stopped by the CPU quota of /shop.slice for 27.1 s summed over its 4 busy \
                  threads, in 181 of 200 periods, while the CPUs were 38 % idle."
                .into(),
        evidence: vec![
            Evidence::new("cpu.stat nr_throttled", 181.0, "periods")
                .against("> 25 % of periods")
                .at("recording/series.parquet"),
            Evidence::new("ledger runnable.throttled", 27.06, "s").at("recording/ledger.parquet"),
            Evidence::new("longest stop", 0.0913, "s"),
            Evidence::new("idle CPU meanwhile", 38.0, "%"),
        ],
        codepath: vec!["main".into(), "shop::http::handle".into(), "shop::cart::total".into()],
        next: vec![
            "raise cpu.max of /shop.slice to 120000 100000, or spread the work over more hosts".into(),
            "then look at shop::price::rules_for: it takes 34 % of the CPU time that is left".into(),
        ],
        experiment: None,
    };
    let sync = Finding {
        rank: 2,
        cause: "disk.sync-writes".into(),
        confidence: Confidence::Likely,
        share: Ratio(0.089),
        share_is: ShareIs::Estimate,
        victim: shop(),
        culprit: party("file", None, "/var/log/shop/orders.log", None),
        summary: "Workers wait 3.9 s for fsync of /var/log/shop/orders.log; backup (2044) had 71 % of the requests \
                  ahead of them in vda."
            .into(),
        evidence: vec![Evidence::new("fsync p99", 0.061, "s").against("> 20 ms")],
        codepath: vec!["shop::log::write".into(), "fsync".into(), "ext4_sync_file".into()],
        next: vec!["batch the commits, or move the backup to another time".into()],
        experiment: None,
    };
    let calls = Finding {
        rank: 3,
        cause: "app.failing-calls".into(),
        confidence: Confidence::Possible,
        share: Ratio(0.004),
        share_is: ShareIs::AtMost,
        victim: shop(),
        culprit: party("syscall", None, "openat", Some("ENOENT on /etc/shop/override.d")),
        summary: "812 opens failed with ENOENT in 20 s.".into(),
        evidence: vec![Evidence::new("failed openat", 812.0, "calls")],
        codepath: vec![],
        next: vec![],
        experiment: None,
    };
    vec![throttled, sync, calls]
}

fn whose() -> Whose {
    let part = |party: &str, doing: &str, share: f64, path: &[&str]| WhosePart {
        party: party.into(),
        doing: doing.into(),
        share,
        seconds: 44.0 * share,
        path: path.iter().map(|name| (*name).to_owned()).collect(),
    };
    Whose {
        victim: party("process", Some(SHOP.0), "shopd", None),
        seconds: 44.0,
        parts: vec![
            part("cpu quota:/shop.slice", "CPU quota", 0.617, &["shopd (812)", "cpu quota:/shop.slice"]),
            part("shopd (812)", "runs its own code", 0.294, &["shopd (812)"]),
            part(
                "backup (2044)",
                "had requests ahead in the device's queue",
                0.089,
                &["shopd (812)", "jbd2/vda1-8 (311)", "backup (2044)"],
            ),
        ],
        knots: vec!["2 threads of shopd (812) wait for one another and for nobody else.".into()],
    }
}

fn test(id: &str, verdict: Light, why: &str) -> Test {
    Test {
        id: id.into(),
        group: String::new(),
        verdict,
        why: why.into(),
        evidence: vec![],
        not_here: false,
        remedy: Vec::new(),
    }
}

fn day(day: &str, known: &[&str], tests: Vec<Test>) -> Day {
    Day { day: day.into(), known: known.iter().map(|k| (*k).to_owned()).collect(), tests }
}

fn statement() -> Vec<Question> {
    let question = |id: &str, asks: &str, said: &str, measured: &[&str], unknown: &[&str]| {
        let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Question { id: id.into(), asks: asks.into(), said: said.into(), measured: own(measured), unknown: own(unknown) }
    };
    vec![
        question(
            "problem",
            "What makes you think there is a performance problem?",
            "checkout takes\n3 s <b>every</b> time",
            &["shopd was ready to run and stopped by the CPU quota of /shop.slice for 27.1 s"],
            &[],
        ),
        question("performed_well", "Has this system ever performed well?", "", &[], &["there is no baseline"]),
        question(
            "changed",
            "What changed recently? Software? Hardware? Load?",
            "",
            &[
                "1 running program has a file that came within 14 days: /srv/shop/shopd put there, run by shopd (812) 2 h ago",
                "2 packages changed within 14 days: libc6 upgraded 2.36-9 to 2.36-10 3 days ago; jq installed 1.6-2 3 days ago",
                "within 14 days: no file below /etc was written, the machine was not started",
            ],
            &["neither image nor modules of the kernel that runs are here"],
        ),
    ]
}

fn days() -> Vec<Day> {
    use Light::*;
    vec![
        day(
            "prior",
            &["stacks of shopd reach the root in 99 % of samples"],
            vec![
                test("ready.tracing", Good, "BTF, tracefs and perf events work"),
                test("ready.stacks", Good, "99 % unwound, 97 % symbolized over 1,405 samples"),
                test("ready.pmc", Untested, "no hardware counters in this guest"),
            ],
        ),
        day(
            "monday",
            &["it is real: workers lose 71 % of their time", "it is not just load"],
            vec![
                test("config.clocksource", Good, "tsc"),
                test("config.mount", Maybe, "/var is mounted without noatime"),
                test("config.quota", Bad, "/shop.slice may use 0.4 of 2 CPUs and is stopped in 181 of 200 periods"),
            ],
        ),
        day(
            "tuesday",
            &["it is not memory, not the network"],
            vec![
                test("cpu", Bad, "throttled 27.1 s"),
                test("disk.vda", Maybe, "p99 4.1 ms over 9,120 requests"),
                test("memory", Good, "no reclaim, no swap, PSI 0"),
                test("network", Good, "0 of 40,118 segments retransmitted"),
            ],
        ),
        day("wednesday", &["half of the CPU time is in shop::price"], vec![]),
        day("thursday", &["waits of 40 to 92 ms come once a quota period"], vec![]),
        day("friday", &[], vec![]),
    ]
}

/// The whole of it.
pub fn realistic() -> (Document, Recording) {
    let mut rec = recording();
    fill(&mut rec);
    topology::fill(&mut rec, str::to_owned);
    let mut ledger: Vec<LedgerRow> = rec.get(&catalog::THREAD_TIME).unwrap().iter().map(LedgerRow::from).collect();
    ledger.sort_by(|a, b| {
        a.shares.get("blocked.idle").unwrap_or(&0.0).total_cmp(b.shares.get("blocked.idle").unwrap_or(&0.0))
    });
    let wait = |waiter: &str, by: &str, resource: &str, seconds| WaitRow {
        waiter: waiter.into(),
        by: by.into(),
        resource: resource.into(),
        seconds,
        count: (seconds * 100.0) as u64,
        longest_s: seconds / 20.0,
    };
    let document = Document {
        schema: SCHEMA.into(),
        case: "/var/lib/friday/20261121T214400Z-shopd".into(),
        host: (&rec.host).into(),
        target: (&rec.target).into(),
        window: (&rec.window).into(),
        conclusion: Conclusion::Found,
        headline: "shopd loses up to 62 % of its time to its own CPU quota: /shop.slice may use 0.4 of 2 CPUs.".into(),
        statement: statement(),
        chosen: String::new(),
        findings: findings(),
        days: days(),
        eliminated: vec![
            Eliminated { id: "memory".into(), why: "no reclaim, no swap, PSI 0 over 20 s".into(), evidence: vec![] },
            Eliminated {
                id: "network".into(),
                why: "0 of 40,118 segments retransmitted, rtt 0.2 ms".into(),
                evidence: vec![],
            },
            Eliminated { id: "cpu.steal".into(), why: "0 ms stolen".into(), evidence: vec![] },
        ],
        ledger,
        waits: vec![
            wait("shopd (812)", "jbd2/vda1-8 (311)", "journal:vda1", 3.9),
            wait("shopd (812)", "batch (3001)", "cpu", 2.97),
            wait("jbd2/vda1-8 (311)", "backup (2044)", "disk:vda", 2.4),
            wait("shopd (812)", "shopd (812)", "lock", 1.98),
            wait("shopd (812)", "", "tcp:10.0.0.9:5432", 0.825),
        ],
        whose: vec![whose()],
        paths: vec![critical_path()],
        requests: requests(),
        upstreams: vec![database(412_000, 18.2, 14.1), UpstreamRow { server: String::new(), ..database(0, 0.0, 0.0) }],
        stacks: vec![case::StackSet {
            set: "on-CPU".into(),
            weight: 1_840.0,
            unwound: 0.985,
            symbolized: 0.96,
            not_unwound: vec![case::Reason { why: "no table".into(), part: 0.015 }],
            not_symbolized: vec![case::Reason { why: "stripped: no symbols in <b>.so".into(), part: 0.04 }],
        }],
        compared: None,
        untested: vec![
            Untested { id: "pmc".into(), why: "no hardware counters in this guest".into() },
            Untested { id: "app.pool".into(), why: "shopd's own queues were not seen".into() },
        ],
        armed: vec![case::Armed {
            probe: "system calls".into(),
            tier: 2,
            of_window: 0.4,
            why: "the target's; in slices".into(),
        }],
        overhead: Overhead::of(&rec),
    };
    (document, rec)
}

/// Text that does everything a name can do to a report.
pub const HOSTILE: &str =
    "\u{1b}[2J\u{1b}]0;x\u{7}<script>alert('x')</script>|`**_[a](b)\r\n\t\"&\u{202e}\u{200d}数🦀\u{fe0f}";

/// The same case with hostile, long or wide text wherever text can be.
pub fn hostile() -> (Document, Recording) {
    let (mut document, mut rec) = realistic();
    topology::fill(&mut rec, |name| match name.split_once(':') {
        Some(("process", _)) | None => name.to_owned(),
        Some((kind, name)) => format!("{kind}:{name}{HOSTILE}{}", "語 x".repeat(90)),
    });
    let long = format!("{HOSTILE} {} {}", "数".repeat(300), "x".repeat(400));
    let wide = "語 ".repeat(200);
    document.headline.clone_from(&long);
    document.chosen.clone_from(&wide);
    document.case.clone_from(&long);
    document.host.name.clone_from(&long);
    document.host.kernel.clone_from(&long);
    document.target.name.clone_from(&long);
    for finding in &mut document.findings {
        for text in [
            &mut finding.cause,
            &mut finding.summary,
            &mut finding.victim.name,
            &mut finding.victim.kind,
            &mut finding.culprit.name,
        ] {
            text.clone_from(&long);
        }
        finding.culprit.detail = Some(wide.clone());
        finding.experiment = Some(long.clone());
        finding.codepath = vec![long.clone(); 40];
        finding.next = vec![long.clone(); 9];
        finding.evidence = vec![Evidence::new(long.clone(), f64::MAX, long.clone()).against(wide.clone()); 5];
        finding.rank = u32::MAX;
    }
    for day in &mut document.days {
        day.day.clone_from(&long);
        day.known = vec![long.clone(); 3];
        day.tests = vec![test(&long, Light::Bad, &wide)];
    }
    let asked = UpstreamRow {
        process: long.clone(),
        peer: wide.clone(),
        server: long.clone(),
        ..document.upstreams[0].clone()
    };
    document.upstreams = vec![asked; 30];
    let service = RequestRow { service: long.clone(), path: wide.clone(), ..document.requests[0].clone() };
    document.requests = vec![service; 30];
    document.eliminated = vec![Eliminated { id: long.clone(), why: long.clone(), evidence: vec![] }; 30];
    document.untested = vec![Untested { id: wide.clone(), why: long.clone() }; 30];
    for row in &mut document.ledger {
        row.name.clone_from(&long);
        row.thread = u32::MAX;
        row.shares.insert(long.clone(), f64::MAX);
        row.shares.insert("running.user".into(), -3.0);
        row.seconds = f64::NAN;
    }
    for row in &mut document.waits {
        (row.waiter, row.by, row.resource) = (long.clone(), wide.clone(), long.clone());
        row.seconds = f64::MAX;
        (row.count, row.longest_s) = (u64::MAX, f64::NAN);
    }
    for whose in &mut document.whose {
        whose.victim.name.clone_from(&long);
        whose.knots = vec![long.clone()];
        for part in &mut whose.parts {
            (part.party, part.doing) = (long.clone(), wide.clone());
            part.path = vec![long.clone(); 5];
            (part.share, part.seconds) = (f64::MAX, f64::NAN);
        }
    }
    document.overhead.cpu_percent = f64::MAX;
    document.overhead.lost_events = u64::MAX;
    document.overhead.programs = vec![ProgramCost { name: long.clone(), ns_per_run: u64::MAX, runs: u64::MAX }];
    document.window.seconds = f64::INFINITY;
    for process in rec.processes.values_mut() {
        process.name.clone_from(&long);
    }
    for frame in &mut rec.frames {
        frame.name = format!("{long} {}", frame.name);
    }
    (document, rec)
}
