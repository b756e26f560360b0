//! `rprof trace`: each source sees exactly the events of a workload that makes a known number of them,
//! and tells them without harm to the terminal. They need root.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod calls;
mod files;
mod hostile;
mod order;
mod processes;
mod shell;
mod signals;
mod storm;
mod strace;
mod tcp;
mod tracer;
