//! Source `cpu`: where CPU time goes. A perf event on each CPU that is online: hardware cycles
//! where there is a PMU, the CPU clock otherwise.

use std::{fs, io, mem::MaybeUninit, os::fd::IntoRawFd};

use anyhow::{Context, Result, bail};
use libbpf_rs::{
    Link, PerfEventOpts,
    skel::{OpenSkel, SkelBuilder},
};
use perf_event::{
    Builder, Counter,
    events::{Hardware, Software},
};

use super::{
    Base, Options, Stacks, Stream, load,
    per_cpu::{PerCpu, explain},
};
use crate::{
    bpf::cpu,
    machine,
    model::{SourceInfo, Stats, ValueType},
};

/// The source.
pub struct Cpu;

impl Stacks for Cpu {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn samples_a_second(&self, options: &Options) -> Result<u64> {
        check_frequency(options.frequency)?;
        Ok(options.frequency * machine::online_cpus()?.len() as u64)
    }

    fn open(&self, options: &Options, base: &Base, number: u32) -> Result<Box<dyn Stream>> {
        check_frequency(options.frequency)?;
        let cpus = machine::online_cpus()?;
        let hardware = event(true, options.frequency, cpus[0]).is_ok();
        if !hardware {
            event(false, options.frequency, cpus[0]).map_err(explain)?;
        }
        // Once for each run of rprof: what borrows from it may then live as long as it needs.
        let storage = Box::leak(Box::new(MaybeUninit::uninit()));
        let mut open = cpu::CpuSkelBuilder::default().open(storage)?;
        let rodata = open.maps.rodata_data.as_deref_mut().context("cpu.bpf.c has no .rodata")?;
        load::configure!(rodata, options);
        load::number!(rodata, options, base, number);
        base.lend(open.open_object_mut())?;
        let skel = open.load().map_err(load::explain)?;
        let frequency = options.frequency;
        Ok(Box::new(Sampling { hardware, frequency, number, skel, cpus: PerCpu::default() }))
    }
}

struct Sampling {
    hardware: bool,
    frequency: u64,
    number: u32,
    cpus: PerCpu,
    skel: cpu::CpuSkel<'static>,
}

impl Stream for Sampling {
    fn info(&self) -> SourceInfo {
        SourceInfo {
            name: "cpu".into(),
            event: if self.hardware { "cycles" } else { "cpu-clock" }.into(),
            frequency: self.frequency,
            period: period(self.hardware, self.frequency),
            value: ValueType::new("cpu", "nanoseconds"),
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
        let mut cpus = std::mem::take(&mut self.cpus);
        let followed = cpus.follow(renewed, |cpu| self.sample_cpu(cpu));
        self.cpus = cpus;
        followed
    }

    fn set_rate(&mut self, frequency: u64) -> Result<()> {
        check_frequency(frequency)?;
        self.frequency = frequency;
        let mut cpus = std::mem::take(&mut self.cpus);
        let renewed = cpus.renew(|cpu| self.sample_cpu(cpu));
        self.cpus = cpus;
        renewed
    }

    fn count(&self, base: &Base, stats: &mut Stats) {
        base.count(self.number, stats);
        load::add_run_time(&[&self.skel.progs.cpu_sample], stats);
        let counters = base.counters(self.number);
        load::or_own_run_time(&counters, stats);
    }
}

impl Sampling {
    fn sample_cpu(&mut self, cpu: usize) -> Result<Link> {
        let counter = event(self.hardware, self.frequency, cpu).map_err(explain)?;
        let cookie = period(self.hardware, self.frequency);
        if let Some(bss) = self.skel.maps.bss_data.as_deref_mut() {
            bss.period = cookie;
        }
        let weight = PerfEventOpts { cookie, ..Default::default() };
        let (program, counter) = (&self.skel.progs.cpu_sample, counter.into_raw_fd());
        // The link owns the descriptor from here on, and closes it. Before Linux 5.15 there are no
        // cookies.
        let link = program
            .attach_perf_event_with_opts(counter, weight)
            .or_else(|_| program.attach_perf_event(counter));
        link.with_context(|| format!("cannot sample CPU {cpu}"))
    }
}

/// What one sample stands for, ns.
///
/// A clock that keeps step with the second would hit the same moments of each: at 19 Hz, 3 in 5 of
/// the 20 ms in a second would never be seen, and what happens once a second always or never. So
/// the CPU clock runs faster by a part of a sample a second, which moves its moments on by the
/// golden section of the way to the next: that spreads them most evenly. At low rates it is 2 %.
fn period(hardware: bool, frequency: u64) -> u64 {
    const GOLDEN: f64 = 0.381_966;
    if hardware {
        return 1_000_000_000 / frequency;
    }
    let frequency = frequency as f64;
    (1e9 / (frequency + GOLDEN.min(0.02 * frequency))) as u64
}

/// A sampling event on one CPU, for all processes. It runs from the moment it is opened, but
/// samples go nowhere until a program is attached.
fn event(hardware: bool, frequency: u64, cpu: usize) -> io::Result<Counter> {
    let mut builder = if hardware {
        Builder::new(Hardware::CPU_CYCLES)
    } else {
        Builder::new(Software::CPU_CLOCK)
    };
    if hardware {
        builder.sample_frequency(frequency);
    } else {
        builder.sample_period(period(false, frequency));
    }
    builder
        .any_pid()
        .one_cpu(cpu)
        .exclude_idle(true)
        .exclude_kernel(false)
        .exclude_hv(false)
        .enabled(true);
    builder.build()
}

fn check_frequency(frequency: u64) -> Result<()> {
    let path = "/proc/sys/kernel/perf_event_max_sample_rate";
    let most = fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
    match most {
        _ if frequency == 0 => bail!("a frequency of 0 Hz takes no samples"),
        Some(most) if frequency > most => bail!(
            "{frequency} Hz is more than this kernel allows ({most} Hz); use -F {most}, or raise it: \
             sysctl kernel.perf_event_max_sample_rate={frequency}"
        ),
        _ => Ok(()),
    }
}
