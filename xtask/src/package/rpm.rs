//! The `.rpm`, for every distribution of that family.

use anyhow::{Context, Result};
use rpm::{BuildConfig, CompressionWithLevel, Dependency, FileOptions, PackageBuilder};

use super::contents::{Contents, DESCRIPTION, LICENSE, MAINTAINER, NAME, Product, SUMMARY};

/// Number of this packaging of one version.
const RELEASE: &str = "1";

/// As rpm names it.
pub(super) fn file_name(product: &Product) -> String {
    format!("{NAME}-{}-{RELEASE}.{}.rpm", product.version, std::env::consts::ARCH)
}

/// The whole file.
///
/// # Errors
/// When the crate refuses an entry.
pub(super) fn build(product: &Product, contents: &Contents) -> Result<Vec<u8>> {
    let config =
        BuildConfig::v4().source_date(product.epoch).compression(CompressionWithLevel::Gzip(product.level()));
    let mut builder = PackageBuilder::new(NAME, &product.version, LICENSE, std::env::consts::ARCH, SUMMARY);
    builder
        .using_config(config)
        .release(RELEASE)
        .description(DESCRIPTION)
        .packager(MAINTAINER)
        // Of the machine that builds, nothing is said.
        .build_host("localhost")
        .requires(Dependency::greater_eq("systemd", "247"))
        .requires(Dependency::any("dbus"))
        .requires(Dependency::any("nftables"))
        .post_install_script(contents.after_install.as_str())
        .pre_uninstall_script(contents.before_remove.as_str())
        .post_uninstall_script(contents.after_remove.as_str());
    for entry in &contents.entries {
        let mode = u16::try_from(entry.mode).context("permission bits")?;
        builder
            .with_file_contents(
                entry.bytes.clone(),
                FileOptions::new(format!("/{}", entry.path)).permissions(mode),
            )
            .with_context(|| format!("add `{}`", entry.path))?;
    }
    let mut bytes = Vec::new();
    builder.build().context("put the package together")?.write(&mut bytes).context("write the package")?;
    Ok(bytes)
}
