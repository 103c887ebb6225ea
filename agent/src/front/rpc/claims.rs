//! Claims: the newest claims section, for peers that were away.

use host_state::{SectionKind, SignedSection};
use nats_agent_api::server::ServiceError;

use super::looks::Shared;
use super::service_error;
use crate::roles::Applier;

pub(super) async fn claims(
    applier: &dyn Applier,
    reads: &Shared<Option<SignedSection>>,
) -> Result<Option<SignedSection>, ServiceError> {
    let read = async {
        let sections = applier.sections().await.map_err(service_error)?;
        Ok(sections.into_iter().find(|section| section.header.section == SectionKind::Claims))
    };
    reads.seen(read).await
}
