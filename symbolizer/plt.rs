//! Names of the stubs through which a program calls functions of other files
//! (the procedure linkage table): `malloc@plt`. They have no symbols. A stub
//! jumps to what a slot of the global offset table holds, and a relocation
//! says which function the slot is for. Format: System V psABI for x86-64,
//! section 5.2; other machines have no names here yet.

use object::LittleEndian;
use object::elf;
use object::pod;
use object::read::elf::{Rela, Sym};

use crate::bytes::Bytes;
use crate::elf::{Elf, Section};
use crate::table;

/// The most relocations looked at for one stub.
const MAX_RELOCATIONS: u64 = 1 << 16;

/// The name of the stub at `address`.
pub(crate) fn name(bytes: &Bytes, elf: &Elf, address: u64) -> Option<String> {
    if elf.machine != elf::EM_X86_64 || !elf.wide {
        return None;
    }
    let holds = |section: &&Section| {
        section.name.starts_with(".plt")
            && address.checked_sub(section.address).is_some_and(|into| into < section.stored())
    };
    let section = elf.sections.iter().find(holds)?;
    let size = if section.name == ".plt.got" && !is_marked(bytes, section) { 8 } else { 16 };
    let into = (address - section.address) / size * size;
    let stub = bytes.exact(section.offset.checked_add(into)?, size).ok()?;
    // `jmp *slot(%rip)`, after an optional `endbr64` and `bnd`. The first
    // stub of `.plt` pushes before it jumps, and is of no function.
    let jump = stub.windows(6).take(7).position(|code| code[..2] == [0xff, 0x25])?;
    if stub[..2] == [0xff, 0x35] {
        return None;
    }
    let displacement = stub[jump + 2..].first_chunk::<4>()?;
    let next = section.address.checked_add(into)?.checked_add(jump as u64 + 6)?;
    let slot = next.wrapping_add_signed(i32::from_le_bytes(*displacement).into());
    let (table, symbol) = [".rela.plt", ".rela.dyn"].into_iter().find_map(|name| {
        let relocations = elf.section(name)?;
        Some((elf.sections.get(relocations.link as usize)?, symbol_of(bytes, relocations, slot)?))
    })?;
    let entry = size_of::<elf::Sym64<LittleEndian>>() as u64;
    let at = table.offset.checked_add(u64::from(symbol).checked_mul(entry)?)?;
    let entry = bytes.exact(at, entry).ok()?;
    let (entry, _) = pod::from_bytes::<elf::Sym64<LittleEndian>>(&entry).ok()?;
    let strings = elf.sections.get(table.link as usize)?;
    let name = table::read_name(bytes, strings, entry.st_name(LittleEndian))?;
    Some(name + "@plt")
}

/// Whether the stubs start with `endbr64`, which makes them longer.
fn is_marked(bytes: &Bytes, section: &Section) -> bool {
    bytes.exact(section.offset, 4).is_ok_and(|code| code == [0xf3, 0x0f, 0x1e, 0xfa])
}

/// The number of the symbol that `relocations` puts into `slot`.
fn symbol_of(bytes: &Bytes, relocations: &Section, slot: u64) -> Option<u32> {
    type Entry = elf::Rela64<LittleEndian>;
    let size = size_of::<Entry>() as u64;
    let count = (relocations.stored() / size).min(MAX_RELOCATIONS);
    let data = bytes.window(relocations.offset, count * size).ok()?;
    let mut entries = data.chunks_exact(size_of::<Entry>());
    entries.find_map(|entry| {
        let (entry, _) = pod::from_bytes::<Entry>(entry).ok()?;
        let found = entry.r_offset(LittleEndian) == slot;
        let symbol = found.then(|| entry.r_sym(LittleEndian, false))?;
        (symbol != 0).then_some(symbol)
    })
}
