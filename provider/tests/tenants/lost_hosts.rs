//! A host is given up: `absent = true` on its node, and whoever has it does not hold that up.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use host_state::diff::RESOLVER_SILENT;
use host_state::document::{ContentHash, SectionHeader};
use host_state::{Finding, SectionKind, SignedSection};
use identity::{Revoked, decode_account};
use nats_agent_api::fake::{FakeAgent, Script};
use nats_agent_api::server::Method;

use crate::rig::{Rig, tells};

/// Longest that giving a host up may take: a server that stays behind is pushed to for ten seconds, and a call that hangs
/// would take sixty.
const SOON: Duration = Duration::from_secs(30);

/// Claims that nobody signed, newer than all others ever get.
fn forged(rig: &Rig) -> SignedSection {
    let body = r#"{"accounts":{}}"#.to_owned();
    let header = SectionHeader {
        authority: rig.authority.trust().operator.to_string(),
        section: SectionKind::Claims,
        owner: "nats_authority/acme".to_owned(),
        host: None,
        claim_id: None,
        generation: u64::MAX,
        parent: None,
        content: ContentHash::of(&body),
        document_key: 1,
        writer: "somebody".to_owned(),
    };
    SignedSection { header, body, signature: data_encoding::BASE64.encode(&[7; 64]) }
}

/// Gives `east-4` up, which does what `hostile` says, while the server of `east-3` does not take claims.
async fn given_up(hostile: impl FnOnce(&Rig, &mut Script)) {
    let rig = Rig::of(4).await;
    let lost = &rig.agents[3];
    lost.script(|script| hostile(&rig, script));
    let problem = format!("{RESOLVER_SILENT}: connection refused");
    let silent = Finding { item: "claims".to_owned(), problem, remedy: "wait".to_owned() };
    rig.agents[2].script(|script| script.findings = vec![silent]);
    let asked = |lost: &FakeAgent| {
        let calls = lost.calls();
        let of = |method| calls.iter().filter(|call| **call == method).count();
        (of(Method::Claims), of(Method::Apply))
    };
    let before = asked(lost);

    let process = rig.process().await;
    let began = Instant::now();
    let applied = process.apply_and_hear("nats_cluster", Some(&rig.cluster), rig.without_the_last()).await;
    let (_, warnings) = applied.unwrap();
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    tells(
        &warnings,
        &["Host `east-3` does not have the new claims yet", "the account resolver could not be asked"],
    );
    assert_eq!(warnings.len(), 1, "{warnings}");
    assert_eq!(asked(lost), before, "it was neither asked nor told");
    let trust = rig.authority.trust();
    for agent in 0..3 {
        let (_, claims) = rig.claims(agent).unwrap();
        let keys = lost.host_keys();
        for (account, user) in
            [(&trust.system_account, &keys.system_user), (&trust.probe_account, &keys.probe_user)]
        {
            let jwt = claims.accounts[account.as_str()].jwt.parse().unwrap();
            let revoked = decode_account(&jwt, &trust).unwrap().claims.revocations;
            assert_eq!(revoked.into_keys().collect::<BTreeSet<_>>(), [Revoked::User(user.clone())].into());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_host_that_hangs_is_not_waited_for() {
    given_up(|_, script| script.delay = Duration::from_secs(600)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_host_that_forges_claims_has_no_say() {
    given_up(|rig, script| script.claims = Some(forged(rig))).await;
}
