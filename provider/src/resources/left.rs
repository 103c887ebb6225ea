//! What a create or update that failed has left on its hosts: told beside why it failed, because state says nothing of
//! it. Looks only; the next apply goes on from what is there.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use host_state::SectionKind;
use host_state::report::{Report, RunStatus};
use identity::HostName;
use nats_config::HostPort;
use tfplug::{Diagnostics, Severity};

use super::cluster::look_at;
use super::trust::TrustRef;
use crate::session::Session;

/// How long a host may take to say how it is.
const PATIENCE: Duration = Duration::from_secs(3);

/// `problems`, the first error of them with what each of `hosts` holds now. Unchanged when there are no keys to look with.
pub(super) async fn with_hosts(
    problems: Diagnostics,
    session: &Session,
    trust: &TrustRef,
    hosts: &BTreeMap<HostName, HostPort>,
) -> Diagnostics {
    let Ok(card) = session.card(trust) else { return problems };
    let looks = join_all(hosts.iter().map(|(host, agent)| {
        let (card, one) = (&card, BTreeMap::from([(host.clone(), agent.clone())]));
        async move {
            let look = tokio::time::timeout(PATIENCE, look_at(session, card, &one)).await;
            let report = look.ok().and_then(|mut look| look.seen.remove(host)).map(|seen| seen.report);
            format!("`{host}` {}", how(report.as_ref()))
        }
    }));
    let now = looks.await.join(", ");
    let mut is_told = false;
    let told = problems.into_iter().map(|mut problem| {
        if problem.severity == Severity::Error && !is_told {
            is_told = true;
            problem.detail =
                format!("{}\nNow {now}. An apply goes on from there.", problem.detail.trim_end());
        }
        problem
    });
    told.collect()
}

fn how(report: Option<&Report>) -> &'static str {
    let Some(report) = report else { return "does not say how it is" };
    let sections = report.sections.iter().filter(|(kind, _)| **kind != SectionKind::Claims);
    let mut staged = sections.filter(|(_, section)| section.confirmed != Some(section.generation));
    match (report.run, staged.next().is_some()) {
        (RunStatus::Empty, _) => "is claimed, and nothing is staged on it",
        (RunStatus::Held, _) => "is staged, and its server is held",
        (RunStatus::Running, false) => "runs what it was told",
        (RunStatus::Running, true) => "runs what it ran before, and has staged what it was told",
        (RunStatus::Stopped, _) => "was released, and its server does not run",
    }
}
