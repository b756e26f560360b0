//! The functions of one unit, and the calls that the compiler inlined into
//! them. Entries are walked once, flat, with the depth at hand as a number:
//! a file that nests a million calls costs a million steps, not a stack.

use std::ops::Range;
use std::rc::Rc;

use gimli::{Abbreviations, AttributeValue, EndianSlice, EntriesRaw, LittleEndian, UnitOffset};

use crate::Result;
use crate::dwarf::{Batch, Dwarf, Slice, reference};
use crate::lines::Row;
use crate::units::{Extent, Root, Unit};

/// The most functions of one unit; the rest have no debug information.
const MAX_FUNCTIONS: usize = 1 << 20;
/// The longest chain of inlined calls kept of one address.
const MAX_CHAIN: usize = 256;
/// How many functions are asked whether they hold an address.
const MAX_OVERLAP: usize = 16;

/// Code of a function: one for each of its ranges.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Function {
    begin: u64,
    end: u64,
    /// Where its entry is, in bytes from the start of the unit.
    entry: u32,
    /// Bytes of it and of the entries below it.
    size: u32,
}

/// All functions of a unit, in order of address.
#[derive(Debug, Default)]
pub(crate) struct Functions(Vec<Function>);

/// A call that the compiler replaced by the body of the called function.
#[derive(Debug, Clone)]
pub(crate) struct Inlined {
    /// Offset in `.debug_info` of the entry of the called function.
    pub(crate) origin: Option<u64>,
    /// Its own entry, where the name may be if there is no origin.
    pub(crate) entry: u64,
    depth: isize,
    /// Where the call stood: number of the file in the line program.
    file: Option<u64>,
    line: u32,
    column: u32,
}

/// A unit with entries of it in memory.
pub(crate) struct Loaded<'a> {
    unit: &'a Unit,
    root: Rc<Root>,
    dwarf: &'a Dwarf,
    table: Rc<Abbreviations>,
    /// Where the entries start, in bytes from the start of the unit.
    start: u64,
    entries: Vec<u8>,
}

impl<'a> Loaded<'a> {
    /// With all its entries.
    pub(crate) fn whole(batch: &mut Batch<'a>, unit: &'a Unit) -> Result<Self> {
        Self::new(batch, unit, unit.header, unit.size.saturating_sub(unit.header))
    }

    /// With those of one function.
    pub(crate) fn function(
        batch: &mut Batch<'a>,
        unit: &'a Unit,
        function: Function,
    ) -> Result<Self> {
        Self::new(batch, unit, function.entry(), function.size.into())
    }

    fn new(batch: &mut Batch<'a>, unit: &'a Unit, start: u64, size: u64) -> Result<Self> {
        let table = batch.abbreviations(unit.abbreviations)?;
        let root = batch.root(unit)?;
        batch.dwarf.spend(size)?;
        let entries = batch.dwarf.info.window(unit.offset.saturating_add(start), size)?;
        Ok(Self { unit, root, dwarf: batch.dwarf, table, start, entries })
    }

    /// A reader of entries from `entry` on, in bytes from the unit's start.
    fn entries(&self, entry: u64) -> EntriesRaw<'_, Slice<'_>> {
        let skip = usize::try_from(entry.saturating_sub(self.start)).unwrap_or(usize::MAX);
        let bytes = self.entries.get(skip..).unwrap_or_default();
        let start = UnitOffset(usize::try_from(entry).unwrap_or(usize::MAX / 2));
        let bytes = EndianSlice::new(bytes, LittleEndian);
        EntriesRaw::new(bytes, self.unit.encoding, &self.table, start)
    }

    /// All functions with code. What stands before broken entries is kept.
    pub(crate) fn functions(&self) -> Functions {
        let mut found = Vec::new();
        let _ = self.collect(&mut found);
        found.sort_unstable_by_key(|function| function.begin);
        found.shrink_to_fit();
        Functions(found)
    }

    fn collect(&self, found: &mut Vec<Function>) -> Result<()> {
        let mut entries = self.entries(self.unit.header);
        // Functions whose entries have not ended: their depth, and where they are in `found`.
        let mut open: Vec<(isize, Range<usize>)> = Vec::new();
        let close = |found: &mut [Function],
                     open: &mut Vec<(isize, Range<usize>)>,
                     depth: isize,
                     end: u32| {
            while let Some((_, functions)) = open.pop_if(|(above, _)| *above >= depth) {
                found[functions].iter_mut().for_each(|f| f.size = end - f.entry);
            }
        };
        while !entries.is_empty() && found.len() < MAX_FUNCTIONS {
            // No more than a window is read of a unit, and that is shorter.
            let Ok(entry) = u32::try_from(entries.next_offset().0) else { break };
            let depth = entries.next_depth();
            close(found, &mut open, depth, entry);
            let Some(abbreviation) = entries.read_abbreviation()? else { continue };
            if abbreviation.tag() != gimli::DW_TAG_subprogram {
                entries.skip_attributes(abbreviation.attributes())?;
                continue;
            }
            let mut extent = Extent::default();
            for &spec in abbreviation.attributes() {
                let attribute = entries.read_attribute(spec)?;
                extent.note(attribute.name(), &attribute.value());
            }
            let first = found.len();
            // Its size is that of all that is left, unless it is found out.
            let size = u32::MAX - entry;
            for (begin, end) in extent.ranges(self.dwarf, self.unit, &self.root) {
                found.push(Function { begin, end, entry, size });
            }
            if first < found.len() {
                open.push((depth, first..found.len()));
            }
        }
        Ok(())
    }

