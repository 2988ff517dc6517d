//! How a process of a scenario is started: with which environment, in which cgroup, on which CPUs, under which limits,
//! how nice and as whom.

use super::cgroup::Cgroup;
use super::scenario::Start;
use crate::processes::Stop;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

/// Starts the command that a start stands for.
pub fn spawn(mut command: Command, start: &Start, cgroup: Option<&Cgroup>) -> Result<Child, Stop> {
    let open = |path| File::options().write(true).open(path);
    let procs: io::Result<Vec<File>> = cgroup.iter().flat_map(|cgroup| cgroup.procs()).map(open).collect();
    let procs = procs.map_err(|e| format!("cgroup.procs: {e}"))?;
    let user = start.user.as_deref().map(user).transpose()?;
    let limits: Vec<_> = start.limits.iter().filter_map(|(name, most)| Some((resource(name)?, *most))).collect();
    let (nice, pinned) = (start.nice, !start.affinity.is_empty());
    // SAFETY: all zeros is the empty set.
    let mut cpus: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for cpu in &start.affinity {
        // SAFETY: CPU_SET checks its bounds.
        unsafe { libc::CPU_SET(*cpu, &mut cpus) };
    }
    let check = |result: isize| if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) };
    // SAFETY: only system calls on values made before the fork.
    unsafe {
        command.pre_exec(move || {
            for file in &procs {
                check(libc::write(file.as_raw_fd(), c"0".as_ptr().cast(), 1))?;
            }
            if pinned {
                check(libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &cpus) as isize)?;
            }
            if let Some(nice) = nice {
                check(libc::setpriority(libc::PRIO_PROCESS, 0, nice) as isize)?;
            }
            for (resource, most) in &limits {
                let limit = libc::rlimit { rlim_cur: *most, rlim_max: *most };
                check(libc::setrlimit(*resource, &limit) as isize)?;
            }
            if let Some((uid, gid)) = user {
                check(libc::setgroups(0, std::ptr::null()) as isize)?;
                check(libc::setgid(gid) as isize)?;
                check(libc::setuid(uid) as isize)?;
                // To become somebody else undoes it.
                check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) as isize)?;
            }
            Ok(())
        })
    };
    Ok(command.spawn().map_err(|e| format!("{}: {e}", start.run.join(" ")))?)
}

/// The number of a resource that is limited.
pub fn resource(name: &str) -> Option<libc::__rlimit_resource_t> {
    Some(match name {
        "as" => libc::RLIMIT_AS,
        "core" => libc::RLIMIT_CORE,
        "data" => libc::RLIMIT_DATA,
        "fsize" => libc::RLIMIT_FSIZE,
        "memlock" => libc::RLIMIT_MEMLOCK,
        "nofile" => libc::RLIMIT_NOFILE,
        "nproc" => libc::RLIMIT_NPROC,
        "stack" => libc::RLIMIT_STACK,
        _ => return None,
    })
}

/// The numbers of a user and of its group.
fn user(name: &str) -> Result<(u32, u32), Stop> {
    let users = fs::read_to_string("/etc/passwd").map_err(|e| format!("/etc/passwd: {e}"))?;
    let row = users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|row| row[0] == name);
    let numbers = row.and_then(|row| Some((row.get(2)?.parse().ok()?, row.get(3)?.parse().ok()?)));
    numbers.ok_or_else(|| Stop::Skip(format!("there is no user {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_gets_what_its_start_says() {
        let text = "role = 'a'\nrun = ['sh']\nnice = 7\naffinity = [0]\nlimits = { nofile = 64 }\nenv = {}";
        let start: Start = toml::from_str(text).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "[ $(ulimit -n) = 64 ] && [ $(cut -d' ' -f19 /proc/self/stat) = 7 ]"]);
        assert!(spawn(command, &start, None).unwrap().wait().unwrap().success());
    }

    #[test]
    fn users_are_known_by_name() {
        assert_eq!(user("root").unwrap(), (0, 0));
        assert!(matches!(user("no-such-user-here"), Err(Stop::Skip(_))));
    }
}
