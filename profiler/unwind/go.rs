//! What is particular to Go: which of its rows are true, and where its own stacks begin.

use object::{LittleEndian as LE, elf};

use super::frames::Frames;
use super::image::{Image, ReadAt};
use super::rule::{Kind, Rbp, Rule};
use super::x86;

/// Functions at the root of a thread's own stack, on which the scheduler works: `mstart` begins it,
/// the others leave a goroutine's stack for it and come back to that in other ways than by
/// returning. What they saved as rbp is of the other stack, so there is nothing to follow. Go's own
/// traceback ends at them too (TOPFRAME and SPWRITE in runtime/asm_amd64.s).
const ROOTS: [&[u8]; 3] = [b"runtime.mstart", b"runtime.mcall", b"runtime.morestack"];
/// The most symbols looked at.
const MAX_SYMBOLS: u64 = 1 << 20;

/// True if Go's linker made the file.
pub(super) fn made<F: ReadAt + ?Sized>(image: &Image<'_, F>) -> bool {
    [".gopclntab", ".note.go.buildid"].iter().any(|name| image.section(name).is_some())
}

/// Adds spans for [`ROOTS`], as far as the file has symbols. To be laid over all others.
pub(super) fn read_roots<F: ReadAt + ?Sized>(image: &Image<'_, F>, frames: &mut Frames) {
    let (Some(symbols), Some(names)) = (image.section(".symtab"), image.section(".strtab")) else {
        return;
    };
    let count = (symbols.size / size_of::<elf::Sym64<LE>>() as u64).min(MAX_SYMBOLS);
    let Ok(symbols) = image.pods::<elf::Sym64<LE>>(symbols.offset, count) else { return };
    let Ok(names) = image.read_section(&names) else { return };
    let mut left = ROOTS.len();
    for symbol in &symbols {
        let name = names.get(symbol.st_name.get(LE) as usize..).unwrap_or_default();
        // Most are not even of the runtime, and their names may be long.
        if !name.starts_with(b"runtime.m") {
            continue;
        }
        let end = name.iter().position(|&byte| byte == 0).unwrap_or(0);
        let name = name[..end].strip_suffix(b".abi0").unwrap_or(&name[..end]);
        let (start, size) = (symbol.st_value.get(LE), symbol.st_size.get(LE));
        if ROOTS.contains(&name)
            && size > 0
            && let Some(end) = start.checked_add(size)
        {
            let first = frames.rows.len();
            frames.row(first, 0, Rule::END);
            frames.span(start, end, first);
            left -= 1;
        }
        if left == 0 {
            return;
        }
    }
}

/// What of Go's `.debug_frame` is true: where the innermost frame is.
///
/// Go keeps frame pointers, across its switches of stacks too, which `.debug_frame` says nothing
/// of; so outer frames are left by frame pointer, as [`Kind::Register`] has it. But a function
/// that has not made its frame yet, or makes none, can only be left by the table. Nor does it say
/// where rbp is: below the return address in every frame (cmd/internal/obj/x86/obj6.go).
pub(super) fn filter(rule: Rule) -> Rule {
    if rule.kind != Kind::Sp {
        return Rule::NONE;
    }
    let mut rule = Rule { kind: Kind::Register, parameter: x86::RSP.0 as u8, ..rule };
    if rule.cfa_offset > 8 {
        (rule.rbp, rule.rbp_offset) = (Rbp::Cfa, -16);
    }
    rule
}
