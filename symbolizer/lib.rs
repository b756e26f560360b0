//! From addresses to frames: functions, what was inlined into them, files and
//! lines.
//!
//! ```text
//! pid ─► maps ─► Mapping ─┬─ file ──► Image ─► symbolize
//!                         ├─ vdso ──► vdso::symbolize
//!                         └─ other ─► PerfMap (code made at run time)
//! kernel address ───────────────────► kernel::symbolize
//! ```
//!
//! Everything read here belongs to others, and some of it to people who mean
//! harm: a broken file has fewer symbols, or none, and never takes the
//! profiler down. Nothing is mapped into memory, every size has a limit that
//! is stated where it is used, and there is no unsafe code. An address whose
//! function is not known has no symbols; no name is made up.
#![forbid(unsafe_code)]

mod bytes;
pub mod cache;
mod debug;
mod demangle;
mod dwarf;
mod elf;
mod error;
mod frames;
mod functions;
mod image;
pub mod kernel;
mod lines;
pub mod maps;
mod mini;
pub mod perfmap;
mod plt;
mod process;
mod signature;
mod symbol;
mod table;
mod units;
pub mod vdso;

pub use debug::DEBUG_DIRECTORY;
pub use demangle::{MAX_NAME, demangle};
pub use error::{Error, Result};
pub use image::{Detail, Facts, FileKey, Image};
pub use maps::{Kind, Mapping, Maps};
pub use perfmap::PerfMap;
pub use signature::{Parameter, Shape, Signature};
pub use symbol::{Symbol, Symbols};
