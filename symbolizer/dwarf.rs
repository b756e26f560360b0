//! Debug information, read in small parts. A program's DWARF is often ten
//! times its code, so nothing of it is mapped or loaded whole: a table of
//! contents is kept ([`Index`]), and a batch of addresses then reads the few
//! units that hold them. The format itself is gimli's; what is here decides
//! what to read, in bounded memory, without recursion on nested entries.
//! Format: DWARF versions 2 to 5, <https://dwarfstd.org>.

use std::collections::HashMap;
use std::io::Read;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use gimli::{Abbreviations, AttributeValue, DebugAbbrev, EndianSlice, EntriesRaw, LittleEndian};
use object::elf;

use crate::bytes::{Bytes, MAX_READ};
use crate::elf::{Elf, Section};
use crate::units::{Index, Root, Unit};
use crate::{Error, Result};

/// The most that a compressed section may hold once decompressed, in bytes.
const MAX_SECTION: u64 = 256 << 20;
/// The longest string read, in bytes.
const MAX_STRING: usize = 32 << 10;
/// The most work for one batch, in bytes gone through: a file may have many
/// units that share one huge line program or list of ranges.
const MAX_WORK: u64 = 512 << 20;
/// How many entries a name may be away from the entry that refers to it.
const MAX_HOPS: usize = 16;

pub(crate) type Slice<'a> = EndianSlice<'a, LittleEndian>;
pub(crate) type Value<'a> = AttributeValue<Slice<'a>>;

/// How much is read at once of a section that small reads walk through.
const BLOCK: u64 = 16 << 10;

/// One section, or nothing.
#[derive(Debug)]
pub(crate) struct Part {
    bytes: Bytes,
    offset: u64,
    pub(crate) size: u64,
    /// The block read last, and where it starts: neighbours are asked for
    /// one after the other.
    block: Mutex<(u64, Arc<Vec<u8>>)>,
}

impl Part {
    fn find(bytes: &Bytes, elf: &Elf, name: &str) -> Result<Self> {
        let (bytes, offset, size) = match elf.section(name) {
            None => (bytes.clone(), 0, 0),
            Some(section) if section.is_compressed() => {
                let content = decompress(bytes, elf, section)?;
                let size = content.len() as u64;
                (Bytes::Memory(content.into()), 0, size)
            }
            Some(section) => (bytes.clone(), section.offset, section.stored()),
        };
        Ok(Self { bytes, offset, size, block: Mutex::default() })
    }

    /// What there is of `size` bytes at `offset` of the section.
    pub(crate) fn window(&self, offset: u64, size: u64) -> Result<Vec<u8>> {
        let left = self.size.checked_sub(offset);
        let left = left.ok_or_else(|| Error::malformed("an offset past its debug section"))?;
        self.bytes.window(self.offset.saturating_add(offset), size.min(left))
    }

    /// Reads at `offset` with `parse`, in a window that grows while `parse`
    /// finds its end too early.
    pub(crate) fn parse<T>(
        &self,
        offset: u64,
        mut size: u64,
        mut parse: impl FnMut(Slice<'_>) -> gimli::Result<T>,
    ) -> Result<T> {
        loop {
            let (skip, block) = self.block(offset, size)?;
            let window = block.get(skip..).unwrap_or_default();
            let complete = (window.len() as u64) < size || size >= MAX_READ;
            match parse(EndianSlice::new(window, LittleEndian)) {
                Err(gimli::Error::UnexpectedEof(_)) if !complete => size *= 8,
                done => return Ok(done?),
            }
            size = size.min(MAX_READ);
        }
    }

    /// A block with what there is of `size` bytes at `offset`, and where in
    /// the block those start.
    fn block(&self, offset: u64, size: u64) -> Result<(usize, Arc<Vec<u8>>)> {
        let lock = || self.block.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = size.min(self.size.saturating_sub(offset));
        let (start, block) = lock().clone();
        if let Some(skip) = offset.checked_sub(start)
            && skip + wanted <= block.len() as u64
        {
            return Ok((usize::try_from(skip).unwrap_or(usize::MAX), block));
        }
        let block = Arc::new(self.window(offset, size.max(BLOCK))?);
        if block.len() as u64 <= BLOCK {
            *lock() = (offset, Arc::clone(&block));
        }
        Ok((0, block))
    }

    /// The text at `offset`, up to its NUL.
    fn string(&self, offset: u64) -> Result<String> {
        // Not by blocks: strings of neighbours are seldom neighbours.
        let mut size = 256;
        loop {
            let window = self.window(offset, size)?;
            if window.contains(&0) || (window.len() as u64) < size || size >= MAX_STRING as u64 {
                return Ok(crate::elf::text(&window, MAX_STRING));
            }
            size *= 8;
        }
    }

    /// The number of `size` (4 or 8) bytes at `offset`.
    pub(crate) fn number(&self, offset: u64, size: u64) -> Result<u64> {
        let bytes = self.window(offset, size)?;
        if bytes.len() as u64 != size {
            return Err(Error::malformed("an index past its debug section"));
        }
        Ok(bytes.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte)))
    }
}

