//! The table of contents of a file's debug information: which units there
//! are, and which addresses each covers. It is built once a file, from
//! `.debug_aranges` where that is complete, else from the first entry of each
//! unit, and is small: some 50 bytes a unit and 24 a range.

use gimli::{
    Abbreviations, AttributeValue, DebugAddr, DebugAddrBase, DebugAranges, DebugRanges,
    DebugRngLists, Encoding, EntriesRaw, Format, LittleEndian, RangeLists, RangeListsOffset,
};

use crate::dwarf::{Batch, Dwarf, Value};
use crate::{Error, Result};

/// The most units of one file; the rest have no debug information.
const MAX_UNITS: usize = 1 << 18;
/// The most address ranges of all units of one file.
const MAX_RANGES: usize = 1 << 20;
/// The most ranges of one function or unit.
const MAX_LIST: usize = 1 << 16;
/// The most units asked for one address, where units overlap.
const MAX_OVERLAP: usize = 8;

/// A unit: what one run of a compiler wrote.
#[derive(Debug, Clone)]
pub(crate) struct Unit {
    /// Where it is in `.debug_info`.
    pub(crate) offset: u64,
    /// Where its entries start, in bytes from `offset`.
    pub(crate) header: u64,
    /// Its size with header, in bytes.
    pub(crate) size: u64,
    /// Offset of its abbreviations in `.debug_abbrev`.
    pub(crate) abbreviations: u64,
    pub(crate) encoding: Encoding,
    /// Whether it may hold code: no type and no partial unit.
    code: bool,
}

impl Unit {
    /// Reads the header at `offset`.
    fn read(dwarf: &Dwarf, offset: u64) -> Result<Self> {
        let head = dwarf.info.window(offset, 40)?;
        let number = |at: usize, size: usize| -> Result<u64> {
            let bytes = head.get(at..at + size);
            let bytes = bytes.ok_or_else(|| Error::malformed("a unit cut short"))?;
            Ok(bytes.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte)))
        };
        let (format, length, mut at) = match number(0, 4)? {
            0xffff_ffff => (Format::Dwarf64, number(4, 8)?, 12),
            length => (Format::Dwarf32, length, 4),
        };
        let size = length.saturating_add(at as u64);
        let word = usize::from(format.word_size());
        let version = u16::try_from(number(at, 2)?).unwrap_or(0);
        at += 2;
        let (mut code, address_size, abbreviations) = (true, number(at, 1)?, number(at, word)?);
        let (address_size, abbreviations) = if version == 5 {
            let kind = address_size;
            // DW_UT_compile 1, type 2, partial 3, skeleton 4, split 5 and 6.
            code = matches!(kind, 1 | 4);
            let result = (number(at + 1, 1)?, number(at + 2, word)?);
            at += 2 + word + if kind == 4 { 8 } else { 0 };
            result
        } else {
            let result = (number(at + word, 1)?, abbreviations);
            at += word + 1;
            result
        };
        let address_size = u8::try_from(address_size).unwrap_or(0);
        if !(2..=5).contains(&version) || !matches!(address_size, 4 | 8) {
            return Err(Error::malformed(format!("a unit of DWARF version {version}")));
        }
        let encoding = Encoding { address_size, format, version };
        Ok(Self { offset, header: at as u64, size, abbreviations, encoding, code })
    }
}

/// What the first entry of a unit says for all that follow.
#[derive(Debug, Default)]
pub(crate) struct Root {
    pub(crate) low: u64,
    pub(crate) directory: Option<String>,
    /// Offset of its program in `.debug_line`.
    pub(crate) line: Option<u64>,
    pub(crate) address_base: u64,
    pub(crate) text_base: u64,
    pub(crate) ranges_base: u64,
    ranges: Vec<(u64, u64)>,
}

