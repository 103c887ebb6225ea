//! `nats-agent creds`: credentials of a NATS user, or what a role needs to ask agents without the root key.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{ArgGroup, Args};
use identity::{AccountName, Authority, Role, UserName};
use nats_config::NatsDuration;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::authority::{AuthorityArgs, random_seed};
use super::output;

/// Mint credentials from the root key: of a user that `nats_user` declares, or of a role.
///
/// A role's credentials are for whoever has no root key. `reader` and `operator`: a client certificate, its key and the
/// host CAs as PEM; that of a reader is the provider's `reader_credentials`. `account:NAME`: the provider's `account_key`,
/// with the account's signing key, and with the keys of users that are named, to mint their credentials.
///
/// A user's permissions stand in its account and act at once on every credential ever minted, whatever its life.
/// The result is a secret: it goes to a new file of mode 0600, or to standard output.
///
/// Examples:
///   nats-agent creds --authority acme --account orders --user service --expires 720h --output service.creds
///   nats-agent creds --authority acme --role reader --output reader.pem
///   nats-agent creds --authority acme --role account:orders --include-user service --output orders.key
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, group(ArgGroup::new("what").required(true).args(["user", "role"])))]
pub(super) struct Creds {
    #[command(flatten)]
    authority: AuthorityArgs,
    /// Account of the user.
    #[arg(long, value_name = "NAME", requires = "user")]
    account: Option<AccountName>,
    /// User to mint credentials of.
    #[arg(long, value_name = "NAME", requires = "account")]
    user: Option<UserName>,
    /// Generation of the user, once it has been rotated.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..), requires = "user")]
    generation: u32,
    /// Role to mint credentials of: `operator`, `reader` or `account:NAME`.
    #[arg(long, value_name = "ROLE", value_parser = role)]
    role: Option<Role>,
    #[command(flatten)]
    keys: AccountKeyArgs,
    /// Life of the credentials, like `90m` or `720h`; `never` for a user without end.
    #[arg(long, value_name = "DURATION", default_value = "24h")]
    expires: Expiry,
    /// New file to write to, of mode 0600; without it standard output.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What goes into an account's key.
#[derive(Debug, Args)]
struct AccountKeyArgs {
    /// Generation of the account's signing key, once `generation` of its `nats_account` has been raised.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..), requires = "role")]
    signing_generation: u32,
    /// User of the account whose credentials the key may mint, with its generation once that has been raised. May be
    /// repeated.
    #[arg(long, value_name = "NAME[:N]", requires = "role")]
    include_user: Vec<UserKey>,
}

/// A user and a generation of its key.
#[derive(Debug, Clone, PartialEq, Eq)]
struct UserKey {
    user: UserName,
    generation: u32,
}

impl FromStr for UserKey {
    type Err = String;

    fn from_str(text: &str) -> Result<UserKey, String> {
        let (user, generation) = match text.split_once(':') {
            None => (text, 1),
            Some((user, generation)) => {
                let generation = generation.parse().ok().filter(|generation| *generation > 0);
                (user, generation.ok_or("a generation is a whole number from 1")?)
            }
        };
        let user = user.parse().map_err(|error: identity::NameError| error.to_string())?;
        Ok(UserKey { user, generation })
    }
}

/// When credentials end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expiry {
    After(Duration),
    Never,
}

impl FromStr for Expiry {
    type Err = String;

    fn from_str(text: &str) -> Result<Expiry, String> {
        if text == "never" {
            return Ok(Expiry::Never);
        }
        let life: NatsDuration = text.parse().map_err(|error| format!("{error}; or say `never`"))?;
        let life = Duration::from(life);
        if life.is_zero() { Err("credentials need a life".to_owned()) } else { Ok(Expiry::After(life)) }
    }
}

fn role(text: &str) -> Result<Role, String> {
    match text {
        "operator" => Ok(Role::Operator),
        "reader" => Ok(Role::Reader),
        other => match other.strip_prefix("account:").map(str::parse) {
            Some(Ok(account)) => Ok(Role::Account(account)),
            Some(Err(error)) => Err(format!("{error}")),
            None => Err("a role is `operator`, `reader` or `account:NAME`".to_owned()),
        },
    }
}

impl Creds {
    pub(super) fn run(self) -> Result<u8> {
        let authority = self.authority.derive()?;
        let now = OffsetDateTime::now_utc();
        let seed = random_seed()?;
        let secret = match (&self.role, &self.account, &self.user) {
            (Some(role), ..) => role_text(&authority, role, &self.keys, &seed, now, self.expires)?,
            (None, Some(account), Some(user)) => {
                let expires = match self.expires {
                    Expiry::Never => None,
                    Expiry::After(life) => Some(end(now, life)?),
                };
                authority.user_credentials(account, user, self.generation, &seed, now, expires).creds()
            }
            (None, _, _) => anyhow::bail!("say what to mint: `--account` and `--user`, or `--role`"),
        };
        match &self.output {
            Some(path) => write_secret(path, &secret)?,
            None => output::say(secret.trim_end())?,
        }
        Ok(0)
    }
}

fn end(now: OffsetDateTime, life: Duration) -> Result<OffsetDateTime> {
    let life = time::Duration::try_from(life).ok();
    life.and_then(|life| now.checked_add(life)).context("`--expires` ends beyond the calendar")
}

/// What a role needs, in one text: a caller's certificate with key and host CAs, or an account's key.
fn role_text(
    authority: &Authority,
    role: &Role,
    keys: &AccountKeyArgs,
    seed: &Zeroizing<[u8; 32]>,
    now: OffsetDateTime,
    expires: Expiry,
) -> Result<Zeroizing<String>> {
    let Expiry::After(life) = expires else {
        anyhow::bail!("a client certificate ends: say `--expires` with a duration")
    };
    let AccountKeyArgs { signing_generation, include_user } = keys;
    match role {
        Role::Account(account) => {
            let users: BTreeMap<UserName, u32> =
                include_user.iter().map(|UserKey { user, generation }| (user.clone(), *generation)).collect();
            let key = authority.issue_account_key(account, *signing_generation, &users, seed, now, life)?;
            Ok(key.to_text())
        }
        Role::Operator | Role::Reader | Role::Peer => {
            ensure!(include_user.is_empty(), "`--include-user` goes with `--role account:NAME`");
            Ok(authority.caller_pem(role, seed, now, life)?.to_text())
        }
    }
}

/// Writes a new file of mode 0600; a file that is there already is left as it is.
fn write_secret(path: &Path, secret: &str) -> Result<()> {
    let shown = path.display();
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.with_context(|| format!("cannot make the new file `{shown}`"))?;
    let written = file.write_all(secret.as_bytes()).and_then(|()| file.sync_all());
    ensure!(written.is_ok(), "cannot write `{shown}`: {}", written.expect_err("checked one line above"));
    Ok(())
}

#[cfg(test)]
mod tests;
