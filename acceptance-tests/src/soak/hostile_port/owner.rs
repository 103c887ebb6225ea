//! The owner: dials anew, asks, and counts how long its answers take.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use identity::{Authority, ClientIdentity, Enrollment, Role};
use nats_agent_api::{AgentClient, ClaimError, Expected, Timeouts, claim};
use time::OffsetDateTime;
use zeroize::Zeroizing;

/// How long one question may take before it counts as unanswered: longer than promised, so that a slow answer shows how
/// slow it is.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(50);

/// Who owns an agent.
pub(super) struct Owner {
    address: String,
    identity: ClientIdentity,
    asks: Asks,
}

enum Asks {
    /// Observe, of a host under this CA.
    Observe { host_ca: String },
    /// A claim, up to its binding.
    Claim(Box<Enrollment>),
}

/// How long answers took.
#[derive(Debug, Default)]
pub(super) struct Answers {
    took: Vec<Duration>,
    /// How many did not come.
    pub(super) unanswered: usize,
}

impl Owner {
    /// Of a claimed agent.
    ///
    /// # Errors
    /// When its certificate cannot be made.
    pub(super) fn of_claimed(authority: &Authority, address: SocketAddr) -> Result<Owner> {
        Owner::new(authority, address, Asks::Observe { host_ca: authority.trust().host_ca_bundle() })
    }

    /// Of an agent that waits for its claim.
    ///
    /// # Errors
    /// When its certificate cannot be made.
    pub(super) fn of_unclaimed(
        authority: &Authority,
        address: SocketAddr,
        enrollment: Enrollment,
    ) -> Result<Owner> {
        Owner::new(authority, address, Asks::Claim(Box::new(enrollment)))
    }

    fn new(authority: &Authority, address: SocketAddr, asks: Asks) -> Result<Owner> {
        let (seed, now) = (Zeroizing::new([1; 32]), OffsetDateTime::now_utc());
        let identity =
            authority.client_certificate(&Role::Operator, &seed, now, Duration::from_secs(7200))?;
        Ok(Owner { address: address.to_string(), identity, asks })
    }

    /// Asks again and again for so long, once at least.
    pub(super) async fn ask_for(&self, time: Duration) -> Answers {
        let (end, mut answers) = (Instant::now() + time, Answers::default());
        loop {
            let began = Instant::now();
            let asked = tokio::time::timeout(PATIENCE, self.ask()).await;
            answers.took.push(began.elapsed());
            match asked {
                Ok(Ok(())) => {}
                Ok(Err(reason)) => answers.missed(&reason),
                Err(_) => answers.missed("no answer in time"),
            }
            if Instant::now() >= end {
                return answers;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// One question over a connection of its own.
    async fn ask(&self) -> Result<(), String> {
        let Owner { address, identity, asks } = self;
        match asks {
            Asks::Observe { host_ca } => {
                let timeouts = Timeouts { connect: PATIENCE, call: PATIENCE };
                let agent =
                    AgentClient::connect(address, identity, host_ca, Expected::default(), timeouts).await;
                let agent = agent.map_err(|error| host_state::chain(&error))?;
                agent.observe().await.map(|_| ()).map_err(|error| host_state::chain(&error))
            }
            Asks::Claim(enrollment) => {
                let bind = |_: &_| Err("not today".into());
                match claim(address, identity, enrollment, PATIENCE, bind).await {
                    // The agent has proven the token and made its offer: it would take the claim.
                    Err(ClaimError::Binding { .. }) => Ok(()),
                    Err(error) => Err(host_state::chain(&error)),
                    Ok(_) => Err("it was claimed without a binding".to_owned()),
                }
            }
        }
    }
}

impl Answers {
    #[expect(clippy::print_stderr, reason = "whoever sees the figure wants to know why")]
    fn missed(&mut self, reason: &str) {
        self.unanswered += 1;
        eprintln!("the owner got no answer: {reason}");
    }

    pub(super) fn asked(&self) -> usize {
        self.took.len()
    }

    pub(super) fn worst_ms(&self) -> u128 {
        self.took.iter().max().map_or(0, Duration::as_millis)
    }

    pub(super) fn median_ms(&self) -> u128 {
        let mut took = self.took.clone();
        took.sort();
        took.get(took.len() / 2).map_or(0, Duration::as_millis)
    }
}
