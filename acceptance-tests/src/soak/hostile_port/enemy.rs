//! Who attacks: from which addresses, with which certificates, how many at once.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use identity::{
    Authority, ClientIdentity, Generations, HostNames, HostSecret, HostSeeds, Role, RootKey, mint_leaf,
};
use nats_agent_api::wrong_peer::AnyServer;
use nats_agent_api::{ALPN_CLAIM, ALPN_CLAIMED};
use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};
use rustls::ClientConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use time::OffsetDateTime;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

/// Life of callers' certificates here.
const HOUR: Duration = Duration::from_secs(3600);
/// Pause of an attacker that has run out of ports or files.
const PAUSE: Duration = Duration::from_millis(20);

/// One attempt of one attacker.
pub(super) type Attempt = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// One way of attacking.
pub(super) struct Attack {
    /// What is done.
    pub(super) name: &'static str,
    /// How many do it at once.
    pub(super) workers: usize,
    /// One attempt; begun again whenever it ends.
    pub(super) run: fn(Arc<Enemy>) -> Attempt,
}

impl Attack {
    /// Attacks until the returned set is dropped. Must be called in the runtime that attacks.
    pub(super) fn begin(&self, enemy: &Arc<Enemy>) -> JoinSet<()> {
        let mut storm = JoinSet::new();
        for _ in 0..self.workers {
            let (enemy, run) = (Arc::clone(enemy), self.run);
            storm.spawn(async move {
                loop {
                    enemy.attempts.fetch_add(1, Ordering::Relaxed);
                    let ended = run(Arc::clone(&enemy)).await;
                    if ended.is_err_and(|error| is_out_of_something(&error)) {
                        tokio::time::sleep(PAUSE).await;
                    }
                    tokio::task::yield_now().await;
                }
            });
        }
        storm
    }
}

fn is_out_of_something(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let known = error.raw_os_error().map(Errno::from_raw_os_error);
    known.is_some_and(|errno| {
        [Errno::ADDRNOTAVAIL, Errno::ADDRINUSE, Errno::MFILE, Errno::NFILE].contains(&errno)
    })
}

/// Everything that attackers have.
pub(super) struct Enemy {
    /// The agent.
    pub(super) target: SocketAddrV4,
    /// Attempts so far.
    pub(super) attempts: AtomicU64,
    /// Certificates that the agent takes, for calls that it does not.
    pub(super) reader: ClientIdentity,
    /// See [`Enemy::reader`].
    pub(super) peer: ClientIdentity,
    /// An operator of another authority of the same name, with as many copies of its certificate authority as make a
    /// message of 64 KiB: each may have signed, by its name.
    pub(super) long_chain: ClientIdentity,
    /// The same, longer than a TLS message may be.
    pub(super) too_long_chain: ClientIdentity,
    /// Host CA of the agent's authority, PEM.
    pub(super) host_ca: String,
    alpn: &'static [u8],
    random: Mutex<TestRng>,
}

impl Enemy {
    /// Of the agent at `target`, claimed by `authority`.
    ///
    /// # Errors
    /// When a certificate cannot be made.
    pub(super) fn new(authority: &Authority, target: SocketAddrV4, seed: u64) -> Result<Arc<Enemy>> {
        let now = OffsetDateTime::now_utc();
        let of = |authority: &Authority, role: Role| {
            authority.client_certificate(&role, &Zeroizing::new([7; 32]), now, HOUR)
        };
        let mut seeds = [0; 32];
        seeds[..8].copy_from_slice(&seed.to_le_bytes());
        let stranger = Authority::derive(
            &RootKey::from_bytes(std::array::from_fn(|n| n as u8 + 1))?,
            authority.trust().authority,
            Generations::default(),
        )?;
        let ca = CertificateDer::from_pem_slice(stranger.trust().fleet_ca_bundle().as_bytes())?;
        let chain = |bytes: usize| -> Result<ClientIdentity> {
            let mut identity = of(&stranger, Role::Operator)?;
            // Three bytes of length and two of extensions each. Source: RFC 8446, 4.4.2.
            identity.chain.extend(std::iter::repeat_n(ca.clone(), bytes / (ca.len() + 5) - 1));
            Ok(identity)
        };
        Ok(Arc::new(Enemy {
            target,
            attempts: AtomicU64::new(0),
            reader: of(authority, Role::Reader)?,
            peer: peer(authority, now)?,
            long_chain: chain(64 * 1024 - 512)?,
            too_long_chain: chain(90 * 1024)?,
            host_ca: authority.trust().host_ca_bundle(),
            alpn: ALPN_CLAIMED,
            random: Mutex::new(TestRng::from_seed(RngAlgorithm::ChaCha, &seeds)),
        }))
    }

