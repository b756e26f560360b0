//! The parts of an ELF file that unwinding needs, read one by one.
//!
//! A browser is 290 MB and its unwind section 1 MB, so nothing is read or mapped whole: the
//! headers first, then each section that is asked for. The file may be hostile: every size is
//! held against the file's length and a limit before memory is taken for it.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use object::LittleEndian as LE;
use object::elf::{self, CompressionHeader64, FileHeader64, ProgramHeader64, SectionHeader64};
use object::pod::{self, Pod};

use super::error::{Error, bound};

/// The most bytes read of one section; LLVM's `.eh_frame` has 12 million.
pub const MAX_SECTION: u64 = 128 << 20;
/// The most program headers; a browser has 13.
const MAX_SEGMENTS: u64 = 1024;
/// The most bytes of section names.
const MAX_NAMES: u64 = 1 << 20;
/// The most bytes of one note segment, and the most of these.
const MAX_NOTE: u64 = 64 << 10;
const MAX_NOTES: usize = 16;
/// The kernel maps whole pages.
const PAGE: u64 = 4096;

/// Where the bytes of an ELF file come from: a file, or memory (the vdso).
pub trait ReadAt {
    /// The number of bytes there are.
    ///
    /// # Errors
    /// Whatever the operating system says.
    fn size(&self) -> io::Result<u64>;

    /// Fills `buffer` with the bytes from `offset` on.
    ///
    /// # Errors
    /// `UnexpectedEof` if there are not that many, else what the operating system says.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buffer, offset)
    }
}

impl ReadAt for [u8] {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = usize::try_from(offset)
            .ok()
            .and_then(|start| self.get(start..start.checked_add(buffer.len())?))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}

/// A loadable part of the file (`PT_LOAD`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it starts in the file, in bytes.
    pub offset: u64,
    /// Its first address, as the file gives it.
    pub address: u64,
    /// Its length in the file, in bytes.
    pub size: u64,
    /// Whether it holds code.
    pub executable: bool,
}

/// What to subtract from an address in a mapping of a file (wrapping) to get the address that the
/// file, and so its table, gives it. `segments` are the file's, `start` is the mapping's first
/// address, `offset` the file offset that it starts at: columns 1 and 3 of `/proc/PID/maps`.
#[must_use]
pub fn bias(segments: &[Segment], start: u64, offset: u64) -> Option<u64> {
    let holds = |segment: &&Segment| {
        let from = segment.offset & !(PAGE - 1);
        offset >= from && offset < segment.offset.saturating_add(segment.size)
    };
    // Linkers let two segments share a page of the file; code is mapped from the one that may be
    // executed.
    let code = segments.iter().filter(|segment| segment.executable).find(holds);
    let segment = code.or_else(|| segments.iter().find(holds))?;
    let address = segment.address.wrapping_add(offset).wrapping_sub(segment.offset);
    Some(start.wrapping_sub(address))
}

/// The addresses that a section takes, and where its bytes are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Section {
    pub address: u64,
    pub offset: u64,
    pub size: u64,
    compressed: bool,
}

/// An ELF file for x86_64 whose headers have been read.
#[derive(Debug)]
pub struct Image<'f, F: ReadAt + ?Sized> {
    file: &'f F,
    size: u64,
    segments: Vec<Segment>,
    programs: Vec<ProgramHeader64<LE>>,
    sections: Vec<SectionHeader64<LE>>,
    names: Vec<u8>,
}

impl<'f, F: ReadAt + ?Sized> Image<'f, F> {
    /// Reads the headers.
    ///
    /// # Errors
    /// The file cannot be read, is no ELF file, is not for x86_64, or has no program headers
    /// that make sense. Missing or damaged section headers are no error.
    pub fn read(file: &'f F) -> Result<Self, Error> {
        let size = file.size()?;
        let mut image = Self {
            file,
            size,
            segments: Vec::new(),
            programs: Vec::new(),
            sections: Vec::new(),
            names: Vec::new(),
        };
        if size < size_of::<FileHeader64<LE>>() as u64 {
            return Err(Error::NotElf);
        }
        let header = image.pods::<FileHeader64<LE>>(0, 1)?[0];
        check(&header)?;
        image.read_programs(&header)?;
        // Stripping can go as far as the section headers; the program headers still lead to
        // .eh_frame.
        if image.read_sections(&header).is_err() {
            image.sections.clear();
        }
        Ok(image)
    }

