//! A file that was written and not fsynced when the power went.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;

use nats_agent::parts::effects::Form;

/// Cuts what an effect of this form has just written at `at` of 256 parts of it. What was fsynced before stays: of a file
/// that is added to, only the last line is torn.
///
/// # Errors
/// When the file cannot be read or cut.
pub fn tear(path: &Path, at: u8, form: Form) -> io::Result<()> {
    let bytes = std::fs::read(path)?;
    let kept = match form {
        Form::Append => {
            let whole = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
            whole.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
        }
        _ => 0,
    };
    let written = (bytes.len() - kept) as u64;
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(kept as u64 + written * u64::from(at) / 256)
}
