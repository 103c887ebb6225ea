//! Every change that the applier makes to the world, by name, so that each can be made to fail.
//!
//! All writes, renames, signals and starts pass through [`Effects`]. In service there is no [`Faults`] and nothing but
//! the effect happens; a test gives one and decides, for each name and moment, whether the effect fails there, or the
//! process dies there. It must not be used for reading.
//!
//! In the applier every effect that changes the host comes through a [`Gate`] before it happens, which holds that it is on
//! record; [`UNAUDITED`] are the others.
//!
//! One table makes the names, so an effect that is added is in [`Effect::ALL`] and has a [`Form`], which says at which
//! moments it can be struck. `cargo xtask check-layers` holds that nothing is written or started anywhere else.

use std::io;
use std::path::Path;
use std::sync::Arc;

macro_rules! effects {
    ($($(#[$doc:meta])* $name:ident: $form:ident = $text:literal,)+) => {
        /// One kind of change to the world.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Effect {
            $($(#[$doc])* $name,)+
        }

        impl Effect {
            /// Every effect.
            pub const ALL: &[Effect] = &[$(Effect::$name),+];

            /// How it is carried out.
            #[must_use]
            pub fn form(self) -> Form {
                match self {
                    $(Effect::$name => Form::$form,)+
                }
            }
        }

        impl std::fmt::Display for Effect {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self {
                    $(Effect::$name => $text,)+
                })
            }
        }
    };
}

effects! {
    /// `agent.lock`, which keeps a second agent out, is made where it is missing.
    LockState: Entry = "lock-state",
    /// A directory of the state directory is made where it is missing.
    MakeDirectory: Entry = "make-directory",
    /// A directory of the state directory is given to the user of nats-server.
    SetOwner: Entry = "set-owner",
    /// The permission bits of a directory that nats-server shares.
    SetMode: Entry = "set-mode",
    /// `host-secret.json`, once.
    WriteHostSecret: File = "write-host-secret",
    /// `claim.json`.
    WriteClaim: File = "write-claim",
    /// `enrollment.json`: the token's first sight, its burning.
    WriteEnrollment: File = "write-enrollment",
    /// `lease.json`, written or removed.
    WriteLease: File = "write-lease",
    /// `leaf.json`: the newest certificate.
    WriteLeaf: File = "write-leaf",
    /// A section's ledger file.
    WriteLedger: File = "write-ledger",
    /// The ledger's own facts: store id, lineage, formed.
    WriteHostFacts: File = "write-host-facts",
    /// A file of a rendition that is being made.
    WriteRenditionFile: NewFile = "write-rendition-file",
    /// A rendition's directory gets its final name.
    KeepRendition: Entry = "keep-rendition",
    /// `intent.json` before a switch, and when it passed.
    WriteIntent: File = "write-intent",
    /// `intent.json` after a switch was confirmed or taken back.
    RemoveIntent: Entry = "remove-intent",
    /// `current` points at another rendition, or at none.
    SwapCurrent: Link = "swap-current",
    /// A file of the current rendition is put back to what its manifest says.
    RestoreFile: File = "restore-file",
    /// An old rendition or a trial directory goes away.
    Prune: Entry = "prune",
    /// The store directory is made.
    CreateStore: Entry = "create-store",
    /// The store directory's permission bits.
    SetStoreMode: Entry = "set-store-mode",
    /// The store directory is given to the user of nats-server.
    SetStoreOwner: Entry = "set-store-owner",
    /// The store's identity file.
    WriteStoreMark: File = "write-store-mark",
    /// The store's ballast file is made.
    MakeBallast: File = "make-ballast",
    /// The file of a latency probe is made in the store directory or above it.
    WriteProbe: Entry = "write-probe",
    /// The file of a latency probe goes away.
    RemoveProbe: Entry = "remove-probe",
    /// `probe.json`: what the newest latency probe measured.
    KeepProbe: File = "keep-probe",
    /// A nats-server binary is copied into the state directory.
    InstallBinary: File = "install-binary",
    /// The link to a candidate in a trial directory.
    LinkTrial: Link = "link-trial",
    /// The configuration of a trial boot.
    WriteTrial: NewFile = "write-trial",
    /// The file that takes the output of a server is made where it is missing.
    OpenOutput: Entry = "open-output",
    /// The drop-in of nats-server's unit.
    WriteUnit: File = "write-unit",
    /// systemd reads all unit files again.
    ReloadUnits: Act = "reload-units",
    /// The mask of nats-server's unit is taken off.
    UnmaskUnit: Act = "unmask-unit",
    /// What the trial unit is asked.
    WriteTrialRequest: File = "write-trial-request",
    /// The trial unit runs.
    RunTrial: Act = "run-trial",
    /// nats-server starts.
    StartServer: Act = "start-server",
    /// The record by which a restarted agent finds its nats-server again.
    WriteProcessRecord: File = "write-process-record",
    /// SIGHUP to nats-server.
    ReloadServer: Act = "reload-server",
    /// SIGTERM to nats-server.
    StopServer: Act = "stop-server",
    /// SIGKILL to nats-server, after the deadline of a stop.
    KillServer: Act = "kill-server",
    /// `nats-server -t` in a trial directory.
    CheckConfiguration: Act = "check-configuration",
    /// The trial boot in a scratch directory.
    BootShadow: Trial = "boot-shadow",
    /// SIGKILL to the server of a trial that a crash left behind.
    EndTrial: Act = "end-trial",
    /// An account's JWT is pushed to the local resolver.
    PushClaim: Act = "push-claim",
    /// An account's JWT is put back into the resolver's directory.
    PutBackClaim: File = "put-back-claim",
    /// A record of the audit log, in a file that is there or is made for it.
    AppendAudit: Append = "append-audit",
    /// `firewall.json`: the confirmed rules.
    WriteFirewall: File = "write-firewall",
    /// `firewall-trial.json`: rules on trial.
    WriteFirewallTrial: File = "write-firewall-trial",
    /// `firewall-trial.json` after a trial was confirmed, cancelled or over.
    EndFirewallTrial: Entry = "end-firewall-trial",
    /// The kernel is asked whether it would take a table.
    CheckTable: Act = "check-table",
    /// One transaction that brings our nftables table on its way to another one.
    ReplaceTable: Act = "replace-table",
}

/// Effects that are met only on a host with systemd ([`crate::roles::Place::Host`]) or under the profile `production`:
/// no agent in one process with `development` gets there.
pub const OF_HOSTS: &[Effect] = &[
    Effect::SetOwner,
    Effect::SetMode,
    Effect::SetStoreOwner,
    Effect::MakeBallast,
    Effect::WriteUnit,
    Effect::ReloadUnits,
    Effect::UnmaskUnit,
    Effect::WriteTrialRequest,
    Effect::RunTrial,
    Effect::WriteProbe,
    Effect::RemoveProbe,
    Effect::KeepProbe,
    Effect::WriteFirewall,
    Effect::WriteFirewallTrial,
    Effect::EndFirewallTrial,
    Effect::CheckTable,
    Effect::ReplaceTable,
];

/// Effects that need no record: what a restart finds again by itself, scratch, and the log's own. A lease changes no host,
/// and is renewed every few seconds. Every other effect is on record, also one that is added.
pub const UNAUDITED: &[Effect] = &[
    Effect::LockState,
    Effect::MakeDirectory,
    Effect::WriteLease,
    Effect::WriteRenditionFile,
    Effect::WriteIntent,
    Effect::RemoveIntent,
    Effect::Prune,
    Effect::LinkTrial,
    Effect::WriteTrial,
    Effect::OpenOutput,
    Effect::WriteProcessRecord,
    Effect::CheckConfiguration,
    Effect::BootShadow,
    Effect::EndTrial,
    Effect::WriteTrialRequest,
    Effect::RunTrial,
    Effect::CheckTable,
    Effect::WriteProbe,
    Effect::RemoveProbe,
    Effect::KeepProbe,
    Effect::AppendAudit,
];

/// How an effect is carried out, and so at which moments it can be struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A file is written beside its place, fsynced and renamed.
    File,
    /// A file of a directory that nobody looks at yet is written and fsynced.
    NewFile,
    /// Bytes are added to the end of a file and fsynced.
    Append,
    /// A symbolic link is made beside its place and renamed.
    Link,
    /// One call changes a directory: made, renamed, emptied, its bits.
    Entry,
    /// A process is started or signalled, or something is sent.
    Act,
    /// A process is started that is to be ended again.
    Trial,
}

