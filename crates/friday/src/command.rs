//! Starting the command that the user wants to look at: held until the probes are armed, as the user who called sudo,
//! in a process group of its own, so that Ctrl-C ends the window and not the command.

use std::{
    ffi::{CString, OsString},
    io,
    os::unix::ffi::OsStrExt,
};

/// Why a command could not be started.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// An argument holds a zero byte.
    #[error("the command holds a zero byte, which no program can be given")]
    ZeroByte,
    /// The system refused.
    #[error("cannot start `{name}`: is it installed, executable and in PATH?")]
    Start {
        /// What was to be started.
        name: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// A child process that waits for [`Held::release`] before it becomes the command.
pub struct Held {
    /// Its process id.
    pub pid: u32,
    name: String,
    go: libc::c_int,
    result: libc::c_int,
}

/// The user to become, when sudo called us.
struct User {
    uid: libc::uid_t,
    gid: libc::gid_t,
    name: Option<CString>,
}

fn sudo_user() -> Option<User> {
    // SAFETY: no arguments, cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        return None;
    }
    let number = |name| std::env::var(name).ok()?.parse().ok();
    let name = std::env::var_os("SUDO_USER").and_then(|n| CString::new(n.as_bytes()).ok());
    Some(User { uid: number("SUDO_UID")?, gid: number("SUDO_GID")?, name })
}

fn pipe() -> io::Result<[libc::c_int; 2]> {
    let mut ends = [0; 2];
    // SAFETY: a valid array for two descriptors.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(ends)
}

impl Held {
    /// Forks the process that will become the command.
    pub fn start(command: &[OsString]) -> Result<Held, CommandError> {
        let name = command.first().map(|c| c.to_string_lossy().into_owned()).unwrap_or_default();
        let arguments: Vec<CString> = command
            .iter()
            .map(|a| CString::new(a.as_bytes()))
            .collect::<Result<_, _>>()
            .map_err(|_| CommandError::ZeroByte)?;
        let failed = |source| CommandError::Start { name: name.clone(), source };
        let (go, result) = (pipe().map_err(failed)?, pipe().map_err(failed)?);
        let user = sudo_user();
        let mut pointers: Vec<*const libc::c_char> = arguments.iter().map(|a| a.as_ptr()).collect();
        pointers.push(std::ptr::null());
        // SAFETY: friday has one thread here, so the child may do more than async-signal-safe calls.
        let pid = unsafe { libc::fork() };
        if pid < 0 {
            return Err(failed(io::Error::last_os_error()));
        }
        if pid == 0 {
            // SAFETY: the child owns its copies of the descriptors and never returns from here.
            unsafe { become_command(go, result[1], &pointers, user.as_ref()) }
        }
        // SAFETY: ends that only the child uses.
        unsafe {
            libc::close(go[0]);
            libc::close(result[1]);
        }
        Ok(Held { pid: pid as u32, name, go: go[1], result: result[0] })
    }

    /// Lets it become the command.
    pub fn release(self) -> Result<Running, CommandError> {
        let mut errno = [0u8; 4];
        // SAFETY: descriptors that this value owns, and buffers of the lengths given.
        let read = unsafe {
            libc::write(self.go, [1u8].as_ptr().cast(), 1);
            libc::close(self.go);
            let read = libc::read(self.result, errno.as_mut_ptr().cast(), 4);
            libc::close(self.result);
            read
        };
        if read == 4 {
            let source = io::Error::from_raw_os_error(i32::from_ne_bytes(errno));
            return Err(CommandError::Start { name: self.name, source });
        }
        Ok(Running { pid: self.pid })
    }
}

/// The command, running.
pub struct Running {
    pid: u32,
}

impl Running {
    /// Whether it has ended, in words.
    pub fn ended(&self) -> Option<String> {
        let mut status = 0;
        // SAFETY: our own child and a valid place for its status.
        if unsafe { libc::waitpid(self.pid as i32, &mut status, libc::WNOHANG) } != self.pid as i32 {
            return None;
        }
        Some(if libc::WIFEXITED(status) {
            format!("the command ended with status {}", libc::WEXITSTATUS(status))
        } else {
            format!("the command was ended by signal {}", libc::WTERMSIG(status))
        })
    }
}

/// The child: waits for the word, takes the user's identity, and becomes the command.
///
/// # Safety
/// Only in a freshly forked child of a process with one thread.
unsafe fn become_command(
    go: [libc::c_int; 2],
    result: libc::c_int,
    arguments: &[*const libc::c_char],
    user: Option<&User>,
) -> ! {
    // SAFETY: plain system calls on descriptors and strings that outlive them.
    unsafe {
        libc::close(go[1]);
        let mut word = 0u8;
        if libc::read(go[0], (&raw mut word).cast(), 1) != 1 {
            libc::_exit(0); // friday gave up
        }
        libc::setpgid(0, 0);
        libc::dup2(2, 1);
        if libc::isatty(0) == 1 {
            let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY);
            libc::dup2(null, 0);
        }
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        let identity = user.is_none_or(|user| {
            let groups = match &user.name {
                Some(name) => libc::initgroups(name.as_ptr(), user.gid),
                None => libc::setgroups(1, &user.gid),
            };
            groups == 0 && libc::setgid(user.gid) == 0 && libc::setuid(user.uid) == 0
        });
        if identity {
            libc::execvp(arguments[0], arguments.as_ptr());
        }
        let errno = io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL).to_ne_bytes();
        libc::write(result, errno.as_ptr().cast(), 4);
        libc::_exit(127)
    }
}
