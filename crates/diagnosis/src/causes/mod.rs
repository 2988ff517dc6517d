//! Every cause, one file each. A cause weighs mechanism and evidence; it never matches a program.

mod app_algorithm;
mod app_crash_loop;
mod app_event_loop;
mod app_failing_calls;
mod app_gc;
mod app_global_lock;
mod app_handed_on;
mod app_pool;
mod app_short_lived;
mod app_sleeps;
mod app_stopped;
mod app_syscall_storm;
mod app_untaken;
mod app_waits_for_child;
mod cache_misses;
mod config_kernel;
mod config_mount;
mod cpu_hot_code;
mod cpu_interrupts;
mod cpu_kernel_time;
mod cpu_pinned;
mod cpu_priority;
mod cpu_saturated;
mod cpu_single_thread;
mod cpu_spin;
mod cpu_steal;
mod cpu_throttled;
mod disk_outliers;
mod disk_saturated;
mod disk_slow;
mod disk_sync_writes;
mod disk_throttled;
mod fs_full;
mod fs_metadata;
mod fs_writeback;
mod limits_fds;
mod limits_tasks;
mod load_grew;
mod lock_contention;
mod lock_files;
mod lock_kernel;
mod lock_standing;
mod mem_cgroup_limit;
mod mem_leak;
mod mem_major_faults;
mod mem_oom;
mod mem_page_faults;
mod mem_reclaim;
mod mem_swap;
mod mem_tlb_shootdown;
mod net_bandwidth;
mod net_connect;
mod net_delayed_ack;
mod net_dns;
mod net_drops;
mod net_latency;
mod net_listen_overflow;
mod net_peer_slow;
mod net_ports;
mod net_retransmits;
mod net_silent;
mod net_small_window;
mod net_unanswered;

pub use app_failing_calls::pauses_after;
pub use app_stopped::{for_good, is_held, traced};
pub use cpu_priority::gave_way;
pub use load_grew::baseline;
pub use lock_contention::is_lock;
pub use lock_standing::standing;
pub use mem_leak::growing;
pub use mem_major_faults::FAULT as MAJOR_FAULT;

use crate::{Cause, Confidence, Scene, Victim};
use observe::Pid;
use std::{collections::BTreeSet, time::Duration};

/// Whoever fails outright: it is a victim, however little time it loses.
pub fn failing(scene: &Scene) -> BTreeSet<Pid> {
    let refused = [limits_fds::without, limits_tasks::without, fs_full::without].into_iter().flat_map(|of| of(scene));
    let deaf = net_drops::without_room(scene).into_iter().chain(app_untaken::servers(scene));
    let all = app_crash_loop::starters(scene).into_iter().chain(mem_oom::killed(scene)).chain(deaf);
    all.chain(refused).filter(|pid| !scene.threads(*pid).is_empty()).collect()
}

/// What a victim loses to the network, as far as a cause is sure of it.
pub fn lost_to_network(scene: &Scene, victim: &Victim) -> Duration {
    let sure = ALL.iter().filter(|cause| cause.id.starts_with("net.")).flat_map(|cause| (cause.judge)(scene, victim));
    sure.filter(|draft| draft.confidence >= Confidence::Likely).map(|draft| draft.time).max().unwrap_or_default()
}

/// The cause that points at another process rather than at a root.
pub const WAITS_FOR_CHILD: &str = app_waits_for_child::CAUSE.id;

/// The cause that may be wanted.
pub const SLEEPS: &str = app_sleeps::CAUSE.id;

/// The id of growth without bound, of which one window is never sure.
pub const LEAK: &str = mem_leak::CAUSE.id;

/// What a process does itself: what it spends its own CPU time and memory on.
pub const OWN_WORK: &[&str] = &[
    app_algorithm::CAUSE.id,
    app_failing_calls::CAUSE.id,
    app_gc::CAUSE.id,
    app_short_lived::CAUSE.id,
    app_syscall_storm::CAUSE.id,
    config_kernel::CLOCKSOURCE.id,
    config_kernel::DEBUG_KERNEL.id,
    config_kernel::MITIGATIONS.id,
    config_kernel::THP.id,
    config_kernel::AUDIT.id,
    cpu_hot_code::CAUSE.id,
    cpu_kernel_time::CAUSE.id,
    cpu_single_thread::CAUSE.id,
    cpu_spin::CAUSE.id,
    fs_metadata::CAUSE.id,
    mem_leak::CAUSE.id,
    mem_page_faults::CAUSE.id,
    mem_tlb_shootdown::CAUSE.id,
];

