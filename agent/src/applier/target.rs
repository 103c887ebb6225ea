//! Sections parsed and joined: what the host is to be brought to.

use host_state::desired::{LocalFacts, Run, joined_config, run};
use host_state::document::{ClaimsSection, ClusterSection, ContentHash, GatewaySection, ParseError};
use host_state::{Desired, SectionKind, SignedSection};
use nats_config::ServerConfig;

use super::ledger::{Contents, SectionEntry};

/// Which sections of the ledger count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// The newest taken in.
    Accepted,
    /// The newest that ran and passed their gate.
    Confirmed,
}

/// All sections of one host together.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// The `cluster` section.
    pub cluster: ClusterSection,
    /// The `gateway` section; absent when there is none.
    pub gateway: Option<GatewaySection>,
    /// The `claims` section; absent when there is none.
    pub claims: Option<ClaimsSection>,
    /// What they are made of, by content.
    pub marks: Vec<(SectionKind, ContentHash)>,
}

impl Target {
    /// The target of the sections in `contents`; `None` while there is no `cluster` section.
    ///
    /// # Errors
    /// When a body cannot be parsed.
    pub(super) fn of(contents: &Contents, which: Which) -> Result<Option<Target>, ParseError> {
        let pick = |entry: &Option<SectionEntry>| -> Option<SignedSection> {
            let entry = entry.as_ref()?;
            match which {
                Which::Accepted => Some(entry.accepted.clone()),
                Which::Confirmed => entry.confirmed().cloned(),
            }
        };
        let (cluster, gateway, claims) =
            (pick(&contents.cluster), pick(&contents.gateway), pick(&contents.claims));
        let marks = [&cluster, &gateway, &claims].into_iter().flatten();
        let marks = marks.map(|section| (section.header.section, section.header.content.clone())).collect();
        let Some(cluster) = cluster else { return Ok(None) };
        Ok(Some(Target {
            cluster: cluster.body()?,
            gateway: gateway.map(|section| section.body()).transpose()?,
            claims: claims.map(|section| section.body()).transpose()?,
            marks,
        }))
    }

    /// Whether the server is to run.
    #[must_use]
    pub(super) fn run(&self) -> Run {
        run(&self.cluster, self.gateway.as_ref())
    }

    /// The whole configuration, gateway block included.
    #[must_use]
    pub(super) fn desired_config(&self) -> ServerConfig {
        joined_config(&self.cluster, self.gateway.as_ref())
    }

    /// Joined with what the host itself knows.
    #[must_use]
    pub(super) fn desired(&self, local: LocalFacts) -> Desired {
        Desired::new(&self.cluster, self.gateway.as_ref(), self.claims.as_ref(), local)
    }
}
