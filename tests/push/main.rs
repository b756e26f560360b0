//! What is pushed, as receivers on loopback get it: each protocol decoded by its published
//! definitions, and receivers that misbehave.
#![allow(clippy::unwrap_used)]

#[path = "../common/workload.rs"]
#[allow(dead_code)]
mod workload;

mod files;
mod message;
mod otlp;
mod pushing;
mod pyroscope;
mod queue;
mod rpc;
mod secrets;
mod server;
mod tls;
mod trouble;