impl Form {
    /// The moments that an effect of this form passes, in order.
    #[must_use]
    pub fn moments(self) -> &'static [Moment] {
        match self {
            Form::File => &[Moment::Before, Moment::Written, Moment::Prepared, Moment::After],
            Form::NewFile | Form::Append => &[Moment::Before, Moment::Written, Moment::After],
            Form::Link | Form::Trial => &[Moment::Before, Moment::Prepared, Moment::After],
            Form::Entry | Form::Act => &[Moment::Before, Moment::After],
        }
    }
}

/// Where within an effect a fault may strike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Moment {
    /// Nothing was done yet.
    Before,
    /// All bytes are handed to the system and none is fsynced: a power cut may tear the file.
    Written,
    /// Durable under its temporary name, and not yet renamed; of a trial: started, and not yet ended.
    Prepared,
    /// It was done; whoever asked does not know.
    After,
}

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Moment::Before => "before",
            Moment::Written => "written",
            Moment::Prepared => "prepared",
            Moment::After => "after",
        })
    }
}

/// Decides what fails; tests implement it.
pub trait Faults: Send + Sync {
    /// Called at each moment of each effect.
    ///
    /// # Errors
    /// The error that the effect is to end with.
    fn reach(&self, effect: Effect, moment: Moment) -> io::Result<()>;

