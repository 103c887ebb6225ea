//! `nats_host_enrollment`: what a bare host needs to join, as text that stays the same. Dials nobody.
//!
//! Whoever puts the text into user data must not have a machine replaced because of it. So it is made once for each
//! enrolment and kept: certificate authorities that rotate change `authority` in state and nothing else.

mod script;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use async_trait::async_trait;
use host_state::{DownloadUrl, layout};
use identity::HostName;
use nats_config::Sha256Hex;
use serde::Deserialize;
use tfplug::{
    Attribute, CreateRequest, Created, DeleteRequest, Deleted, Diagnostic, Diagnostics, Failure,
    ImportRequest, Imported, Path, PlanRequest, PlanResponse, PrivateState, ReadRequest, ReadResponse,
    Resource, Schema, UpdateRequest, Updated, Value,
};

use self::script::{Joining, Package};
use super::meaning::generation_problem;
use super::natural_id::EnrollmentId;
use super::reading::Reading;
use super::trust::{MAX_GENERATION, TrustRef, read_trust, trust_type, trust_value};
use crate::agents::same_operator;
use crate::keys::Keys;
use crate::session::SessionSlot;

/// Where an agent listens when nothing is said: everywhere, by IPv4 and IPv6, because its address may not be known before
/// it boots.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), layout::AGENT_PORT);
/// What is made once for each enrolment and kept.
const TEXTS: [&str; 3] = ["enrollment", "user_data", "script"];

/// The resource.
#[derive(Debug)]
pub struct HostEnrollmentResource {
    sessions: SessionSlot,
}

/// A block that was read whole.
#[derive(Debug)]
struct Declared {
    trust: TrustRef,
    host: HostName,
    generation: u32,
    listen: SocketAddr,
    package: Option<Package>,
}

impl Declared {
    fn id(&self) -> EnrollmentId {
        let authority = self.trust.name.clone();
        EnrollmentId { authority, host: self.host.clone(), generation: self.generation }
    }
}

/// Reads a block; `None` while something in it is unknown or wrong, `reading` knows which.
fn read(block: &Value, reading: &mut Reading) -> Option<Declared> {
    let path = Path::root;
    let trust = read_trust(block.attr("authority"), &path("authority"), reading);
    let host = reading.text(block.attr("name"), &path("name"));
    let generation = reading.number(block.attr("generation"), &path("generation"), 1..=MAX_GENERATION);
    let listen = reading.text(block.attr("listen"), &path("listen"));
    let package = package(block.attr("package"), &path("package"), reading);
    if !reading.is_whole() {
        return None;
    }
    Some(Declared { trust: trust?, host: host?, generation: generation?, listen: listen?, package })
}

fn package(value: &Value, path: &Path, reading: &mut Reading) -> Option<Package> {
    if !reading.is_there(value) {
        return None;
    }
    let url = reading.text::<DownloadUrl>(value.attr("url"), &path.attr("url"));
    let sha256 = reading.text::<Sha256Hex>(value.attr("sha256"), &path.attr("sha256"));
    let package = Package { url: url?, sha256: sha256? };
    if package.file().is_none() {
        let detail = format!("The path of `{}` ends in neither `.deb` nor `.rpm`.", package.url);
        reading.push(Diagnostic::error("`url` names no package", detail).at(path.attr("url")));
        return None;
    }
    Some(package)
}

/// Whether both blocks give the same texts: only another enrolment, or another way onto the host, makes new ones. An
/// authority that is unknown yet is taken for the one before: almost always it only rotates. The apply sees to it.
fn same_enrollment(prior: &Value, planned: &Value) -> bool {
    let same = |name| prior.attr(name) == planned.attr(name);
    ["name", "generation", "listen", "package"].into_iter().all(same) && may_be_same_authority(prior, planned)
}

/// Whether nothing that is known says that the authority is another one.
fn may_be_same_authority(prior: &Value, planned: &Value) -> bool {
    let authority = planned.attr("authority");
    let may_be_same = |name| {
        let is_unknown = !authority.is_known() || !authority.attr(name).is_known();
        is_unknown || prior.attr("authority").attr(name) == authority.attr(name)
    };
    ["name", "operator"].into_iter().all(may_be_same)
}

impl HostEnrollmentResource {
    /// One that asks `sessions` for the root key.
    #[must_use]
    pub fn new(sessions: SessionSlot) -> Self {
        Self { sessions }
    }

