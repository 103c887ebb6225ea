//! Renders what a change needs and sends it up the ladder, before anything is switched.

use host_state::audit::What;
use host_state::document::{BinarySource, ServerBinary};
use host_state::observed::BinaryObserved;
use host_state::plan::{Part, Plan, Step, rendition_config};
use host_state::unit::{DropIn, is_writable_path};
use host_state::{layout, plan};
use nats_config::ServerConfig;
use time::OffsetDateTime;

use super::events::Events;
use super::host::{Host, now};
use super::ladder;
use super::observe::Sight;
use super::rendition::FileSet;
use super::target::Target;
use crate::parts::tls::{Leaf, LeafError, Material};
use crate::roles::DOWNLOAD_LONGEST;

/// A kept rendition that passed the ladder and can be switched to.
#[derive(Debug, Clone)]
pub(super) struct Ready {
    pub(super) number: u64,
}

/// One thing to do, with what was prepared for it.
#[derive(Debug, Clone)]
pub(super) enum Action {
    /// A step of the plan that needs no rendition.
    Step(Step),
    /// Switch to a rendition of the plan.
    Switch(Part, Ready),
    /// Switch to the same configuration with a newer certificate.
    Renew(Ready),
}

impl Action {
    /// What its record says.
    pub(super) fn announced(&self) -> What {
        let rendition = match self {
            Action::Switch(_, ready) | Action::Renew(ready) => Some(ready.number),
            Action::Step(_) => None,
        };
        What::Step { step: self.to_string(), rendition }
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Action::Step(step) => step.fmt(f),
            Action::Switch(part, _) => Step::WriteRendition { part: *part }.fmt(f),
            Action::Renew(_) => f.write_str("write the renewed certificate"),
        }
    }
}

/// What was prepared.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) actions: Vec<Action>,
    /// The certificate that all of it was rendered with.
    pub(super) leaf: Leaf,
    /// Whether it was minted just now and is not kept yet.
    pub(super) is_new_leaf: bool,
}

/// Where a change is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    /// Taken in and checked.
    Stage,
    /// Running, from the newest sections.
    Roll,
    /// Running, from the confirmed sections.
    Repair,
}

impl Host {
    /// The plan over what was seen.
    pub(super) fn plan(&self, sight: &Sight) -> Plan {
        plan(&sight.desired, &sight.observed, &sight.differences, self.running_config().as_ref())
    }

    /// Installs the binary and renders and checks every rendition that the plan needs. Switches nothing.
    ///
    /// # Errors
    /// Why the change is refused, one chain of causes.
    pub(super) async fn prepare(
        &self,
        target: &Target,
        sight: &Sight,
        goal: Goal,
        events: &Events,
    ) -> Result<Prepared, String> {
        if let Some(DropIn { binary, store, .. }) = &sight.desired.unit
            && let Some(path) =
                [Some(binary), store.as_ref()].into_iter().flatten().find(|path| !is_writable_path(path))
        {
            return Err(format!(
                "`{}` cannot stand in a unit file: a path there is absolute and has no control characters",
                path.escape_debug()
            ));
        }
        let (leaf, is_new_leaf) =
            self.leaf_for(target, goal, now()).map_err(|error| host_state::chain(&error))?;
        let steps = self.plan(sight).steps;
        if steps.contains(&Step::InstallBinary) {
            let started = events.started(&Step::InstallBinary.to_string());
            self.install_binary(&target.cluster.server).await?;
            events.done(started);
        }
        if steps.contains(&Step::TryFirewall) && goal != Goal::Repair {
            self.check_firewall(&sight.desired).await?;
        }
        let mut actions = Vec::new();
        for step in steps {
            match step {
                Step::InstallBinary => {}
                // Nobody is there to confirm it.
                Step::TryFirewall if goal == Goal::Repair => {}
                Step::WriteRendition { part } => {
                    let config = rendition_config(&sight.desired, self.running_config().as_ref(), part);
                    let ready = self.candidate(target, &config, &leaf, events).await?;
                    actions.push(Action::Switch(part, ready));
                }
                step => actions.push(Action::Step(step)),
            }
        }
        if goal != Goal::Stage {
            self.prepare_renewal(target, sight, &leaf, &mut actions, events).await?;
        }
        Ok(Prepared { actions, leaf, is_new_leaf })
    }

