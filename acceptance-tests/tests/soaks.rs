//! A sample of each proof, so that none of them rots. The whole is run by `cargo xtask soak`.
#![cfg_attr(
    test,
    expect(
        clippy::unwrap_used,
        clippy::print_stdout,
        reason = "a panic is how a test fails, and figures are for people"
    )
)]

use std::collections::BTreeSet;

use acceptance_tests::soak::{Extent, Order, PROOFS};

#[test]
fn every_proof_has_a_name_of_its_own() {
    let names: BTreeSet<&str> = PROOFS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names.len(), PROOFS.len());
}

#[test]
fn writers() {
    sample("writers");
}

#[test]
fn configurations() {
    sample("configurations");
}

#[test]
fn certificates() {
    sample("certificates");
}

#[test]
fn growing() {
    sample("growing");
}

#[test]
fn claims() {
    sample("claims");
}

#[test]
fn drift() {
    sample("drift");
}

#[test]
fn users() {
    sample("users");
}

#[test]
fn hostile_port() {
    sample("hostile-port");
}

#[test]
fn lesser_keys() {
    sample("lesser-keys");
}

#[test]
fn rotation() {
    sample("rotation");
}

#[test]
fn terraform_kill() {
    sample("terraform-kill");
}

#[test]
fn kill() {
    sample("kill");
}

/// Runs the sample of the proof `name`, from a seed that a failure prints.
fn sample(name: &str) {
    let seed = u64::from(std::process::id());
    let (_, prove) = PROOFS.iter().find(|(known, _)| *known == name).unwrap();
    let proof = prove(&Order { seed, extent: Extent::Sample })
        .unwrap_or_else(|error| panic!("`{name}` with seed {seed}: {error:#}"));
    println!("{}", proof.text(seed, "this machine"));
    assert_eq!(proof.broken(), Vec::<String>::new(), "`{name}` with seed {seed}");
}
