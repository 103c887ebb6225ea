//! One life of an agent's applier on a host: opened, asked, struck, dropped. The same code runs in the process that is
//! killed and in the one that looks at what is left.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use host_state::SignedSection;
use host_state::report::{ApplyEvent, Outcome, Report};
use nats_agent::applier::{LocalApplier, OpenError};
use nats_agent::front::Network;
use nats_agent::parts::effects::Effects;
use nats_agent::roles::{
    AgentSettings, Applier, ApplierError, ApplyMode, ApplyOrder, ClaimState, LeaseAction, ServerView,
};
use nats_agent::testing::{Author, LEASE, caller};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::operation::Operation;
use super::site::{Flavor, Site};
use super::stand_in::StandInView;
use super::strikes::{Strike, Strikes};

/// How long an opened applier may wait for the one before to let go of the state directory.
const OPEN_DEADLINE: Duration = Duration::from_secs(20);

/// How long a provider waits for a door to open.
const DOOR_DEADLINE: Duration = Duration::from_secs(10);

/// What is asked of an applier.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Ask {
    /// To be claimed, unless it is.
    Claim,
    /// To take sections in.
    Stage(Vec<SignedSection>),
    /// To be brought to them.
    Roll(Vec<SignedSection>),
    /// To look at itself as it does every minute.
    Sweep,
}

/// What a process that may be killed does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Script {
    /// On which host.
    pub site: Site,
    /// Whether its start is struck as well.
    pub from_start: bool,
    /// Whose damage is done before it is struck; absent where none is.
    pub damage: Option<Operation>,
    /// What fails besides, so that it goes back.
    pub setback: Option<Operation>,
    /// What it is asked.
    pub asks: Vec<Ask>,
    /// What strikes.
    pub strikes: Vec<Strike>,
}

/// An applier in a runtime of its own, so that dropping it leaves nothing of it behind.
pub struct Life {
    applier: Option<Arc<LocalApplier>>,
    author: Author,
    view: Arc<dyn ServerView>,
    runtime: Option<Runtime>,
}

impl std::fmt::Debug for Life {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Life").field("applier", &self.applier).finish_non_exhaustive()
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            let entered = runtime.enter();
            self.applier = None;
            drop(entered);
        }
    }
}

