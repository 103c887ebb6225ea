//! The users of this host by name, out of /etc/passwd.
//!
//! The package makes its users there (sysusers), so nothing else has to be asked; the applier, which is root, then loads
//! no name service of the host into itself.

use std::io::Read;

use anyhow::{Context, Result, ensure};
use nats_agent::roles::ServiceUser;

const PASSWD: &str = "/etc/passwd";
/// Most that is read of it, in bytes.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// The content of /etc/passwd.
#[derive(Debug)]
pub(super) struct Users(String);

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct User {
    /// User id.
    pub(super) uid: u32,
    /// Its primary group's id.
    pub(super) gid: u32,
}

impl From<User> for ServiceUser {
    fn from(User { uid, gid }: User) -> ServiceUser {
        ServiceUser { uid, gid }
    }
}

impl Users {
    /// Reads them.
    pub(super) fn read() -> Result<Users> {
        let mut text = String::new();
        let file = std::fs::File::open(PASSWD).with_context(|| format!("cannot read `{PASSWD}`"))?;
        file.take(MAX_BYTES).read_to_string(&mut text).with_context(|| format!("cannot read `{PASSWD}`"))?;
        Ok(Users(text))
    }

    /// The user `name`, who must not be root.
    pub(super) fn find(&self, name: &str) -> Result<User> {
        let found = self.0.lines().find_map(|line| user_in(line, name));
        let user = found.with_context(|| {
            format!("there is no user `{name}` in `{PASSWD}`; the package makes it: `systemd-sysusers nats-agent.conf`")
        })?;
        ensure!(user.uid != 0, "user `{name}` is root in `{PASSWD}`; it must have a user id of its own");
        Ok(user)
    }
}

/// Source: passwd(5): `name:password:uid:gid:...`.
fn user_in(line: &str, name: &str) -> Option<User> {
    let mut fields = line.split(':');
    if fields.next()? != name {
        return None;
    }
    let mut number = |skip| fields.nth(skip)?.parse().ok();
    Some(User { uid: number(1)?, gid: number(0)? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "\
root:x:0:0:root:/root:/bin/bash
nats-agent:x:998:997:NATS agent:/:/usr/sbin/nologin
nats:x:996:995::/var/lib/nats-agent:/usr/sbin/nologin
broken:x:one:2::/:/bin/sh
admin:x:0:0::/:/bin/sh
";

    #[test]
    fn users_are_found_by_their_whole_name() {
        let users = Users(TEXT.to_owned());
        assert_eq!(users.find("nats").unwrap(), User { uid: 996, gid: 995 });
        assert_eq!(users.find("nats-agent").unwrap(), User { uid: 998, gid: 997 });
        let error = |name| users.find(name).unwrap_err().to_string();
        assert!(error("nat").starts_with("there is no user `nat` in `/etc/passwd`; the package makes it"));
        assert!(error("broken").starts_with("there is no user `broken`"));
        assert_eq!(
            error("admin"),
            "user `admin` is root in `/etc/passwd`; it must have a user id of its own"
        );
        Users::read().unwrap();
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,200}", name in "[a-z:]{0,6}") {
            let _ = Users(text).find(&name);
        }
    }
}
