//! From `.eh_frame` to unwind tables that the kernel half can search.
//!
//! [`Image`] reads an ELF file's headers, [`Image::key`] names its contents, [`Table::build`]
//! turns its call frame information into rows of 4 bytes, [`Table::encode`] keeps them for the
//! next run. Nothing up to there knows of BPF, processes, or where files come from, and nothing in
//! a file is trusted; [`Loader`] is what brings tables and processes into the kernel.
//!
//! ```text
//! file, vdso ─► image ─► sections ─► frames (gimli) ─► x86 ─► pack ─► table ─► codec ─► disk
//!                 └─► key                               rule          └─► lookup, maps
//! ```
//!
//! # How tables go into BPF maps
//!
//! `bpf/tables.bpf.h` has the maps; [`Layout`] says what goes where in them, [`Loader`] fills them.
//! None is sized for the worst case from the start, but those that are small anyway.
//!
//! | map | type | holds |
//! |---|---|---|
//! | `unwind_chunks` | array of maps, 1,024 slots | arrays of one value of 256 KiB, made when needed |
//! | `unwind_files` | array | where in the chunks a file's index is |
//! | `unwind_mappings` | array | mappings of all processes, a run for each |
//! | `unwind_processes` | hash | pid -> its run of mappings |
//!
//! A **chunk** holds rows or indexes of any files: 65,536 words of 4 bytes. Values of an array
//! are rounded up to 8 bytes, so a map of single rows would be half empty; and a whole chunk is
//! one `bpf_map_update_elem`, where a map of rows takes 0.8 s for node's. A page of 64 KiB of code
//! has at most 65,536 rows, so each page lies within one chunk, and the search is plain loads
//! from one pointer. A chunk is freed when the last file in it is.
//!
//! A file's **index** is a run of words in one chunk: first its rules, as [`Rule::pack`] has them,
//! then two words for each page: chunk and first row, number of rows less one and whether there is
//! any. With the rules beside the pages, rows need no change on their way in, rules leave with
//! their file, and no file can use up the rules of others; it costs 0.2 % of the rows' memory.
//!
//! A process's **mappings** are written as a new run before the process is pointed to it, so a
//! sample sees the old ones or the new ones, never half. A file that had to make room for another
//! keeps its number with no pages, and all mappings of it stay as they are.

mod cache;
mod chunks;
mod codec;
mod error;
mod facts;
mod frames;
mod go;
mod hash;
mod image;
mod key;
mod layout;
mod loader;
mod pack;
mod plt;
mod rule;
mod runs;
mod sections;
mod shelf;
mod table;
mod x86;

pub use error::Error;
pub(crate) use error::bound;
pub use facts::Facts;
pub use image::{Image, ReadAt, Segment, bias};
pub use key::Key;
pub use layout::{Layout, Placed};
pub use loader::{Code, Counts, Loader, Maps, Region};
pub use pack::ALIGNMENT;
pub use rule::{Kind, RBX_LOST, Rbp, Rule};
pub use table::{MAX_PAGES, PAGE_BITS, Page, Table};