impl Root {
    pub(crate) fn read(dwarf: &Dwarf, unit: &Unit, table: &Abbreviations) -> Result<Self> {
        let offset = unit.offset + unit.header;
        dwarf.info.parse(offset, 256, |window| {
            let start = gimli::UnitOffset(0);
            let mut entries = EntriesRaw::new(window, unit.encoding, table, start);
            let mut root = Self::default();
            let mut extent = Extent::default();
            let mut directory = None;
            let abbreviation = entries.read_abbreviation()?;
            for &spec in abbreviation.map_or(&[][..], |found| found.attributes()) {
                let attribute = entries.read_attribute(spec)?;
                let value = attribute.value();
                extent.note(attribute.name(), &value);
                match value {
                    AttributeValue::DebugLineRef(at) => root.line = Some(at.0 as u64),
                    AttributeValue::DebugAddrBase(at) => root.address_base = at.0 as u64,
                    AttributeValue::DebugStrOffsetsBase(at) => root.text_base = at.0 as u64,
                    AttributeValue::DebugRngListsBase(at) => root.ranges_base = at.0 as u64,
                    value if attribute.name() == gimli::DW_AT_comp_dir => directory = Some(value),
                    _ => {}
                }
            }
            // The bases that these need may stand after them.
            root.directory = directory.and_then(|value| dwarf.string(unit, &root, &value));
            root.low = extent.low.and_then(|low| dwarf.address(unit, &root, &low)).unwrap_or(0);
            root.ranges = extent.ranges(dwarf, unit, &root);
            Ok(root)
        })
    }
}

/// The attributes that say where the code of an entry is.
#[derive(Debug, Default)]
pub(crate) struct Extent<'a> {
    low: Option<Value<'a>>,
    high: Option<Value<'a>>,
    list: Option<Value<'a>>,
}

impl<'a> Extent<'a> {
    pub(crate) fn note(&mut self, name: gimli::DwAt, value: &Value<'a>) {
        match name {
            gimli::DW_AT_low_pc => self.low = Some(*value),
            gimli::DW_AT_high_pc => self.high = Some(*value),
            gimli::DW_AT_ranges => self.list = Some(*value),
            _ => {}
        }
    }

    /// First and last-but-one addresses of the code. Ranges that begin at 0
    /// are of functions that the linker left out.
    pub(crate) fn ranges(&self, dwarf: &Dwarf, unit: &Unit, root: &Root) -> Vec<(u64, u64)> {
        let mut found = match &self.list {
            Some(list) => list_at(dwarf, unit, root, list).unwrap_or_default(),
            None => self.simple(dwarf, unit, root).into_iter().collect(),
        };
        found.retain(|&(begin, end)| begin != 0 && begin < end);
        found
    }

    fn simple(&self, dwarf: &Dwarf, unit: &Unit, root: &Root) -> Option<(u64, u64)> {
        let low = dwarf.address(unit, root, self.low.as_ref()?)?;
        let high = self.high.as_ref()?;
        let high = match dwarf.address(unit, root, high) {
            Some(high) => high,
            None => low.checked_add(high.udata_value()?)?,
        };
        Some((low, high))
    }
}

fn list_at(dwarf: &Dwarf, unit: &Unit, root: &Root, value: &Value<'_>) -> Option<Vec<(u64, u64)>> {
    let word = u64::from(unit.encoding.format.word_size());
    let offset = match *value {
        AttributeValue::RangeListsRef(at) => at.0 as u64,
        AttributeValue::SecOffset(at) => at as u64,
        AttributeValue::DebugRngListsIndex(index) => {
            let at = (index.0 as u64).checked_mul(word)?.checked_add(root.ranges_base)?;
            dwarf.rnglists.number(at, word).ok()?.checked_add(root.ranges_base)?
        }
        _ => return None,
    };
    let indexed = unit.encoding.version >= 5;
    let part = if indexed { &dwarf.rnglists } else { &dwarf.ranges };
    let found = part.parse(offset, 512, |window| {
        let empty = gimli::EndianSlice::new(&[], LittleEndian);
        let (old, new) = if indexed { (empty, window) } else { (window, empty) };
        let lists = RangeLists::new(DebugRanges::from(old), DebugRngLists::from(new));
        let addresses = if indexed { dwarf.addresses() } else { &[] };
        let addresses = DebugAddr::from(gimli::EndianSlice::new(addresses, LittleEndian));
        let base = DebugAddrBase(usize::try_from(root.address_base).unwrap_or(usize::MAX));
        let start = RangeListsOffset(0);
        let mut ranges = lists.ranges(start, unit.encoding, root.low, &addresses, base)?;
        let mut found = Vec::new();
        while let Some(range) = ranges.next()? {
            if found.len() == MAX_LIST {
                break;
            }
            found.push((range.begin, range.end));
        }
        Ok(found)
    });
    let found: Vec<_> = found.ok()?;
    dwarf.spend(16 * found.len() as u64).ok()?;
    Some(found)
}

