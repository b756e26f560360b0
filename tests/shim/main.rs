//! The preload shim: what it announces, to a BPF program that listens as rprof does, of programs of
//! known behaviour and of real ones; which programs cannot have it; and the notes by which its
//! probes, and those of others, are found. They need root, and the packages below; what is missing
//! is said aloud, and fails where CI=true.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../common/workload.rs"]
mod workload;

mod exact;
mod listen;
mod object;
mod programs;
mod refused;
mod sampled;
mod usdt;

/// What Debian calls the packages that the tests use, besides Rust's own tools.
pub const PACKAGES: &str = "clang gcc g++ libc6-dev binutils musl-tools libjemalloc2 python3 nodejs \
     openjdk-17-jdk-headless redis-server redis-tools util-linux libcap2-bin";

/// Debian's jemalloc, which has operators of C++ too.
pub const JEMALLOC: &str = "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2";
