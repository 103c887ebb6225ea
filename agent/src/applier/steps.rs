//! The single steps of a change: store, files, process, accounts. Each may be repeated.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use host_state::audit::{Ended, What};
use host_state::desired::Run;
use host_state::document::{ClaimsSection, Profile};
use host_state::observed::{ClaimsObserved, StoreMark, StoreObserved};
use host_state::plan::Step;
use host_state::unit::{STOP_BASE, STOP_PER_ASSET};
use host_state::{Finding, layout};
use identity::{Jwt, Trust, decode_account};
use nats_config::ServerConfig;

use super::audit::Announced;
use super::events::Events;
use super::gate::{self, Expected, GateError};
use super::host::Host;
use super::ledger::HostFacts;
use super::rendition::RenditionError;
use super::roll::blocked;
use super::target::Target;
use crate::parts::claims;
use crate::parts::nats::log;
use crate::parts::nats::process::{self, ServerProcess};
use crate::parts::preflight::{self, tree::Tree};
use crate::parts::store::{self, Mark};
use crate::parts::tls::Leaf;
use crate::random_id::random_id;
use crate::roles::LocalServer;

/// How many accounts one record of the audit log names.
const ACCOUNTS_A_RECORD: usize = 100;

impl Host {
    /// Makes and marks the store. The meta group's name is durable in store and ledger before the first start.
    ///
    /// The ledger has it last: from then on a store without mark is taken for one whose disk is gone. A crash half-way
    /// leaves a store that is prepared again.
    pub(super) fn prepare_store(&self, target: &Target, facts: &mut HostFacts) -> Result<(), String> {
        if target.cluster.config.jetstream.is_none() {
            return self.remember_release(target, facts);
        }
        let mut next = facts.clone();
        if let StoreObserved::Present { identity: StoreMark::Found(file), .. } =
            store::observe(&target.cluster.store)
        {
            // A host that was enrolled anew finds its own store: differences would have stopped any other.
            next.formed |= file.formed;
            next.meta_lineage = next.meta_lineage.or(file.meta_lineage);
            next.store_id = next.store_id.or(Some(file.store));
        }
        if next.store_id.is_none() {
            next.store_id = Some(random_id().map_err(|error| error.to_string())?);
        }
        if next != *facts {
            self.ledger.write_facts(&next).map_err(|error| host_state::chain(&error))?;
            *facts = next;
        }
        let HostFacts { store_id, meta_lineage, formed, confirmed_rendition: _ } = facts.clone();
        let meta_lineage = match target.run() {
            Run::Released(release) => Some(release.meta_lineage),
            Run::Held => meta_lineage,
        };
        let mark = Mark { store_id: store_id.unwrap_or_default(), meta_lineage, formed };
        let prepared =
            store::prepare(&self.effects, &target.cluster.store, &mark, self.settings.place.service_user());
        prepared.map_err(|error| host_state::chain(&error))?;
        self.make_ballast(target)?;
        self.remember_release(target, facts)
    }

    /// Keeps room in a production store that has enough of it.
    fn make_ballast(&self, target: &Target) -> Result<(), String> {
        let store = &target.cluster.store;
        if target.cluster.profile != Profile::Production {
            return Ok(());
        }
        let disk = preflight::disk(&Tree::default(), Path::new(&store.directory))?;
        let due = disk.ballast_due();
        if disk.ballast.unwrap_or(0) >= due || !disk.has_room_for_ballast() {
            return Ok(());
        }
        store::make_ballast(&self.effects, store, due).map_err(|error| host_state::chain(&error))
    }

    /// Writes the meta group that a release names into the ledger.
    fn remember_release(&self, target: &Target, facts: &mut HostFacts) -> Result<(), String> {
        let Run::Released(release) = target.run() else { return Ok(()) };
        if facts.meta_lineage.as_ref() == Some(&release.meta_lineage) {
            return Ok(());
        }
        let next = HostFacts { meta_lineage: Some(release.meta_lineage), ..facts.clone() };
        self.ledger.write_facts(&next).map_err(|error| host_state::chain(&error))?;
        *facts = next;
        Ok(())
    }

    /// Puts edited files of the current rendition back and notes which; returns their names.
    pub(super) fn undo_edits(&self, leaf: &Leaf) -> Result<Vec<String>, String> {
        let text = |error: &RenditionError| host_state::chain(error);
        let current = self.renditions.current().map_err(|error| host_state::chain(&error))?;
        let Some(number) = current else { return Ok(Vec::new()) };
        if self.renditions.is_intact(number) {
            return Ok(Vec::new());
        }
        let config = self.current_config(number)?;
        let restored =
            self.renditions.restore(number, &self.files(&config, leaf)).map_err(|error| text(&error))?;
        if !restored.is_empty() {
            self.note(Finding {
                item: "configuration".to_owned(),
                problem: format!(
                    "`{}` had been edited on this host; the edit was undone",
                    restored.join("`, `")
                ),
                remedy: "change the configuration through Terraform".to_owned(),
            });
        }
        Ok(restored)
    }

