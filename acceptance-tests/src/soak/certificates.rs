//! Certificates: renewed a thousand times under traffic, all expired at once, and issuers that have grown old.
//!
//! Time is not waited for: what a host keeps is replaced by the same of an earlier day, signed by the same keys. Nothing
//! here is random; the seed changes nothing.

mod aging;
mod outage;
mod renewals;

use std::time::Duration;

use anyhow::Result;
use time::OffsetDateTime;

use super::proof::{Proof, Row};
use super::{Extent, Order};
use crate::scenario::steady::{Counted, Steady, publishes, stored, subscriptions};
use crate::scenario::system::System;
use crate::scenario::traffic;

/// Renewals of a whole run, over all hosts together.
const RENEWALS: u64 = 1000;
/// Of a sample.
const FEW: u64 = 9;
/// Pause of each client between two publishes, and between two requests.
const PACE: Duration = Duration::from_millis(50);
/// Life of an issuer, and of a leaf. Source: docs/guides/keys-and-trust.md.
const ISSUER_DAYS: i64 = 365;

/// Renews, lets everything expire, and ages issuers.
///
/// # Errors
/// When a host does not come to what is awaited, or terraform refuses.
pub fn prove(order: &Order) -> Result<Proof> {
    let clusters: &[_] = match order.extent {
        Extent::Sample => &[("east", 3)],
        Extent::Whole | Extent::Rounds(_) => &[("east", 3), ("west", 3), ("north", 3)],
    };
    let mut system = System::lay_out(clusters);
    let user = system.resource("nats_user", "service");
    user["publish"] = publishes();
    user["subscribe"] = subscriptions();
    system.supercluster.fleet.start()?;
    system.apply();
    let mut rows = renewals::rows(&mut system, order.rounds(FEW, RENEWALS))?;
    rows.extend(old_issuers(&mut system)?);
    rows.extend(outage::rows(&mut system)?);
    let what = format!(
        "{} nats-servers, each with a client that publishes to a stream of three replicas and one that asks the next \
         server's client",
        system.hosts().len()
    );
    Ok(Proof { what, rows })
}

/// One cluster's issuers past one third of their life: drift of that cluster, gone with the next apply.
fn old_issuers(system: &mut System) -> Result<Vec<Row>> {
    let cluster = system.hosts()[0].cluster().to_owned();
    let of_cluster: Vec<String> = system
        .hosts()
        .iter()
        .filter(|host| host.cluster() == cluster)
        .map(|host| host.name().to_owned())
        .collect();
    let traffic = Steady::start(system.hosts(), &system.credentials(), PACE)?;
    let now = OffsetDateTime::now_utc();
    for name in &of_cluster {
        aging::age(system, name, now - time::Duration::days(ISSUER_DAYS / 3 + 9), now)?;
    }
    let (changes, lines) = system.drift();
    let told = of_cluster.iter().filter(|host| {
        lines.iter().any(|line| line.starts_with(&format!("{host}: ")) && line.contains("`issuer`"))
    });
    let told = told.count();
    let addresses: Vec<&str> = changes.iter().map(|change| change.address.as_str()).collect();
    let addresses = addresses.join(", ");
    let renewed = system.apply();
    let counted = traffic.finish()?;
    let left = u64::from(system.plan().unchanged().is_err());
    let mut rows = vec![
        Row::exactly("hosts whose issuer is past one third and shown in the plan", told, of_cluster.len()),
        Row::exactly("what the plan changes for it", addresses, format!("nats_cluster.{cluster}")),
        Row::told(
            "apply that renews them, one canary first",
            format!("{:.0} s", renewed.elapsed.as_secs_f64()),
        ),
        Row::exactly("plans after it that find something to do", left, 0),
    ];
    rows.extend(traffic_rows("while issuers are renewed", &counted, system)?);
    Ok(rows)
}

/// What clients felt, with what is promised.
fn traffic_rows(when: &str, counted: &Counted, system: &System) -> Result<Vec<Row>> {
    let credentials = system.credentials();
    let host = system.hosts().last().ok_or_else(|| anyhow::anyhow!("no hosts"))?;
    let texts =
        traffic::talk(async { stored(&traffic::connect(host, &credentials).await?, "ORDERS").await })?;
    let lost = counted.acknowledged.iter().filter(|text| !texts.contains_key(*text)).count();
    if let Some(problem) = &counted.first_problem {
        anyhow::bail!("{when}: {problem}");
    }
    let millis = |time: Duration| format!("{} ms", time.as_millis());
    Ok(vec![
        Row::exactly(&format!("disconnects {when}"), counted.disconnects, 0),
        Row::told(&format!("publishes acknowledged {when}"), counted.acknowledged.len()),
        Row::exactly(&format!("acknowledgements lost {when}"), counted.repeated + lost as u64, 0),
        Row::told(&format!("longest time to an acknowledgement {when}"), millis(counted.longest_publish)),
        Row::told(&format!("requests replied to {when}"), counted.replied),
        Row::exactly(&format!("requests not replied to {when}"), counted.unreplied, 0),
        Row::told(&format!("longest time to a reply {when}"), millis(counted.longest_request)),
    ])
}
