//! Schemas and function signatures for Terraform.

use crate::proto::tfplugin6 as wire;
use crate::schema::{Attribute, Kind, Mode, Nesting, Schema};
use crate::{Parameter, Signature, Type};

/// A schema for Terraform.
pub(crate) fn schema(schema: &Schema) -> wire::Schema {
    let block = schema.block();
    wire::Schema {
        version: schema.version(),
        block: Some(wire::schema::Block {
            version: schema.version(),
            attributes: block.attributes().values().map(attribute).collect(),
            block_types: Vec::new(),
            description: block.text().to_owned(),
            description_kind: wire::StringKind::Markdown.into(),
            deprecated: block.is_deprecated(),
            deprecation_message: String::new(),
        }),
    }
}

fn attribute(attribute: &Attribute) -> wire::schema::Attribute {
    let (required, optional, computed) = match attribute.mode() {
        Mode::Required => (true, false, false),
        Mode::Optional => (false, true, false),
        Mode::Computed => (false, false, true),
        Mode::OptionalComputed => (false, true, true),
    };
    let (of, nested) = match attribute.kind() {
        Kind::Plain(of) => (of.to_json(), None),
        Kind::Nested { nesting, attributes } => {
            let nesting = match nesting {
                Nesting::Single => wire::schema::object::NestingMode::Single,
                Nesting::List => wire::schema::object::NestingMode::List,
                Nesting::Set => wire::schema::object::NestingMode::Set,
                Nesting::Map => wire::schema::object::NestingMode::Map,
            };
            let attributes = attributes.values().map(self::attribute).collect();
            (Vec::new(), Some(wire::schema::Object { attributes, nesting: nesting.into() }))
        }
    };
    wire::schema::Attribute {
        name: attribute.name().to_owned(),
        r#type: of,
        description: attribute.text().to_owned(),
        required,
        optional,
        computed,
        sensitive: attribute.is_sensitive(),
        description_kind: wire::StringKind::Markdown.into(),
        deprecated: attribute.deprecation().is_some(),
        nested_type: nested,
        write_only: attribute.is_write_only(),
        deprecation_message: attribute.deprecation().unwrap_or_default().to_owned(),
    }
}

/// A function for Terraform.
pub(crate) fn function(signature: &Signature) -> wire::Function {
    let Signature { parameters, variadic, returns, summary, description, deprecated } = signature;
    wire::Function {
        parameters: parameters.iter().map(parameter).collect(),
        variadic_parameter: variadic.as_ref().map(parameter),
        r#return: Some(wire::function::Return { r#type: Type::to_json(returns) }),
        summary: summary.clone(),
        description: description.clone(),
        description_kind: wire::StringKind::Markdown.into(),
        deprecation_message: deprecated.clone().unwrap_or_default(),
    }
}

fn parameter(parameter: &Parameter) -> wire::function::Parameter {
    let Parameter { name, of, description, allow_null, allow_unknown } = parameter;
    wire::function::Parameter {
        name: name.clone(),
        r#type: of.to_json(),
        allow_null_value: *allow_null,
        allow_unknown_values: *allow_unknown,
        description: description.clone(),
        description_kind: wire::StringKind::Markdown.into(),
    }
}
