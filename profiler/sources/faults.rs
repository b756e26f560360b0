//! Source `faults`: who grows resident memory. A software event on each CPU counts page faults, and
//! samples one in so many.

use std::{io, mem::MaybeUninit, os::fd::IntoRawFd};

use anyhow::{Context, Result};
use libbpf_rs::{
    Link,
    skel::{OpenSkel, SkelBuilder},
};
use perf_event::{Builder, Counter, events::Software};

use super::{
    Base, Options, Stacks, Stream, load,
    per_cpu::{PerCpu, explain},
};
use crate::{
    bpf::faults,
    machine,
    model::{SourceInfo, Stats, ValueType},
};

/// Bytes of a page (x86_64). A huge page is one fault too, and counts as one page.
const PAGE: u64 = 4096;
/// Bytes from one sample to the next, unless told otherwise: 16 faults.
const RATE: u64 = 64 << 10;

/// The source.
pub struct Faults;

impl Stacks for Faults {
    fn name(&self) -> &'static str {
        "faults"
    }

    fn samples_a_second(&self, options: &Options) -> Result<u64> {
        // A CPU takes half a million faults a second and does nothing else then.
        Ok(machine::online_cpus()?.len() as u64 * 200_000 / period(options))
    }

    fn open(&self, options: &Options, base: &Base, number: u32) -> Result<Box<dyn Stream>> {
        let period = period(options);
        event(period, machine::online_cpus()?[0]).map_err(explain)?;
        // Once for each run of rprof: what borrows from it may then live as long as it needs.
        let storage = Box::leak(Box::new(MaybeUninit::uninit()));
        let mut open = faults::FaultsSkelBuilder::default().open(storage)?;
        let rodata = open.maps.rodata_data.as_deref_mut().context("faults.bpf.c has no .rodata")?;
        load::configure!(rodata, options);
        load::number!(rodata, options, base, number);
        rodata.period = period as u32;
        if period == 1 {
            rodata.left_out = std::process::id();
        }
        base.lend(open.open_object_mut())?;
        let skel = open.load().map_err(load::explain)?;
        Ok(Box::new(Faulting { number, period, cpus: PerCpu::default(), skel }))
    }
}

/// Faults from one sample to the next.
fn period(options: &Options) -> u64 {
    (options.memory.rate.unwrap_or(RATE) / PAGE).clamp(1, 1 << 20)
}

fn event(period: u64, cpu: usize) -> io::Result<Counter> {
    let mut builder = Builder::new(Software::PAGE_FAULTS);
    builder.sample_period(period).any_pid().one_cpu(cpu);
    builder.exclude_kernel(false).exclude_hv(false).enabled(true);
    builder.build()
}

struct Faulting {
    number: u32,
    period: u64,
    cpus: PerCpu,
    skel: faults::FaultsSkel<'static>,
}

impl Stream for Faulting {
    fn info(&self) -> SourceInfo {
        SourceInfo {
            name: "faults".into(),
            event: "page-faults".into(),
            period: self.period * PAGE,
            count: ValueType::new("faults", "count"),
            value: ValueType::new("resident_space", "bytes"),
            ..SourceInfo::default()
        }
    }

    fn start(&mut self) -> Result<()> {
        self.follow_cpus(&[])
    }

    fn stop(&mut self) {
        self.cpus.clear();
    }

    fn follow_cpus(&mut self, renewed: &[usize]) -> Result<()> {
        let (period, program) = (self.period, &self.skel.progs.fault_sample);
        self.cpus.follow(renewed, |cpu| -> Result<Link> {
            let counter = event(period, cpu).map_err(explain)?;
            // The link owns the descriptor from here on, and closes it.
            let link = program.attach_perf_event(counter.into_raw_fd());
            link.with_context(|| format!("cannot sample page faults on CPU {cpu}"))
        })
    }

    fn count(&self, base: &Base, stats: &mut Stats) {
        base.count(self.number, stats);
        load::add_run_time(&[&self.skel.progs.fault_sample], stats);
        load::or_own_run_time(&base.counters(self.number), stats);
    }
}
