//! Who may come in while many want to: strangers by the address they come from, callers by the role they proved.
//!
//! Strangers cost memory and time before they are known as such, so their number is bounded, and whoever comes last is
//! not the one who pays: the oldest of the address that has the most gives way. An owner's handshake takes milliseconds,
//! one that dawdles is the oldest soon; and who has said nothing yet never takes the place of one who has. A role has
//! places of its own, so that callers of one role, however many, never take the place of another's; operators, who are the
//! owners, most of all.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use identity::Role;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::pace::{Bucket, Pace};

/// Most connections at once that have said nothing yet. One costs a file and a few hundred bytes.
pub const MAX_SILENT: usize = 1024;
/// Most of them from one address.
pub const MAX_SILENT_OF_SOURCE: usize = 256;
/// Most handshakes at once. One may make rustls hold a message of 64 KiB and a record of 18 KiB, so all together 21 MiB.
pub const MAX_HANDSHAKES: usize = 256;
/// Most handshakes at once from one address: each costs up to a millisecond of processor time, and others wait for
/// those that came before.
pub const MAX_HANDSHAKES_OF_SOURCE: usize = 64;
/// Most connections of operators at once. One run of Terraform opens a few.
pub const MAX_OPERATOR_CONNECTIONS: usize = 128;
/// Most connections of readers, of accounts and of peers at once, each for itself. One may make HTTP/2 hold a window of
/// 256 KiB, so all together 24 MiB.
pub const MAX_LESSER_CONNECTIONS: usize = 32;
/// How many refusals a second are told one by one; the others are counted. A log is memory too.
const TOLD_A_SECOND: u32 = 5;

/// Where a connection comes from: an IPv4 address, or the /64 that one IPv6 subscriber has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Source(u128);

impl Source {
    fn of(address: IpAddr) -> Source {
        match address.to_canonical() {
            IpAddr::V4(v4) => Source(v4.to_ipv6_mapped().to_bits()),
            IpAddr::V6(v6) => Source(v6.to_bits() >> 64 << 64),
        }
    }
}

/// Strangers at one step of getting in, of which there may only be so many.
#[derive(Debug, Clone)]
pub(super) struct Strangers {
    most: usize,
    most_of_source: usize,
    under_way: Arc<Mutex<UnderWay>>,
}

/// What is lost with the sender, by number.
type Places = BTreeMap<u64, oneshot::Sender<()>>;

#[derive(Debug, Default)]
struct UnderWay {
    next: u64,
    total: usize,
    /// By number, which is their age, below where they come from.
    sources: BTreeMap<Source, Places>,
    /// Each source, the one that gives way first last.
    ranks: BTreeSet<Rank>,
}

/// How much a source has: how many places, then how old the oldest is.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    places: usize,
    oldest: Reverse<u64>,
    source: Source,
}

impl Rank {
    /// Absent for a source that has nothing.
    fn of(source: Source, own: &Places) -> Option<Rank> {
        own.keys().next().map(|oldest| Rank { places: own.len(), oldest: Reverse(*oldest), source })
    }
}

/// A place among the strangers, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    strangers: Strangers,
    source: Source,
    number: u64,
}

impl Strangers {
    /// Those who have not said a word.
    pub(super) fn silent() -> Strangers {
        Strangers { most: MAX_SILENT, most_of_source: MAX_SILENT_OF_SOURCE, under_way: Arc::default() }
    }

    /// Those in a handshake.
    pub(super) fn handshaking() -> Strangers {
        let (most, most_of_source) = (MAX_HANDSHAKES, MAX_HANDSHAKES_OF_SOURCE);
        Strangers { most, most_of_source, under_way: Arc::default() }
    }

