//! The kernel's own word of every change to nftables, with who made it: netlink messages of the group `NFTABLES`.
//!
//! Each commit is told as the objects it changed and one message with its number, process id and program. Messages may
//! be lost when there are too many; then it counts as a change of everything by nobody in particular.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use host_state::firewall::TABLE;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, sockopt};
use serde::{Deserialize, Serialize};
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

/// Source: Linux include/uapi/linux/nfnetlink.h (`NFNLGRP_NFTABLES`), as a bit of the group mask.
const GROUP: u32 = 1 << (7 - 1);
/// Source: the same (`NFNL_SUBSYS_NFTABLES`).
const SUBSYSTEM: u16 = 10;
/// Source: Linux include/uapi/linux/nf_tables.h (`NFT_MSG_NEWGEN`).
const NEW_GENERATION: u16 = 15;
/// Attributes of a generation. Source: the same (`NFTA_GEN_PROC_PID`, `NFTA_GEN_PROC_NAME`).
const PROCESS_ID: u16 = 2;
const PROCESS_NAME: u16 = 3;
/// The attribute that names the table, in every other message. Source: the same (`NFTA_TABLE_NAME` and its kin).
const TABLE_NAME: u16 = 1;
/// Length of a netlink header, and of the nfnetlink header behind it. Source: Linux include/uapi/linux/netlink.h.
const HEADER: usize = 16;
const SUB_HEADER: usize = 4;
/// Flags in an attribute's type. Source: the same (`NLA_F_NESTED`, `NLA_F_NET_BYTEORDER`).
const TYPE_MASK: u16 = 0x3fff;
/// Room for events that nobody has read yet: a commit of 100,000 networks tells each of them.
const BUFFER_BYTES: usize = 8 * 1024 * 1024;
/// Longest datagram: the kernel fills pages of this size.
const DATAGRAM_BYTES: usize = 64 * 1024;

/// Who changed nftables, as the kernel saw it. In a container that is the host's process id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Author {
    /// Process id.
    pub pid: u32,
    /// Name of the program, at most 15 bytes.
    pub program: String,
}

impl std::fmt::Display for Author {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} (`{}`)", self.pid, self.program)
    }
}

/// What a row of messages says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// Commits that changed our table, in order, each with who made it; absent where the kernel did not say.
    pub commits: Vec<Option<Author>>,
    /// Whether messages were lost, which may have told of others.
    pub is_cut: bool,
}

/// Those of `commits` that the processes `own`, each an `nft` of ours that made one, did not make.
///
/// In a container the kernel names processes by ids of the host. There one commit by an `nft` is taken for each of
/// ours; who of several made which is not known then.
#[must_use]
pub fn of_others(commits: Vec<Option<Author>>, own: &[u32]) -> Vec<Option<Author>> {
    let mut others = commits;
    let mut unseen = 0;
    for id in own {
        match others.iter().position(|one| one.as_ref().is_some_and(|author| author.pid == *id)) {
            Some(at) => {
                others.remove(at);
            }
            None => unseen += 1,
        }
    }
    let is_nft = |one: &Option<Author>| one.as_ref().is_some_and(|author| author.program == "nft");
    let mut is_unsure = false;
    for _ in 0..unseen {
        if let Some(at) = others.iter().position(is_nft) {
            others.remove(at);
            is_unsure = true;
        }
    }
    if is_unsure {
        others.iter_mut().filter(|one| is_nft(one)).for_each(|one| *one = None);
    }
    others
}

/// Subscribed to changes of nftables in the network namespace it was opened in.
#[derive(Debug)]
pub struct Generations {
    socket: AsyncFd<OwnedFd>,
    /// Whether our table was changed by the commit whose end was not told yet.
    is_open: AtomicBool,
}

