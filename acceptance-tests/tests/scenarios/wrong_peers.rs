//! Without the right key nobody gets an answer: wrong callers at a real agent, another host's names, a key that no
//! document pins at the routes and gateways of real servers.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use acceptance_tests::rig::process::Process;
use acceptance_tests::rig::wait::wait_until;
use acceptance_tests::tools;
use host_state::layout;
use identity::{Authority, HostNames, HostSecret, HostSeeds, LeafPem, mint_leaf};
use nats_agent_api::server::METHODS;
use nats_agent_api::wrong_peer;
use rustls::client::WebPkiServerVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::runtime::Runtime;
use zeroize::Zeroizing;

use acceptance_tests::scenario::system::{DEADLINE, System, monitor};

const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn no_wrong_caller_gets_through_to_a_real_agent() {
    let system = System::running(&[("east", 2)]);
    let address = system.host("east-1").agent_address().to_string();
    let neighbour =
        fs::read_to_string(system.host("east-2").state_dir().join(layout::HOST_SECRET_FILE)).unwrap();
    let neighbour = HostSecret::from_json(&neighbour).unwrap();
    let authority = system.authority();
    let matrix = wrong_peer::matrix(&address, &authority, &neighbour);
    let matrix = Runtime::new().unwrap().block_on(matrix);
    let calls = METHODS.len() + 1;
    println!(
        "{} kinds of wrong caller and {} right ones x {calls} calls = {} tried, {} accepted wrongly",
        matrix.wrong,
        matrix.tried / calls - matrix.wrong,
        matrix.tried,
        matrix.accepted.len()
    );
    assert_eq!(matrix.accepted, Vec::<String>::new());
    assert_eq!(matrix.denied, Vec::<String>::new(), "the right callers");
    assert!(matrix.wrong >= 30, "only {} kinds of wrong caller were tried", matrix.wrong);
    system.plan_is_empty();
}

fn secret(fill: u8) -> HostSecret {
    let seed = |part: u8| Zeroizing::new([fill + part; 32]);
    HostSecret::from_seeds(&HostSeeds {
        issuer: seed(0),
        leaf: seed(1),
        system_user: seed(2),
        probe_user: seed(3),
    })
}

fn names(host: &str, address: Ipv4Addr) -> HostNames {
    HostNames { host: host.parse().unwrap(), dns: BTreeSet::new(), ips: [address.into()].into() }
}

/// A certificate of a host of the authority, as a claim would give it.
fn leaf(authority: &Authority, secret: &HostSecret, names: &HostNames) -> LeafPem {
    let now = OffsetDateTime::now_utc();
    let issuer = authority.issuer(&secret.keys(), names, now, DAY * 90).unwrap();
    mint_leaf(secret, &issuer, names, now, DAY).unwrap()
}

/// A TLS handshake of a client that trusts `ca` and expects `name` with a server that presents `chain`.
fn handshake(
    ca: &str,
    chain: &[CertificateDer<'static>],
    key: PrivateKeyDer<'static>,
    name: &str,
) -> Result<(), rustls::Error> {
    let crypto = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&crypto)).build().unwrap();
    let client = ClientConfig::builder_with_provider(Arc::clone(&crypto))
        .with_safe_default_protocol_versions()
        .unwrap();
    let client = client.with_webpki_verifier(verifier).with_no_client_auth();
    let server = ServerConfig::builder_with_provider(crypto).with_safe_default_protocol_versions().unwrap();
    let server = server.with_no_client_auth().with_single_cert(chain.to_vec(), key).unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        let mut wire = Vec::new();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}

#[test]
fn a_hosts_issuer_cannot_mint_for_another_host() {
    let authority = an_authority();
    let (thief, victim) = (secret(10), secret(20));
    let (own, other) =
        (names("east-1", Ipv4Addr::new(127, 9, 9, 1)), names("east-2", Ipv4Addr::new(127, 9, 9, 2)));
    let ca = authority.trust().host_ca_bundle();
    let now = OffsetDateTime::now_utc();
    let issuer = authority.issuer(&thief.keys(), &own, now, DAY * 90).unwrap();
    let refused = mint_leaf(&thief, &issuer, &other, now, DAY).unwrap_err();
    println!("our own code: {refused}");

    // With code of their own: a leaf for the other host's names under the thief's genuine issuer.
    let key = rcgen::KeyPair::generate().unwrap();
    let mut tried = 0;
    for name in ["east-2", "127.9.9.2", "x.east-1", "localhost", "acme.example"] {
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        let signer = rcgen::Issuer::from_ca_cert_der(issuer.der(), issuer_key(&thief)).unwrap();
        let forged = params.signed_by(&key, &signer).unwrap();
        let chain = [forged.der().clone(), issuer.der().clone()];
        let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let error = handshake(&ca, &chain, private, name).unwrap_err();
        assert!(format!("{error:?}").contains("InvalidCertificate"), "{name}: {error}");
        println!("`{name}` under the issuer of `east-1`: {error}");
        tried += 1;
    }
    assert_eq!(tried, 5);
    // The same client takes the genuine ones, so that the refusals mean something.
    for (secret, names, name) in
        [(&thief, &own, "east-1"), (&victim, &other, "east-2"), (&victim, &other, "127.9.9.2")]
    {
        let LeafPem { leaf, issuer } = leaf(&authority, secret, names);
        let chain = [leaf.der().clone(), issuer.unwrap().der().clone()];
        let private = PrivateKeyDer::try_from(secret.leaf_key_der().to_vec()).unwrap();
        handshake(&ca, &chain, private, name).unwrap();
    }
}

