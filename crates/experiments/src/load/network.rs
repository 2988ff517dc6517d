//! How long does a byte take to itself and back, and to the next router and back?

use super::{Benchmark, Place, Values, failed, text};
use observe::{Absent, Observed};
use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    thread,
    time::{Duration, Instant},
};

/// The whole stack, without a wire.
pub const LOOPBACK: Benchmark = Benchmark {
    id: "load.loopback",
    group: "tcp",
    about: "a byte over TCP to this machine itself and back",
    unit: "µs",
    bound: "4,500 bytes to and fro",
    more_is_better: false,
    run: loopback,
};

/// The first wire.
pub const GATEWAY: Benchmark = Benchmark {
    id: "load.gateway",
    group: "network interfaces",
    about: "an ICMP echo of the default gateway",
    unit: "ms",
    bound: "20 packets of 64 bytes, 50 ms apart",
    more_is_better: false,
    run: gateway,
};

fn loopback(_: &Place) -> Observed<Values> {
    let what = "TCP on the loopback";
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed(what))?;
    let address = listener.local_addr().map_err(failed(what))?;
    let echo = thread::spawn(move || {
        let Ok((mut stream, _)) = listener.accept() else { return };
        let _ = stream.set_nodelay(true);
        let mut byte = [0];
        while stream.read_exact(&mut byte).and_then(|()| stream.write_all(&byte)).is_ok() {}
    });
    let mut stream = TcpStream::connect(address).map_err(failed(what))?;
    stream.set_nodelay(true).map_err(failed(what))?;
    let mut byte = [0];
    let mut each = Vec::new();
    for _ in 0..9 {
        const TURNS: u32 = 500;
        let began = Instant::now();
        for _ in 0..TURNS {
            stream.write_all(&byte).and_then(|()| stream.read_exact(&mut byte)).map_err(failed(what))?;
        }
        each.push(began.elapsed().as_secs_f64() * 1e6 / f64::from(TURNS));
    }
    drop(stream);
    let _ = echo.join();
    Ok(Values::new(each, "lo").slow_from(200.0, "ours: 10 to 60 µs"))
}

/// The gateway of the default route: `/proc/net/route` holds it as a number in the machine's own order.
fn default_gateway(table: &str) -> Option<Ipv4Addr> {
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (destination, gateway) = (fields.get(1)?, fields.get(2)?);
        let gateway = u32::from_str_radix(gateway, 16).ok()?;
        (*destination == "00000000" && gateway != 0).then(|| Ipv4Addr::from(gateway.to_ne_bytes()))
    })
}

/// An echo request; the kernel fills in the identifier and the checksum of such sockets.
fn echo_request(number: u16) -> [u8; 64] {
    let mut packet = [0; 64];
    packet[0] = 8;
    packet[6..8].copy_from_slice(&number.to_be_bytes());
    let sum: u32 = packet.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !(((folded & 0xffff) + (folded >> 16)) as u16);
    packet[2..4].copy_from_slice(&checksum.to_be_bytes());
    packet
}

fn gateway(_: &Place) -> Observed<Values> {
    const PACKETS: u16 = 20;
    let gateway = text("/proc/net/route").as_deref().and_then(default_gateway);
    let gateway = gateway.ok_or_else(|| Absent::Unsupported("there is no default gateway (IPv4)".to_owned()))?;
    let what = format!("ICMP to {gateway}");
    let socket = socket().map_err(failed(&what))?;
    let (mut each, mut lost) = (Vec::new(), 0);
    for number in 0..PACKETS {
        let began = Instant::now();
        send(&socket, gateway, &echo_request(number)).map_err(failed(&what))?;
        match answer(&socket, number) {
            Ok(()) => each.push(began.elapsed().as_secs_f64() * 1e3),
            Err(_) => lost += 1,
        }
        // A gateway that does not answer will not.
        if number == 2 && each.is_empty() {
            return Err(Absent::Unsupported(format!("{gateway} does not answer ICMP echoes")));
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(Values { failed: lost, ..Values::new(each, gateway.to_string()) }
        .slow_from(5.0, "ours: 0.1 to 1 ms on a wire, some more in a cloud"))
}

/// A datagram socket for ICMP, or a raw one where only that is allowed.
fn socket() -> io::Result<OwnedFd> {
    for kind in [libc::SOCK_DGRAM, libc::SOCK_RAW] {
        // SAFETY: plain numbers; a new descriptor or an error comes back.
        let fd = unsafe { libc::socket(libc::AF_INET, kind | libc::SOCK_CLOEXEC, libc::IPPROTO_ICMP) };
        if fd < 0 {
            continue;
        }
        // SAFETY: a new descriptor that nobody else owns.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        let second = libc::timeval { tv_sec: 1, tv_usec: 0 };
        let size = std::mem::size_of::<libc::timeval>() as libc::socklen_t;
        // SAFETY: a valid structure of that size.
        let set = unsafe {
            libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_RCVTIMEO, std::ptr::from_ref(&second).cast(), size)
        };
        return if set == 0 { Ok(socket) } else { Err(io::Error::last_os_error()) };
    }
    Err(io::Error::last_os_error())
}

fn send(socket: &OwnedFd, to: Ipv4Addr, packet: &[u8]) -> io::Result<()> {
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(to.octets()) },
        sin_zero: [0; 8],
    };
    let size = std::mem::size_of::<libc::sockaddr_in>() as libc::socklen_t;
    // SAFETY: a packet and an address of the sizes given.
    let sent = unsafe {
        let address = std::ptr::from_ref(&address).cast();
        libc::sendto(socket.as_raw_fd(), packet.as_ptr().cast(), packet.len(), 0, address, size)
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Waits for the answer of that number; a raw socket hears others' as well, behind the header of IP.
fn answer(socket: &OwnedFd, number: u16) -> io::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(1);
    let mut buffer = [0_u8; 256];
    while Instant::now() < deadline {
        // SAFETY: a buffer of the length given.
        let read = unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        let read = usize::try_from(read).map_err(|_| io::Error::last_os_error())?;
        let packet = &buffer[..read];
        let packet =
            if packet.first().is_some_and(|first| first >> 4 == 4) { packet.get(20..).unwrap_or(&[]) } else { packet };
        if packet.first() == Some(&0) && packet.get(6..8) == Some(&number.to_be_bytes()) {
            return Ok(());
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_gateway_is_read_from_the_routing_table() {
        let address = u32::from_ne_bytes([10, 0, 0, 1]);
        let table =
            format!("Iface Destination Gateway\neth0 0000000A 00000000 0001\neth0 00000000 {address:08X} 0003\n");
        assert_eq!(default_gateway(&table), Some(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(default_gateway("Iface Destination Gateway\n"), None);
    }

    #[test]
    fn a_packet_adds_up_to_nothing() {
        let sum: u32 = echo_request(7).chunks(2).map(|p| u32::from(u16::from_be_bytes([p[0], p[1]]))).sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    }
}
