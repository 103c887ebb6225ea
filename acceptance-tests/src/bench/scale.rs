//! Many resources: ours beside as many that terraform has built in.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::plan::built_in;
use super::report::{Row, Table};
use crate::rig::terraform::Workspace;
use crate::scenario::system::System;

/// How many of each.
const COUNTS: [usize; 2] = [100, 1000];
/// Users of one account; an account is one JWT, in which each user is a scope.
const USERS: usize = 9;
/// How long one command may take.
const PATIENCE: Duration = Duration::from_secs(900);

/// Measures on one formed cluster of three: accounts with nine users each are made, planned again, and taken away.
///
/// # Errors
/// When the system does not come up, or a plan finds something to do.
pub fn run() -> Result<Table> {
    let mut system = System::running(&[("east", 3)]);
    system.supercluster.terraform.set_timeout(PATIENCE);
    let mut rows = Vec::new();
    for count in COUNTS {
        let (mut floor, floor_made) = built_in(count)?;
        floor.set_timeout(PATIENCE);
        declare(&mut system, count);
        let ours = &system.supercluster.terraform;
        let made = ours.apply()?.succeeded()?.elapsed;
        rows.push(row(&format!("apply that makes {count}"), made, floor_made));
        let (planned, floor_planned) = (unchanged(ours)?, unchanged(&floor)?);
        rows.push(row(&format!("empty plan of {count}"), planned, floor_planned));
        declare(&mut system, 0);
        floor.write("terraform.tf", "")?;
        let taken = system.supercluster.terraform.apply()?.succeeded()?.elapsed;
        rows.push(row(&format!("apply that takes {count} away"), taken, floor.apply()?.succeeded()?.elapsed));
    }
    Ok(Table {
        name: "scale",
        floor: "as many `terraform_data`; of the empty plan the median of three, of the others one run each"
            .to_owned(),
        rows,
    })
}

fn row(what: &str, ours: Duration, floor: Duration) -> Row {
    Row::of_times(what, ours, floor, None)
}

fn unchanged(workspace: &Workspace) -> Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..3 {
        times.push(workspace.plan()?.unchanged()?.elapsed);
    }
    Ok(super::report::quantile(&times, 0.5))
}

/// Declares `count` accounts and users beside the cluster, and no other ones.
fn declare(system: &mut System, count: usize) {
    let resources = &mut system.configuration["resource"];
    for kind in ["nats_stream", "nats_user", "nats_account"] {
        if let Some(resources) = resources.as_object_mut() {
            resources.remove(kind);
        }
    }
    if count > 0 {
        let accounts = count / (1 + USERS);
        resources["nats_account"]["many"] = json!({
            "count": accounts,
            "system": "${nats_cluster.east.id}",
            "name": "account-${count.index}",
            "limits": { "connections": 100 },
            "deletion_protection": false,
        });
        resources["nats_user"]["many"] = json!({
            "count": accounts * USERS,
            "account": format!("${{nats_account.many[floor(count.index / {USERS})].id}}"),
            "name": "user-${count.index}",
            "publish": { "allow": ["orders.>"] },
        });
    }
    system.write();
}
