//! The kernel side: loads and attaches the one BPF object, and reads its maps.

mod budget;
mod frequent;
mod load;
mod message;
mod plain;
mod sampler;
pub(crate) mod snapshot;
pub(crate) mod trial;

pub(crate) use frequent::Frequent;
use frequent::Slices;
pub(crate) use message::refused;
pub(crate) use plain::{bytes_of, plain, rows, text};
use sampler::attach_sampler;

use crate::{goroutines::GoProgram, net::Listening, roots::Roots, session::Tier};
use libbpf_rs::{Link, MapCore, MapFlags, ProgramMut, RingBuffer, RingBufferBuilder, skel::Skel};
use observe::{Absent, ProgramCost};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    io::Read,
    mem::size_of,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    rc::Rc,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

#[allow(warnings, clippy::all, missing_docs)]
mod skeleton {
    include!(concat!(env!("OUT_DIR"), "/friday.skel.rs"));
}

use skeleton::FridaySkel;
pub(crate) use skeleton::types;

/// ours: how often the tasks are walked to make room for their clocks, a millisecond apart; the first walk serves some
/// hundred tasks at least.
const OPENING_TRIES: usize = 50;

/// Nanoseconds of the clock that `bpf_ktime_get_ns` reads.
pub(crate) fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid place for the result; CLOCK_MONOTONIC always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The groups of programs that stand or fall together, named by the first word of their programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Group {
    Ledger,
    Profile,
    Block,
    Calls,
    Lifecycle,
    Locks,
    Network,
    Memory,
    Interrupts,
    Requests,
    Goroutines,
}

impl Group {
    fn of(program: &str) -> Group {
        match program.split('_').next() {
            Some("profile") => Group::Profile,
            Some("block") => Group::Block,
            Some("call") => Group::Calls,
            Some("lifecycle") => Group::Lifecycle,
            Some("lock") => Group::Locks,
            Some("net") => Group::Network,
            Some("memory") => Group::Memory,
            Some("interrupt") => Group::Interrupts,
            Some("request") => Group::Requests,
            Some("goroutine") => Group::Goroutines,
            _ => Group::Ledger,
        }
    }
}

/// Settings of the kernel side.
pub(crate) struct Settings<'a> {
    pub roots: &'a Roots,
    pub tier: Tier,
    /// Trace the system calls of every process.
    pub everyone: bool,
    /// Or of these and their descendants.
    pub targets: Vec<u32>,
    /// What is listened on, or why nobody knows.
    pub listening: Result<Listening, Absent>,
    /// CPU profile rate, per CPU.
    pub sample_hz: u64,
    /// Walk user stacks by unwinding tables where there are any.
    pub tables: bool,
    /// Let samples through to whoever else reads the event: for comparing with another unwinder.
    pub pass_samples: bool,
}

/// The loaded and attached programs. Dropping it detaches everything.
pub(crate) struct Kernel {
    links: Vec<Link>,
    /// By `Frequent`.
    slices: [Slices; Frequent::COUNT],
    /// Whose goroutines are followed.
    go_programs: Vec<GoProgram>,
    ring: RingBuffer<'static>,
    events: Rc<RefCell<Vec<types::event>>>,
    ended: Rc<RefCell<Vec<types::thread_times>>>,
    skel: FridaySkel<'static>,
    /// Why a group is missing.
    pub absent: BTreeMap<Group, Absent>,
    /// Why user stacks are walked by frame pointers only, if they are.
    pub no_tables: Option<Absent>,
    statistics: Statistics,
    begin: u64,
}