    /// A place for `address`, which is lost when the receiver resolves. When there are too many, the oldest of whoever
    /// has the most loses its own for it.
    pub(super) fn begin(&self, address: IpAddr) -> (Place, oneshot::Receiver<()>) {
        let source = Source::of(address);
        let mut under_way = lock(&self.under_way);
        let own = under_way.sources.get(&source).map_or(0, BTreeMap::len);
        if own >= self.most_of_source {
            under_way.end_oldest(source);
        } else if under_way.total >= self.most
            && let Some(busiest) = under_way.ranks.last()
        {
            let busiest = busiest.source;
            under_way.end_oldest(busiest);
        }
        let (end, ended) = oneshot::channel();
        let number = under_way.next;
        under_way.next += 1;
        under_way.total += 1;
        under_way.change(source, |own| drop(own.insert(number, end)));
        (Place { strangers: self.clone(), source, number }, ended)
    }
}

impl UnderWay {
    fn end_oldest(&mut self, source: Source) {
        let oldest = self.sources.get(&source).and_then(|own| own.keys().next().copied());
        if let Some(number) = oldest {
            self.remove(source, number);
        }
    }

    /// Dropping the sender is what the place is lost by.
    fn remove(&mut self, source: Source, number: u64) {
        let mut removed = None;
        self.change(source, |own| removed = own.remove(&number));
        self.total -= usize::from(removed.is_some());
    }

    /// Changes what a source has, and its rank with it.
    fn change(&mut self, source: Source, change: impl FnOnce(&mut Places)) {
        let mut own = self.sources.remove(&source).unwrap_or_default();
        if let Some(rank) = Rank::of(source, &own) {
            self.ranks.remove(&rank);
        }
        change(&mut own);
        if let Some(rank) = Rank::of(source, &own) {
            self.ranks.insert(rank);
            self.sources.insert(source, own);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.strangers.under_way).remove(self.source, self.number);
    }
}

/// The connections of known callers.
#[derive(Debug, Clone)]
pub(super) struct Connections {
    operators: Arc<Semaphore>,
    readers: Lesser,
    accounts: Lesser,
    peers: Lesser,
}

/// What the callers of one role share who are no owners.
#[derive(Debug, Clone)]
struct Lesser {
    places: Arc<Semaphore>,
    bucket: Bucket,
}

impl Lesser {
    fn new() -> Lesser {
        Lesser { places: Arc::new(Semaphore::new(MAX_LESSER_CONNECTIONS)), bucket: Bucket::new() }
    }
}

/// A place among the connections, until it is dropped.
#[derive(Debug)]
pub(super) struct Admitted {
    /// How fast the caller may send; absent for who may as fast as it can.
    pub(super) pace: Option<Pace>,
    _place: OwnedSemaphorePermit,
}

impl Connections {
    pub(super) fn new() -> Connections {
        Connections {
            operators: Arc::new(Semaphore::new(MAX_OPERATOR_CONNECTIONS)),
            readers: Lesser::new(),
            accounts: Lesser::new(),
            peers: Lesser::new(),
        }
    }

    /// A place for a caller of this role; none when all are taken.
    pub(super) fn admit(&self, role: &Role) -> Option<Admitted> {
        let lesser = match role {
            Role::Operator => {
                let place = Arc::clone(&self.operators).try_acquire_owned().ok()?;
                return Some(Admitted { pace: None, _place: place });
            }
            Role::Reader => &self.readers,
            Role::Account(_) => &self.accounts,
            Role::Peer => &self.peers,
        };
        let place = Arc::clone(&lesser.places).try_acquire_owned().ok()?;
        Some(Admitted { pace: Some(Pace::at(lesser.bucket.clone())), _place: place })
    }
}

/// Tells of refused connections, a few a second.
#[derive(Debug, Clone, Default)]
pub(super) struct Refusals(Arc<Mutex<Option<Second>>>);

#[derive(Debug)]
struct Second {
    began: Instant,
    refused: u32,
}

/// What to say of one refusal.
#[derive(Debug, PartialEq, Eq)]
enum Say {
    /// It, after so many that were not told.
    It(u32),
    /// Nothing.
    Nothing,
}

