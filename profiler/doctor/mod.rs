//! What stands between rprof and whole, named stacks: on this machine, and in a process.
//!
//! `rprof doctor` shows all of it; recording asks for what it cannot do without, before it begins.

mod machine;
mod process;
mod setcap;

pub use machine::{Check, Verdict, check_recording, examine};
pub use process::{By, Code, Symbols, examine_process};
pub use setcap::Grant;
