//! x
use observe::*;
use probes::{Session, roots::Roots, target::*};
use std::time::{Duration, Instant};
fn main() {
    let roots = Roots::default();
    let arg = std::env::args().nth(1);
    let req = match arg.as_deref() { Some("all") | None => Request::System, Some(p) => Request::Process(Pid(p.parse().unwrap())) };
    let t = resolve(&roots, &req).unwrap();
    let mut s = Session::start(&roots, t).unwrap();
    if let Some(w) = s.blind() { println!("BLIND {w}"); }
    let secs: u64 = std::env::args().nth(2).map_or(3, |s| s.parse().unwrap());
    let st = Instant::now();
    while st.elapsed() < Duration::from_secs(secs) { std::thread::sleep(Duration::from_millis(250)); s.poll(); }
    let t0 = Instant::now();
    let rec = s.finish();
    println!("finish {:?} lost {} rss {} cpu {:?}", t0.elapsed(), rec.cost.lost_events, rec.cost.rss_bytes, rec.cost.cpu); for p in &rec.cost.programs { println!("  {p:?}"); }
    let mut l: Vec<_> = rec.get(&catalog::THREAD_TIME).unwrap().to_vec();
    l.sort_by_key(|t| std::cmp::Reverse(t.classes.active()));
    for t in l.iter().filter(|t| !rec.processes.get(&t.pid).is_some_and(|p| p.is_kernel)).take(25) {
        print!("{:6} {:6} {:16} wall {:.3} ", t.pid, t.tid, t.name, t.wall.as_secs_f64());
        for (c, d) in t.classes.iter() { print!(" {}={:.4}", c.name(), d.as_secs_f64()); }
        println!(" err={:?}", t.wall.as_secs_f64() - t.classes.total().as_secs_f64());
    }
    let mut w: Vec<_> = rec.get(&catalog::WAITS).unwrap().to_vec();
    w.sort_by_key(|t| std::cmp::Reverse(t.time));
    for w in w.iter().filter(|w| !w.class.is_idle()).take(15) {
        println!("{} {} {} {} by {:?} {:?} n={} {}", rec.process_name(w.pid), w.tid, w.class.name(), w.resource, w.by.map(|b| rec.process_name(b.0)), w.time, w.count, w.stack.iter().map(|f| rec.frame(*f).label()).collect::<Vec<_>>().join(";"));
    }
    for w in w.iter().filter(|w| w.class == TimeClass::BlockedUnknown).take(15) {
        println!("UNK {} {} {} {} {:?} {}", rec.process_name(w.pid), w.tid, w.syscall, w.resource, w.time,  w.stack.iter().map(|f| rec.frame(*f).label()).collect::<Vec<_>>().join(";"));
    }
    let mut s: Vec<_> = rec.get(&catalog::CPU_STACKS).unwrap().to_vec();
    s.sort_by_key(|s| std::cmp::Reverse(s.samples));
    for s in s.iter().take(5) { println!("{} {} {}", rec.process_name(s.pid), s.samples, s.frames.iter().map(|f| rec.frame(*f).label()).collect::<Vec<_>>().join(";")); }
    for h in rec.get(&catalog::BLOCK_LATENCY).unwrap() { println!("{:?} n={} p99={:?}", h.labels, h.count, h.quantile_time(Ratio(0.99))); }
    for h in rec.get(&catalog::SYSCALL_TIME).unwrap().iter().take(8) { println!("{:?} n={} p99={:?}", h.labels, h.count, h.quantile_time(Ratio(0.99))); }
}
