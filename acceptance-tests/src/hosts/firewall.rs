//! The agent's firewall part against this machine's kernel, in network namespaces of its own; it needs no host.

use anyhow::Result;

use super::Stage;
use crate::netfilter;
use crate::proof::Row;
use crate::soak::{Extent, Order};

pub(super) fn check(stage: &mut Stage) -> Result<Vec<Row>> {
    let asked = stage.extent();
    let extent = if asked.rounds.is_some() { Extent::Sample } else { Extent::Whole };
    Ok(netfilter::prove(&Order { seed: asked.seed, extent })?.rows)
}
