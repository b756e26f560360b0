//! Call frame information, decoded: each function's address range and its rules.
//!
//! The entries of `.eh_frame` and `.debug_frame` are walked here and interpreted by gimli. One
//! that cannot be read costs its own function only. Nothing in the section is trusted: the work
//! done is bounded by the section's size and the limits below, whatever refers to what.

use std::collections::HashMap;
use std::ops::Range;

use gimli::{
    BaseAddresses, CommonInformationEntry, DebugFrame, EhFrame, FrameDescriptionEntry,
    LittleEndian, UnwindContext, UnwindOffset, UnwindSection, UnwindTable,
};

use super::error::{Error, bound};
use super::facts::Facts;
use super::rule::{ODD, Rbp, Rule, RuleTable};
use super::x86::{self, CfiRow, Slice, Storage};

/// The most rows of one file, before merging; LLVM has 1.3 million.
pub const MAX_ROWS: u64 = 16 << 20;
/// The most functions of one file; LLVM has 160,000.
pub const MAX_FUNCTIONS: u64 = 4 << 20;
/// The most bytes interpreted for each byte of a section. Each function interprets the
/// instructions of its CIE too, so the size alone does not bound it; real sections have 2.
const MAX_WORK: u64 = 8;

/// From `offset` bytes behind the start of its function on, `rule` applies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub offset: u32,
    pub rule: u16,
}

/// The addresses `start..end`, described by the rows of the function that starts at `origin`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub start: u64,
    pub end: u64,
    pub origin: u64,
    pub first: u32,
    pub count: u32,
}

/// All functions of one file, in the order of the sections.
#[derive(Debug)]
pub(super) struct Frames {
    pub rows: Vec<Row>,
    pub spans: Vec<Span>,
    pub rules: RuleTable,
    pub facts: Facts,
    work: u64,
    max_work: u64,
}

/// Which of the two forms a section has; they differ in how entries name their CIE.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Eh,
    Debug,
}

/// What to do with the rule of a row.
type Filter = fn(Rule) -> Rule;

impl Frames {
    pub fn new() -> Self {
        Self {
            rows: Vec::new(),
            spans: Vec::new(),
            rules: RuleTable::new(),
            facts: Facts::default(),
            work: 0,
            max_work: 0,
        }
    }

    /// Reads the `.eh_frame` section `data`. `sized`: its size is known, so that a terminator in
    /// the middle, which some linkers leave there, is not the end.
    pub fn read_eh(
        &mut self,
        data: &[u8],
        bases: &BaseAddresses,
        sized: bool,
    ) -> Result<(), Error> {
        let section = EhFrame::new(data, LittleEndian);
        self.walk(&section, data, bases, Form::Eh, sized, |rule| rule)
    }

    /// Reads the `.debug_frame` section `data`, passing each rule through `filter`.
    pub fn read_debug(
        &mut self,
        data: &[u8],
        bases: &BaseAddresses,
        filter: Filter,
    ) -> Result<(), Error> {
        let section = DebugFrame::new(data, LittleEndian);
        self.walk(&section, data, bases, Form::Debug, true, filter)
    }

