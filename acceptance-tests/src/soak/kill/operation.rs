//! What an agent is busy with when it is struck: each operation with the host that it begins on, what is damaged
//! before, what is asked, and what has to be there in the end.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use host_state::SignedSection;
use host_state::document::{BinarySource, ClusterSection, OnDrift};
use host_state::layout;
use host_state::report::Outcome;
use nats_agent::applier::claim;
use nats_agent::applier::rendition::Renditions;
use nats_agent::parts::effects::{Effect, Effects, Moment};
use nats_agent::testing::{Author, age_leaf, authority};
use nats_config::{ByteSize, Sha256Hex, ShadowPlan, shadow};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::life::{Ask, Life};
use super::site::Site;
use super::strikes::Strikes;

/// One thing that an agent does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Operation {
    /// The first start, and the claim.
    Claim,
    /// A held host is staged, then released: store, first start.
    Release,
    /// A change that a reload brings.
    Reload,
    /// A change that a reload brings in part, and the rest a restart.
    Mixed,
    /// Another binary.
    Binary,
    /// Another name in the certificate.
    Reissue,
    /// Accounts for the first time.
    Accounts,
    /// The certificate is due, while the server runs.
    Renewal,
    /// The certificate is due when the agent starts.
    RenewalAtStart,
    /// Edited files and bits, put back by an apply.
    Repair,
    /// The same, put back by the agent itself.
    RepairBySweep,
    /// The same at a start, and the server is down.
    RepairAtStart,
    /// An account's file is gone under the server.
    AccountLost,
    /// A reload that fails is taken back by another.
    BackByReload,
    /// A restart that fails is taken back by a start.
    BackByRestart,
    /// A change with a new certificate is taken back, and the certificate is not.
    BackWithoutCertificate,
    /// A first start that fails is taken back to a held host.
    BackToHeld,
    /// A crash left a trial running, and the agent starts.
    TrialLeft,
    /// A server that does not stop is killed. Takes half a minute.
    Stubborn,
}

impl Operation {
    /// All of them.
    pub const ALL: [Operation; 19] = [
        Operation::Claim,
        Operation::Release,
        Operation::Reload,
        Operation::Mixed,
        Operation::Binary,
        Operation::Reissue,
        Operation::Accounts,
        Operation::Renewal,
        Operation::RenewalAtStart,
        Operation::Repair,
        Operation::RepairBySweep,
        Operation::RepairAtStart,
        Operation::AccountLost,
        Operation::BackByReload,
        Operation::BackByRestart,
        Operation::BackWithoutCertificate,
        Operation::BackToHeld,
        Operation::TrialLeft,
        Operation::Stubborn,
    ];

    /// Whether the agent is up before it is struck; otherwise its start is struck too.
    #[must_use]
    pub fn is_live(self) -> bool {
        !matches!(
            self,
            Operation::Claim | Operation::RenewalAtStart | Operation::RepairAtStart | Operation::TrialLeft
        )
    }

    /// Whether managed files are not as they should be when it begins.
    #[must_use]
    pub fn is_damaged(self) -> bool {
        matches!(self, Operation::Repair | Operation::RepairBySweep | Operation::RepairAtStart)
    }

    /// The host is nobody's, or nothing was ever applied to it.
    fn is_fresh(self) -> bool {
        matches!(self, Operation::Claim | Operation::Release | Operation::BackToHeld)
    }

    /// What fails by itself, so that the agent goes back.
    #[must_use]
    pub fn setback(self) -> Option<(Effect, Moment)> {
        match self {
            Operation::BackByReload | Operation::BackWithoutCertificate => {
                Some((Effect::ReloadServer, Moment::After))
            }
            Operation::BackByRestart | Operation::BackToHeld => Some((Effect::StartServer, Moment::Before)),
            _ => None,
        }
    }

