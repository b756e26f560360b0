//! The agent at work, with real recordings on the real kernel: windows that land in its store, ends of
//! all kinds, the budget, the viewer's process, and what a machine does to it for minutes.
#![allow(clippy::unwrap_used)]

#[path = "../common/workload.rs"]
#[allow(dead_code)]
mod workload;

mod agent;
mod budget;
mod clock;
mod disk;
mod end;
mod lanes;
mod soak;
mod store;
mod viewer;
