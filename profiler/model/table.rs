//! Interning: each distinct value is kept once and named by its index from then on.
//!
//! Indices are dense and in order of arrival, so a table can be written to disk in slices as it
//! grows, and read back by appending the slices.

use std::hash::Hash;

use indexmap::IndexSet;

/// Distinct values, each named by the order in which it first came.
#[derive(Clone, Debug)]
pub struct Table<T>(IndexSet<T, foldhash::fast::RandomState>);

impl<T: Hash + Eq> Table<T> {
    /// The index of `value`, which is added if it is new.
    pub fn intern(&mut self, value: T) -> u32 {
        self.0.insert_full(value).0 as u32
    }

    /// The value at `index`, if there is one.
    pub fn get(&self, index: u32) -> Option<&T> {
        self.0.get_index(index as usize)
    }

    /// How many distinct values there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there is no value yet.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The values from index `first` on, in order.
    pub fn since(&self, first: usize) -> impl Iterator<Item = &T> {
        self.0.iter().skip(first)
    }

    /// About how many bytes of memory the table takes, what its values point to not counted.
    pub fn bytes(&self) -> usize {
        // A value and its hash, and a slot that leads there.
        self.0.capacity() * (size_of::<T>() + 2 * size_of::<usize>())
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self(IndexSet::default())
    }
}

/// Distinct strings. Index 0 is always the empty string, which stands for "not known".
#[derive(Clone, Debug)]
pub struct Strings {
    table: Table<Box<str>>,
    /// Bytes of all of them.
    text: usize,
}

impl Strings {
    /// The index of `text`, which is added if it is new.
    pub fn intern(&mut self, text: &str) -> u32 {
        match self.table.0.get_index_of(text) {
            Some(index) => index as u32,
            None => {
                self.text += text.len();
                self.table.intern(text.into())
            }
        }
    }

    /// The string at `index`; empty if there is none.
    pub fn get(&self, index: u32) -> &str {
        self.table.get(index).map_or("", |text| text)
    }

    /// How many distinct strings there are, the empty one included.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Never true: the empty string is always there.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// About how many bytes of memory they take.
    pub fn bytes(&self) -> usize {
        self.table.bytes() + self.text
    }

    /// The strings from index `first` on, in order.
    pub fn since(&self, first: usize) -> impl Iterator<Item = &str> {
        self.table.since(first).map(|text| &**text)
    }
}

impl Default for Strings {
    fn default() -> Self {
        let mut table = Table::default();
        table.intern("".into());
        Self { table, text: 0 }
    }
}
