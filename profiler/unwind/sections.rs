//! Which sections of a file say how to unwind it, and which of them is believed where several do.
//!
//! `.eh_frame` first: it is what the program itself unwinds exceptions by. `.debug_frame` where
//! that is silent. PLT entries last, from their code, because LLVM's linker describes them nowhere.

use std::io::Read;

use gimli::{BaseAddresses, EhFrameHdr, LittleEndian};

use super::error::Error;
use super::frames::Frames;
use super::image::{Image, MAX_SECTION, ReadAt, Section, inflate};
use super::pack::Layers;
use super::plt;
use super::rule::{Kind, Rbp, Rule};
use super::x86;

/// Reads all that `image` says about unwinding into `frames`, and gives where in its spans each
/// layer ends: those of `.eh_frame`, of `.debug_frame`, of PLTs.
pub(super) fn read<F: ReadAt + ?Sized>(
    image: &Image<'_, F>,
    frames: &mut Frames,
) -> Result<Layers, Error> {
    let mut bases = BaseAddresses::default();
    if let Some(text) = image.section(".text") {
        bases = bases.set_text(text.address);
    }
    if let Some(got) = image.section(".got") {
        bases = bases.set_got(got.address);
    }
    let eh = image.section(".eh_frame").map(|section| (section, true));
    let eh = eh.or_else(|| by_header(image).map(|section| (section, false)));
    if let Some((section, sized)) = eh {
        bases = bases.set_eh_frame(section.address);
        let data = image.read_section(&section)?;
        frames.read_eh(&data, &bases, sized)?;
    }
    let eh = frames.spans.len();
    // Only an addition: damage to it does not cost what .eh_frame said.
    if let Ok(Some(data)) = debug_frame(image) {
        let filter = if is_go(image) { go } else { as_is };
        frames.read_debug(&data, &bases, filter)?;
    }
    let debug = frames.spans.len();
    if debug > 0 {
        plt::read(image, frames);
        plt::read_ends(image, frames);
    }
    Ok([eh, debug, frames.spans.len()])
}

/// `.eh_frame` of a file without section headers: `.eh_frame_hdr` points at it, nothing says how
/// long it is, so a terminator has to.
fn by_header<F: ReadAt + ?Sized>(image: &Image<'_, F>) -> Option<Section> {
    let section = image.frame_header()?;
    let data = image.bytes(section.offset, section.size).ok()?;
    let bases = BaseAddresses::default().set_eh_frame_hdr(section.address);
    let header = EhFrameHdr::new(&data, LittleEndian).parse(&bases, 8).ok()?;
    image.tail(header.eh_frame_ptr().direct().ok()?)
}

/// `.debug_frame`, also in the form of before 2015 (`.zdebug_frame`, up to Go 1.18): the letters
/// `ZLIB`, the size as a big-endian number, a zlib stream.
fn debug_frame<F: ReadAt + ?Sized>(image: &Image<'_, F>) -> Result<Option<Vec<u8>>, Error> {
    if let Some(section) = image.section(".debug_frame") {
        return image.read_section(&section).map(Some);
    }
    let Some(section) = image.section(".zdebug_frame") else {
        return Ok(None);
    };
    let data = image.read_section(&section)?;
    let mut rest = data.as_slice();
    let mut header = [0; 12];
    if rest.read_exact(&mut header).is_err() || !header.starts_with(b"ZLIB") {
        return Err(Error::Malformed("compressed section"));
    }
    let size = header[4..]
        .iter()
        .fold(0, |size: u64, byte| size.checked_mul(256).unwrap_or(MAX_SECTION) | u64::from(*byte));
    inflate(flate2::read::ZlibDecoder::new(rest), size).map(Some)
}

fn is_go<F: ReadAt + ?Sized>(image: &Image<'_, F>) -> bool {
    [".gopclntab", ".note.go.buildid"].iter().any(|name| image.section(name).is_some())
}

fn as_is(rule: Rule) -> Rule {
    rule
}

/// What of Go's `.debug_frame` is true: where the innermost frame is.
///
/// Go keeps frame pointers, across its switches of stacks too, which `.debug_frame` says nothing
/// of; so outer frames are left by frame pointer, as [`Kind::Register`] has it. But a function
/// that has not made its frame yet, or makes none, can only be left by the table. Nor does it say
/// where rbp is: below the return address in every frame (cmd/internal/obj/x86/obj6.go).
fn go(rule: Rule) -> Rule {
    if rule.kind != Kind::Sp {
        return Rule::NONE;
    }
    let mut rule = Rule { kind: Kind::Register, parameter: x86::RSP.0 as u8, ..rule };
    if rule.cfa_offset > 8 {
        (rule.rbp, rule.rbp_offset) = (Rbp::Cfa, -16);
    }
    rule
}
