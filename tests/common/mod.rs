//! What several tests need. No test needs all of it.

#[allow(dead_code)]
pub mod command;
#[allow(dead_code)]
pub mod workload;
