//! From nine booted hosts with only the package and user data to a working supercluster, by one `terraform apply`.

use std::time::Instant;

use anyhow::Result;

use super::Stage;
use super::system;
use crate::proof::Row;

/// Messages that are published in each cluster and read in another.
const MESSAGES: u64 = 100;

pub(super) fn check(stage: &mut Stage) -> Result<Vec<Row>> {
    stage.installed()?;
    let started = Instant::now();
    let (hosts, system) = stage.supercluster()?;
    let applied = started.elapsed();
    let serving = system::ensure_serving(hosts)?;
    let told = system.told()?;
    let mut read = 0;
    for (publisher, reader) in [("east-1", "west-1"), ("west-2", "north-2"), ("north-3", "east-3")] {
        let publisher = hosts.host(publisher)?;
        let subject = format!("orders.{}", publisher.site());
        system.publish(publisher, &subject, MESSAGES)?;
        read += system.read(hosts.host(reader)?, "ORDERS", &subject, MESSAGES)?;
    }
    let mut rows = vec![
        Row::told(
            "from hosts that belong to nobody to the end of one apply",
            format!("{:.1} s", applied.as_secs_f64()),
        ),
        Row::exactly("servers that run, as a user of their own", serving, 9),
        Row::exactly("messages published in three clusters and read in another", read, 3 * MESSAGES),
        Row::exactly("changes of the second plan", usize::from(!told.is_empty), 0),
        Row::exactly("drift and findings of the system that nobody touched", told.lines.len(), 0),
    ];
    rows.extend(told.lines.iter().map(|line| Row::told("told", line)));
    Ok(rows)
}
