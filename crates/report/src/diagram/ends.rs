//! The ends of links as the recording names them.

use observe::Pid;

/// One end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End<'a> {
    Nothing,
    Process(Pid),
    Peer(&'a str),
    FileSystem(&'a str),
    Device(&'a str),
    Interface(&'a str),
}

/// Takes a name apart; what a newer version writes is nothing.
pub fn end(text: &str) -> End<'_> {
    match text.split_once(':') {
        Some(("process", pid)) => pid.parse().map_or(End::Nothing, |pid| End::Process(Pid(pid))),
        Some(("peer", name)) => End::Peer(name),
        Some(("filesystem", name)) => End::FileSystem(name),
        Some(("device", name)) => End::Device(name),
        Some(("interface", name)) => End::Interface(name),
        _ => End::Nothing,
    }
}

/// The host of `10.0.0.9:5432` and `[fd00::1]:53`, and the port.
pub fn address(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    (!host.is_empty() && port.parse::<u16>().is_ok()).then_some((host, port))
}

/// Whether an address is the machine's own.
pub fn is_loopback(host: &str) -> bool {
    host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback() || address.is_unspecified())
}