impl Kernel {
    /// Loads and attaches what this kernel allows.
    pub fn start(settings: &Settings) -> Result<Kernel, Absent> {
        message::listen();
        let load::Loaded { skel, absent, no_tables } = load::load(settings)?;
        let events = Rc::new(RefCell::new(Vec::new()));
        let sink = Rc::clone(&events);
        let mut builder = RingBufferBuilder::new();
        builder
            .add(&skel.maps.events, move |bytes| {
                if let Some(event) = plain::<types::event>(bytes) {
                    sink.borrow_mut().push(event);
                }
                0
            })
            .map_err(|e| Absent::Failed(format!("ring buffer: {e}")))?;
        let ended = Rc::new(RefCell::new(Vec::new()));
        let ended_sink = Rc::clone(&ended);
        builder
            .add(&skel.maps.ended, move |bytes| {
                ended_sink.borrow_mut().extend(plain::<types::thread_times>(bytes));
                0
            })
            .map_err(|e| Absent::Failed(format!("ring buffer: {e}")))?;
        let ring = builder.build().map_err(|e| Absent::Failed(format!("ring buffer: {e}")))?;
        let mut kernel = Kernel {
            links: Vec::new(),
            slices: Slices::of_all(),
            go_programs: Vec::new(),
            ring,
            events,
            ended,
            skel,
            absent,
            no_tables,
            statistics: Statistics::default(),
            begin: 0,
        };
        for pid in &settings.targets {
            kernel.add_target(*pid);
        }
        match &settings.listening {
            Ok(listening) => kernel.know_listening(listening),
            Err(why) => drop(kernel.absent.entry(Group::Requests).or_insert_with(|| why.clone())),
        }
        kernel.attach(settings)?;
        kernel.begin = monotonic_ns();
        if let Some(bss) = kernel.skel.maps.bss_data.as_deref_mut() {
            // SAFETY: a valid, aligned place in the map shared with the kernel, which reads it at any time.
            unsafe { std::ptr::write_volatile(&mut bss.window_begin, kernel.begin) };
        }
        run_iterator(&kernel.skel.progs.ledger_before)?;
        Frequent::ALL.into_iter().for_each(|kind| kernel.trace(kind, true));
        kernel.list_sockets();
        Ok(kernel)
    }

