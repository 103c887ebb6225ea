//! The writer of claims by itself: what it warns of, which an apply shows beside its success.

use host_state::Finding;
use host_state::diff::RESOLVER_SILENT;
use identity::{AccountLimits, AuthorityName};
use nats_agent_api::server::{Method, ServiceError};
use serde_json::json;
use terraform_provider_nats::claims::{Account, ClaimsWriter, Edit, Wanted};
use terraform_provider_nats::keys::Keys;
use terraform_provider_nats::session::{Session, SessionSlot, Settings};
use tfplug::{Diagnostic, Severity, Stop};

use crate::rig::{ROOT, Rig};

/// Writes one account and answers the warnings, or the error.
async fn write(rig: &Rig, connections: u64) -> Result<Vec<Diagnostic>, Diagnostic> {
    let sessions = SessionSlot::new();
    let agents = rig.agents.iter().map(|agent| agent.address().parse().unwrap()).collect();
    let keys = Keys::Root(ROOT.parse().unwrap());
    sessions.fill(Session::new(Settings { keys, agents, agents_unknown: false }, Stop::new()));
    let limits = AccountLimits { connections: Some(connections), ..AccountLimits::unlimited() };
    let claims = rig.authority.account_claims("orders".parse().unwrap(), limits);
    let account = Account { claims, declared: json!({}) };
    let edit = Edit::new("orders".parse().unwrap(), move |_| Ok(Wanted::Account(Box::new(account.clone()))));
    let acme: AuthorityName = "acme".parse().unwrap();
    let warnings = ClaimsWriter::new(sessions).write(&acme, edit).await?;
    assert!(warnings.iter().all(|warning| warning.severity == Severity::Warning));
    Ok(warnings.iter().cloned().collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_host_that_has_not_taken_the_claims_is_named_with_its_reason() {
    let rig = Rig::new().await;
    assert_eq!(write(&rig, 1).await.unwrap(), []);
    let refuse = |method| (method, ServiceError::Failed("the disk is full".to_owned()));
    rig.agents[0].script(|script| script.fail = [refuse(Method::Claims)].into());
    rig.agents[1].script(|script| script.fail = [refuse(Method::Apply)].into());
    let problem = format!("{RESOLVER_SILENT}: connection refused");
    let finding = Finding { item: "claims".to_owned(), problem, remedy: "wait".to_owned() };
    rig.agents[2].script(|script| script.findings = vec![finding]);
    let warnings = write(&rig, 2).await.unwrap();
    let told = |host: &str| {
        let summary = format!("Host `{host}` does not have the new claims yet");
        let told: Vec<&Diagnostic> = warnings.iter().filter(|warning| warning.summary == summary).collect();
        assert_eq!(told.len(), 1, "{warnings:#?}");
        told[0].detail.clone()
    };
    assert!(told("east-1").contains("the disk is full"), "{}", told("east-1"));
    assert!(told("east-2").contains("the disk is full"), "{}", told("east-2"));
    let silent =
        "Its server has not taken them: the account resolver could not be asked: connection refused.";
    assert!(told("east-3").starts_with(silent), "{}", told("east-3"));
    assert_eq!(warnings.len(), 3);
    assert_eq!(rig.account(2, "orders").unwrap().1.limits.connections, Some(2));

    rig.agents[0].script(|script| script.fail.clear());
    rig.agents[1].script(|script| script.fail.clear());
    rig.agents[2].script(|script| script.findings.clear());
    assert_eq!(write(&rig, 2).await.unwrap(), [], "the same again brings those behind up to date");
    assert_eq!(rig.claims(0), rig.claims(2));
    assert_eq!(rig.claims(1), rig.claims(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_race_lost_every_time_ends_and_says_so() {
    let rig = Rig::new().await;
    let faster = ServiceError::Conflict("the section of `nats_authority/acme` is older".to_owned());
    rig.agents[0].script(|script| script.fail = [(Method::Apply, faster)].into());
    let problem = write(&rig, 1).await.unwrap_err();
    assert_eq!(problem.summary, "The claims could not be written");
    assert!(
        problem.detail.contains("After 30 tries another writer was faster each time"),
        "{}",
        problem.detail
    );
    assert_eq!(rig.claims(1), None, "nobody else is pushed to before the arbiter has decided");
}
