//! Perf events: what the kernel counts, and what the hardware does where there is any that counts.

use std::io;

use anyhow::{Result, bail};
use perf_event::{
    Builder, Counter,
    events::{Hardware, Software},
};

use crate::{machine, nearest::nearest};

/// Events of the hardware from one sample to the next, unless told otherwise: they are far too many.
const HARDWARE_EVERY: u64 = 1_000_000;

/// An event.
#[derive(Clone, Copy, Debug)]
pub struct PerfEvent {
    /// What it is called, here and by perf.
    pub name: &'static str,
    /// What is counted.
    pub what: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Software(Software),
    Hardware(Hardware),
}

macro_rules! events {
    ($($name:literal $kind:ident $event:ident $what:literal;)*) => {
        &[$(PerfEvent { name: $name, what: $what, kind: Kind::$kind($kind::$event) },)*]
    };
}

/// Every event. Those that count time are sources: `-s cpu`.
pub const EVENTS: &[PerfEvent] = events! {
    "page-faults" Software PAGE_FAULTS "pages that were not there";
    "minor-faults" Software PAGE_FAULTS_MIN "those that took no reading from disk";
    "major-faults" Software PAGE_FAULTS_MAJ "those that did";
    "context-switches" Software CONTEXT_SWITCHES "threads that gave up a CPU";
    "cpu-migrations" Software CPU_MIGRATIONS "threads that went to another CPU";
    "cgroup-switches" Software CGROUP_SWITCHES "switches to a thread of another cgroup";
    "alignment-faults" Software ALIGNMENT_FAULTS "accesses that the kernel had to make good";
    "emulation-faults" Software EMULATION_FAULTS "instructions that the kernel had to do";
    "cycles" Hardware CPU_CYCLES "cycles of a CPU";
    "instructions" Hardware INSTRUCTIONS "instructions done";
    "cache-references" Hardware CACHE_REFERENCES "accesses to the last cache";
    "cache-misses" Hardware CACHE_MISSES "those that it could not serve";
    "branches" Hardware BRANCH_INSTRUCTIONS "branches done";
    "branch-misses" Hardware BRANCH_MISSES "those that were guessed wrong";
    "bus-cycles" Hardware BUS_CYCLES "cycles of the bus";
    "ref-cycles" Hardware REF_CPU_CYCLES "cycles at the rated frequency";
    "stalled-cycles-frontend" Hardware STALLED_CYCLES_FRONTEND "cycles without an instruction to do";
    "stalled-cycles-backend" Hardware STALLED_CYCLES_BACKEND "cycles that waited for something";
};

/// Other names, as perf knows them.
const ALIASES: [(&str, &str); 5] = [
    ("faults", "page-faults"),
    ("cs", "context-switches"),
    ("migrations", "cpu-migrations"),
    ("branch-instructions", "branches"),
    ("cpu-cycles", "cycles"),
];

impl PerfEvent {
    /// The event of that name.
    ///
    /// # Errors
    /// There is none, or this machine has none of it.
    pub fn find(name: &str) -> Result<Self> {
        let full = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, full)| full);
        let Some(event) = EVENTS.iter().find(|event| event.name == full) else {
            if ["cpu-clock", "task-clock"].contains(&name) {
                bail!("{name} counts time; record -s cpu samples by it");
            }
            let near = nearest(name, EVENTS.iter().map(|event| event.name.to_owned()));
            bail!("no perf event {name}{near}; `rprof list 'perf:*'` lists them");
        };
        let cpu = machine::online_cpus()?.first().copied().unwrap_or_default();
        match event.open(cpu, u64::from(u32::MAX)) {
            Ok(_) => Ok(*event),
            Err(error) if error.raw_os_error() == Some(nix::libc::ENOENT) => bail!(
                "this machine has no {name}: a virtual machine has hardware events only where its \
                 host lets it; those of the kernel are in `rprof list 'perf:*'`"
            ),
            Err(error) => Err(crate::sources::explain_perf(error)),
        }
    }

    /// True if this machine has it, as far as we may know.
    pub fn is_there(&self) -> bool {
        match self.open(0, u64::from(u32::MAX)) {
            Ok(_) => true,
            Err(error) => error.raw_os_error() != Some(nix::libc::ENOENT),
        }
    }

    /// Events from one sample to the next, unless told otherwise.
    pub fn usual_period(&self) -> u64 {
        match self.kind {
            Kind::Software(_) => 1,
            Kind::Hardware(_) => HARDWARE_EVERY,
        }
    }

    /// Opens it on a CPU, for all processes.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(&self, cpu: usize, period: u64) -> io::Result<Counter> {
        let mut builder = match self.kind {
            Kind::Software(event) => Builder::new(event),
            Kind::Hardware(event) => Builder::new(event),
        };
        builder.sample_period(period).any_pid().one_cpu(cpu);
        builder.exclude_kernel(false).exclude_hv(false).enabled(true);
        builder.build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_there_are_not() {
        let error = |name| PerfEvent::find(name).unwrap_err().to_string();
        assert!(error("page-fault").contains("; the nearest is page-faults;"));
        assert!(error("cpu-clock").contains("-s cpu"));
    }
}
