//! The members object: what `nats_cluster` tells `nats_gateway`, both ways.

use std::collections::BTreeMap;

use host_state::document::Profile;
use identity::HostName;
use tfplug::{Path, Type, Value};

use super::reading::Reading;
use super::trust::{GENERATIONS, MAX_GENERATION, TrustRef, generations};
use crate::topology::{Member, MemberNode};

/// A member and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberRef {
    /// The authority.
    pub trust: TrustRef,
    /// The cluster.
    pub member: Member,
}

const PROFILES: [(&str, Profile); 2] =
    [("production", Profile::Production), ("development", Profile::Development)];

/// The type of the object.
#[must_use]
pub fn members_type() -> Type {
    let node = Type::object([
        ("agent", Type::String),
        ("cluster_url", Type::String),
        ("gateway_url", Type::String),
        ("generation", Type::Number),
    ]);
    Type::object([
        ("id", Type::String),
        ("authority", Type::String),
        ("operator", Type::String),
        ("generations", Type::object(GENERATIONS.map(|name| (name, Type::Number)))),
        ("cluster", Type::String),
        ("profile", Type::String),
        ("gateway", Type::Bool),
        ("revision", Type::String),
        ("nodes", Type::map(node)),
    ])
}

/// The object of a member that is wholly known.
#[must_use]
pub fn member_value(trust: &TrustRef, member: &Member) -> Value {
    let Member { id, authority, cluster, profile, gateway, revision, nodes } = member;
    let profile = PROFILES.iter().find(|(_, one)| one == profile).map(|(word, _)| *word);
    let nodes = nodes.iter().map(|(host, node)| {
        let MemberNode { agent, cluster_url, gateway_url, generation } = node;
        let node = Value::object([
            ("agent", Value::from(agent.to_string())),
            ("cluster_url", cluster_url.to_string().into()),
            ("gateway_url", gateway_url.to_string().into()),
            ("generation", (*generation).into()),
        ]);
        (host.to_string(), node)
    });
    Value::object([
        ("id", Value::from(id.as_str())),
        ("authority", authority.as_str().into()),
        ("operator", trust.operator.as_str().into()),
        ("generations", generations_value(trust)),
        ("cluster", cluster.as_str().into()),
        ("profile", profile.into()),
        ("gateway", (*gateway).into()),
        ("revision", revision.as_str().into()),
        ("nodes", Value::map(nodes)),
    ])
}

fn generations_value(trust: &TrustRef) -> Value {
    let identity::Generations { operator_signing, account_signing, fleet_ca, host_ca, document } =
        trust.generations;
    let all = [operator_signing, account_signing, fleet_ca, host_ca, document];
    Value::object(GENERATIONS.into_iter().zip(all.map(Value::from)))
}

/// Reads a members object. `None` when something in it is unknown or wrong; `reading` knows which.
pub fn read_member(value: &Value, path: &Path, reading: &mut Reading) -> Option<MemberRef> {
    if !reading.is_there(value) {
        return None;
    }
    let name = reading.text(value.attr("authority"), &path.attr("authority"));
    let operator = reading.text(value.attr("operator"), &path.attr("operator"));
    let generations = generations(value.attr("generations"), &path.attr("generations"), reading);
    let id = reading.text(value.attr("id"), &path.attr("id"));
    let cluster = reading.text(value.attr("cluster"), &path.attr("cluster"));
    let profile = reading.word(value.attr("profile"), &path.attr("profile"), &PROFILES);
    let gateway = reading.flag(value.attr("gateway"));
    let revision = reading.text::<String>(value.attr("revision"), &path.attr("revision"));
    let nodes = nodes(value.attr("nodes"), &path.attr("nodes"), reading);
    let (name, revision): (identity::AuthorityName, String) = (name?, revision?);
    let member = Member {
        id: id?,
        authority: name.to_string(),
        cluster: cluster?,
        profile: profile?,
        gateway: gateway?,
        revision: revision.clone(),
        nodes,
    };
    let trust = TrustRef { name, generations: generations?, operator: operator?, revision };
    Some(MemberRef { trust, member })
}

fn nodes(value: &Value, path: &Path, reading: &mut Reading) -> BTreeMap<HostName, MemberNode> {
    if !reading.is_there(value) {
        return BTreeMap::new();
    }
    let mut nodes = BTreeMap::new();
    for (name, one) in value.entries() {
        let place = path.key(name);
        let host = reading.text::<HostName>(&Value::from(name), &place);
        let agent = reading.text(one.attr("agent"), &place.attr("agent"));
        let cluster_url = reading.text(one.attr("cluster_url"), &place.attr("cluster_url"));
        let gateway_url = reading.text(one.attr("gateway_url"), &place.attr("gateway_url"));
        let generation =
            reading.number(one.attr("generation"), &place.attr("generation"), 1..=MAX_GENERATION);
        if let (Some(host), Some(agent), Some(cluster_url), Some(gateway_url), Some(generation)) =
            (host, agent, cluster_url, gateway_url, generation)
        {
            nodes.insert(host, MemberNode { agent, cluster_url, gateway_url, generation });
        }
    }
    nodes
}
