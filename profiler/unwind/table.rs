//! The packed unwind table of one file, and the search in it that the kernel half repeats.
//!
//! Addresses are cut into pages of 64 KiB. A page names a run of rows; a row is the low half of
//! an address and the id of the rule in force from there on, 4 bytes in all. The first row of a
//! run is for the first byte of its page, so that one page is all that a search has to see.

use super::error::Error;
use super::facts::Facts;
use super::frames::Frames;
use super::image::{Image, ReadAt};
use super::pack::pack;
use super::rule::Rule;
use super::sections;

/// log2 of the bytes of address space that a page covers.
pub const PAGE_BITS: u32 = 16;
/// The most pages of a table: 4 GiB, the reach of x86_64's code models.
pub const MAX_PAGES: u64 = 1 << 16;

/// The rows of one page of 64 KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The number of its first row in the table.
    pub first: u32,
    /// How many rows it has; 0 if no function lies in it.
    pub count: u32,
}

/// Which rule applies where, for one executable file, in the addresses that the file gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub(super) first_page: u64,
    pub(super) pages: Vec<Page>,
    pub(super) rows: Vec<u32>,
    pub(super) rules: Vec<Rule>,
    pub(super) facts: Facts,
}

impl Table {
    /// Builds the table of `image`. Takes tens of milliseconds for the largest libraries.
    ///
    /// # Errors
    /// No function is described, or there is more to read than the limits of this module allow.
    /// Entries that cannot be read are no error; see [`Facts`].
    pub fn build<F: ReadAt + ?Sized>(image: &Image<'_, F>) -> Result<Self, Error> {
        let mut frames = Frames::new();
        let layers = sections::read(image, &mut frames)?;
        pack(frames, layers, image.segments())
    }

    /// The rule at `address`; [`Rule::NONE`] where nothing is known.
    ///
    /// This is step for step what the kernel does, so keep them alike.
    #[must_use]
    pub fn lookup(&self, address: u64) -> Rule {
        let page = (address >> PAGE_BITS).wrapping_sub(self.first_page);
        let page = usize::try_from(page).ok().and_then(|page| self.pages.get(page));
        let Some(page) = page.filter(|page| page.count > 0) else {
            return Rule::NONE;
        };
        // The last row that is not behind the address: rows compare by address first.
        let wanted = (address as u32) << 16 | 0xffff;
        let (mut low, mut high) = (page.first, page.first + page.count);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.rows[middle as usize] <= wanted {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let id = self.rows[low as usize - 1] & 0xffff;
        self.rules[id as usize]
    }

    /// The number of the first page: its first address shifted right by [`PAGE_BITS`].
    #[must_use]
    pub fn first_page(&self) -> u64 {
        self.first_page
    }

    /// One entry for each 64 KiB, from the first page on without gaps.
    #[must_use]
    pub fn pages(&self) -> &[Page] {
        &self.pages
    }

    /// All rows: bits 16 to 31 are the low half of the address, bits 0 to 15 an index into
    /// [`Table::rules`].
    #[must_use]
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// The rules that the rows name, the first being [`Rule::NONE`].
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What building it found.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The bytes that rows and pages take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(self.rows.as_slice()) + size_of_val(self.pages.as_slice())
    }
}