/// Of which nothing but the size of the loss decides how sure they are: what requests lose counts where they are told.
pub const GRADED_BY_LOSS: &[&str] = &[
    cpu_pinned::CAUSE.id,
    cpu_priority::CAUSE.id,
    disk_slow::CAUSE.id,
    disk_sync_writes::CAUSE.id,
    fs_writeback::CAUSE.id,
    mem_major_faults::CAUSE.id,
    mem_reclaim::CAUSE.id,
];

/// Causes that say that threads wait for a lock, and not why it is held for so long.
pub const WAITS_FOR_LOCKS: &[&str] = &[lock_contention::CAUSE.id, app_global_lock::CAUSE.id, lock_kernel::CAUSE.id];

/// Every cause.
pub const ALL: &[&Cause] = &[
    &cpu_saturated::CAUSE,
    &cpu_throttled::CAUSE,
    &cpu_pinned::CAUSE,
    &cpu_priority::CAUSE,
    &cpu_interrupts::CAUSE,
    &cpu_steal::CAUSE,
    &cpu_spin::CAUSE,
    &cpu_single_thread::CAUSE,
    &cpu_hot_code::CAUSE,
    &cpu_kernel_time::CAUSE,
    &disk_saturated::CAUSE,
    &disk_sync_writes::CAUSE,
    &disk_slow::CAUSE,
    &disk_outliers::CAUSE,
    &disk_throttled::CAUSE,
    &net_retransmits::CAUSE,
    &net_latency::CAUSE,
    &net_bandwidth::CAUSE,
    &net_small_window::CAUSE,
    &net_peer_slow::CAUSE,
    &net_delayed_ack::CAUSE,
    &net_dns::CAUSE,
    &net_connect::CAUSE,
    &net_listen_overflow::CAUSE,
    &net_drops::CAUSE,
    &net_ports::CAUSE,
    &mem_cgroup_limit::CAUSE,
    &mem_leak::CAUSE,
    &mem_major_faults::CAUSE,
    &mem_oom::CAUSE,
    &mem_page_faults::CAUSE,
    &mem_reclaim::CAUSE,
    &mem_swap::CAUSE,
    &mem_tlb_shootdown::CAUSE,
    &limits_tasks::CAUSE,
    &load_grew::CAUSE,
    &limits_fds::CAUSE,
    &fs_full::CAUSE,
    &fs_metadata::CAUSE,
    &fs_writeback::CAUSE,
    &cache_misses::CAUSE,
    &lock_contention::CAUSE,
    &lock_kernel::CAUSE,
    &app_crash_loop::CAUSE,
    &app_event_loop::CAUSE,
    &app_algorithm::CAUSE,
    &app_pool::CAUSE,
    &app_gc::CAUSE,
    &app_global_lock::CAUSE,
    &app_sleeps::CAUSE,
    &app_syscall_storm::CAUSE,
    &app_failing_calls::CAUSE,
    &app_short_lived::CAUSE,
    &app_waits_for_child::CAUSE,
    &config_kernel::CLOCKSOURCE,
    &config_kernel::DEBUG_KERNEL,
    &config_kernel::MITIGATIONS,
    &config_kernel::THP,
    &config_kernel::AUDIT,
    &config_mount::CAUSE,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_documented_and_those_that_follow_exist() {
        let readme = include_str!("../../../../README.md");
        let ids: BTreeSet<&str> = ALL.iter().map(|cause| cause.id).collect();
        assert_eq!(ids.len(), ALL.len());
        for cause in ALL {
            assert!(readme.contains(&format!("`{}`", cause.id)), "README.md does not name {}", cause.id);
            for follows in cause.root_of {
                assert!(ids.contains(follows) && *follows != cause.id, "{} is root of {follows}", cause.id);
            }
        }
    }
}
