//! Which key a process works with, and so what it may do: read from the provider block once, then one value.
//!
//! What a lesser key may do, agents and servers enforce. What is refused here is refused so that a person reads at once
//! what to do about it.

use std::fmt::Display;

use identity::{AccountKey, AuthorityName, CallerPem, MAX_ACCOUNT_KEY_LEN, MAX_PEM_LEN, Role, RootKey};
use tfplug::{Diagnostic, Path, Value};
use zeroize::Zeroizing;

use crate::resources::natural_id::AccountId;

/// The keys of one provider configuration. `Debug` shows none.
#[derive(Debug)]
pub enum Keys {
    /// The root key: everything.
    Root(RootKey),
    /// The key of one account: its JetStream assets and credentials of its users.
    Account(Box<AccountKey>),
    /// A reader's credentials: looks at everything and changes nothing.
    Reader(Box<CallerPem>),
    /// Something is given that Terraform does not know yet; only during plan.
    Unknown,
    /// None was given.
    Missing,
}

/// The kinds of key that a block can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// See [`Keys::Root`].
    Root,
    /// See [`Keys::Account`].
    Account,
    /// See [`Keys::Reader`].
    Reader,
}

impl Kind {
    /// Every kind, the strongest first.
    pub const ALL: [Kind; 3] = [Kind::Root, Kind::Account, Kind::Reader];

    /// The attribute that holds the text.
    #[must_use]
    pub const fn attribute(self) -> &'static str {
        match self {
            Kind::Root => "root_key",
            Kind::Account => "account_key",
            Kind::Reader => "reader_credentials",
        }
    }

    /// The attribute that names a file with the text.
    #[must_use]
    pub const fn file_attribute(self) -> &'static str {
        match self {
            Kind::Root => "root_key_file",
            Kind::Account => "account_key_file",
            Kind::Reader => "reader_credentials_file",
        }
    }

    /// The environment variable that is looked at when the block names nothing.
    #[must_use]
    pub const fn variable(self) -> &'static str {
        match self {
            Kind::Root => "NATS_ROOT_KEY",
            Kind::Account => "NATS_ACCOUNT_KEY",
            Kind::Reader => "NATS_READER_CREDENTIALS",
        }
    }

    /// Longest file that is read, in bytes; a root key has 44.
    const fn max_file(self) -> usize {
        match self {
            Kind::Root => 1024,
            Kind::Account => MAX_ACCOUNT_KEY_LEN,
            Kind::Reader => MAX_PEM_LEN,
        }
    }

    /// What it is called in messages.
    const fn what(self) -> &'static str {
        match self {
            Kind::Root => "The root key",
            Kind::Account => "The account key",
            Kind::Reader => "The reader's credentials",
        }
    }

    /// Reads the text. No message shows it.
    fn parse(self, text: &str) -> Result<Keys, Diagnostic> {
        let unusable = |why: &dyn Display| {
            Diagnostic::error(format!("{} cannot be used", self.what()), format!("{why}."))
        };
        let chained = |why: &(dyn std::error::Error + 'static)| unusable(&host_state::chain(why));
        match self {
            Kind::Root => text.parse().map(Keys::Root).map_err(|why| unusable(&why)),
            Kind::Account => {
                text.parse().map(|key| Keys::Account(Box::new(key))).map_err(|why| chained(&why))
            }
            Kind::Reader => match text.parse::<CallerPem>() {
                Ok(caller) if *caller.role() == Role::Reader => Ok(Keys::Reader(Box::new(caller))),
                Ok(caller) => {
                    Err(unusable(&format!("its certificate has role `{}`, not `reader`", caller.role())))
                }
                Err(why) => Err(chained(&why)),
            },
        }
    }

    async fn read_file(self, file: &str) -> Result<Zeroizing<String>, Diagnostic> {
        let failed = |why: &dyn Display| {
            let summary = format!("{} cannot be read from its file", self.what());
            Diagnostic::error(summary, format!("`{file}`: {why}."))
        };
        let found = tokio::fs::metadata(file).await.map_err(|why| failed(&why))?;
        if !found.is_file() || found.len() > self.max_file() as u64 {
            return Err(failed(&format!("not a file of at most {} bytes", self.max_file())));
        }
        tokio::fs::read_to_string(file).await.map(Into::into).map_err(|why| failed(&why))
    }
}

/// The attributes of a block that hold a key.
fn attributes() -> impl Iterator<Item = &'static str> {
    Kind::ALL.into_iter().flat_map(|kind| [kind.attribute(), kind.file_attribute()])
}

/// An error when a block names more than one key.
#[must_use]
pub fn several(config: &Value) -> Option<Diagnostic> {
    let given: Vec<&str> = attributes().filter(|name| config.attr(name).as_str().is_some()).collect();
    let (_first, second) = (given.first()?, given.get(1)?);
    let listed = given.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let detail =
        format!("{listed} are set. Set exactly one: what this configuration may do follows from it.");
    Some(Diagnostic::error("More than one key is given", detail).at(Path::root(*second)))
}

