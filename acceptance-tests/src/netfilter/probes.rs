//! Real TCP connections, many at once, from any address to the host, and what became of each.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};

use super::namespaces::{HOST4, HOST6};

/// How long a connection may take that is to be made. The kernel sends its first packet again after a second, so one that
/// takes longer was dropped once.
pub(super) const IN_TIME: Duration = Duration::from_millis(900);

/// One attempt.
#[derive(Debug)]
pub(super) struct Attempt {
    /// Where it comes from.
    pub(super) source: IpAddr,
    /// Which port of the host it asks for.
    pub(super) port: u16,
    socket: OwnedFd,
}

/// The host's address of a family.
pub(super) fn host_of(source: IpAddr) -> IpAddr {
    if source.is_ipv4() { HOST4 } else { HOST6 }
}

/// Sends the first packet of a connection from `source` to `port` of `host`, and does not wait for an answer. Must be
/// called in the namespace that it is to come from.
pub(super) fn begin(source: IpAddr, host: IpAddr, port: u16) -> io::Result<Attempt> {
    let family = if source.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    if source.is_ipv4() {
        sockopt::set_ip_freebind(&socket, true)?;
    } else {
        sockopt::set_ipv6_freebind(&socket, true)?;
    }
    // Ends at once when it is dropped, and leaves no port waiting.
    sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
    bind(&socket, &SocketAddr::new(source, 0))?;
    match connect(&socket, &SocketAddr::new(host, port)) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(Attempt { source, port, socket }),
        Err(errno) => Err(errno.into()),
    }
}

impl Attempt {
    /// Whether it is connected by `until`.
    pub(super) fn is_connected_by(&self, until: Instant) -> io::Result<bool> {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        let mut polled = [PollFd::new(&self.socket, PollFlags::OUT)];
        poll(&mut polled, Some(&left))?;
        let seen = polled[0].revents();
        if seen.is_empty() {
            return Ok(false);
        }
        Ok(sockopt::socket_error(&self.socket)?.is_ok() && !seen.intersects(PollFlags::ERR | PollFlags::HUP))
    }
}

/// Whether `source` reaches `port` of the host within `time`.
pub(super) fn is_reached(source: IpAddr, port: u16, time: Duration) -> Result<bool> {
    let attempt = begin(source, host_of(source), port).context("no connection can be begun")?;
    Ok(attempt.is_connected_by(Instant::now() + time)?)
}

/// Listens on these ports, IPv4 and IPv6. Must be called in the host's namespace.
pub(super) fn listen(ports: &[u16]) -> Result<Vec<TcpListener>> {
    let open = |port: &u16| {
        let listener =
            TcpListener::bind(("::", *port)).with_context(|| format!("cannot listen on {port}"))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    ports.iter().map(open).collect()
}

/// Takes what waits to be accepted and closes it.
pub(super) fn drain(listeners: &[TcpListener]) {
    for listener in listeners {
        while listener.accept().is_ok() {}
    }
}

/// A connection from `source` to `port` of the host, which blocks from now on.
pub(super) fn connected(source: IpAddr, port: u16, time: Duration) -> Result<TcpStream> {
    let attempt = begin(source, host_of(source), port)?;
    ensure!(attempt.is_connected_by(Instant::now() + time)?, "{source} does not reach port {port}");
    let stream = TcpStream::from(attempt.socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}
