//! Sources of waits: programs that know how long they wait and where, and what recordings say of
//! them. They need root.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod idle;
mod known;
mod python;
mod recorder;
mod waker;
mod wall;
mod words;
