//! Keeps the agent's memory within its bound.
//!
//! What can grow has a share of the bound of its own: tables of the model (a third; beyond, a new
//! recording begins), raw stacks, remembered nodes, samples that wait and unwind tables (see
//! [`Limits`], nearly half). The rest is for the program itself and for what naming and building
//! tables take for a moment. Memory that was given back but that the allocator kept, and what no
//! count foresaw, shows in the resident set: it is looked at last, and relieved in steps.

use crate::{bpf, machine, resolve::Limits};

/// The least that an agent can do with, bytes: what the program takes itself, and as much again.
pub const LEAST: u64 = 64 << 20;

/// What is to be done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Relief {
    /// Nothing.
    None,
    /// Give back what can be had again.
    DropCaches,
    /// Begin a new recording, with empty tables.
    NewRecording,
}

/// A bound, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Bound(pub u64);

impl Bound {
    /// Limits on what is kept to resolve samples.
    pub fn limits(self) -> Limits {
        Limits::within(self.0)
    }

    /// What helps, where tables take this much and the resident set is that large.
    pub fn judge(self, tables: u64, resident: u64) -> Relief {
        if tables > self.0 / 3 {
            Relief::NewRecording
        } else if resident > self.0 {
            Relief::DropCaches
        } else {
            Relief::None
        }
    }

    /// True if caches were dropped in vain: the resident set is as large as it was, or nearly.
    pub fn needs_more(self, resident: u64) -> bool {
        resident > self.0 / 10 * 9
    }
}

/// Has the allocator give back to the system what is free; returns the resident set, bytes.
pub fn give_back() -> u64 {
    bpf::trim_heap();
    machine::rss()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_the_resident_set_are_bounded() {
        let bound = Bound(120 << 20);
        let judge = |tables: u64, resident: u64| bound.judge(tables << 20, resident << 20);
        assert_eq!(judge(39, 100), Relief::None);
        assert_eq!(judge(41, 100), Relief::NewRecording);
        assert_eq!(judge(1, 121), Relief::DropCaches);
        assert!(bound.needs_more(110 << 20) && !bound.needs_more(100 << 20));
    }
}
