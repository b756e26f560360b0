//! `rprof latency` at work: what it measures is compared with what the kernel and the programs
//! themselves say of the same. Each test watches a workload of its own or gives bounds that hold
//! whatever else the machine does. They need root.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod gauge;
mod gc;
mod interrupts;
mod runqlat;
mod tcp;
mod words;
