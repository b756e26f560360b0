//! Rules for what linkers put into a file without describing it: procedure linkage tables, and
//! `_init` and `_fini`.
//!
//! A library's `_init` is often the first of its code to run, so it is there that the pages of its
//! code are waited for. It is pieced together from crti.o and crtn.o, which describe nothing.
//!
//! GNU linkers describe their PLT in `.eh_frame`, LLVM's and mold do not. A call through an
//! undescribed stub would lose its caller, so the few layouts there are get told apart by their
//! first bytes. Layouts: System V ABI for AMD64, figure 5.2; `bfd/elfxx-x86.c`;
//! `lld/ELF/Arch/X86_64.cpp`.

use super::frames::Frames;
use super::image::{Image, ReadAt, Section};
use super::rule::{Kind, Rule};

/// All layouts have entries of this size, header included.
const ENTRY: u32 = 16;
/// `push [rip + GOT + 8]`, with which a header starts.
const PUSH_GOT: &[u8] = &[0xff, 0x35];
/// `jmp [rip + ...]`: an entry in which nothing is pushed before the jump.
const JUMP: &[u8] = &[0xff, 0x25];
const ENDBR64: &[u8] = &[0xf3, 0x0f, 0x1e, 0xfa];
const PUSH_NUMBER: u8 = 0x68;
/// The most bytes of `_init`; glibc's have 27.
const MAX_END: u64 = 256;
/// `sub $8, %rsp`.
const MAKE_ROOM: &[u8] = &[0x48, 0x83, 0xec, 0x08];
/// `add $8, %rsp; ret`.
const GIVE_ROOM: &[u8] = &[0x48, 0x83, 0xc4, 0x08, 0xc3];

/// Adds spans for the PLTs of `image` to `frames`. To be laid under all others.
pub(super) fn read<F: ReadAt + ?Sized>(image: &Image<'_, F>, frames: &mut Frames) {
    for name in [".plt", ".plt.sec", ".plt.got", ".iplt"] {
        let Some(section) = image.section(name) else {
            continue;
        };
        let size = section.size.min(2 * u64::from(ENTRY));
        if let Ok(head) = image.bytes(section.offset, size) {
            add(&section, &head, frames);
        }
    }
}

/// Adds spans for `_init` and `_fini`, which make room of a word, call, and return.
pub(super) fn read_ends<F: ReadAt + ?Sized>(image: &Image<'_, F>, frames: &mut Frames) {
    for name in [".init", ".fini"] {
        let Some(section) = image.section(name) else { continue };
        let Ok(code) = image.bytes(section.offset, section.size.min(MAX_END)) else { continue };
        let start = if code.starts_with(ENDBR64) { ENDBR64.len() } else { 0 };
        let Some(end) = section.address.checked_add(code.len() as u64) else { continue };
        if code[start..].starts_with(MAKE_ROOM) && code.ends_with(GIVE_ROOM) {
            let first = frames.rows.len();
            frames.row(first, 0, Rule::plain(Kind::Sp, 8));
            frames.row(first, (start + MAKE_ROOM.len()) as u32, Rule::plain(Kind::Sp, 16));
            frames.row(first, code.len() as u32 - 1, Rule::plain(Kind::Sp, 8));
            frames.span(section.address, end, first);
        }
    }
}

fn add(section: &Section, head: &[u8], frames: &mut Frames) {
    let first = frames.rows.len();
    let Some(end) = section.address.checked_add(section.size) else {
        return;
    };
    if head.starts_with(PUSH_GOT) {
        // The entry that jumps here has pushed its number; the header pushes one word more.
        let Some(lazy) = head.get(ENTRY as usize..).and_then(lazy) else {
            return;
        };
        frames.row(first, 0, Rule::plain(Kind::Sp, 16));
        frames.row(first, 6, Rule::plain(Kind::Sp, 24));
        frames.row(first, ENTRY, lazy);
    } else if lazy(head).is_some() || head.starts_with(ENDBR64) {
        frames.row(first, 0, lazy(head).unwrap_or(Rule::plain(Kind::Sp, 8)));
    } else {
        return;
    }
    frames.span(section.address, end, first);
}

/// The rule for an entry that starts with these bytes.
fn lazy(entry: &[u8]) -> Option<Rule> {
    let mut rule = Rule::plain(Kind::Plt, 8);
    rule.parameter = if entry.starts_with(JUMP) {
        // jmp [rip + ...], 6 bytes; push NUMBER, 5 bytes.
        if entry.get(6) != Some(&PUSH_NUMBER) {
            return Some(Rule::plain(Kind::Sp, 8));
        }
        11
    } else if entry.starts_with(ENDBR64) && entry.get(4) == Some(&PUSH_NUMBER) {
        9
    } else {
        return None;
    };
    Some(rule)
}
