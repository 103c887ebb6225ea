//! The applier of the check `kill` of `cargo xtask test-hosts`: see `hosts::struck`.

fn main() -> anyhow::Result<()> {
    acceptance_tests::hosts::struck::serve()
}
