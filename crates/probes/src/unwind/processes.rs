//! Which code each process has where: slices of one array of ranges.

use super::{
    Maps, Report,
    tables::{Known, Placed, Tables},
};
use crate::{
    bpf::{bytes_of, rows, types, types::unwind_limit as Limit},
    processes::{is_kernel, own_pid, stat},
    roots::Roots,
};
use libbpf_rs::{MapCore, MapFlags};
use observe::Pid;
use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::PathBuf,
    rc::Rc,
    time::{Duration, Instant},
};
use symbolize::unwind::{self, Code, Image, NoTable};

/// ours: the kernel side's table holds twice as many, for children that it adds itself.
const MOST_PROCESSES: usize = Limit::UNWIND_PROCESSES.0 as usize / 2;
/// ours: maps of a process that compiles at run time change all the time, its libraries hardly ever.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// ours: wrappers execute one another, but not for long.
const ATTEMPTS: usize = 4;

/// What the kernel side was told of a process.
struct Told {
    ranges: Vec<types::unwind_range>,
    /// Its maps are read again after this time, if code was met that no range holds.
    next: Instant,
    pause: Duration,
}

/// The processes that the kernel side knows.
pub(super) struct Processes {
    maps: Maps,
    proc: PathBuf,
    own: Pid,
    tables: Tables,
    told: HashMap<Pid, Told>,
    /// The first range that was never used.
    fresh: u32,
    without: BTreeMap<String, String>,
}

impl Processes {
    pub fn new(maps: Maps, proc: PathBuf) -> Self {
        let own = own_pid(&Roots { proc: proc.clone(), ..Roots::default() });
        Processes {
            maps,
            proc,
            own,
            tables: Tables::default(),
            told: HashMap::new(),
            fresh: 0,
            without: BTreeMap::new(),
        }
    }

    pub fn report(&self) -> Report {
        Report { bytes: self.tables.bytes(), without: self.without.clone() }
    }

