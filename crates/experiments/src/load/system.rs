//! What do system calls, the clock, switches between threads, and new processes cost?

use super::{Benchmark, Place, Values, failed};
use observe::Observed;
use std::{
    io::{PipeReader, PipeWriter, Read, Write},
    process::{Command, Stdio},
    thread,
    time::Instant,
};

/// Tells a slow clock source.
pub const CLOCK_GETTIME: Benchmark = Benchmark {
    id: "load.clock-gettime",
    group: "time",
    about: "clock_gettime(CLOCK_MONOTONIC)",
    unit: "µs",
    bound: "450,000 calls, 2 s at 4.5 µs each",
    more_is_better: false,
    run: |_| {
        let now = || {
            std::hint::black_box(Instant::now());
        };
        let each = (0..9).map(|_| microseconds(50_000, now)).collect();
        Ok(Values::new(each, "this clock source")
            .slow_from(0.3, "tsc takes 0.03 to 0.1 µs, hpet 4.5 µs (Gregg, Systems Performance, 2nd ed., 6.6)"))
    },
};

/// Tells mitigations, tracers, audit and seccomp.
pub const SYSCALL: Benchmark = Benchmark {
    id: "load.syscall",
    group: "kernel",
    about: "getppid, a call that does nothing",
    unit: "µs",
    bound: "450,000 calls",
    more_is_better: false,
    run: |_| {
        let call = || {
            // SAFETY: no arguments, cannot fail.
            std::hint::black_box(unsafe { libc::syscall(libc::SYS_getppid) });
        };
        let each = (0..9).map(|_| microseconds(50_000, call)).collect();
        Ok(Values::new(each, "one CPU").slow_from(1.0, "ours: 0.05 to 0.5 µs with mitigations on"))
    },
};

/// Tells the scheduler's own cost.
pub const CONTEXT_SWITCH: Benchmark = Benchmark {
    id: "load.context-switch",
    group: "sched",
    about: "a byte to another thread on the same CPU and back, by two pipes",
    unit: "µs",
    bound: "27,000 switches",
    more_is_better: false,
    run: context_switch,
};

/// What a shell pays for each command.
pub const FORK_EXEC: Benchmark = Benchmark {
    id: "load.fork-exec",
    group: "processes",
    about: "starting /bin/true and waiting for it",
    unit: "ms",
    bound: "60 processes, one after the other",
    more_is_better: false,
    run: |_| {
        let mut each = Vec::new();
        for _ in 0..60 {
            let began = Instant::now();
            let mut command = Command::new("/bin/true");
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command.status().map_err(failed("/bin/true"))?;
            each.push(began.elapsed().as_secs_f64() * 1e3);
        }
        Ok(Values::new(each, "/bin/true").slow_from(10.0, "ours: 0.5 to 3 ms"))
    },
};

/// The mean time of a call, in microseconds.
fn microseconds(times: u32, call: impl Fn()) -> f64 {
    let began = Instant::now();
    for _ in 0..times {
        call();
    }
    began.elapsed().as_secs_f64() * 1e6 / f64::from(times)
}

/// Back and forth in one repetition, each of which is two switches.
const TURNS: u32 = 1500;

fn context_switch(_: &Place) -> Observed<Values> {
    let pipe = || std::io::pipe().map_err(failed("a pipe"));
    let ((asked, ask), (answered, answer)) = (pipe()?, pipe()?);
    // The one on which this thread runs: it may use that.
    // SAFETY: no arguments, cannot fail.
    let cpu = usize::try_from(unsafe { libc::sched_getcpu() }).unwrap_or(0);
    // Both in threads of their own, so that nothing of this one is changed.
    let other = thread::spawn(move || answers(cpu, asked, answer));
    let asks = thread::spawn(move || asks(cpu, ask, answered));
    let each = asks.join().unwrap_or_default();
    let _ = other.join();
    Ok(Values::new(each, format!("CPU {cpu}")).slow_from(15.0, "ours: 1 to 5 µs, some more in a guest"))
}

/// Answers each byte with a byte, until there are no more.
fn answers(cpu: usize, mut asked: PipeReader, mut answer: PipeWriter) {
    pin(cpu);
    let mut byte = [0];
    while asked.read_exact(&mut byte).and_then(|()| answer.write_all(&byte)).is_ok() {}
}

/// The mean time of a switch in each of nine repetitions, in microseconds.
fn asks(cpu: usize, mut ask: PipeWriter, mut answered: PipeReader) -> Vec<f64> {
    pin(cpu);
    let mut byte = [0];
    (0..9)
        .map_while(|_| {
            let began = Instant::now();
            for _ in 0..TURNS {
                ask.write_all(&byte).and_then(|()| answered.read_exact(&mut byte)).ok()?;
            }
            Some(began.elapsed().as_secs_f64() * 1e6 / f64::from(2 * TURNS))
        })
        .collect()
}

/// Keeps the calling thread on one CPU. Where that is refused it stays free, and the two may be on different ones.
fn pin(cpu: usize) {
    // SAFETY: a set on the stack that is filled before it is used.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, std::mem::size_of::<libc::cpu_set_t>(), &set);
    }
}
