//! Live recordings: programs of known shape, run and recorded here, and what the outputs say of
//! them. Each test has workloads and recordings of its own, so they run beside one another and
//! beside whatever else the machine does. They need root.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod chance;
mod command;
mod end;
mod honesty;
mod kubernetes;
mod life;
mod machine;
mod naming;
mod programs;
mod recorder;
mod shape;
mod target;
