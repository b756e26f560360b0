//! What is known of one address, as it is handed to the caller.

use crate::demangle::demangle;
use crate::lines::Place;

/// One function at an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Symbol {
    /// The name as the programmer wrote it; see [`demangle`](crate::demangle()).
    pub name: String,
    /// The name as in the file, where it is another.
    pub system_name: Option<String>,
    /// Source file, as the compiler recorded it.
    pub file: Option<String>,
    /// Line in `file`, 0 where not known.
    pub line: u32,
    /// Column in `line`, 0 where not known.
    pub column: u32,
}

/// The functions at one address: the innermost inlined one first, the one
/// that really stands there last. Empty where no name is known.
pub type Symbols = Vec<Symbol>;

impl Symbol {
    /// A function of which only the name is known.
    pub(crate) fn named(system: &str) -> Self {
        Self::placed(system, &Place::default())
    }

    pub(crate) fn placed(system: &str, place: &Place) -> Self {
        let (name, system_name) = match demangle(system) {
            Some(name) => (name, Some(system.to_owned())),
            None => (system.to_owned(), None),
        };
        let file = place.file.as_deref().map(str::to_owned);
        let (line, column) = if file.is_some() { (place.line, place.column) } else { (0, 0) };
        Self { name, system_name, file, line, column }
    }
}
