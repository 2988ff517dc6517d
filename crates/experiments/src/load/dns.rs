//! How long do the name servers take?

use super::{Benchmark, Place, Values, failed, text};
use observe::{Absent, Observed};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

/// Who the root is, which every resolver knows without asking anybody.
pub const LOOKUP: Benchmark = Benchmark {
    id: "load.dns",
    group: "dns",
    about: "the name servers of the root, asked of each server in resolv.conf over UDP",
    unit: "ms",
    bound: "5 questions of 17 bytes for each of 3 servers, a second each at most",
    more_is_better: false,
    run,
};

const QUESTIONS: u16 = 5;
const SERVERS: usize = 3;

fn servers(resolv: &str) -> Vec<IpAddr> {
    let words = resolv.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    words.filter_map(|rest| rest.trim().split('%').next()?.parse().ok()).take(SERVERS).collect()
}

/// A question for the name servers of the root: RFC 1035, 4.1.
fn question(number: u16) -> [u8; 17] {
    let [high, low] = number.to_be_bytes();
    // Header (id, recursion desired, one question), the root's empty name, type NS, class IN.
    [high, low, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1]
}

fn run(_: &Place) -> Observed<Values> {
    let resolv = text("/etc/resolv.conf").unwrap_or_default();
    let servers = servers(&resolv);
    if servers.is_empty() {
        return Err(Absent::Unsupported("/etc/resolv.conf names no server".to_owned()));
    }
    let (mut each, mut lost) = (Vec::new(), 0);
    for server in &servers {
        let own: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let what = format!("UDP to {server}");
        let socket = UdpSocket::bind(SocketAddr::new(own, 0)).map_err(failed(&what))?;
        socket.set_read_timeout(Some(Duration::from_secs(1))).map_err(failed(&what))?;
        socket.connect(SocketAddr::new(*server, 53)).map_err(failed(&what))?;
        for number in 0..QUESTIONS {
            let number = number ^ 0x6672;
            let began = Instant::now();
            let mut answer = [0; 512];
            let asked = socket.send(&question(number)).and_then(|_| socket.recv(&mut answer));
            match asked {
                // A server that refuses has answered.
                Ok(read) if read >= 12 && answer[..2] == number.to_be_bytes() => {
                    each.push(began.elapsed().as_secs_f64() * 1e3);
                }
                _ => lost += 1,
            }
        }
    }
    let on: Vec<String> = servers.iter().map(IpAddr::to_string).collect();
    Ok(Values { failed: lost, ..Values::new(each, on.join(", ")) }.slow_from(100.0, "Coroot: p95 above 100 ms"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_from_resolv_conf() {
        let text = "# nameserver 9.9.9.9\nsearch lan\nnameserver 10.0.0.53\n nameserver fe80::1%eth0\nnameserver\n";
        assert_eq!(servers(text), ["10.0.0.53".parse::<IpAddr>().unwrap(), "fe80::1".parse().unwrap()]);
    }

    #[test]
    fn a_question_is_as_the_standard_says() {
        let packet = question(0x0102);
        assert_eq!(packet[..6], [1, 2, 1, 0, 0, 1]);
        assert_eq!(packet[12..], [0, 0, 2, 0, 1]);
    }
}
