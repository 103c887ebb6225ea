//! The payload of a refined unknown: a msgpack map with small integer keys.
//!
//! Source: terraform v1.11.4 docs/plugin-protocol/object-wire-format.md. Keys not known here and entries
//! that cannot be read are ignored, as the format asks: they only say less.

use rmpv::{Value as Raw, ValueRef};

use super::super::Refinement;
use super::super::refinement::Promises;
use super::{EXT_REFINED, EXT_UNKNOWN, normalised, number, raw_number};
use crate::value::Number;

/// How many bytes of refinement are looked at; a longer payload is taken as a plain unknown.
const MAX_PAYLOAD: usize = 64 * 1024;

/// Depth of a bound: rmpv counts two for each container and three for a string.
const DEPTH: usize = 2 + 2 + 3;

const NULLNESS: i64 = 1;
const PREFIX: i64 = 2;
const LOWER: i64 = 3;
const UPPER: i64 = 4;
const MIN_LENGTH: i64 = 5;
const MAX_LENGTH: i64 = 6;

/// Reads as much of the payload as is understood.
pub(super) fn decode(payload: &[u8]) -> Refinement {
    if payload.len() > MAX_PAYLOAD {
        return Refinement::new();
    }
    let mut rest = payload;
    let Ok(ValueRef::Map(entries)) = rmpv::decode::read_value_ref_with_max_depth(&mut rest, DEPTH) else {
        return Refinement::new();
    };
    let mut promises = Promises::default();
    for (key, value) in &entries {
        let ValueRef::Integer(key) = key else { continue };
        match (key.as_i64(), value) {
            (Some(NULLNESS), ValueRef::Boolean(null)) => promises.not_null = !null,
            (Some(PREFIX), ValueRef::String(text)) => {
                promises.prefix = text.as_str().map(normalised).unwrap_or_default();
            }
            (Some(LOWER), bound) => promises.lower = read_bound(bound),
            (Some(UPPER), bound) => promises.upper = read_bound(bound),
            (Some(MIN_LENGTH), ValueRef::Integer(length)) => promises.min_length = length.as_u64(),
            (Some(MAX_LENGTH), ValueRef::Integer(length)) => promises.max_length = length.as_u64(),
            _ => {}
        }
    }
    promises.into()
}

fn read_bound(raw: &ValueRef<'_>) -> Option<(Number, bool)> {
    let ValueRef::Array(pair) = raw else { return None };
    match pair.as_slice() {
        [bound, ValueRef::Boolean(inclusive)] => Some((number(bound)?.ok()?, *inclusive)),
        _ => None,
    }
}

/// The extension value: plain when nothing is promised, never an empty map.
pub(super) fn encode(refinement: &Refinement) -> Raw {
    let Some(promises) = refinement.promises() else { return Raw::Ext(EXT_UNKNOWN, vec![0]) };
    let Promises { not_null, prefix, lower, upper, min_length, max_length } = promises;
    let mut entries: Vec<(Raw, Raw)> = Vec::new();
    if *not_null {
        entries.push((NULLNESS.into(), false.into()));
    }
    if !prefix.is_empty() {
        entries.push((PREFIX.into(), normalised(prefix).into()));
    }
    for (key, bound) in [(LOWER, lower), (UPPER, upper)] {
        if let Some((number, inclusive)) = bound {
            entries.push((key.into(), Raw::Array(vec![raw_number(number), (*inclusive).into()])));
        }
    }
    for (key, length) in [(MIN_LENGTH, min_length), (MAX_LENGTH, max_length)] {
        if let Some(length) = length {
            entries.push((key.into(), (*length).into()));
        }
    }
    let mut payload = Vec::new();
    rmpv::encode::write_value(&mut payload, &Raw::Map(entries)).expect("writing to memory does not fail");
    Raw::Ext(EXT_REFINED, payload)
}
