//! What every state goes through before it leaves: exact shape, write-only values nulled, nothing unknown.

use crate::Diagnostics;
use crate::convert::bug;
use crate::engine::Entry;
use crate::plan::{check_wholly_known, complete, keep_meaning, without_write_only};
use crate::value::Value;

/// `state` in the exact shape of the schema with write-only attributes null.
pub(super) fn shaped<T: ?Sized>(entry: &Entry<T>, state: Value) -> Result<Value, Diagnostics> {
    if state.is_null() {
        return Err(bug("it returned null for an object that exists", &["the state is null"]).into());
    }
    let state = complete(state, &entry.of)
        .map_err(|found| Diagnostics::from(bug("an answer does not conform to the schema", &found)))?;
    Ok(without_write_only(entry.block(), state))
}

/// The same, wholly known, in the form of `reference` where it means the same.
pub(super) fn stored<T: ?Sized>(
    entry: &Entry<T>,
    state: Value,
    reference: &Value,
) -> Result<Value, Diagnostics> {
    let state = keep_meaning(entry.block(), shaped(entry, state)?, reference);
    let unknown = check_wholly_known(&state);
    if unknown.is_empty() {
        Ok(state)
    } else {
        Err(bug("it returned unknown values for an object that exists", &unknown).into())
    }
}
