//! Files and lines of addresses, from a unit's line program. The program is
//! run once, and its rows are kept in 12 bytes each: to run it takes longer
//! than all else, and each batch asks the same few units.

use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;

use gimli::{ColumnType, DebugLine, DebugLineOffset, EndianSlice, LittleEndian};

use crate::dwarf::{Dwarf, Slice, Value};
use crate::units::{Root, Unit};
use crate::{Error, Result};

/// A place in a source file; 0 for a line or column that is not known.
#[derive(Debug, Clone, Default)]
pub(crate) struct Place {
    pub(crate) file: Option<Rc<str>>,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// A place whose file is still a number of the line program.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub(crate) file: u64,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// The line program of a unit.
pub(crate) struct Lines<'a> {
    dwarf: &'a Dwarf,
    unit: &'a Unit,
    root: Rc<Root>,
    /// All of it, or only its header where it has been run.
    program: Cow<'a, [u8]>,
    table: Option<&'a Table>,
}

/// The rows that a line program made, in order of address without overlap.
#[derive(Debug)]
pub(crate) struct Table {
    /// What `start` counts from.
    base: u64,
    rows: Vec<Packed>,
    /// The header of the program, as of a program without instructions: it names the files.
    header: Vec<u8>,
}

/// A row, from its start to that of the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Packed {
    start: u32,
    line: u32,
    /// [`NO_FILE`] where there is no code.
    file: u16,
    column: u16,
}

/// No file has this number in a [`Packed`].
const NO_FILE: u16 = u16::MAX;
/// The most rows of a [`Table`].
const MAX_ROWS: usize = 1 << 20;

impl<'a> Lines<'a> {
    /// Loads the program of `unit`.
    pub(crate) fn load(dwarf: &'a Dwarf, unit: &'a Unit, root: &Rc<Root>) -> Result<Self> {
        let offset = root.line.ok_or_else(|| Error::Absent("no line program".into()))?;
        let (skip, length) = match dwarf.line.number(offset, 4)? {
            0xffff_ffff => (12, dwarf.line.number(offset.saturating_add(4), 8)?),
            length => (4, length),
        };
        let program = dwarf.line.window(offset, length.saturating_add(skip))?;
        dwarf.spend(program.len() as u64)?;
        Ok(Self { dwarf, unit, root: Rc::clone(root), program: program.into(), table: None })
    }

    /// The program of `unit`, which made `table`.
    pub(crate) fn of(dwarf: &'a Dwarf, unit: &'a Unit, root: &Rc<Root>, table: &'a Table) -> Self {
        let program = Cow::Borrowed(&table.header[..]);
        Self { dwarf, unit, root: Rc::clone(root), program, table: Some(table) }
    }

    fn parse(&self) -> Result<gimli::IncompleteLineProgram<Slice<'_>>> {
        let section = DebugLine::from(EndianSlice::new(&self.program, LittleEndian));
        let size = self.unit.encoding.address_size;
        Ok(section.program(DebugLineOffset(0), size, None, None)?)
    }

    /// Runs the program, for more than one batch. None where its rows overlap or are no usual ones:
    /// such a program has to be run for each batch.
    pub(crate) fn table(&self) -> Result<Option<Table>> {
        let program = self.parse()?;
        let instructions = program.header().raw_program_buf().len();
        let mut found: Vec<(u64, u64, Row)> = Vec::new();
        // Rows before broken ones are as good as any.
        let _ = each(&mut program.rows(), |start, end, row| {
            if found.len() <= MAX_ROWS {
                found.push((start, end, row));
            }
        });
        found.sort_by_key(|&(start, ..)| start);
        let header = self.program.get(..self.program.len().saturating_sub(instructions));
        Ok(header.and_then(|header| Table::pack(&found, header)))
    }

    /// The places of `addresses` (sorted), and of `calls`, whose files are
    /// numbers of this program.
    pub(crate) fn places(
        &self,
        addresses: &[u64],
        calls: &[Row],
    ) -> Result<(Vec<Place>, Vec<Place>)> {
        let mut rows = self.parse()?.rows();
        let mut found: Vec<Option<Row>> = vec![None; addresses.len()];
        match self.table {
            Some(table) => {
                for (place, &address) in found.iter_mut().zip(addresses) {
                    *place = table.find(address);
                }
            }
            // As above.
            None => {
                let _ = scan(&mut rows, addresses, &mut found);
            }
        }
        let mut names = HashMap::new();
        let mut place = |row: &Row| {
            let file = names.entry(row.file).or_insert_with(|| self.file(rows.header(), row.file));
            Place { file: file.clone(), line: row.line, column: row.column }
        };
        let places = found.iter().map(|row| row.as_ref().map_or_else(Place::default, &mut place));
        let places = places.collect();
        Ok((places, calls.iter().map(place).collect()))
    }

    /// The path of file number `index`: absolute where the compiler told its
    /// own directory.
    fn file(&self, header: &gimli::LineProgramHeader<Slice<'_>>, index: u64) -> Option<Rc<str>> {
        let text = |value: &Value<'_>| self.dwarf.string(self.unit, &self.root, value);
        let file = header.file(index)?;
        let name = text(&file.path_name())?;
        if name.starts_with('/') {
            return Some(name.into());
        }
        let mut path = self.root.directory.clone().unwrap_or_default();
        // Directory 0 is that of the compiler.
        if file.directory_index() != 0
            && let Some(directory) = file.directory(header).as_ref().and_then(text)
        {
            join(&mut path, &directory);
        }
        join(&mut path, &name);
        Some(path.into())
    }
}

