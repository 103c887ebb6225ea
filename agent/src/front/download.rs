//! Downloads a file that a document names, for the applier to install.
//!
//! Nothing here trusts what comes over the network: the SHA-256 of the document decides, here so that a wrong file is told
//! at once and not kept, and again in the applier, which believes nobody. No proxy of the environment is used, and no
//! credentials are sent.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use host_state::DownloadUrl;
use nats_config::Sha256Hex;
use sha2::{Digest, Sha256};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::roles::{DOWNLOAD_LIMIT, DOWNLOAD_LONGEST};

/// How long connecting and the first answer may take, each.
const ANSWER: Duration = Duration::from_secs(30);
/// Most redirects that are followed; releases of GitHub take one.
const REDIRECTS: u32 = 5;

/// Why there is no such file.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The server did not give it.
    #[error("`{url}` cannot be downloaded")]
    Fetch {
        /// What was asked for.
        url: DownloadUrl,
        /// Why.
        #[source]
        source: Box<ureq::Error>,
    },
    /// It broke off.
    #[error("the download of `{url}` broke off")]
    Broken {
        /// What was asked for.
        url: DownloadUrl,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is larger than anything that is installed.
    #[error("`{url}` has more than {DOWNLOAD_LIMIT} bytes")]
    TooLarge {
        /// What was asked for.
        url: DownloadUrl,
    },
    /// It is another file.
    #[error("what `{url}` gives has SHA-256 `{found}`, the document wants `{wanted}`; it was not kept")]
    Checksum {
        /// What was asked for.
        url: DownloadUrl,
        /// The document's sum.
        wanted: Sha256Hex,
        /// Its own.
        found: String,
    },
    /// This host does not take it in.
    #[error("cannot keep a download in `{path}`")]
    Keep {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Downloads `url` as `directory/<sha256>`, which it must be the sum of.
///
/// Afterwards the file is whole and readable to the group. Files of other downloads are removed. May be repeated: a file
/// that is there already is not fetched again. A crash half-way leaves a part that the next download removes. Blocks.
///
/// # Errors
/// [`DownloadError`]; there is no such file then.
pub fn download(url: &DownloadUrl, wanted: &Sha256Hex, directory: &Path) -> Result<(), DownloadError> {
    let target = directory.join(wanted.as_str());
    let keep = |source| DownloadError::Keep { path: directory.to_owned(), source };
    fs::create_dir_all(directory).map_err(keep)?;
    for entry in fs::read_dir(directory).map_err(keep)? {
        let other = entry.map_err(keep)?.path();
        if other != target {
            fs::remove_file(&other).map_err(keep)?;
        }
    }
    if File::open(&target).and_then(sum).is_ok_and(|sum| sum == wanted.as_str()) {
        return Ok(());
    }
    let part = directory.join("part");
    let fetched = fetch(url, wanted, &part);
    if fetched.is_err() {
        // The error that matters is told; a part that stays is removed by the next download.
        let _gone = fs::remove_file(&part);
    }
    fetched?;
    fs::rename(&part, &target).map_err(keep)
}

fn fetch(url: &DownloadUrl, wanted: &Sha256Hex, part: &Path) -> Result<(), DownloadError> {
    let keep = |source| DownloadError::Keep { path: part.to_owned(), source };
    let refused = |source| DownloadError::Fetch { url: url.clone(), source: Box::new(source) };
    let mut answer = client().get(url.as_str()).call().map_err(refused)?;
    if answer.body().content_length().is_some_and(|length| length > DOWNLOAD_LIMIT) {
        return Err(DownloadError::TooLarge { url: url.clone() });
    }
    let mut body = answer.body_mut().with_config().limit(DOWNLOAD_LIMIT + 1).reader();
    let mut file = File::create(part).map_err(keep)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0_u8; 64 * 1024];
    let mut total = 0_u64;
    loop {
        let read = match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(DownloadError::Broken { url: url.clone(), source }),
        };
        total += read as u64;
        if total > DOWNLOAD_LIMIT {
            return Err(DownloadError::TooLarge { url: url.clone() });
        }
        hasher.update(&buffer[..read]);
        file.write_all(&buffer[..read]).map_err(keep)?;
    }
    let found = HEXLOWER.encode(&hasher.finalize());
    if found != wanted.as_str() {
        return Err(DownloadError::Checksum { url: url.clone(), wanted: wanted.clone(), found });
    }
    file.set_permissions(Permissions::from_mode(0o640)).map_err(keep)?;
    file.sync_all().map_err(keep)
}

/// One client for one download: certificates of the system, no proxy, nothing remembered.
fn client() -> ureq::Agent {
    let roots = rustls_native_certs::load_native_certs().certs;
    let roots = roots.iter().map(|root| Certificate::from_der(root).to_owned()).collect::<Vec<_>>();
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    ureq::Agent::config_builder()
        .tls_config(tls)
        .proxy(None)
        .max_redirects(REDIRECTS)
        .timeout_connect(Some(ANSWER))
        .timeout_recv_response(Some(ANSWER))
        .timeout_global(Some(DOWNLOAD_LONGEST))
        .user_agent(concat!("nats-agent/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent()
}

fn sum(file: File) -> io::Result<String> {
    let mut hasher = Sha256::new();
    io::copy(&mut file.take(DOWNLOAD_LIMIT), &mut hasher)?;
    Ok(HEXLOWER.encode(&hasher.finalize()))
}

#[cfg(test)]
mod tests;
