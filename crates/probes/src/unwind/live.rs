//! Live: the kernel side's stacks against an independent unwinder, and what they cost.

use super::*;
use crate::{bpf::Settings, roots::Roots, stacks::Stacks};

fn start(pid: u32, tables: bool) -> (Kernel, Option<Unwinder>) {
    let roots = Roots::default();
    let kernel =
        Kernel::start(&Settings { roots: &roots, everyone: false, targets: vec![pid], sample_hz: 99, tables }).unwrap();
    let unwinder = tables.then(|| Unwinder::start(&kernel, roots.proc, vec![Pid(pid)]).unwrap());
    (kernel, unwinder)
}

#[test]
#[ignore = "live: loads BPF programs"]
fn live_smoke() {
    let mut child = std::process::Command::new("python3").args(["/tmp/unwindtest.py", "5"]).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let (mut kernel, unwinder) = start(child.id(), true);
    std::thread::sleep(Duration::from_secs(3));
    kernel.close();
    eprintln!("{:?} {:?}", kernel.no_tables, kernel.walks());
    eprintln!("{:#?}", unwinder.as_ref().unwrap().report());
    let rows: Vec<(u32, crate::bpf::types::unwind_process)> = crate::bpf::rows(&kernel.maps().unwind_processes);
    for (pid, p) in rows { eprintln!("{pid} {} {} {} {}", p.first, p.ranges, p.missed, p.flags); }
    let user: Vec<(u64, crate::bpf::types::user_stack)> = crate::bpf::rows(&kernel.maps().user_stacks);
    for (_, s) in user.iter().take(5) { eprintln!("{} end {}", s.depth, s.end); }
    for p in kernel.costs() { eprintln!("{p:?}"); }
    child.kill().unwrap();
    child.wait().unwrap();
}
