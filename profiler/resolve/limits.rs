//! How much memory resolving may take. Beyond each limit something is looked up again, or turned
//! away and counted.

use symbolizer::Detail;

/// Limits on what is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Addresses of raw stacks, 8 bytes each; twice as many are kept at most.
    pub stack_addresses: usize,
    /// Stacks whose node in the model is remembered; about 100 bytes each.
    pub nodes: usize,
    /// Bytes of stack that may wait for unwind tables.
    pub waiting_bytes: usize,
    /// Bytes of unwind tables at hand to follow those.
    pub table_bytes: usize,
    /// Executable mappings of all processes; about 200 bytes each.
    pub mappings: usize,
    /// Whether debug information stays parsed between two rounds of naming. It takes less time to
    /// name, and up to [`symbolizer::cache::MAX_BYTES`].
    pub keep_debug_info: bool,
    /// How much is found out of each file.
    pub detail: Detail,
}

impl Default for Limits {
    /// For a recording that ends soon.
    fn default() -> Self {
        Self {
            stack_addresses: 2 << 20,
            nodes: 256 << 10,
            waiting_bytes: 32 << 20,
            table_bytes: 16 << 20,
            mappings: 1 << 20,
            keep_debug_info: true,
            detail: Detail::Own,
        }
    }
}

impl Limits {
    /// For a program that may take `bytes` in all: each part a share of it, nearly half together.
    pub fn within(bytes: u64) -> Self {
        let bytes = bytes as usize;
        Self {
            stack_addresses: bytes / 256,
            nodes: bytes / 2048,
            waiting_bytes: bytes / 16,
            table_bytes: bytes / 8,
            mappings: bytes / 2048,
            keep_debug_info: false,
            detail: Detail::Own,
        }
    }
}
