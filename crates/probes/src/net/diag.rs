//! Sockets as the kernel lists them by netlink (`sock_diag`, what `ss` reads): a small reader, since the crates that
//! speak netlink bring an asynchronous runtime or a whole protocol family for the one request that is made here.
//!
//! Cost: 1 to 2 µs for each socket with its `tcp_info`, and the walk over the table they are in, which is large where
//! memory is: 3 ms for the 262,144 buckets of a machine with 24 GiB. Listening sockets are in a small table: 0.1 ms.

use super::scope::Scope;
use observe::Absent;
use std::{
    io,
    mem::size_of,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

pub(crate) mod unix;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const HEADER: usize = 16;
/// `struct inet_diag_msg`.
const MESSAGE: usize = 72;
/// Attributes, by `INET_DIAG_…`.
const INFO: u16 = 2;
const MEMORY: u16 = 7;
/// Of the memory attribute (`SK_MEMINFO_DROPS`).
const DROPS: usize = 8 * 4;
/// What a dump is read in: the kernel fills at most 32 KiB at a time.
const BUFFER: usize = 64 << 10;

/// States to ask for, as bits.
pub(crate) const LISTENING: u32 = 1 << 10;
/// Those that can hold data under way: established, connecting, and closed by one end.
pub(crate) const LIVE: u32 = 1 << 1 | 1 << 2 | 1 << 4 | 1 << 8;
pub(crate) const ANY: u32 = u32::MAX;
const ESTABLISHED: u8 = 1;
const SYN_SENT: u8 = 2;

/// A netlink socket in a network namespace.
pub(crate) struct Diag {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

/// One socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub state: u8,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// Bytes not read yet; of a listening socket the connections that wait to be accepted.
    pub read_queue: u32,
    /// Bytes not acknowledged yet; of a listening socket how many connections may wait.
    pub write_queue: u32,
    /// Of the socket, as `/proc/PID/fd` shows it; 0 when no process holds it.
    pub inode: u32,
    /// Unique while the machine runs.
    pub cookie: u64,
    /// Packets it dropped since it was made, where that was asked for.
    pub drops: Option<u32>,
    pub info: Option<Info>,
}

impl Row {
    pub fn is_established(&self) -> bool {
        self.state == ESTABLISHED
    }

    pub fn is_connecting(&self) -> bool {
        self.state == SYN_SENT
    }
}

/// What TCP tells of a connection; times in microseconds. Counters begin at zero with the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Info {
    pub rtt: u32,
    pub min_rtt: u32,
    pub unacknowledged: u32,
    pub lost: u32,
    pub retransmitted: u32,
    pub sent: u32,
    pub bytes_acknowledged: u64,
    pub bytes_received: u64,
    pub busy: u64,
    pub receive_window: u64,
    pub send_buffer: u64,
    /// Linux 5.4 and later.
    pub peer_window: Option<u32>,
    /// Segments with data that came.
    pub received: u32,
    /// Packets that came before others which belong in front of them; Linux 5.4 and later.
    pub out_of_order: u32,
    /// What this end offers to take; Linux 6.2 and later.
    pub window: Option<u32>,
    /// How often in a row the retransmission timer has run out.
    pub timeouts: u8,
    /// Milliseconds since the other end acknowledged something, or anything came from it.
    pub since_acknowledged: u32,
    /// Milliseconds since this end sent data last, and since data came last, or the connection was made.
    pub since_sent: u32,
    pub since_received: u32,
}

impl Diag {
    /// Opens a netlink socket in a namespace.
    pub fn open(scope: &Scope) -> Result<Diag, Absent> {
        let opened = scope.inside(socket);
        let failed = |e: io::Error| match e.kind() {
            io::ErrorKind::PermissionDenied => Absent::NoPermission(format!(
                "the sockets of the target's network namespace: run as root, or with CAP_SYS_ADMIN ({e})"
            )),
            _ => Absent::Unsupported(format!("sock_diag (CONFIG_INET_DIAG): {e}")),
        };
        Ok(Diag { socket: opened.map_err(failed)?, buffer: vec![0; BUFFER] })
    }

    /// Lists unix sockets with their names and the socket at the other end.
    pub fn list_unix(&mut self, mut each: impl FnMut(unix::Row)) -> Result<(), Absent> {
        self.ask(&unix::request(), &mut |body| each(unix::row(body))).map_err(|e| match e.raw_os_error() {
            Some(libc::ENOENT) => Absent::Unsupported("the kernel lists no unix sockets (CONFIG_UNIX_DIAG)".into()),
            _ => Absent::Failed(format!("sock_diag: {e}")),
        })
    }

    /// Lists the sockets of a protocol that are in one of some states, IPv4 and IPv6.
    pub fn list(&mut self, protocol: i32, states: u32, mut each: impl FnMut(Row)) -> Result<(), Absent> {
        for family in [libc::AF_INET, libc::AF_INET6] {
            self.dump(family as u8, protocol as u8, states, &mut each).map_err(|e| match e.raw_os_error() {
                Some(libc::ENOENT) => Absent::Unsupported("the kernel lists no such sockets (CONFIG_INET_DIAG)".into()),
                _ => Absent::Failed(format!("sock_diag: {e}")),
            })?;
        }
        Ok(())
    }

