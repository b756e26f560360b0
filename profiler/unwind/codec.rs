//! A table as bytes, to be kept on disk between runs under its [`Key`](super::Key).
//!
//! All numbers are little-endian: magic, version, counts of rules, pages and rows, first page,
//! facts; then the rules, 8 bytes each; for each page its number of rows; the rows; a hash of all
//! before. The rules are the table's own, so the bytes mean the same in every run. What is read
//! back is checked as far as a search relies on it: a file that was tampered with can give a
//! wrong stack, never a panic or a search beyond the table.

use super::error::{Error, bound};
use super::facts::Facts;
use super::frames::MAX_ROWS;
use super::hash::Hash;
use super::rule::{MAX_FILE_RULES, Rule};
use super::table::{MAX_PAGES, PAGE_BITS, Page, Table};

const MAGIC: &[u8; 8] = b"rprofuwt";
/// To be raised when the layout changes, and when the same file would get other rows.
const VERSION: u32 = 3;

impl Table {
    /// The stored form, 4 bytes a row and little more.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 + 8 * self.rules.len() + self.bytes());
        out.extend_from_slice(MAGIC);
        let counts = [self.rules.len(), self.pages.len(), self.rows.len()];
        put(&mut out, &[VERSION]);
        put(&mut out, &counts.map(|count| count as u32));
        out.extend(self.first_page.to_le_bytes());
        out.extend(self.facts.numbers().into_iter().flat_map(u64::to_le_bytes));
        out.extend(self.rules.iter().flat_map(|rule| rule.pack().to_le_bytes()));
        out.extend(self.pages.iter().flat_map(|page| page.count.to_le_bytes()));
        put(&mut out, &self.rows);
        let checksum = checksum(&out);
        out.extend(checksum.to_le_bytes());
        out
    }

    /// The table that [`Table::encode`] made these bytes of.
    ///
    /// # Errors
    /// They are cut short, damaged, or of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader(bytes);
        if reader.take::<8>()? != *MAGIC {
            return Err(Error::Stored("not one"));
        }
        if reader.u32()? != VERSION {
            return Err(Error::Stored("another version"));
        }
        let (rules, pages, rows) = (reader.u32()?, reader.u32()?, reader.u32()?);
        bound("rules", rules.into(), MAX_FILE_RULES as u64)?;
        bound("pages", pages.into(), MAX_PAGES)?;
        // Packing adds a row to each page and one behind each function.
        bound("rows", rows.into(), 2 * MAX_ROWS + MAX_PAGES)?;
        let first_page = reader.u64()?;
        let mut facts = [0; Facts::COUNT];
        for fact in &mut facts {
            *fact = reader.u64()?;
        }
        let expected = 8 * rules as usize + 4 * pages as usize + 4 * rows as usize + 8;
        if reader.0.len() != expected {
            return Err(Error::Stored("cut short"));
        }
        let (body, sum) = bytes.split_at(bytes.len() - 8);
        if checksum(body).to_le_bytes() != sum {
            return Err(Error::Stored("damaged"));
        }
        let table = Self {
            first_page,
            rules: reader.rules(rules)?,
            pages: reader.pages(pages)?,
            rows: reader.rows(rows)?,
            facts: Facts::from_numbers(facts),
        };
        table.check()?;
        Ok(table)
    }

    /// What a search relies on.
    fn check(&self) -> Result<(), Error> {
        let good = self.rules.first() == Some(&Rule::NONE)
            && self.first_page.saturating_add(self.pages.len() as u64) <= 1 << (64 - PAGE_BITS)
            && self.pages.iter().all(|page| self.check_page(page))
            && self.pages.last().map_or(0, |page| page.first + page.count)
                == self.rows.len() as u32;
        good.then_some(()).ok_or(Error::Stored("damaged"))
    }

    fn check_page(&self, page: &Page) -> bool {
        let Some(rows) =
            self.rows.get(page.first as usize..).and_then(|rows| rows.get(..page.count as usize))
        else {
            return false;
        };
        rows.first().is_none_or(|row| row >> 16 == 0)
            && rows.is_sorted_by(|one, next| one >> 16 < next >> 16)
            && rows.iter().all(|row| ((row & 0xffff) as usize) < self.rules.len())
    }
}

fn put(out: &mut Vec<u8>, numbers: &[u32]) {
    out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
}

fn checksum(bytes: &[u8]) -> u64 {
    let mut hash = Hash::new();
    hash.bytes(bytes);
    hash.finish()
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (head, rest) = self.0.split_first_chunk().ok_or(Error::Stored("cut short"))?;
        self.0 = rest;
        Ok(*head)
    }

    fn u32(&mut self) -> Result<u32, Error> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Error> {
        self.take().map(u64::from_le_bytes)
    }

    fn rules(&mut self, count: u32) -> Result<Vec<Rule>, Error> {
        (0..count).map(|_| Rule::unpack(self.u64()?).ok_or(Error::Stored("unknown rule"))).collect()
    }

    fn pages(&mut self, count: u32) -> Result<Vec<Page>, Error> {
        let mut first = 0u32;
        (0..count)
            .map(|_| {
                let count = self.u32()?;
                let page = Page { first, count };
                first = first.checked_add(count).ok_or(Error::Stored("damaged"))?;
                Ok(page)
            })
            .collect()
    }

    fn rows(&mut self, count: u32) -> Result<Vec<u32>, Error> {
        (0..count).map(|_| self.u32()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table {
            first_page: 4,
            pages: vec![Page { first: 0, count: 2 }, Page::default(), Page { first: 2, count: 3 }],
            rows: vec![1, 0x10_0002, 0, 0x20_0001, 0x30_0002],
            rules: vec![Rule::NONE, Rule::END, Rule::ODD],
            facts: Facts { functions: 3, plt: 7, ..Facts::default() },
        }
    }

    /// Encodes, puts `byte` at `at`, and sets the checksum right.
    fn tampered(table: &Table, at: usize, byte: u8) -> Result<Table, Error> {
        let mut bytes = table.encode();
        bytes[at] = byte;
        let body = bytes.len() - 8;
        let sum = checksum(&bytes[..body]);
        bytes[body..].copy_from_slice(&sum.to_le_bytes());
        Table::decode(&bytes)
    }

    #[test]
    fn tampered_tables_are_refused_or_searchable() {
        let mut table = table();
        table.pages[1].first = 2;
        let size = table.encode().len();
        let mut accepted = 0;
        for at in 0..size - 8 {
            for byte in [0, 1, 2, 3, 5, 0x7f, 0x80, 0xff] {
                let Ok(table) = tampered(&table, at, byte) else { continue };
                accepted += 1;
                let base = table.first_page << PAGE_BITS;
                for inside in (0..0x3_ffff).step_by(7) {
                    let _ = table.lookup(base.wrapping_add(inside));
                }
            }
        }
        assert!(accepted > 100);
        // The counts of the second page and the last row.
        assert!(tampered(&table, size - 8 - 4 * 7, 1).is_err());
        assert!(tampered(&table, size - 9, 0x80).is_ok());
        assert!(tampered(&table, size - 10, 0x10).is_err());
        assert!(tampered(&table, size - 12, 3).is_err());
    }
}
