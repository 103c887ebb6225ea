//! Brings the host to its sections: looks, plans, prepares, writes the intent, does the steps, passes the gate,
//! confirms; or takes the configuration back.
//!
//! Nothing lasting happens before every candidate has passed the ladder, so a refused change changes nothing. After
//! the intent is written every way out leads to the old or the new configuration, also over a crash.

use std::collections::BTreeSet;

use host_state::audit::{self, Ended, What, clip};
use host_state::desired::Run;
use host_state::document::ContentHash;
use host_state::plan::Step;
use host_state::report::Outcome;
use host_state::{SectionHeader, SectionKind, layout};

use super::audit::Announced;
use super::candidate::{Action, Goal, Prepared};
use super::events::Events;
use super::host::Host;
use super::intent::{self, Intent, Stage};
use super::ledger::{ConfirmedMark, Contents};
use super::observe::Sight;
use super::target::{Target, Which};
use crate::parts::tls::Leaf;
use crate::roles::ApplierError;

/// A step that failed, and why.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) step: String,
    pub(super) reason: String,
}

/// What has been changed so far, for the way back.
#[derive(Debug, Default)]
struct Progress {
    intent: Option<Intent>,
    server_touched: bool,
    trial: Option<String>,
}

impl Host {
    /// Brings the host to the sections in `contents`, of which `new` are not in the ledger yet.
    ///
    /// Guarantees: on `Refused` and on an error nothing was changed; on `RolledBack` the host runs what was
    /// confirmed before, with the newest certificate. Assumes that the caller holds the work lock.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub(super) async fn bring(
        &self,
        contents: Contents,
        new: &[SectionKind],
        goal: Goal,
        events: &Events,
    ) -> Result<Outcome, ApplierError> {
        let failed = |error: &dyn std::error::Error| ApplierError::Failed(host_state::chain(error));
        let which = if goal == Goal::Repair { Which::Confirmed } else { Which::Accepted };
        let Some(target) = Target::of(&contents, which).map_err(|error| failed(&error))? else {
            // Without a cluster section there is nothing to run; what came waits in the ledger.
            self.accept(&contents, new)?;
            return Ok(Outcome::Staged);
        };
        self.follow_unit().await;
        let sight = self.look(&target, &contents.facts).await;
        if goal != Goal::Repair
            && let Some(reason) = blocked(&sight)
        {
            return Ok(Outcome::Refused { reason });
        }
        // A host that joins alone is not staged before.
        let is_new = goal == Goal::Roll && !contents.facts.formed;
        if (goal == Goal::Stage || is_new)
            && let Some(reason) = self.unfit(&target, events).await
        {
            return Ok(Outcome::Refused { reason });
        }
        let prepared = match self.prepare(&target, &sight, goal, events).await {
            Ok(prepared) => prepared,
            Err(reason) => return Ok(Outcome::Refused { reason }),
        };
        self.accept(&contents, new)?;
        if goal == Goal::Stage {
            self.hold_ports(&target).await;
            return Ok(Outcome::Staged);
        }
        self.execute(&target, contents, goal, prepared, events).await
    }

    /// Writes newly admitted sections into the ledger, and into the log who wrote what after what.
    pub(super) fn accept(&self, contents: &Contents, new: &[SectionKind]) -> Result<(), ApplierError> {
        for kind in new {
            if let Some(entry) = contents.entry(*kind) {
                let SectionHeader { section, generation, parent, content, writer, .. } =
                    &entry.accepted.header;
                let announced = self.audit.announce(What::Section {
                    section: *section,
                    generation: *generation,
                    content: content.clone(),
                    writer: clip(writer),
                })?;
                let written = announced.ended(self.ledger.write_section(*kind, entry));
                written.map_err(|error| ApplierError::Failed(host_state::chain(&error)))?;
                let (content, parent) =
                    (content.as_str(), parent.as_ref().map_or("none", ContentHash::as_str));
                tracing::info!(%section, generation, content, parent, writer, "section taken in");
            }
        }
        Ok(())
    }

    async fn execute(
        &self,
        target: &Target,
        mut contents: Contents,
        goal: Goal,
        prepared: Prepared,
        events: &Events,
    ) -> Result<Outcome, ApplierError> {
        let Prepared { actions, leaf, is_new_leaf } = prepared;
        let before = Target::of(&contents, Which::Confirmed).ok().flatten();
        let was_running = self.running_server().is_some();
        let (claims, changes): (Vec<Action>, Vec<Action>) = actions.into_iter().partition(is_about_claims);
        let announced = self.announce_change(goal, &changes, is_new_leaf)?;
        let end = |ended| {
            if let Some(announced) = announced {
                announced.end(ended);
            }
        };
        if is_new_leaf {
            let announced = self.audit.announce(What::Certificate { leaf: leaf.fingerprint() })?;
            let kept = announced.ended(leaf.write(&self.effects, self.state_dir()));
            kept.map_err(|error| ApplierError::Failed(host_state::chain(&error)))?;
            self.serve_leaf(&leaf);
        }
        let mut progress = Progress::default();
        let done = self.run_actions(target, &mut contents, &leaf, &changes, &mut progress, events).await;
        let outcome = match done {
            Ok(()) => self.confirm(target, &mut contents, goal, progress.intent.clone()),
            Err(failed) => Err(failed),
        };
        if outcome.is_err()
            && let Some(trial) = &progress.trial
        {
            self.drop_trial(trial).await;
        }
        self.change_on_trial.end();
        if let Err(Failed { step, reason }) = outcome {
            tracing::warn!(step, reason, "the change did not pass and is taken back");
            let touched = progress.server_touched;
            let back = self.take_back(before.as_ref(), &mut contents, was_running, touched, &step).await;
            let reason = match back {
                Ok(()) => {
                    end(Ended::RolledBack { step: clip(&step), reason: clip(&reason) });
                    reason
                }
                Err(Failed { step, reason: second }) => {
                    let reason = format!("{reason}; going back failed too ({step}): {second}");
                    end(Ended::Failed { reason: clip(&reason) });
                    reason
                }
            };
            return Ok(Outcome::RolledBack { step, reason });
        }
        end(Ended::Done);
        self.hold_ports(target).await;
        if !claims.is_empty() {
            self.converge_claims(target, &contents.facts, &BTreeSet::new(), events).await;
        }
        Ok(Outcome::Confirmed)
    }

    /// Puts a change on record; absent where an agent that looks at itself finds nothing to do.
    fn announce_change(
        &self,
        goal: Goal,
        changes: &[Action],
        is_new_leaf: bool,
    ) -> Result<Option<Announced>, ApplierError> {
        let brings = match goal {
            Goal::Repair if changes.is_empty() && !is_new_leaf => return Ok(None),
            Goal::Repair => audit::Goal::Repair,
            Goal::Roll | Goal::Stage => audit::Goal::Roll,
        };
        let steps = changes.iter().map(ToString::to_string).collect();
        Ok(Some(self.audit.announce(What::Change { goal: brings, steps })?))
    }

    async fn run_actions(
        &self,
        target: &Target,
        contents: &mut Contents,
        leaf: &Leaf,
        actions: &[Action],
        progress: &mut Progress,
        events: &Events,
    ) -> Result<(), Failed> {
        for action in actions {
            let step = action.to_string();
            let announced = self.audit.announce(action.announced());
            let announced = announced
                .map_err(|error| Failed { step: step.clone(), reason: host_state::chain(&error) })?;
            let started = events.started(&step);
            let done = self.run_action(target, contents, leaf, action, progress).await;
            announced.told(done).map_err(|reason| Failed { step, reason })?;
            events.done(started);
        }
        Ok(())
    }

    async fn run_action(
        &self,
        target: &Target,
        contents: &mut Contents,
        leaf: &Leaf,
        action: &Action,
        progress: &mut Progress,
    ) -> Result<(), String> {
        match action {
            Action::Switch(_, ready) | Action::Renew(ready) => {
                let intent = Intent {
                    from: contents.facts.confirmed_rendition,
                    to: ready.number,
                    sections: target.marks.clone(),
                    stage: Stage::Begun,
                };
                let path = self.state_dir().join(layout::INTENT_FILE);
                let written = intent::write(&self.effects, &path, &intent);
                progress.intent = Some(intent);
                written.map_err(|error| host_state::chain(&error))?;
                self.renditions.switch(Some(ready.number)).map_err(|error| host_state::chain(&error))
            }
            Action::Step(step) => match step {
                Step::PrepareStore => self.prepare_store(target, &mut contents.facts),
                Step::RestoreFile { file: _ } => self.undo_edits(leaf).map(|_| ()),
                Step::WriteUnit => self.write_unit(target).await,
                Step::Stop => {
                    progress.server_touched = true;
                    self.stop_server(target).await
                }
                Step::Reload => {
                    progress.server_touched = true;
                    self.reload_server(leaf).await
                }
                Step::Restart => {
                    progress.server_touched = true;
                    self.stop_server(target).await?;
                    self.start_server(target, &mut contents.facts, leaf).await
                }
                Step::Start => {
                    progress.server_touched = true;
                    self.start_server(target, &mut contents.facts, leaf).await
                }
                Step::LoadFirewall => self.load_firewall().await,
                Step::TryFirewall => {
                    progress.trial = self.try_firewall(target).await?;
                    Ok(())
                }
                Step::InstallBinary
                | Step::WriteRendition { .. }
                | Step::ConvergeClaims
                | Step::PushClaim { .. } => Ok(()),
            },
        }
    }

    /// Makes what runs now what is gone back to from now on: the intent turns to passed, which is the point of no
    /// return, then the marks follow.
    fn confirm(
        &self,
        target: &Target,
        contents: &mut Contents,
        goal: Goal,
        intent: Option<Intent>,
    ) -> Result<(), Failed> {
        let fail = |error: &dyn std::error::Error| Failed {
            step: "confirm".to_owned(),
            reason: host_state::chain(error),
        };
        let path = self.state_dir().join(layout::INTENT_FILE);
        let announced = if intent.is_some() || goal == Goal::Roll {
            let what = What::Confirmed { sections: target.marks.clone() };
            Some(self.audit.announce(what).map_err(|error| fail(&error))?)
        } else {
            None
        };
        if let Some(intent) = &intent {
            let passed = Intent { stage: Stage::Passed, ..intent.clone() };
            intent::write(&self.effects, &path, &passed).map_err(|error| fail(&error))?;
        }
        // From here on a failure must not go back: what is missing is written by the next start or apply.
        let marked = self.write_marks(target, contents, goal);
        let ended = marked.and_then(|()| match &intent {
            Some(_) => intent::remove(&self.effects, &path),
            None => Ok(()),
        });
        let ended = match announced {
            Some(announced) => announced.ended(ended),
            None => ended,
        };
        let pruned = ended.and_then(|()| {
            let needed: Vec<u64> = contents.facts.confirmed_rendition.into_iter().collect();
            self.renditions.prune(&needed)
        });
        if let Err(error) = pruned {
            tracing::warn!(error = host_state::chain(&error), "a confirmed change is not wholly marked yet");
        }
        Ok(())
    }

    fn write_marks(
        &self,
        target: &Target,
        contents: &mut Contents,
        goal: Goal,
    ) -> Result<(), super::files::FileError> {
        if goal == Goal::Roll {
            self.mark_confirmed(contents, &target.marks)?;
        }
        let current = self.renditions.current()?;
        if contents.facts.confirmed_rendition != current {
            contents.facts.confirmed_rendition = current;
            self.ledger.write_facts(&contents.facts)?;
        }
        Ok(())
    }

    /// Marks the accepted sections with these contents as confirmed.
    pub(super) fn mark_confirmed(
        &self,
        contents: &mut Contents,
        marks: &[(SectionKind, ContentHash)],
    ) -> Result<(), super::files::FileError> {
        for (kind, content) in marks {
            let Some(entry) = contents.entry(*kind) else { continue };
            if entry.accepted.header.content != *content || entry.confirmed == ConfirmedMark::Accepted {
                continue;
            }
            let mut entry = entry.clone();
            entry.confirmed = ConfirmedMark::Accepted;
            self.ledger.write_section(*kind, &entry)?;
            contents.replace(*kind, entry);
        }
        Ok(())
    }

    /// While the server is held, answers on its ports so that others can test that they reach this host.
    pub(super) async fn hold_ports(&self, target: &Target) {
        let is_held = target.run() == Run::Held && self.running_server().is_none();
        let ports = if is_held { super::gate::held_ports(&target.desired_config()) } else { Vec::new() };
        for (port, outcome) in self.view.hold_ports(&ports).await {
            if let Err(reason) = outcome {
                tracing::warn!(%port, reason, "a held server's port cannot be answered on");
            }
        }
    }
}

/// Why no server may be started, with what to do about it; `None` when nothing speaks against it.
pub(super) fn blocked(sight: &Sight) -> Option<String> {
    let blocking = sight.differences.iter().filter(|difference| difference.blocks_start());
    let texts: Vec<String> = blocking
        .filter_map(|difference| difference.told().err())
        .map(|finding| format!("{}; {}", finding.problem, finding.remedy))
        .collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

fn is_about_claims(action: &Action) -> bool {
    matches!(action, Action::Step(Step::ConvergeClaims | Step::PushClaim { .. }))
}
