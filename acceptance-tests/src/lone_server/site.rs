//! A state directory with certificates, addresses of its own on loopback, and a configuration that fits both.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    sync::atomic::{AtomicU8, Ordering},
};

use anyhow::{Context, Result, ensure};
use identity::{Authority, AuthorityName, Generations, RootKey};
use nats_config::{FullResolver, HostPort, NatsDuration, OperatorTrust, ServerConfig};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, PublicKeyData,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Files that stand for one server's state directory; removed at the end.
#[derive(Debug)]
pub struct Site {
    folder: TempDir,
    /// A loopback address that no other site of this or another test process has; its last byte is below 128.
    pub address: IpAddr,
    /// DER of the cluster port's public key (SubjectPublicKeyInfo).
    pub cluster_public_key: Vec<u8>,
}

impl Site {
    /// Makes the directory, certificates `client`, `cluster`, `gateway`, `other` and `server`, and their authority.
    ///
    /// # Errors
    /// When files or keys cannot be made.
    pub fn new() -> Result<Self> {
        static NEXT: AtomicU8 = AtomicU8::new(0);
        let [_, _, high, low] = std::process::id().to_be_bytes();
        // Only a proof makes more than 127 of them, and it drops the first long before.
        let own = NEXT.fetch_add(1, Ordering::Relaxed) % 127 + 1;
        let address = IpAddr::V4(Ipv4Addr::new(127, 64 | (high & 63), low, own));
        let folder = tempfile::tempdir().context("make a folder")?;
        let mut site = Self { folder, address, cluster_public_key: Vec::new() };
        for folder in ["current", "log", "store"] {
            fs::create_dir(site.path().join(folder)).context("make a folder")?;
        }
        let key = KeyPair::generate()?;
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        site.write("current/ca.pem", &authority.self_signed(&key)?.pem())?;
        let issuer = Issuer::new(authority, key);
        for name in ["client", "cluster", "gateway", "other", "server"] {
            let key = KeyPair::generate()?;
            let mut leaf = CertificateParams::new(vec![address.to_string(), "localhost".to_owned()])?;
            leaf.extended_key_usages =
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
            site.write(&format!("current/{name}.pem"), &leaf.signed_by(&key, &issuer)?.pem())?;
            site.write(&format!("current/{name}-key.pem"), &key.serialize_pem())?;
            if name == "cluster" {
                site.cluster_public_key = key.subject_public_key_info();
            }
        }
        Ok(site)
    }

