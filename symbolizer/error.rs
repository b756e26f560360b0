//! Why a file gave no symbols. Everything that this crate reads belongs to
//! others, so an error is an answer that the caller counts and shows, not an
//! accident: each names the file or the limit, and the cause in words.

use std::fmt;
use std::io;

/// What every fallible function of this crate returns.
pub type Result<T> = std::result::Result<T, Error>;

/// Why something could not be read or understood.
#[derive(Debug)]
pub enum Error {
    /// The system refused: the action ("open /x") and its error.
    Io(String, io::Error),
    /// The content contradicts its own format: what was read, and how.
    Malformed(String),
    /// A stated limit of this crate stands in the way.
    TooLarge(String),
    /// There is nothing to read, for a reason that is no fault: no such
    /// section, no such mapping, a file of another kind.
    Absent(String),
}

impl Error {
    /// Wraps an error of the system with what was being done.
    pub(crate) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |error| Self::Io(action, error)
    }

    pub(crate) fn malformed(what: impl Into<String>) -> Self {
        Self::Malformed(what.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(action, error) => write!(out, "cannot {action}: {error}"),
            Self::Malformed(what) => write!(out, "malformed: {what}"),
            Self::TooLarge(what) => write!(out, "over the limit: {what}"),
            Self::Absent(what) => out.write_str(what),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(_, error) => Some(error),
            _ => None,
        }
    }
}

impl From<gimli::Error> for Error {
    fn from(error: gimli::Error) -> Self {
        Self::Malformed(format!("debug information: {error}"))
    }
}
