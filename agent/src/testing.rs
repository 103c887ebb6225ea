//! Signs documents for one host, for tests: an authority, a cluster of one server, claims, leases.
//!
//! Everything derives from one fixed root key, so that two of it for the same host are the same author. Compiled only
//! with the feature `testing`; nothing of it is in the program.
#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up must fail")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use data_encoding::BASE64;
use host_state::document::{
    AgentUsers, BinarySource, ClaimEntry, ClaimsSection, ClusterSection, ContentHash, FirewallIntent,
    HostTls, OnDrift, Profile, Release, SECTION_DOMAIN, ServerBinary, StoreIdentity, StoreSpec, canonical,
};
use host_state::{SectionHeader, SectionKind, SignedSection, layout};
use identity::{
    AccountLimits, Authority, Generations, HostKeys, HostNames, HostSecret, Role, RootKey, Trust,
};
use nats_config::{
    ByteSize, ClientListener, ClusterListener, FullResolver, HostPort, JetStream, JetStreamLimits, LameDuck,
    ListenerTls, Logging, MonitorListener, NatsDuration, OperatorTrust, ServerConfig, ServerLimits,
    SyncInterval,
};
use serde::Serialize;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::parts::effects::Effects;
use crate::parts::tls::Leaf;
use crate::roles::{Caller, LeaseAction, LeaseOrder, NewClaim};

/// The host that everything is for.
pub const HOST: &str = "east-1";
/// The nats-server version that sections ask for.
pub const VERSION: &str = "2.15.1";
/// The lease that an apply of these tests holds.
pub const LEASE: &str = "11111111111111111111111111111111";
const HOUR: Duration = Duration::from_secs(3600);

/// Signs for one host.
pub struct Author {
    /// Whose host it is.
    pub authority: Authority,
    /// Where the host's server listens.
    pub address: IpAddr,
    /// Its store directory.
    pub store: PathBuf,
    /// The id of its claim.
    pub claim_id: String,
    heads: BTreeMap<SectionKind, SectionHeader>,
}

impl std::fmt::Debug for Author {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Author").field("address", &self.address).finish_non_exhaustive()
    }
}

/// The authority of these tests.
///
/// # Panics
/// Never: its key is fixed.
#[must_use]
pub fn authority() -> Authority {
    let root = RootKey::from_bytes(std::array::from_fn(|i| 7 + i as u8)).unwrap();
    Authority::derive(&root, "acme".parse().unwrap(), Generations::default()).unwrap()
}

/// A caller that may do everything.
#[must_use]
pub fn caller() -> Caller {
    Caller { role: Role::Operator, serial: "01".to_owned(), opened_ms: 0 }
}

/// Puts a leaf in the place of the newest of the host in `state` that has lived half its life; returns its serial.
///
/// # Panics
/// When there is none.
pub fn age_leaf(authority: &Authority, state: &std::path::Path) -> String {
    let secret = std::fs::read_to_string(state.join(layout::HOST_SECRET_FILE)).unwrap();
    let secret = HostSecret::from_json(&secret).unwrap();
    let then = OffsetDateTime::now_utc() - time::Duration::days(15);
    let mut material = Leaf::read(state).unwrap().unwrap().material;
    let year = Duration::from_secs(365 * 86_400);
    material.issuer = authority.issuer(&secret.keys(), &material.names, then, year).unwrap();
    let leaf = material.mint(&secret, then).unwrap();
    leaf.write(&Effects::default(), state).unwrap();
    leaf.info().unwrap().serial
}

impl Author {
    /// For the host at `address` with its store at `store`.
    #[must_use]
    pub fn new(address: IpAddr, store: PathBuf) -> Author {
        Author { authority: authority(), address, store, claim_id: "c".repeat(32), heads: BTreeMap::new() }
    }

    /// What the host may be claimed with.
    ///
    /// # Panics
    /// Never: the host's name is fixed.
    #[must_use]
    pub fn enrollment(&self) -> Zeroizing<String> {
        self.authority.enrollment(HOST.parse().unwrap(), 1).to_text()
    }

    /// The host's names.
    ///
    /// # Panics
    /// Never: the host's name is fixed.
    #[must_use]
    pub fn names(&self) -> HostNames {
        HostNames { host: HOST.parse().unwrap(), dns: BTreeSet::new(), ips: BTreeSet::from([self.address]) }
    }

    /// A claim of the host that has `keys`.
    ///
    /// # Panics
    /// When the authority cannot issue for them.
    #[must_use]
    pub fn claim(&self, keys: &HostKeys, claim_id: &str) -> NewClaim {
        let names = self.names();
        let issuer = self.authority.issuer(keys, &names, OffsetDateTime::now_utc(), 24 * HOUR).unwrap();
        NewClaim {
            generation: 1,
            claim_id: claim_id.to_owned(),
            trust: self.authority.trust(),
            issuer_pem: issuer.as_str().to_owned(),
            names,
        }
    }

