//! The counts that `rprof doctor` shows of a file's unwind table.

/// What was found in a file, and what could not be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Functions described (FDEs).
    pub functions: u64,
    /// Entries that could not be read, wholly or from some point on.
    pub broken: u64,
    /// Rows whose rule rprof does not have.
    pub odd: u64,
    /// Rows after which the caller's rbp is not known.
    pub lost: u64,
    /// Bytes of functions that lie outside of all executable segments.
    pub outside: u64,
    /// Bytes of code that a row covers.
    pub covered: u64,
    /// Those of them that only `.debug_frame` describes.
    pub debug: u64,
    /// Those of them that are PLT entries, `_init` or `_fini`, which nothing describes.
    pub plt: u64,
}

impl Facts {
    pub(super) const COUNT: usize = 8;

    pub(super) fn numbers(self) -> [u64; Self::COUNT] {
        let Self { functions, broken, odd, lost, outside, covered, debug, plt } = self;
        [functions, broken, odd, lost, outside, covered, debug, plt]
    }

    pub(super) fn from_numbers(numbers: [u64; Self::COUNT]) -> Self {
        let [functions, broken, odd, lost, outside, covered, debug, plt] = numbers;
        Self { functions, broken, odd, lost, outside, covered, debug, plt }
    }
}
