//! Runs of entries in `unwind_mappings`: each process has one, next to each other in one array.

use std::collections::{BTreeMap, VecDeque};

/// A run of entries.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Run {
    /// First entry.
    pub first: u32,
    /// How many.
    pub count: u32,
}

/// How many runs wait before one is used again: a program that was interrupted in the middle of a
/// stack may still read the one that its process had before.
const COOLING: usize = 64;

/// Hands out runs.
pub struct Runs {
    /// First entry and length of what is free, not touching one another.
    free: BTreeMap<u32, u32>,
    cooling: VecDeque<Run>,
}

impl Runs {
    /// `size` free entries.
    pub fn new(size: u32) -> Self {
        Self { free: BTreeMap::from([(0, size)]), cooling: VecDeque::new() }
    }

    /// A run of `count` entries, if there is one left.
    pub fn take(&mut self, count: u32) -> Option<Run> {
        let (&first, &length) = self.free.iter().find(|&(_, &length)| length >= count)?;
        self.free.remove(&first);
        if length > count {
            self.free.insert(first + count, length - count);
        }
        Some(Run { first, count })
    }

    /// Takes a run back.
    pub fn give(&mut self, run: Run) {
        self.cooling.push_back(run);
        if self.cooling.len() > COOLING
            && let Some(run) = self.cooling.pop_front()
        {
            self.release(run);
        }
    }

    fn release(&mut self, run: Run) {
        let (mut first, mut count) = (run.first, run.count);
        if count == 0 {
            return;
        }
        if let Some(length) = self.free.remove(&(first + count)) {
            count += length;
        }
        let before = self.free.range(..first).next_back().map(|(&start, &length)| (start, length));
        if let Some((start, length)) = before
            && start + length == first
        {
            (first, count) = (start, count + length);
        }
        self.free.insert(first, count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_becomes_one_again() {
        let mut runs = Runs::new(1000);
        for _ in 0..50 {
            let taken: Vec<Run> = (1..20).filter_map(|count| runs.take(count)).collect();
            assert_eq!(taken.len(), 19);
            for (index, run) in taken.iter().enumerate() {
                assert!(taken[..index].iter().all(|other| {
                    other.first + other.count <= run.first || run.first + run.count <= other.first
                }));
            }
            // Not all at once, so that some are cooling while others are taken.
            taken.into_iter().for_each(|run| runs.give(run));
        }
        while let Some(run) = runs.cooling.pop_front() {
            runs.release(run);
        }
        assert_eq!(runs.free, BTreeMap::from([(0, 1000)]));
        assert!(runs.take(1001).is_none());
    }
}
