//! A provider's schema in the form `terraform providers schema -json` prints, as far as pages need it.
//! Source: Terraform v1.11, "providers schema command", format version 1.0.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// Everything one provider shows.
#[derive(Debug, Deserialize)]
pub(super) struct Provider {
    pub(super) provider: Schema,
    #[serde(default)]
    pub(super) resource_schemas: BTreeMap<String, Schema>,
    #[serde(default)]
    pub(super) data_source_schemas: BTreeMap<String, Schema>,
    #[serde(default)]
    pub(super) ephemeral_resource_schemas: BTreeMap<String, Schema>,
    #[serde(default)]
    pub(super) functions: BTreeMap<String, Function>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Schema {
    pub(super) block: Body,
}

/// Attributes and blocks: of a schema, a nested block or a nested attribute.
#[derive(Debug, Deserialize)]
pub(super) struct Body {
    #[serde(default)]
    pub(super) attributes: BTreeMap<String, Attribute>,
    #[serde(default)]
    pub(super) block_types: BTreeMap<String, NestedBlock>,
    #[serde(default)]
    pub(super) description: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Attribute {
    /// Absent where `nested_type` is present.
    #[serde(rename = "type")]
    pub(super) kind: Option<Value>,
    pub(super) nested_type: Option<NestedAttribute>,
    #[serde(default)]
    pub(super) description: String,
    #[serde(default)]
    pub(super) required: bool,
    #[serde(default)]
    pub(super) optional: bool,
    #[serde(default)]
    pub(super) sensitive: bool,
    #[serde(default)]
    pub(super) write_only: bool,
    #[serde(default)]
    pub(super) deprecated: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct NestedAttribute {
    #[serde(default)]
    pub(super) attributes: BTreeMap<String, Attribute>,
    /// `single`, `list`, `set` or `map`.
    pub(super) nesting_mode: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct NestedBlock {
    pub(super) block: Body,
    pub(super) nesting_mode: String,
    #[serde(default)]
    pub(super) min_items: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Function {
    #[serde(default)]
    pub(super) summary: String,
    #[serde(default)]
    pub(super) description: String,
    pub(super) return_type: Value,
    #[serde(default)]
    pub(super) parameters: Vec<Parameter>,
    pub(super) variadic_parameter: Option<Parameter>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Parameter {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: Value,
    #[serde(default)]
    pub(super) description: String,
}

impl Provider {
    /// One line for each thing a user can write or read that has no description.
    pub(super) fn undescribed(&self) -> Vec<String> {
        let Self { provider, resource_schemas, data_source_schemas, ephemeral_resource_schemas, functions } =
            self;
        let mut paths = Vec::new();
        undescribed_in("provider", &provider.block.attributes, &provider.block.block_types, &mut paths);
        for (what, schemas) in [
            ("resource", resource_schemas),
            ("data source", data_source_schemas),
            ("ephemeral resource", ephemeral_resource_schemas),
        ] {
            for (name, Schema { block }) in schemas {
                let path = format!("{what} {name}");
                if block.description.is_empty() {
                    paths.push(path.clone());
                }
                undescribed_in(&path, &block.attributes, &block.block_types, &mut paths);
            }
        }
        for (name, function) in functions {
            if function.summary.is_empty() {
                paths.push(format!("function {name}"));
            }
            for parameter in function.parameters.iter().chain(&function.variadic_parameter) {
                if parameter.description.is_empty() {
                    paths.push(format!("function {name}: {}", parameter.name));
                }
            }
        }
        paths.into_iter().map(|path| format!("schema: `{path}` has no description")).collect()
    }
}

fn undescribed_in(
    path: &str,
    attributes: &BTreeMap<String, Attribute>,
    blocks: &BTreeMap<String, NestedBlock>,
    paths: &mut Vec<String>,
) {
    for (name, attribute) in attributes {
        let path = format!("{path}.{name}");
        if attribute.description.is_empty() {
            paths.push(path.clone());
        }
        if let Some(nested) = &attribute.nested_type {
            undescribed_in(&path, &nested.attributes, &BTreeMap::new(), paths);
        }
    }
    for (name, NestedBlock { block, .. }) in blocks {
        let path = format!("{path}.{name}");
        if block.description.is_empty() {
            paths.push(path.clone());
        }
        undescribed_in(&path, &block.attributes, &block.block_types, paths);
    }
}
