//! Sources of memory: programs that allocate known amounts, and what recordings say of them. They
//! need root.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod announced;
mod attach;
mod command;
mod faults;
mod heap;
mod kmem;
mod programs;
mod recorder;