impl Generations {
    /// Subscribes. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// Those of the system: no netfilter in the kernel, or no right to listen.
    pub fn open() -> io::Result<Generations> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let netfilter = Some(rustix::net::netlink::NETFILTER);
        let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, netfilter)?;
        // Beyond what every process may have only with CAP_NET_ADMIN, which who changes tables has.
        if sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER_BYTES).is_err() {
            sockopt::set_socket_recv_buffer_size(&socket, BUFFER_BYTES)?;
        }
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, GROUP))?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe code, which is forbidden here; what it asks for holds: the descriptor is owned \
                      and nobody replaces it"
        )]
        let socket = AsyncFd::new(socket)?;
        Ok(Generations { socket, is_open: AtomicBool::new(false) })
    }

    /// Waits until something was told; it is to be taken before what is returned is cleared.
    ///
    /// # Errors
    /// Those of the system; the socket is then of no use.
    pub async fn readable(&self) -> io::Result<AsyncFdReadyGuard<'_, OwnedFd>> {
        self.socket.readable().await
    }

    /// What was told since the last time, without waiting. A commit is told once its end is.
    ///
    /// # Errors
    /// As [`Generations::readable`].
    pub fn take(&self) -> io::Result<Told> {
        // The messages of a commit may be spread over datagrams; the last one names the author.
        let mut is_open = self.is_open.load(Ordering::Acquire);
        let told = drain(&mut is_open, |buffer| {
            Ok(rustix::net::recv(self.socket.get_ref().as_fd(), buffer, RecvFlags::DONTWAIT)?.0)
        });
        self.is_open.store(is_open, Ordering::Release);
        told
    }
}

/// Reads what `receive` gives until it would wait. `is_open` as for [`read`].
fn drain(
    is_open: &mut bool,
    mut receive: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>,
) -> io::Result<Told> {
    let mut told = Told::default();
    let mut buffer = vec![0_u8; DATAGRAM_BYTES];
    loop {
        match receive(&mut buffer) {
            Ok(length) => read(&buffer[..length.min(DATAGRAM_BYTES)], is_open, &mut told),
            Err(rustix::io::Errno::AGAIN) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::NOBUFS) => told.is_cut = true,
            Err(errno) => return Err(errno.into()),
        }
    }
    if told.is_cut {
        // The end of a commit may be what was lost, and who makes the next one is not to blame for it.
        *is_open = false;
    }
    Ok(told)
}

/// Reads one datagram. `is_open`: whether our table was changed by the commit whose end was not told yet.
fn read(mut datagram: &[u8], is_open: &mut bool, told: &mut Told) {
    while let Some((kind, body, rest)) = message(datagram) {
        datagram = rest;
        if kind >> 8 != SUBSYSTEM {
            continue;
        }
        let attributes = body.get(SUB_HEADER..).unwrap_or_default();
        if kind & 0xff == NEW_GENERATION {
            if std::mem::take(is_open) {
                told.commits.push(author(attributes));
            }
        } else if attribute(attributes, TABLE_NAME).is_some_and(|name| text(name) == TABLE) {
            *is_open = true;
        }
    }
}

fn author(attributes: &[u8]) -> Option<Author> {
    let pid = attribute(attributes, PROCESS_ID)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))?;
    Some(Author { pid, program: text(attribute(attributes, PROCESS_NAME)?) })
}

/// The first message: its type, what is behind its header, and what comes after it.
fn message(datagram: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(*datagram.first_chunk()?)).ok()?;
    let kind = u16::from_ne_bytes(*datagram.get(4..)?.first_chunk()?);
    let body = datagram.get(HEADER..length)?;
    Some((kind, body, datagram.get(aligned(length)..).unwrap_or_default()))
}

/// The value of the first attribute of a type.
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(*attributes.first_chunk()?));
        let kind = u16::from_ne_bytes(*attributes.get(2..)?.first_chunk()?) & TYPE_MASK;
        let value = attributes.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        attributes = attributes.get(aligned(length)..)?;
    }
}

fn aligned(length: usize) -> usize {
    length.div_ceil(4) * 4
}

/// A text up to its final zero; control characters, which a program may have in its name, are left out.
fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).chars().filter(|letter| !letter.is_control()).collect()
}

/// One datagram, for `crate::fuzz`.
#[cfg(feature = "fuzz")]
pub(crate) fn fuzz(bytes: &[u8]) {
    let (mut is_open, mut told) = (false, Told::default());
    read(bytes, &mut is_open, &mut told);
    for author in told.commits.into_iter().flatten() {
        assert!(author.program.len() <= bytes.len() * 3, "a name is no longer than what it was read from");
    }
}

