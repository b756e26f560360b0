//! The store of days: what is written comes back, whatever happens to the writer, the disk, the
//! clock or the files, and whoever reads.

#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod clock;
mod damage;
mod day;
mod held;
mod lanes;
mod made;
mod reader;
mod whole;
mod writer;
