//! Data sources, one file each, and what their blocks have in common.

pub mod preflight;
pub mod supercluster;

use tfplug::{Diagnostic, Path, Value};

use crate::resources::natural_id::{IdError, SystemId};

/// The `system` of a block; `None` while it is unknown.
fn system_id(block: &Value) -> Result<Option<SystemId>, Diagnostic> {
    let Some(text) = block.attr("system").as_str() else { return Ok(None) };
    text.parse().map(Some).map_err(|error: IdError| {
        Diagnostic::error("`system` cannot be read", format!("{}.", host_state::chain(&error)))
            .at(Path::root("system"))
    })
}
