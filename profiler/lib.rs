//! rprof: where a Linux machine's time and memory go.
//!
//! ```text
//! bpf/NAME.bpf.c ─► sources ─► collector ─► resolve ─► model ─► store ─► output ─► file, stdout, push
//!   in the kernel    attach      drain         │                 ▲
//!                                         symbolizer             └── view: query, merge
//! ```
//!
//! `session` drives the left half of it for `record` and for the `agent`, which does so for days.
//! Capture and reading meet only in the store: whatever reads a recording needs no privilege, no
//! BPF and none of the machine's files. The modules, in the order of the flow:

pub mod target;

pub mod sources;

pub mod shim;

pub mod usdt;

pub mod probe;

pub mod bpf;

pub mod collector;

pub mod unwind;

pub mod resolve;

pub mod model;

pub mod store;

pub mod output;

pub mod query;

pub mod viewer;

pub mod push;

pub mod heap;

pub mod lanes;

pub mod session;

pub mod callers;

pub mod agent;

pub mod doctor;

pub mod cli;

mod machine;

mod nearest;
