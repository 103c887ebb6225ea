//! nats-server by URL and SHA-256: a wrong sum is refused, and the right one is what all servers of a cluster run.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result};
use host_state::layout;
use serde_json::json;

use super::Stage;
use crate::proof::Row;
use crate::rig::hosts::Host;
use crate::rig::hosts::network::OPERATOR;
use crate::rig::hosts::tree::NATS_SERVER;
use crate::scenario::release;
use crate::tools::NATS_SERVER_VERSION;

/// The cluster whose servers are installed anew.
const SITE: &str = "north";
/// Where a host keeps the servers that it installed, below its state directory.
const STATE: &str = "/var/lib/nats-agent";

pub(super) fn check(stage: &mut Stage) -> Result<Vec<Row>> {
    let (hosts, system) = stage.supercluster()?;
    let own: Vec<&Host> = hosts.all().iter().filter(|host| host.site() == SITE).collect();
    let folder = tempfile::tempdir().context("make a folder for the release")?;
    // Another program by its sum: one that is the same is no reason to restart a server.
    let binary = folder.path().join("nats-server");
    let mut bytes =
        fs::read(own[0].root().join(NATS_SERVER.trim_start_matches('/'))).context("read nats-server")?;
    bytes.push(0);
    fs::write(&binary, &bytes).context("write another nats-server")?;
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).context("let it be run")?;
    let archive = release::packed(folder.path(), &binary)?;
    let right = release::sum(&archive);
    let wrong = release::sum(&bytes);
    let base = release::serve(OPERATOR.0, BTreeMap::from([("/release.tar.gz", archive)]))?;
    let server = |sum: &str| json!({ "version": NATS_SERVER_VERSION, "url": format!("{base}/release.tar.gz"), "sha256": sum });

    let before = own.iter().map(|host| host.main_pid("nats-server.service")).collect::<Result<Vec<_>>>()?;
    system.resource("nats_cluster", SITE)["server"] = server(&wrong);
    let refused = system.try_apply(hosts)?;
    let said = refused.error_text();
    let is_told =
        refused.code != 0 && [right.as_str(), wrong.as_str(), SITE].iter().all(|word| said.contains(word));
    let after = own.iter().map(|host| host.main_pid("nats-server.service")).collect::<Result<Vec<_>>>()?;
    let mut left = 0;
    for host in &own {
        left += host.run(&["find", layout::HOST_DOWNLOADS, "-mindepth", "1"])?.lines().count();
    }

    system.resource("nats_cluster", SITE)["server"] = server(&right);
    system.apply(hosts)?;
    let at = format!("{STATE}/{}/{NATS_SERVER_VERSION}-{right}/nats-server", layout::BINARIES);
    let mut run = Vec::new();
    for host in &own {
        let pid = host.main_pid("nats-server.service")?.context("the server runs")?;
        run.push(host.run(&["readlink", &format!("/proc/{pid}/exe")])?.trim().to_owned());
    }
    let second = system.plan()?.unchanged()?.changes.len();

    system.resource("nats_cluster", SITE)["server"] = json!({ "path": NATS_SERVER });
    system.apply(hosts)?;
    let mut rows = vec![
        Row::exactly("wrong checksum: the apply fails and names both sums", is_told, true),
        Row::exactly("wrong checksum: servers run on as the same processes", after == before, true),
        Row::exactly("wrong checksum: files left of the download", left, 0),
        Row::exactly(
            "servers of the cluster that run what was downloaded",
            run.iter().filter(|path| **path == at).count(),
            own.len(),
        ),
        Row::exactly("changes of the second plan", second, 0),
    ];
    rows.extend(run.iter().filter(|path| **path != at).map(|path| Row::told("one runs", path)));
    if !is_told {
        rows.push(Row::told("the apply said", said));
    }
    Ok(rows)
}
