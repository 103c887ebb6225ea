//! Fetching claims from a neighbour with the host's own leaf, and who is a neighbour.

use std::time::Duration;

use host_state::document::{GatewayHost, GatewaySection, canonical};
use host_state::{SectionHeader, SectionKind, SignedSection, document::ContentHash};
use identity::{Authority, ClientIdentity, HostSecret, HostSeeds, mint_leaf};
use nats_agent_api::order::{ApplyMode, ApplyOrder, ProbeOrder, TrialOrder};
use nats_agent_api::{AgentClient, CallError, Expected, OpenError, Timeouts};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::scripted::{HOUR, Scripted, authority};

fn section(kind: SectionKind, body: String) -> SignedSection {
    let header = SectionHeader {
        authority: "O".to_owned(),
        section: kind,
        owner: "nats_authority/acme".to_owned(),
        host: None,
        claim_id: None,
        generation: 7,
        parent: None,
        content: ContentHash::of(&body),
        document_key: 1,
        writer: "test".to_owned(),
    };
    SignedSection { header, body, signature: "s".to_owned() }
}

/// What a host holds of a gateway whose hosts have the leaf keys of `pinned`.
fn gateway(pinned: &[&HostSecret], hosts: &[(&str, &str)]) -> SignedSection {
    let host = |agent: &str| GatewayHost {
        cluster: "east".to_owned(),
        agent: agent.to_owned(),
        cluster_url: "127.72.3.9:5222".to_owned(),
        gateway_url: "127.72.3.9:7222".to_owned(),
    };
    let gateway = GatewaySection {
        gateway: "global".to_owned(),
        reject_unknown: true,
        remotes: [].into(),
        pins: pinned.iter().map(|secret| secret.keys().leaf_pin()).collect(),
        hosts: hosts.iter().map(|(name, agent)| ((*name).to_owned(), host(agent))).collect(),
        release: None,
        declared: serde_json::Value::Null,
    };
    section(SectionKind::Gateway, canonical(&gateway))
}