    /// The same, of an agent that is not claimed yet.
    pub(super) fn before_claim(self: Arc<Enemy>) -> Arc<Enemy> {
        let mut enemy = Arc::into_inner(self).expect("it was just made");
        enemy.alpn = ALPN_CLAIM;
        Arc::new(enemy)
    }

    pub(super) fn is_before_claim(&self) -> bool {
        self.alpn == ALPN_CLAIM
    }

    /// A number below `end`.
    pub(super) fn below(&self, end: u64) -> u64 {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).next_u64() % end
    }

    /// So many random bytes.
    pub(super) fn bytes(&self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.random.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(&mut bytes);
        bytes
    }

    /// A connection from one of eight addresses.
    pub(super) async fn dialled(&self) -> io::Result<TcpStream> {
        let [a, b, c, _] = self.target.ip().octets();
        self.dialled_from(Ipv4Addr::new(a, b, c, 200 + self.below(8) as u8)).await
    }

    /// A connection from one of 60,000 addresses.
    pub(super) async fn dialled_from_anywhere(&self) -> io::Result<TcpStream> {
        let [third, fourth] = [self.below(254) as u8 + 1, self.below(254) as u8 + 1];
        self.dialled_from(Ipv4Addr::new(127, 200, third, fourth)).await
    }

    /// A connection from the address that the owner's come from.
    pub(super) async fn dialled_as_owner(&self) -> io::Result<TcpStream> {
        self.dialled_from(Ipv4Addr::LOCALHOST).await
    }

    async fn dialled_from(&self, source: Ipv4Addr) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(source.into(), 0))?;
        socket.connect(self.target.into()).await
    }

    /// TLS over a connection; `identity` is shown, if any.
    pub(super) async fn secured(
        &self,
        stream: TcpStream,
        identity: Option<&ClientIdentity>,
    ) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from("nats-agent").map_err(io::Error::other)?;
        TlsConnector::from(Arc::new(self.tls(identity)?)).connect(name, stream).await
    }

    /// A client that takes any server.
    pub(super) fn tls(&self, identity: Option<&ClientIdentity>) -> io::Result<ClientConfig> {
        let crypto = Arc::new(rustls::crypto::ring::default_provider());
        let client = ClientConfig::builder_with_provider(crypto)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(io::Error::other)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyServer));
        let mut config = match identity {
            None => client.with_no_client_auth(),
            Some(ClientIdentity { chain, key }) => {
                let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.to_vec()));
                client.with_client_auth_cert(chain.clone(), key).map_err(io::Error::other)?
            }
        };
        config.alpn_protocols = vec![self.alpn.to_vec()];
        config.enable_sni = false;
        Ok(config)
    }
}

/// A host of the authority, as one that was taken over.
fn peer(authority: &Authority, now: OffsetDateTime) -> Result<ClientIdentity> {
    let seed = |part: u8| Zeroizing::new([100 + part; 32]);
    let secret = HostSecret::from_seeds(&HostSeeds {
        issuer: seed(0),
        leaf: seed(1),
        system_user: seed(2),
        probe_user: seed(3),
    });
    let names = HostNames {
        host: "east-9".parse()?,
        dns: [].into(),
        ips: [Ipv4Addr::new(127, 9, 9, 9).into()].into(),
    };
    let issuer = authority.issuer(&secret.keys(), &names, now, 24 * HOUR)?;
    let leaf = mint_leaf(&secret, &issuer, &names, now, HOUR)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(leaf.chain().as_bytes()).collect();
    Ok(ClientIdentity { chain: chain.context("read its chain")?, key: secret.leaf_key_der() })
}
