//! What a round declares and takes out: a user to be destroyed, one to be narrowed, an account to be deleted.

use std::path::PathBuf;

use anyhow::Result;
use serde_json::json;

use crate::scenario::system::System;

/// What becomes of whoever holds a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Refused.
    Out,
    /// Let in, and may publish no longer.
    Narrowed,
}

/// One credential.
#[derive(Debug, Clone)]
pub(super) struct Old {
    pub(super) name: String,
    pub(super) credentials: PathBuf,
    pub(super) fate: Fate,
}

/// The three of one round.
#[derive(Debug)]
pub(super) struct Away {
    round: usize,
    olds: [Old; 3],
}

/// Replaces account, user and stream of the first configuration by those of so many rounds. No stream: with all but one
/// server down none could be asked.
pub(super) fn declare(system: &mut System, rounds: usize) {
    let account = system.resource("nats_account", "orders").clone();
    for (kind, name) in [("nats_stream", "orders"), ("nats_user", "service"), ("nats_account", "orders")] {
        system.forget(kind, name);
    }
    let mut plain = account;
    if let Some(plain) = plain.as_object_mut() {
        plain.remove("jetstream");
    }
    let mut declare = |kind: &str, name: String, mut block: serde_json::Value| {
        block["name"] = json!(name);
        system.configuration["resource"][kind][name] = block;
    };
    let user = |account: &str| json!({ "account": format!("${{nats_account.{account}.id}}"), "publish": { "allow": ["free.>"] } });
    declare("nats_account", "kept".to_owned(), plain.clone());
    for round in 0..rounds {
        declare("nats_user", format!("gone{round}"), user("kept"));
        declare("nats_user", format!("narrow{round}"), user("kept"));
        declare("nats_account", format!("ended{round}"), plain.clone());
        declare("nats_user", format!("last{round}"), user(&format!("ended{round}")));
    }
}

impl Away {
    /// Credentials of a round, made while all of it exists.
    pub(super) fn of(system: &System, round: usize) -> Result<Away> {
        let old = |account: &str, user: &str, fate| {
            let name = format!("{user}{round}");
            let credentials = system.supercluster.credentials(account, &name)?;
            Ok::<_, anyhow::Error>(Old { name, credentials, fate })
        };
        let olds = [
            old("kept", "gone", Fate::Out)?,
            old("kept", "narrow", Fate::Narrowed)?,
            old(&format!("ended{round}"), "last", Fate::Out)?,
        ];
        Ok(Away { round, olds })
    }

    pub(super) fn all(&self) -> &[Old; 3] {
        &self.olds
    }

    /// Changes the declaration; the next apply takes them out.
    pub(super) fn take_out(&self, system: &mut System) {
        let round = self.round;
        system.forget("nats_user", &format!("gone{round}"));
        system.resource("nats_user", &format!("narrow{round}"))["publish"] = json!({ "allow": ["read.>"] });
        system.forget("nats_user", &format!("last{round}"));
        system.forget("nats_account", &format!("ended{round}"));
    }
}
