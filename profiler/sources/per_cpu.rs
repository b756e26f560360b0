//! Perf events of a source, one on each CPU that is online.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    io,
};

use anyhow::Result;
use libbpf_rs::Link;

use crate::machine;

/// The links of the events, by CPU.
#[derive(Default)]
pub struct PerCpu {
    links: BTreeMap<usize, Link>,
}

impl PerCpu {
    /// Opens events with `open` on CPUs that came online, and closes those of CPUs that went away.
    /// On those in `renewed` all are void: they are new, or were away for a while.
    ///
    /// # Errors
    /// A CPU that is online cannot be sampled.
    pub fn follow(
        &mut self,
        renewed: &[usize],
        mut open: impl FnMut(usize) -> Result<Link>,
    ) -> Result<()> {
        let online = machine::online_cpus()?;
        self.links.retain(|cpu, _| online.contains(cpu) && !renewed.contains(cpu));
        for cpu in online {
            if let Entry::Vacant(place) = self.links.entry(cpu) {
                place.insert(open(cpu)?);
            }
        }
        Ok(())
    }

    /// Opens all of them anew. The old event of a CPU ends when the new one runs.
    ///
    /// # Errors
    /// A CPU cannot be sampled; those before it were changed.
    pub fn renew(&mut self, mut open: impl FnMut(usize) -> Result<Link>) -> Result<()> {
        let cpus: Vec<usize> = self.links.keys().copied().collect();
        for cpu in cpus {
            let link = open(cpu)?;
            self.links.insert(cpu, link);
        }
        Ok(())
    }

    /// Closes them.
    pub fn clear(&mut self) {
        self.links.clear();
    }
}

/// Why an event could not be opened, and the way out.
pub fn explain(error: io::Error) -> anyhow::Error {
    let reason = match error.raw_os_error() {
        Some(nix::libc::ENOSYS | nix::libc::ENOENT) => {
            "this kernel was built without CONFIG_PERF_EVENTS"
        }
        Some(nix::libc::EPERM | nix::libc::EACCES) => {
            "CAP_PERFMON is missing, or a security module or container forbids perf events"
        }
        Some(nix::libc::EMFILE) => "too many open files; raise ulimit -n",
        _ => "perf_event_open failed",
    };
    anyhow::Error::new(error).context(reason)
}