#[tokio::test]
async fn a_host_that_was_away_gets_the_claims_of_its_neighbour() {
    let acme = authority(1);
    let (near_dir, far_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (near, far) = (Scripted::new(31), Scripted::new(32));
    near.claimed_by(&acme, "east-1", "127.72.3.1");
    far.claimed_by(&acme, "east-2", "127.72.3.2");
    let claims = section(SectionKind::Claims, r#"{"accounts":{}}"#.to_owned());
    let hosts = [("east-1", "127.72.3.1:8442"), ("east-2", "127.72.3.2:8442"), ("east-3", "127.72.3.3:8442")];
    let told = gateway(&[&near.secret, &far.secret], &hosts);
    far.sections.lock().unwrap().extend([claims.clone(), told.clone()]);
    near.sections.lock().unwrap().push(told);
    let far_front = far.serve("127.72.3.2:8442", far_dir.path()).await;
    let near_front = near.serve("127.72.3.1:8442", near_dir.path()).await;

    let deadline = tokio::time::Instant::now() + Duration::from_secs(15);
    while near.taken.lock().unwrap().is_empty() {
        assert!(tokio::time::Instant::now() < deadline, "nothing was fetched");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        *near.taken.lock().unwrap(),
        [claims],
        "one neighbour has them, one is away, itself is not asked"
    );
    near_front.stop().await;
    far_front.stop().await;
}

fn secret(issuer: u8, leaf: u8) -> HostSecret {
    let seed = |fill| Zeroizing::new([fill; 32]);
    HostSecret::from_seeds(&HostSeeds {
        issuer: seed(issuer),
        leaf: seed(leaf),
        system_user: seed(251),
        probe_user: seed(252),
    })
}

/// A certificate that the issuer of `east-3` gives the leaf key of `secret`; each is another one.
fn certificate(acme: &Authority, secret: &HostSecret) -> ClientIdentity {
    let names = Scripted::names("east-3", "127.72.3.7");
    let now = OffsetDateTime::now_utc();
    let issuer = acme.issuer(&secret.keys(), &names, now, 24 * HOUR).unwrap();
    let leaf = mint_leaf(secret, &issuer, &names, now, HOUR).unwrap();
    let chain = vec![leaf.leaf.der().clone(), issuer.der().clone()];
    ClientIdentity { chain, key: secret.leaf_key_der() }
}

/// A connection to `east-4`.
async fn connected(acme: &Authority, identity: &ClientIdentity) -> AgentClient {
    let host_ca = acme.trust().host_ca_bundle();
    let expected = Expected { host: Some("east-4".parse().unwrap()), pin: None };
    AgentClient::connect("127.72.3.8:8442", identity, &host_ca, expected, Timeouts::default()).await.unwrap()
}

/// How every call but `Claims` is refused.
async fn refused_anyway(agent: &AgentClient) -> Vec<CallError> {
    let order = ApplyOrder { sections: Vec::new(), mode: ApplyMode::Stage, lease_id: String::new() };
    let trial = || TrialOrder { trial_id: "t1".to_owned(), signature: String::new() };
    let Err(OpenError::Call(tunnel)) = agent.monitor().await else { panic!("a tunnel was opened") };
    let apply = match agent.apply(order).await {
        Ok(mut events) => events.next().await.unwrap_err(),
        Err(error) => error,
    };
    vec![
        tunnel,
        apply,
        agent.observe().await.unwrap_err(),
        agent.preview(Vec::new()).await.unwrap_err(),
        agent.preflight().await.unwrap_err(),
        agent.confirm(trial()).await.unwrap_err(),
        agent.cancel(trial()).await.unwrap_err(),
        agent.probe(ProbeOrder { targets: Vec::new(), timeout: HOUR }).await.unwrap_err(),
    ]
}

fn is_denied(error: &CallError) -> bool {
    matches!(error, CallError::Denied { .. })
}

#[tokio::test]
async fn a_peer_is_let_in_while_a_section_pins_its_key_and_no_longer() {
    let (acme, folder, host) = (authority(1), tempfile::tempdir().unwrap(), Scripted::new(33));
    host.claimed_by(&acme, "east-4", "127.72.3.8");
    let claims = section(SectionKind::Claims, r#"{"accounts":{}}"#.to_owned());
    let tell = |pinned: &[&HostSecret]| {
        *host.sections.lock().unwrap() = vec![claims.clone(), gateway(pinned, &[])];
    };
    let front = host.serve("127.72.3.8:8442", folder.path()).await;
    let (lost, next, other) = (secret(61, 62), secret(63, 64), secret(61, 65));
    let open = connected(&acme, &certificate(&acme, &lost)).await;
    let error = open.claims().await.unwrap_err();
    assert!(is_denied(&error), "nobody is a neighbour before the first section: {error}");

    // It renews as often as it likes; two keys are good while a host goes from one to the other.
    tell(&[&lost, &next]);
    for secret in [&lost, &lost, &next] {
        let agent = connected(&acme, &certificate(&acme, secret)).await;
        assert_eq!(agent.claims().await.unwrap(), Some(claims.clone()));
    }
    assert_eq!(open.claims().await.unwrap(), Some(claims.clone()), "the open connection");
    assert!(refused_anyway(&open).await.iter().all(is_denied));
    let another_key = connected(&acme, &certificate(&acme, &other)).await;
    assert!(is_denied(&another_key.claims().await.unwrap_err()), "another key by the same issuer");

    tell(&[&next]);
    let again = connected(&acme, &certificate(&acme, &lost)).await;
    for agent in [&open, &again] {
        let error = agent.claims().await.unwrap_err();
        let pin = lost.keys().leaf_pin();
        let told = format!("no section that this host holds pins the key `{pin}` of this certificate");
        assert!(is_denied(&error) && error.to_string().contains(&told), "{error}");
        assert!(refused_anyway(agent).await.iter().all(is_denied));
    }
    assert!(connected(&acme, &certificate(&acme, &next)).await.claims().await.is_ok());

    host.sections.lock().unwrap()[1].body.push(' ');
    let error = connected(&acme, &certificate(&acme, &next)).await.claims().await.unwrap_err();
    assert!(is_denied(&error) && error.to_string().contains("cannot be read"), "{error}");
    tell(&[&lost]);
    assert_eq!(open.claims().await.unwrap(), Some(claims.clone()), "it was taken in again");
    front.stop().await;
}
