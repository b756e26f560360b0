//! Source `tcprtt`: the round-trip times of connections.

use std::mem::MaybeUninit;

use anyhow::{Context, Result};
use libbpf_rs::skel::{OpenSkel, SkelBuilder};

use super::{
    Base, Options,
    latency::{Ability, Counting, Gauge, Latency, Question, ask, room},
    load,
    tcp::ask_ends,
};
use crate::{bpf::tcprtt, collector::Histograms, model::Key};

/// The source.
pub struct Tcprtt;

impl Latency for Tcprtt {
    fn name(&self) -> &'static str {
        "tcprtt"
    }

    fn keys(&self) -> &'static [Key] {
        &[
            Key::LocalAddress,
            Key::LocalPort,
            Key::RemoteAddress,
            Key::RemotePort,
            Key::Cgroup,
            Key::Cpu,
        ]
    }

    fn usual_keys(&self) -> &'static [Key] {
        &[]
    }

    fn abilities(&self) -> &'static [Ability] {
        &[Ability::Ends]
    }

    fn open(&self, options: &Options, question: &Question, base: &Base) -> Result<Box<dyn Gauge>> {
        // Once for each run of rprof: what borrows from it may then live as long as it needs.
        let storage = Box::leak(Box::new(MaybeUninit::uninit()));
        let mut open = tcprtt::TcprttSkelBuilder::default().open(storage)?;
        let rodata = open.maps.rodata_data.as_deref_mut().context("tcprtt.bpf.c has no .rodata")?;
        load::configure!(rodata, options);
        ask!(rodata, question);
        ask_ends!(rodata, question);
        open.maps.histograms.set_max_entries(room(&question.by)?)?;
        base.lend(open.open_object_mut())?;
        let skel = open.load().map_err(load::explain)?;
        let maps = &skel.maps;
        let maps = Histograms::new(&maps.histograms, &maps.epoch, &maps.uncounted)?;
        Ok(Box::new(Counting::new(skel, maps, &question.by)))
    }
}
