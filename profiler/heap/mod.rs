//! How allocators are found and probed, for the source `heap`.
//!
//! ```text
//! a mapped file ─► object ─► its allocator's functions ─► place of each probe
//!                              (by their names)             (by disassembly)
//! ```

mod attach;
mod functions;
mod object;
mod place;
mod preloaded;

pub use attach::{Attached, Programs, Who};
pub use functions::Function;
pub use object::{Probe, find};
pub use place::Place;
pub use preloaded::Preloaded;