    /// Another loopback address of this site alone.
    pub fn other_address(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(address) => IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() | 0x80)),
            IpAddr::V6(_) => unreachable!("sites have IPv4 addresses"),
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes one of its files.
    ///
    /// # Errors
    /// When that cannot be.
    pub fn write(&self, file: &str, content: &str) -> Result<()> {
        fs::write(self.path().join(file), content).with_context(|| format!("write `{file}`"))
    }

    /// `config` on this site: its own addresses and directories, and nobody to dial but itself.
    ///
    /// # Errors
    /// When it is no valid configuration there.
    pub fn settle(&self, mut config: ServerConfig) -> Result<ServerConfig> {
        config.client.address = self.address;
        config.client.port = 4222;
        config.monitor = Some(nats_config::MonitorListener { address: self.address, port: 8222 });
        if let Some(cluster) = &mut config.cluster {
            (cluster.address, cluster.port) = (self.address, 5222);
            cluster.routes = [HostPort::new(self.address, 5222).context("an address")?].into();
        }
        if let Some(gateway) = &mut config.gateway {
            (gateway.address, gateway.port) = (self.address, 7222);
            gateway.remotes.clear();
        }
        if let Some(jetstream) = &mut config.jetstream {
            jetstream.store_dir = self.path().join("store").display().to_string();
        }
        if config.logging.log_file.is_some() {
            config.logging.log_file = Some("log/server.log".to_owned());
        }
        for (name, port) in [("leafnodes", 7422), ("websocket", 8080)] {
            if let Some(Value::Object(listener)) = config.extra.get_mut(name) {
                listener.insert("listen".to_owned(), json!(format!("{}:{port}", self.address)));
                listener.remove("remotes");
            }
        }
        let problems = config.validate();
        ensure!(problems.is_ok(), "not valid on a site: {problems:?}");
        Ok(config)
    }

    /// A member of a supercluster that is alone in the world, with something in every field of the model.
    ///
    /// # Errors
    /// When the model has changed and [`Site::member_model`] has not.
    pub fn member(&self) -> Result<ServerConfig> {
        serde_json::from_value(self.member_model()).context("read the full member's model")
    }

    /// [`Site::member`] as JSON.
    pub fn member_model(&self) -> Value {
        let tls = |name: &str, verify: bool| {
            json!({
                "cert_file": format!("current/{name}.pem"), "key_file": format!("current/{name}-key.pem"),
                "ca_file": "current/ca.pem", "verify": verify, "timeout": "5s", "pinned_certs": [],
            })
        };
        let address = self.address.to_string();
        let pin = "ab".repeat(32);
        let mut cluster_tls = tls("cluster", true);
        cluster_tls["pinned_certs"] = json!([pin]);
        json!({
            "server_name": "east-1",
            "client": { "address": address, "port": 4222, "advertise": format!("{address}:4222"), "tls": tls("client", false) },
            "monitor": { "address": address, "port": 8222 },
            "cluster": {
                "name": "east", "address": address, "port": 5222, "advertise": format!("{address}:5222"),
                "no_advertise": true, "routes": [format!("{address}:5222")], "tls": cluster_tls,
            },
            "gateway": {
                "address": address, "port": 7222, "advertise": format!("{address}:7222"), "reject_unknown": true,
                "remotes": { "east": [format!("{address}:7222")] }, "tls": tls("gateway", true),
            },
            "jetstream": {
                "store_dir": self.path().join("store"), "max_memory": 1 << 26, "max_storage": 1 << 30,
                "unique_tag": "az:", "sync": "always", "domain": "hub",
                "limits": {
                    "max_ack_pending": 20000, "max_ha_assets": 2000, "max_request_batch": 1000,
                    "duplicate_window": "2m",
                },
            },
            "trust": trust(),
            "limits": {
                "max_payload": 1 << 20, "max_connections": 10000, "max_pending": 1 << 26, "max_control_line": 4096,
                "max_subscriptions": 1000, "ping_interval": "20s", "ping_max": 3, "write_deadline": "5s",
            },
            "logging": {
                "debug": false, "trace": false, "utc": true, "log_file": "log/a.log", "rotate_at": 1 << 30,
                "rotated_files": 5,
            },
            "tags": ["az:a"],
            "lame_duck": { "duration": "2m", "grace_period": "10s" },
            "pid_file": "nats-server.pid",
            "extra": {},
        })
    }
}

/// The authority of all these tests, at a generation of its operator signing key.
#[must_use]
pub fn authority(operator_signing: u32) -> identity::Trust {
    authority_of(7, operator_signing)
}

/// Another authority for each `root` from 1, at a generation of its operator signing key.
#[must_use]
pub fn authority_of(root: u8, operator_signing: u32) -> identity::Trust {
    let bytes = std::array::from_fn(|index| (index as u8).wrapping_mul(root));
    let root = RootKey::from_bytes(bytes).expect("32 bytes that are not all the same");
    let name: AuthorityName = "acme".parse().expect("a lower-case label");
    let generations = Generations { operator_signing, ..Generations::default() };
    Authority::derive(&root, name, generations).expect("generations from 1").trust()
}

/// Operator mode with JWTs that a server believes.
#[must_use]
pub fn trust() -> OperatorTrust {
    trust_in(&authority(1))
}

/// Operator mode in an authority, with JWTs that a server believes.
#[must_use]
pub fn trust_in(trust: &identity::Trust) -> OperatorTrust {
    let system_account = trust.system_account.as_str().to_owned();
    OperatorTrust {
        operator_jwt: trust.operator_jwt.as_str().to_owned(),
        preload: [(system_account.clone(), trust.system_account_jwt.as_str().to_owned())].into(),
        system_account,
        resolver: FullResolver {
            dir: "resolver".to_owned(),
            allow_delete: true,
            interval: NatsDuration::from_secs(120),
            timeout: NatsDuration::from_millis(1900),
            limit: 1000,
        },
    }
}
