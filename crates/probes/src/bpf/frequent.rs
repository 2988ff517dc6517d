//! Programs for events so frequent that, in a storm of them, they are attached in slices only, within a budget.

use super::{Group, Kernel, budget::Budget, monotonic_ns, plain, refused, skeleton::FridaySkel, types};
use libbpf_rs::{Link, MapCore, MapFlags, skel::Skel};
use observe::Absent;
use std::time::Duration;

/// Kinds of such events; `enum frequent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frequent {
    Calls,
    Faults,
    Interrupts,
    Requests,
    Goroutines,
}

impl Frequent {
    pub const COUNT: usize = 5;
    pub const ALL: [Frequent; Self::COUNT] =
        [Frequent::Calls, Frequent::Faults, Frequent::Interrupts, Frequent::Requests, Frequent::Goroutines];

    /// The kind that a program is for.
    pub fn of(program: &str) -> Option<Frequent> {
        Self::ALL.into_iter().find(|kind| program.starts_with(kind.prefix()))
    }

    fn prefix(self) -> &'static str {
        match self {
            Frequent::Calls => "call_",
            Frequent::Faults => "memory_fault_",
            Frequent::Interrupts => "interrupt_",
            Frequent::Requests => "request_",
            Frequent::Goroutines => "goroutine_",
        }
    }

    fn group(self) -> Group {
        Group::of(self.prefix())
    }

    /// ours: what one event costs more while it is traced, and how much of a CPU may be spent on it. A call takes 0.5 µs in its
    /// two programs and 0.35 µs for the kernel's slower way into and out of it in a loop of one cheap call, and half as much
    /// again among other work (`perf bench sched pipe`); for a fault see `faults.bpf.c`; a soft interrupt runs two programs of
    /// 0.1 µs each; for requests see `requests/mod.rs`, for goroutines `goroutines/mod.rs`.
    fn budget(self) -> Budget {
        let (ns, ms) = (Duration::from_nanos, Duration::from_millis);
        match self {
            Frequent::Calls => Budget::new(0.005, ns(1000), ms(20)),
            // A burst of 90,000 is seen whole.
            Frequent::Faults => Budget::new(0.005, ns(110), ms(10)),
            Frequent::Interrupts => Budget::new(0.0025, ns(200), ms(10)),
            Frequent::Requests => Budget::new(0.01, ns(250), ms(20)),
            Frequent::Goroutines => Budget::new(0.01, ns(4000), ms(40)),
        }
    }
}

/// The slices of one kind.
pub(super) struct Slices {
    budget: Budget,
    links: Vec<Link>,
    /// When the one that goes on began, on the kernel's clock; 0: none does.
    since: u64,
    /// Whether it is there for the event window alone, and is not counted.
    aside: bool,
    traced: Duration,
    /// Those that are over: when they began and ended, and how many events had been seen by then.
    over: Vec<Slice>,
    seen_before: u64,
}

/// One slice, on the kernel's clock.
#[derive(Clone, Copy, Debug)]
struct Slice {
    begin: u64,
    end: u64,
    events: u64,
}

impl Slices {
    pub fn of_all() -> [Slices; Frequent::COUNT] {
        Frequent::ALL.map(|kind| Slices {
            budget: kind.budget(),
            links: Vec::new(),
            since: 0,
            aside: false,
            traced: Duration::ZERO,
            over: Vec::new(),
            seen_before: 0,
        })
    }

    /// Whether a slice goes on, and not the first, that a storm will end soon.
    fn is_one_of_several(&self, now: u64) -> bool {
        /// ours: with half a full account, a storm's slice lasts a second or two; where there is none any more, it goes on.
        const SOON_NS: u64 = 3_000_000_000;
        self.since != 0 && !self.traced.is_zero() && now.saturating_sub(self.since) < SOON_NS
    }

    /// For how long the slice that goes on has done so by then.
    fn goes_on(&self, now: u64) -> Duration {
        let counts = self.since != 0 && !self.aside;
        Duration::from_nanos(if counts { now.saturating_sub(self.since) } else { 0 })
    }

    /// Detaches; the kernel side keeps what it knows of when the last slice began.
    pub fn end(&mut self, now: u64, seen: u64) {
        if self.since != 0 {
            if !self.aside {
                self.traced += self.goes_on(now);
                let events = seen.saturating_sub(self.seen_before);
                self.over.push(Slice { begin: self.since, end: now, events });
            }
            (self.since, self.seen_before) = (0, seen);
        }
        self.links.clear();
    }
}

