//! What the server serves: the provider with all it offers, looked up by name, schemas asked for once.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::schema::{Block, Use, check_schema};
use crate::{
    DataSource, Diagnostics, EphemeralResource, Function, Provider, Resource, Schema, Signature, Stop, Type,
};

/// One thing a provider offers, with its schema.
pub(crate) struct Entry<T: ?Sized> {
    pub(crate) schema: Schema,
    /// The type of all its values.
    pub(crate) of: Type,
    pub(crate) inner: Arc<T>,
}

impl<T: ?Sized> Entry<T> {
    fn new(schema: Schema, inner: Arc<T>) -> Self {
        let of = schema.block().implied_type();
        Self { schema, of, inner }
    }

    pub(crate) fn block(&self) -> &Block {
        self.schema.block()
    }
}

/// A provider ready to be called.
pub(crate) struct Engine {
    pub(crate) provider: Entry<dyn Provider>,
    pub(crate) resources: BTreeMap<String, Entry<dyn Resource>>,
    pub(crate) data_sources: BTreeMap<String, Entry<dyn DataSource>>,
    pub(crate) ephemeral_resources: BTreeMap<String, Entry<dyn EphemeralResource>>,
    pub(crate) functions: BTreeMap<String, (Signature, Arc<dyn Function>)>,
    pub(crate) stop: Stop,
    /// What is wrong with the schemas; all bugs of the provider.
    pub(crate) problems: Vec<String>,
}

impl Engine {
    /// Asks the provider for all it offers.
    pub(crate) fn new(provider: Arc<dyn Provider>) -> Self {
        let mut problems = Vec::new();
        let mut check = |what: &str, name: &str, block: &Block, used_for: Use| {
            let found = check_schema(block, used_for);
            problems.extend(found.into_iter().map(|problem| format!("{what} `{name}`: {problem}")));
        };
        let schema = provider.schema();
        check("provider", "", schema.block(), Use::Other);
        let mut resources = BTreeMap::new();
        for inner in provider.resources() {
            let entry = Entry::new(inner.schema(), inner);
            check("resource", entry.inner.type_name(), entry.block(), Use::Resource);
            resources.insert(entry.inner.type_name().to_owned(), entry);
        }
        let mut data_sources = BTreeMap::new();
        for inner in provider.data_sources() {
            let entry = Entry::new(inner.schema(), inner);
            check("data source", entry.inner.type_name(), entry.block(), Use::Other);
            data_sources.insert(entry.inner.type_name().to_owned(), entry);
        }
        let mut ephemeral_resources = BTreeMap::new();
        for inner in provider.ephemeral_resources() {
            let entry = Entry::new(inner.schema(), inner);
            check("ephemeral resource", entry.inner.type_name(), entry.block(), Use::Other);
            ephemeral_resources.insert(entry.inner.type_name().to_owned(), entry);
        }
        let functions = provider
            .functions()
            .into_iter()
            .map(|inner| (inner.name().to_owned(), (inner.signature(), inner)))
            .collect();
        Self {
            provider: Entry::new(schema, provider),
            resources,
            data_sources,
            ephemeral_resources,
            functions,
            stop: Stop::new(),
            problems,
        }
    }

    /// The resource `type_name`.
    pub(crate) fn resource(&self, type_name: &str) -> Result<&Entry<dyn Resource>, Diagnostics> {
        self.resources.get(type_name).ok_or_else(|| unknown("resource", type_name))
    }

    /// The data source `type_name`.
    pub(crate) fn data_source(&self, type_name: &str) -> Result<&Entry<dyn DataSource>, Diagnostics> {
        self.data_sources.get(type_name).ok_or_else(|| unknown("data source", type_name))
    }

    /// The ephemeral resource `type_name`.
    pub(crate) fn ephemeral_resource(
        &self,
        type_name: &str,
    ) -> Result<&Entry<dyn EphemeralResource>, Diagnostics> {
        self.ephemeral_resources.get(type_name).ok_or_else(|| unknown("ephemeral resource", type_name))
    }
}

fn unknown(what: &str, type_name: &str) -> Diagnostics {
    let mut diagnostics = Diagnostics::new();
    diagnostics.error(format!("This provider has no {what} `{type_name}`"), "");
    diagnostics
}
