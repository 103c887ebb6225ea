//! A block as core hands it to a provider: complete, required attributes set, nothing set that only the
//! provider may set.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::Harness;
use super::call::{findings, value};
use crate::convert::encode;
use crate::engine::Entry;
use crate::plan::complete;
use crate::proto::tfplugin6 as wire;
use crate::schema::{Attribute, Kind, Mode};
use crate::value::{Path, Value};
use crate::{Diagnostic, Diagnostics, FunctionError, Opened};

/// The block on the wire.
pub(super) fn config<T: ?Sized>(entry: &Entry<T>, config: Value) -> Result<wire::DynamicValue, Diagnostics> {
    encode(&complete_config(entry, config)?, &entry.of)
}

/// The block with attributes left out as null, checked as core checks it.
pub(super) fn complete_config<T: ?Sized>(entry: &Entry<T>, config: Value) -> Result<Value, Diagnostics> {
    let config = complete(config, &entry.of).map_err(|found| -> Diagnostics {
        found.iter().map(|one| Diagnostic::error("Invalid block", &one.text).at(one.path.clone())).collect()
    })?;
    let mut found = Diagnostics::new();
    check(entry.block().attributes(), &config, &Path::new(), &mut found);
    if found.is_empty() { Ok(config) } else { Err(found) }
}

fn check(schema: &BTreeMap<String, Attribute>, config: &Value, path: &Path, found: &mut Diagnostics) {
    if !config.is_known() {
        return;
    }
    for (name, attribute) in schema {
        let (value, path) = (config.attr(name), path.attr(name));
        match (attribute.mode(), value.is_null()) {
            (Mode::Required, true) => found.error_at(path, "Missing required argument", ""),
            (Mode::Computed, false) => found.error_at(path, "Value for unconfigurable attribute", ""),
            (_, true) => {}
            (_, false) => {
                let Kind::Nested { attributes, .. } = attribute.kind() else { continue };
                match value {
                    Value::Object(_) => check(attributes, value, &path, found),
                    Value::Map(entries) => {
                        entries
                            .iter()
                            .for_each(|(key, entry)| check(attributes, entry, &path.key(key), found));
                    }
                    value => value.elements().for_each(|element| check(attributes, element, &path, found)),
                }
            }
        }
    }
}

fn system_time(at: &prost_types::Timestamp) -> SystemTime {
    let seconds = u64::try_from(at.seconds).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::new(seconds, u32::try_from(at.nanos).unwrap_or_default())
}

impl Harness {
    /// Validates and reads a `data` block.
    ///
    /// # Errors
    /// What the provider says, or what core would say about block or answer.
    pub async fn read_data(&self, type_name: &str, config: Value) -> Result<Value, Diagnostics> {
        let entry = self.service.engine.data_source(type_name)?;
        let config = Some(self::config(entry, config)?);
        let request = wire::validate_data_resource_config::Request {
            type_name: type_name.to_owned(),
            config: config.clone(),
        };
        findings(self.service.validate_data_resource_config(request).await.diagnostics)?;
        let request = wire::read_data_source::Request {
            type_name: type_name.to_owned(),
            config,
            provider_meta: None,
            client_capabilities: None,
        };
        let answer = self.service.read_data_source(request).await;
        findings(answer.diagnostics)?;
        value(answer.state.as_ref(), &entry.of)
    }

    /// Validates and opens an `ephemeral` block.
    ///
    /// # Errors
    /// What the provider says, or what core would say about the block.
    pub async fn open(&self, type_name: &str, config: Value) -> Result<Opened, Diagnostics> {
        let entry = self.service.engine.ephemeral_resource(type_name)?;
        let config = Some(self::config(entry, config)?);
        let request = wire::validate_ephemeral_resource_config::Request {
            type_name: type_name.to_owned(),
            config: config.clone(),
        };
        findings(self.service.validate_ephemeral_resource_config(request).await.diagnostics)?;
        let request = wire::open_ephemeral_resource::Request {
            type_name: type_name.to_owned(),
            config,
            client_capabilities: None,
        };
        let answer = self.service.open_ephemeral_resource(request).await;
        let diagnostics = findings(answer.diagnostics)?;
        Ok(Opened {
            result: value(answer.result.as_ref(), &entry.of)?,
            renew_at: answer.renew_at.as_ref().map(system_time),
            private: answer.private.unwrap_or_default().into(),
            diagnostics,
        })
    }

    /// Renews what [`Harness::open`] opened, in place.
    ///
    /// # Errors
    /// What the provider says.
    pub async fn renew(&self, type_name: &str, opened: &mut Opened) -> Result<(), Diagnostics> {
        let request = wire::renew_ephemeral_resource::Request {
            type_name: type_name.to_owned(),
            private: Some(opened.private.as_bytes().to_vec()),
        };
        let answer = self.service.renew_ephemeral_resource(request).await;
        opened.diagnostics = findings(answer.diagnostics)?;
        opened.renew_at = answer.renew_at.as_ref().map(system_time);
        opened.private = answer.private.unwrap_or_default().into();
        Ok(())
    }

    /// Closes what [`Harness::open`] opened.
    ///
    /// # Errors
    /// What the provider says.
    pub async fn close(&self, type_name: &str, opened: &Opened) -> Result<(), Diagnostics> {
        let request = wire::close_ephemeral_resource::Request {
            type_name: type_name.to_owned(),
            private: Some(opened.private.as_bytes().to_vec()),
        };
        findings(self.service.close_ephemeral_resource(request).await.diagnostics).map(drop)
    }

    /// Calls a function. Null and unknown arguments are refused or short-cut as its parameters say, like
    /// core does.
    ///
    /// # Errors
    /// What the function says.
    pub async fn call(&self, name: &str, arguments: &[Value]) -> Result<Value, FunctionError> {
        let unusable = |found: Diagnostics| FunctionError::new(found.to_string());
        let Some((signature, _)) = self.service.engine.functions.get(name) else {
            return Err(FunctionError::new(format!("no function `{name}`")));
        };
        let parameters = signature.parameters.iter().chain(signature.variadic.iter().cycle());
        let mut encoded = Vec::new();
        for (position, (argument, parameter)) in arguments.iter().zip(parameters).enumerate() {
            if argument.is_null() && !parameter.allow_null {
                return Err(FunctionError::argument(position, "argument must not be null"));
            }
            if !argument.is_wholly_known() && !parameter.allow_unknown {
                return Ok(Value::unknown());
            }
            encoded.push(encode(argument, &parameter.of).map_err(unusable)?);
        }
        let request = wire::call_function::Request { name: name.to_owned(), arguments: encoded };
        let answer = self.service.call_function(request).await;
        if let Some(wire::FunctionError { text, function_argument }) = answer.error {
            let argument = function_argument.and_then(|position| usize::try_from(position).ok());
            return Err(FunctionError { text, argument });
        }
        value(answer.result.as_ref(), &signature.returns).map_err(unusable)
    }
}
