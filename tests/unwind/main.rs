//! Unwind tables against gimli's own reading of the same files, compiled programs whose rules are
//! known, and hostile files; and the unwinder, of which the kernel half is run without a kernel,
//! against stacks made by hand and a real program's at every instruction.

#![allow(clippy::unwrap_used)]

mod harness;
mod hostile;
mod made;
mod oracle;
mod programs;
mod rules;
mod steps;

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
