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
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split_whitespace().take(2).map(|word| word.parse::<u64>().unwrap()).sum())
}

fn store(file: &mut File) -> Spent {
    let (begin, mut spent) = (Instant::now(), Spent::default());
    while begin.elapsed() < STORES {
        let (before, from) = (cpu(), Instant::now());
        file.write_all(&[0; 16384]).unwrap();
        file.sync_all().unwrap();
        let (whole, ran) = (from.elapsed(), cpu() - before);
        spent.0 += ran;
        spent.1 += whole.saturating_sub(ran);
    }
    spent
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