impl Life {
    /// Opens the applier of `site`, with effects that fail where `strikes` say.
    ///
    /// # Errors
    /// Why it does not open.
    pub fn open(site: &Site, strikes: Arc<Strikes>) -> Result<Life> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let settings =
            AgentSettings::of_process(site.state(), (site.address, 8442).into(), Some(site.binary.clone()));
        let deadline = Instant::now() + OPEN_DEADLINE;
        let view: Arc<dyn ServerView> = match site.flavor {
            Flavor::StandIn => Arc::new(StandInView::new(&site.state())),
            Flavor::Real => Arc::new(Network::new(settings.downloads.clone())),
        };
        let applier = loop {
            let _entered = runtime.enter();
            let view = Arc::clone(&view);
            let effects = Effects::with_faults(Arc::<Strikes>::clone(&strikes));
            match LocalApplier::open_with(settings.clone(), view, effects) {
                Ok(applier) => break applier,
                Err(OpenError::InUse { .. }) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(error) => return Err(anyhow!(host_state::chain(&error))),
            }
        };
        let author = Author::new(site.address, site.store());
        Ok(Life { applier: Some(applier), author, view, runtime: Some(runtime) })
    }

    fn on<T>(&self, work: impl AsyncFnOnce(&Arc<LocalApplier>) -> T) -> T {
        let (Some(runtime), Some(applier)) = (&self.runtime, &self.applier) else {
            unreachable!("both are there until it is dropped")
        };
        runtime.block_on(work(applier))
    }

    /// Waits until nothing changes the host.
    pub fn settle(&self) {
        self.on(async |applier| applier.settled().await);
    }

    /// Stops the server in order.
    pub fn shut_down(&self) {
        self.on(async |applier| applier.shut_down().await);
    }

    /// A fresh look.
    ///
    /// # Errors
    /// When there is none.
    pub fn report(&self) -> Result<Report> {
        self.on(async |applier| applier.observe().await).map_err(told)
    }

    /// SHA-256 of the leaf that the server serves to clients.
    ///
    /// # Errors
    /// When it serves none.
    pub fn served_leaf(&self) -> Result<String> {
        let client = (self.author.address, 4222).into();
        self.on(async |_| self.view.served_leaf(client, true).await).map_err(|reason| anyhow!(reason))
    }

    /// Sections as the host has taken them in.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn sections(&self) -> Result<Vec<SignedSection>> {
        self.on(async |applier| applier.sections().await).map_err(told)
    }

    /// The host's public keys.
    #[must_use]
    pub fn keys(&self) -> identity::HostKeys {
        self.on(async |applier| applier.host_keys())
    }

    /// Asks, and says what came of it; `None` where there is no outcome to it.
    ///
    /// # Errors
    /// Why it was refused.
    pub fn ask(&self, ask: &Ask) -> Result<Option<Outcome>> {
        match ask {
            Ask::Claim => self.claim().map(|()| None),
            Ask::Stage(sections) => self.apply(sections, ApplyMode::Stage).map(Some),
            Ask::Roll(sections) => self.apply(sections, ApplyMode::Roll).map(Some),
            Ask::Sweep => {
                self.on(async |applier| applier.sweep().await);
                Ok(None)
            }
        }
    }

    fn claim(&self) -> Result<()> {
        self.on(async |applier| {
            // An agent that could not keep the token's first sight looks at it again twice a second.
            let mut states = applier.claim_state();
            let open = states.wait_for(|state| !matches!(state, ClaimState::Closed));
            let opened = tokio::time::timeout(DOOR_DEADLINE, open).await.map(drop);
            let state = states.borrow().clone();
            match state {
                _ if opened.is_err() => bail!("the door stays shut"),
                ClaimState::Claimed(claimed) if claimed.claim_id == self.author.claim_id => return Ok(()),
                ClaimState::Open(_) => {}
                other => bail!("the door is {other:?}"),
            }
            let claim = self.author.claim(&applier.host_keys(), &self.author.claim_id);
            applier.bind(claim).await.map_err(told)
        })
    }

    /// One apply, as a provider does it: with the lease, which is given back.
    fn apply(&self, sections: &[SignedSection], mode: ApplyMode) -> Result<Outcome> {
        self.on(async |applier| {
            let lease = async |action| applier.lease(self.author.lease(LEASE, action), caller()).await;
            if !lease(LeaseAction::Acquire).await.map_err(told)?.granted {
                bail!("somebody else has the lease");
            }
            lease(LeaseAction::Renew).await.map_err(told)?;
            let (sender, mut events) = mpsc::channel(256);
            let order = ApplyOrder { sections: sections.to_vec(), mode, lease_id: LEASE.to_owned() };
            applier.apply(order, caller(), sender).await.map_err(told)?;
            let mut outcome = None;
            while let Some(event) = events.recv().await {
                if let ApplyEvent::Finished { outcome: last, .. } = event {
                    outcome = Some(last);
                }
            }
            lease(LeaseAction::Release).await.map_err(told)?;
            outcome.context("an apply without outcome")
        })
    }
}

/// Does what `script` says, and says what came of it last. Whoever holds `strikes` disarms them.
///
/// # Errors
/// What was refused. The life goes on, unless the applier did not even open.
pub fn perform(script: &Script, strikes: &Arc<Strikes>) -> (Option<Life>, Result<Option<Outcome>>) {
    let Script { site, from_start, damage, setback: _, asks, strikes: _ } = script;
    if *from_start {
        if let Some(Err(error)) = damage.map(|operation| operation.damage(site)) {
            return (None, Err(error));
        }
        strikes.arm();
    }
    let life = match Life::open(site, Arc::clone(strikes)) {
        Ok(life) => life,
        Err(error) => return (None, Err(error)),
    };
    life.settle();
    let done = (|| {
        if let Some(operation) = damage.filter(|_| !from_start) {
            operation.damage(site)?;
        }
        strikes.arm();
        let mut outcome = None;
        for ask in asks {
            outcome = life.ask(ask)?.or(outcome);
        }
        Ok(outcome)
    })();
    (Some(life), done)
}

fn told(error: ApplierError) -> anyhow::Error {
    anyhow!(host_state::chain(&error))
}
