//! The way back: the configuration of what was confirmed, with the newest certificate.
//!
//! A certificate is never taken back, because the one before may have been renewed for a reason. Where it did not
//! change, the confirmed rendition itself becomes current again, byte for byte.

use host_state::audit::{Ended, Occasion, What, clip};
use host_state::desired::Run;
use host_state::observed::RunningObserved;
use host_state::{Finding, SectionKind, layout};
use nats_config::render;

use super::gate;
use super::host::Host;
use super::intent::{self, Intent, Stage};
use super::ledger::{Contents, HostFacts, Kept};
use super::roll::Failed;
use super::target::Target;
use crate::parts::tls::Leaf;

impl Host {
    /// Goes back to what was confirmed: files, then the server, then the intent ends.
    ///
    /// `failed` is the step that did not pass. May be repeated. A crash half-way leaves the intent, and the next start
    /// goes back again.
    pub(super) async fn take_back(
        &self,
        before: Option<&Target>,
        contents: &mut Contents,
        was_running: bool,
        server_touched: bool,
        failed: &str,
    ) -> Result<(), Failed> {
        let _acting = self.audit.acting_by_itself(Occasion::Rollback);
        let rendition = contents.facts.confirmed_rendition;
        let what = What::Rollback { step: Some(clip(failed)), rendition };
        let announced = self.audit.announce(what).map_err(|error| Failed {
            step: "write the audit log".to_owned(),
            reason: host_state::chain(&error),
        })?;
        let back = self.go_back(before, contents, was_running, server_touched).await;
        announced.end(match &back {
            Ok(()) => Ended::Done,
            Err(Failed { step, reason }) => Ended::Failed { reason: clip(&format!("{step}: {reason}")) },
        });
        back
    }

    async fn go_back(
        &self,
        before: Option<&Target>,
        contents: &mut Contents,
        was_running: bool,
        server_touched: bool,
    ) -> Result<(), Failed> {
        let fail = |step: &str| {
            let step = step.to_owned();
            move |reason: String| Failed { step, reason }
        };
        self.switch_back(&mut contents.facts).map_err(fail("go back to the confirmed configuration"))?;
        match before {
            Some(before) if was_running => {
                if server_touched {
                    self.run_again(before, &mut contents.facts)
                        .await
                        .map_err(fail("run the confirmed configuration"))?;
                }
            }
            Some(held) => {
                self.stop_server(held).await.map_err(fail("stop nats-server"))?;
                self.hold_ports(held).await;
            }
            None => {
                if let Ok(Some(target)) = Target::of(contents, super::target::Which::Accepted) {
                    self.stop_server(&target).await.map_err(fail("stop nats-server"))?;
                    self.hold_held_ports(&target).await;
                }
            }
        }
        if let Some(before) = before {
            self.write_unit(before).await.map_err(fail("write the unit of the confirmed configuration"))?;
        }
        let ended = intent::remove(&self.effects, &self.state_dir().join(layout::INTENT_FILE));
        ended.map_err(|error| Failed { step: "end the change".to_owned(), reason: host_state::chain(&error) })
    }

    /// Points `current` at the confirmed configuration; returns the rendition.
    pub(super) fn switch_back(&self, facts: &mut HostFacts) -> Result<Option<u64>, String> {
        let text = |error: &dyn std::error::Error| host_state::chain(error);
        let Some(confirmed) = facts.confirmed_rendition else {
            self.renditions.switch(None).map_err(|error| text(&error))?;
            return Ok(None);
        };
        let leaf = Leaf::read(self.state_dir()).map_err(|error| text(&error))?;
        let number = match leaf {
            None => confirmed,
            Some(leaf) => {
                let manifest = self.renditions.manifest(confirmed).map_err(|error| text(&error))?;
                let files = self.renditions.model(confirmed).map(|config| self.files(&config, &leaf));
                match files {
                    Ok(files) if files.manifest() != manifest.desired_files() => {
                        let again =
                            self.renditions.write_candidate(&files, manifest.sections, manifest.whole);
                        let again = again.map_err(|error| text(&error))?;
                        self.renditions.keep(&again).map_err(|error| text(&error))?;
                        again.number
                    }
                    Ok(_) | Err(_) => confirmed,
                }
            }
        };
        self.renditions.switch(Some(number)).map_err(|error| text(&error))?;
        if number != confirmed {
            let next = HostFacts { confirmed_rendition: Some(number), ..facts.clone() };
            self.ledger.write_facts(&next).map_err(|error| text(&error))?;
            *facts = next;
        }
        Ok(Some(number))
    }

    /// Has the server run the current rendition: by a reload where that is enough, else by a restart.
    async fn run_again(&self, before: &Target, facts: &mut HostFacts) -> Result<(), String> {
        let leaf = Leaf::read(self.state_dir()).map_err(|error| host_state::chain(&error))?;
        let leaf = leaf.ok_or("the host has no certificate")?;
        if before.run() == Run::Held {
            return self.stop_server(before).await;
        }
        if self.running_server().is_some() && self.is_right_binary(before).await {
            match self.reload_server(&leaf).await {
                Ok(()) => return Ok(()),
                Err(reason) => tracing::warn!(
                    reason,
                    "a reload does not bring the configuration back, so nats-server restarts"
                ),
            }
        }
        self.stop_server(before).await?;
        self.start_server(before, facts, &leaf).await
    }