    fn walk<'a, S>(
        &mut self,
        section: &S,
        data: &'a [u8],
        bases: &BaseAddresses,
        form: Form,
        sized: bool,
        filter: Filter,
    ) -> Result<(), Error>
    where
        S: UnwindSection<Slice<'a>>,
    {
        self.max_work += MAX_WORK * data.len() as u64;
        let mut cies: HashMap<usize, CommonInformationEntry<Slice<'a>>> = HashMap::new();
        let mut context = UnwindContext::new_in();
        let mut offset = 0;
        while let Some(entry) = Entry::at(data, offset, form) {
            let start = std::mem::replace(&mut offset, entry.end);
            match entry.what {
                What::Terminator if sized => {}
                What::Terminator => break,
                What::Cie => match section.cie_from_offset(bases, S::Offset::from(start)) {
                    Ok(cie) => drop(cies.insert(start, cie)),
                    Err(_) => self.facts.broken += 1,
                },
                What::Fde => {
                    // Only a CIE that came before is taken: looking one up wherever an entry
                    // points to would let a small section be parsed a million times.
                    let fde = section
                        .partial_fde_from_offset(bases, S::Offset::from(start))
                        .and_then(|partial| {
                            partial.parse(|_, _, at| {
                                let cie = cies.get(&UnwindOffset::into(at));
                                cie.cloned().ok_or(gimli::Error::NotCieId(0))
                            })
                        });
                    match fde {
                        Ok(fde) => {
                            self.function(section, bases, &fde, &mut context, filter)?;
                        }
                        Err(_) => self.facts.broken += 1,
                    }
                }
            }
        }
        if offset < data.len() && sized {
            self.facts.broken += 1;
        }
        Ok(())
    }

    fn function<'a, S>(
        &mut self,
        section: &S,
        bases: &BaseAddresses,
        fde: &FrameDescriptionEntry<Slice<'a>>,
        context: &mut UnwindContext<usize, Storage>,
        filter: Filter,
    ) -> Result<(), Error>
    where
        S: UnwindSection<Slice<'a>>,
    {
        self.facts.functions += 1;
        self.work += (fde.entry_len() + fde.cie().entry_len()) as u64;
        bound("bytes of instructions", self.work, self.max_work)?;
        bound("functions", self.facts.functions, MAX_FUNCTIONS)?;
        let (start, end) = (fde.initial_address(), fde.end_address());
        if end <= start || u32::try_from(end - start).is_err() {
            return Ok(());
        }
        let first = self.rows.len();
        let Ok(table) = fde.rows(section, bases, context) else {
            self.facts.broken += 1;
            return Ok(());
        };
        let rule = |row: &CfiRow| {
            let rule = x86::rule(row, section, fde.cie().encoding());
            filter(rule)
        };
        self.rows_of(table, start..end, rule)?;
        self.span(start, end, first);
        Ok(())
    }

    fn rows_of<'a>(
        &mut self,
        mut table: UnwindTable<'_, '_, Slice<'a>, Storage>,
        range: Range<u64>,
        rule: impl Fn(&CfiRow) -> Rule,
    ) -> Result<(), Error> {
        let first = self.rows.len();
        let mut next = range.start;
        while next < range.end {
            let offset = (next - range.start) as u32;
            match table.next_row() {
                Ok(Some(row)) => {
                    next = row.end_address();
                    self.row(first, offset, rule(row));
                }
                Ok(None) => break,
                Err(_) => {
                    // What was said up to here holds; from here on nothing is known.
                    self.facts.broken += 1;
                    self.row(first, offset, Rule::ODD);
                    break;
                }
            }
            bound("rows", self.rows.len() as u64, MAX_ROWS)?;
        }
        Ok(())
    }

    /// Adds a row to the function whose rows start at number `first`.
    pub fn row(&mut self, first: usize, offset: u32, rule: Rule) {
        let id = self.rules.id(rule);
        self.facts.odd += u64::from(id == ODD);
        self.facts.lost += u64::from(rule.rbp == Rbp::Lost);
        match self.rows[first..].last_mut() {
            Some(last) if last.offset == offset => last.rule = id,
            _ => self.rows.push(Row { offset, rule: id }),
        }
    }

    /// Adds the addresses `start..end` with the rows from number `first` on.
    pub fn span(&mut self, start: u64, end: u64, first: usize) {
        self.spans.push(Span {
            start,
            end,
            origin: start,
            first: first as u32,
            count: (self.rows.len() - first) as u32,
        });
    }
}

struct Entry {
    what: What,
    /// The offset of the next entry.
    end: usize,
}

enum What {
    Cie,
    Fde,
    Terminator,
}

impl Entry {
    /// The entry at `offset`, or nothing at the end of the section or where it is damaged.
    /// Layout: Linux Standard Base, "Exception Frames", and DWARF 5, section 6.4.1.
    fn at(data: &[u8], offset: usize, form: Form) -> Option<Self> {
        let rest = data.get(offset..)?;
        let short = u32::from_le_bytes(*rest.first_chunk()?);
        let (header, length): (usize, usize) = if short == u32::MAX {
            let long = u64::from_le_bytes(*rest.get(4..)?.first_chunk()?);
            (12, usize::try_from(long).ok()?)
        } else {
            (4, short as usize)
        };
        let end = header.checked_add(length)?;
        if length == 0 {
            let end = offset + header;
            return Some(Self { what: What::Terminator, end });
        }
        let body = rest.get(header..end)?;
        let is_cie = match (form, header) {
            (Form::Eh, _) => *body.first_chunk()? == [0; 4],
            (Form::Debug, 4) => *body.first_chunk()? == [0xff; 4],
            (Form::Debug, _) => *body.first_chunk()? == [0xff; 8],
        };
        let what = if is_cie { What::Cie } else { What::Fde };
        Some(Self { what, end: offset + end })
    }
}
