//! The addresses of the stacks that samples refer to, in two generations, so that memory is bounded
//! while none is forgotten that the kernel still takes for known.

use std::{collections::HashMap, sync::Arc};

type Stacks = HashMap<u128, Arc<[u64]>, foldhash::fast::RandomState>;

/// Stacks by fingerprint.
pub struct RawStacks {
    young: Stacks,
    /// Those before the kernel was last told to announce all anew: samples that were on their way
    /// then may still refer to them.
    old: Stacks,
    addresses: usize,
    addresses_max: usize,
}

impl RawStacks {
    /// None yet. A generation that has more addresses than `addresses_max` becomes the old one.
    pub fn new(addresses_max: usize) -> Self {
        let (young, old) = Default::default();
        Self { young, old, addresses: 0, addresses_max }
    }

    /// Adds stacks that the kernel announced.
    pub fn add(&mut self, stacks: impl Iterator<Item = (u128, Vec<u64>)>) {
        for (fingerprint, addresses) in stacks {
            self.addresses += addresses.len();
            self.young.insert(fingerprint, addresses.into());
        }
    }

    /// The addresses of a stack, leaf first.
    pub fn get(&self, fingerprint: u128) -> Option<&Arc<[u64]>> {
        self.young.get(&fingerprint).or_else(|| self.old.get(&fingerprint))
    }

    /// True if the kernel should be told to announce all anew, and [`RawStacks::age`] be called.
    pub fn is_full(&self) -> bool {
        self.addresses >= self.addresses_max
    }

    /// Forgets the old generation and makes the young one old.
    pub fn age(&mut self) {
        self.old = std::mem::take(&mut self.young);
        self.addresses = 0;
    }
}
