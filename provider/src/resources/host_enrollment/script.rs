//! What a bare host runs to join: one POSIX shell script, and the cloud-init user data that runs it. Pure; the same
//! input gives the same bytes for ever, because user data that differs replaces machines.

use std::fmt::Write as _;
use std::net::SocketAddr;

use host_state::DownloadUrl;
use identity::HostName;
use nats_config::Sha256Hex;

/// Where user data puts the script. Gone with the next boot, and a secret until the host is claimed.
const SCRIPT_FILE: &str = "/run/nats-agent-join.sh";

/// What comes before anything that differs between hosts.
const HEAD: &str = include_str!("script/head.sh");
/// What comes between the variables and what is done with them.
const CHECK: &str = include_str!("script/check.sh");
/// Installs the package from `$package_url` as `$package_file`.
const INSTALL: &str = include_str!("script/install.sh");
/// Hands over enrolment and settings and starts the agent.
const START: &str = include_str!("script/start.sh");

/// How a host joins.
#[derive(Debug)]
pub(super) struct Joining<'a> {
    /// The host, for messages.
    pub(super) host: &'a HostName,
    /// Text of its enrolment.
    pub(super) enrollment: &'a str,
    /// Where its agent listens.
    pub(super) listen: SocketAddr,
    /// The package to install; absent where the image has it.
    pub(super) package: Option<&'a Package>,
}

/// A package of the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Package {
    /// Where hosts download it; its path ends in `.deb` or `.rpm`.
    pub(super) url: DownloadUrl,
    /// What the download must be.
    pub(super) sha256: Sha256Hex,
}

impl Package {
    /// The name under which its installer takes it for what it is; `None` for what is neither `.deb` nor `.rpm`.
    pub(super) fn file(&self) -> Option<&'static str> {
        let path = self.url.path();
        match (path.ends_with(".deb"), path.ends_with(".rpm")) {
            (true, _) => Some("nats-agent.deb"),
            (_, true) => Some("nats-agent.rpm"),
            (false, false) => None,
        }
    }
}

/// The script.
pub(super) fn script(joining: &Joining<'_>) -> String {
    let Joining { host, enrollment, listen, package } = joining;
    let listen = listen.to_string();
    let mut words = vec![("host", host.as_str()), ("listen", &listen), ("enrollment", enrollment)];
    if let Some((package, file)) = package.and_then(|package| Some((package, package.file()?))) {
        words.push(("package_url", package.url.as_str()));
        words.push(("package_sha256", package.sha256.as_str()));
        words.push(("package_file", file));
    }
    let install = if package.is_some() { INSTALL } else { "" };
    let parts = [HEAD, &variables(&words), CHECK, install, START];
    parts.into_iter().filter(|part| !part.is_empty()).map(str::trim_end).collect::<Vec<_>>().join("\n\n")
        + "\n"
}

/// Text from outside as variables of the script: the only place where it enters.
fn variables(words: &[(&str, &str)]) -> String {
    words.iter().map(|(name, word)| format!("{name}={}\n", quoted_for_shell(word))).collect()
}

/// Cloud-init user data that runs `script` once, as root, when the machine first boots.
pub(super) fn user_data(script: &str) -> String {
    format!(
        "#cloud-config\n\
         write_files:\n\
         \x20 - path: {SCRIPT_FILE}\n\
         \x20   owner: root:root\n\
         \x20   permissions: \"0700\"\n\
         \x20   content: {}\n\
         runcmd:\n\
         \x20 - [sh, {SCRIPT_FILE}]\n",
        quoted_for_yaml(script)
    )
}

/// One word of a POSIX shell that means exactly `text`.
/// Source: POSIX.1-2017, Shell Command Language, 2.2.2: nothing in single quotes is special but their end.
fn quoted_for_shell(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// One double-quoted scalar of YAML that means exactly `text`, in ASCII and on one line.
/// Source: YAML 1.2.2, 5.7 and 7.3.1; the escapes used are those that YAML 1.1, which cloud-init reads, has as well.
fn quoted_for_yaml(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 64);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            ' '..='~' => quoted.push(c),
            // Writing into a string cannot fail.
            _ => _ = write!(quoted, "\\U{:08X}", u32::from(c)),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests;
