//! Unwind tables against gimli's own reading of the same files, compiled programs whose rules are
//! known, and hostile files.

#![allow(clippy::unwrap_used)]

mod hostile;
mod oracle;
mod programs;

use rprof::unwind::{Image, Table};

/// The table of an ELF file in memory.
fn table(image: &[u8]) -> Table {
    Table::build(&Image::read(image).unwrap()).unwrap()
}

/// xorshift64*: the same numbers in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}