/// A commit that changed our table, as the kernel tells it.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn sample() -> Vec<u8> {
    let attribute = |kind: u16, value: &[u8]| {
        let length = u16::try_from(value.len() + 4).expect("a short value");
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend_from_slice(value);
        bytes.resize(aligned(bytes.len()), 0);
        bytes
    };
    let message = |kind: u16, attributes: &[u8]| {
        let length = u32::try_from(HEADER + SUB_HEADER + attributes.len()).expect("a short message");
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend_from_slice(&((SUBSYSTEM << 8) | kind).to_ne_bytes());
        bytes.resize(HEADER + SUB_HEADER, 0);
        bytes.extend_from_slice(attributes);
        bytes
    };
    let name = [TABLE.as_bytes(), &[0]].concat();
    let generation =
        [attribute(1, &[0, 0, 0, 4]), attribute(2, &[0, 0, 0x48, 0x0a]), attribute(3, b"nft\0")].concat();
    [message(2, &attribute(TABLE_NAME, &name)), message(NEW_GENERATION, &generation)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nft(pid: u32) -> Option<Author> {
        Some(Author { pid, program: "nft".to_owned() })
    }

    #[test]
    fn a_commit_is_read_with_its_author_and_others_are_passed_over() {
        let (mut is_open, mut told) = (false, Told::default());
        read(&sample(), &mut is_open, &mut told);
        assert_eq!(told, Told { commits: vec![nft(18442)], is_cut: false });
        assert_eq!(nft(18442).unwrap().to_string(), "process 18442 (`nft`)");
        let mut bytes = sample();
        let at = bytes.windows(4).position(|four| four == b"nats").unwrap();
        bytes[at] = b'g';
        let mut told = Told::default();
        read(&bytes, &mut false, &mut told);
        assert_eq!(told, Told::default());
    }

    #[test]
    fn a_commit_over_two_datagrams_is_told_at_its_end() {
        let (first, length) = (sample(), u32::from_ne_bytes(*sample().first_chunk().unwrap()) as usize);
        let (mut is_open, mut told) = (false, Told::default());
        read(&first[..aligned(length)], &mut is_open, &mut told);
        assert_eq!((is_open, told.commits.len()), (true, 0));
        read(&first[aligned(length)..], &mut is_open, &mut told);
        assert_eq!((is_open, told.commits), (false, vec![nft(18442)]));
    }

    #[test]
    fn whose_end_was_lost_is_not_the_next_ones() {
        let (sample, length) = (sample(), u32::from_ne_bytes(*sample().first_chunk().unwrap()) as usize);
        let (begun, ended) = sample.split_at(aligned(length));
        let mut is_open = false;
        let mut take = |mut given: Vec<rustix::io::Result<&[u8]>>| {
            drain(&mut is_open, |buffer| {
                let bytes = if given.is_empty() { Err(rustix::io::Errno::AGAIN) } else { given.remove(0) }?;
                buffer[..bytes.len()].copy_from_slice(bytes);
                Ok(bytes.len())
            })
            .unwrap()
        };
        let cut = take(vec![Err(rustix::io::Errno::NOBUFS), Ok(begun)]);
        assert_eq!(cut, Told { commits: Vec::new(), is_cut: true });
        assert_eq!(take(vec![Ok(ended)]), Told::default(), "an innocent process");
        assert_eq!(take(vec![Ok(begun)]), Told::default());
        assert_eq!(take(vec![Ok(ended)]).commits, [nft(18442)]);
    }

    #[test]
    fn what_is_cut_short_says_nothing() {
        for end in 0..sample().len() {
            let mut told = Told::default();
            read(&sample()[..end], &mut false, &mut told);
            assert_eq!(told.commits.into_iter().flatten().count(), 0, "{end}");
        }
    }

    #[test]
    fn our_own_commits_are_told_from_those_of_others() {
        let by = |pid: u32, program: &str| Some(Author { pid, program: program.to_owned() });
        let firewalld = || by(9, "firewalld");
        assert_eq!(of_others(vec![nft(7), firewalld()], &[7]), [firewalld()]);
        assert_eq!(of_others(vec![nft(7), nft(8)], &[8]), [nft(7)]);
        assert_eq!(of_others(vec![nft(7), nft(8)], &[]), [nft(7), nft(8)]);
        // In a container.
        assert_eq!(of_others(vec![nft(7), nft(8)], &[2, 3]), []);
        assert_eq!(of_others(vec![nft(7), firewalld(), nft(8)], &[2]), [firewalld(), None]);
    }
}
