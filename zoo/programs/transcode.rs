//! Reads frames in one thread and packs them in another, which asks whether the next frame is there and gives its turn
//! away until it is. Models waiting by sched_yield.
//! usage: PROGRAM

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

static READY: AtomicU64 = AtomicU64::new(0);
static PACKED: AtomicU64 = AtomicU64::new(0);

fn read_frames() {
    loop {
        std::thread::sleep(Duration::from_millis(8));
        READY.fetch_add(1, Ordering::Release);
    }
}

#[inline(never)]
fn next_frame(done: u64) -> u64 {
    while READY.load(Ordering::Acquire) <= done {
        std::thread::yield_now();
    }
    done + 1
}

#[inline(never)]
fn pack_frame(frame: u64) -> u64 {
    (0..300_000).fold(frame, |seed, _| seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1))
}

fn main() {
    std::thread::Builder::new().name("reader".into()).spawn(read_frames).unwrap();
    let mut done = 0;
    loop {
        done = next_frame(done);
        PACKED.fetch_add(pack_frame(done), Ordering::Relaxed);
    }
}