    /// At plan: whether the root key, where there is one, is that of the authority.
    fn wrong_key(&self, trust: &TrustRef) -> Option<Diagnostic> {
        let session = self.sessions.session().ok()?;
        match session.keys() {
            Keys::Root(_) => {
                let authority = session.authority(&trust.name, trust.generations);
                let checked =
                    authority.and_then(|authority| same_operator(&authority.trust(), &trust.operator));
                checked.err().map(|problem| problem.at(Path::root("authority")))
            }
            Keys::Account(_) | Keys::Reader(_) | Keys::Unknown | Keys::Missing => None,
        }
    }

    /// `planned` with its texts.
    fn made(&self, planned: Value) -> Result<Value, Failure> {
        let mut reading = Reading::new();
        let Some(declared) = read(&planned, &mut reading) else {
            let mut problems = reading.into_problems();
            if !problems.has_errors() {
                problems.error("The enrolment is not wholly known", "Apply again.");
            }
            return Err(problems.into());
        };
        let Declared { trust, host, generation, listen, package } = &declared;
        let authority = self.sessions.session()?.authority(&trust.name, trust.generations)?;
        same_operator(&authority.trust(), &trust.operator)
            .map_err(|problem| problem.at(Path::root("authority")))?;
        let enrollment = authority.enrollment(host.clone(), *generation).to_text();
        let joining = Joining { host, enrollment: &enrollment, listen: *listen, package: package.as_ref() };
        let script = script::script(&joining);
        Ok(planned
            .with("id", declared.id().to_string())
            .with("enrollment", enrollment.as_str())
            .with("user_data", script::user_data(&script))
            .with("script", script))
    }
}

#[async_trait]
impl Resource for HostEnrollmentResource {
    fn type_name(&self) -> &str {
        "nats_host_enrollment"
    }

    fn schema(&self) -> Schema {
        Schema::new(0)
            .description(
                "What a bare host needs to join, as user data and as a script: both install the agent, give it the \
                 authority that may claim it and a one-time token, and start it. The texts are made once for each \
                 enrolment and never change by themselves, so they replace no machine. Dials nobody.",
            )
            .attribute(
                Attribute::new("authority", trust_type())
                    .required()
                    .description("The `trust` of the `nats_authority` that will claim the host."),
            )
            .attribute(
                Attribute::string("name")
                    .required()
                    .description("Name of the host: the key it has in the `nodes` of its `nats_cluster`."),
            )
            .attribute(Attribute::number("generation").default(1).description(
                "Which enrolment of this host it is, as in its node. Raise both to enrol a machine that was set up anew: \
                 the texts are then new as well. Default 1.",
            ))
            .attribute(Attribute::string("listen").default(LISTEN.to_string()).description(format!(
                "`ADDRESS:PORT` that the agent listens on. Default `{LISTEN}`, IPv4 and IPv6."
            )))
            .attribute(
                Attribute::object(
                    "package",
                    [
                        Attribute::string("url").required().description(
                            "Where the host downloads the package: `https://` or `http://`, ending in `.deb` (installed \
                             by apt) or `.rpm` (by dnf).",
                        ),
                        Attribute::string("sha256")
                            .required()
                            .description("SHA-256 of the package, 64 hex digits. Another one is not installed."),
                    ],
                )
                .description("The agent's package. Leave it out where the image has it."),
            )
            .attribute(
                Attribute::string("id").computed().description("`<authority>/<name>/<generation>`."),
            )
            .attribute(Attribute::string("enrollment").computed().sensitive().description(
                "Authority and one-time token in one line, for `nats-agent enroll` or `/etc/nats-agent/enrollment`. \
                 Dead once the host is claimed.",
            ))
            .attribute(
                Attribute::string("user_data")
                    .computed()
                    .sensitive()
                    .description("Cloud-init user data (`#cloud-config`) that writes and runs `script`."),
            )
            .attribute(Attribute::string("script").computed().sensitive().description(
                "POSIX shell script that root runs on the host, by whatever way; it may be repeated.",
            ))
    }

    async fn validate(&self, config: &Value) -> Diagnostics {
        let mut reading = Reading::new();
        read(config, &mut reading);
        reading.into_problems()
    }