    /// Continues after what the host has taken in, as a writer does that asked it.
    pub fn follow(&mut self, sections: &[SignedSection]) {
        self.heads =
            sections.iter().map(|section| (section.header.section, section.header.clone())).collect();
    }

    /// The next `cluster` section: a cluster of one, released, as `edit` changes it.
    pub fn cluster(&mut self, keys: &HostKeys, edit: impl FnOnce(&mut ClusterSection)) -> SignedSection {
        let mut section = self.plain_section(keys);
        edit(&mut section);
        self.sign(SectionKind::Cluster, "nats_cluster/east", &section)
    }

    /// The certificate part of a section, with one more name in it.
    ///
    /// # Panics
    /// When the authority cannot issue for the host.
    #[must_use]
    pub fn tls_named(&self, keys: &HostKeys, name: &str) -> HostTls {
        let mut tls = self.plain_section(keys).tls;
        let names = HostNames { dns: BTreeSet::from([name.to_owned()]), ..self.names() };
        let issuer = self.authority.issuer(keys, &names, OffsetDateTime::now_utc(), 24 * HOUR).unwrap();
        tls.dns_names.insert(name.to_owned());
        tls.issuer = issuer.as_str().to_owned();
        tls
    }

    /// The next `claims` section, of `accounts` by name, each issued then.
    ///
    /// # Panics
    /// When a name cannot be an account's.
    pub fn claims(&mut self, accounts: &[(&str, i64)]) -> SignedSection {
        let section = self.claims_section(accounts);
        self.sign(SectionKind::Claims, "nats_authority/acme", &section)
    }

    /// The body of [`Author::claims`].
    ///
    /// # Panics
    /// As [`Author::claims`].
    #[must_use]
    pub fn claims_section(&self, accounts: &[(&str, i64)]) -> ClaimsSection {
        let limits = AccountLimits { connections: Some(10), ..AccountLimits::unlimited() };
        let entry = |(name, issued_at): &(&str, i64)| {
            let claims = self.authority.account_claims(name.parse().unwrap(), limits.clone());
            let jwt = self.authority.account_jwt(&claims, *issued_at).unwrap().to_string();
            let entry = ClaimEntry {
                name: (*name).to_owned(),
                jwt,
                issued_at: *issued_at,
                tombstone: false,
                declared: serde_json::Value::Null,
            };
            (claims.key.to_string(), entry)
        };
        ClaimsSection { accounts: accounts.iter().map(entry).collect() }
    }

    /// Signs `body` as the generation after the last one that was signed here or followed.
    pub fn sign<T: Serialize>(&mut self, section: SectionKind, owner: &str, body: &T) -> SignedSection {
        let head = self.heads.get(&section);
        let body = canonical(body);
        let is_bound = section != SectionKind::Claims;
        let header = SectionHeader {
            authority: self.authority.trust().operator.to_string(),
            section,
            owner: owner.to_owned(),
            host: is_bound.then(|| HOST.to_owned()),
            claim_id: is_bound.then(|| self.claim_id.clone()),
            generation: head.map_or(1, |head| head.generation + 1),
            parent: head.map(|head| head.content.clone()),
            content: ContentHash::of(&body),
            document_key: 1,
            writer: "test".to_owned(),
        };
        self.heads.insert(section, header.clone());
        self.signed(header, body)
    }

    /// Signs `body` under any header.
    #[must_use]
    pub fn signed(&self, header: SectionHeader, body: String) -> SignedSection {
        let signature = self.authority.document_key().sign(SECTION_DOMAIN, &header.signed_bytes());
        SignedSection { header, body, signature: BASE64.encode(&signature) }
    }

    /// A wish for the lease `lease_id`, for a minute.
    #[must_use]
    pub fn lease(&self, lease_id: &str, action: LeaseAction) -> LeaseOrder {
        let signed = canonical(&[lease_id, "test"]);
        let signature = self.authority.document_key().sign("nats-agent/lease/v1", signed.as_bytes());
        LeaseOrder {
            lease_id: lease_id.to_owned(),
            holder: "test".to_owned(),
            action,
            ttl_ms: 60_000,
            signature: BASE64.encode(&signature),
        }
    }

