//! Whose host it is, and its accounts.

use host_state::document::ClaimsSection;
use host_state::report::Outcome;
use nats_agent::roles::{Applier, ApplierError, ClaimState};

use crate::rig::Rig;

fn section(rig: &Rig, accounts: &[(&str, i64)]) -> ClaimsSection {
    rig.author.claims_section(accounts)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_kept_once_and_its_token_is_gone() {
    let rig = Rig::claimed().await;
    assert!(matches!(*rig.applier.claim_state().borrow(), ClaimState::Claimed(_)));
    let again = rig.applier.bind(rig.claim(&"d".repeat(32))).await.unwrap_err();
    assert!(matches!(again, ApplierError::Conflict(_)), "{again}");
    let enrollment = std::fs::read_to_string(rig.state().join("enrollment.json")).unwrap();
    assert!(!enrollment.contains("nats-enrollment"), "{enrollment}");
    assert!(rig.applier.api_identity().borrow().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_reach_the_resolver_and_an_older_section_is_not_taken() {
    let mut rig = Rig::running(|_| {}).await;
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    let first = section(&rig, &[("orders", now)]);
    let first = rig.claims(&first);
    let (outcome, report) = rig.roll(vec![first.clone()]).await;
    assert_eq!(
        (outcome, report.drift.as_slice()),
        (Outcome::Confirmed, [].as_slice()),
        "{:#?}",
        report.findings
    );
    let account = section(&rig, &[("orders", now)]).accounts.into_keys().next().unwrap();
    let kept = std::fs::read_dir(rig.state().join(host_state::layout::RESOLVER)).unwrap();
    let names: Vec<String> =
        kept.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    assert!(names.iter().any(|name| name.contains(&account)), "{names:?}");

    let second = section(&rig, &[("orders", now + 1), ("billing", now + 1)]);
    let second = rig.claims(&second);
    assert!(rig.applier.take_claims(second.clone()).await.unwrap());
    assert!(!rig.applier.take_claims(second).await.unwrap());
    assert!(!rig.applier.take_claims(first).await.unwrap());
    assert_eq!(rig.report().await.drift, []);
    assert_eq!(rig.report().await.sections[&host_state::SectionKind::Claims].confirmed, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_the_operator_did_not_sign_is_refused() {
    let mut rig = Rig::claimed().await;
    let mut forged = section(&rig, &[("orders", 1_800_000_000)]);
    for entry in forged.accounts.values_mut() {
        entry.issued_at += 1;
    }
    let forged = rig.claims(&forged);
    let error = rig.applier.take_claims(forged).await.unwrap_err().to_string();
    assert!(error.contains("the JWT of account `orders` was issued at 1800000000"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_alone_roll_nothing_that_is_staged() {
    let mut rig = Rig::running(|_| {}).await;
    let (digest, cluster) = (rig.digest().await.unwrap(), host_state::SectionKind::Cluster);
    let staged = rig.cluster(|section| {
        section.config.limits.max_payload = Some(nats_config::ByteSize::from_bytes(4096).unwrap());
    });
    let (outcome, report) = rig.stage(vec![staged]).await;
    assert_eq!((outcome, report.sections[&cluster].confirmed), (Outcome::Staged, Some(1)));

    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    let claims = section(&rig, &[("orders", now)]);
    let claims = rig.claims(&claims);
    let (outcome, report) = rig.roll(vec![claims.clone()]).await;
    assert_eq!(outcome, Outcome::Confirmed);
    assert_eq!(report.sections[&host_state::SectionKind::Claims].confirmed, Some(1));
    assert_eq!((report.sections[&cluster].generation, report.sections[&cluster].confirmed), (2, Some(1)));
    assert_eq!(rig.digest().await.unwrap(), digest, "the server runs what it ran");

    // The same claims again look at the accounts and are a success.
    let (outcome, report) = rig.roll(vec![claims]).await;
    assert_eq!((outcome, report.drift), (Outcome::Confirmed, Vec::new()));
    assert_eq!(rig.digest().await.unwrap(), digest);

    let (outcome, report) = rig.roll(Vec::new()).await;
    assert_eq!((outcome, report.sections[&cluster].confirmed), (Outcome::Confirmed, Some(2)));
    assert_ne!(rig.digest().await.unwrap(), digest, "the staged change rolls when it is asked to");
}
