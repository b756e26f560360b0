//! From `.eh_frame` to unwind tables that the kernel half can search.
//!
//! [`Image`] reads an ELF file's headers, [`Image::key`] names its contents, [`Table::build`]
//! turns its call frame information into rows of 4 bytes, [`Table::encode`] keeps them for the
//! next run. Nothing here knows of BPF, processes, or where files come from, and nothing in a
//! file is trusted.
//!
//! ```text
//! file, vdso ─► image ─► sections ─► frames (gimli) ─► x86 ─► pack ─► table ─► codec ─► disk
//!                 └─► key                               rule          └─► lookup, maps
//! ```
//!
//! # How tables go into BPF maps
//!
//! Four maps, none of them sized for the worst case from the start:
//!
//! | map | type | holds |
//! |---|---|---|
//! | `unwind_chunks` | array of maps, 1,024 slots | inner arrays of one value of 256 KiB, made when needed |
//! | `unwind_files` | array, 4,096 | where in the chunks a file's index is; when it was last used |
//! | `unwind_processes` | hash, not preallocated | pid -> up to 256 mappings, sorted |
//! | `unwind_state` | per-CPU array, one for each kind of program | registers and frames so far |
//!
//! A **chunk** holds rows or indexes of any files: 65,536 words of 4 bytes. Values of an array
//! are rounded up to 8 bytes, so a map of single rows would be half empty; and a whole chunk is
//! one `bpf_map_update_elem`, where a map of rows takes 0.8 s for node's. A page of 64 KiB of code
//! has at most 65,536 rows, so each page lies within one chunk, and the search is plain loads
//! from one pointer. All inner maps have the same shape, which 5.15 can look up inline. A chunk
//! is freed when the last file in it is; 1,024 of them are the budget of 256 MB.
//!
//! A file's **index** is a run of 8-byte words in one chunk: first its rules, as [`Rule::pack`]
//! has them, then for each page `chunk: u16, first: u16, count - 1: u16, used: u16`. With the
//! rules beside the pages, rows need no change on their way in, rules leave with their file,
//! and no file can use up the rules of others; it costs 0.2 % of the rows' memory. (With a
//! [`RuleTable`] shared by all files instead, [`Table::shared_rows`] gives the rows to store.)
//!
//! A **mapping** is `start: u64, bias: u64, pages: u32, file: u32`, 24 bytes: the pages are of
//! 4 KiB, `bias` is what [`Image::bias`] says. A process's mappings are replaced as one value,
//! so a sample sees the old ones or the new ones, never half. A file that is out of memory keeps
//! its number with no pages, and all its mappings stay as they are.
//!
//! # How the kernel half steps
//!
//! One global function (not static, not inlined), which the verifier checks once and by itself,
//! is called from a plain loop of 127 rounds; that loads on kernels without `bpf_loop` too. It
//! takes only the number of its state, and finds registers and mappings in there:
//!
//! ```text
//! step(state):
//!   pc = ip, less 1 unless innermost or interrupted by a signal   a return address may lie behind
//!                                                                 the end of its function
//!   mapping = search(process, pc)                                 8 rounds
//!     none -> frame pointer, reason "no mapping" if that fails
//!   address = pc - mapping.bias; page = (address >> 16) - file.first_page
//!     page >= file.pages, or page empty -> frame pointer, reason "no row"
//!   low, high = page.first, page.first + page.count               16 rounds, as Table::lookup
//!   rule = index[row & 0xffff]
//!   by rule.kind:
//!     Sp, Bp            cfa = sp or bp + offset
//!     SpDeref, BpDeref  cfa = *(sp or bp + offset) + 8 * parameter
//!     Plt               cfa = sp + offset + ((ip & 15) >= parameter ? 8 : 0)
//!     Register          innermost: cfa = registers[parameter] + offset; else frame pointer
//!     Signal            bp, sp, ip = *(sp + 0x78), *(sp + 0xa0), *(sp + 0xa8); the next frame
//!                       counts as innermost, but only ip, sp and bp of it are known
//!     End               complete
//!     None, Odd         frame pointer, reason "no row", "unknown rule" if that fails
//!   cfa must be above sp, or it would loop; after Signal it need not be: alternate stacks
//!   ip = *(cfa - 8); bp = by rule.rbp: same, *(cfa + rbp_offset), *(bp + rbp_offset), 0
//!   sp = cfa; ip == 0 -> complete
//! frame pointer:
//!   code at ip is `mov $15, %rax; syscall` -> as Signal: musl and Go have no rows for it
//!   bp == 0 -> complete, the ABI's mark of the outermost frame
//!   bp < sp, bp odd or 16 MB away -> reason "bad frame pointer"
//!   ip, sp, bp = *(bp + 8), bp + 16, *bp
//! ```
//!
//! [`Rbp::Frame`] is read before bp changes. All reads are `bpf_probe_read_user`; one that fails
//! ends the stack with "unreadable page".

mod codec;
mod error;
mod facts;
mod frames;
mod hash;
mod image;
mod key;
mod pack;
mod plt;
mod rule;
mod sections;
mod table;
mod x86;

pub use error::Error;
pub use facts::Facts;
pub use frames::{MAX_FUNCTIONS, MAX_ROWS};
pub use image::{Image, MAX_SECTION, ReadAt, Segment};
pub use key::Key;
pub use pack::ALIGNMENT;
pub use rule::{Kind, MAX_FILE_RULES, MAX_RULES, Rbp, Rule, RuleTable};
pub use table::{MAX_PAGES, PAGE_BITS, Page, Table};