    /// What rendition `number` was made from; what the server runs with where the file itself was changed.
    fn current_config(&self, number: u64) -> Result<ServerConfig, String> {
        self.renditions
            .model(number)
            .or_else(|error| self.running_config().ok_or(error))
            .map_err(|error| host_state::chain(&error))
    }

    /// Starts the server on the current rendition and waits for its gate. The store is looked at once more before.
    pub(super) async fn start_server(
        &self,
        target: &Target,
        facts: &mut HostFacts,
        leaf: &Leaf,
    ) -> Result<(), String> {
        self.remember_release(target, facts)?;
        self.undo_edits(leaf)?;
        if let Some(reason) = blocked(&self.look(target, facts).await) {
            return Err(reason);
        }
        self.view.hold_ports(&[]).await;
        let current = self.renditions.current().map_err(|error| host_state::chain(&error))?;
        let config = self.current_config(current.ok_or("there is no rendition to start on")?)?;
        let logs = self.log_lengths();
        let server = self.start_process(target).await?;
        self.set_server(Some(server.clone()));
        self.set_running_config(Some(config.clone()));
        let expected = Expected { config, leaf: leaf.fingerprint() };
        let passed = gate::pass(self.view.as_ref(), &server, &expected, gate::START_DEADLINE).await;
        passed.map_err(|error| self.with_complaint(&error, logs))
    }

    async fn start_process(&self, target: &Target) -> Result<ServerProcess, String> {
        let Some(service) = &self.service else {
            let binary = self.binaries.path(&target.cluster.server);
            let started = process::start(&self.effects, &binary, self.state_dir());
            return started.map_err(|error| host_state::chain(&error));
        };
        let started = service.start(&self.drop_in(target), store::assets(&target.cluster.store)).await;
        let run = started.map_err(|error| host_state::chain(&error))?;
        Ok(ServerProcess::of_unit(service.clone(), run))
    }

    /// Makes the unit say what `target` says. Does nothing where the server is the agent's child.
    pub(super) async fn write_unit(&self, target: &Target) -> Result<(), String> {
        let Some(service) = &self.service else { return Ok(()) };
        let written = service.write(&self.drop_in(target), store::assets(&target.cluster.store)).await;
        written.map_err(|error| host_state::chain(&error))
    }

    /// Stops the server in order; one that does not run is a success.
    pub(super) async fn stop_server(&self, target: &Target) -> Result<(), String> {
        self.stop_any_server(Some(target)).await
    }

    /// As [`Host::stop_server`]; without a target nobody knows how much the server has to close.
    pub(super) async fn stop_any_server(&self, target: Option<&Target>) -> Result<(), String> {
        // systemd may have started it again since it was last looked at.
        self.follow_unit().await;
        let Some(server) = self.running_server() else { return Ok(()) };
        let assets = target.map_or(0, |target| store::assets(&target.cluster.store));
        let assets = u32::try_from(assets).unwrap_or(u32::MAX);
        let deadline = STOP_BASE.saturating_add(STOP_PER_ASSET.saturating_mul(assets));
        if let Some(target) = target
            && let Err(reason) = self.write_unit(target).await
        {
            tracing::warn!(reason, "nats-server stops within the time that its unit had before");
        }
        self.pulse.expect(deadline);
        let stopped = server.stop(&self.effects, deadline).await;
        let exit = stopped.map_err(|error| format!("nats-server could not be stopped: {error}"))?;
        tracing::info!(exit, "nats-server is stopped");
        self.set_running_config(None);
        Ok(())
    }

    /// Has the running server read its files again and waits for its gate. Edits are undone before.
    ///
    /// A refused reload is only logged by the server; it shows in the configuration that it keeps running.
    pub(super) async fn reload_server(&self, leaf: &Leaf) -> Result<(), String> {
        self.follow_unit().await;
        let server = self.running_server().ok_or("nats-server does not run, so it cannot reload")?;
        self.undo_edits(leaf)?;
        let current = self.renditions.current().map_err(|error| host_state::chain(&error))?;
        let config = self.current_config(current.ok_or("there is no rendition to reload")?)?;
        let logs = self.log_lengths();
        let signalled = server.reload(&self.effects).await;
        signalled.map_err(|error| format!("nats-server could not be signalled: {error}"))?;
        let expected = Expected { config: config.clone(), leaf: leaf.fingerprint() };
        let passed = gate::pass(self.view.as_ref(), &server, &expected, gate::RELOAD_DEADLINE).await;
        passed.map_err(|error| self.with_complaint(&error, logs))?;
        self.set_running_config(Some(config));
        Ok(())
    }