/// Code of a unit. `reach` is the largest `end` of all ranges up to here, in
/// order of `begin`: where it is passed, no earlier range can hold an address.
#[derive(Debug)]
struct Range {
    begin: u64,
    end: u64,
    reach: u64,
    unit: u32,
}

/// The units of a file, and where their code is.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) units: Vec<Unit>,
    ranges: Vec<Range>,
}

impl Index {
    pub(crate) fn build(dwarf: &Dwarf) -> Self {
        let mut index = Self::default();
        let mut offset = 0;
        while offset < dwarf.info.size && index.units.len() < MAX_UNITS {
            // Without a header there is no way to the next unit.
            let Ok(unit) = Unit::read(dwarf, offset) else { break };
            offset = offset.saturating_add(unit.size);
            index.units.push(unit);
        }
        let mut known = vec![false; index.units.len()];
        // A broken table is made good by the units themselves.
        let _ = index.add_aranges(dwarf, &mut known);
        let mut ranges = std::mem::take(&mut index.ranges);
        let mut batch = Batch::new(dwarf, &index);
        for (at, unit) in index.units.iter().enumerate() {
            if known[at] || !unit.code {
                continue;
            }
            let Ok(root) = batch.root(unit) else { continue };
            push(&mut ranges, at, &root.ranges);
            batch.forget();
        }
        ranges.sort_unstable_by_key(|range| range.begin);
        let mut reach = 0;
        for range in &mut ranges {
            reach = reach.max(range.end);
            range.reach = reach;
        }
        index.ranges = ranges;
        index
    }

    fn add_aranges(&mut self, dwarf: &Dwarf, known: &mut [bool]) -> Result<()> {
        let section = dwarf.aranges.window(0, dwarf.aranges.size)?;
        let mut headers = DebugAranges::new(&section, LittleEndian).headers();
        while let Some(header) = headers.next()? {
            let offset = header.debug_info_offset().0 as u64;
            let Ok(at) = self.units.binary_search_by_key(&offset, |unit| unit.offset) else {
                continue;
            };
            let mut entries = header.entries();
            let mut found = Vec::new();
            while let Some(entry) = entries.next()? {
                let range = entry.range();
                if range.begin != 0 && range.begin < range.end {
                    found.push((range.begin, range.end));
                }
            }
            known[at] |= !found.is_empty();
            push(&mut self.ranges, at, &found);
        }
        Ok(())
    }

    /// The unit that `offset` of `.debug_info` is in.
    pub(crate) fn unit_at(&self, offset: u64) -> Option<&Unit> {
        let after = self.units.partition_point(|unit| unit.offset <= offset);
        let unit = self.units.get(after.checked_sub(1)?)?;
        (offset - unit.offset < unit.size && offset - unit.offset >= unit.header).then_some(unit)
    }

    /// The units that may hold `address`, as positions in `units`.
    pub(crate) fn units_of(&self, address: u64) -> impl Iterator<Item = u32> {
        let after = self.ranges.partition_point(|range| range.begin <= address);
        self.ranges[..after]
            .iter()
            .rev()
            .take_while(move |range| address < range.reach)
            .take(1 << 12)
            .filter(move |range| address < range.end)
            .map(|range| range.unit)
            .take(MAX_OVERLAP)
    }

    /// Bytes held in memory.
    pub(crate) fn held(&self) -> u64 {
        let units = self.units.capacity() * size_of::<Unit>();
        (units + self.ranges.capacity() * size_of::<Range>()) as u64
    }
}

fn push(ranges: &mut Vec<Range>, unit: usize, found: &[(u64, u64)]) {
    let room = MAX_RANGES.saturating_sub(ranges.len());
    let unit = u32::try_from(unit).unwrap_or(u32::MAX);
    let new = found.iter().take(room);
    ranges.extend(new.map(|&(begin, end)| Range { begin, end, reach: 0, unit }));
}