    fn read_programs(&mut self, header: &FileHeader64<LE>) -> Result<(), Error> {
        let count = u64::from(header.e_phnum.get(LE));
        if usize::from(header.e_phentsize.get(LE)) != size_of::<ProgramHeader64<LE>>() {
            return Err(Error::Malformed("size of a program header"));
        }
        bound("program headers", count, MAX_SEGMENTS)?;
        self.programs = self.pods(header.e_phoff.get(LE), count)?;
        let loaded = self.programs.iter().filter(|program| program.p_type.get(LE) == elf::PT_LOAD);
        self.segments = loaded
            .map(|program| Segment {
                offset: program.p_offset.get(LE),
                address: program.p_vaddr.get(LE),
                size: program.p_filesz.get(LE),
                executable: program.p_flags.get(LE).contains(elf::PF_X),
            })
            .collect();
        Ok(())
    }

    fn read_sections(&mut self, header: &FileHeader64<LE>) -> Result<(), Error> {
        if usize::from(header.e_shentsize.get(LE)) != size_of::<SectionHeader64<LE>>() {
            return Err(Error::Malformed("size of a section header"));
        }
        self.sections = self.pods(header.e_shoff.get(LE), u64::from(header.e_shnum.get(LE)))?;
        let names = self.sections.get(usize::from(header.e_shstrndx.get(LE).0));
        let names = names.ok_or(Error::Malformed("no section names"))?;
        let (offset, size) = (names.sh_offset.get(LE), names.sh_size.get(LE));
        bound("bytes of section names", size, MAX_NAMES)?;
        self.names = self.bytes(offset, size)?;
        Ok(())
    }

    /// The loadable segments, in the order of the file.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The section called `name` that has bytes in the file.
    pub(crate) fn section(&self, name: &str) -> Option<Section> {
        let section = self.sections.iter().find(|section| {
            let start = section.sh_name.get(LE) as usize;
            let rest = self.names.get(start..).unwrap_or_default();
            rest.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
        })?;
        if section.sh_type.get(LE) == elf::SHT_NOBITS {
            return None;
        }
        Some(Section {
            address: section.sh_addr.get(LE),
            offset: section.sh_offset.get(LE),
            size: section.sh_size.get(LE),
            compressed: section.sh_flags.get(LE).contains(elf::SHF_COMPRESSED),
        })
    }

    /// The bytes of `section`, decompressed.
    pub(super) fn read_section(&self, section: &Section) -> Result<Vec<u8>, Error> {
        let bytes = self.bytes(section.offset, section.size)?;
        if !section.compressed {
            return Ok(bytes);
        }
        // CompressionHeader64 may be misaligned in `bytes`, so read it apart.
        let header = self.pods::<CompressionHeader64<LE>>(section.offset, 1)?[0];
        let packed = bytes
            .get(size_of::<CompressionHeader64<LE>>()..)
            .ok_or(Error::Malformed("compressed section"))?;
        let size = header.ch_size.get(LE);
        match header.ch_type.get(LE) {
            elf::ELFCOMPRESS_ZLIB => inflate(flate2::read::ZlibDecoder::new(packed), size),
            elf::ELFCOMPRESS_ZSTD => inflate(zstd::Decoder::new(packed)?, size),
            _ => Err(Error::Foreign("this compression of a section")),
        }
    }

    /// The first part of that kind that the program headers name.
    pub(crate) fn program(&self, kind: elf::ProgramType) -> Option<Section> {
        let program = self.programs.iter().find(|program| program.p_type.get(LE) == kind)?;
        Some(Section {
            address: program.p_vaddr.get(LE),
            offset: program.p_offset.get(LE),
            size: program.p_filesz.get(LE),
            compressed: false,
        })
    }

