//! How long any function takes, from its entry to its return: `latency -e`. No row of the table of
//! sources, since there are as many as probes.

use std::{mem::MaybeUninit, os::fd::BorrowedFd};

use anyhow::{Context, Result, bail};
use libbpf_rs::{
    MapCore, MapFlags, MapHandle,
    skel::{OpenSkel, SkelBuilder},
};

use super::{
    Base, Options,
    latency::{Ability, Counting, Gauge, Latency, Question, ask, room},
    load,
};
use crate::{
    bpf::{probetime, word_at},
    collector::{Gathered, Histograms},
    model::Key,
    probe::{Probe, attach, choose_programs, explain_fentry, resolve},
};

/// Calls whose return was not seen, in words. MAX_URETPROBE_DEPTH of include/linux/uprobes.h is 64.
const OPEN: &str =
    "calls that have not returned yet, or are deeper than the 64 that the kernel follows";

/// A function as latency.
pub struct Calls {
    name: String,
    probe: Probe,
}

impl Calls {
    /// The function that a text names.
    ///
    /// # Errors
    /// It names none.
    pub fn parse(text: &str) -> Result<Self> {
        let probe = Probe::parse(text)?;
        if !probe.is_function() {
            bail!(
                "{text} is no function: latency is from the entry of one to its return, so it takes \
                 uprobe:FILE:FUNCTION, kprobe:FUNCTION or fentry:FUNCTION"
            );
        }
        if probe.is_back() {
            bail!("{text} is the return alone; latency takes the function, without /ret");
        }
        Ok(Self { name: text.to_owned(), probe })
    }
}

impl Latency for Calls {
    fn name(&self) -> &'static str {
        // Once for each run.
        Box::leak(self.name.clone().into_boxed_str())
    }

    fn keys(&self) -> &'static [Key] {
        &[Key::Process, Key::Thread, Key::Cgroup, Key::PidNamespace, Key::Cpu]
    }

    fn usual_keys(&self) -> &'static [Key] {
        &[]
    }

    fn abilities(&self) -> &'static [Ability] {
        &[Ability::Cpu, Ability::Processes]
    }

    fn open(&self, options: &Options, question: &Question, base: &Base) -> Result<Box<dyn Gauge>> {
        let point = resolve(&self.probe, &options.target, true)?;
        if let Some(note) = point.note() {
            tracing::warn!("{note}");
        }
        // Once for each run of rprof: what borrows from it may then live as long as it needs.
        let storage = Box::leak(Box::new(MaybeUninit::uninit()));
        let mut open = probetime::ProbetimeSkelBuilder::default().open(storage)?;
        let rodata =
            open.maps.rodata_data.as_deref_mut().context("probetime.bpf.c has no .rodata")?;
        load::configure!(rodata, options);
        ask!(rodata, question);
        open.maps.histograms.set_max_entries(room(&question.by)?)?;
        choose_programs(open.open_object_mut(), &point, true)?;
        base.lend(open.open_object_mut())?;
        let skel = open.load().map_err(load::explain);
        let skel = skel.map_err(|error| explain_fentry(error, &point))?;
        let maps = &skel.maps;
        let counts = MapHandle::try_from(&maps.bss)?;
        let maps = Histograms::new(&maps.histograms, &maps.epoch, &maps.uncounted)?;
        let target = options.target.clone();
        let attach =
            move |object: &libbpf_rs::Object| attach(object.progs_mut(), &point, true, &target);
        let counting = Counting::attached_by(skel, maps, &question.by, attach);
        Ok(Box::new(Timing { counting, counts }))
    }
}

struct Timing {
    counting: Counting,
    /// `begun` and `ended` of `bpf/probetime.bpf.c`.
    counts: MapHandle,
}

impl Gauge for Timing {
    fn start(&mut self) -> Result<()> {
        self.counting.start()
    }

    fn stop(&mut self) {
        self.counting.stop();
    }

    fn wakeup_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn gather(&mut self, into: &mut Gathered) -> Result<()> {
        self.counting.gather(into)?;
        let counts = self.counts.lookup(&0u32.to_ne_bytes(), MapFlags::ANY)?.unwrap_or_default();
        let count = |at| word_at(&counts, at, 8).unwrap_or_default();
        into.set_missing(OPEN, count(0).saturating_sub(count(8)));
        Ok(())
    }
}