impl Kernel {
    /// Begins and ends slices as the budgets allow; call a few times a second with the time since the window began.
    pub fn pace(&mut self, now: Duration) {
        for kind in Frequent::ALL {
            let seen = self.seen_by_cpu(kind);
            let mut on = self.slices[kind as usize].budget.decide(now, &seen);
            // A slice of both would show requests that are the slower for every call that is traced: where both are in
            // slices, one waits for the other.
            let other = match kind {
                Frequent::Requests => Some(Frequent::Calls),
                Frequent::Calls => Some(Frequent::Requests),
                _ => None,
            };
            if let Some(other) = other.filter(|_| self.slices[kind as usize].since == 0) {
                on &= !self.slices[other as usize].is_one_of_several(monotonic_ns());
            }
            // The event window is short, and needs them all. It makes them slower, too: where all the others are too many to be
            // followed, those of it are a sample of their own.
            let in_slices = !on || !self.slices[kind as usize].over.is_empty();
            let aside = kind == Frequent::Requests && self.streaming() && in_slices;
            if aside != self.slices[kind as usize].aside {
                self.trace(kind, false);
                self.book_requests_aside(aside);
            }
            self.trace(kind, on || aside);
        }
    }

    /// Has requests counted, or booked aside, from the next slice on.
    fn book_requests_aside(&mut self, aside: bool) {
        self.slices[Frequent::Requests as usize].aside = aside;
        if let Some(bss) = self.skel.maps.bss_data.as_deref_mut() {
            // SAFETY: as in `tell`.
            unsafe { std::ptr::write_volatile(&mut bss.requests_aside, u64::from(aside)) };
        }
    }

    /// Begins or ends a slice: outside of slices, events cost nothing.
    pub(super) fn trace(&mut self, kind: Frequent, on: bool) {
        let seen = self.seen(kind);
        let slices = &mut self.slices[kind as usize];
        if on == (slices.since != 0) || self.absent.contains_key(&kind.group()) {
            return;
        }
        if kind == Frequent::Goroutines && self.go_programs.is_empty() {
            return;
        }
        let now = monotonic_ns();
        tell(&mut self.skel, kind, if on { now } else { 0 });
        slices.end(now, seen);
        if !on {
            return;
        }
        for prog in self.skel.object().progs_mut().filter(|prog| prog.autoload()) {
            let name = prog.name().to_string_lossy().into_owned();
            // Iterators are run, not attached.
            if Frequent::of(&name) != Some(kind) || prog.section().to_string_lossy().starts_with("iter/") {
                continue;
            }
            if kind == Frequent::Goroutines {
                slices.links.extend(self.go_programs.iter().flat_map(|program| program.attach(&prog, &name)));
                continue;
            }
            match prog.attach_trace() {
                Ok(link) => slices.links.push(link),
                Err(error) => {
                    slices.links.clear();
                    self.absent.insert(kind.group(), refused(&format!("attaching {name}"), &error));
                    return;
                }
            }
        }
        if slices.links.is_empty() {
            let why = || Absent::Unsupported("this kernel has nothing to attach it to".to_owned());
            self.absent.entry(kind.group()).or_insert_with(why);
        } else {
            // One after the other takes milliseconds: before that, what takes several programs is seen in part.
            slices.since = monotonic_ns();
            tell(&mut self.skel, kind, slices.since);
        }
    }

    /// Events traced so far.
    pub(super) fn seen(&self, kind: Frequent) -> u64 {
        self.seen_by_cpu(kind).iter().sum()
    }

    /// The same for each CPU.
    fn seen_by_cpu(&self, kind: Frequent) -> Vec<u64> {
        let maps = &self.skel.maps;
        match kind {
            Frequent::Calls => per_cpu(&maps.calls_seen),
            Frequent::Faults => self.fault_clocks().iter().map(|clock| clock.seen).collect(),
            Frequent::Interrupts => per_cpu::<types::interrupts>(&maps.interrupts_of).iter().map(|i| i.seen).collect(),
            Frequent::Requests => per_cpu(&maps.requests_seen),
            Frequent::Goroutines => {
                per_cpu::<types::goroutine_cpu>(&maps.goroutines_of).iter().map(|cpu| cpu.seen).collect()
            }
        }
    }

    /// Where each CPU's count of faults has got to.
    pub fn fault_clocks(&self) -> Vec<types::fault_clock> {
        per_cpu(&self.skel.maps.fault_clocks)
    }

    /// For how long events of a kind have been traced so far.
    pub fn followed(&self, kind: Frequent) -> Duration {
        let slices = &self.slices[kind as usize];
        slices.traced + slices.goes_on(monotonic_ns())
    }

    /// In which part of the window events of a kind were traced; never zero; after [`Kernel::close`].
    pub fn traced_part(&self, kind: Frequent, window: Duration) -> f64 {
        /// What beginning and ending take is no gap.
        const WHOLE: f64 = 0.98;
        let part = self.slices[kind as usize].traced.as_secs_f64() / window.as_secs_f64().max(1e-9);
        if part >= WHOLE { 1.0 } else { part.max(1e-6) }
    }