fn an_authority() -> Authority {
    let root = identity::RootKey::from_bytes(std::array::from_fn(|index| index as u8)).unwrap();
    Authority::derive(&root, "acme".parse().unwrap(), identity::Generations::default()).unwrap()
}

/// The key that a host keeps to itself, as whoever has taken the host would read it.
fn issuer_key(of: &HostSecret) -> rcgen::KeyPair {
    let kept: Value = serde_json::from_str(&of.to_json()).unwrap();
    rcgen::KeyPair::from_pem(kept["issuer_key"].as_str().unwrap()).unwrap()
}

/// A server with a genuine certificate of the authority whose key no document pins.
fn unpinned(folder: &Path, address: Ipv4Addr, authority: &Authority, link: &Value) -> Process {
    let secret = secret(30);
    let leaf = leaf(authority, &secret, &names("east-9", address));
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("server.pem"), leaf.chain()).unwrap();
    fs::write(folder.join("server-key.pem"), secret.leaf_key_pem().as_bytes()).unwrap();
    fs::write(folder.join("ca.pem"), authority.trust().host_ca_bundle()).unwrap();
    let trust = authority.trust();
    let mut config = json!({
        "server_name": "east-9",
        "listen": format!("{address}:4222"),
        "operator": trust.operator_jwt,
        "system_account": trust.system_account,
        "resolver": "MEMORY",
        "resolver_preload": { trust.system_account.as_str(): trust.system_account_jwt },
    });
    config.as_object_mut().unwrap().extend(link.as_object().unwrap().clone());
    fs::write(folder.join("nats-server.json"), config.to_string()).unwrap();
    let mut command = Command::new(tools::nats_server().unwrap());
    command.arg("-c").arg(folder.join("nats-server.json"));
    Process::start("the intruder", &mut command, &folder.join("log")).unwrap()
}

#[test]
fn a_key_that_no_document_pins_joins_neither_route_nor_gateway() {
    let system = System::running(&[("east", 2), ("west", 2)]);
    let (authority, victim) = (system.authority(), system.host("east-1"));
    // The last address of the block is nobody's.
    let octets = victim.address().octets();
    let address = Ipv4Addr::new(octets[0], octets[1], octets[2], 254);
    let folder = system.supercluster.fleet.folder().join("intruder");
    let file = |name: &str| folder.join(name).display().to_string();
    let tls = json!({
        "cert_file": file("server.pem"), "key_file": file("server-key.pem"), "ca_file": file("ca.pem"), "verify": true, "timeout": 5,
    });
    let routes = monitor(victim, "/routez").unwrap()["num_routes"].clone();
    let gateways = |host| monitor(host, "/gatewayz").unwrap();
    let known: BTreeSet<String> =
        gateways(victim)["inbound_gateways"].as_object().unwrap().keys().cloned().collect();
    let links = [
        (
            "route",
            json!({ "cluster": {
            "name": "east", "listen": format!("{address}:5222"), "tls": tls,
            "routes": [format!("nats-route://{}:5222", victim.address())],
        } }),
        ),
        (
            "gateway",
            json!({ "gateway": {
            "name": "south", "listen": format!("{address}:7222"), "tls": tls,
            "gateways": [{ "name": "east", "urls": [format!("nats://{}:7222", victim.address())] }],
        } }),
        ),
    ];
    for (what, link) in links {
        let server_log = || fs::read_to_string(victim.state_dir().join(layout::LOG_FILE)).unwrap();
        let seen = server_log().len();
        let intruder = unpinned(&folder, address, &authority, &link);
        let refusal =
            |log: &str| log.lines().find(|line| line.contains("handshake error")).map(str::to_owned);
        wait_until("the refusal", DEADLINE, || Ok(refusal(&server_log()[seen..]).is_some())).unwrap();
        let line = refusal(&server_log()[seen..]).unwrap();
        println!("{what}: {}", line.trim());
        std::thread::sleep(Duration::from_secs(3));
        assert_eq!(monitor(victim, "/routez").unwrap()["num_routes"], routes, "{}", intruder.log());
        let now: BTreeSet<String> =
            gateways(victim)["inbound_gateways"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(now, known, "{}", intruder.log());
        drop(intruder);
        fs::remove_dir_all(&folder).unwrap();
    }
    system.plan_is_empty();
}
