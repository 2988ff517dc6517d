//! The kernel side: opens, loads and attaches the one BPF object, and reads its maps.

use crate::roots::Roots;
use libbpf_rs::{
    Link, MapCore, MapFlags, RingBuffer, RingBufferBuilder,
    btf::Btf,
    skel::{OpenSkel, SkelBuilder},
};
use observe::{Absent, ProgramCost};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    io::Read,
    mem::{MaybeUninit, size_of, size_of_val},
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    path::Path,
    rc::Rc,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

#[allow(warnings, clippy::all, missing_docs)]
mod skeleton {
    include!(concat!(env!("OUT_DIR"), "/friday.skel.rs"));
}

pub(crate) use skeleton::types;
use skeleton::{FridaySkel, FridaySkelBuilder, OpenFridaySkel};

/// A plain value that the kernel side writes and any bytes of which are valid.
///
/// # Safety
/// The type must have no padding that matters, no pointer and no invalid bit pattern.
pub(crate) unsafe trait Plain: Copy {}

macro_rules! plain {
    ($($name:ty),* $(,)?) => {
        // SAFETY: integers and arrays of integers only.
        $(unsafe impl Plain for $name {})*
    };
}

plain!(
    u8,
    u32,
    u64,
    types::wait_key,
    types::wait_value,
    types::blame_key,
    types::kernel_stack,
    types::user_stack,
    types::hist,
    types::thread_times,
    types::sample_key,
    types::call_key,
    types::call_value,
    types::error_key,
    types::error_value,
    types::block_key,
    types::block_value,
    types::file_key,
    types::file_name,
    types::event,
    types::unwind_row,
    types::unwind_range,
    types::unwind_process,
);

/// Reads a plain value from the front of some bytes.
pub(crate) fn plain<T: Plain>(bytes: &[u8]) -> Option<T> {
    (bytes.len() >= size_of::<T>()).then(|| {
        // SAFETY: the length was checked and any bytes are a valid `T`.
        unsafe { bytes.as_ptr().cast::<T>().read_unaligned() }
    })
}

