//! Whole stacks, live: programs of known shape against the stack that they must have, JIT
//! compilers, and real programs under real work, each with the share of its stacks that reach
//! their root. They need root, and the packages below; what is missing is said aloud, and fails
//! where CI=true.
//!
//! Shares are asserted with the luck that so many samples may have: 99.5 % of long-lived programs,
//! 95 % of those that live some milliseconds.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../common/stacks.rs"]
mod stacks;
#[allow(dead_code)]
#[path = "../common/workload.rs"]
mod workload;

mod jit;
mod life;
mod programs;
mod shape;

/// What Debian calls the packages that the tests use, besides Rust's own tools.
pub const PACKAGES: &str = "gcc g++ libc6-dev binutils golang-go nodejs openjdk-17-jdk-headless \
     xz-utils zstd gzip sqlite3 openssl python3 redis-server redis-tools git musl-tools";

/// Samples a second.
pub const HZ: u32 = 499;

/// The share of complete stacks of a program that lives long.
pub const LONG: f64 = 0.995;
/// The same of processes that live some milliseconds.
pub const SHORT: f64 = 0.95;

#[test]
fn packages_are_named_where_they_are_missing() {
    for (program, package) in programs::PACKAGE_OF {
        assert!(PACKAGES.split_whitespace().any(|name| name == package), "{package} of {program}");
    }
}
