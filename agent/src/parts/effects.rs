//! Every change that the applier makes to the world, by name, so that each can be made to fail.
//!
//! All writes, renames, signals and starts pass through [`Effects::run`]. In service there is no [`Faults`] and
//! nothing but the effect happens; a test gives one and decides, for each name and moment, whether the effect
//! fails there. A crash is a fault that, once reached, fails every later effect as well: nothing reaches the disk
//! after it, as with a power cut. It must not be used for reading.

use std::io;
use std::sync::Arc;

/// One kind of change to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// `host-secret.json`, once.
    WriteHostSecret,
    /// `claim.json`.
    WriteClaim,
    /// `enrollment.json`: the token's first sight, its burning.
    WriteEnrollment,
    /// `lease.json`.
    WriteLease,
    /// `leaf.json`: the newest certificate.
    WriteLeaf,
    /// A section's ledger file.
    WriteLedger,
    /// The ledger's own facts: store id, lineage, formed.
    WriteHostFacts,
    /// A file of a rendition that is being made.
    WriteRenditionFile,
    /// A rendition's directory gets its final name.
    KeepRendition,
    /// `intent.json` before a switch.
    WriteIntent,
    /// `intent.json` after a switch was confirmed or taken back.
    RemoveIntent,
    /// `current` points at another rendition.
    SwapCurrent,
    /// A file of the current rendition is put back to what its manifest says.
    RestoreFile,
    /// An old rendition or a trial directory goes away.
    Prune,
    /// The store directory is made.
    CreateStore,
    /// The store directory's permission bits.
    SetStoreMode,
    /// The store's identity file.
    WriteStoreMark,
    /// A nats-server binary is copied into the state directory.
    InstallBinary,
    /// nats-server starts.
    StartServer,
    /// The record by which a restarted agent finds its nats-server again.
    WriteProcessRecord,
    /// SIGHUP to nats-server.
    ReloadServer,
    /// SIGTERM to nats-server.
    StopServer,
    /// SIGKILL to nats-server, after the deadline of a stop.
    KillServer,
    /// `nats-server -t` in a trial directory.
    CheckConfiguration,
    /// The trial boot in a scratch directory.
    BootShadow,
    /// An account's JWT is pushed to the local resolver.
    PushClaim,
}

impl Effect {
    /// Every effect, for tests that go through all of them.
    pub const ALL: [Effect; 26] = [
        Effect::WriteHostSecret,
        Effect::WriteClaim,
        Effect::WriteEnrollment,
        Effect::WriteLease,
        Effect::WriteLeaf,
        Effect::WriteLedger,
        Effect::WriteHostFacts,
        Effect::WriteRenditionFile,
        Effect::KeepRendition,
        Effect::WriteIntent,
        Effect::RemoveIntent,
        Effect::SwapCurrent,
        Effect::RestoreFile,
        Effect::Prune,
        Effect::CreateStore,
        Effect::SetStoreMode,
        Effect::WriteStoreMark,
        Effect::InstallBinary,
        Effect::StartServer,
        Effect::WriteProcessRecord,
        Effect::ReloadServer,
        Effect::StopServer,
        Effect::KillServer,
        Effect::CheckConfiguration,
        Effect::BootShadow,
        Effect::PushClaim,
    ];
}

impl std::fmt::Display for Effect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Effect::WriteHostSecret => "write-host-secret",
            Effect::WriteClaim => "write-claim",
            Effect::WriteEnrollment => "write-enrollment",
            Effect::WriteLease => "write-lease",
            Effect::WriteLeaf => "write-leaf",
            Effect::WriteLedger => "write-ledger",
            Effect::WriteHostFacts => "write-host-facts",
            Effect::WriteRenditionFile => "write-rendition-file",
            Effect::KeepRendition => "keep-rendition",
            Effect::WriteIntent => "write-intent",
            Effect::RemoveIntent => "remove-intent",
            Effect::SwapCurrent => "swap-current",
            Effect::RestoreFile => "restore-file",
            Effect::Prune => "prune",
            Effect::CreateStore => "create-store",
            Effect::SetStoreMode => "set-store-mode",
            Effect::WriteStoreMark => "write-store-mark",
            Effect::InstallBinary => "install-binary",
            Effect::StartServer => "start-server",
            Effect::WriteProcessRecord => "write-process-record",
            Effect::ReloadServer => "reload-server",
            Effect::StopServer => "stop-server",
            Effect::KillServer => "kill-server",
            Effect::CheckConfiguration => "check-configuration",
            Effect::BootShadow => "boot-shadow",
            Effect::PushClaim => "push-claim",
        })
    }
}

/// Where within an effect a fault may strike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Moment {
    /// Nothing was done yet.
    Before,
    /// A temporary file is written and fsynced, and not yet renamed.
    Prepared,
    /// It was done; whoever asked does not know.
    After,
}

impl Moment {
    /// Every moment.
    pub const ALL: [Moment; 3] = [Moment::Before, Moment::Prepared, Moment::After];
}

/// Decides what fails; tests implement it.
pub trait Faults: Send + Sync {
    /// Called at each moment of each effect.
    ///
    /// # Errors
    /// The error that the effect is to end with.
    fn reach(&self, effect: Effect, moment: Moment) -> io::Result<()>;
}

/// The way to the world.
#[derive(Clone, Default)]
pub struct Effects {
    faults: Option<Arc<dyn Faults>>,
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
        Effects { faults: Some(faults) }
    }

    /// Asks whether `effect` is to fail at `moment`.
    ///
    /// # Errors
    /// The injected one; never in service.
    pub fn reach(&self, effect: Effect, moment: Moment) -> io::Result<()> {
        match &self.faults {
            None => Ok(()),
            Some(faults) => faults.reach(effect, moment),
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
                Err(io::Error::other(format!("{effect} {moment:?}")))
            }
        }
        let effects = Effects::with_faults(Arc::new(Never));
        let mut done = false;
        let error = effects.run(Effect::SwapCurrent, || {
            done = true;
            Ok(())
        });
        let error = error.unwrap_err();
        assert_eq!(error.to_string(), "swap-current Before");
        assert!(!done);
    }
}