    fn dump(&mut self, family: u8, protocol: u8, states: u32, each: &mut impl FnMut(Row)) -> io::Result<()> {
        let wanted = match (protocol as i32, states) {
            (libc::IPPROTO_TCP, LIVE) => INFO,
            _ => MEMORY,
        };
        let request = request(family, protocol, 1 << (wanted - 1), states);
        self.ask(&request, &mut |body| {
            if body.len() >= MESSAGE {
                each(row(body));
            }
        })
    }

    /// Sends a request, and hands out each of the answers.
    fn ask(&mut self, request: &[u8], each: &mut impl FnMut(&[u8])) -> io::Result<()> {
        // SAFETY: the request is valid for its length.
        let sent = unsafe { libc::send(self.socket.as_raw_fd(), request.as_ptr().cast(), request.len(), 0) };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        loop {
            let (place, size) = (self.buffer.as_mut_ptr().cast(), self.buffer.len());
            // SAFETY: a buffer of that size.
            let got = unsafe { libc::recv(self.socket.as_raw_fd(), place, size, 0) };
            if got < 0 {
                let error = io::Error::last_os_error();
                if error.kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                return Err(error);
            }
            if parse(&self.buffer[..got as usize], each)? {
                return Ok(());
            }
        }
    }
}

fn socket() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
    // SAFETY: plain numbers; a new descriptor or an error comes back.
    let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_SOCK_DIAG) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // An answer that does not come must not hang the run.
    let patience = libc::timeval { tv_sec: 1, tv_usec: 0 };
    // SAFETY: a valid option with its size.
    unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_RCVTIMEO,
            (&raw const patience).cast(),
            size_of::<libc::timeval>() as u32,
        );
    }
    Ok(socket)
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2`; the identity that follows is left empty: every socket.
fn request(family: u8, protocol: u8, extensions: u8, states: u32) -> [u8; HEADER + 56] {
    let mut bytes = header::<{ HEADER + 56 }>(family);
    bytes[17] = protocol;
    bytes[18] = extensions;
    bytes[20..24].copy_from_slice(&states.to_ne_bytes());
    bytes
}

/// A request of that length for a family's sockets: `struct nlmsghdr`, the family, and zeros.
fn header<const LENGTH: usize>(family: u8) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes[0..4].copy_from_slice(&(LENGTH as u32).to_ne_bytes());
    bytes[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    bytes[16] = family;
    bytes
}

/// Takes what one read brought; true when it was the last.
fn parse(mut bytes: &[u8], each: &mut impl FnMut(&[u8])) -> io::Result<bool> {
    while bytes.len() >= HEADER {
        let length = u32_at(bytes, 0) as usize;
        if length < HEADER || length > bytes.len() {
            return Err(io::Error::other("an answer that makes no sense"));
        }
        let body = &bytes[HEADER..length];
        match u16_at(bytes, 4) {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => return Err(io::Error::from_raw_os_error(-(u32_at(body, 0) as i32))),
            SOCK_DIAG_BY_FAMILY => each(body),
            _ => {}
        }
        bytes = &bytes[length.next_multiple_of(4).min(bytes.len())..];
    }
    Ok(false)
}

fn row(body: &[u8]) -> Row {
    let address = |address: usize, port: usize| {
        let port = u16::from_be_bytes([body[port], body[port + 1]]);
        SocketAddr::new(address_of(i32::from(body[0]), &body[address..address + 16]), port)
    };
    let mut row = Row {
        state: body[1],
        local: address(8, 4),
        remote: address(24, 6),
        read_queue: u32_at(body, 56),
        write_queue: u32_at(body, 60),
        inode: u32_at(body, 68),
        cookie: u64::from(u32_at(body, 44)) | u64::from(u32_at(body, 48)) << 32,
        drops: None,
        info: None,
    };
    attributes(&body[MESSAGE..], |name, value| match name {
        INFO => row.info = Some(info(value)),
        MEMORY if value.len() >= DROPS + 4 => row.drops = Some(u32_at(value, DROPS)),
        _ => {}
    });
    row
}

/// Goes through what follows a message, by number.
fn attributes(mut bytes: &[u8], mut each: impl FnMut(u16, &[u8])) {
    while bytes.len() >= 4 {
        let length = (u16_at(bytes, 0) as usize).clamp(4, bytes.len());
        each(u16_at(bytes, 2), &bytes[4..length]);
        bytes = &bytes[length.next_multiple_of(4).min(bytes.len())..];
    }
}

/// From `struct tcp_info`, which only ever grows at its end; what an older kernel lacks is zero.
fn info(bytes: &[u8]) -> Info {
    Info {
        rtt: u32_at(bytes, 68),
        // All ones until there is one.
        min_rtt: Some(u32_at(bytes, 148)).filter(|min| *min != u32::MAX).unwrap_or(0),
        unacknowledged: u32_at(bytes, 24),
        lost: u32_at(bytes, 32),
        retransmitted: u32_at(bytes, 100),
        sent: u32_at(bytes, 156),
        bytes_acknowledged: u64_at(bytes, 120),
        bytes_received: u64_at(bytes, 128),
        busy: u64_at(bytes, 168),
        receive_window: u64_at(bytes, 176),
        send_buffer: u64_at(bytes, 184),
        peer_window: (bytes.len() >= 232).then(|| u32_at(bytes, 228)),
        received: u32_at(bytes, 152),
        out_of_order: u32_at(bytes, 224),
        window: (bytes.len() >= 236).then(|| u32_at(bytes, 232)),
        timeouts: bytes.get(2).copied().unwrap_or(0),
        since_acknowledged: u32_at(bytes, 56),
        since_sent: u32_at(bytes, 44),
        since_received: u32_at(bytes, 52),
    }
}

/// An address as the kernel keeps it; IPv4 ones that an IPv6 socket speaks to are shown as such.
pub(crate) fn address_of(family: i32, bytes: &[u8]) -> IpAddr {
    let byte = |at: usize| bytes.get(at).copied().unwrap_or(0);
    if family == libc::AF_INET6 {
        Ipv6Addr::from(std::array::from_fn::<u8, 16, _>(byte)).to_canonical()
    } else {
        IpAddr::V4(Ipv4Addr::from(std::array::from_fn::<u8, 4, _>(byte)))
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |b| u16::from_ne_bytes([b[0], b[1]]))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream},
        thread::sleep,
        time::Duration,
    };

    fn own() -> Diag {
        Diag::open(&Scope { files: "/proc/net".into(), number: 0, of: None }).expect("sock_diag is there")
    }

    #[test]
    fn sockets_of_this_process_are_listed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut diag = own();
        let mut listening = Vec::new();
        diag.list(libc::IPPROTO_TCP, LISTENING, |row| listening.push(row)).unwrap();
        let row = listening.iter().find(|row| row.local == listener.local_addr().unwrap()).expect("the listener");
        assert_eq!((row.read_queue, row.write_queue, row.drops), (1, 128, Some(0)), "one waits to be accepted");
        let mut live = Vec::new();
        diag.list(libc::IPPROTO_TCP, LIVE, |row| live.push(row)).unwrap();
        let row = live.iter().find(|row| row.local == client.local_addr().unwrap()).expect("the client");
        assert_eq!(row.remote, listener.local_addr().unwrap());
        let info = row.info.expect("tcp_info");
        assert!(
            row.inode != 0 && row.cookie != 0 && info.rtt > 0 && info.peer_window.is_some_and(|w| w > 0),
            "{row:?}"
        );
    }

    #[test]
    fn who_spoke_last_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut server = listener.accept().unwrap().0;
        server.write_all(&[7; 50]).unwrap();
        client.read_exact(&mut [0; 50]).unwrap();
        sleep(Duration::from_millis(100));
        client.write_all(&[7; 50]).unwrap();
        sleep(Duration::from_millis(100));
        let of = |end: &TcpStream| {
            let (mut found, local) = (None, end.local_addr().unwrap());
            own()
                .list(libc::IPPROTO_TCP, LIVE, |row| found = found.take().or((row.local == local).then_some(row)))
                .unwrap();
            let row = found.expect("it is there");
            assert!(row.is_established());
            let info = row.info.expect("tcp_info");
            (info.since_sent, info.since_received)
        };
        let ((sent, received), (answered, asked)) = (of(&client), of(&server));
        assert!(sent >= 90 && received >= sent + 90, "{sent} {received}");
        assert!(asked >= 90 && answered >= asked + 90, "{answered} {asked}");
    }

    #[test]
    fn answers_that_are_cut_short_are_refused() {
        let mut bytes = vec![0; HEADER + MESSAGE];
        bytes[0..4].copy_from_slice(&((HEADER + MESSAGE + 8) as u32).to_ne_bytes());
        assert!(parse(&bytes, &mut |_| ()).is_err());
        bytes[0..4].copy_from_slice(&8u32.to_ne_bytes());
        assert!(parse(&bytes, &mut |_| ()).is_err());
        assert!(!parse(&bytes[..8], &mut |_| ()).unwrap());
    }

    #[test]
    fn a_short_tcp_info_is_that_of_an_older_kernel() {
        let mut bytes = [0; 192];
        bytes[68..72].copy_from_slice(&700u32.to_ne_bytes());
        bytes[148..152].copy_from_slice(&u32::MAX.to_ne_bytes());
        let info = info(&bytes);
        assert_eq!((info.rtt, info.min_rtt, info.peer_window), (700, 0, None));
    }

    #[test]
    fn mapped_addresses_are_shown_as_what_they_are() {
        let mut bytes = [0; 16];
        bytes[10..].copy_from_slice(&[0xff, 0xff, 10, 0, 0, 2]);
        assert_eq!(address_of(libc::AF_INET6, &bytes).to_string(), "10.0.0.2");
        assert_eq!(address_of(libc::AF_INET, &[127, 0, 0, 1]).to_string(), "127.0.0.1");
    }
}
