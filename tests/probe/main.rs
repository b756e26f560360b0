//! Any probe: `-e` of `record`, `trace` and `latency` sees each hit of a workload that makes a known
//! number of them, with the arguments that it was given; `list` finds what can be probed. They need
//! root.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
#[allow(dead_code, reason = "the tests of latency use all of it")]
#[path = "../latency/gauge.rs"]
mod gauge;
#[path = "../trace/tracer.rs"]
mod tracer;

mod lines;
mod listed;
mod refused;
mod stacks;
mod times;

/// `uprobe:FILE:NAME` and the like, for a program that a test has compiled.
pub fn at(kind: &str, file: &std::path::Path, name: &str) -> String {
    format!("{kind}:{}:{name}", file.display())
}
