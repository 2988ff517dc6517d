//! # A lock inside the kernel
//!
//! **Speaks for it:** time blocked on a mutex or semaphore of the kernel's, or spent spinning for one of its spin locks, in
//! a function that says which.
//! **Speaks against it:** waits inside the journal or a sync, which are the file system's (`disk.sync-writes`).
//! **Experiment:** freezing whoever holds it most stops the victim; fewer threads help it.

use crate::{
    Cause, Confidence, Draft, Effect, Party, Scene, Victim,
    cause::{grade, how_much},
    code::path,
    path::{Removes, Waits},
    scene::totals_of,
};
use checks::Evidence;
use observe::{FrameKind, Pid, Ratio, Series, TimeClass, Wait, catalog};
use std::{collections::BTreeMap, time::Duration};

/// Stands in the registry.
pub const CAUSE: Cause = Cause { id: "lock.kernel", frozen: Effect::Hurts, root_of: &["cpu.kernel-time"], judge };

/// ours: a wait that lasts as long on average is for something that happens under the lock, rather than for the lock's turn.
const LONG: Duration = Duration::from_secs(1);

/// What the functions on the way to a lock say about which one it is. In order; the first that is on the stack decides.
const LOCKS: &[(&[&str], &str)] = &[
    (
        &[
            "vm_mmap_pgoff",
            "__vm_munmap",
            "do_munmap",
            "vm_munmap",
            "do_mprotect_pkey",
            "do_madvise",
            "madvise_lock",
            "do_user_addr_fault",
            "lock_mm_and_find_vma",
            "mmap_read_lock",
            "mmap_write_lock",
            "__do_sys_brk",
            "mm_populate",
            "__mm_populate",
            "exit_mmap",
            "dup_mmap",
            "mmap_region",
        ],
        "mmap_lock, of the process' address space",
    ),
    (
        &[
            "ext4_buffered_write_iter",
            "ext4_file_write_iter",
            "generic_file_write_iter",
            "xfs_file_buffered_write",
            "btrfs_buffered_write",
            "btrfs_do_write_iter",
            "ext4_dio_write_iter",
        ],
        "the inode's lock, of a file that several write",
    ),
    (
        &[
            "lookup_slow",
            "open_last_lookups",
            "path_openat",
            "filename_create",
            "do_unlinkat",
            "do_rmdir",
            "do_renameat2",
            "lock_rename",
            "iterate_dir",
            "__lookup_slow",
        ],
        "the inode's lock, of a directory",
    ),
    (&["pipe_write", "pipe_read", "anon_pipe_write", "anon_pipe_read"], "the pipe's mutex"),
    (&["unix_stream_read_generic", "unix_stream_sendmsg"], "the unix socket's mutex"),
    (&["tcp_sendmsg", "tcp_recvmsg", "lock_sock_nested", "__lock_sock"], "the socket's lock"),
    (&["do_epoll_wait", "ep_poll", "do_epoll_ctl"], "the epoll's lock"),
    (&["futex_wake", "futex_wait", "futex_q_lock", "futex_wait_setup"], "a futex hash bucket"),
    (&["fdget_pos", "__fdget_pos", "ksys_read", "ksys_write", "ksys_lseek"], "the position of a shared open file"),
];

struct Held {
    blocked: Duration,
    spun: Duration,
    function: String,
    lock: Option<&'static str>,
    count: u64,
    holder: Option<Pid>,
    path: Vec<String>,
}

fn judge(scene: &Scene, victim: &Victim) -> Vec<Draft> {
    let Some(held) = held(scene, victim) else { return Vec::new() };
    let time = held.blocked + held.spun;
    let Some(mut confidence) = grade(scene, victim, time) else { return Vec::new() };
    if held.function.is_empty() || held.blocked > held.spun && held.blocked / held.count.max(1) as u32 > LONG {
        confidence = Confidence::Possible;
    }
    let name =
        if held.function.is_empty() { "a function that was not sampled".to_owned() } else { held.function.clone() };
    let which = held.lock.map_or_else(String::new, |lock| format!(": {lock}"));
    let holder = held.holder.map_or_else(String::new, |pid| format!("; {} let most of them go", scene.label(pid)));
    vec![Draft {
        confidence,
        time,
        summary: format!(
            "{} waits for a lock inside the kernel for {}, in {name}{which}: {} waits blocked {:.2} s, {:.2} s were \
             spun{holder}.",
            victim.label(),
            how_much(victim, time),
            held.count,
            held.blocked.as_secs_f64(),
            held.spun.as_secs_f64(),
        ),
        culprit: Party {
            kind: "kernel function".into(),
            pid: held.holder.map(|pid| pid.0),
            name,
            detail: held.lock.map(str::to_owned),
        },
        evidence: vec![
            Evidence::new("ledger: blocked.kernel_lock, outside of syncs", held.blocked.as_secs_f64(), "s")
                .at("recording/waits.parquet"),
            Evidence::new("contention_begin: spun for spin locks", held.spun.as_secs_f64(), "s")
                .at("recording/series.parquet"),
            Evidence::new("waits", held.count as f64, "waits").at("recording/waits.parquet"),
        ],
        codepath: held.path,
        next: vec![
            "see what its threads do under that function at once (off-CPU/waker flame graph)".to_owned(),
            match held.lock {
                Some(lock) if lock.starts_with("mmap_lock") => {
                    "map and unmap less: keep buffers, raise the allocator's thresholds, processes instead of threads"
                }
                _ => "spread the work over more files, directories or sockets, or over fewer threads",
            }
            .to_owned(),
        ],
        removes: Removes::Waits(Waits {
            classes: vec![TimeClass::BlockedKernelLock],
            work: Ratio::of(held.spun, victim.times.sum(TimeClass::is_running)).0,
            ..Waits::default()
        }),
        descriptive: false,
    }]
}

