//! The headers of an ELF file: segments, sections, build id and links to
//! separate debug files, of either class, little-endian. Contents are read
//! by others, when they are needed. Format: System V gABI chapters 4 and 5;
//! notes and links: GDB manual, "Debugging Information in Separate Files".

use object::LittleEndian;
use object::elf;
use object::pod;
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};

use crate::bytes::Bytes;
use crate::{Error, Result};

/// The most sections looked at; others are as if they were not there.
const MAX_SECTIONS: u64 = 65_535;
/// The longest table of section names read, in bytes.
const MAX_NAMES: u64 = 4 << 20;
/// The longest build id believed, in bytes; all known linkers write 8 to 32.
const MAX_BUILD_ID: usize = 64;

/// A part of the file that is loaded into memory (`PT_LOAD`).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    pub(crate) offset: u64,
    pub(crate) address: u64,
    pub(crate) file_size: u64,
}

/// A named part of the file.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    pub(crate) name: String,
    pub(crate) kind: elf::SectionType,
    pub(crate) flags: u64,
    pub(crate) address: u64,
    pub(crate) offset: u64,
    pub(crate) size: u64,
    pub(crate) link: u32,
}

impl Section {
    /// The number of bytes that the file really holds for it.
    pub(crate) fn stored(&self) -> u64 {
        if self.kind == elf::SHT_NOBITS { 0 } else { self.size }
    }

    pub(crate) fn is_code(&self) -> bool {
        self.flags & elf::SHF_EXECINSTR.0 != 0
    }

    pub(crate) fn is_compressed(&self) -> bool {
        self.flags & elf::SHF_COMPRESSED.0 != 0
    }
}

/// The headers of one file.
#[derive(Debug)]
pub(crate) struct Elf {
    /// Whether it is of the 64-bit class.
    pub(crate) wide: bool,
    pub(crate) machine: elf::Machine,
    pub(crate) segments: Vec<Segment>,
    pub(crate) sections: Vec<Section>,
    pub(crate) build_id: Option<Vec<u8>>,
}

impl Elf {
    /// Reads the headers.
    pub(crate) fn parse(bytes: &Bytes) -> Result<Self> {
        let head = bytes.window(0, 4096)?;
        let Some(&[0x7f, b'E', b'L', b'F', class, order]) = head.get(..6) else {
            return Err(Error::Absent("not an ELF file".into()));
        };
        if elf::DataEncoding(order) != elf::ELFDATA2LSB {
            return Err(Error::Absent("an ELF file of a foreign byte order".into()));
        }
        match elf::FileClass(class) {
            elf::ELFCLASS64 => headers::<elf::FileHeader64<LittleEndian>>(bytes, &head),
            elf::ELFCLASS32 => headers::<elf::FileHeader32<LittleEndian>>(bytes, &head),
            _ => Err(Error::malformed("an ELF file of no known class")),
        }
    }

    /// The first section of that name which has bytes in the file.
    pub(crate) fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name && section.stored() > 0)
    }

    /// The virtual address to which the byte at `offset` of the file is
    /// loaded, before the kernel adds the base of the mapping.
    pub(crate) fn address(&self, offset: u64) -> Option<u64> {
        self.segments.iter().find_map(|segment| {
            let into = offset.checked_sub(segment.offset)?;
            (into < segment.file_size).then(|| segment.address.wrapping_add(into))
        })
    }

    /// File name and CRC-32 of the debug file that `.gnu_debuglink` names.
    pub(crate) fn debug_link(&self, bytes: &Bytes) -> Option<(String, u32)> {
        let section = self.section(".gnu_debuglink")?;
        let data = bytes.exact(section.offset, section.size.min(4096)).ok()?;
        let end = data.iter().position(|&byte| byte == 0)?;
        let name = std::str::from_utf8(&data[..end]).ok()?;
        let crc = data.get((end + 4) & !3..)?.first_chunk::<4>()?;
        // A link with a directory in it could lead anywhere.
        let plain = !name.is_empty() && !name.contains('/') && name != "..";
        plain.then(|| (name.to_owned(), u32::from_le_bytes(*crc)))
    }
}

