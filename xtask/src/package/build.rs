//! The programs that go into packages: the ordinary development build, or static release builds.

use std::path::Path;

use acceptance_tests::rig::binaries;
use anyhow::{Context, Result, ensure};

/// Both programs, whole.
pub(super) struct Programs {
    pub(super) agent: Vec<u8>,
    pub(super) provider: Vec<u8>,
}

/// What tests build anyway.
///
/// # Errors
/// When it does not compile.
pub(super) fn development() -> Result<Programs> {
    Ok(Programs { agent: read(&binaries::agent()?)?, provider: read(&binaries::provider()?)? })
}

/// The agent that tests build anyway.
///
/// # Errors
/// When it does not compile.
pub(super) fn development_agent() -> Result<Vec<u8>> {
    read(&binaries::agent()?)
}

/// Release builds that need no library of the host: one provider for every Linux, Alpine too, and an agent for every
/// glibc.
///
/// # Errors
/// When they do not compile, or one of them wants a loader after all.
pub(super) fn release() -> Result<Programs> {
    let program = |name: &str| {
        let bytes = read(&binaries::build_static(name)?)?;
        ensure!(
            !wants_loader(&bytes)?,
            "`{name}` wants a loader: it would not run where glibc is older or absent"
        );
        Ok(bytes)
    };
    Ok(Programs { agent: program("nats-agent")?, provider: program("terraform-provider-nats")? })
}

/// Whether a program is loaded by another one, which then finds its libraries. One that is not runs on every Linux of its
/// machine. Source: ELF-64 object file format 1.5: program headers, `PT_INTERP`.
///
/// # Errors
/// When the bytes are no 64-bit little-endian ELF.
pub(super) fn wants_loader(program: &[u8]) -> Result<bool> {
    const PT_INTERP: u32 = 3;
    let at =
        |from: usize, length: usize| program.get(from..from + length).context("the program is cut short");
    let short = |from: usize| Ok::<_, anyhow::Error>(u16::from_le_bytes(at(from, 2)?.try_into()?));
    ensure!(at(0, 6)? == b"\x7fELF\x02\x01", "the program is no 64-bit little-endian ELF");
    let table = usize::try_from(u64::from_le_bytes(at(32, 8)?.try_into()?))?;
    let (size, count) = (short(54)?, short(56)?);
    for number in 0..count {
        let header =
            table.checked_add(usize::from(size) * usize::from(number)).context("a table out of range")?;
        ensure!(header < program.len(), "the program is cut short");
        if u32::from_le_bytes(at(header, 4)?.try_into()?) == PT_INTERP {
            return Ok(true);
        }
    }
    Ok(false)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("read `{}`", path.display()))
}