/// The bytes of plain values.
pub(crate) fn bytes_of<T: Plain>(values: &[T]) -> &[u8] {
    // SAFETY: the values are initialized, without padding that matters, and borrowed for as long.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

/// A C string in a fixed array, lossily.
pub(crate) fn text(bytes: &[i8]) -> String {
    let bytes: Vec<u8> = bytes.iter().take_while(|b| **b != 0).map(|b| *b as u8).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Nanoseconds of the clock that `bpf_ktime_get_ns` reads.
pub(crate) fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid place for the result; CLOCK_MONOTONIC always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The groups of programs that stand or fall together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Group {
    Ledger,
    Profile,
    Block,
    Calls,
    Lifecycle,
}

impl Group {
    const ALL: [Group; 5] = [Group::Ledger, Group::Profile, Group::Block, Group::Calls, Group::Lifecycle];

    fn of(program: &str) -> Group {
        match program.split('_').next() {
            Some("profile") => Group::Profile,
            Some("block") => Group::Block,
            Some("call") => Group::Calls,
            Some("lifecycle") => Group::Lifecycle,
            _ => Group::Ledger,
        }
    }
}

/// Settings of the kernel side.
pub(crate) struct Settings<'a> {
    pub roots: &'a Roots,
    /// Trace the system calls of every process.
    pub everyone: bool,
    /// Or of these and their descendants.
    pub targets: Vec<u32>,
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
    ring: RingBuffer<'static>,
    events: Rc<RefCell<Vec<types::event>>>,
    skel: FridaySkel<'static>,
    /// Why a group is missing.
    pub absent: BTreeMap<Group, Absent>,
    /// Why user stacks are walked by frame pointers only, if they are.
    pub no_tables: Option<Absent>,
    statistics: Option<OwnedFd>,
    begin: u64,
}

impl Kernel {
    /// Loads and attaches what this kernel allows.
    pub fn start(settings: &Settings) -> Result<Kernel, Absent> {
        let btf = read_btf(&settings.roots.btf)?;
        libbpf_rs::set_print(Some((libbpf_rs::PrintLevel::Warn, keep_message)));
        let statistics = enable_statistics();
        let mut absent = BTreeMap::new();
        let mut no_tables = cannot_walk(settings, &btf);
        let skel = load(settings, &btf, &mut absent, &mut no_tables)?;
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
        let ring = builder.build().map_err(|e| Absent::Failed(format!("ring buffer: {e}")))?;
        let mut kernel = Kernel { links: Vec::new(), ring, events, skel, absent, no_tables, statistics, begin: 0 };
        for pid in &settings.targets {
            kernel.add_target(*pid);
        }
        kernel.attach(settings.sample_hz)?;
        kernel.begin = monotonic_ns();
        if let Some(bss) = kernel.skel.maps.bss_data.as_deref_mut() {
            // SAFETY: a valid, aligned place in the map shared with the kernel, which reads it at any time.
            unsafe { std::ptr::write_volatile(&mut bss.window_begin, kernel.begin) };
        }
        Ok(kernel)
    }

    fn attach(&mut self, sample_hz: u64) -> Result<(), Absent> {
        let progs = &mut self.skel.progs;
        let mut links = Vec::new();
        // Room for every thread's clock first: for those to come, then for those that are there.
        links.push(progs.ledger_fork.attach_trace().map_err(|e| refused("attaching ledger_fork", &e))?);
        for _ in 0..OPENING_TRIES {
            if run_iterator(&progs.ledger_open)?.is_empty() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        for prog in [
            &mut progs.lifecycle_fork,
            &mut progs.lifecycle_exec,
            &mut progs.lifecycle_exit,
            &mut progs.block_complete,
            &mut progs.block_issue,
            &mut progs.block_insert,
            &mut progs.block_start,
            &mut progs.ledger_softirq_entry,
            &mut progs.ledger_softirq_exit,
            &mut progs.ledger_new,
            &mut progs.ledger_waking,
            &mut progs.ledger_switch,
            &mut progs.call_enter,
            &mut progs.call_exit,
        ] {
            let group = Group::of(&prog.name().to_string_lossy());
            if !prog.autoload() || self.absent.contains_key(&group) {
                continue;
            }
            match prog.attach_trace() {
                Ok(link) => links.push(link),
                Err(error) => {
                    let why = refused(&format!("attaching {}", prog.name().to_string_lossy()), &error);
                    if group == Group::Ledger {
                        return Err(why);
                    }
                    self.absent.insert(group, why);
                }
            }
        }
        if let Entry::Vacant(absent) = self.absent.entry(Group::Profile) {
            match attach_sampler(&progs.profile_sample, sample_hz) {
                Ok(samplers) => links.extend(samplers),
                Err(why) => {
                    absent.insert(why);
                }
            }
        }
        self.links = links;
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

    /// The processes whose system calls are traced, descendants included.
    pub fn targets(&self) -> Vec<u32> {
        rows::<u32, u8>(&self.skel.maps.targets).into_iter().map(|(pid, _)| pid).collect()
    }

    /// The processes sampled so far.
    pub fn sampled(&self) -> BTreeSet<u32> {
        rows::<types::sample_key, u64>(&self.skel.maps.samples).into_iter().map(|(key, _)| key.tgid).collect()
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
        self.links.clear();
        end
    }

    /// Closes every living thread's books and returns them; call once, after [`Kernel::close`].
    pub fn close_books(&self) -> Result<Vec<types::thread_times>, Absent> {
        let bytes = run_iterator(&self.skel.progs.ledger_close)?;
        Ok(bytes.chunks_exact(size_of::<types::thread_times>()).filter_map(plain).collect())
    }

    /// The maps, to be read after [`Kernel::close_books`].
    pub fn maps(&self) -> &skeleton::FridayMaps<'static> {
        &self.skel.maps
    }

    /// Rows, stacks and events that did not fit.
    pub fn lost(&self) -> u64 {
        let dropped = self.skel.maps.bss_data.as_deref().map_or(0, |bss| {
            // SAFETY: as in `start`.
            unsafe { std::ptr::read_volatile(&bss.lost) }
        });
        dropped + self.program_infos().iter().map(|p| p.recursion_misses).sum::<u64>()
    }

    /// How many user stacks were taken, by `unwind_end`.
    pub fn stack_ends(&self) -> [u64; types::unwind_end::UNWIND_ENDS.0 as usize] {
        self.skel.maps.bss_data.as_deref().map_or_else(Default::default, |bss| {
            // SAFETY: as in `start`.
            unsafe { std::ptr::read_volatile(&bss.unwind_ends) }
        })
    }

    /// Mean cost and number of runs of each program; empty when the kernel did not keep statistics.
    pub fn costs(&self) -> Vec<ProgramCost> {
        if self.statistics.is_none() {
            return Vec::new();
        }
        self.program_infos()
            .into_iter()
            .filter(|p| p.runs > 0)
            .map(|p| ProgramCost { name: p.name, ns_per_run: p.ns / p.runs, runs: p.runs })
            .collect()
    }

    fn program_infos(&self) -> Vec<ProgramInfo> {
        let progs = &self.skel.progs;
        [
            &progs.ledger_switch,
            &progs.ledger_waking,
            &progs.ledger_new,
            &progs.ledger_fork,
            &progs.ledger_softirq_entry,
            &progs.ledger_softirq_exit,
            &progs.profile_sample,
            &progs.block_start,
            &progs.block_insert,
            &progs.block_issue,
            &progs.block_complete,
            &progs.call_enter,
            &progs.call_exit,
            &progs.lifecycle_fork,
            &progs.lifecycle_exec,
            &progs.lifecycle_exit,
        ]
        .into_iter()
        .filter(|prog| prog.autoload())
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

/// ours: how often the tasks are walked to make room for their clocks, a millisecond apart; the first walk serves some
/// hundred tasks at least.
const OPENING_TRIES: usize = 50;

/// Runs an iterator program over every task; returns what it wrote.
fn run_iterator(prog: &libbpf_rs::ProgramMut<'_>) -> Result<Vec<u8>, Absent> {
    let failed = |e: libbpf_rs::Error| refused("walking the tasks", &e);
    let link = prog.attach_iter_with_opts(libbpf_rs::IterOpts::None).map_err(failed)?;
    let mut bytes = Vec::new();
    libbpf_rs::Iter::new(&link)
        .map_err(failed)?
        .read_to_end(&mut bytes)
        .map_err(|e| Absent::Failed(format!("walking the tasks: {e}")))?;
    Ok(bytes)
}

/// Every row of a hash map. Read in one batch of the map's size: the kernel ends a smaller batch early where the next
/// bucket does not fit, which libbpf-rs 0.27.2 takes for the end of the map. Memory that is not filled is not touched.
pub(crate) fn rows<K: Plain, V: Plain>(map: &impl MapCore) -> Vec<(K, V)> {
    if let Ok(batch) = map.lookup_batch(map.max_entries(), MapFlags::ANY, MapFlags::ANY) {
        return batch.filter_map(|(key, value)| Some((plain(&key)?, plain(&value)?))).collect();
    }
    map.keys()
        .filter_map(|key| {
            let value = map.lookup(&key, MapFlags::ANY).ok()??;
            Some((plain(&key)?, plain(&value)?))
        })
        .collect()
}

fn read_btf(path: &Path) -> Result<Btf<'static>, Absent> {
    if !path.exists() {
        return Err(Absent::Unsupported(format!(
            "the kernel has no type information at {}: it takes a kernel built with CONFIG_DEBUG_INFO_BTF \
             (standard since Debian 11, Ubuntu 20.10, RHEL 8.2), or --btf FILE",
            path.display()
        )));
    }
    Btf::from_path(path)
        .map_err(|e| Absent::Unsupported(format!("{} is not usable kernel type information: {e}", path.display())))
}

/// Why user stacks cannot be walked by tables here.
fn cannot_walk(settings: &Settings, btf: &Btf) -> Option<Absent> {
    if !settings.tables {
        return Some(Absent::NotCollected("unwinding tables were not asked for".to_owned()));
    }
    if cfg!(not(target_arch = "x86_64")) {
        return Some(Absent::Unsupported("unwinding tables are there for x86-64 only".to_owned()));
    }
    let helpers = btf.type_by_name::<libbpf_rs::btf::types::Enum<'_>>("bpf_func_id")?;
    let has = helpers.iter().any(|helper| helper.name.is_some_and(|name| name == "BPF_FUNC_task_pt_regs"));
    (!has).then(|| {
        Absent::Unsupported("unwinding tables need Linux 5.15: the registers of user space are not shown".into())
    })
}

fn load(
    settings: &Settings,
    btf: &Btf,
    absent: &mut BTreeMap<Group, Absent>,
    no_tables: &mut Option<Absent>,
) -> Result<FridaySkel<'static>, Absent> {
    if no_tables.is_none() {
        match try_load(settings, btf, &[], true) {
            Ok(skel) => return Ok(skel),
            Err(why) => *no_tables = Some(why),
        }
    }
    let first = match try_load(settings, btf, &[], false) {
        Ok(skel) => return Ok(skel),
        Err(why) => why,
    };
    if matches!(first, Absent::NoPermission(_)) {
        return Err(first);
    }
    // One refused program fails the whole object: leave out one optional group, then all of them.
    let optional = &Group::ALL[1..];
    for group in optional {
        if let Ok(skel) = try_load(settings, btf, &[*group], false) {
            absent.insert(*group, first);
            return Ok(skel);
        }
    }
    let skel = try_load(settings, btf, optional, false)?;
    for group in optional {
        absent.insert(*group, first.clone());
    }
    Ok(skel)
}

fn try_load(settings: &Settings, btf: &Btf, without: &[Group], tables: bool) -> Result<FridaySkel<'static>, Absent> {
    let mut builder = FridaySkelBuilder::default();
    if settings.roots.btf != Path::new(Roots::KERNEL_BTF) {
        builder
            .obj_builder
            .btf_custom_path(&settings.roots.btf)
            .map_err(|e| Absent::Failed(format!("type information: {e}")))?;
    }
    // The object lives as long as the process: the skeleton borrows its place.
    let place = Box::leak(Box::new(MaybeUninit::uninit()));
    let mut open: OpenFridaySkel<'static> =
        builder.open(place).map_err(|e| Absent::Failed(format!("opening the BPF object: {e}")))?;
    let has =
        |name: &str| btf.type_by_name::<libbpf_rs::btf::types::Typedef<'_>>(&format!("btf_trace_{name}")).is_some();
    let has_start = has("block_io_start");
    let progs = &mut open.progs;
    progs.block_start.set_autoload(has_start);
    progs.block_insert.set_autoload(!has_start);
    for prog in [
        &mut progs.profile_sample,
        &mut progs.block_start,
        &mut progs.block_insert,
        &mut progs.block_issue,
        &mut progs.block_complete,
        &mut progs.call_enter,
        &mut progs.call_exit,
        &mut progs.lifecycle_fork,
        &mut progs.lifecycle_exec,
        &mut progs.lifecycle_exit,
    ] {
        if without.contains(&Group::of(&prog.name().to_string_lossy())) {
            prog.set_autoload(false);
        }
    }
    if let Some(settings_of) = open.maps.rodata_data.as_deref_mut() {
        settings_of.self_tgid = std::process::id();
        settings_of.cpus = libbpf_rs::num_possible_cpus().unwrap_or(1) as u32;
        settings_of.pass_samples = u32::from(settings.pass_samples);
        settings_of.unwind_by_tables = u32::from(tables);
        settings_of.trace_everyone = u32::from(settings.everyone);
        crate::syscalls::describe(&mut settings_of.calls);
    }
    open.load().map_err(|e| refused("loading the BPF programs", &e))
}

/// What libbpf said last, for the case that loading fails.
static MESSAGES: Mutex<String> = Mutex::new(String::new());

fn keep_message(_: libbpf_rs::PrintLevel, message: String) {
    if let Ok(mut kept) = MESSAGES.lock() {
        kept.push_str(&message);
    }
}

/// The verifier's last words, or libbpf's; empty when nothing was said.
fn last_message() -> String {
    let mut kept = MESSAGES.lock().map(|mut kept| std::mem::take(&mut *kept)).unwrap_or_default();
    if std::env::var_os("FRIDAY_BPF_LOG").is_some() {
        let from = kept.len().saturating_sub(6000);
        eprintln!("{}", &kept[from..]);
    }
    kept.retain(|c| c != '\r');
    let telling = |line: &&str| !line.is_empty() && !line.starts_with("processed ") && !line.starts_with("-- END");
    kept.lines().rfind(telling).unwrap_or_default().trim().to_owned()
}

/// Sorts an error of the bpf system call into what a person can do about it.
pub(crate) fn refused(what: &str, error: &libbpf_rs::Error) -> Absent {
    // SAFETY: no arguments, cannot fail.
    let root = unsafe { libc::geteuid() } == 0;
    match error.kind() {
        libbpf_rs::ErrorKind::PermissionDenied if !root => Absent::NoPermission(format!(
            "{what} was refused: run as root, or with CAP_BPF, CAP_PERFMON and CAP_SYS_RESOURCE"
        )),
        _ => Absent::Failed(format!("{what}: {error:#} ({})", last_message())),
    }
}

/// Run-time statistics of BPF programs for as long as the descriptor is open; the sysctl stays as it is.
fn enable_statistics() -> Option<OwnedFd> {
    // SAFETY: takes a constant, returns a new descriptor or a negative error.
    let fd = unsafe { libbpf_rs::libbpf_sys::bpf_enable_stats(libbpf_rs::libbpf_sys::BPF_STATS_RUN_TIME) };
    // SAFETY: a new descriptor that nobody else owns.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches the sampler to the software CPU clock of every CPU.
fn attach_sampler(prog: &libbpf_rs::ProgramMut<'_>, hz: u64) -> Result<Vec<Link>, Absent> {
    let mut links = Vec::new();
    let mut first_error = None;
    for cpu in 0..libbpf_rs::num_possible_cpus().unwrap_or(1) {
        let mut attr = libbpf_rs::libbpf_sys::perf_event_attr {
            type_: 1,  // PERF_TYPE_SOFTWARE
            config: 0, // PERF_COUNT_SW_CPU_CLOCK
            size: size_of::<libbpf_rs::libbpf_sys::perf_event_attr>() as u32,
            ..Default::default()
        };
        attr.__bindgen_anon_1.sample_freq = hz;
        attr.set_freq(1);
        // SAFETY: a valid attribute structure with its size; the other arguments are plain numbers.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                &attr,
                -1,
                cpu as libc::c_int,
                -1,
                8, /* PERF_FLAG_FD_CLOEXEC */
            )
        };
        if fd < 0 {
            // A CPU that is possible but not online answers ENODEV.
            first_error.get_or_insert_with(std::io::Error::last_os_error);
            continue;
        }
        match prog.attach_perf_event(fd as i32) {
            Ok(link) => links.push(link),
            Err(error) => {
                // SAFETY: the descriptor was opened above and no link took it.
                unsafe { libc::close(fd as i32) };
                return Err(refused("attaching the CPU profile", &error));
            }
        }
    }
    match (links.is_empty(), first_error) {
        (true, Some(error)) if error.kind() == std::io::ErrorKind::PermissionDenied => Err(Absent::NoPermission(
            "perf_event_open was refused: run as root, or lower kernel.perf_event_paranoid".to_owned(),
        )),
        (true, Some(error)) => Err(Absent::Failed(format!("perf_event_open: {error}"))),
        _ => Ok(links),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libbpf_rs::{MapHandle, MapType};

    #[test]
    #[ignore = "live: needs root and BPF"]
    fn live_every_row_of_a_large_map_is_read() {
        let options = libbpf_rs::libbpf_sys::bpf_map_create_opts {
            sz: size_of::<libbpf_rs::libbpf_sys::bpf_map_create_opts>() as _,
            ..Default::default()
        };
        let map = MapHandle::create(MapType::Hash, Some("rows"), 8, 8, 32768, &options).expect("a map");
        for n in 0..20_000u64 {
            map.update(&n.to_ne_bytes(), &(n * 3).to_ne_bytes(), MapFlags::ANY).expect("room");
        }
        let mut read: Vec<(u64, u64)> = rows(&map);
        read.sort_unstable();
        assert_eq!(read.len(), 20_000);
        assert!(read.iter().enumerate().all(|(n, row)| *row == (n as u64, n as u64 * 3)));
    }
}
