//! The symbol table that Fedora and its kin leave in stripped programs: an
//! ELF file of its own, compressed with xz, in the section `.gnu_debugdata`
//! (GDB manual, "MiniDebugInfo").

use std::io::Read;

use crate::bytes::Bytes;
use crate::elf::Elf;

/// The most that it may hold once decompressed, in bytes.
const MAX_SIZE: u64 = 64 << 20;
/// The memory that the decompression may take, in KiB.
const MAX_MEMORY: u32 = 64 << 10;

/// The table of `elf`, if it has one and it can be read.
pub(crate) fn read(bytes: &Bytes, elf: &Elf) -> Option<(Bytes, Elf)> {
    let section = elf.section(".gnu_debugdata")?;
    let data = bytes.window(section.offset, section.stored()).ok()?;
    let reader = lzma_rust2::XzReader::new_mem_limit(data.as_slice(), true, MAX_MEMORY);
    let mut content = Vec::new();
    reader.take(MAX_SIZE + 1).read_to_end(&mut content).ok()?;
    if content.len() as u64 > MAX_SIZE {
        return None;
    }
    let bytes = Bytes::Memory(content.into());
    let elf = Elf::parse(&bytes).ok()?;
    Some((bytes, elf))
}
