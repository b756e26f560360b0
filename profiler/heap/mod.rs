//! How allocators are found and probed, for the source `heap`.
//!
//! ```text
//! a mapped file ─► object ─► its allocator's functions ─► place of each probe
//!                              (by their names)             (by disassembly)
//! ```
//!
//! The governor takes probes off and sets them again, so that they cost no more than they may.

mod announced;
mod attach;
mod cost;
mod functions;
mod governor;
mod object;
pub(crate) mod place;
mod preloaded;
mod sweep;

pub use announced::Listeners;
pub(crate) use announced::calls_nops;
pub use attach::{Attached, Programs, Who};
pub use cost::{CpuTime, pair};
pub use functions::Function;
pub use governor::{Governor, Order};
pub use object::{Probe, find};
pub use place::Place;
pub use preloaded::Preloaded;
pub use sweep::Sweep;
