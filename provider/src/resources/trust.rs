//! The trust object: an authority's public side as resources hand it to each other.

use identity::{AuthorityName, Generations, Trust};
use sha2::{Digest, Sha256};
use tfplug::{Path, Type, Value};

use super::reading::Reading;

/// Largest generation; an authority that rotates daily needs two thousand years to get there.
pub const MAX_GENERATION: u64 = 1_000_000;

/// What a resource needs of a trust object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustRef {
    /// The authority's name.
    pub name: AuthorityName,
    /// Which keys sign.
    pub generations: Generations,
    /// Operator public key, to notice another root key.
    pub operator: String,
    /// Changes with anything in it.
    pub revision: String,
}

/// The type of the object; the same in `nats_authority`, which makes it, and everywhere it is taken.
#[must_use]
pub fn trust_type() -> Type {
    let texts = [
        "name",
        "operator",
        "operator_jwt",
        "system_account",
        "system_account_jwt",
        "probe_account",
        "probe_account_jwt",
        "fleet_ca",
        "host_ca",
        "document_key",
        "revision",
    ];
    let generations = GENERATIONS.map(|name| (name, Type::Number));
    Type::object(
        texts
            .map(|name| (name, Type::String))
            .into_iter()
            .chain([("generations", Type::object(generations))]),
    )
}

/// Names of the generations, as attributes.
pub const GENERATIONS: [&str; 5] = ["operator_signing", "account_signing", "fleet_ca", "host_ca", "document"];

/// Generations of an object of numbers; what is absent is 1. `None` when something is unknown or wrong.
pub fn generations(value: &Value, path: &Path, reading: &mut Reading) -> Option<Generations> {
    if !value.is_null() && !reading.is_there(value) {
        return None;
    }
    let mut one = |name: &str| match value.attr(name) {
        Value::Null => Some(1),
        number => reading.number::<u32>(number, &path.attr(name), 1..=MAX_GENERATION),
    };
    let [operator_signing, account_signing, fleet_ca, host_ca, document] = GENERATIONS.map(&mut one);
    Some(Generations {
        operator_signing: operator_signing?,
        account_signing: account_signing?,
        fleet_ca: fleet_ca?,
        host_ca: host_ca?,
        document: document?,
    })
}

/// The counts, in the order of [`GENERATIONS`].
#[must_use]
pub fn counts(generations: Generations) -> [u32; 5] {
    let Generations { operator_signing, account_signing, fleet_ca, host_ca, document } = generations;
    [operator_signing, account_signing, fleet_ca, host_ca, document]
}

/// The object.
#[must_use]
pub fn trust_value(trust: &Trust) -> Value {
    let generations = GENERATIONS.into_iter().zip(counts(trust.generations).map(Value::from));
    Value::object([
        ("name", Value::from(trust.authority.as_str())),
        ("operator", trust.operator.as_str().into()),
        ("operator_jwt", trust.operator_jwt.as_str().into()),
        ("system_account", trust.system_account.as_str().into()),
        ("system_account_jwt", trust.system_account_jwt.as_str().into()),
        ("probe_account", trust.probe_account.as_str().into()),
        ("probe_account_jwt", trust.probe_account_jwt.as_str().into()),
        ("fleet_ca", trust.fleet_ca_bundle().into()),
        ("host_ca", trust.host_ca_bundle().into()),
        ("document_key", trust.document_key.to_string().into()),
        ("generations", Value::object(generations)),
        ("revision", revision(trust).into()),
    ])
}

/// 16 hex digits that change with anything public of the authority.
#[must_use]
pub fn revision(trust: &Trust) -> String {
    let digest = Sha256::digest(host_state::document::canonical(trust));
    data_encoding::HEXLOWER.encode(&digest[..8])
}

/// Reads a trust object. `None` when something needed is unknown or wrong; `reading` knows which.
pub fn read_trust(value: &Value, path: &Path, reading: &mut Reading) -> Option<TrustRef> {
    if !reading.is_there(value) {
        return None;
    }
    let name = reading.text(value.attr("name"), &path.attr("name"));
    let operator = reading.text(value.attr("operator"), &path.attr("operator"));
    let revision = reading.text(value.attr("revision"), &path.attr("revision"));
    let generations = generations(value.attr("generations"), &path.attr("generations"), reading);
    Some(TrustRef { name: name?, generations: generations?, operator: operator?, revision: revision? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_reads_back() {
        let root = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=".parse().unwrap();
        let generations = Generations { fleet_ca: 2, ..Generations::default() };
        let trust = identity::Authority::derive(&root, "acme".parse().unwrap(), generations).unwrap().trust();
        let value = trust_value(&trust);
        let mut reading = Reading::new();
        let read = read_trust(&value, &Path::root("authority"), &mut reading).unwrap();
        assert_eq!((read.name.as_str(), read.generations), ("acme", generations));
        assert_eq!(read.revision, revision(&trust));
        assert!(reading.is_whole());
        let Type::Object(types) = trust_type() else { panic!("no object") };
        assert_eq!(types.keys().collect::<Vec<_>>(), value.as_map().unwrap().keys().collect::<Vec<_>>());
    }

    #[test]
    fn an_unknown_object_is_noticed() {
        let mut reading = Reading::new();
        assert_eq!(read_trust(&Value::unknown(), &Path::root("authority"), &mut reading), None);
        assert!(reading.has_unknown());
    }
}
