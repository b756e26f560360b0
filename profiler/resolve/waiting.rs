//! Samples that wait for the unwind tables of their process: those that came before the tables were
//! in the kernel carry a copy of their stack, which is followed here once they are.

use std::{
    collections::{HashMap, HashSet},
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{
    Limits,
    process::Processes,
    snapshot::{follow, status},
};
use crate::{
    collector::{RawSample, Snapshot, TaskEvent, TaskKind},
    unwind::{Counts, Loader, Region},
};

/// A sample whose stack was followed here, leaf first, of which thread of the model, and in which
/// process: its own, or what was set aside of it.
pub struct Followed {
    /// The sample, without its snapshot.
    pub sample: RawSample,
    /// Thread.
    pub thread: u32,
    /// Number of the process.
    pub process: u32,
    /// The stack.
    pub addresses: Vec<u64>,
}

/// Samples that wait, and what brings tables into the kernel.
pub struct Waiting {
    loader: Loader,
    /// Processes in the kernel whose mappings have changed since.
    stale: HashSet<u32>,
    /// Samples whose stack waits for tables, with their threads, by process.
    samples: HashMap<u32, Vec<(RawSample, u32)>>,
    bytes: usize,
    /// What comes beyond is followed as far as the tables reach that are there.
    bytes_max: usize,
}

impl Waiting {
    /// None waits yet.
    pub fn new(mut loader: Loader, limits: &Limits) -> Self {
        loader.keep_at_hand(limits.table_bytes);
        let (stale, samples) = Default::default();
        Self { loader, stale, samples, bytes: 0, bytes_max: limits.waiting_bytes }
    }

    /// Becomes readable when there are tables to take in, which [`Waiting::load`] does.
    pub fn wakeup_fd(&self) -> BorrowedFd<'_> {
        self.loader.wakeup_fd()
    }

    /// What there is of unwind tables in the kernel.
    pub fn tables(&self) -> Counts {
        self.loader.counts()
    }

    /// Takes note of what a process is about to do. To be called before `processes` does.
    pub fn apply(&mut self, event: &TaskEvent, processes: &mut Processes) {
        if matches!(event.kind, TaskKind::Map(_)) && self.loader.has(event.pid) {
            self.stale.insert(event.pid);
        }
        if matches!(event.kind, TaskKind::Exec) {
            self.loader.forget(event.pid);
        }
        if matches!(event.kind, TaskKind::Exec | TaskKind::ForkedFrom(_))
            && let Some(samples) = self.samples.remove(&event.pid)
        {
            self.samples.insert(processes.set_aside(event.pid), samples);
        }
    }

    /// Brings the tables of a process into the kernel before it is sampled, as far as they are there
    /// by `deadline`; what is not is waited for as usual.
    ///
    /// # Errors
    /// The kernel refuses an entry.
    pub fn prepare(
        &mut self,
        pid: u32,
        deadline: Instant,
        processes: &mut Processes,
    ) -> Result<()> {
        let regions = processes.regions(pid);
        while !self.loader.prepare(&regions) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            self.loader.collect(Some(left));
        }
        if !regions.is_empty() {
            self.loader.publish(pid, &regions)?;
        }
        Ok(())
    }

    /// Keeps a sample with a snapshot until its tables are there. Without room for it, follows it
    /// as far as the tables reach that are.
    pub fn add(
        &mut self,
        sample: RawSample,
        thread: u32,
        processes: &mut Processes,
    ) -> Option<Followed> {
        let bytes = self.bytes + bytes_of(&sample);
        if bytes > self.bytes_max {
            let regions = processes.regions(sample.pid);
            let ready = self.loader.prepare(&regions);
            let process = sample.pid;
            return Some(self.follow(sample, thread, process, &regions, ready));
        }
        self.bytes = bytes;
        self.samples.entry(sample.pid).or_default().push((sample, thread));
        None
    }

    /// True if no sample waits.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// Follows all samples that wait, as far as there are tables.
    ///
    /// # Errors
    /// The kernel refuses an entry.
    pub fn follow_all(&mut self, processes: &mut Processes) -> Result<Vec<Followed>> {
        let mut followed = Vec::new();
        self.follow_waiting(true, processes, &mut followed)?;
        Ok(followed)
    }

    /// Forgets all samples that wait; returns how many.
    pub fn drop_samples(&mut self) -> usize {
        self.bytes = 0;
        std::mem::take(&mut self.samples).values().map(Vec::len).sum()
    }

    /// True if samples of the process, or of what was set aside of it, wait.
    pub fn waits(&self, process: u32) -> bool {
        self.samples.contains_key(&process)
    }

    /// Takes a process that has ended out of the kernel.
    pub fn forget(&mut self, pid: u32) {
        self.loader.forget(pid);
    }

    /// Drops the tables that are at hand; they are read again where they are needed.
    pub fn drop_tables(&mut self) {
        self.loader.drop_at_hand();
    }

    /// Keeps the folder of tables within its limit.
    pub fn trim(&self) {
        self.loader.trim();
    }

    /// Brings what was built into the kernel, and follows the samples that waited for it. With a
    /// `timeout`, waits for something to be built.
    ///
    /// # Errors
    /// The kernel refuses an entry.
    pub fn load(
        &mut self,
        timeout: Option<Duration>,
        processes: &mut Processes,
    ) -> Result<Vec<Followed>> {
        let mut followed = Vec::new();
        self.loader.collect(timeout);
        self.follow_waiting(false, processes, &mut followed)?;
        for pid in std::mem::take(&mut self.stale) {
            let regions = processes.regions(pid);
            match self.loader.prepare(&regions) {
                true if self.loader.has(pid) => self.loader.publish(pid, &regions)?,
                true => {}
                false => {
                    self.stale.insert(pid);
                }
            }
        }
        Ok(followed)
    }

    /// Follows the stacks of samples whose tables are there by now; with `all`, of all of them.
    fn follow_waiting(
        &mut self,
        all: bool,
        processes: &mut Processes,
        followed: &mut Vec<Followed>,
    ) -> Result<()> {
        for (process, samples) in std::mem::take(&mut self.samples) {
            let regions = processes.regions(process);
            let ready = self.loader.prepare(&regions);
            if !ready && !all {
                self.samples.insert(process, samples);
                continue;
            }
            // One that has ended by now would only take up room. And one whose tables are not all
            // here would be followed half blind, and by nobody told when they come.
            if ready && !regions.is_empty() && !processes.has_ended(process) {
                self.loader.publish(process, &regions)?;
                self.stale.remove(&process);
            }
            for (sample, thread) in samples {
                self.bytes -= bytes_of(&sample);
                followed.push(self.follow(sample, thread, process, &regions, ready));
            }
        }
        Ok(())
    }

    /// Follows the stack of a sample. `ready`: the tables of its process are all there; what was
    /// followed without one that is still to come does not count as complete.
    fn follow(
        &mut self,
        mut sample: RawSample,
        thread: u32,
        process: u32,
        regions: &[Region],
        ready: bool,
    ) -> Followed {
        let snapshot = sample.snapshot.take().unwrap_or_default();
        let mut blind = false;
        let mut tables = |region: &Region| {
            let table = self.loader.table(region);
            blind |= table.is_none();
            table
        };
        let (mut addresses, status) = follow(&snapshot, regions, &mut tables);
        sample.user_status = if blind && !ready { status::NOT_LOADED } else { status };
        if is_in_exec(&sample, &snapshot, &addresses) {
            (sample.user_status, addresses) = (status::NO_STACK, Vec::new());
        }
        Followed { sample, thread, process, addresses }
    }
}

fn bytes_of(sample: &RawSample) -> usize {
    sample.snapshot.as_ref().map_or(0, |snapshot| snapshot.stack.len())
}

/// True if the sample was taken while an exec replaced the process's memory: then the registers of
/// its caller lead nowhere any more. The old memory is gone before the records of the exec and of
/// the new memory come, so either may be missing.
fn is_in_exec(sample: &RawSample, snapshot: &Snapshot, addresses: &[u64]) -> bool {
    let astray = sample.user_status == status::NO_MAPPING && addresses.len() <= 1;
    sample.kernel_stack != 0 && (astray || snapshot.is_empty())
}