/// Undoes `SHF_COMPRESSED`; believes no size that the section claims.
fn decompress(bytes: &Bytes, elf: &Elf, section: &Section) -> Result<Vec<u8>> {
    let data = bytes.window(section.offset, section.stored())?;
    let head = if elf.wide { 24 } else { 12 };
    let (Some(kind), Some(body)) = (data.first_chunk::<4>(), data.get(head..)) else {
        return Err(Error::malformed("a compressed section without a header"));
    };
    let mut content = Vec::new();
    let read = match elf::CompressionType(u32::from_le_bytes(*kind)) {
        elf::ELFCOMPRESS_ZLIB => {
            flate2::bufread::ZlibDecoder::new(body).take(MAX_SECTION + 1).read_to_end(&mut content)
        }
        elf::ELFCOMPRESS_ZSTD => zstd::stream::Decoder::with_buffer(body)
            .and_then(|decoder| decoder.take(MAX_SECTION + 1).read_to_end(&mut content)),
        kind => return Err(Error::malformed(format!("unknown compression {}", kind.0))),
    };
    read.map_err(Error::io(format!("decompress {}", section.name)))?;
    if content.len() as u64 > MAX_SECTION {
        return Err(Error::TooLarge(format!("{} of over {MAX_SECTION} bytes", section.name)));
    }
    Ok(content)
}

/// The sections that lead from an address to functions and lines.
#[derive(Debug)]
pub(crate) struct Dwarf {
    pub(crate) info: Part,
    pub(crate) abbrev: Part,
    pub(crate) aranges: Part,
    pub(crate) line: Part,
    pub(crate) ranges: Part,
    pub(crate) rnglists: Part,
    addr: Part,
    text: Part,
    line_text: Part,
    text_offsets: Part,
    /// All of `.debug_addr`, which lists and entries refer to by index.
    addresses: OnceLock<Vec<u8>>,
    work: AtomicU64,
}

impl Dwarf {
    /// Finds the sections of `elf`; decompresses those that are compressed.
    pub(crate) fn new(bytes: &Bytes, elf: &Elf) -> Result<Self> {
        let find = |name| Part::find(bytes, elf, name);
        Ok(Self {
            info: find(".debug_info")?,
            abbrev: find(".debug_abbrev")?,
            aranges: find(".debug_aranges")?,
            line: find(".debug_line")?,
            ranges: find(".debug_ranges")?,
            rnglists: find(".debug_rnglists")?,
            addr: find(".debug_addr")?,
            text: find(".debug_str")?,
            line_text: find(".debug_line_str")?,
            text_offsets: find(".debug_str_offsets")?,
            addresses: OnceLock::new(),
            work: AtomicU64::new(0),
        })
    }

    /// Starts to count the work of a batch.
    pub(crate) fn begin(&self) {
        self.work.store(0, Ordering::Relaxed);
    }

    /// Counts `bytes` of work; fails once there was too much.
    pub(crate) fn spend(&self, bytes: u64) -> Result<()> {
        if self.work.fetch_add(bytes, Ordering::Relaxed) < MAX_WORK {
            Ok(())
        } else {
            Err(Error::TooLarge(format!("a batch that goes through {MAX_WORK} bytes")))
        }
    }

    /// Bytes held in memory for as long as this lives.
    pub(crate) fn held(&self) -> u64 {
        let parts = [
            &self.info,
            &self.abbrev,
            &self.aranges,
            &self.line,
            &self.ranges,
            &self.rnglists,
            &self.addr,
            &self.text,
            &self.line_text,
            &self.text_offsets,
        ];
        parts
            .into_iter()
            .map(|part| if let Bytes::Memory(_) = part.bytes { part.size } else { BLOCK })
            .sum()
    }

    /// The text that an attribute stands for.
    pub(crate) fn string(&self, unit: &Unit, root: &Root, value: &Value<'_>) -> Option<String> {
        match *value {
            AttributeValue::String(text) => Some(crate::elf::text(text.slice(), MAX_STRING)),
            AttributeValue::DebugStrRef(at) => self.text.string(at.0 as u64).ok(),
            AttributeValue::DebugLineStrRef(at) => self.line_text.string(at.0 as u64).ok(),
            AttributeValue::DebugStrOffsetsIndex(index) => {
                let word = u64::from(unit.encoding.format.word_size());
                let at = (index.0 as u64).checked_mul(word)?.checked_add(root.text_base)?;
                self.text.string(self.text_offsets.number(at, word).ok()?).ok()
            }
            _ => None,
        }
    }

    /// The content of `.debug_addr`.
    pub(crate) fn addresses(&self) -> &[u8] {
        self.addresses.get_or_init(|| self.addr.window(0, self.addr.size).unwrap_or_default())
    }

