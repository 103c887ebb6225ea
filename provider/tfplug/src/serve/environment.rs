//! What Terraform says through the environment when it starts a provider.

use std::env;
use std::path::PathBuf;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use thiserror::Error;
use tracing::level_filters::LevelFilter;

/// Source: terraform v1.11.4 internal/plugin6/serve.go.
const COOKIE_KEY: &str = "TF_PLUGIN_MAGIC_COOKIE";
const COOKIE: &str = "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2";

/// Why this process was not started the way Terraform does.
#[derive(Debug, Error)]
pub(super) enum EnvironmentError {
    #[error(
        "This program is a Terraform provider. It is not run by hand: Terraform starts it.\n\
         Put it where Terraform looks for providers and run `terraform plan`"
    )]
    NotTerraform,
    #[error(
        "Terraform offers plugin protocols `{0}`, and this provider speaks 6; use Terraform 1.11 or later"
    )]
    Protocol(String),
    #[error(
        "Terraform sent no client certificate (PLUGIN_CLIENT_CERT). Without one any local user could drive \
         this provider, so it refuses to serve; unset TF_DISABLE_PLUGIN_TLS"
    )]
    NoCertificate,
    #[error("cannot read the client certificate in PLUGIN_CLIENT_CERT")]
    Certificate(#[source] rustls_pki_types::pem::Error),
}

/// The environment, checked.
pub(super) struct Environment {
    /// The one certificate that may connect.
    pub(super) client_certificate: CertificateDer<'static>,
    /// Where the socket's directory is to be made; `None` for the system's place.
    pub(super) socket_directory: Option<PathBuf>,
    /// How much to log.
    pub(super) log_level: LevelFilter,
}

impl Environment {
    /// Reads it from the process.
    pub(super) fn read() -> Result<Self, EnvironmentError> {
        Self::from(|key| env::var(key).ok())
    }

    fn from(read: impl Fn(&str) -> Option<String>) -> Result<Self, EnvironmentError> {
        if read(COOKIE_KEY).as_deref() != Some(COOKIE) {
            return Err(EnvironmentError::NotTerraform);
        }
        // The order is random. Absent means a launcher that takes what it is told.
        let offered = read("PLUGIN_PROTOCOL_VERSIONS").unwrap_or_else(|| "6".into());
        if !offered.split(',').any(|version| version.trim() == "6") {
            return Err(EnvironmentError::Protocol(offered));
        }
        let pem = read("PLUGIN_CLIENT_CERT")
            .filter(|pem| !pem.trim().is_empty())
            .ok_or(EnvironmentError::NoCertificate)?;
        let client_certificate =
            CertificateDer::from_pem_slice(pem.as_bytes()).map_err(EnvironmentError::Certificate)?;
        let level = read("TF_LOG_PROVIDER").or_else(|| read("TF_LOG")).unwrap_or_default();
        Ok(Self {
            client_certificate,
            socket_directory: read("PLUGIN_UNIX_SOCKET_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from),
            log_level: log_level(&level),
        })
    }
}

/// Terraform's words for log levels. `JSON` is trace in another form; anything not understood is trace as
/// well, as in Terraform.
fn log_level(word: &str) -> LevelFilter {
    match word.to_ascii_uppercase().as_str() {
        "" | "OFF" => LevelFilter::OFF,
        "ERROR" => LevelFilter::ERROR,
        "WARN" => LevelFilter::WARN,
        "INFO" => LevelFilter::INFO,
        "DEBUG" => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Environment, EnvironmentError> {
        let all: BTreeMap<String, String> =
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Environment::from(|key| all.get(key).cloned())
    }

    #[test]
    fn refuses_to_run_outside_terraform() {
        let error = read(&[]).err().unwrap();
        assert!(error.to_string().contains("not run by hand"), "{error}");
        assert!(matches!(read(&[(COOKIE_KEY, "x")]), Err(EnvironmentError::NotTerraform)));
    }

    #[test]
    fn refuses_other_protocols() {
        let error = read(&[(COOKIE_KEY, COOKIE), ("PLUGIN_PROTOCOL_VERSIONS", "5,7")]).err().unwrap();
        assert!(error.to_string().contains("`5,7`"), "{error}");
    }

    #[test]
    fn refuses_to_serve_unauthenticated() {
        let base = [(COOKIE_KEY, COOKIE), ("PLUGIN_PROTOCOL_VERSIONS", "6,5")];
        let error = read(&base).err().unwrap();
        assert!(error.to_string().contains("TF_DISABLE_PLUGIN_TLS"), "{error}");
        let error = read(&[base[0], base[1], ("PLUGIN_CLIENT_CERT", "no pem")]).err().unwrap();
        assert!(error.to_string().contains("PLUGIN_CLIENT_CERT"), "{error}");
    }

    #[test]
    fn log_levels_are_terraforms() {
        assert_eq!(log_level(""), LevelFilter::OFF);
        assert_eq!(log_level("warn"), LevelFilter::WARN);
        assert_eq!(log_level("JSON"), LevelFilter::TRACE);
    }
}