    /// The bytes from `address` to the end of the segment that holds it.
    pub(super) fn tail(&self, address: u64) -> Option<Section> {
        let holds = |segment: &&Segment| {
            address.checked_sub(segment.address).is_some_and(|inside| inside < segment.size)
        };
        let segment = self.segments.iter().find(holds)?;
        let inside = address - segment.address;
        Some(Section {
            address,
            offset: segment.offset.checked_add(inside)?,
            size: segment.size - inside,
            compressed: false,
        })
    }

    /// The contents of the GNU build-id note.
    pub(crate) fn build_id(&self) -> Option<Vec<u8>> {
        let notes = self.programs.iter().filter(|program| program.p_type.get(LE) == elf::PT_NOTE);
        notes.take(MAX_NOTES).find_map(|program| {
            let size = program.p_filesz.get(LE).min(MAX_NOTE);
            let words = self.words(program.p_offset.get(LE), size).ok()?;
            let bytes = pod::bytes_of_slice(&words).get(..size as usize)?;
            build_id_in(bytes, program.p_align.get(LE))
        })
    }

    /// The file's length in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The program headers as they are in the file.
    pub(super) fn program_bytes(&self) -> &[u8] {
        pod::bytes_of_slice(&self.programs)
    }

    /// `size` bytes from `offset` on.
    pub(crate) fn bytes(&self, offset: u64, size: u64) -> Result<Vec<u8>, Error> {
        self.check_range(offset, size)?;
        let mut bytes = vec![0; size as usize];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// As [`Image::bytes`], aligned for any header, zeros to the next multiple of 8.
    pub(crate) fn words(&self, offset: u64, size: u64) -> Result<Vec<u64>, Error> {
        self.check_range(offset, size)?;
        let mut words = vec![0u64; size.div_ceil(8) as usize];
        let bytes = &mut pod::bytes_of_slice_mut(&mut words)[..size as usize];
        self.file.read_exact_at(bytes, offset)?;
        Ok(words)
    }

    /// `count` headers from `offset` on.
    pub(crate) fn pods<T: Pod>(&self, offset: u64, count: u64) -> Result<Vec<T>, Error> {
        let words = self.words(offset, count.saturating_mul(size_of::<T>() as u64))?;
        pod::slice_from_bytes(pod::bytes_of_slice(&words), count as usize)
            .map(|(items, _)| items.to_vec())
            .map_err(|()| Error::Malformed("header"))
    }

    fn check_range(&self, offset: u64, size: u64) -> Result<(), Error> {
        bound("bytes of a section", size, MAX_SECTION)?;
        match offset.checked_add(size) {
            Some(end) if end <= self.size => Ok(()),
            _ => Err(Error::Malformed("a part lies behind the end of the file")),
        }
    }
}

fn check(header: &FileHeader64<LE>) -> Result<(), Error> {
    let ident = &header.e_ident;
    if ident.magic != elf::ELFMAG {
        return Err(Error::NotElf);
    }
    if ident.class != elf::ELFCLASS64 || ident.data != elf::ELFDATA2LSB {
        return Err(Error::Foreign("only 64-bit little-endian ELF files are"));
    }
    if header.e_machine.get(LE) != elf::EM_X86_64 {
        return Err(Error::Foreign("only code for x86_64 is"));
    }
    Ok(())
}

/// `bytes` must be aligned to 4, as the notes in the file are.
fn build_id_in(bytes: &[u8], align: u64) -> Option<Vec<u8>> {
    let notes = object::read::elf::NoteIterator::<FileHeader64<LE>>::new(LE, align, bytes).ok()?;
    notes
        .map_while(Result::ok)
        .find(|note| note.name() == elf::ELF_NOTE_GNU && note.n_type(LE) == elf::NT_GNU_BUILD_ID)
        .map(|note| note.desc().to_vec())
        .filter(|id| !id.is_empty())
}

/// Decompresses at most `size` bytes, as many as the header promised.
pub(super) fn inflate(decoder: impl Read, size: u64) -> Result<Vec<u8>, Error> {
    bound("bytes of a section", size, MAX_SECTION)?;
    let mut bytes = Vec::new();
    decoder.take(size).read_to_end(&mut bytes)?;
    Ok(bytes)
}
