//! From maps and ring buffers to Rust values, a file per kind of data. Nothing here interprets
//! what it carries.

mod events;
mod latency;
mod stacks;
mod tasks;

pub use events::EventRings;
pub use latency::{Gathered, Histograms, Occurrence};
pub use stacks::{Batch, RawFree, RawSample, Snapshot};
pub use tasks::{TaskEvent, TaskEvents, TaskKind};
