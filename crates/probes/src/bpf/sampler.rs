//! The CPU profile's clock: one software event a CPU.

use super::message::refused;
use libbpf_rs::Link;
use observe::Absent;
use std::mem::size_of;

/// Attaches the sampler to the software CPU clock of every CPU.
pub(super) fn attach_sampler(prog: &libbpf_rs::ProgramMut<'_>, hz: u64) -> Result<Vec<Link>, Absent> {
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