    /// Does to a running host what the operation is about.
    ///
    /// # Errors
    /// When it cannot be done.
    pub fn damage(self, site: &Site) -> Result<()> {
        match self {
            Operation::Repair | Operation::RepairBySweep | Operation::RepairAtStart => edit(site),
            Operation::Renewal | Operation::RenewalAtStart => {
                age_leaf(&authority(), &site.state());
                Ok(())
            }
            Operation::AccountLost => {
                let resolver = site.state().join(layout::RESOLVER);
                for entry in fs::read_dir(&resolver).context("list the resolver")? {
                    fs::remove_file(entry?.path())?;
                }
                Ok(())
            }
            Operation::TrialLeft => leave_trial(site),
            Operation::Stubborn => site.signal(Signal::STOP),
            _ => Ok(()),
        }
    }

    /// What the section of the operation says beyond the plain one.
    fn change(self, site: &Site, keys: &identity::HostKeys, section: &mut ClusterSection) -> Result<()> {
        let limits = &mut section.config.limits;
        match self {
            Operation::Reload | Operation::BackByReload => {
                limits.max_payload = Some(ByteSize::from_bytes(2 << 20)?);
            }
            Operation::Mixed | Operation::BackByRestart => {
                limits.max_payload = Some(ByteSize::from_bytes(2 << 20)?);
                limits.max_subscriptions = Some(1000);
            }
            Operation::Stubborn => limits.max_subscriptions = Some(1000),
            Operation::Binary => {
                let path = site.download();
                let sha256 = Sha256Hex::of(&fs::read(&path)?).to_string();
                section.server.source = BinarySource::File { path: path.display().to_string(), sha256 };
            }
            Operation::Reissue | Operation::BackWithoutCertificate => {
                let author = Author::new(site.address, site.store());
                section.tls = author.tls_named(keys, "nats.acme.example");
                limits.max_payload = Some(ByteSize::from_bytes(3 << 20)?);
            }
            Operation::RepairBySweep => section.on_drift = OnDrift::Repair,
            Operation::Claim
            | Operation::Release
            | Operation::BackToHeld
            | Operation::Accounts
            | Operation::Renewal
            | Operation::RenewalAtStart
            | Operation::Repair
            | Operation::RepairAtStart
            | Operation::TrialLeft
            | Operation::AccountLost => {}
        }
        Ok(())
    }
}

/// A host made ready for an operation, and what is asked of it.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The operation.
    pub operation: Operation,
    /// What is asked.
    pub asks: Vec<Ask>,
    /// Digest that runs before; absent on a fresh host.
    pub old: Option<String>,
    /// Digest that is to run; absent where nothing is to.
    pub new: Option<String>,
}

impl Prepared {
    /// The name under which the host is kept.
    #[must_use]
    pub fn kept(operation: Operation) -> String {
        format!("kept-{operation:?}")
    }

    /// Makes the host for `operation` on `site` and keeps it.
    ///
    /// # Errors
    /// When anything on the way is not as it should be.
    pub fn make(site: &Site, operation: Operation) -> Result<Prepared> {
        site.end_processes()?;
        let host = site.root.join("host");
        if host.exists() {
            fs::remove_dir_all(&host)?;
        }
        fs::create_dir_all(site.state())?;
        let mut author = Author::new(site.address, site.store());
        claim::offer(&Effects::default(), &site.state(), &author.enrollment())?;
        let calm = || Arc::new(Strikes::new(Vec::new(), None));
        let mut prepared = Prepared { operation, asks: vec![Ask::Claim], old: None, new: None };
        if operation != Operation::Claim {
            let life = Life::open(site, calm())?;
            life.ask(&Ask::Claim)?;
            prepared.apply_first(site, &life, &mut author)?;
            life.shut_down();
        }
        site.end_processes()?;
        site.keep(&Prepared::kept(operation))?;
        Ok(prepared)
    }

