//! What sources of memory are told: words of `record` and `agent`.

use clap::Args as Group;

use super::args::{parse_any_share, parse_size};
use crate::sources::MemoryOptions;

/// What probes of allocators may cost, of the target's CPU time.
const OVERHEAD: f64 = 0.05;

/// Which allocations are recorded
#[derive(Group, Default)]
#[command(next_help_heading = "Memory")]
pub struct MemoryArgs {
    /// Bytes from one sample to the next, on average; 0: each allocation or page fault. Else 512 KiB,
    /// or 64 KiB of page faults
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub rate: Option<u64>,
    /// Only allocations of at least this size
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = parse_size)]
    pub min_size: u64,
    /// Only allocations of at most this size
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub max_size: Option<u64>,
    /// What probes of allocators may cost, of the target's CPU time; beyond it, they are set for a
    /// part of the time only. 5 % if not given, or with --rate 0 whatever it takes, as 0 says too
    #[arg(long, value_name = "SHARE", value_parser = parse_any_share)]
    pub max_overhead: Option<f64>,
    /// What the names of an allocator's functions begin with, besides those that are known: my_ for
    /// my_malloc
    #[arg(long, value_name = "PREFIX", value_delimiter = ',')]
    pub allocator_prefix: Vec<String>,
}

impl MemoryArgs {
    /// What sources of memory are told by these words.
    pub fn options(&self) -> MemoryOptions {
        MemoryOptions {
            rate: self.rate,
            min_size: self.min_size,
            max_size: self.max_size.unwrap_or(u64::MAX),
            max_overhead: match (self.max_overhead, self.rate) {
                (Some(0.0), _) | (None, Some(0)) => f64::INFINITY,
                (Some(share), _) => share,
                (None, _) => OVERHEAD,
            },
            prefixes: self.allocator_prefix.clone(),
        }
    }
}