    /// Which part of all events of a kind were seen, as far as the slices tell; 1 where the window was traced whole.
    pub fn seen_part(&self, kind: Frequent, window: Duration) -> f64 {
        if self.traced_part(kind, window) >= 1.0 {
            return 1.0;
        }
        part_seen(&self.slices[kind as usize].over, self.begin, self.begin + window.as_nanos() as u64).max(1e-6)
    }
}

/// Which part of all events those in slices are, if each gap between slices had the mean rate of its neighbours.
fn part_seen(slices: &[Slice], begin: u64, end: u64) -> f64 {
    let rate = |slice: &Slice| slice.events as f64 / (slice.end.saturating_sub(slice.begin)).max(1) as f64;
    let (Some(first), Some(last)) = (slices.first(), slices.last()) else { return 1.0 };
    let seen: f64 = slices.iter().map(|slice| slice.events as f64).sum();
    let gap = |from: u64, to: u64, rate: f64| to.saturating_sub(from) as f64 * rate;
    let between =
        slices.windows(2).map(|pair| gap(pair[0].end, pair[1].begin, (rate(&pair[0]) + rate(&pair[1])) / 2.0));
    let missed: f64 = gap(begin, first.begin, rate(first)) + between.sum::<f64>() + gap(last.end, end, rate(last));
    if seen > 0.0 { seen / (seen + missed) } else { 1.0 }
}

/// Tells the kernel side since when a kind of events is traced; 0: it is not.
fn tell(skel: &mut FridaySkel<'_>, kind: Frequent, since: u64) {
    if let Some(bss) = skel.maps.bss_data.as_deref_mut() {
        // SAFETY: a valid, aligned place in the map shared with the kernel, which reads it at any time.
        unsafe { std::ptr::write_volatile(&mut bss.attached_since[kind as usize], since) };
    }
}

/// The only entry of a map, of each CPU.
fn per_cpu<T: super::plain::Plain>(map: &impl MapCore) -> Vec<T> {
    let of_each = map.lookup_percpu(&0u32.to_ne_bytes(), MapFlags::ANY).ok().flatten().unwrap_or_default();
    of_each.iter().filter_map(|bytes| plain(bytes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_have_the_rate_of_their_neighbours() {
        let slice = |begin, end, events| Slice { begin, end, events };
        let close = |part: f64, wanted: f64| assert!((part - wanted).abs() < 1e-9, "{part} {wanted}");
        // A steady rate: a quarter of the time, a quarter of the events.
        close(part_seen(&[slice(0, 100, 500), slice(300, 400, 500)], 0, 800), 0.25);
        // A burst that was seen whole is not multiplied by the time that nothing went on.
        close(part_seen(&[slice(0, 400, 4_000), slice(500, 1_000, 0)], 0, 1_000), 4_000.0 / 4_500.0);
        close(part_seen(&[slice(0, 1_000, 7)], 0, 1_000), 1.0);
        close(part_seen(&[], 0, 1_000), 1.0);
        close(part_seen(&[slice(0, 10, 0)], 0, 1_000), 1.0);
    }

    #[test]
    fn another_kind_waits_for_slices_of_a_storm_and_for_nothing_else() {
        let [_, _, _, mut requests, _] = Slices::of_all();
        let second = 1_000_000_000;
        requests.since = second;
        assert!(!requests.is_one_of_several(2 * second), "the first sees all there is, for as long as it can");
        requests.end(2 * second, 100);
        assert!(!requests.is_one_of_several(3 * second), "none goes on");
        requests.since = 3 * second;
        assert!(requests.is_one_of_several(4 * second));
        assert!(!requests.is_one_of_several(9 * second), "the storm is over");
    }

    #[test]
    fn a_slice_for_the_event_window_alone_is_not_counted() {
        let [_, _, _, mut requests, _] = Slices::of_all();
        requests.since = 1_000;
        assert_eq!(requests.goes_on(3_000), Duration::from_nanos(2_000));
        requests.end(5_000, 100);
        (requests.since, requests.aside) = (6_000, true);
        assert_eq!(requests.goes_on(7_000), Duration::ZERO);
        requests.end(9_000, 900);
        (requests.since, requests.aside) = (10_000, false);
        requests.end(11_000, 925);
        assert_eq!(requests.traced, Duration::from_nanos(5_000));
        let events: Vec<u64> = requests.over.iter().map(|slice| slice.events).collect();
        assert_eq!(events, [100, 25], "those of the event window are nobody's");
    }
}
