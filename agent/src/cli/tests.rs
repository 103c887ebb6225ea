//! The shape of the command line: help texts as files (`UPDATE_GOLDEN=1` rewrites them), refusals, exit codes.

use std::path::Path;

use clap::CommandFactory;

use super::*;

fn golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/cli").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, found).unwrap();
    }
    let expected = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; UPDATE_GOLDEN=1 writes it", path.display()));
    assert_eq!(found, expected, "{} differs; UPDATE_GOLDEN=1 rewrites it", path.display());
}

#[test]
fn help_is_as_expected() {
    let mut command = Cli::command();
    command.build();
    golden("nats-agent.txt", &command.render_help().to_string());
    for subcommand in command.get_subcommands_mut() {
        let name = format!("{}.txt", subcommand.get_name());
        if name == "help.txt" {
            continue;
        }
        golden(&name, &subcommand.render_long_help().to_string());
        for inner in subcommand.get_subcommands_mut().filter(|inner| inner.get_name() != "help") {
            let name = format!("{}-{}", name.trim_end_matches(".txt"), inner.get_name());
            golden(&format!("{name}.txt"), &inner.render_long_help().to_string());
        }
    }
}

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

fn refusal(arguments: &[&str]) -> String {
    let all = ["nats-agent"].iter().chain(arguments);
    Cli::try_parse_from(all).unwrap_err().to_string()
}

#[test]
fn refusals_say_what_is_missing() {
    let cases: [(&[&str], &str); 7] = [
        (&["serve"], "--listen <ADDRESS:PORT>"),
        (&["serve", "--listen", "here"], "invalid value 'here' for '--listen <ADDRESS:PORT>'"),
        (&["creds", "--authority", "acme"], "<--user <NAME>|--role <ROLE>>"),
        (&["creds", "--authority", "acme", "--user", "u"], "--account <NAME>"),
        (
            &["creds", "--authority", "acme", "--role", "reader", "--account", "a", "--user", "u"],
            "cannot be used with",
        ),
        (&["status", "--agent", "127.0.0.1:8442"], "--authority <NAME>"),
        (&["diff", "--agent", "a:1", "--authority", "acme", "--state-dir", "/x"], "cannot be used with"),
    ];
    for (arguments, expected) in cases {
        let found = refusal(arguments);
        assert!(found.contains(expected), "{arguments:?}: {found}");
    }
}

#[test]
fn a_wrong_command_line_is_no_drift() {
    let arguments = |text: &[&str]| text.iter().map(OsString::from).collect::<Vec<_>>();
    assert_eq!(
        format!("{:?}", run(arguments(&["nats-agent", "no-such-command"]))),
        format!("{:?}", ExitCode::from(64))
    );
    assert_eq!(
        format!("{:?}", run(arguments(&["nats-agent", "--version"]))),
        format!("{:?}", ExitCode::SUCCESS)
    );
}
