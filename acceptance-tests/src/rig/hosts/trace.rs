//! What the processes of a host remove, rename and cut, from its first process on, over all its boots: `strace` starts the
//! host and follows all that comes of it. The kernel stops a process for these calls alone, so a host stays as quick as
//! it is.
//!
//! What the rig itself does on a host is not among it: it comes from outside. An `open` that cuts a file is not seen.

use std::path::Path;

use anyhow::{Context, Result};

/// What `strace` is told, before the file that it writes and the program that it starts.
pub(super) const ARGUMENTS: &[&str] = &[
    // The program is started by who asked for it, not by `strace`.
    "--daemonize=grandchild",
    "--follow-forks",
    "--seccomp-bpf",
    "--decode-fds=path",
    "--decode-pids=comm",
    "--signal=none",
    "--trace=execve,unlink,unlinkat,rename,renameat,renameat2,rmdir,truncate,ftruncate",
    "--output-append-mode",
    "--output",
];

/// One call that came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The thread's name, which is its program's unless it has one of its own.
    pub thread: String,
    /// Name of the call.
    pub name: String,
    /// Paths that it names, absolute wherever the process has said where they lie.
    pub paths: Vec<String>,
    /// Whether it succeeded.
    pub is_done: bool,
}

/// Every call in a file that a traced host has written.
///
/// # Errors
/// When it cannot be read.
pub fn read(file: &Path) -> Result<Vec<Call>> {
    let bytes = std::fs::read(file).with_context(|| format!("read `{}`", file.display()))?;
    Ok(calls(&String::from_utf8_lossy(&bytes)))
}

fn calls(text: &str) -> Vec<Call> {
    // Calls that were begun, by thread: others came before their end.
    let mut begun: std::collections::HashMap<&str, String> = std::collections::HashMap::new();
    let mut calls = Vec::new();
    for line in text.lines() {
        let Some((thread, rest)) = line.split_once("> ").filter(|(thread, _)| thread.contains('<')) else {
            continue;
        };
        let rest = rest.trim_start();
        if let Some(start) = rest.strip_suffix(" <unfinished ...>") {
            begun.insert(thread, start.to_owned());
        } else if rest.starts_with("<... ") {
            let Some((start, (_, end))) = begun.remove(thread).zip(rest.split_once(" resumed>")) else {
                continue;
            };
            calls.extend(call(thread, &format!("{start}{end}")));
        } else {
            calls.extend(call(thread, rest));
        }
    }
    calls
}

/// `name(arguments) = result`.
fn call(thread: &str, text: &str) -> Option<Call> {
    let (name, rest) = text.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    let (_, thread) = thread.split_once('<')?;
    Some(Call {
        thread: thread.to_owned(),
        name: name.to_owned(),
        paths: if name == "execve" { first(arguments) } else { paths(arguments) },
        is_done: !result.starts_with('-') && !result.starts_with('?'),
    })
}

fn first(arguments: &str) -> Vec<String> {
    paths(arguments).into_iter().take(1).collect()
}

/// A quoted path is below the open directory that stands before it, `3</data>`; one without a path behind it is meant
/// itself.
fn paths(arguments: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Option<String> = None;
    let mut rest = arguments;
    while let Some(at) = rest.find(['<', '"']) {
        let is_path = rest[at..].starts_with('"');
        rest = &rest[at + 1..];
        let Some(end) = rest.find(if is_path { '"' } else { '>' }) else { break };
        let text = &rest[..end];
        rest = &rest[end + 1..];
        if !is_path {
            open = Some(text.to_owned());
        } else if text.starts_with('/') {
            open = None;
            found.push(text.to_owned());
        } else {
            let folder = open.take().unwrap_or_else(|| "?".to_owned());
            found.push(format!("{}/{text}", folder.trim_end_matches('/')));
        }
    }
    if found.is_empty() {
        found.extend(open);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_read_with_their_paths_and_ends() {
        let text = r#"
18<systemd> execve("/usr/bin/nats-agent", ["/usr/bin/nats-agent", "applier"], 0x5 /* 4 vars */) = 0
111<tokio-rt-worker> unlinkat(11</data/jetstream>, "nats-agent-probe", 0) = 0
110<nats-agent> unlink("/run/applier.sock" <unfinished ...>
18<systemd> rmdir("/run/x") = -1 ENOENT (No such file or directory)
110<nats-agent> <... unlink resumed>) = 0
44<nats-server> renameat(AT_FDCWD</>, "/data/a", 4</data>, "b" <unfinished ...>
44<nats-server> +++ killed by SIGKILL +++
45<nats-server> ftruncate(9</data/jetstream/1.blk>, 0) = 0
46<nats-server> renameat2(AT_FDCWD</var>, "a", AT_FDCWD</var>, "b", 0) = 0
"#;
        let found: Vec<(String, String, String, bool)> = calls(text)
            .into_iter()
            .map(|one| (one.thread, one.name, one.paths.join(" "), one.is_done))
            .collect();
        let expected = [
            ("systemd", "execve", "/usr/bin/nats-agent", true),
            ("tokio-rt-worker", "unlinkat", "/data/jetstream/nats-agent-probe", true),
            ("systemd", "rmdir", "/run/x", false),
            ("nats-agent", "unlink", "/run/applier.sock", true),
            ("nats-server", "ftruncate", "/data/jetstream/1.blk", true),
            ("nats-server", "renameat2", "/var/a /var/b", true),
        ];
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(thread, name, paths, done)| (thread.to_owned(), name.to_owned(), paths.to_owned(), done))
            .collect();
        assert_eq!(found, expected);
    }
}
