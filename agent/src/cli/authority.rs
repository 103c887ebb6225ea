//! An authority from its root key, for commands that mint or ask in its name.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use identity::{Authority, AuthorityName, Generations, RootKey};
use zeroize::Zeroizing;

/// Where the root key is looked for when no file is named.
const ROOT_KEY_VARIABLE: &str = "NATS_ROOT_KEY";

/// Whose name is acted in. The root key comes from `--root-key-file` or from the environment variable NATS_ROOT_KEY,
/// never from an argument, which every user of the host could read.
#[derive(Debug, Args)]
pub(super) struct AuthorityArgs {
    /// Name of the authority.
    #[arg(long, value_name = "NAME", env = "NATS_AUTHORITY")]
    authority: Option<AuthorityName>,
    /// File with the authority's root key; without it the environment variable NATS_ROOT_KEY is read.
    #[arg(long, value_name = "FILE")]
    root_key_file: Option<PathBuf>,
    /// Generation of the fleet CA, once it has been rotated.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    fleet_ca_generation: u32,
    /// Generation of the host CA, once it has been rotated.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    host_ca_generation: u32,
}

impl AuthorityArgs {
    /// Derives the authority's keys.
    pub(super) fn derive(&self) -> Result<Authority> {
        let name = self.authority.clone().context("say which authority: `--authority NAME`")?;
        let generations = Generations {
            fleet_ca: self.fleet_ca_generation,
            host_ca: self.host_ca_generation,
            ..Generations::default()
        };
        Ok(Authority::derive(&self.root_key()?, name, generations)?)
    }

    fn root_key(&self) -> Result<RootKey> {
        let Some(path) = &self.root_key_file else {
            let text = std::env::var(ROOT_KEY_VARIABLE).map(Zeroizing::new);
            let Ok(text) = text else {
                bail!(
                    "no root key: set the environment variable {ROOT_KEY_VARIABLE}, or name a file with `--root-key-file`"
                )
            };
            return text
                .parse()
                .with_context(|| format!("the root key in {ROOT_KEY_VARIABLE} cannot be used"));
        };
        let shown = path.display();
        let mode =
            std::fs::metadata(path).with_context(|| format!("cannot read the root key file `{shown}`"))?;
        let mode = mode.permissions().mode() & 0o777;
        ensure!(
            mode & 0o077 == 0,
            "the root key file `{shown}` has mode {mode:04o}: others than its owner may read it; `chmod 600` it"
        );
        let text = std::fs::read_to_string(path).map(Zeroizing::new);
        let text = text.with_context(|| format!("cannot read the root key file `{shown}`"))?;
        text.parse().with_context(|| format!("the root key in `{shown}` cannot be used"))
    }
}

/// 32 random bytes for a key that is made now.
pub(super) fn random_seed() -> Result<Zeroizing<[u8; 32]>> {
    let mut seed = Zeroizing::new([0_u8; 32]);
    getrandom::fill(seed.as_mut()).map_err(|error| anyhow!("the system gives no randomness: {error}"))?;
    Ok(seed)
}
