//! Allocations of processes that are gone: nothing frees them, so the kernel's table of what is held
//! would fill up with them.

use std::collections::HashMap;

use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::bpf::{self, held, held_key};

/// How often the table is searched, at most, ns: it may be large.
const PAUSE: u64 = 10_000_000_000;
/// Entries that are read at once.
const BATCH: u32 = 4096;
/// Processes that are remembered until the next search; beyond that it is not put off.
const GONE_MAX: usize = 64 << 10;

/// Keeps the table of what is held free of what nobody holds.
pub struct Sweep {
    held: MapHandle,
    /// Processes that have ended or run another program, and when, ns of CLOCK_MONOTONIC.
    gone: HashMap<u64, u64>,
    last: u64,
}

impl Sweep {
    /// For this map of `bpf/held.bpf.h`.
    pub fn new(held: MapHandle) -> Self {
        Self { held, gone: HashMap::new(), last: 0 }
    }

    /// What a process allocated before that time is not held any more.
    pub fn gone(&mut self, pid: u32, time: u64) {
        self.gone.insert(pid.into(), time);
    }

    /// Searches the table if it is time to.
    ///
    /// # Errors
    /// The kernel refuses to let it be read or changed.
    pub fn tend(&mut self, now: u64) -> libbpf_rs::Result<()> {
        let due = now >= self.last + PAUSE || self.gone.len() >= GONE_MAX;
        if self.gone.is_empty() || !due {
            return Ok(());
        }
        self.last = now;
        let gone = std::mem::take(&mut self.gone);
        let mut keys: Vec<Vec<u8>> = Vec::new();
        for (key, value) in self.held.lookup_batch(BATCH, MapFlags::ANY, MapFlags::ANY)? {
            let (Some(of), Some(is)) = (bpf::read::<held_key>(&key), bpf::read::<held>(&value))
            else {
                continue;
            };
            // Its pid may be another's since.
            if gone.get(&of.pid).is_some_and(|&time| is.born <= time) {
                keys.push(key);
            }
        }
        for key in keys {
            match self.held.delete(&key) {
                Err(error) if error.kind() != libbpf_rs::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}
