//! Orders made by one thread, worked off by three through a channel and a lock, and written to a file from time to time.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{env, fs, thread};

type Totals = Arc<Mutex<BTreeMap<u64, u64>>>;

#[inline(never)]
fn order(seed: u64) -> Vec<u64> {
    (0..300).map(|n| (seed * 31 + n * 7919) % 1009).collect()
}

#[inline(never)]
fn describe(lines: &[u64]) -> String {
    lines.iter().map(|line| format!("{line};")).collect()
}

#[inline(never)]
fn count(totals: &Totals, text: &str) {
    let parts: Vec<u64> = text.split(';').filter_map(|part| part.parse().ok()).collect();
    let mut totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
    for part in parts {
        *totals.entry(part % 128).or_default() += part;
    }
}

fn work(orders: &Mutex<Receiver<Vec<u64>>>, totals: &Totals) {
    loop {
        let next = orders.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(mut lines) = next else { return };
        lines.sort_by(|a, b| b.cmp(a));
        count(totals, &describe(&lines));
    }
}

fn make(queue: &SyncSender<Vec<u64>>) {
    for seed in 0.. {
        if queue.send(order(seed)).is_err() {
            return;
        }
        if seed % 64 == 0 {
            thread::sleep(Duration::from_micros(200));
        }
    }
}

fn main() {
    let file = env::args().nth(1).expect("a file to write");
    let totals = Totals::default();
    let (queue, orders) = sync_channel(32);
    let orders = Arc::new(Mutex::new(orders));
    for number in 1..=3 {
        let (orders, totals) = (Arc::clone(&orders), Arc::clone(&totals));
        let named = thread::Builder::new().name(format!("work-{number}"));
        named.spawn(move || work(&orders, &totals)).expect("a thread");
    }
    thread::Builder::new().name("make".into()).spawn(move || make(&queue)).expect("a thread");
    loop {
        thread::sleep(Duration::from_millis(100));
        let text = format!("{:?}", totals.lock().unwrap_or_else(PoisonError::into_inner));
        fs::write(&file, text).expect("the file");
    }
}
