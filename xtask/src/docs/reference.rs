//! From a schema to the text of reference pages. Reads and writes no files.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::Value;

use super::schema::{Attribute, Body, Function, NestedBlock, Provider, Schema};

/// An object with more attributes than this is not written out in a table.
const LARGE_OBJECT: usize = 4;

/// What the schema has to say about one page.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reference {
    /// Relative to `docs/`.
    pub(super) file: PathBuf,
    /// Relative to `examples/`; the file need not exist.
    pub(super) example: PathBuf,
    pub(super) title: String,
    pub(super) description: String,
    /// The content of the page's schema block.
    pub(super) schema: String,
}

impl Provider {
    /// Every page that the registry expects. Source: Terraform Registry, "Provider documentation".
    pub(super) fn references(&self) -> Vec<Reference> {
        let Self { provider, resource_schemas, data_source_schemas, ephemeral_resource_schemas, functions } =
            self;
        let mut references = vec![Reference {
            file: "index.md".into(),
            example: "provider/provider.tf".into(),
            title: "NATS Provider".to_owned(),
            description: provider.block.description.clone(),
            schema: schema_text(&provider.block),
        }];
        for (schemas, folder, file, what) in [
            (resource_schemas, "resources", "resource.tf", "Resource"),
            (data_source_schemas, "data-sources", "data-source.tf", "Data Source"),
            (
                ephemeral_resource_schemas,
                "ephemeral-resources",
                "ephemeral-resource.tf",
                "Ephemeral Resource",
            ),
        ] {
            for (name, Schema { block }) in schemas {
                let short = name.strip_prefix("nats_").unwrap_or(name);
                references.push(Reference {
                    file: PathBuf::from(folder).join(format!("{short}.md")),
                    example: PathBuf::from(folder).join(name).join(file),
                    title: format!("{name} ({what})"),
                    description: block.description.clone(),
                    schema: schema_text(block),
                });
            }
        }
        references.extend(functions.iter().map(|(name, function)| {
            Reference {
                file: PathBuf::from("functions").join(format!("{name}.md")),
                example: PathBuf::from("functions").join(name).join("function.tf"),
                title: format!("{name} (Function)"),
                description: if function.description.is_empty() {
                    &function.summary
                } else {
                    &function.description
                }
                .clone(),
                schema: signature_text(name, function),
            }
        }));
        references
    }
}

/// A table for the schema itself and one below it for each nested object, in the order they are met.
fn schema_text(body: &Body) -> String {
    let mut text = "## Schema".to_owned();
    add_tables("", &body.attributes, &body.block_types, &mut text);
    text
}

fn add_tables(
    path: &str,
    attributes: &BTreeMap<String, Attribute>,
    blocks: &BTreeMap<String, NestedBlock>,
    text: &mut String,
) {
    if !path.is_empty() {
        write!(text, "\n\n### `{path}`").expect("a String takes all that is written to it");
    }
    if attributes.is_empty() && blocks.is_empty() {
        text.push_str("\n\nNo attributes.");
        return;
    }
    text.push_str("\n\n| Name | Type | Use | Description |\n| --- | --- | --- | --- |");
    let mut rows: Vec<(u8, &str, String)> = Vec::new();
    for (name, attribute) in attributes {
        let row = format!(
            "| `{name}` | {} | {} | {} |",
            attribute_type(attribute),
            attribute_use(attribute),
            cell(&attribute.description)
        );
        rows.push((rank(attribute.required, attribute.optional), name, row));
    }
    for (name, NestedBlock { block, nesting_mode, min_items }) in blocks {
        let required = *min_items > 0;
        let usage = if required { "Required" } else { "Optional" };
        let row = format!("| `{name}` | block, {nesting_mode} | {usage} | {} |", cell(&block.description));
        rows.push((rank(required, true), name, row));
    }
    rows.sort();
    for (_, _, row) in &rows {
        write!(text, "\n{row}").expect("a String takes all that is written to it");
    }
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    for (name, nested) in
        attributes.iter().filter_map(|(name, attribute)| Some((name, attribute.nested_type.as_ref()?)))
    {
        add_tables(&below(name), &nested.attributes, &BTreeMap::new(), text);
    }
    for (name, NestedBlock { block, .. }) in blocks {
        add_tables(&below(name), &block.attributes, &block.block_types, text);
    }
}

/// Required first, then optional, then what is only read.
fn rank(required: bool, optional: bool) -> u8 {
    match (required, optional) {
        (true, _) => 0,
        (false, true) => 1,
        (false, false) => 2,
    }
}

fn attribute_use(attribute: &Attribute) -> String {
    let Attribute {
        kind: _,
        nested_type: _,
        description: _,
        required,
        optional,
        sensitive,
        write_only,
        deprecated,
    } = attribute;
    let mut words = vec![["Required", "Optional", "Read-only"][usize::from(rank(*required, *optional))]];
    words.extend(sensitive.then_some("sensitive"));
    words.extend(write_only.then_some("write-only"));
    words.extend(deprecated.then_some("deprecated"));
    words.join(", ")
}

fn attribute_type(attribute: &Attribute) -> String {
    match (&attribute.nested_type, &attribute.kind) {
        (Some(nested), _) if nested.nesting_mode == "single" => "object".to_owned(),
        (Some(nested), _) => format!("{} of objects", nested.nesting_mode),
        (None, Some(kind)) => type_text(kind),
        (None, None) => "dynamic".to_owned(),
    }
}

/// A type in words. Source: go-cty 1.16, JSON form of types.
fn type_text(kind: &Value) -> String {
    match kind {
        Value::String(word) => word.clone(),
        Value::Array(parts) => match (parts.first().and_then(Value::as_str), parts.get(1)) {
            // What is in a large one is told by its description; in a cell it would hide everything else.
            (Some("object"), Some(Value::Object(attributes))) if attributes.len() > LARGE_OBJECT => {
                "object".to_owned()
            }
            (Some("object"), Some(Value::Object(attributes))) => {
                let attributes: Vec<_> =
                    attributes.iter().map(|(name, kind)| format!("{name}: {}", type_text(kind))).collect();
                format!("object {{ {} }}", attributes.join(", "))
            }
            (Some("tuple"), Some(Value::Array(members))) => {
                format!("tuple [{}]", members.iter().map(type_text).collect::<Vec<_>>().join(", "))
            }
            (Some(collection), Some(element)) => format!("{collection} of {}", type_text(element)),
            _ => kind.to_string(),
        },
        _ => kind.to_string(),
    }
}

fn signature_text(name: &str, function: &Function) -> String {
    let Function { summary: _, description: _, return_type, parameters, variadic_parameter } = function;
    let mut words: Vec<_> = parameters
        .iter()
        .map(|parameter| format!("{} {}", parameter.name, type_text(&parameter.kind)))
        .collect();
    words.extend(
        variadic_parameter
            .iter()
            .map(|parameter| format!("{} {}...", parameter.name, type_text(&parameter.kind))),
    );
    let mut text = format!(
        "## Signature\n\n```text\n{name}({}) {}\n```\n\n## Arguments\n",
        words.join(", "),
        type_text(return_type)
    );
    for parameter in parameters.iter().chain(variadic_parameter) {
        write!(
            text,
            "\n- `{}` ({}): {}",
            parameter.name,
            type_text(&parameter.kind),
            cell(&parameter.description)
        )
        .expect("a String takes all that is written to it");
    }
    text
}

/// A description on one line, so that it stays in its cell.
fn cell(description: &str) -> String {
    description.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
