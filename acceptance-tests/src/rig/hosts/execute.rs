//! Runs one program to its end and takes its output; a failure tells what it said.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

/// Runs `command` with `input` (nothing, when empty) and gives its standard output.
///
/// # Errors
/// When it cannot be started or fails; the text holds what it wrote.
pub fn run_with(command: &mut Command, input: &[u8]) -> Result<String> {
    let output = output_with(command, input)?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        bail!("{} ended with {}: {}", name(command), output.status, said.concat().trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// As [`run_with`], without input.
///
/// # Errors
/// As [`run_with`].
pub fn run(command: &mut Command) -> Result<String> {
    run_with(command, &[])
}

/// As [`run_with`], for who wants the status too: only a program that cannot be run is an error.
///
/// # Errors
/// When it cannot be started.
pub fn output_with(command: &mut Command, input: &[u8]) -> Result<Output> {
    command.stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() });
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.with_context(|| format!("start {}", name(command)))?;
    // A program that has ended or that reads none of its input says so by its status.
    let _ = child.stdin.take().map(|mut sink| sink.write_all(input));
    child.wait_with_output().with_context(|| format!("wait for {}", name(command)))
}

/// How error texts call it: the program and what follows, without what brings it to a host.
fn name(command: &Command) -> String {
    let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    let own = words.iter().position(|word| word == "--").map_or(&words[..], |end| &words[end + 1..]);
    let program = command.get_program().to_string_lossy();
    let text = if own.len() == words.len() { format!("{program} {}", own.join(" ")) } else { own.join(" ") };
    format!("`{}`", text.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_given_and_a_failure_tells_what_was_said() {
        assert_eq!(run_with(&mut Command::new("cat"), b"text").unwrap(), "text");
        let error = run(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`sh -c echo out; echo err >&2; exit 3` ended with exit status: 3: out\nerr"
        );
        let error = run(Command::new("env").args(["--", "false", "word"])).unwrap_err();
        assert_eq!(error.to_string(), "`false word` ended with exit status: 1: ");
    }
}
