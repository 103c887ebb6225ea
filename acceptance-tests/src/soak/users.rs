//! Many users in one apply, beside as many resources that terraform has built in.
//!
//! Nothing here is random; the seed changes nothing.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use super::proof::{Proof, Row};
use super::{Extent, Order};
use crate::rig::binaries;
use crate::rig::terraform::{Installation, Run, Workspace};
use crate::scenario::supercluster::AUTHORITY;
use crate::scenario::system::System;
use crate::scenario::traffic;

/// How long one command may take.
const PATIENCE: Duration = Duration::from_secs(3600);
/// How many resources terraform works on at once, where the default of ten is not meant.
const AT_ONCE: &str = "-parallelism=250";

/// Accounts, and users over all of them.
const WHOLE: (usize, usize) = (200, 5000);
const SAMPLE: (usize, usize) = (4, 40);

/// Makes them in one apply, plans it, and lets the last one in.
///
/// # Errors
/// When terraform refuses, or the plan finds something to do.
pub fn prove(order: &Order) -> Result<Proof> {
    let (accounts, users) = match order.extent {
        Extent::Sample => SAMPLE,
        Extent::Whole => WHOLE,
        Extent::Rounds(users) => (WHOLE.0, usize::try_from(users)?),
    };
    let floor = floor(accounts + users)?;
    let mut system = System::lay_out(&[("east", 2)]);
    system.supercluster.terraform.set_timeout(PATIENCE);
    for (kind, name) in [("nats_stream", "orders"), ("nats_user", "service"), ("nats_account", "orders")] {
        system.forget(kind, name);
    }
    system.supercluster.fleet.start()?;
    system.apply();
    system.configuration["resource"]["nats_account"]["many"] = json!({
        "count": accounts,
        "system": "${nats_cluster.east.id}",
        "name": "account-${count.index}",
        "deletion_protection": false,
    });
    system.configuration["resource"]["nats_user"]["many"] = json!({
        "count": users,
        // Its id, which is its name: a reference would have terraform put all accounts together again for each user.
        "account": format!("{AUTHORITY}/account-${{count.index % {accounts}}}"),
        "depends_on": ["nats_account.many"],
        "name": "user-${count.index}",
        "publish": { "allow": ["orders.${count.index}.>"] },
    });
    system.write();
    let terraform = &system.supercluster.terraform;
    let applied =
        terraform.run(&["apply", "-json", "-input=false", "-auto-approve", AT_ONCE])?.succeeded()?;
    let planned = plan(terraform)?.unchanged()?;
    let last = users - 1;
    let credentials =
        system.supercluster.credentials(&format!("account-{}", last % accounts), &format!("user-{last}"))?;
    let refused = system
        .hosts()
        .iter()
        .filter(|host| traffic::talk(async { traffic::connect(host, &credentials).await }).is_err());
    let refused = refused.count();
    let ledger = system.hosts()[0].state_dir().join("ledger/claims.json");
    let size = std::fs::metadata(ledger).context("look at the claims in the ledger")?.len();
    let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
    let rows = vec![
        Row::told(&format!("one apply with `{AT_ONCE}`"), seconds(applied.elapsed)),
        Row::told(&format!("as many `terraform_data`: one apply with `{AT_ONCE}`"), seconds(floor.0)),
        Row::told("the empty plan after it", seconds(planned.elapsed)),
        Row::told("as many `terraform_data`: the empty plan after it", seconds(floor.1)),
        Row::told("their claims in a ledger", format!("{:.1} MiB", size as f64 / f64::from(1 << 20))),
        Row::exactly("servers that refuse the last user", refused, 0),
    ];
    Ok(Proof { what: format!("{users} users over {accounts} accounts on two servers"), rows })
}

/// Apply and empty plan of as many resources that dial nobody.
fn floor(count: usize) -> Result<(Duration, Duration)> {
    let mut workspace = Workspace::new(&binaries::provider()?, Installation::DevOverride)?;
    workspace.set_timeout(PATIENCE);
    let one = json!({ "count": count, "input": "${count.index}" });
    let text = json!({ "resource": { "terraform_data": { "many": one } } }).to_string();
    workspace.remove("terraform.tf")?;
    workspace.write("main.tf.json", &text)?;
    let applied =
        workspace.run(&["apply", "-json", "-input=false", "-auto-approve", AT_ONCE])?.succeeded()?;
    Ok((applied.elapsed, plan(&workspace)?.unchanged()?.elapsed))
}

fn plan(workspace: &Workspace) -> Result<Run> {
    workspace.run(&["plan", "-json", "-input=false", "-detailed-exitcode", AT_ONCE])
}