/// What the victim waits for, by the function in which most of that time is.
fn held(scene: &Scene, victim: &Victim) -> Option<Held> {
    let waits: Vec<&Wait> = victim
        .waits(scene)
        .filter(|w| w.class == TimeClass::BlockedKernelLock && !super::disk_sync_writes::is_sync(scene, w))
        .collect();
    let mut functions: BTreeMap<&str, Duration> = BTreeMap::new();
    let mut holders: BTreeMap<Pid, Duration> = BTreeMap::new();
    for wait in &waits {
        *functions.entry(function(scene, wait)).or_default() += wait.time;
        if let Some((pid, _)) = wait.by {
            *holders.entry(pid).or_default() += wait.time;
        }
    }
    let mut spun = Duration::ZERO;
    for row in
        scene.rec.get(&catalog::SPIN_TIME).into_iter().flat_map(|rows| totals_of(rows, |pid| victim.contains(pid)))
    {
        let time = seconds(row);
        spun += time;
        *functions.entry(row.labels.get("function")).or_default() += time;
    }
    let (name, _) = functions.into_iter().max_by_key(|(name, time)| (!name.is_empty(), *time))?;
    let heaviest = waits.iter().filter(|w| function(scene, w) == name).max_by_key(|w| w.time);
    let frames: Vec<&str> = heaviest.into_iter().flat_map(|w| kernel_frames(scene, w)).chain([name]).collect();
    Some(Held {
        blocked: waits.iter().map(|w| w.time).sum(),
        spun: spun.min(victim.times.sum(TimeClass::is_running)),
        function: name.to_owned(),
        lock: LOCKS.iter().find(|(on, _)| frames.iter().any(|frame| on.contains(frame))).map(|(_, lock)| *lock),
        count: waits.iter().map(|w| w.count).sum(),
        holder: holders.into_iter().max_by_key(|(_, time)| *time).map(|(pid, _)| pid),
        path: heaviest.map(|w| path(scene.rec, &w.stack)).unwrap_or_default(),
    })
}

/// In which function of the kernel it waits: what the wait is named by, unless that is a file.
fn function<'a>(scene: &Scene<'a>, wait: &'a Wait) -> &'a str {
    if wait.resource.is_empty() || wait.resource.contains(':') {
        kernel_frames(scene, wait).last().unwrap_or("")
    } else {
        &wait.resource
    }
}

fn kernel_frames<'a>(scene: &Scene<'a>, wait: &'a Wait) -> impl Iterator<Item = &'a str> {
    let rec = scene.rec;
    wait.stack.iter().map(|id| rec.frame(*id)).filter(|f| f.kind == FrameKind::Kernel).map(|f| f.name.as_str())
}

fn seconds(row: &Series) -> Duration {
    Duration::try_from_secs_f64(row.last()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use crate::{
        Confidence,
        testing::{System, all, one},
    };
    use observe::TimeClass::{BlockedKernelLock, RunningKernel, RunningUser};

    fn mapper() -> System {
        System::new()
            .thread(10, "parser", &[(RunningUser, 2.0), (RunningKernel, 2.0), (BlockedKernelLock, 5.0)])
            .target(10)
    }

    #[test]
    fn the_function_says_which_lock() {
        let rec = mapper().wait(10, BlockedKernelLock, "mmap", "vm_mmap_pgoff", Some((10, 11)), 5.0, 5000).build();
        let finding = one(&rec, "lock.kernel");
        assert_eq!((finding.culprit.name.as_str(), finding.confidence), ("vm_mmap_pgoff", Confidence::Likely));
        assert!(finding.culprit.detail.unwrap().starts_with("mmap_lock"));
    }

    #[test]
    fn one_long_wait_is_only_possible_and_a_sync_is_another_story() {
        let rec = mapper().wait(10, BlockedKernelLock, "write", "vfs_write", None, 5.0, 2).build();
        assert_eq!(one(&rec, "lock.kernel").confidence, Confidence::Possible);
        let rec = mapper().wait(10, BlockedKernelLock, "fsync", "file:/var/log/x", None, 5.0, 500).build();
        assert!(all(&rec, "lock.kernel").is_empty());
    }

    #[test]
    fn spinning_counts() {
        let rec = System::new()
            .thread(10, "poller", &[(RunningUser, 2.0), (RunningKernel, 7.0)])
            .spun(10, "do_epoll_wait", 6.0)
            .target(10)
            .build();
        assert_eq!(one(&rec, "lock.kernel").culprit.name, "do_epoll_wait");
    }
}
