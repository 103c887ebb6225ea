//! What a Terraform registry serves of the provider. Source: Terraform registry, "publishing providers", 2025.

use std::io::{Cursor, Write};

use anyhow::{Context, Result};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;

use super::contents::{Product, architecture};

const PROVIDER: &str = "terraform-provider-nats";

/// Says that the provider speaks plugin protocol 6.
pub(super) const MANIFEST: &str = r#"{
  "version": 1,
  "metadata": {
    "protocol_versions": ["6.0"]
  }
}
"#;

/// Name of the zip, which holds one platform.
pub(super) fn archive_name(product: &Product) -> String {
    format!("{PROVIDER}_{}_linux_{}.zip", product.version, architecture())
}

/// Name of [`MANIFEST`].
pub(super) fn manifest_name(product: &Product) -> String {
    format!("{PROVIDER}_{}_manifest.json", product.version)
}

/// Name of the checksums.
pub(super) fn sums_name(product: &Product) -> String {
    format!("{PROVIDER}_{}_SHA256SUMS", product.version)
}

/// The zip with `program`, under the name by which Terraform knows version and protocol.
///
/// # Errors
/// When the archive cannot be put together.
pub(super) fn archive(product: &Product, program: &[u8]) -> Result<Vec<u8>> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    // Zip's own first moment, 1980: the crate's default, and nobody reads it.
    let options =
        SimpleFileOptions::default().compression_level(Some(product.level().into())).unix_permissions(0o755);
    archive
        .start_file(format!("{PROVIDER}_v{}", product.version), options)
        .context("begin the provider's archive")?;
    archive.write_all(program).context("compress the provider")?;
    Ok(archive.finish().context("end the provider's archive")?.into_inner())
}

/// The lines that `sha256sum --check` reads, for `files` of names and bytes.
pub(super) fn sums(files: &[(&str, &[u8])]) -> String {
    files
        .iter()
        .map(|(name, bytes)| format!("{}  {name}\n", HEXLOWER.encode(&Sha256::digest(bytes))))
        .collect()
}