    /// The address that an attribute stands for.
    pub(crate) fn address(&self, unit: &Unit, root: &Root, value: &Value<'_>) -> Option<u64> {
        match *value {
            AttributeValue::Addr(address) => Some(address),
            AttributeValue::DebugAddrIndex(index) => {
                let size = usize::from(unit.encoding.address_size);
                let base = usize::try_from(root.address_base).ok()?;
                let at = index.0.checked_mul(size)?.checked_add(base)?;
                let bytes = self.addresses().get(at..at.checked_add(size)?)?;
                Some(bytes.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte)))
            }
            _ => None,
        }
    }
}

/// What a batch of addresses reads more than once.
pub(crate) struct Batch<'a> {
    pub(crate) dwarf: &'a Dwarf,
    pub(crate) index: &'a Index,
    abbreviations: HashMap<u64, Rc<Abbreviations>>,
    roots: HashMap<u64, Rc<Root>>,
    names: HashMap<u64, Option<Rc<str>>>,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(dwarf: &'a Dwarf, index: &'a Index) -> Self {
        let (abbreviations, roots, names) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { dwarf, index, abbreviations, roots, names }
    }

    /// Drops what was read of abbreviations and roots: in a walk over all
    /// units each is needed once.
    pub(crate) fn forget(&mut self) {
        self.abbreviations.clear();
        self.roots.clear();
    }

    pub(crate) fn abbreviations(&mut self, offset: u64) -> Result<Rc<Abbreviations>> {
        if let Some(known) = self.abbreviations.get(&offset) {
            return Ok(Rc::clone(known));
        }
        let parsed = self.dwarf.abbrev.parse(offset, 8 << 10, |window| {
            DebugAbbrev::from(window).abbreviations(gimli::DebugAbbrevOffset(0))
        })?;
        let parsed = Rc::new(parsed);
        self.abbreviations.insert(offset, Rc::clone(&parsed));
        Ok(parsed)
    }

    pub(crate) fn root(&mut self, unit: &Unit) -> Result<Rc<Root>> {
        if let Some(known) = self.roots.get(&unit.offset) {
            return Ok(Rc::clone(known));
        }
        let abbreviations = self.abbreviations(unit.abbreviations)?;
        let root = Rc::new(Root::read(self.dwarf, unit, &abbreviations)?);
        self.roots.insert(unit.offset, Rc::clone(&root));
        Ok(root)
    }

    /// The name, as the linker knows it where it does, of the function whose
    /// entry is at `offset` of `.debug_info`, or of the one it stands for.
    pub(crate) fn name(&mut self, offset: u64) -> Option<Rc<str>> {
        if let Some(known) = self.names.get(&offset) {
            return known.clone();
        }
        let mut at = offset;
        let mut name: Option<Rc<str>> = None;
        for _ in 0..MAX_HOPS {
            let (found, linked, next) = self.name_at(at).unwrap_or((None, false, None));
            // A plain name gives way to a mangled one further on.
            if linked || name.is_none() {
                name = found.map(Rc::from).or(name);
            }
            match next {
                Some(next) if !linked => at = next,
                _ => break,
            }
        }
        self.names.insert(offset, name.clone());
        name
    }

    /// Name, whether it is the linker's, and the entry to ask next.
    fn name_at(&mut self, offset: u64) -> Result<(Option<String>, bool, Option<u64>)> {
        let index = self.index;
        let unit = index.unit_at(offset).ok_or_else(|| Error::malformed("a stray reference"))?;
        let abbreviations = self.abbreviations(unit.abbreviations)?;
        let root = self.root(unit)?;
        let dwarf = self.dwarf;
        dwarf.info.parse(offset, 256, |window| {
            let start = gimli::UnitOffset(0);
            let mut entries = EntriesRaw::new(window, unit.encoding, &abbreviations, start);
            let (mut plain, mut linked, mut next) = (None, None, None);
            let Some(abbreviation) = entries.read_abbreviation()? else {
                return Ok((None, false, None));
            };
            for &spec in abbreviation.attributes() {
                let attribute = entries.read_attribute(spec)?;
                let value = attribute.value();
                match attribute.name() {
                    gimli::DW_AT_linkage_name | gimli::DW_AT_MIPS_linkage_name => {
                        linked = Some(value);
                    }
                    gimli::DW_AT_name => plain = Some(value),
                    gimli::DW_AT_abstract_origin | gimli::DW_AT_specification => {
                        next = reference(unit, &value);
                    }
                    _ => {}
                }
            }
            let value = linked.or(plain);
            let name = value.and_then(|value| dwarf.string(unit, &root, &value));
            Ok((name.filter(|name| !name.is_empty()), linked.is_some(), next))
        })
    }
}

/// The offset in `.debug_info` that an attribute refers to.
pub(crate) fn reference(unit: &Unit, value: &Value<'_>) -> Option<u64> {
    match *value {
        AttributeValue::UnitRef(at) => unit.offset.checked_add(at.0 as u64),
        AttributeValue::DebugInfoRef(at) => Some(at.0 as u64),
        _ => None,
    }
}
