//! Files and lines of addresses, from a unit's line program. The program is
//! run once past the sorted addresses of a batch and its rows are forgotten
//! as they come: they are the largest thing that there is in a debug file.

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
    program: Vec<u8>,
}

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
        Ok(Self { dwarf, unit, root: Rc::clone(root), program })
    }

    /// The places of `addresses` (sorted), and of `calls`, whose files are
    /// numbers of this program.
    pub(crate) fn places(
        &self,
        addresses: &[u64],
        calls: &[Row],
    ) -> Result<(Vec<Place>, Vec<Place>)> {
        let section = DebugLine::from(EndianSlice::new(&self.program, LittleEndian));
        let size = self.unit.encoding.address_size;
        let program = section.program(DebugLineOffset(0), size, None, None)?;
        let mut rows = program.rows();
        let mut found: Vec<Option<Row>> = vec![None; addresses.len()];
        // Rows before broken ones are as good as any.
        let _ = scan(&mut rows, addresses, &mut found);
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
            let first = addresses.partition_point(|&wanted| wanted < start);
            for at in (first..addresses.len()).take_while(|&at| addresses[at] < address) {
                found[at].get_or_insert(place);
            }
        }
        before = (!row.end_sequence()).then(|| (address, Row::new(row)));
    }
    Ok(())
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