    async fn is_right_binary(&self, target: &Target) -> bool {
        use host_state::observed::BinaryObserved;
        let wanted = self.binaries.observe(&target.cluster.server).await;
        let running = self.running_server();
        match (wanted, running) {
            (BinaryObserved::Present { sha256, .. }, Some(server)) => server.run().binary_sha256 == sha256,
            _ => false,
        }
    }

    async fn hold_held_ports(&self, target: &Target) {
        let ports = gate::held_ports(&target.desired_config());
        self.view.hold_ports(&ports).await;
    }

    /// Whether a change was begun and not ended: by a crash, or because its last marks could not be written.
    pub(super) fn is_interrupted(&self) -> bool {
        intent::read(&self.intent_path()) != Kept::Missing
    }

    /// As [`Host::end_interrupted`], where nobody asks: what fails is noted. False then.
    pub(super) async fn recover(&self) -> bool {
        let Err(reason) = self.end_interrupted().await else { return true };
        self.note(Finding {
            item: "process".to_owned(),
            problem: format!("an interrupted change could not be ended: {reason}"),
            remedy: "look at the cause; the agent tries again every minute".to_owned(),
        });
        false
    }

    /// Ends a change that passed its gate, and takes back one that did not. Before anything else changes the host:
    /// what is marked as confirmed may not be what was proven until then.
    ///
    /// May be repeated; does nothing where no change was interrupted.
    ///
    /// # Errors
    /// Why it stays as it is.
    pub(super) async fn end_interrupted(&self) -> Result<(), String> {
        let path = self.intent_path();
        let kept = intent::read(&path);
        if kept == Kept::Missing {
            return Ok(());
        }
        let mut contents = self.ledger.read().map_err(|unreadable| unreadable.reason)?;
        let _acting = self.audit.acting_by_itself(Occasion::Rollback);
        let text = |error: &dyn std::error::Error| host_state::chain(error);
        match kept {
            Kept::Valid(Intent { stage: Stage::Passed, to, sections, .. }) => {
                let announced = self.audit.announce(What::Confirmed { sections: sections.clone() });
                let announced = announced.map_err(|error| text(&error))?;
                announced.told(self.finish_marks(&mut contents, to, &sections))?;
            }
            Kept::Valid(_) | Kept::Unreadable { .. } | Kept::Missing => {
                self.note(Finding {
                    item: "process".to_owned(),
                    problem: "a change was interrupted and taken back".to_owned(),
                    remedy: "apply again".to_owned(),
                });
                let what = What::Rollback { step: None, rendition: contents.facts.confirmed_rendition };
                let announced = self.audit.announce(what).map_err(|error| text(&error))?;
                announced.told(self.recover_back(&mut contents).await)?;
            }
        }
        intent::remove(&self.effects, &path).map_err(|error| text(&error))
    }

    fn intent_path(&self) -> std::path::PathBuf {
        self.state_dir().join(layout::INTENT_FILE)
    }

    fn finish_marks(
        &self,
        contents: &mut Contents,
        to: u64,
        sections: &[(SectionKind, host_state::document::ContentHash)],
    ) -> Result<(), String> {
        self.mark_confirmed(contents, sections).map_err(|error| host_state::chain(&error))?;
        if contents.facts.confirmed_rendition != Some(to) {
            contents.facts.confirmed_rendition = Some(to);
            self.ledger.write_facts(&contents.facts).map_err(|error| host_state::chain(&error))?;
        }
        Ok(())
    }

    /// Files first, then a server that lives on with another configuration is brought back or stopped.
    async fn recover_back(&self, contents: &mut Contents) -> Result<(), String> {
        let number = self.switch_back(&mut contents.facts)?;
        if let Ok(Some(before)) = Target::of(contents, super::target::Which::Confirmed) {
            self.write_unit(&before).await?;
        }
        if self.running_server().is_none() {
            return Ok(());
        }
        let before = Target::of(contents, super::target::Which::Confirmed)
            .map_err(|error| host_state::chain(&error))?;
        let Some(before) = before else {
            let accepted = Target::of(contents, super::target::Which::Accepted);
            return match accepted.map_err(|error| host_state::chain(&error))? {
                Some(target) => self.stop_server(&target).await,
                None => Ok(()),
            };
        };
        let config = number.and_then(|number| self.renditions.model(number).ok());
        let is_running_it = match config.as_ref().and_then(gate::monitor_address) {
            Some(monitor) => match self.view.running(monitor).await {
                RunningObserved::Answered { digest, .. } => {
                    config.as_ref().is_some_and(|config| render(config).digest.to_string() == digest)
                }
                RunningObserved::Stopped | RunningObserved::Silent { .. } => false,
            },
            None => false,
        };
        if is_running_it && before.run() != Run::Held && self.is_right_binary(&before).await {
            return Ok(());
        }
        self.run_again(&before, &mut contents.facts).await
    }
}
