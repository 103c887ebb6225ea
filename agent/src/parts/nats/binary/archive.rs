//! The binary in a release of nats-server: `nats-server-v2.15.1-linux-amd64/nats-server` in a `.tar.gz`.
//!
//! Works on bytes in memory and writes nothing. Names in the archive decide nothing but which file is meant.

use std::ffi::OsStr;
use std::io::{self, Read};

use flate2::read::GzDecoder;

use crate::roles::DOWNLOAD_LIMIT;

/// Most files in an archive that are looked at; a release has three.
const ENTRIES: usize = 1000;

/// Why there is no binary in it.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Not a `.tar.gz`, or a damaged one.
    #[error("it is no whole `.tar.gz`")]
    Damaged(#[source] io::Error),
    /// No file of this name.
    #[error("no file in it is called `nats-server`")]
    NoBinary,
    /// It unpacks to more than anything that is installed.
    #[error("it unpacks to more than {DOWNLOAD_LIMIT} bytes")]
    TooLarge,
}

/// Whether these bytes begin as gzip does. Source: RFC 1952, 2.3.1.
pub(super) fn is_archive(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b])
}

/// The first regular file called `nats-server`, in whatever directory.
///
/// # Errors
/// [`ArchiveError`].
pub(super) fn binary(bytes: &[u8]) -> Result<Vec<u8>, ArchiveError> {
    unpack(bytes, DOWNLOAD_LIMIT)
}

fn unpack(bytes: &[u8], limit: u64) -> Result<Vec<u8>, ArchiveError> {
    // One more byte than may be there shows that there are more.
    let mut archive = tar::Archive::new(GzDecoder::new(bytes).take(limit + 1));
    let result = find(&mut archive);
    if archive.into_inner().limit() == 0 {
        return Err(ArchiveError::TooLarge);
    }
    result
}

fn find(archive: &mut tar::Archive<impl Read>) -> Result<Vec<u8>, ArchiveError> {
    for entry in archive.entries().map_err(ArchiveError::Damaged)?.take(ENTRIES) {
        let mut entry = entry.map_err(ArchiveError::Damaged)?;
        let is_it = entry.header().entry_type().is_file()
            && entry.path().map_err(ArchiveError::Damaged)?.file_name() == Some(OsStr::new("nats-server"));
        if is_it {
            let mut binary = Vec::new();
            entry.read_to_end(&mut binary).map_err(ArchiveError::Damaged)?;
            let is_whole = binary.len() as u64 == entry.size();
            return if is_whole {
                Ok(binary)
            } else {
                Err(ArchiveError::Damaged(io::ErrorKind::UnexpectedEof.into()))
            };
        }
    }
    Err(ArchiveError::NoBinary)
}

/// Any bytes, for `crate::fuzz`.
#[cfg(feature = "fuzz")]
pub(crate) fn fuzz(bytes: &[u8]) {
    const LIMIT: u64 = 64 * 1024;
    if let Ok(binary) = unpack(bytes, LIMIT) {
        assert!(binary.len() as u64 <= LIMIT);
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o755);
            builder.append_data(&mut header, name, *content).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap()
    }

    #[test]
    fn a_release_gives_its_binary_and_anything_else_an_error() {
        let release =
            [("nats-server-v2/README.md", b"read".as_slice()), ("nats-server-v2/nats-server", b"run")];
        let whole = archive(&release);
        assert!(is_archive(&whole) && !is_archive(b"\x7fELF"));
        assert_eq!(binary(&whole).unwrap(), b"run");
        assert!(matches!(binary(&archive(&release[..1])), Err(ArchiveError::NoBinary)));
        assert!(matches!(binary(b"\x1f\x8bnothing"), Err(ArchiveError::Damaged(_))));
        for end in [12, 20, 40] {
            assert!(binary(&whole[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn an_archive_that_unpacks_to_too_much_is_refused() {
        let zeros = vec![0_u8; 4 * 1024 * 1024];
        for files in
            [[("a", zeros.as_slice()), ("nats-server", b"x")], [("nats-server", &zeros), ("b", b"x")]]
        {
            let bomb = archive(&files);
            assert!(bomb.len() < 64 * 1024, "it is small: {}", bomb.len());
            assert!(matches!(unpack(&bomb, 1024 * 1024), Err(ArchiveError::TooLarge)));
        }
    }
}
