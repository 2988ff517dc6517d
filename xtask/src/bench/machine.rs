//! Facts about the machine, without which figures mean nothing.

use serde::Serialize;
use std::fs;
use std::process::Command;

/// Where it was measured.
#[derive(Debug, Serialize)]
pub struct Machine {
    kernel: String,
    architecture: &'static str,
    cpus: usize,
    model: Option<String>,
    /// Averages over 1, 5 and 15 minutes before the first load: what else ran.
    load_average: Option<String>,
    /// The first line of what each tool says about itself.
    versions: Vec<String>,
}

impl Machine {
    /// Looks at this one.
    pub fn look() -> Machine {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let average = read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ");
        let tools = ["perf", "bpftrace", "redis-server"];
        Machine {
            kernel: read("/proc/sys/kernel/osrelease").trim().to_string(),
            architecture: std::env::consts::ARCH,
            cpus: std::thread::available_parallelism().map_or(1, |n| n.get()),
            model: model(&read("/proc/cpuinfo")),
            load_average: Some(average).filter(|text| !text.is_empty()),
            versions: tools.iter().filter_map(|tool| version(tool)).collect(),
        }
    }
}

/// CPU time since boot, in ticks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CpuTime {
    busy: u64,
    all: u64,
}

impl CpuTime {
    /// Up to now; `None` where the kernel does not say.
    pub fn now() -> Option<CpuTime> {
        CpuTime::parse(&fs::read_to_string("/proc/stat").ok()?)
    }

    /// The part of all CPUs that was busy from then to now, in percent.
    pub fn busy_percent_since(self, then: CpuTime) -> Option<f64> {
        let all = self.all.checked_sub(then.all).filter(|all| *all > 0)?;
        Some(100.0 * self.busy.checked_sub(then.busy)? as f64 / all as f64)
    }

    fn parse(stat: &str) -> Option<CpuTime> {
        // Guests' time, the last two columns, is also in the first two. What the hypervisor stole counts as busy.
        let line = stat.lines().next()?.strip_prefix("cpu ")?;
        let ticks: Vec<u64> = line.split_whitespace().take(8).map_while(|word| word.parse().ok()).collect();
        let all = ticks.iter().sum();
        let idle: u64 = ticks.get(3..5)?.iter().sum();
        Some(CpuTime { busy: all - idle, all })
    }
}

/// What a program says its version is.
pub fn version(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().filter(|_| output.status.success()).map(|line| line.trim().to_string())
}

fn model(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, name)| name.trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::CpuTime;

    #[test]
    fn busy_is_what_is_neither_idle_nor_waiting_for_a_disk() {
        let [then, now] = ["cpu  10 0 10 70 10 0 0 0 0 0\ncpu0 1", "cpu  30 0 20 130 10 0 0 10 30 0\ncpu0 1"]
            .map(|text| CpuTime::parse(text).unwrap());
        assert_eq!(now.busy_percent_since(then), Some(40.0));
        assert_eq!(now.busy_percent_since(now), None);
        assert_eq!(CpuTime::parse("intr 1"), None);
    }

    #[test]
    fn the_model_is_named_where_the_kernel_names_it() {
        let text = "processor\t: 0\nmodel name\t: Intel(R) Xeon(R) Processor @ 2.90GHz\nstepping\t: 7\n";
        assert_eq!(super::model(text).as_deref(), Some("Intel(R) Xeon(R) Processor @ 2.90GHz"));
        assert_eq!(super::model("processor\t: 0\n"), None);
    }
}
