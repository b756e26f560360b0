//! Source `cpu`: where CPU time goes. A perf event on each CPU that is online: hardware cycles
//! where there is a PMU, the CPU clock otherwise.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs, io,
    mem::MaybeUninit,
    os::fd::{BorrowedFd, IntoRawFd},
    rc::Rc,
};

use anyhow::{Context, Result, bail};
use libbpf_rs::{
    Link, MapHandle, PerfEventOpts, RingBuffer,
    skel::{OpenSkel, SkelBuilder},
};
use perf_event::{
    Builder, Counter,
    events::{Hardware, Software},
};

use super::{KernelSymbol, Options, Source, Stream, load, ring_bytes};
use crate::{
    bpf::{self, cpu},
    collector::Batch,
    machine,
    model::{SourceInfo, Stats, ValueType},
    unwind,
};

/// The source.
pub struct Cpu;

impl Source for Cpu {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn open(&self, options: &Options) -> Result<Box<dyn Stream>> {
        check_frequency(options.frequency)?;
        let cpus = machine::online_cpus()?;
        let hardware = event(true, options.frequency, cpus[0]).is_ok();
        if !hardware {
            event(false, options.frequency, cpus[0]).map_err(explain_perf_event)?;
        }
        // Once for each run of rprof: what borrows from it may then live as long as it needs.
        let storage = Box::leak(Box::new(MaybeUninit::uninit()));
        let mut open = cpu::CpuSkelBuilder::default().open(storage)?;
        let rodata = open.maps.rodata_data.as_deref_mut().context("cpu.bpf.c has no .rodata")?;
        load::configure!(rodata, options);
        let ring = ring_bytes(options.frequency * cpus.len() as u64);
        rodata.wakeup_bytes = u64::from(ring) / 2;
        open.maps.records.set_max_entries(ring)?;
        let follow = load::follows_children(options);
        open.progs.target_fork.set_autoload(follow);
        open.progs.target_exec.set_autoload(options.at_exec.is_some());
        open.progs.target_free.set_autoload(options.target.is_by_pid());
        open.progs.name_symbols.set_autoload(load::has_syscall_programs());
        let skel = open.load().map_err(load::explain)?;
        load::set_targets(&skel.maps.targets, options)?;
        let batch = Rc::new(RefCell::new(Batch::default()));
        let ring = load::ring(&skel.maps.records, &skel.maps.snapshots, &batch)?;
        Ok(Box::new(Sampling {
            hardware,
            frequency: options.frequency,
            skel,
            ring,
            batch,
            links: Vec::new(),
            cpus: BTreeMap::new(),
        }))
    }
}

struct Sampling {
    hardware: bool,
    frequency: u64,
    // Before the skeleton, so that it is gone first.
    ring: RingBuffer<'static>,
    links: Vec<Link>,
    cpus: BTreeMap<usize, Link>,
    batch: Rc<RefCell<Batch>>,
    skel: cpu::CpuSkel<'static>,
}

impl Stream for Sampling {
    fn info(&self) -> SourceInfo {
        SourceInfo {
            name: "cpu".into(),
            event: if self.hardware { "cycles" } else { "cpu-clock" }.into(),
            frequency: self.frequency,
            period: period(self.hardware, self.frequency),
            value: ValueType { name: "cpu".into(), unit: "nanoseconds".into() },
        }
    }

    fn start(&mut self) -> Result<()> {
        self.allow_snapshots();
        let progs = &self.skel.progs;
        for program in [
            &progs.target_fork,
            &progs.target_exec,
            &progs.target_free,
            &progs.unwind_exec,
            &progs.unwind_free,
        ] {
            if program.autoload() {
                self.links.push(program.attach().context("cannot attach to a sched tracepoint")?);
            }
        }
        self.follow_cpus(&[])
    }

    fn stop(&mut self) {
        self.cpus.clear();
        self.links.clear();
    }

    fn wakeup_fd(&self) -> BorrowedFd<'_> {
        // Of both ring buffers.
        bpf::epoll_fd(&self.ring)
    }

    fn drain(&mut self, batch: &mut Batch) -> Result<()> {
        self.ring.consume().context("cannot read the ring buffer")?;
        self.allow_snapshots();
        self.batch.borrow_mut().move_to(batch);
        Ok(())
    }

    fn follow_cpus(&mut self, renewed: &[usize]) -> Result<()> {
        let online = machine::online_cpus()?;
        self.cpus.retain(|cpu, _| online.contains(cpu) && !renewed.contains(cpu));
        for cpu in online {
            if !self.cpus.contains_key(&cpu) {
                let link = self.sample_cpu(cpu)?;
                self.cpus.insert(cpu, link);
            }
        }
        Ok(())
    }

    fn set_rate(&mut self, frequency: u64) -> Result<()> {
        check_frequency(frequency)?;
        self.frequency = frequency;
        let online = machine::online_cpus()?;
        for cpu in online.into_iter().filter(|cpu| self.cpus.contains_key(cpu)).collect::<Vec<_>>()
        {
            // The old event ends when the new one runs.
            let link = self.sample_cpu(cpu)?;
            self.cpus.insert(cpu, link);
        }
        Ok(())
    }

    fn name_kernel(&mut self, addresses: &[u64]) -> Vec<Option<KernelSymbol>> {
        load::name_kernel(&self.skel.maps.kernel_symbols, &self.skel.progs.name_symbols, addresses)
    }

    fn forget_stacks(&mut self) -> Result<()> {
        load::clear(&self.skel.maps.seen)
    }

    fn unwind_maps(&self) -> Result<unwind::Maps> {
        let maps = &self.skel.maps;
        Ok(unwind::Maps {
            chunks: MapHandle::try_from(&maps.unwind_chunks)?,
            files: MapHandle::try_from(&maps.unwind_files)?,
            mappings: MapHandle::try_from(&maps.unwind_mappings)?,
            processes: MapHandle::try_from(&maps.unwind_processes)?,
        })
    }

    fn count(&self, stats: &mut Stats) {
        let Some(bss) = self.skel.maps.bss_data.as_deref() else { return };
        load::count(&bpf::snapshot(&bss.counters), bss.targets_lost, stats);
        let progs = &self.skel.progs;
        load::add_run_time(
            &[
                &progs.cpu_sample,
                &progs.target_fork,
                &progs.target_exec,
                &progs.target_free,
                &progs.unwind_exec,
                &progs.unwind_free,
            ],
            stats,
        );
        if stats.overhead.bpf_ns == 0 {
            let counters = bpf::snapshot(&bss.counters);
            (stats.overhead.bpf_ns, stats.overhead.bpf_runs) = (counters.run_ns, counters.samples);
        }
    }
}

impl Sampling {
    fn sample_cpu(&mut self, cpu: usize) -> Result<Link> {
        let counter = event(self.hardware, self.frequency, cpu).map_err(explain_perf_event)?;
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

    fn allow_snapshots(&mut self) {
        if let Some(bss) = self.skel.maps.bss_data.as_deref_mut() {
            bss.snapshots_left = load::SNAPSHOTS;
        }
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

fn explain_perf_event(error: io::Error) -> anyhow::Error {
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
