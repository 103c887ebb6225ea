//! Terraform's values: null, unknown and known, with their types, paths and codings. Pure.
//!
//! Source: terraform v1.11.4 docs/plugin-protocol/object-wire-format.md and go-cty for what they mean.

mod access;
mod convert;
mod json;
mod kind;
mod msgpack;
mod number;
mod path;
mod refinement;
mod set;
mod show;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use json::{JsonError, decode_state};
pub use kind::{Type, TypeError};
pub use msgpack::{DecodeError, EncodeError, decode, encode};
pub use number::{Number, NumberError};
pub use path::{Path, Step};
pub use refinement::Refinement;
pub use set::ValueSet;

/// How deep a value or type may nest; deeper is refused by every decoder.
pub const MAX_DEPTH: usize = 64;

/// How many bytes one encoded value may have. Source: terraform v1.11.4 caps provider schemas at 64 MiB;
/// states of bulk resources stay far below.
pub const MAX_BYTES: usize = 64 * 1024 * 1024;

/// One Terraform value. Equality is by value; unknowns are equal when their refinements are.
///
/// `Debug` shows the shape only, because strings may be secrets; `Display` shows everything.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// Absent.
    Null,
    /// Not known before apply; the refinement says what is known of it.
    Unknown(Refinement),
    /// A bool.
    Bool(bool),
    /// A number of any size and precision.
    Number(Number),
    /// A string, normalised to NFC by every decoder.
    String(String),
    /// Elements of one type, in order.
    List(Vec<Value>),
    /// Elements of one type, without order or repetition.
    Set(ValueSet),
    /// Values of one type by key.
    Map(BTreeMap<String, Value>),
    /// Values of a type each by attribute name. Encoding takes attributes left out as null.
    Object(BTreeMap<String, Value>),
    /// Elements of a type each, in order.
    Tuple(Vec<Value>),
    /// A known value where the schema says `dynamic`, with its actual type.
    Dynamic(Box<(Type, Value)>),
}
