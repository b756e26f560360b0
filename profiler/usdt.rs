//! USDT probes: the places that a program marks for tracers, from the notes that it carries in
//! `.note.stapsdt`. Format: SystemTap's `sys/sdt.h`, and its wiki, "UserSpaceProbeImplementation".
//! The notes are not loaded with the program, so it is its file that is read, and it may be hostile:
//! what makes no sense is counted and passed by, and there are limits to all that is kept.

use std::collections::HashSet;

use object::{
    LittleEndian as LE,
    elf::{FileHeader64, NoteType},
    pod,
    read::elf::NoteIterator,
};
use symbolizer::{Kind, Maps};

use crate::unwind::{Error, Image, ReadAt, bound};

/// The most bytes of notes read of one file; the Java VM has 53 thousand.
const NOTES_BYTES_MAX: u64 = 4 << 20;
/// The most probes of one file; others are counted as refused.
pub const PROBES_MAX: usize = 16 << 10;
/// The most bytes of a provider or a name, and of the arguments.
const NAME_BYTES_MAX: usize = 128;
const ARGUMENTS_BYTES_MAX: usize = 1024;
/// `NT_STAPSDT`, the one kind of note in that section.
const NT_STAPSDT: NoteType = NoteType(3);

/// One place that is marked. A probe whose function was inlined has several, each with arguments of
/// its own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Probe {
    /// Who offers it.
    pub provider: String,
    /// Its name, in which sdt.h leaves two underscores for a dash.
    pub name: String,
    /// Where the instruction is in the file, in bytes.
    pub offset: u64,
    /// Where the 16-bit count of its listeners is in the file, in bytes, if the program looks at it:
    /// what the kernel calls `ref_ctr_offset`.
    pub semaphore: Option<u64>,
    /// Where the arguments are, in words of the assembler: size (negative if signed), `@`, operand.
    pub arguments: String,
}

/// The probes of one file.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Probes {
    /// In the order of the file.
    pub all: Vec<Probe>,
    /// Notes that make no sense.
    pub malformed: u64,
    /// Probes beyond [`PROBES_MAX`].
    pub refused: u64,
}

impl Probes {
    /// Reads those of a file; none if it has no such section.
    ///
    /// # Errors
    /// The file cannot be read, or its section of notes is too big or not in it.
    pub fn read<F: ReadAt + ?Sized>(image: &Image<'_, F>) -> Result<Self, Error> {
        let Some(section) = image.section(".note.stapsdt") else { return Ok(Self::default()) };
        bound("bytes of USDT notes", section.size, NOTES_BYTES_MAX)?;
        let words = image.words(section.offset, section.size)?;
        let bytes = pod::bytes_of_slice(&words).get(..section.size as usize).unwrap_or_default();
        let notes = NoteIterator::<FileHeader64<LE>>::new(LE, 4u64, bytes)
            .map_err(|_| Error::Malformed("USDT notes"))?;
        let mut probes = Self::default();
        for note in notes {
            match note {
                Ok(note) if note.name() == b"stapsdt" && note.n_type(LE) == NT_STAPSDT => {
                    probes.add(probe(image, note.desc()));
                }
                Ok(_) => probes.malformed += 1,
                // Where the next one starts is not known any more.
                Err(_) => {
                    probes.malformed += 1;
                    break;
                }
            }
        }
        Ok(probes)
    }

    fn add(&mut self, probe: Option<Probe>) {
        match probe {
            Some(_) if self.all.len() == PROBES_MAX => self.refused += 1,
            Some(probe) => self.all.push(probe),
            None => self.malformed += 1,
        }
    }

    /// The places of one probe.
    pub fn named<'a>(
        &'a self,
        provider: &'a str,
        name: &'a str,
    ) -> impl Iterator<Item = &'a Probe> + 'a {
        self.all.iter().filter(move |probe| probe.provider == provider && probe.name == name)
    }
}

/// What a note describes: three addresses, then three strings.
fn probe<F: ReadAt + ?Sized>(image: &Image<'_, F>, note: &[u8]) -> Option<Probe> {
    let (addresses, text) = note.split_at_checked(24)?;
    let mut addresses = addresses.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
    let (address, base, semaphore) = (addresses.next()?, addresses.next()?, addresses.next()?);
    // Prelinking moves the program, and this section with it, but does not know of the notes.
    let moved = match image.section(".stapsdt.base") {
        Some(section) if base != 0 => section.address.wrapping_sub(base),
        _ => 0,
    };
    let offset = |address: u64| offset(image, address.wrapping_add(moved));
    let mut strings = text.split(|&byte| byte == 0);
    let mut string = |limit: usize| {
        let bytes = strings.next()?;
        let plain = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
        let whole = bytes.len() <= limit && bytes.iter().all(plain);
        whole.then(|| String::from_utf8_lossy(bytes).into_owned())
    };
    let probe = Probe {
        provider: string(NAME_BYTES_MAX)?,
        name: string(NAME_BYTES_MAX)?,
        arguments: string(ARGUMENTS_BYTES_MAX)?,
        offset: offset(address)?,
        semaphore: if semaphore == 0 { None } else { Some(offset(semaphore)?) },
    };
    // Each string ends, so there is something behind the last.
    strings.next()?;
    (!probe.provider.is_empty() && !probe.name.is_empty()).then_some(probe)
}

/// Where in the file the byte is that is loaded to `address`.
fn offset<F: ReadAt + ?Sized>(image: &Image<'_, F>, address: u64) -> Option<u64> {
    image.segments().iter().find_map(|segment| {
        let inside = address.checked_sub(segment.address)?;
        (inside < segment.size).then(|| segment.offset.checked_add(inside))?
    })
}

/// A file that a process has mapped to run, and the probes of one provider in it.
pub struct Offer {
    /// The file.
    pub image: symbolizer::Image,
    /// Its probes of that provider; there are some.
    pub probes: Vec<Probe>,
}

/// Looks for the probes of a provider in all code that a process has mapped.
///
/// # Errors
/// The process is gone, or may not be looked into. A file that cannot be read has no probes.
pub fn offers(pid: u32, provider: &str) -> symbolizer::Result<Vec<Offer>> {
    let mut seen = HashSet::new();
    let mut offers = Vec::new();
    for mapping in &Maps::read(pid, true)?.mappings {
        if mapping.kind() != Kind::File {
            continue;
        }
        let Ok(image) = symbolizer::Image::open(pid, mapping) else { continue };
        if !seen.insert(image.key()) {
            continue;
        }
        let probes = Image::read(image.file()).and_then(|file| Probes::read(&file));
        let mut probes = probes.unwrap_or_default().all;
        probes.retain(|probe| probe.provider == provider);
        if !probes.is_empty() {
            offers.push(Offer { image, probes });
        }
    }
    Ok(offers)
}
