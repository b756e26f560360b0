//! Source `softirqs`: time in software interrupts.

use std::mem::MaybeUninit;

use anyhow::{Context, Result};
use libbpf_rs::skel::{OpenSkel, SkelBuilder};

use super::{
    Base, Options,
    latency::{Ability, Counting, Gauge, Latency, Question, ask, room},
    load,
};
use crate::{bpf::softirqs, collector::Histograms, model::Key};

/// The source.
pub struct Softirqs;

impl Latency for Softirqs {
    fn name(&self) -> &'static str {
        "softirqs"
    }

    fn keys(&self) -> &'static [Key] {
        &[Key::Vector, Key::Process, Key::Thread, Key::Cgroup, Key::PidNamespace, Key::Cpu]
    }

    fn usual_keys(&self) -> &'static [Key] {
        &[Key::Vector]
    }

    fn abilities(&self) -> &'static [Ability] {
        &[Ability::Cpu, Ability::Processes]
    }

    fn open(&self, options: &Options, question: &Question, base: &Base) -> Result<Box<dyn Gauge>> {
        // Once for each run of rprof: what borrows from it may then live as long as it needs.
        let storage = Box::leak(Box::new(MaybeUninit::uninit()));
        let mut open = softirqs::SoftirqsSkelBuilder::default().open(storage)?;
        let rodata =
            open.maps.rodata_data.as_deref_mut().context("softirqs.bpf.c has no .rodata")?;
        load::configure!(rodata, options);
        ask!(rodata, question);
        rodata.by_vector = question.by.contains(&Key::Vector);
        open.maps.histograms.set_max_entries(room(&question.by)?)?;
        base.lend(open.open_object_mut())?;
        let skel = open.load().map_err(load::explain)?;
        let maps = &skel.maps;
        let maps = Histograms::new(&maps.histograms, &maps.epoch, &maps.uncounted)?;
        Ok(Box::new(Counting::new(skel, maps, &question.by)))
    }
}
