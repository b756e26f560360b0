//! Source `tcpconnlat`: how long connections took to come about, or to fail.

use std::{cell::RefCell, mem::MaybeUninit, os::fd::BorrowedFd, rc::Rc};

use anyhow::{Context, Result};
use libbpf_rs::{
    RingBuffer, RingBufferBuilder,
    skel::{OpenSkel, SkelBuilder},
};

use super::{
    Base, Options,
    latency::{Ability, Counting, Gauge, Latency, Question, ask, room},
    load,
    tcp::ask_ends,
};
use crate::{
    bpf::{self, tcpconnlat},
    collector::{Gathered, Histograms, Occurrence},
    model::{Key, Stats},
    resolve::{KeyNames, Keys},
};

/// The source.
pub struct Tcpconnlat;

/// What is told of each connection.
const EACH: [Key; 6] = [
    Key::Process,
    Key::Result,
    Key::LocalAddress,
    Key::LocalPort,
    Key::RemoteAddress,
    Key::RemotePort,
];

/// Connections that may wait to be told, at most.
const TOLD_MAX: usize = 64 << 10;

impl Latency for Tcpconnlat {
    fn name(&self) -> &'static str {
        "tcpconnlat"
    }

    fn keys(&self) -> &'static [Key] {
        &[
            Key::Result,
            Key::LocalAddress,
            Key::LocalPort,
            Key::RemoteAddress,
            Key::RemotePort,
            Key::Process,
            Key::Thread,
            Key::Cgroup,
            Key::PidNamespace,
            Key::Cpu,
        ]
    }

    fn usual_keys(&self) -> &'static [Key] {
        &[Key::Result]
    }

    fn abilities(&self) -> &'static [Ability] {
        &[Ability::Ends, Ability::Each, Ability::Processes]
    }

    fn open(&self, options: &Options, question: &Question, base: &Base) -> Result<Box<dyn Gauge>> {
        // Once for each run of rprof: what borrows from it may then live as long as it needs.
        let storage = Box::leak(Box::new(MaybeUninit::uninit()));
        let mut open = tcpconnlat::TcpconnlatSkelBuilder::default().open(storage)?;
        let rodata = open.maps.rodata_data.as_deref_mut();
        let rodata = rodata.context("tcpconnlat.bpf.c has no .rodata")?;
        load::configure!(rodata, options);
        ask!(rodata, question);
        ask_ends!(rodata, question);
        rodata.by_result = question.by.contains(&Key::Result);
        rodata.tell_each = question.each;
        open.maps.histograms.set_max_entries(room(&question.by)?)?;
        base.lend(open.open_object_mut())?;
        let skel = open.load().map_err(load::explain)?;
        let maps = &skel.maps;
        let told = Rc::default();
        let ring = match question.each {
            true => Some(ring(&maps.connections, &told)?),
            false => None,
        };
        let histograms = Histograms::new(&maps.histograms, &maps.epoch, &maps.uncounted)?;
        Ok(Box::new(Connecting {
            ring,
            counting: Counting::new(skel, histograms, &question.by),
            told,
            keys: Keys::default(),
        }))
    }
}

type Told = Rc<RefCell<Vec<bpf::connection>>>;

/// The buffer of connections; what it carries ends up in `told`.
fn ring(map: &libbpf_rs::MapMut<'_>, told: &Told) -> Result<RingBuffer<'static>> {
    let to = Rc::clone(told);
    let mut builder = RingBufferBuilder::new();
    builder.add(map, move |bytes: &[u8]| {
        let mut told = to.borrow_mut();
        told.extend(bpf::read::<bpf::connection>(bytes));
        // What does not fit waits in the kernel's buffer, which counts what it has no room for.
        if told.len() < TOLD_MAX { 0 } else { -1 }
    })?;
    builder.build().context("cannot map the ring buffer")
}

struct Connecting {
    // Before the object, so that it is gone first.
    ring: Option<RingBuffer<'static>>,
    counting: Counting,
    told: Told,
    keys: Keys,
}

impl Gauge for Connecting {
    fn start(&mut self) -> Result<()> {
        self.counting.start()
    }

    fn stop(&mut self) {
        self.counting.stop();
    }

    fn wakeup_fd(&self) -> Option<BorrowedFd<'_>> {
        self.ring.as_ref().map(bpf::epoll_fd)
    }

    fn drain(&mut self, into: &mut Gathered) -> Result<()> {
        let Some(ring) = &self.ring else { return Ok(()) };
        let consumed = ring.consume();
        let told = std::mem::take(&mut *self.told.borrow_mut());
        // An error is how it is told that there is more.
        if told.len() < TOLD_MAX {
            consumed.context("cannot read the ring buffer")?;
        }
        for connection in told {
            let bpf::connection { time, ns, comm, thread, .. } = connection;
            let names = KeyNames { comm: &comm, thread: &thread };
            let labels = self.keys.labels(&EACH, &bpf::key_of(&connection), names);
            let pid = bpf::key_of(&connection).pid;
            into.occurrences.push(Occurrence { time, ns, pid, labels });
        }
        Ok(())
    }

    fn cost(&self, stats: &mut Stats) {
        self.counting.cost(stats);
    }

    fn gather(&mut self, into: &mut Gathered) -> Result<()> {
        self.drain(into)?;
        self.counting.gather(into)
    }
}
