//! Recording to verdict: pure checks, one file per question.
//!
//! A threshold alone gives `maybe`; `bad` needs somebody's time to be hit, or a hard error. friday's own time and that
//! of kernel threads is nobody's. What was not seen is `untested`, with the reason.

mod cgroup;
mod check;
mod counter;
mod cpu;
pub mod crisis;
mod diagram;
mod disk;
mod friday;
mod kernel;
mod locks;
mod lost;
mod memory;
mod net;
mod process;
mod rule;
mod rules;
mod stall;
mod syscalls;
#[cfg(test)]
mod testing;
mod tool;
mod verdict;

pub use check::Check;
pub use diagram::complete::unseen as unseen_in_diagram;
pub use rule::{Issue, Place, Played, Rule, RuleError, SCHEMA, play};
pub use tool::{
    GROUPS, KNOWN_ISSUES, PREPARE_GROUPS, STATIC_GROUPS, Tool, checklist, known_issues, lint, plugged_in, preparation,
    preparation_tools, prepared, rank, rules, settings, static_tuning, tools,
};
pub use verdict::{Evidence, Light, Test, Verdict};

use observe::Recording;

/// Every check that is code, in the order in which people read them.
pub fn all() -> &'static [&'static Check] {
    &[
        &cpu::utilization::CHECK,
        &cpu::pressure::CHECK,
        &cpu::run_queue::CHECK,
        &cpu::throttling::CHECK,
        &cpu::steal::CHECK,
        &memory::available::CHECK,
        &memory::pressure::CHECK,
        &memory::direct_reclaim::CHECK,
        &memory::compaction::CHECK,
        &memory::swapping::CHECK,
        &memory::page_faults::CHECK,
        &memory::major_faults::CHECK,
        &memory::oom::CHECK,
        &cgroup::memory_limit::CHECK,
        &cgroup::pids::CHECK,
        &disk::utilization::CHECK,
        &disk::pressure::CHECK,
        &disk::latency::CHECK,
        &net::retransmits::CHECK,
        &net::listen_queue::CHECK,
        &net::connect::CHECK,
        &net::windows::CHECK,
        &net::rtt::CHECK,
        &net::dns::CHECK,
        &net::drops::CHECK,
        &net::nic_errors::CHECK,
        &locks::waits::CHECK,
        &process::churn::CHECK,
        &syscalls::failures::CHECK,
        &kernel::clocksource::CHECK,
        &kernel::taint::CHECK,
        &friday::completeness::CHECK,
    ]
}