    fn attach(&mut self, settings: &Settings) -> Result<(), Absent> {
        // Room for every thread's clock first: for those to come, then for those that are there.
        let progs = &self.skel.progs;
        self.links.push(progs.ledger_fork.attach_trace().map_err(|e| refused("attaching ledger_fork", &e))?);
        for _ in 0..OPENING_TRIES {
            if run_iterator(&progs.ledger_open)?.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        // What the ledger asks the others for must be there before it begins.
        let mut traced: Vec<(Group, ProgramMut<'_>)> = self
            .skel
            .object()
            .progs_mut()
            .filter(|prog| prog.autoload() && prog.section().to_string_lossy().starts_with("tp_btf/"))
            .filter(|prog| prog.name() != "ledger_fork" && Frequent::of(&prog.name().to_string_lossy()).is_none())
            .map(|prog| (Group::of(&prog.name().to_string_lossy()), prog))
            .collect();
        traced.sort_by_key(|(group, _)| *group == Group::Ledger);
        for (group, prog) in traced {
            if self.absent.contains_key(&group) {
                continue;
            }
            match prog.attach_trace() {
                Ok(link) => self.links.push(link),
                Err(error) => {
                    let why = refused(&format!("attaching {}", prog.name().to_string_lossy()), &error);
                    if group == Group::Ledger {
                        return Err(why);
                    }
                    self.absent.insert(group, why);
                }
            }
        }
        if settings.tier < Tier::Stacks {
            let why = Absent::NotCollected("stacks were not asked for (--tier)".to_owned());
            self.absent.insert(Group::Profile, why);
        } else if !self.absent.contains_key(&Group::Profile) {
            match attach_sampler(&self.skel.progs.profile_sample, settings.sample_hz) {
                Ok(samplers) => self.links.extend(samplers),
                Err(why) => drop(self.absent.insert(Group::Profile, why)),
            }
        }
        Ok(())
    }

    /// Samples at the beat of one more event.
    #[cfg(test)]
    pub fn attach_to(&mut self, event: OwnedFd) {
        use std::os::fd::IntoRawFd;
        let link = self.skel.progs.profile_sample.attach_perf_event(event.into_raw_fd());
        self.links.push(link.expect("the sampler attaches to an ordinary event"));
    }

    /// Begin of the window on the kernel's clock.
    pub fn begin(&self) -> u64 {
        self.begin
    }

    /// Has the kernel measure its programs, which makes each of them a little slower, or not.
    pub fn keep_statistics(&mut self, on: bool) {
        self.statistics.keep(on);
    }

    /// Traces the system calls of one more process.
    pub fn add_target(&mut self, pid: u32) {
        // A full table only means that this process' calls are not traced; the kernel side counts its own losses.
        let _ = self.skel.maps.targets.update(&pid.to_ne_bytes(), &[1], MapFlags::ANY);
        if let Some(bss) = self.skel.maps.bss_data.as_deref_mut() {
            let word = pid as usize / 64 % bss.target_filter.len();
            // SAFETY: a valid, aligned place in the map shared with the kernel, which may set other bits at any time.
            let word = unsafe { AtomicU64::from_ptr(&raw mut bss.target_filter[word]) };
            word.fetch_or(1 << (pid % 64), Ordering::Relaxed);
        }
    }

    /// Tells which ports are listened on, by which accepted connections are known.
    fn know_listening(&self, listening: &Listening) {
        let unknown = listening.unknown.iter().map(|netns| (*netns, 0));
        for (netns, port) in listening.ports.iter().copied().chain(unknown) {
            let key = types::accept_key { netns, port: u32::from(port) };
            // A full table only means that a service is not seen.
            let _ = self.skel.maps.net_listening.update(bytes_of(&[key]), &[1], MapFlags::ANY);
        }
    }

    /// Follows the goroutines of some processes that wait for locks.
    pub fn follow_goroutines(&mut self, programs: Vec<GoProgram>) {
        self.go_programs = programs;
        self.trace(Frequent::Goroutines, true);
    }

    /// Whose goroutines are followed.
    pub fn go_programs(&self) -> &[GoProgram] {
        &self.go_programs
    }

    /// The processes whose system calls are traced, descendants included.
    pub fn targets(&self) -> Vec<u32> {
        rows::<u32, u8>(&self.skel.maps.targets).into_iter().map(|(pid, _)| pid).collect()
    }

    /// The processes sampled so far.
    pub fn sampled(&self) -> BTreeSet<u32> {
        rows::<types::sample_key, u64>(&self.skel.maps.samples).into_iter().map(|(key, _)| key.tgid).collect()
    }

    /// Whether a program was loaded: this kernel has what it is attached to.
    pub fn serves(&self, program: &str) -> bool {
        self.skel.object().progs_mut().any(|prog| prog.autoload() && prog.name() == program)
    }

    /// Events since the last call.
    pub fn events(&mut self) -> Vec<types::event> {
        // The kernel side never wakes us: it is read when we come by.
        let _ = self.ring.consume();
        self.events.take()
    }

    /// Ends the window and detaches every program; returns its end on the kernel's clock.
    pub fn close(&mut self) -> u64 {
        let end = monotonic_ns();
        if let Some(bss) = self.skel.maps.bss_data.as_deref_mut() {
            // SAFETY: as in `start`.
            unsafe { std::ptr::write_volatile(&mut bss.window_end, end) };
        }
        let seen = Frequent::ALL.map(|kind| self.seen(kind));
        self.slices.iter_mut().zip(seen).for_each(|(slices, seen)| slices.end(end, seen));
        self.links.clear();
        self.statistics.keep(false);
        end
    }

    /// Opens the event window, or closes it; returns when, on the kernel's clock.
    pub fn stream(&mut self, on: bool) -> u64 {
        let now = monotonic_ns();
        if let Some(bss) = self.skel.maps.bss_data.as_deref_mut() {
            // SAFETY: as in `start`.
            unsafe { std::ptr::write_volatile(&mut bss.streaming, u64::from(on)) };
        }
        now
    }

    /// Whether the event window is open.
    fn streaming(&self) -> bool {
        self.skel.maps.bss_data.as_deref().is_some_and(|bss| bss.streaming != 0)
    }

    /// Has the event window say what every thread is doing; returns when, on the kernel's clock.
    pub fn moment(&self) -> Result<u64, Absent> {
        let now = monotonic_ns();
        run_iterator(&self.skel.progs.ledger_moment)?;
        Ok(now)
    }

    /// How many episodes did not fit into the event window's rings.
    pub fn lost_episodes(&self) -> u64 {
        self.skel.maps.bss_data.as_deref().map_or(0, |bss| {
            // SAFETY: as in `start`.
            unsafe { std::ptr::read_volatile(&bss.lost[types::lost_kind::LOST_EPISODES.0 as usize]) }
        })
    }

    /// Where blocked threads are in user space now.
    pub fn places(&self) -> Vec<types::place> {
        let bytes = run_iterator(&self.skel.progs.ledger_places).unwrap_or_default();
        bytes.chunks_exact(size_of::<types::place>()).filter_map(plain).collect()
    }

    /// Closes every living thread's books and returns them, with those of threads that ended; call once, after
    /// [`Kernel::close`].
    pub fn close_books(&self) -> Result<Vec<types::thread_times>, Absent> {
        let bytes = run_iterator(&self.skel.progs.ledger_close)?;
        let _ = self.ring.consume();
        let living = bytes.chunks_exact(size_of::<types::thread_times>()).filter_map(plain);
        Ok(living.chain(self.ended.take()).collect())
    }

    /// Has the sockets that are there noted, so that those to come are known to be new; what was not read is in flight.
    fn list_sockets(&mut self) {
        if self.absent.contains_key(&Group::Requests) || run_iterator(&self.skel.progs.request_before).is_err() {
            return;
        }
        if let Some(bss) = self.skel.maps.bss_data.as_deref_mut() {
            let slice = bss.attached_since[Frequent::Requests as usize];
            // SAFETY: as in `start`.
            unsafe { std::ptr::write_volatile(&mut bss.requests_listed, slice) };
        }
    }

    /// Requests and questions without an answer; after [`Kernel::close`].
    pub fn requests_left(&self) -> Result<Vec<types::request_open>, Absent> {
        let bytes = run_iterator(&self.skel.progs.request_left)?;
        Ok(bytes.chunks_exact(size_of::<types::request_open>()).filter_map(plain).collect())
    }

    /// The maps, to be read after [`Kernel::close_books`].
    pub fn maps(&self) -> &skeleton::FridayMaps<'static> {
        &self.skel.maps
    }

    /// What did not fit, by what it was; kinds without a loss are left out. A program that interrupts itself does not run.
    pub fn lost(&self) -> BTreeMap<String, u64> {
        const KINDS: [&str; 5] =
            ["table rows", "stacks", "events of threads without a record", "events", "episodes of the event window"];
        let dropped = self.skel.maps.bss_data.as_deref().map_or([0; KINDS.len()], |bss| {
            // SAFETY: as in `start`.
            unsafe { std::ptr::read_volatile(&bss.lost) }
        });
        let missed = self.program_infos().into_iter().map(|p| (format!("runs of {}", p.name), p.recursion_misses));
        KINDS.into_iter().map(str::to_owned).zip(dropped).chain(missed).filter(|(_, count)| *count > 0).collect()
    }

    /// For how long the kernel measured its programs; zero when it would not.
    pub fn measured(&self) -> Duration {
        self.statistics.kept
    }

    /// Mean cost and number of runs of each program while they were measured.
    pub fn costs(&self) -> Vec<ProgramCost> {
        self.program_infos()
            .into_iter()
            .filter(|p| p.runs > 0)
            .map(|p| ProgramCost { name: p.name, ns_per_run: p.ns / p.runs, runs: p.runs })
            .collect()
    }

    fn program_infos(&self) -> Vec<ProgramInfo> {
        let programs = self.skel.object().progs_mut().filter(|prog| prog.autoload());
        programs
            .filter_map(|prog| {
                let mut info = libbpf_rs::libbpf_sys::bpf_prog_info::default();
                let mut len = size_of::<libbpf_rs::libbpf_sys::bpf_prog_info>() as u32;
                // SAFETY: a valid descriptor and a zeroed structure of the length given.
                let rc = unsafe {
                    libbpf_rs::libbpf_sys::bpf_prog_get_info_by_fd(prog.as_fd().as_raw_fd(), &mut info, &mut len)
                };
                (rc == 0).then(|| ProgramInfo {
                    name: prog.name().to_string_lossy().into_owned(),
                    ns: info.run_time_ns,
                    runs: info.run_cnt,
                    recursion_misses: info.recursion_misses,
                })
            })
            .collect()
    }
}

struct ProgramInfo {
    name: String,
    ns: u64,
    runs: u64,
    recursion_misses: u64,
}

/// Run-time statistics of BPF programs for as long as a descriptor is open; the sysctl stays as it is.
#[derive(Default)]
struct Statistics {
    open: Option<(OwnedFd, u64)>,
    kept: Duration,
}

impl Statistics {
    fn keep(&mut self, on: bool) {
        if on == self.open.is_some() {
            return;
        }
        if let Some((_, since)) = self.open.take() {
            self.kept += Duration::from_nanos(monotonic_ns() - since);
            return;
        }
        // SAFETY: takes a constant, returns a new descriptor or a negative error.
        let fd = unsafe { libbpf_rs::libbpf_sys::bpf_enable_stats(libbpf_rs::libbpf_sys::BPF_STATS_RUN_TIME) };
        if fd >= 0 {
            // SAFETY: a new descriptor that nobody else owns.
            self.open = Some((unsafe { OwnedFd::from_raw_fd(fd) }, monotonic_ns()));
        }
    }
}

/// Runs an iterator program over every task, or every descriptor of one; returns what it wrote.
fn run_iterator(prog: &ProgramMut<'_>) -> Result<Vec<u8>, Absent> {
    let failed = |e: libbpf_rs::Error| refused("walking the tasks", &e);
    let link = prog.attach_iter_with_opts(libbpf_rs::IterOpts::None).map_err(failed)?;
    let mut bytes = Vec::new();
    libbpf_rs::Iter::new(&link)
        .map_err(failed)?
        .read_to_end(&mut bytes)
        .map_err(|e| Absent::Failed(format!("walking the tasks: {e}")))?;
    Ok(bytes)
}