    /// Pushes every account JWT that the resolver lacks or has older. A failure is noted, never taken back: the
    /// account stays drift and the next sweep tries again.
    ///
    /// `written` are accounts that a writer has just changed, from the newest claims there are. Of all others this host may
    /// be behind, so what the system's servers have is asked for, and where that is newer it is pushed instead.
    pub(super) async fn converge_claims(
        &self,
        target: &Target,
        facts: &HostFacts,
        written: &BTreeSet<String>,
        events: &Events,
    ) {
        let Some(section) = &target.claims else { return };
        let sight = self.look(target, facts).await;
        if let ClaimsObserved::Silent { reason } = &sight.observed.claims {
            tracing::warn!(reason, "the resolver cannot be asked for its accounts");
        }
        let steps = self.plan(&sight).steps.into_iter();
        let accounts: Vec<String> = steps
            .filter_map(|step| if let Step::PushClaim { account } = step { Some(account) } else { None })
            .collect();
        if accounts.is_empty() {
            return;
        }
        let server = self.local_server(target);
        let unsure: Vec<String> =
            accounts.iter().filter(|account| !written.contains(*account)).cloned().collect();
        let newest = match self.newest_jwts(target, &server, &unsure).await {
            Ok(newest) => newest,
            Err(reason) => {
                tracing::warn!(reason, "nothing is pushed: what other servers have is not known");
                return;
            }
        };
        let Some(announced) = self.announce_claims(&accounts) else { return };
        let (mut is_pushed, mut failed) = (false, 0_usize);
        for account in accounts {
            let Some(entry) = section.accounts.get(&account) else { continue };
            let newer = newest.get(&account).filter(|(issued_at, _)| *issued_at > entry.issued_at);
            if newer.is_some() {
                tracing::warn!(account = entry.name, "another server has newer claims than this host");
            }
            let jwt = newer.map_or(&entry.jwt, |(_, jwt)| jwt);
            let started = events.started(&Step::PushClaim { account }.to_string());
            match claims::push(&self.effects, self.view.as_ref(), &server, &entry.name, jwt).await {
                Ok(()) => {
                    is_pushed = true;
                    events.done(started);
                }
                Err(error) => {
                    failed += 1;
                    tracing::warn!(error = host_state::chain(&error), "an account was not pushed");
                }
            }
        }
        if is_pushed {
            self.put_back_claims(target, section, facts).await;
        }
        for announced in announced {
            announced.end(match failed {
                0 => Ended::Done,
                _ => Ended::Failed { reason: format!("{failed} accounts were not pushed") },
            });
        }
    }

    /// Puts on record which accounts are pushed, a hundred a record; `None` when that cannot be.
    fn announce_claims(&self, accounts: &[String]) -> Option<Vec<Announced>> {
        let what = |some: &[String]| What::Claims { accounts: some.iter().cloned().collect() };
        let announced = accounts.chunks(ACCOUNTS_A_RECORD).map(|some| self.audit.announce(what(some)));
        match announced.collect::<Result<Vec<_>, _>>() {
            Ok(announced) => Some(announced),
            Err(error) => {
                tracing::warn!(error = host_state::chain(&error), "no account is pushed");
                None
            }
        }
    }

    /// The newest JWT of each account that any server has and our operator signed.
    async fn newest_jwts(
        &self,
        target: &Target,
        server: &LocalServer,
        accounts: &[String],
    ) -> Result<BTreeMap<String, (i64, String)>, String> {
        if accounts.is_empty() {
            return Ok(BTreeMap::new());
        }
        let trust: Trust =
            serde_json::from_value(target.cluster.trust.clone()).map_err(|error| error.to_string())?;
        let is_ours = |account: &str, jwt: &str| {
            let decoded = decode_account(&jwt.parse::<Jwt>().ok()?, &trust).ok()?;
            (decoded.claims.key.as_str() == account).then_some(decoded.issued_at)
        };
        claims::newest(self.view.as_ref(), server, accounts, is_ours).await
    }

    /// Puts JWTs back that the server took and did not write, because it has written the same before and does not know
    /// that the file is gone or changed.
    async fn put_back_claims(&self, target: &Target, section: &ClaimsSection, facts: &HostFacts) {
        let sight = self.look(target, facts).await;
        for step in self.plan(&sight).steps {
            let Step::PushClaim { account } = &step else { continue };
            let Some(entry) = section.accounts.get(account) else { continue };
            if let Err(error) = claims::put_back(&self.effects, &self.settings, account, &entry.jwt) {
                tracing::warn!(error = host_state::chain(&error), "an account was not put back");
            }
        }
    }

    fn log_lengths(&self) -> [u64; 2] {
        self.logs().map(|path| log::length(&path))
    }

    fn logs(&self) -> [std::path::PathBuf; 2] {
        [layout::LOG_FILE, layout::OUTPUT_FILE].map(|name| self.state_dir().join(name))
    }

    /// Why the gate stayed shut, with what the server complained about meanwhile.
    fn with_complaint(&self, error: &GateError, offsets: [u64; 2]) -> String {
        let logs = self.logs();
        let complaint =
            logs.iter().zip(offsets).find_map(|(path, offset)| log::complaint_since(path, offset));
        match complaint {
            Some(complaint) => format!("{error}; nats-server says: {complaint}"),
            None => error.to_string(),
        }
    }
}
