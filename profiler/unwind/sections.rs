//! Which sections of a file say how to unwind it, and which of them is believed where several do.
//!
//! `.eh_frame` first: it is what the program itself unwinds exceptions by. `.debug_frame` where
//! that is silent. PLT entries last, from their code, because LLVM's linker describes them nowhere.

use std::io::Read;

use gimli::{BaseAddresses, EhFrameHdr, LittleEndian};

use super::error::Error;
use super::frames::Frames;
use super::go;
use super::image::{Image, MAX_SECTION, ReadAt, Section, inflate};
use super::pack::Layers;
use super::plt;
use super::rule::Rule;

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
    if go::made(image) {
        go::read_roots(image, frames);
    }
    let eh = frames.spans.len();
    // Only an addition: damage to it does not cost what .eh_frame said.
    if let Ok(Some(data)) = debug_frame(image) {
        let filter = if go::made(image) { go::filter } else { as_is };
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
    let section = image.program(object::elf::PT_GNU_EH_FRAME)?;
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

fn as_is(rule: Rule) -> Rule {
    rule
}