/// Judges a recording by every health tool that friday brings, in the order of the board.
pub fn run(rec: &Recording) -> Vec<Test> {
    tools().iter().map(|tool| tool.run(rec)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Machine;
    use observe::{Absent, catalog};

    /// What the checks say that are code; files have their examples.
    fn code(rec: &Recording) -> Vec<Test> {
        all().iter().map(|check| check.run(rec)).collect()
    }

    #[test]
    fn each_file_opens_with_its_question_and_what_people_need_to_judge_the_answer() {
        for check in all() {
            let about: Vec<&str> = check.about().collect();
            assert_eq!(about.first(), Some(&format!("# {}", check.question).as_str()), "{}", check.id);
            for part in ["**Measures**", "**Matters**", "**Misleads**", "**Confirm**"] {
                assert!(about.iter().any(|line| line.starts_with(part)), "{}: {part}", check.id);
            }
            assert!(GROUPS.contains(&check.group), "{}: {}", check.id, check.group);
        }
        let mut ids: Vec<&str> = all().iter().map(|check| check.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all().len());
    }

    #[test]
    fn what_was_not_seen_is_untested_with_the_reason() {
        for test in code(&Machine::new().rec) {
            assert_eq!(test.verdict, Light::Untested, "{test:?}");
        }
        let mut machine = Machine::new();
        let why = || Absent::NoPermission("run as root".into());
        machine.rec.set(&catalog::THREAD_TIME, Err(why()));
        machine.rec.set(&catalog::HOST_FACT, Err(why()));
        for metric in [&catalog::CPU_TIME, &catalog::PRESSURE, &catalog::MEMORY, &catalog::PAGING, &catalog::DISK_BUSY]
        {
            machine.rec.set(metric, Err(why()));
        }
        for metric in [&catalog::RUN_QUEUE_WAIT, &catalog::BLOCK_LATENCY, &catalog::SYSCALL_TIME] {
            machine.rec.set(metric, Err(why()));
        }
        for metric in [&catalog::CGROUP_CPU, &catalog::CGROUP_EVENTS, &catalog::CGROUP_PIDS] {
            machine.rec.set(metric, Err(why()));
        }
        machine.rec.set(&catalog::RECLAIM_TIME, Err(why()));
        machine.rec.set(&catalog::CPU_STACKS, Err(why()));
        machine.rec.set(&catalog::PROCESS_EXIT, Err(why()));
        for metric in [
            &catalog::NET_PROTOCOL,
            &catalog::NET_PACKETS,
            &catalog::PACKET_DROPS,
            &catalog::TCP_RTT,
            &catalog::TCP_LIMITED,
            &catalog::DNS_LOOKUPS,
        ] {
            machine.rec.set(metric, Err(why()));
        }
        machine.rec.set(&catalog::TCP_CONNECT, Err(why()));
        for test in code(&machine.rec) {
            assert!(test.verdict == Light::Untested && test.why.contains("run as root"), "{test:?}");
        }
    }

    #[test]
    fn empty_tables_are_no_health() {
        let mut machine = Machine::new();
        for metric in [&catalog::CPU_TIME, &catalog::PRESSURE, &catalog::MEMORY, &catalog::PAGING, &catalog::DISK_BUSY]
        {
            machine.rec.set(metric, Ok(Vec::new()));
        }
        for metric in [&catalog::RUN_QUEUE_WAIT, &catalog::BLOCK_LATENCY, &catalog::SYSCALL_TIME] {
            machine.rec.set(metric, Ok(Vec::new()));
        }
        machine.rec.set(&catalog::THREAD_TIME, Ok(Vec::new()));
        machine.rec.set(&catalog::RECLAIM_TIME, Ok(Vec::new()));
        machine.rec.set(&catalog::CPU_STACKS, Ok(Vec::new()));
        machine.rec.set(&catalog::WAITS, Ok(Vec::new()));
        machine.rec.set(&catalog::HOST_FACT, Ok(Vec::new()));
        for test in code(&machine.rec) {
            assert_eq!(test.verdict, Light::Untested, "{test:?}");
        }
    }

    #[test]
    fn an_idle_machine_is_good() {
        for test in code(&Machine::idle().rec) {
            assert_eq!(test.verdict, Light::Good, "{test:?}");
        }
    }

    #[test]
    fn a_saturated_machine_is_bad() {
        for test in code(&Machine::saturated().rec) {
            let most = matches!(test.id.as_str(), "kernel.taint" | "friday.completeness");
            assert_eq!(test.verdict, if most { Light::Maybe } else { Light::Bad }, "{test:?}");
        }
    }

    #[test]
    fn the_same_machine_is_nobodys_trouble_when_only_friday_and_the_kernel_run_on_it() {
        let machine = Machine::saturated().friday(6).friday(7).kernel(8);
        for test in code(&machine.rec) {
            // A kill, a throttled group, stolen time, a full group and a broken interface are somebody's even if that
            // somebody is not in the ledger.
            let somebodys = ["cpu.throttling", "cpu.steal", "memory.oom", "cgroup.pids", "net.nic_errors"];
            let counted = somebodys.contains(&test.id.as_str());
            assert!(test.verdict != Light::Bad || counted, "{test:?}");
        }
    }
}