fn join(path: &mut String, next: &str) {
    if next.starts_with('/') {
        path.clear();
    } else if !path.is_empty() && !path.ends_with('/') {
        path.push('/');
    }
    path.push_str(next);
}

type Rows<'a> = gimli::LineRows<Slice<'a>, gimli::IncompleteLineProgram<Slice<'a>>>;

fn scan(rows: &mut Rows<'_>, addresses: &[u64], found: &mut [Option<Row>]) -> gimli::Result<()> {
    each(rows, |start, end, place| {
        let first = addresses.partition_point(|&wanted| wanted < start);
        for at in (first..addresses.len()).take_while(|&at| addresses[at] < end) {
            found[at].get_or_insert(place);
        }
    })
}

/// Visits each row with the addresses that it covers.
fn each(rows: &mut Rows<'_>, mut visit: impl FnMut(u64, u64, Row)) -> gimli::Result<()> {
    let mut before: Option<(u64, Row)> = None;
    // A sequence that begins at 0 is of code that the linker left out.
    let mut dead = false;
    while let Some((_, row)) = rows.next_row()? {
        let address = row.address();
        if before.is_none() {
            dead = address == 0;
        }
        if let Some((start, place)) = before
            && start < address
            && !dead
        {
            visit(start, address, place);
        }
        before = (!row.end_sequence()).then(|| (address, Row::new(row)));
    }
    Ok(())
}

impl Table {
    /// The table of those rows, in order of address; none if they overlap or are out of range.
    fn pack(found: &[(u64, u64, Row)], header: &[u8]) -> Option<Self> {
        if found.len() > MAX_ROWS {
            return None;
        }
        let base = found.first().map_or(0, |&(start, ..)| start);
        let offset = |address: u64| u32::try_from(address - base).ok();
        let mut rows: Vec<Packed> = Vec::new();
        let mut until = base;
        for &(start, end, row) in found {
            if start < until {
                return None;
            }
            let gap = Packed { start: offset(until)?, line: 0, file: NO_FILE, column: 0 };
            if start > until {
                rows.push(gap);
            }
            let file = u16::try_from(row.file).ok().filter(|&file| file != NO_FILE)?;
            let column = u16::try_from(row.column).ok()?;
            let packed = Packed { start: offset(start)?, line: row.line, file, column };
            let same = |last: &Packed| Packed { start: packed.start, ..*last } == packed;
            if !rows.last().is_some_and(same) {
                rows.push(packed);
            }
            until = end;
        }
        rows.push(Packed { start: offset(until)?, line: 0, file: NO_FILE, column: 0 });
        rows.shrink_to_fit();
        Some(Self { base, rows, header: without_instructions(header)? })
    }

    /// The row that covers `address`.
    fn find(&self, address: u64) -> Option<Row> {
        let offset = address.checked_sub(self.base)?;
        let after = self.rows.partition_point(|row| u64::from(row.start) <= offset);
        let row = self.rows.get(after.checked_sub(1)?)?;
        let Packed { line, file, column, .. } = *row;
        (file != NO_FILE).then(|| Row { file: file.into(), line, column: column.into() })
    }

    /// Bytes held in memory.
    pub(crate) fn held(&self) -> u64 {
        (self.rows.capacity() * size_of::<Packed>() + self.header.capacity()) as u64
    }
}

/// The header of a line program, with a length that says that nothing follows.
fn without_instructions(header: &[u8]) -> Option<Vec<u8>> {
    let mut header = header.to_vec();
    let length = header.len();
    match header.first_chunk::<4>()? {
        [0xff, 0xff, 0xff, 0xff] => {
            let length = (length as u64).checked_sub(12)?;
            header.get_mut(4..12)?.copy_from_slice(&length.to_le_bytes());
        }
        _ => {
            let length = u32::try_from(length.checked_sub(4)?).ok()?;
            header.get_mut(..4)?.copy_from_slice(&length.to_le_bytes());
        }
    }
    Some(header)
}

impl Row {
    fn new(row: &gimli::LineRow) -> Self {
        let number = |value: u64| u32::try_from(value).unwrap_or(0);
        let column = match row.column() {
            ColumnType::LeftEdge => 0,
            ColumnType::Column(column) => number(column.get()),
        };
        let line = row.line().map_or(0, |line| number(line.get()));
        Self { file: row.file_index(), line, column }
    }
}