    /// All processes with code of their own, those that used most CPU first.
    pub fn others(&self) -> Vec<Pid> {
        let Ok(entries) = fs::read_dir(&self.proc) else { return Vec::new() };
        let mut all: Vec<(u64, Pid)> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid))
            .filter_map(|pid| {
                let stat = stat(&self.proc.join(pid.to_string()))?;
                (!is_kernel(&stat) && pid != self.own).then_some((stat.utime.saturating_add(stat.stime), pid))
            })
            .collect();
        all.sort_unstable_by_key(|(ticks, pid)| (std::cmp::Reverse(*ticks), *pid));
        all.into_iter().map(|(_, pid)| pid).take(MOST_PROCESSES).collect()
    }

    /// Adds a process unless it is known.
    pub fn add_new(&mut self, pid: Pid) {
        if !self.told.contains_key(&pid) {
            self.add(pid);
        }
    }

    /// Adds a process, or brings it up to date.
    pub fn add(&mut self, pid: Pid) {
        let exe = self.proc.join(pid.to_string()).join("exe");
        for _ in 0..ATTEMPTS {
            let before = fs::read_link(&exe).ok();
            if pid != self.own {
                self.tell(pid);
            }
            // The kernel side forgets a process that executes another program. If it did so before it was told of the old
            // one, it was told too late.
            if fs::read_link(&exe).ok() == before {
                break;
            }
        }
    }

    /// Adds the processes that the kernel side met without tables, those it met most first.
    pub fn add_wanted(&mut self) {
        let mut wanted: Vec<(u32, u64)> = rows(&self.maps.wanted);
        wanted.sort_unstable_by_key(|(_, times)| std::cmp::Reverse(*times));
        for (pid, _) in wanted {
            self.add(Pid(pid));
            // After it was added, so that it is not asked for again meanwhile.
            let _ = self.maps.wanted.delete(&pid.to_ne_bytes());
        }
    }

    /// Reads the maps again of processes in which code was met that no range holds; forgets those that are gone.
    pub fn refresh(&mut self) {
        let now = Instant::now();
        let known: HashMap<u32, types::unwind_process> = rows(&self.maps.processes).into_iter().collect();
        self.told.retain(|pid, _| known.contains_key(&pid.0));
        for (pid, process) in &known {
            let due = self.told.get(&Pid(*pid)).is_none_or(|told| told.next <= now);
            if process.missed != 0 && due {
                self.add(Pid(*pid));
            }
        }
    }

    fn tell(&mut self, pid: Pid) {
        // Its table is told of whatever it is found to be, so that the kernel side does not ask again and again; all but
        // when it is gone.
        let (ranges, flags) = match unwind::code(&self.proc, pid) {
            Ok(code) => match self.ranges(pid, &code) {
                Some(ranges) => (ranges, 0),
                None => (Vec::new(), types::unwind_flag::UNWIND_LEAVE.0),
            },
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                (Vec::new(), types::unwind_flag::UNWIND_LEAVE.0)
            }
            Err(_) => {
                self.told.remove(&pid);
                let _ = self.maps.processes.delete(&pid.0.to_ne_bytes());
                return;
            }
        };
        let before = self.told.get(&pid);
        if self.told.len() >= MOST_PROCESSES && before.is_none() {
            self.without.insert("further processes".to_owned(), NoTable::TooLarge.to_string());
            return;
        }
        let same = before.is_some_and(|told| bytes_of(&told.ranges) == bytes_of(&ranges));
        let pause = match before {
            Some(told) if same => (told.pause * 2).min(LONGEST_PAUSE),
            _ => super::REFRESH,
        };
        let next = Instant::now() + pause;
        let Some(first) = self.store(&ranges) else {
            self.without.insert("further processes".to_owned(), NoTable::TooLarge.to_string());
            return;
        };
        let process = types::unwind_process { first, ranges: ranges.len() as u32, missed: 0, flags };
        if self.maps.processes.update(&pid.0.to_ne_bytes(), bytes_of(&[process]), MapFlags::ANY).is_ok() {
            self.told.insert(pid, Told { ranges, next, pause });
        }
    }

    /// The ranges of a process; `None` when it is a 32-bit one.
    fn ranges(&mut self, pid: Pid, code: &[Code]) -> Option<Vec<types::unwind_range>> {
        let mut ranges = Vec::new();
        for code in code.iter().take(Limit::UNWIND_PROCESS_RANGES.0 as usize) {
            let bare = types::unwind_range { start: code.start(), end: code.end(), ..Default::default() };
            let known = match self.known(pid, code) {
                Ok(known) => known,
                Err(NoTable::OtherWordSize) => return None,
                Err(_) => {
                    ranges.push(bare);
                    continue;
                }
            };
            ranges.push(match (&known.placed, known.image.bias(code)) {
                (Ok(Placed { base, first, rows }), Some(bias)) => {
                    types::unwind_range { bias: bias.wrapping_add(*base), first: *first, rows: *rows, ..bare }
                }
                _ => bare,
            });
        }
        Some(ranges)
    }

    fn known(&mut self, pid: Pid, code: &Code) -> Result<Known, NoTable> {
        if let Some(known) = self.tables.by_file(&code.backed) {
            return Ok(known.clone());
        }
        let image = Image::open(&self.proc, pid, code).inspect_err(|why| self.refuse(code, why))?;
        if let Some(known) = self.tables.by_build_id(image.build_id()).cloned() {
            self.tables.remember(&code.backed, &known);
            return Ok(known);
        }
        let placed = image.table().and_then(|table| self.tables.place(&self.maps, &table));
        if let Err(why) = &placed {
            self.refuse(code, why);
        }
        let known = Known { placed, image: Rc::new(image.without_information()) };
        self.tables.remember(&code.backed, &known);
        Ok(known)
    }

    fn refuse(&mut self, code: &Code, why: &NoTable) {
        if self.without.len() < 1000 {
            self.without.insert(code.name(), why.to_string());
        }
    }

    /// Writes ranges to a part of the array that no process uses; returns where.
    fn store(&mut self, ranges: &[types::unwind_range]) -> Option<u32> {
        let count = ranges.len() as u32;
        let first = if self.fresh + count <= Limit::UNWIND_RANGES.0 { self.fresh } else { self.gap(count)? };
        let keys: Vec<u32> = (first..first + count).collect();
        if count > 0 {
            let (keys, values) = (bytes_of(&keys), bytes_of(ranges));
            self.maps.ranges.update_batch(keys, values, count, MapFlags::ANY, MapFlags::ANY).ok()?;
        }
        self.fresh = self.fresh.max(first + count);
        Some(first)
    }

    /// Room that was left by processes that are gone or have other code now.
    fn gap(&self, count: u32) -> Option<u32> {
        let mut used: Vec<(u32, u32)> = rows::<u32, types::unwind_process>(&self.maps.processes)
            .iter()
            .map(|(_, p)| (p.first, p.first + p.ranges))
            .collect();
        used.sort_unstable();
        free(&used, count, Limit::UNWIND_RANGES.0)
    }
}

/// The first free place for some entries in an array of which sorted parts are used.
fn free(used: &[(u32, u32)], count: u32, size: u32) -> Option<u32> {
    let mut at = 0;
    for (first, end) in used {
        if first.saturating_sub(at) >= count {
            return Some(at);
        }
        at = at.max(*end);
    }
    (size.saturating_sub(at) >= count).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_found_between_what_is_used() {
        assert_eq!(free(&[], 10, 10), Some(0));
        assert_eq!(free(&[], 11, 10), None);
        assert_eq!(free(&[(0, 4), (0, 4), (6, 8)], 2, 10), Some(4));
        assert_eq!(free(&[(0, 4), (2, 3), (6, 8)], 3, 11), Some(8));
        assert_eq!(free(&[(0, 4), (6, 8)], 3, 10), None);
        assert_eq!(free(&[(3, 4)], 3, 4), Some(0));
    }
}