    /// The calls inlined into `function` at each of `addresses` (sorted), the
    /// outermost first.
    pub(crate) fn inlined(&self, function: Function, addresses: &[u64]) -> Vec<Vec<Inlined>> {
        let mut chains = vec![Vec::new(); addresses.len()];
        // What stands before broken entries is kept here as well.
        let _ = self.walk(function, addresses, &mut chains);
        chains
    }

    fn walk(
        &self,
        function: Function,
        addresses: &[u64],
        chains: &mut [Vec<Inlined>],
    ) -> Result<()> {
        let mut entries = self.entries(function.entry());
        let Some(abbreviation) = entries.read_abbreviation()? else { return Ok(()) };
        entries.skip_attributes(abbreviation.attributes())?;
        if !abbreviation.has_children() {
            return Ok(());
        }
        // Entries below a nested function are its own, and those below a call
        // that holds none of the addresses do not matter.
        let mut nested = isize::MAX;
        while !entries.is_empty() && entries.next_depth() > 0 {
            self.dwarf.spend(8)?;
            let depth = entries.next_depth();
            let entry = self.unit.offset + entries.next_offset().0 as u64;
            let Some(abbreviation) = entries.read_abbreviation()? else { continue };
            if depth <= nested {
                let inside = abbreviation.tag() == gimli::DW_TAG_subprogram;
                nested = if inside { depth } else { isize::MAX };
            }
            if nested != isize::MAX || abbreviation.tag() != gimli::DW_TAG_inlined_subroutine {
                entries.skip_attributes(abbreviation.attributes())?;
                continue;
            }
            let (call, extent) = self.call(&mut entries, abbreviation, depth, entry)?;
            nested = depth;
            for (begin, end) in extent.ranges(self.dwarf, self.unit, &self.root) {
                let first = addresses.partition_point(|&address| address < begin);
                for at in (first..addresses.len()).take_while(|&at| addresses[at] < end) {
                    nested = isize::MAX;
                    let chain = &mut chains[at];
                    let deeper = chain.last().is_none_or(|outer: &Inlined| outer.depth < depth);
                    if deeper && chain.len() < MAX_CHAIN {
                        chain.push(call.clone());
                    }
                }
            }
        }
        Ok(())
    }

    fn call<'b>(
        &self,
        entries: &mut EntriesRaw<'b, Slice<'b>>,
        abbreviation: &gimli::Abbreviation,
        depth: isize,
        entry: u64,
    ) -> Result<(Inlined, Extent<'b>)> {
        let mut call = Inlined { origin: None, entry, depth, file: None, line: 0, column: 0 };
        let mut extent = Extent::default();
        let number = |value: Option<u64>| value.and_then(|value| u32::try_from(value).ok());
        for &spec in abbreviation.attributes() {
            let attribute = entries.read_attribute(spec)?;
            let value = attribute.value();
            extent.note(attribute.name(), &value);
            match attribute.name() {
                gimli::DW_AT_abstract_origin => call.origin = reference(self.unit, &value),
                gimli::DW_AT_call_file => {
                    if let AttributeValue::FileIndex(file) = value {
                        // 0 was "no file" before version 5.
                        let none = file == 0 && self.unit.encoding.version < 5;
                        call.file = (!none).then_some(file);
                    }
                }
                gimli::DW_AT_call_line => call.line = number(value.udata_value()).unwrap_or(0),
                gimli::DW_AT_call_column => call.column = number(value.udata_value()).unwrap_or(0),
                _ => {}
            }
        }
        Ok((call, extent))
    }
}

impl Functions {
    /// The innermost function that holds `address`.
    pub(crate) fn find(&self, address: u64) -> Option<Function> {
        let after = self.0.partition_point(|function| function.begin <= address);
        let near = self.0[..after].iter().rev().take(MAX_OVERLAP);
        near.copied().find(|function| address < function.end)
    }

    /// Bytes held in memory.
    pub(crate) fn held(&self) -> u64 {
        (self.0.capacity() * size_of::<Function>()) as u64
    }
}

impl Inlined {
    /// Where it was called.
    pub(crate) fn row(&self) -> Row {
        match self.file {
            Some(file) => Row { file, line: self.line, column: self.column },
            None => Row { file: u64::MAX, line: 0, column: 0 },
        }
    }
}

impl Function {
    /// Where its entry is, in bytes from the start of the unit. Ranges of one
    /// function share it.
    pub(crate) fn entry(&self) -> u64 {
        self.entry.into()
    }

    /// Whether one of its ranges begins at `address`.
    pub(crate) fn begins_at(&self, address: u64) -> bool {
        self.begin == address
    }
}