    /// Has the binary downloaded where the document says so, and installs it. Nothing that runs is touched.
    async fn install_binary(&self, server: &ServerBinary) -> Result<(), String> {
        if let BinarySource::Url { url, sha256 } = &server.source {
            self.pulse.expect(DOWNLOAD_LONGEST);
            self.view.download(url, sha256).await?;
        }
        let sha256 = match &server.source {
            BinarySource::File { path: _, sha256 } => Some(sha256.clone()),
            BinarySource::Url { url: _, sha256 } => Some(sha256.as_str().to_owned()),
            BinarySource::Agent | BinarySource::Path { .. } => None,
        };
        let what = What::Binary { version: server.version.clone(), sha256 };
        let announced = self.audit.announce(what).map_err(|error| host_state::chain(&error))?;
        let installed = announced.ended(self.binaries.install(server));
        installed.map_err(|error| host_state::chain(&error))?;
        match self.binaries.observe(server).await {
            BinaryObserved::Present { version, .. } if version == server.version => Ok(()),
            BinaryObserved::Present { version, .. } => Err(format!(
                "what was installed is nats-server `{version}`, the document wants `{}`",
                server.version
            )),
            BinaryObserved::Missing { path } => Err(format!("`{path}` is gone")),
            BinaryObserved::Unusable { path, reason } => Err(format!("`{path}` cannot be used: {reason}")),
        }
    }

    /// Adds a switch to the newest certificate where no other switch brings it.
    async fn prepare_renewal(
        &self,
        target: &Target,
        sight: &Sight,
        leaf: &Leaf,
        actions: &mut Vec<Action>,
        events: &Events,
    ) -> Result<(), String> {
        let Some(rendered) = &sight.desired.rendered else { return Ok(()) };
        if actions.iter().any(|action| matches!(action, Action::Switch(..))) {
            return Ok(());
        }
        let wanted = self.files(rendered, leaf).manifest();
        let is_current = [layout::CERT_FILE, layout::CA_FILE, layout::KEY_FILE]
            .iter()
            .all(|name| wanted.get(*name) == sight.desired.files.get(*name));
        if is_current {
            return Ok(());
        }
        let ready = self.candidate(target, rendered, leaf, events).await?;
        // A new rendition is whole, so there is nothing to restore in it.
        actions.retain(|action| !matches!(action, Action::Step(Step::RestoreFile { .. })));
        let is_later = |action: &Action| {
            matches!(
                action,
                Action::Step(
                    Step::Reload
                        | Step::Restart
                        | Step::Start
                        | Step::ConvergeClaims
                        | Step::PushClaim { .. }
                )
            )
        };
        let at = actions.iter().position(is_later).unwrap_or(actions.len());
        actions.insert(at, Action::Renew(ready));
        let touches = |action: &Action| {
            matches!(action, Action::Step(Step::Reload | Step::Restart | Step::Start | Step::Stop))
        };
        if self.running_server().is_some() && !actions.iter().any(touches) {
            actions.insert(at + 1, Action::Step(Step::Reload));
        }
        Ok(())
    }

    /// A kept rendition of `config` with `leaf` that passed the ladder; an equal one is used again.
    pub(super) async fn candidate(
        &self,
        target: &Target,
        config: &ServerConfig,
        leaf: &Leaf,
        events: &Events,
    ) -> Result<Ready, String> {
        let text = |error: &dyn std::error::Error| host_state::chain(error);
        let started = events.started("check the configuration");
        ladder::check_rules(config).map_err(|error| text(&error))?;
        let files = self.files(config, leaf);
        let binary = self.binaries.path(&target.cluster.server);
        let climb = |directory| async move {
            ladder::climb(&self.effects, self.state_dir(), &binary, config, directory, self.trial.as_deref())
                .await
        };
        let number = match self.find_intact(&files, target).map_err(|error| text(&error))? {
            Some(number) => {
                climb(&self.renditions.directory(number)).await.map_err(|error| text(&error))?;
                number
            }
            None => {
                let whole = *config == target.desired_config();
                let candidate = self.renditions.write_candidate(&files, target.marks.clone(), whole);
                let candidate = candidate.map_err(|error| text(&error))?;
                climb(&candidate.directory).await.map_err(|error| text(&error))?;
                let what = What::Rendition { rendition: candidate.number };
                let announced = self.audit.announce(what).map_err(|error| text(&error))?;
                announced.ended(self.renditions.keep(&candidate)).map_err(|error| text(&error))?;
                candidate.number
            }
        };
        events.done(started);
        Ok(Ready { number })
    }

    fn find_intact(&self, files: &FileSet, target: &Target) -> Result<Option<u64>, super::files::FileError> {
        let found = self.renditions.find(files, &target.marks)?;
        Ok(found.filter(|number| self.renditions.is_intact(*number)))
    }

    /// The certificate to render with, and whether it is new: the kept one, unless a document asks for another or it
    /// is due.
    fn leaf_for(&self, target: &Target, goal: Goal, now: OffsetDateTime) -> Result<(Leaf, bool), LeafError> {
        let kept = Leaf::read(self.state_dir())?;
        let material = match (&kept, goal) {
            // What was confirmed may name an older issuer than the one that a failed roll brought: keep the newest.
            (Some(kept), Goal::Repair) => kept.material.clone(),
            _ => Material::of(&target.cluster.host, &target.cluster.tls)?,
        };
        match kept {
            Some(kept) if kept.material == material && !kept.is_due(now)? => Ok((kept, false)),
            _ => Ok((material.mint(&self.secret, now)?, true)),
        }
    }
}
