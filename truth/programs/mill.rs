//! A mill: one thread grinds, another stores what was ground durably; orders and answers go through channels.

use std::fs::File;
use std::io::Write;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

const SACKS: usize = 35;
const OWN: Duration = Duration::from_millis(10);
const GRINDS: Duration = Duration::from_millis(55);
const STORES: Duration = Duration::from_millis(45);

/// Time spent running, and waiting for the disk.
type Spent = (Duration, Duration);

fn compute(length: Duration) -> Duration {
    let begin = Instant::now();
    while begin.elapsed() < length {
        std::hint::black_box((0..20_000u64).fold(1, |sum: u64, n| std::hint::black_box(sum.wrapping_mul(31) + n)));
    }
    begin.elapsed()
}

/// For how long this thread has run or waited for a CPU.
fn cpu() -> Duration {
    #[repr(C)]
    struct Timespec(i64, i64);
    unsafe extern "C" {
        fn clock_gettime(clock: i32, time: *mut Timespec) -> i32;
    }
    let mut ran = Timespec(0, 0);
    // SAFETY: a valid place for the time; 3 is CLOCK_THREAD_CPUTIME_ID.
    unsafe { clock_gettime(3, &mut ran) };
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let queued = stat.split_whitespace().nth(1).unwrap().parse().unwrap();
    Duration::new(ran.0 as u64, ran.1 as u32) + Duration::from_nanos(queued)
}

fn store(file: &mut File) -> Spent {
    let (before, begin) = (cpu(), Instant::now());
    while begin.elapsed() < STORES {
        file.write_all(&[0; 16384]).unwrap();
        file.sync_all().unwrap();
    }
    let (whole, ran) = (begin.elapsed(), cpu() - before);
    (ran, whole.saturating_sub(ran))
}

fn worker(mut work: impl FnMut() -> Spent + Send + 'static) -> (Sender<()>, Receiver<Spent>) {
    let (orders, to_do) = channel();
    let (answers, done) = channel();
    thread::spawn(move || to_do.iter().for_each(|()| answers.send(work()).unwrap()));
    (orders, done)
}

fn main() {
    let begin = Instant::now();
    let mut file = File::create("flour").unwrap();
    let workers = [worker(|| (compute(GRINDS), Duration::ZERO)), worker(move || store(&mut file))];
    let (mut running, mut disk) = Spent::default();
    for _ in 0..SACKS {
        running += compute(OWN);
        for (orders, done) in &workers {
            orders.send(()).unwrap();
            let spent = done.recv().unwrap();
            running += spent.0;
            disk += spent.1;
        }
    }
    eprintln!("truth mill running {}", running.as_micros());
    eprintln!("truth mill disk {}", disk.as_micros());
    eprintln!("job {}", begin.elapsed().as_micros());
}