    /// What is applied before the operation, and what the operation asks.
    fn apply_first(&mut self, site: &Site, life: &Life, author: &mut Author) -> Result<()> {
        let (operation, keys) = (self.operation, life.keys());
        let roll = |sections: Vec<SignedSection>| -> Result<()> {
            let outcome = life.ask(&Ask::Roll(sections))?;
            ensure!(outcome == Some(Outcome::Confirmed), "{operation:?} cannot begin: {outcome:?}");
            Ok(())
        };
        if operation.is_fresh() {
            let held = author.cluster(&keys, |section| section.release = None);
            let released = author.cluster(&keys, |_| {});
            self.new = Some(digest(&released)?);
            self.asks = vec![Ask::Stage(vec![held]), Ask::Roll(vec![released])];
            return Ok(());
        }
        let is_repair = operation == Operation::RepairBySweep;
        let plain = author.cluster(&keys, |section| {
            if is_repair {
                section.on_drift = OnDrift::Repair;
            }
        });
        roll(vec![plain.clone()])?;
        (self.old, self.new) = (Some(digest(&plain)?), Some(digest(&plain)?));
        self.asks = match operation {
            Operation::Accounts => {
                vec![Ask::Roll(vec![author.claims(&[("orders", 1_800_000_000), ("billing", 1_800_000_000)])])]
            }
            Operation::AccountLost => {
                let claims = author.claims(&[("orders", 1_800_000_000)]);
                roll(vec![claims.clone()])?;
                vec![Ask::Roll(vec![claims])]
            }
            Operation::Repair => vec![Ask::Roll(Vec::new())],
            Operation::Renewal | Operation::RepairBySweep => vec![Ask::Sweep],
            Operation::RenewalAtStart | Operation::RepairAtStart | Operation::TrialLeft => Vec::new(),
            _ => {
                let mut changed = Ok(());
                let next = author.cluster(&keys, |section| changed = operation.change(site, &keys, section));
                changed?;
                self.new = Some(digest(&next)?);
                vec![Ask::Roll(vec![next])]
            }
        };
        // Streams of somebody, which nothing may touch.
        let account = author.authority.trust().system_account.to_string();
        let data = site.store().join(layout::STORE_DATA).join(account).join("sentinel");
        fs::create_dir_all(&data)?;
        Ok(fs::write(data.join("messages"), "nothing may touch this")?)
    }
}

/// Edits what the agent manages, as a person would: a setting, the key, the store's bits.
fn edit(site: &Site) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let state = site.state();
    let path = state.join(layout::CONFIG_PATH);
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&path)?)?;
    config["max_payload"] = 12345.into();
    fs::write(&path, config.to_string())?;
    fs::write(state.join(layout::KEY_PATH), "none of yours")?;
    Ok(fs::set_permissions(site.store(), fs::Permissions::from_mode(0o750))?)
}

/// Starts a trial of what runs, as the agent does, and leaves it.
fn leave_trial(site: &Site) -> Result<()> {
    let scratch = site.state().join("shadow");
    let _ = fs::remove_dir_all(&scratch);
    fs::create_dir(&scratch)?;
    let renditions = Renditions::open(site.state(), Effects::default())?;
    let number = renditions.current()?.context("nothing is current")?;
    std::os::unix::fs::symlink(renditions.directory(number), scratch.join(layout::CURRENT))?;
    let plan = ShadowPlan { directory: scratch.display().to_string() };
    fs::write(scratch.join("shadow.json"), shadow(&renditions.model(number)?, &plan).text)?;
    let output = fs::File::create(scratch.join("output.log"))?;
    let mut trial = Command::new(&site.binary)
        .args(["-c", "shadow.json"])
        .current_dir(&scratch)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .process_group(0)
        .spawn()?;
    // It is reaped when somebody ends it.
    std::thread::spawn(move || trial.wait());
    Ok(())
}

fn digest(section: &SignedSection) -> Result<String> {
    let body: ClusterSection = section.body()?;
    Ok(nats_config::render(&body.config).digest.to_string())
}