fn headers<H: FileHeader<Endian = LittleEndian>>(bytes: &Bytes, head: &[u8]) -> Result<Elf> {
    let (header, _) = pod::from_bytes::<H>(head)
        .map_err(|()| Error::malformed("an ELF file that ends within its header"))?;
    let order = LittleEndian;
    let sections = sections::<H>(bytes, header)?;
    let mut segments = Vec::new();
    let mut build_id = None;
    let size = size_of::<H::ProgramHeader>();
    let count = u64::from(header.e_phnum(order));
    let table = bytes.window(header.e_phoff(order).into(), count * size as u64)?;
    for entry in table.chunks_exact(size) {
        let Ok((entry, _)) = pod::from_bytes::<H::ProgramHeader>(entry) else { break };
        match entry.p_type(order) {
            elf::PT_LOAD => segments.push(Segment {
                offset: entry.p_offset(order).into(),
                address: entry.p_vaddr(order).into(),
                file_size: entry.p_filesz(order).into(),
            }),
            elf::PT_NOTE if build_id.is_none() => {
                let size: u64 = entry.p_filesz(order).into();
                build_id = note(bytes, entry.p_offset(order).into(), size);
            }
            _ => {}
        }
    }
    if build_id.is_none() {
        let found = sections.iter().find(|section| section.name == ".note.gnu.build-id");
        build_id = found.and_then(|section| note(bytes, section.offset, section.stored()));
    }
    let wide = header.is_class_64();
    Ok(Elf { wide, machine: header.e_machine(order), segments, sections, build_id })
}

fn sections<H: FileHeader<Endian = LittleEndian>>(
    bytes: &Bytes,
    header: &H,
) -> Result<Vec<Section>> {
    let order = LittleEndian;
    let size = size_of::<H::SectionHeader>();
    let start: u64 = header.e_shoff(order).into();
    if start == 0 || usize::from(header.e_shentsize(order)) != size {
        return Ok(Vec::new());
    }
    let mut count = u64::from(header.e_shnum(order));
    let mut names = u32::from(header.e_shstrndx(order).0);
    // Counts that do not fit their field stand in the first section header.
    if count == 0 || names == u32::from(elf::SHN_XINDEX.0) {
        let first = bytes.exact(start, size as u64)?;
        if let Ok((first, _)) = pod::from_bytes::<H::SectionHeader>(&first) {
            if count == 0 {
                count = first.sh_size(order).into();
            }
            if names == u32::from(elf::SHN_XINDEX.0) {
                names = first.sh_link(order);
            }
        }
    }
    let table = bytes.window(start, count.min(MAX_SECTIONS) * size as u64)?;
    let mut sections: Vec<Section> = table
        .chunks_exact(size)
        .filter_map(|entry| pod::from_bytes::<H::SectionHeader>(entry).ok())
        .map(|(entry, _)| Section {
            name: entry.sh_name(order).to_string(),
            kind: entry.sh_type(order),
            flags: entry.sh_flags(order).0,
            address: entry.sh_addr(order).into(),
            offset: entry.sh_offset(order).into(),
            size: entry.sh_size(order).into(),
            link: entry.sh_link(order),
        })
        .collect();
    let names = match sections.get(names as usize) {
        Some(names) => bytes.window(names.offset, names.stored().min(MAX_NAMES))?,
        None => Vec::new(),
    };
    for section in &mut sections {
        let start: usize = section.name.parse().unwrap_or(usize::MAX);
        section.name = text(names.get(start..).unwrap_or_default(), 256);
    }
    Ok(sections)
}

/// The build id in the notes at `offset`, if one of them is it.
fn note(bytes: &Bytes, offset: u64, size: u64) -> Option<Vec<u8>> {
    let data = bytes.window(offset, size.min(64 << 10)).ok()?;
    let mut rest = data.as_slice();
    while let Some((head, body)) = rest.split_first_chunk::<12>() {
        let word = |at: usize| {
            u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize
        };
        let (name, id, kind) = (word(0), word(4), word(8));
        let start = name.checked_next_multiple_of(4)?;
        let end = start.checked_add(id)?;
        let found = body.get(start..end)?;
        if kind == elf::NT_GNU_BUILD_ID.0 as usize && body.starts_with(b"GNU\0") && name == 4 {
            return (1..=MAX_BUILD_ID).contains(&id).then(|| found.to_vec());
        }
        rest = body.get(end.checked_next_multiple_of(4)?..)?;
    }
    None
}

/// The text up to the first NUL, of at most `limit` bytes.
pub(crate) fn text(bytes: &[u8], limit: usize) -> String {
    let bytes = &bytes[..bytes.len().min(limit)];
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
