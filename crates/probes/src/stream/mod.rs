//! The event window: for a few seconds every time off a CPU is streamed, so that the exact order of things is known.

mod collect;

pub(crate) use collect::collect;

use crate::bpf::{Kernel, bytes_of, plain, types};
use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType, RingBufferBuilder};
use observe::{Absent, AnyMetric, catalog};
use std::{
    cell::RefCell,
    collections::HashMap,
    mem::size_of,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// What the event window tells.
pub(crate) const METRICS: &[&dyn AnyMetric] = &[&catalog::EPISODES, &catalog::EPISODE_WAITS, &catalog::EVENT_WINDOW];

/// ours: all rings together, in bytes; those of one CPU hold at most a few hundred milliseconds of a storm.
const ALL_RINGS: u32 = 16 << 20;
const LARGEST_RING: u32 = 4 << 20;
const SMALLEST_RING: u32 = 256 << 10;

/// The reader comes by that often, and whenever a ring is half full.
const READ_EVERY: Duration = Duration::from_millis(50);

/// When the event window opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Since the window began.
    pub after: Duration,
    /// At most.
    pub length: Duration,
    /// So many episodes and requests end it early: each takes 0.4 KB until it is stored.
    pub most: usize,
}

/// An open event window. A thread of its own reads it.
pub(crate) struct Stream {
    begin: u64,
    stop: Arc<AtomicBool>,
    full: Arc<AtomicBool>,
    reader: JoinHandle<Result<Read, Absent>>,
}

/// What the reader has read: episodes, what was seen of their waits where they were looked at, and requests.
#[derive(Default)]
struct Read {
    episodes: Vec<(types::episode, Option<u32>)>,
    waits: Vec<types::wait_key>,
    /// Requests, each with what was answered last.
    requests: HashMap<(u64, u64, u32), types::request_span>,
    known: HashMap<Vec<u8>, u32>,
}

/// What came of it. Times are on the kernel's clock.
pub(crate) struct Streamed {
    pub begin: u64,
    pub end: u64,
    pub episodes: Vec<(types::episode, Option<u32>)>,
    pub waits: Vec<types::wait_key>,
    pub requests: Vec<types::request_span>,
    pub lost: u64,
}

impl Stream {
    /// Makes the rings and lets the kernel side fill them.
    pub fn open(kernel: &mut Kernel, most: usize) -> Result<Stream, Absent> {
        let cpus = libbpf_rs::num_possible_cpus().unwrap_or(1).min(kernel.maps().episodes.max_entries() as usize);
        let each = (ALL_RINGS / cpus as u32).clamp(SMALLEST_RING, LARGEST_RING);
        let size = 1 << each.ilog2();
        let failed = |error| Absent::Failed(format!("rings for the event window: {error}"));
        let options = libbpf_rs::libbpf_sys::bpf_map_create_opts {
            sz: size_of::<libbpf_rs::libbpf_sys::bpf_map_create_opts>() as _,
            ..Default::default()
        };
        let mut rings = Vec::with_capacity(cpus);
        for cpu in 0..cpus as u32 {
            use std::os::fd::{AsFd, AsRawFd};
            let ring = MapHandle::create(MapType::RingBuf, Some("episodes"), 0, 0, size, &options).map_err(failed)?;
            let fd = ring.as_fd().as_raw_fd().to_ne_bytes();
            kernel.maps().episodes.update(&cpu.to_ne_bytes(), &fd, MapFlags::ANY).map_err(failed)?;
            rings.push(ring);
        }
        let (stop, full) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (stop_there, full_there) = (Arc::clone(&stop), Arc::clone(&full));
        let reader = thread::Builder::new()
            .name("events".to_owned())
            .spawn(move || read(&rings, &stop_there, &full_there, most))
            .map_err(|error| Absent::Failed(format!("a thread for the event window: {error}")))?;
        let begin = kernel.stream(true);
        Ok(Stream { begin, stop, full, reader })
    }

    /// Whether it holds all that it may.
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Notes what every thread is doing, and ends it.
    pub fn close(self, kernel: &mut Kernel) -> Result<Streamed, Absent> {
        let end = kernel.moment()?;
        kernel.stream(false);
        self.stop.store(true, Ordering::Relaxed);
        let read = self.reader.join().map_err(|_| Absent::Failed("reading the event window".to_owned()))??;
        Ok(Streamed {
            begin: self.begin,
            end,
            episodes: read.episodes,
            waits: read.waits,
            requests: read.requests.into_values().collect(),
            lost: kernel.lost_episodes(),
        })
    }
}

/// Reads the rings until told to stop, and then what is still in them.
fn read(rings: &[MapHandle], stop: &AtomicBool, full: &AtomicBool, most: usize) -> Result<Read, Absent> {
    let read = Rc::new(RefCell::new(Read::default()));
    let failed = |error| Absent::Failed(format!("reading the event window: {error}"));
    let mut builder = RingBufferBuilder::new();
    for ring in rings {
        let sink = Rc::clone(&read);
        builder
            .add(ring, move |bytes| {
                sink.borrow_mut().take(bytes);
                0
            })
            .map_err(failed)?;
    }
    let buffer = builder.build().map_err(failed)?;
    while !stop.load(Ordering::Relaxed) {
        buffer.poll(READ_EVERY).map_err(failed)?;
        buffer.consume().map_err(failed)?;
        full.store(read.borrow().held() >= most, Ordering::Relaxed);
    }
    buffer.consume().map_err(failed)?;
    drop(buffer);
    Ok(read.take())
}

impl Read {
    fn held(&self) -> usize {
        self.episodes.len() + self.requests.len()
    }

    fn take(&mut self, bytes: &[u8]) {
        if bytes.len() == size_of::<types::request_span>() {
            let Some(span) = plain::<types::request_span>(bytes) else { return };
            // Each CPU has a ring of its own: what comes later may have been told earlier.
            let last = self.requests.entry((span.connection, span.begin, span.side)).or_insert(span);
            if last.answered_at <= span.answered_at {
                *last = span;
            }
            return;
        }
        let Some(episode) = plain::<types::episode>(bytes) else { return };
        let wait = plain::<types::seen_episode>(bytes).map(|seen| {
            let key = bytes_of(std::slice::from_ref(&seen.key));
            match self.known.get(key) {
                Some(at) => *at,
                None => {
                    let at = self.waits.len() as u32;
                    self.known.insert(key.to_vec(), at);
                    self.waits.push(seen.key);
                    at
                }
            }
        });
        self.episodes.push((episode, wait));
    }
}