    async fn plan(&self, request: PlanRequest) -> PlanResponse {
        let prior = request.prior.clone();
        let mut response = PlanResponse::from(request);
        let mut reading = Reading::new();
        let declared = read(&response.planned, &mut reading);
        response.diagnostics.extend(reading.into_problems());
        let id = declared.as_ref().map_or_else(Value::unknown, |declared| declared.id().to_string().into());
        response.planned.set_attr("id", id);
        response.diagnostics.extend(declared.and_then(|declared| self.wrong_key(&declared.trust)));
        if let Some(prior) = prior {
            if prior.attr("name") == response.planned.attr("name") {
                let (before, after) = (prior.attr("generation"), response.planned.attr("generation"));
                response.diagnostics.extend(generation_problem(before, after, "A token"));
            }
            let kept = same_enrollment(&prior, &response.planned);
            if kept {
                response.planned.set_attr("id", prior.attr("id").clone());
            }
            for name in TEXTS {
                let text = if kept { prior.attr(name).clone() } else { Value::unknown() };
                response.planned.set_attr(name, text);
            }
        }
        response
    }

    async fn create(&self, request: CreateRequest) -> Result<Created, Failure> {
        let CreateRequest { planned, private, .. } = request;
        Ok(Created { state: self.made(planned)?, private, diagnostics: Diagnostics::new() })
    }

    async fn read(&self, request: ReadRequest) -> ReadResponse {
        // It lives in the root key alone, so there is nothing to look at.
        ReadResponse::found(request.state, request.private)
    }

    async fn update(&self, request: UpdateRequest) -> Result<Updated, Failure> {
        let UpdateRequest { prior, planned, private, .. } = request;
        let made_before = TEXTS.into_iter().all(|name| planned.attr(name).is_known());
        if made_before && !may_be_same_authority(&prior, &planned) {
            let detail = "Its text was planned to stay, because the authority was not known yet. Nothing was changed. Plan again.";
            let problem = Diagnostic::error("The authority turned out to be another one", detail);
            return Err(problem.at(Path::root("authority")).into());
        }
        let state = if made_before { planned } else { self.made(planned)? };
        Ok(Updated { state, private, diagnostics: Diagnostics::new() })
    }

    async fn delete(&self, _request: DeleteRequest) -> Result<Deleted, Failure> {
        // The host keeps its claim; what revokes one is its node.
        Ok(Deleted::default())
    }

    async fn import(&self, request: ImportRequest) -> Result<Imported, Failure> {
        let Identified { id, listen, package, fleet_ca } = request.id.parse()?;
        let id: EnrollmentId =
            id.parse().map_err(|error| Failure::new("Wrong import id", format!("{error}.")))?;
        let mut generations = identity::Generations::default();
        generations.fleet_ca = fleet_ca.unwrap_or(generations.fleet_ca);
        let authority = self.sessions.session()?.authority(&id.authority, generations)?;
        let package = package.map_or(Value::Null, |PackageText { url, sha256 }| {
            Value::object([("url", Value::from(url.as_str())), ("sha256", sha256.as_str().into())])
        });
        let state = self.made(Value::object([
            ("authority", trust_value(&authority.trust())),
            ("name", id.host.as_str().into()),
            ("generation", u64::from(id.generation).into()),
            ("listen", listen.unwrap_or_else(|| LISTEN.to_string()).into()),
            ("package", package),
        ]))?;
        Ok(Imported { state, private: PrivateState::new(), diagnostics: Diagnostics::new() })
    }
}

/// What an import names: an id, or a JSON object of it and of the arguments that nothing but the texts holds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Identified {
    id: String,
    listen: Option<String>,
    package: Option<PackageText>,
    /// Which generation of the fleet CA the texts were made with; absent for the first.
    fleet_ca: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PackageText {
    url: String,
    sha256: String,
}

impl std::str::FromStr for Identified {
    type Err = Diagnostic;

    fn from_str(text: &str) -> Result<Self, Diagnostic> {
        if !text.starts_with('{') {
            return Ok(Self { id: text.to_owned(), listen: None, package: None, fleet_ca: None });
        }
        serde_json::from_str(text).map_err(|error| {
            let detail = format!(
                "As JSON it is an object of `id` and, where the configuration has them, `listen` and `package`, and of \
                 `fleet_ca`, a number, where the texts were made with a later generation than 1: {error}."
            );
            Diagnostic::error("Wrong import id", detail)
        })
    }
}

#[cfg(test)]
mod tests;