    /// As [`Faults::reach`] at [`Moment::Written`], with the file as it lies there, so that a fault can tear it.
    ///
    /// # Errors
    /// As [`Faults::reach`].
    fn written(&self, effect: Effect, file: &Path) -> io::Result<()> {
        let _ = file;
        self.reach(effect, Moment::Written)
    }
}

/// Holds that changes of the host are on record.
pub(crate) trait Gate: Send + Sync {
    /// Called before each effect that is not in [`UNAUDITED`]; afterwards the effect is on record, durably.
    ///
    /// # Errors
    /// When it cannot be; it must not happen then.
    fn before(&self, effect: Effect) -> io::Result<()>;
}

/// The way to the world.
#[derive(Clone, Default)]
pub struct Effects {
    faults: Option<Arc<dyn Faults>>,
    /// Absent outside the applier's process, where only a person's own commands change something.
    gate: Option<Arc<dyn Gate>>,
}

impl std::fmt::Debug for Effects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.faults.is_some() { "Effects(with faults)" } else { "Effects" })
    }
}

impl Effects {
    /// Effects that fail where `faults` says so.
    #[must_use]
    pub fn with_faults(faults: Arc<dyn Faults>) -> Effects {
        Effects { faults: Some(faults), gate: None }
    }

    /// The same effects, each of which passes `gate` first.
    #[must_use]
    pub(crate) fn behind(self, gate: Arc<dyn Gate>) -> Effects {
        Effects { gate: Some(gate), ..self }
    }

    /// Has `effect` put on record before it begins, and asks whether it is to fail at `moment`.
    ///
    /// # Errors
    /// When it cannot be put on record, and injected ones.
    pub fn reach(&self, effect: Effect, moment: Moment) -> io::Result<()> {
        if moment == Moment::Before
            && let Some(gate) = &self.gate
            && !UNAUDITED.contains(&effect)
        {
            gate.before(effect)?;
        }
        match &self.faults {
            None => Ok(()),
            Some(faults) => faults.reach(effect, moment),
        }
    }

    /// Asks whether `effect` is to fail now that `file` is written and not fsynced.
    ///
    /// # Errors
    /// The injected one; never in service.
    pub fn written(&self, effect: Effect, file: &Path) -> io::Result<()> {
        match &self.faults {
            None => Ok(()),
            Some(faults) => faults.written(effect, file),
        }
    }

    /// Does `change`, between the two moments.
    ///
    /// # Errors
    /// Those of `change`, and injected ones.
    pub fn run<T>(&self, effect: Effect, change: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.reach(effect, Moment::Before)?;
        let value = change()?;
        self.reach(effect, Moment::After)?;
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_effect_has_its_own_name() {
        let names: BTreeSet<String> = Effect::ALL.iter().map(ToString::to_string).collect();
        assert_eq!(names.len(), Effect::ALL.len());
    }

    #[test]
    fn a_fault_before_keeps_the_change_from_happening() {
        struct Never;
        impl Faults for Never {
            fn reach(&self, effect: Effect, moment: Moment) -> io::Result<()> {
                Err(io::Error::other(format!("{effect} {moment}")))
            }
        }
        let effects = Effects::with_faults(Arc::new(Never));
        let mut done = false;
        let error = effects.run(Effect::SwapCurrent, || {
            done = true;
            Ok(())
        });
        let error = error.unwrap_err();
        assert_eq!(error.to_string(), "swap-current before");
        assert!(!done);
    }
}