    /// A cluster of this host alone, released, with its store in [`Author::store`]. Any free field may be changed.
    ///
    /// # Panics
    /// When the authority cannot derive for the host.
    #[must_use]
    pub fn plain_section(&self, keys: &HostKeys) -> ClusterSection {
        let (trust, now) = (self.authority.trust(), OffsetDateTime::now_utc());
        let names = self.names();
        // Whole days ago, so that one test signs one issuer.
        let since = now.replace_time(time::Time::MIDNIGHT);
        let issuer = self.authority.issuer(keys, &names, since, 48 * HOUR).unwrap();
        let host = HOST.parse().unwrap();
        let expires = now + 24 * HOUR;
        let directory = self.store.display().to_string();
        ClusterSection {
            cluster: "east".to_owned(),
            host: HOST.to_owned(),
            profile: Profile::Development,
            trust: serde_json::to_value(&trust).unwrap(),
            server: ServerBinary { version: VERSION.to_owned(), source: BinarySource::Agent },
            config: self.config(&trust, &directory),
            gateway: None,
            tls: HostTls {
                issuer: issuer.as_str().to_owned(),
                host_ca: trust.host_ca_bundle(),
                fleet_ca: trust.fleet_ca_bundle(),
                dns_names: BTreeSet::from([HOST.to_owned()]),
                addresses: BTreeSet::from([self.address]),
            },
            users: AgentUsers {
                system_jwt: self
                    .authority
                    .system_user_jwt(&host, &keys.system_user, now, expires)
                    .to_string(),
                probe_jwt: self.authority.probe_user_jwt(&host, &keys.probe_user, now, expires).to_string(),
            },
            store: StoreSpec {
                on_root: false,
                directory,
                mode: 0o700,
                identity: StoreIdentity {
                    authority: trust.operator.to_string(),
                    cluster: "east".to_owned(),
                    server_name: HOST.to_owned(),
                    system_account: trust.system_account.to_string(),
                },
            },
            peers: BTreeMap::new(),
            firewall: FirewallIntent {
                clients: Vec::new(),
                metrics: Vec::new(),
                management: Vec::new(),
                metrics_port: layout::METRICS_PORT,
            },
            on_drift: OnDrift::Report,
            release: Some(Release {
                meta_lineage: "a".repeat(32),
                members: BTreeSet::from([HOST.to_owned()]),
            }),
            declared: serde_json::Value::Null,
        }
    }

    fn config(&self, trust: &Trust, store_dir: &str) -> ServerConfig {
        let tls = |verify| ListenerTls {
            cert_file: layout::CERT_PATH.to_owned(),
            key_file: layout::KEY_PATH.to_owned(),
            ca_file: layout::CA_PATH.to_owned(),
            verify,
            timeout: NatsDuration::from_secs(5),
            pinned_certs: BTreeSet::new(),
        };
        let preload = [
            (&trust.system_account, &trust.system_account_jwt),
            (&trust.probe_account, &trust.probe_account_jwt),
        ];
        ServerConfig {
            server_name: HOST.parse().unwrap(),
            client: ClientListener { address: self.address, port: 4222, advertise: None, tls: tls(false) },
            monitor: Some(MonitorListener { address: self.address, port: 8222 }),
            cluster: Some(ClusterListener {
                name: "east".parse().unwrap(),
                address: self.address,
                port: 5222,
                advertise: None,
                no_advertise: false,
                routes: BTreeSet::from([HostPort::new(self.address, 5222).unwrap()]),
                tls: tls(true),
            }),
            gateway: None,
            jetstream: Some(JetStream {
                store_dir: store_dir.to_owned(),
                max_memory: ByteSize::from_bytes(64 << 20).unwrap(),
                max_storage: ByteSize::from_bytes(256 << 20).unwrap(),
                unique_tag: None,
                sync: SyncInterval::Always,
                domain: None,
                limits: JetStreamLimits::default(),
            }),
            trust: Some(OperatorTrust {
                operator_jwt: trust.operator_jwt.to_string(),
                system_account: trust.system_account.to_string(),
                resolver: FullResolver {
                    dir: layout::RESOLVER.to_owned(),
                    allow_delete: true,
                    interval: NatsDuration::from_secs(120),
                    timeout: NatsDuration::from_secs(2),
                    limit: 1000,
                },
                preload: preload.into_iter().map(|(key, jwt)| (key.to_string(), jwt.to_string())).collect(),
            }),
            limits: ServerLimits::default(),
            logging: Logging { log_file: Some(layout::LOG_FILE.to_owned()), ..Logging::default() },
            tags: BTreeSet::new(),
            lame_duck: LameDuck {
                duration: NatsDuration::from_secs(30),
                grace_period: NatsDuration::from_secs(2),
            },
            pid_file: Some(layout::PID_FILE.to_owned()),
            extra: serde_json::Map::new(),
        }
    }
}