/// The keys of a block; `variable` answers what an environment variable holds, when it is there and not empty.
///
/// # Errors
/// When there are several, or one cannot be read or used; no message shows it.
pub async fn read(config: &Value, variable: impl Fn(&str) -> Option<String>) -> Result<Keys, Diagnostic> {
    if let Some(problem) = several(config) {
        return Err(problem);
    }
    if attributes().any(|name| !config.attr(name).is_known()) {
        return Ok(Keys::Unknown);
    }
    for kind in Kind::ALL {
        if let Some(text) = config.attr(kind.attribute()).as_str() {
            return kind.parse(text).map_err(|problem| problem.at(Path::root(kind.attribute())));
        }
        if let Some(file) = config.attr(kind.file_attribute()).as_str() {
            let told = |problem: Diagnostic| problem.at(Path::root(kind.file_attribute()));
            return kind.parse(&kind.read_file(file).await.map_err(told)?).map_err(told);
        }
    }
    let found: Vec<(Kind, Zeroizing<String>)> =
        Kind::ALL.into_iter().filter_map(|kind| Some((kind, variable(kind.variable())?.into()))).collect();
    match found.as_slice() {
        [] => Ok(Keys::Missing),
        [(kind, text)] => kind.parse(text),
        several => {
            let names: Vec<String> =
                several.iter().map(|(kind, _)| format!("`{}`", kind.variable())).collect();
            Err(Diagnostic::error(
                "More than one key is given",
                format!("The environment variables {} are set. Set exactly one.", names.join(", ")),
            ))
        }
    }
}

impl Keys {
    /// The root key.
    ///
    /// # Errors
    /// When there is none; the text says what is there instead and what to do.
    pub fn root(&self) -> Result<&RootKey, Diagnostic> {
        match self {
            Keys::Root(root_key) => Ok(root_key),
            Keys::Account(key) => Err(account_only(key)),
            Keys::Reader(_) => Err(reader_only()),
            Keys::Unknown => Err(Diagnostic::error(
                "The root key is not known yet",
                "It comes from something that this run has still to make. Make the root key outside of this \
                 configuration: everything is derived from it.",
            )),
            Keys::Missing => Err(Diagnostic::error(
                "There is no root key",
                "Set `root_key` in the provider block, best from an ephemeral variable, or `root_key_file`, or the \
                 environment variable `NATS_ROOT_KEY`. Make one with `openssl rand -base64 32` and keep it safe: it is \
                 the one secret. Lesser keys for who has no root key are `account_key` and `reader_credentials`.",
            )),
        }
    }

    /// Why these keys may not write the object of this type and block; absent when they may, or when only a try can
    /// tell.
    #[must_use]
    pub fn refusal(&self, type_name: &str, block: &Value) -> Option<Diagnostic> {
        match self {
            Keys::Root(_) | Keys::Unknown | Keys::Missing => None,
            Keys::Reader(_) => Some(reader_only()),
            Keys::Account(key) => {
                let is_its_own = type_name == "nats_stream" && is_in_account(block, key);
                (!is_its_own).then(|| account_only(key))
            }
        }
    }
}

/// What is told who asks with an account's key for something else than that account's own.
#[must_use]
pub fn account_only(key: &AccountKey) -> Diagnostic {
    Diagnostic::error(
        format!("`account_key` is for account `{}` only", account_of(key)),
        "It manages the `nats_stream` of that account and mints credentials of its users. Everything else needs \
         `root_key`. Nothing was changed.",
    )
}

/// What is told who wants to change something with a reader's credentials.
#[must_use]
pub fn reader_only() -> Diagnostic {
    Diagnostic::error(
        "`reader_credentials` change nothing",
        "They plan everything; an apply needs `root_key`, or `account_key` for the streams of one account. Nothing was \
         changed.",
    )
}

/// The id of a key's account.
#[must_use]
pub fn account_of(key: &AccountKey) -> AccountId {
    AccountId { authority: key.authority().clone(), account: key.account().clone() }
}

/// Whether a block names the key's account, or does not say yet which.
fn is_in_account(block: &Value, key: &AccountKey) -> bool {
    let account = block.attr("account");
    !account.is_known() || account.as_str() == Some(account_of(key).to_string().as_str())
}

/// An error when credentials are of another authority than is asked for.
///
/// # Errors
/// That one.
pub fn same_authority(kind: Kind, found: &AuthorityName, asked: &AuthorityName) -> Result<(), Diagnostic> {
    if found == asked {
        return Ok(());
    }
    Err(Diagnostic::error(
        format!("`{}` are not of authority `{asked}`", kind.attribute()),
        format!("They are of authority `{found}`. Use those of the system that is asked about."),
    )
    .at(Path::root(kind.attribute())))
}
