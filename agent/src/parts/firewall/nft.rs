//! Runs `nft`: by absolute path, without a shell, commands as one JSON batch on standard input, answers bounded.
//!
//! The kernel takes a batch whole or not at all, so a crash at any moment leaves the old table or the new one.

use std::process::Stdio;
use std::time::Duration;

use host_state::firewall::{ListingError, MAX_LISTING_BYTES, TABLE, TABLE_FAMILY};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::parts::effects::{Effect, Effects, Moment};

/// Where the packages of Debian, Ubuntu, Fedora and their kin put it.
pub const NFT: &str = "/usr/sbin/nft";
/// How long one call may take; a set of 50,000 networks takes half a second.
const DEADLINE: Duration = Duration::from_secs(20);
/// Longest complaint that is passed on, in characters.
const SHOWN_MAX: usize = 400;
/// Most bytes of complaints that are read.
const COMPLAINT_BYTES: u64 = 64 * 1024;

/// Why `nft` did not do it.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// It could not be run.
    #[error("cannot run `{NFT}`; install the package `nftables`")]
    Run(#[source] std::io::Error),
    /// It did not end.
    #[error("`{NFT}` took more than {} s", DEADLINE.as_secs())]
    Deadline,
    /// It refused.
    #[error("`{NFT}` refuses: {0}")]
    Refused(String),
    /// What it listed cannot be read.
    #[error("cannot read what `{NFT}` lists")]
    Listing(#[from] ListingError),
}

/// Has the kernel take `commands` whole. The process that told it so, if it may have, is added to `own`.
///
/// # Errors
/// [`NftError`]; then the kernel's tables are as they were, unless only the answer was lost.
pub(super) async fn commit(effects: &Effects, commands: &Value, own: &mut Vec<u32>) -> Result<(), NftError> {
    effects.reach(Effect::ReplaceTable, Moment::Before).map_err(NftError::Run)?;
    let mut id = None;
    let done = run_as(&mut id, &["-j", "-f", "-"], commands.to_string().as_bytes()).await;
    if !matches!(done, Err(NftError::Refused(_))) {
        own.extend(id);
    }
    done?;
    effects.reach(Effect::ReplaceTable, Moment::After).map_err(NftError::Run)
}

/// Has the kernel look at `commands` and take none of them.
///
/// # Errors
/// [`NftError`].
pub(super) async fn check(effects: &Effects, commands: &Value) -> Result<(), NftError> {
    effects.reach(Effect::CheckTable, Moment::Before).map_err(NftError::Run)?;
    run(&["-c", "-j", "-f", "-"], commands.to_string().as_bytes()).await?;
    effects.reach(Effect::CheckTable, Moment::After).map_err(NftError::Run)
}

/// The listing of our table; `None` when there is none.
///
/// # Errors
/// [`NftError`].
pub(super) async fn list_own() -> Result<Option<Vec<u8>>, NftError> {
    match run(&["-j", "list", "table", TABLE_FAMILY, TABLE], &[]).await {
        Ok(listing) => Ok(Some(listing)),
        // That it is not there is asked for itself: the words of a refusal are nobody's promise.
        Err(NftError::Refused(reason)) => {
            let tables: Value = serde_json::from_slice(&run(&["-j", "list", "tables"], &[]).await?)
                .map_err(ListingError::Json)?;
            let listed = tables["nftables"].as_array().map(Vec::as_slice).unwrap_or_default();
            let is_ours =
                |one: &Value| one["table"]["family"] == TABLE_FAMILY && one["table"]["name"] == TABLE;
            if listed.iter().any(is_ours) { Err(NftError::Refused(reason)) } else { Ok(None) }
        }
        Err(error) => Err(error),
    }
}

/// The listing of every table, without the content of sets.
///
/// # Errors
/// [`NftError`].
pub(super) async fn list_all() -> Result<Vec<u8>, NftError> {
    run(&["-j", "-t", "list", "ruleset"], &[]).await
}

async fn run(arguments: &[&str], input: &[u8]) -> Result<Vec<u8>, NftError> {
    run_as(&mut None, arguments, input).await
}

/// As [`run`]; `id` is the process once it runs.
async fn run_as(id: &mut Option<u32>, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>, NftError> {
    tokio::time::timeout(DEADLINE, talk(id, arguments, input)).await.map_err(|_| NftError::Deadline)?
}

async fn talk(id: &mut Option<u32>, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>, NftError> {
    let mut child = tokio::process::Command::new(NFT)
        .args(arguments)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(NftError::Run)?;
    *id = child.id();
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // One that refuses early closes its end; its complaint says why.
            let _ = stdin.write_all(input).await;
        }
    };
    let limit = MAX_LISTING_BYTES as u64 + 1;
    let (mut listing, mut complaint) = (Vec::new(), Vec::new());
    let read = async {
        if let Some(stdout) = stdout {
            stdout.take(limit).read_to_end(&mut listing).await?;
        }
        Ok::<(), std::io::Error>(())
    };
    let hear = async {
        if let Some(stderr) = stderr {
            stderr.take(COMPLAINT_BYTES).read_to_end(&mut complaint).await?;
        }
        Ok::<(), std::io::Error>(())
    };
    let ((), read, heard) = tokio::join!(write, read, hear);
    read.and(heard).map_err(NftError::Run)?;
    if listing.len() > MAX_LISTING_BYTES {
        return Err(ListingError::TooLarge { found: listing.len() }.into());
    }
    let status = child.wait().await.map_err(NftError::Run)?;
    if status.success() { Ok(listing) } else { Err(NftError::Refused(shown(&complaint))) }
}

fn shown(complaint: &[u8]) -> String {
    let text = String::from_utf8_lossy(complaint);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("; ").chars().take(SHOWN_MAX).collect()
}
