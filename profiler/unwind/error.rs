//! Why a file has no unwind table, in words.
//!
//! Any of these costs the file its table and nothing else: the unwinder follows frame
//! pointers through it, and `rprof doctor` shows the reason.

use std::fmt;
use std::io;

/// Why a table could not be built or read back.
#[derive(Debug)]
pub enum Error {
    /// The file could not be read.
    Io(io::Error),
    /// The bytes do not start as an ELF file does.
    NotElf,
    /// An ELF file of another machine or word size; the text says which is supported.
    Foreign(&'static str),
    /// A header contradicts the file; the text says which.
    Malformed(&'static str),
    /// Neither `.eh_frame` nor `.debug_frame` describes any function.
    NoTable,
    /// More than rprof is willing to read of one file.
    TooBig {
        /// What there is too much of.
        what: &'static str,
        /// The amount found when it was given up.
        found: u64,
        /// The most that is accepted.
        limit: u64,
    },
    /// A stored table is damaged, cut short, or of another version.
    Stored(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "cannot read the file: {error}"),
            Self::NotElf => write!(f, "not an ELF file"),
            Self::Foreign(what) => write!(f, "not supported: {what}"),
            Self::Malformed(what) => write!(f, "damaged ELF file: {what}"),
            Self::NoTable => write!(f, "no function in .eh_frame or .debug_frame"),
            Self::TooBig { what, found, limit } => {
                write!(f, "too many {what}: {found}, the limit is {limit}")
            }
            Self::Stored(what) => write!(f, "stored unwind table: {what}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// `Err(TooBig)` when `found` is over `limit`.
pub(crate) fn bound(what: &'static str, found: u64, limit: u64) -> Result<(), Error> {
    if found > limit {
        return Err(Error::TooBig { what, found, limit });
    }
    Ok(())
}
