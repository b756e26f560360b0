//! Source `hardirqs`: time in the handlers of hardware interrupts.

use std::mem::MaybeUninit;

use anyhow::{Context, Result};
use libbpf_rs::skel::{OpenSkel, SkelBuilder};

use super::{
    Base, Options,
    latency::{Ability, Counting, Gauge, Latency, Question, ask, room},
    load,
};
use crate::{bpf::hardirqs, collector::Histograms, model::Key};

/// The source.
pub struct Hardirqs;

impl Latency for Hardirqs {
    fn name(&self) -> &'static str {
        "hardirqs"
    }

    fn keys(&self) -> &'static [Key] {
        &[Key::Handler, Key::Process, Key::Thread, Key::Cgroup, Key::PidNamespace, Key::Cpu]
    }

    fn usual_keys(&self) -> &'static [Key] {
        &[Key::Handler]
    }

    fn abilities(&self) -> &'static [Ability] {
        &[Ability::Cpu, Ability::Processes]
    }

    fn open(&self, options: &Options, question: &Question, base: &Base) -> Result<Box<dyn Gauge>> {
        // Once for each run of rprof: what borrows from it may then live as long as it needs.
        let storage = Box::leak(Box::new(MaybeUninit::uninit()));
        let mut open = hardirqs::HardirqsSkelBuilder::default().open(storage)?;
        let rodata =
            open.maps.rodata_data.as_deref_mut().context("hardirqs.bpf.c has no .rodata")?;
        load::configure!(rodata, options);
        ask!(rodata, question);
        rodata.by_handler = question.by.contains(&Key::Handler);
        open.maps.histograms.set_max_entries(room(&question.by)?)?;
        base.lend(open.open_object_mut())?;
        let skel = open.load().map_err(load::explain)?;
        let maps = &skel.maps;
        let maps = Histograms::new(&maps.histograms, &maps.epoch, &maps.uncounted)?;
        Ok(Box::new(Counting::new(skel, maps, &question.by)))
    }
}