impl Refusals {
    pub(super) fn tell(&self, peer: std::net::SocketAddr, reason: &dyn std::fmt::Display) {
        match self.count(Instant::now()) {
            Say::It(0) => tracing::info!(%peer, %reason, "a connection was refused"),
            Say::It(untold) => tracing::info!(%peer, %reason, untold, "connections were refused"),
            Say::Nothing => {}
        }
    }

    fn count(&self, now: Instant) -> Say {
        let mut second = lock(&self.0);
        match &mut *second {
            Some(Second { began, refused }) if now.duration_since(*began) < Duration::from_secs(1) => {
                *refused += 1;
                if *refused <= TOLD_A_SECOND { Say::It(0) } else { Say::Nothing }
            }
            before => {
                let untold = before.as_ref().map_or(0, |second| second.refused.saturating_sub(TOLD_A_SECOND));
                *before = Some(Second { began: now, refused: 1 });
                Say::It(untold)
            }
        }
    }
}

/// A poisoned lock is taken all the same: nothing in here panics half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn is_ended(ended: &mut oneshot::Receiver<()>) -> bool {
        ended.try_recv() == Err(TryRecvError::Closed)
    }

    #[test]
    fn one_address_pays_for_its_own_and_the_oldest_first() {
        let handshakes = Strangers::handshaking();
        let (_owner, mut owner) = handshakes.begin(address(1));
        let mut own: Vec<_> = (0..MAX_HANDSHAKES_OF_SOURCE).map(|_| handshakes.begin(address(2))).collect();
        assert!(own.iter_mut().all(|(_, ended)| !is_ended(ended)));
        let _more: Vec<_> = (0..10).map(|_| handshakes.begin(address(2))).collect();
        let ended: Vec<_> = own.iter_mut().map(|(_, ended)| is_ended(ended)).collect();
        assert!(ended[..10].iter().all(|ended| *ended) && ended[10..].iter().all(|ended| !ended));
        assert!(!is_ended(&mut owner));
    }

    #[test]
    fn of_many_addresses_the_busiest_pays() {
        let handshakes = Strangers::handshaking();
        let (_owner, mut owner) = handshakes.begin(address(1));
        let mut places = Vec::new();
        for number in 0..5000 {
            places.push(handshakes.begin(address(2 + (number % 5) as u8)));
        }
        assert!(!is_ended(&mut owner), "the oldest of all, but the only one of its address");
        assert_eq!(lock(&handshakes.under_way).total, MAX_HANDSHAKES);
        drop(places);
        assert_eq!(lock(&handshakes.under_way).total, 1);
        assert_eq!(lock(&handshakes.under_way).sources.len(), 1);
    }

    #[test]
    fn one_subscriber_is_one_source() {
        let of = |text: &str| Source::of(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::3"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::3"), of("2001:db8:1:3::3"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    #[test]
    fn no_role_takes_the_place_of_another() {
        let connections = Connections::new();
        let readers: Vec<_> = std::iter::from_fn(|| connections.admit(&Role::Reader)).collect();
        assert_eq!(readers.len(), MAX_LESSER_CONNECTIONS);
        assert!(connections.admit(&Role::Peer).is_some());
        assert!(connections.admit(&Role::Account("orders".parse().unwrap())).is_some());
        assert!(connections.admit(&Role::Operator).is_some());
        drop(readers);
        assert!(connections.admit(&Role::Reader).is_some());
    }

    #[test]
    fn a_flood_of_refusals_is_counted_and_not_told() {
        let refusals = Refusals::default();
        let start = Instant::now();
        let said: Vec<_> = (0..100).map(|_| refusals.count(start)).collect();
        assert_eq!(said.iter().filter(|say| **say == Say::It(0)).count(), 5);
        assert_eq!(refusals.count(start + Duration::from_secs(1)), Say::It(95));
        assert_eq!(refusals.count(start + Duration::from_secs(9)), Say::It(0));
    }
}
