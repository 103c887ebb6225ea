//! Schemas: what a block's attributes are and how each is planned. Pure.
//!
//! Nested blocks are left out on purpose: nested attributes say the same in protocol 6, and core has one
//! set of rules for them instead of two.

mod attribute;
mod check;
#[cfg(test)]
mod tests;

pub use attribute::{Attribute, Equivalent, Kind, Mode, Nesting, WhenUnset};
pub use check::{Use, check_schema};
use std::collections::BTreeMap;

use crate::value::{Type, Value};

/// Schema of a provider, resource, data source or ephemeral resource.
#[derive(Clone, Debug)]
pub struct Schema {
    version: i64,
    block: Block,
}

impl Schema {
    /// An empty schema. `version` counts up from 0 whenever stored state changes its shape.
    pub fn new(version: i64) -> Self {
        Self { version, block: Block::new() }
    }

    /// Adds an attribute.
    #[must_use]
    pub fn attribute(mut self, attribute: Attribute) -> Self {
        self.block = self.block.attribute(attribute);
        self
    }

    /// Adds several attributes.
    #[must_use]
    pub fn attributes(mut self, attributes: impl IntoIterator<Item = Attribute>) -> Self {
        for attribute in attributes {
            self.block = self.block.attribute(attribute);
        }
        self
    }

    /// Sets what it is for, in Markdown.
    #[must_use]
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.block.description = text.into();
        self
    }

    /// Marks all of it deprecated.
    #[must_use]
    pub fn deprecated(mut self) -> Self {
        self.block.deprecated = true;
        self
    }

    /// Version of the shape of stored state.
    pub fn version(&self) -> i64 {
        self.version
    }

    /// Its attributes.
    pub fn block(&self) -> &Block {
        &self.block
    }
}

/// The attributes of a schema.
#[derive(Clone, Debug, Default)]
pub struct Block {
    attributes: BTreeMap<String, Attribute>,
    description: String,
    deprecated: bool,
}

impl Block {
    /// One without attributes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an attribute; the last of a name stays.
    #[must_use]
    pub fn attribute(mut self, attribute: Attribute) -> Self {
        self.attributes.insert(attribute.name().to_owned(), attribute);
        self
    }

    /// The attributes by name.
    pub fn attributes(&self) -> &BTreeMap<String, Attribute> {
        &self.attributes
    }

    /// What it is for, in Markdown; may be empty.
    pub fn text(&self) -> &str {
        &self.description
    }

    /// Whether it should not be used any more.
    pub fn is_deprecated(&self) -> bool {
        self.deprecated
    }

    /// The type of its values: an object.
    pub fn implied_type(&self) -> Type {
        object_type(&self.attributes)
    }

    /// An object with every attribute null.
    pub fn empty_value(&self) -> Value {
        Value::object(self.attributes.keys().map(|name| (name.clone(), Value::Null)))
    }
}

/// The object type of these attributes.
fn object_type(attributes: &BTreeMap<String, Attribute>) -> Type {
    Type::object(attributes.iter().map(|(name, attribute)| (name.clone(), attribute.implied_type())))
}
