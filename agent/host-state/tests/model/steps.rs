//! What each step does to a host, as far as a sweep would see it.

use std::collections::BTreeMap;

use host_state::Step;
use host_state::desired::{DesiredFile, Run};
use host_state::document::{BinarySource, Profile};
use host_state::observed::{
    BinaryObserved, ClaimObserved, ClaimsObserved, FileObserved, FirewallObserved, ProcessObserved,
    RunningObserved, StoreFile, StoreMark, StoreObserved, TrialSeen, UnitObserved, UnitSeen,
};
use host_state::plan::rendition_config;
use nats_config::render;

use crate::host::{BINARY, Host, NOT_AFTER, rendition, unit_in_order};

pub(crate) fn apply(step: &Step, host: &mut Host) {
    match step {
        Step::InstallBinary => {
            host.observed.binary = BinaryObserved::Present {
                path: "nats-server".to_owned(),
                version: host.desired.server.version.clone(),
                sha256: BINARY.to_owned(),
                download: match &host.desired.server.source {
                    BinarySource::Url { url: _, sha256 } => Some(sha256.as_str().to_owned()),
                    BinarySource::Agent | BinarySource::Path { .. } | BinarySource::File { .. } => None,
                },
            };
        }
        Step::PrepareStore => prepare_store(host),
        Step::WriteUnit => {
            if let UnitObserved::Present(seen) = &mut host.observed.unit {
                let UnitSeen { drop_in, owner, .. } = unit_in_order();
                if seen.load == "masked" {
                    seen.load = "loaded".to_owned();
                }
                (seen.drop_in, seen.owner, seen.is_stale) = (drop_in, owner, false);
            }
        }
        Step::Stop => {
            host.observed.process = ProcessObserved::Stopped { last_exit: None };
            host.observed.running = RunningObserved::Stopped;
            host.observed.claims = ClaimsObserved::Stopped;
            host.running_config = None;
        }
        Step::WriteRendition { part } => {
            let config = rendition_config(&host.desired, host.running_config.as_ref(), *part);
            host.desired.files = rendition(&config);
            host.desired.rendered = Some(config);
            host.observed.files =
                host.desired.files.iter().map(|(name, file)| (name.clone(), as_is(file))).collect();
        }
        Step::RestoreFile { file } => {
            host.observed.files.insert(file.clone(), as_is(&host.desired.files[file]));
        }
        Step::Reload => answer(host),
        Step::Restart | Step::Start => {
            host.observed.process =
                ProcessObserved::Running { pid: 8, started_at: 1, binary_sha256: started_binary(host) };
            answer(host);
            if host.observed.claims == ClaimsObserved::Stopped {
                host.observed.claims = ClaimsObserved::Answered(BTreeMap::new());
            }
        }
        Step::ConvergeClaims => {
            let accounts: Vec<String> = host.desired.claims.keys().cloned().collect();
            accounts.iter().for_each(|account| push(host, account));
        }
        Step::PushClaim { account } => push(host, account),
        Step::LoadFirewall => {
            if let FirewallObserved::Seen(seen) = &mut host.observed.firewall {
                seen.table.clear();
            }
        }
        Step::TryFirewall => {
            if let FirewallObserved::Seen(seen) = &mut host.observed.firewall {
                let rules = host.desired.firewall.clone().unwrap();
                seen.trial = Some(TrialSeen { id: "t".to_owned(), remaining_ms: 60_000, rules });
            }
        }
    }
}

fn as_is(file: &DesiredFile) -> FileObserved {
    FileObserved::Present { sha256: file.sha256.clone(), mode: file.mode, text: None }
}

fn prepare_store(host: &mut Host) {
    let wanted = match &host.desired.run {
        Run::Released(release) => Some(release.meta_lineage.clone()),
        Run::Held => host.desired.lineage.clone(),
    };
    let (has_data, data_uid, accounts, store) = match &host.observed.store {
        StoreObserved::Present { has_data, data_uid, accounts, identity: StoreMark::Found(file), .. } => {
            (*has_data, *data_uid, accounts.clone(), file.store.clone())
        }
        StoreObserved::Present { has_data, data_uid, accounts, .. } => {
            (*has_data, *data_uid, accounts.clone(), "s1".to_owned())
        }
        StoreObserved::Missing | StoreObserved::Unreadable { .. } => {
            (false, None, Vec::new(), "s1".to_owned())
        }
    };
    let store = host.desired.store_id.clone().unwrap_or(store);
    host.desired.store_id = Some(store.clone());
    host.desired.lineage.clone_from(&wanted);
    let identity = host.desired.store.identity.clone();
    let file = StoreFile { store, identity, meta_lineage: wanted, formed: host.desired.formed };
    host.observed.store = StoreObserved::Present {
        mode: host.desired.store.mode,
        uid: host.desired.owner.map_or(1, |owner| owner.uid),
        gid: host.desired.owner.map_or(1, |owner| owner.gid),
        data_uid,
        device: 1,
        inode: 1,
        identity: StoreMark::Found(file),
        identity_mode: Some(host_state::layout::PUBLIC_MODE),
        has_data,
        accounts,
    };
    if let Ok(disk) = &mut host.observed.disk
        && host.desired.profile == Profile::Production
        && disk.has_room_for_ballast()
    {
        disk.ballast = Some(disk.ballast_due().max(disk.ballast.unwrap_or(0)));
    }
}

/// The server has read the rendition and says so.
fn answer(host: &mut Host) {
    let rendered = host.desired.rendered.clone().unwrap();
    host.observed.running = RunningObserved::Answered {
        digest: render(&rendered).digest.to_string(),
        version: host.desired.server.version.clone(),
        server_name: rendered.server_name.to_string(),
        certificates: BTreeMap::from([("client".to_owned(), NOT_AFTER.to_owned())]),
    };
    host.running_config = Some(rendered);
}

fn started_binary(host: &Host) -> String {
    match (&host.desired.server.source, &host.observed.binary) {
        (BinarySource::Agent | BinarySource::Path { .. }, BinaryObserved::Present { sha256, .. }) => {
            sha256.clone()
        }
        (BinarySource::Url { .. }, BinaryObserved::Present { sha256, download: Some(_), .. }) => {
            sha256.clone()
        }
        _ => BINARY.to_owned(),
    }
}

fn push(host: &mut Host, account: &str) {
    let claim = &host.desired.claims[account];
    if let ClaimsObserved::Answered(resolver) = &mut host.observed.claims {
        let pushed = ClaimObserved { sha256: claim.sha256.clone(), issued_at: Some(claim.issued_at) };
        resolver.insert(account.to_owned(), pushed);
    }
}
