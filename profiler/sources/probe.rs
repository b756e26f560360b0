//! Stacks at any probe: `record -e`. No row of the table of sources, since there are as many as probes.

use std::{mem::MaybeUninit, os::fd::IntoRawFd};

use anyhow::{Context, Result};
use libbpf_rs::{
    Link,
    skel::{OpenSkel, Skel, SkelBuilder},
};

use super::{
    Base, Options, Stacks, Stream, load,
    per_cpu::{PerCpu, explain},
};
use crate::{
    bpf::{self, probe},
    model::{SourceInfo, Stats, ValueType},
    probe::{Point, Probe, attach, choose_programs, explain_fentry, resolve},
    target::Target,
};

/// Samples a second that buffers are sized for.
const SAMPLES_A_SECOND: u64 = 10_000;
/// Frames at the leaf of a kernel stack that are ours: the program, and the trampoline that runs it.
const TRAMPOLINE_FRAMES: u32 = 2;

/// A probe as a source.
pub struct Hits {
    name: String,
    probe: Probe,
    every: Option<u64>,
}

impl Hits {
    /// The source that a text means: a probe and, behind a comma, how many hits there are from one
    /// sample to the next.
    ///
    /// # Errors
    /// It names no probe.
    pub fn parse(text: &str) -> Result<Self> {
        let (name, every) = split(text);
        Ok(Self { name: name.to_owned(), probe: Probe::parse(name)?, every })
    }
}

/// Takes the number off the end of a probe.
pub fn split(text: &str) -> (&str, Option<u64>) {
    let number = text.rsplit_once(',').and_then(|(name, number)| {
        let number = number.parse::<u32>().ok().filter(|number| *number > 0)?;
        Some((name, Some(number.into())))
    });
    number.unwrap_or((text, None))
}

impl Stacks for Hits {
    fn name(&self) -> &'static str {
        self.probe.kind()
    }

    fn samples_a_second(&self, _options: &Options) -> Result<u64> {
        Ok(SAMPLES_A_SECOND)
    }

    fn open(&self, options: &Options, base: &Base, number: u32) -> Result<Box<dyn Stream>> {
        let point = resolve(&self.probe, &options.target, false)?;
        if let Some(note) = point.note() {
            tracing::warn!("{note}");
        }
        let usual = if let Point::Perf(event) = &point { event.usual_period() } else { 1 };
        let every = self.every.unwrap_or(usual);
        // Once for each run of rprof: what borrows from it may then live as long as it needs.
        let storage = Box::leak(Box::new(MaybeUninit::uninit()));
        let mut open = probe::ProbeSkelBuilder::default().open(storage)?;
        let rodata = open.maps.rodata_data.as_deref_mut().context("probe.bpf.c has no .rodata")?;
        load::configure!(rodata, options);
        load::number!(rodata, options, base, number);
        rodata.every = every as u32;
        if every == 1 {
            rodata.left_out = std::process::id();
        }
        if let Point::Kernel { fentry: true, .. } = point {
            rodata.kernel_skip = TRAMPOLINE_FRAMES;
        }
        choose_programs(open.open_object_mut(), &point, false)?;
        base.lend(open.open_object_mut())?;
        let skel = open.load().map_err(load::explain);
        let skel = skel.map_err(|error| explain_fentry(error, &point))?;
        Ok(Box::new(Hitting {
            number,
            name: self.name.clone(),
            kind: self.probe.kind(),
            every,
            target: options.target.clone(),
            point,
            cpus: PerCpu::default(),
            links: Vec::new(),
            skel,
        }))
    }
}

struct Hitting {
    number: u32,
    name: String,
    kind: &'static str,
    every: u64,
    target: Target,
    point: Point,
    cpus: PerCpu,
    links: Vec<Link>,
    skel: probe::ProbeSkel<'static>,
}

impl Stream for Hitting {
    fn info(&self) -> SourceInfo {
        let (event, counted) = match &self.point {
            Point::Perf(event) => (event.name, event.name.replace('-', "_")),
            _ => (self.kind, "hits".to_owned()),
        };
        SourceInfo {
            name: self.name.clone(),
            event: event.into(),
            period: self.every,
            count: ValueType::new("samples", "count"),
            value: ValueType::new(&counted, "count"),
            ..SourceInfo::default()
        }
    }

    fn start(&mut self) -> Result<()> {
        if let Point::Perf(_) = self.point {
            return self.follow_cpus(&[]);
        }
        let programs = self.skel.object().progs_mut();
        self.links = attach(programs, &self.point, false, &self.target)?;
        Ok(())
    }

    fn stop(&mut self) {
        self.cpus.clear();
        self.links.clear();
    }

    fn follow_cpus(&mut self, renewed: &[usize]) -> Result<()> {
        let Point::Perf(event) = &self.point else { return Ok(()) };
        let (every, program) = (self.every, &self.skel.progs.sample_perf_event);
        self.cpus.follow(renewed, |cpu| -> Result<Link> {
            let counter = event.open(cpu, every).map_err(explain)?;
            // The link owns the descriptor from here on, and closes it.
            let link = program.attach_perf_event(counter.into_raw_fd());
            link.with_context(|| format!("cannot sample {} on CPU {cpu}", event.name))
        })
    }

    fn count(&self, base: &Base, stats: &mut Stats) {
        base.count(self.number, stats);
        let progs = &self.skel.progs;
        let programs = [
            &progs.sample_uprobe,
            &progs.sample_uretprobe,
            &progs.sample_uprobe_multi,
            &progs.sample_uretprobe_multi,
            &progs.sample_tracepoint,
            &progs.sample_perf_event,
            &progs.sample_kprobe,
            &progs.sample_kretprobe,
            &progs.sample_fentry,
            &progs.sample_fexit,
        ];
        load::add_run_time(&programs, stats);
        load::or_own_run_time(&base.counters(self.number), stats);
        let crowded = self.skel.maps.bss_data.as_deref().map_or(0, |bss| bss.crowded);
        let missed = programs.iter().filter(|program| program.autoload());
        let missed = missed.map(|program| {
            use std::os::fd::AsFd;
            bpf::missed_runs(program.as_fd())
        });
        for (what, count) in [
            ("hits without a place to walk their stack", crowded),
            ("hits that came while another BPF program ran", missed.sum()),
        ] {
            *stats.missed.entry(what.into()).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_many_hits_to_a_sample() {
        assert_eq!(split("uprobe:/bin/x:f,100"), ("uprobe:/bin/x:f", Some(100)));
        assert_eq!(split("uprobe:/bin/x:f"), ("uprobe:/bin/x:f", None));
        assert_eq!(split("uprobe:/bin/x:f(a, b)"), ("uprobe:/bin/x:f(a, b)", None));
        assert_eq!(split("perf:page-faults,0"), ("perf:page-faults,0", None));
    }
}
