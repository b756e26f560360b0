//! Source `gc`: collections of garbage, by the probes that runtimes carry.

use std::{
    cell::RefCell,
    fs::File,
    mem::MaybeUninit,
    os::fd::{AsRawFd, BorrowedFd},
    rc::Rc,
    time::Duration,
};

use anyhow::{Context, Result};
use libbpf_rs::{
    ErrorKind, Link, MapMut, RingBuffer, RingBufferBuilder,
    skel::{OpenSkel, Skel, SkelBuilder},
};

use super::{
    Base, Options,
    latency::{Ability, Gauge, Latency, Question},
    load,
    runtimes::{ALL, Found, Runtimes},
};
use crate::{
    bpf::{self, collection, gc, latency_key},
    collector::{Gathered, Occurrence},
    machine,
    model::{Histogram, Key, Stats},
    output::quantity,
    resolve::{KeyNames, Keys, text},
    target::processes,
};

/// The source.
pub struct Gc;

/// What is told of each collection.
const EACH: [Key; 3] = [Key::Process, Key::Collection, Key::Heap];

/// Collections that may wait to be told, at most.
const TOLD_MAX: usize = 64 << 10;

/// `enum event_kind` of `bpf/gc.bpf.c`.
const PAUSE: u32 = 1;
const CYCLE: u32 = 2;
const EXEC: u32 = 3;
const PYTHON: u32 = 4;
const RUBY_MARK: u32 = 5;
const RUBY_SWEEP: u32 = 6;

impl Latency for Gc {
    fn name(&self) -> &'static str {
        "gc"
    }

    fn keys(&self) -> &'static [Key] {
        &[Key::Process, Key::Thread, Key::Cgroup, Key::Collection]
    }

    fn usual_keys(&self) -> &'static [Key] {
        &[Key::Process, Key::Collection]
    }

    fn abilities(&self) -> &'static [Ability] {
        &[Ability::Each, Ability::Processes]
    }

    fn open(&self, options: &Options, question: &Question, base: &Base) -> Result<Box<dyn Gauge>> {
        // Once for each run of rprof: what borrows from it may then live as long as it needs.
        let storage = Box::leak(Box::new(MaybeUninit::uninit()));
        let mut open = gc::GcSkelBuilder::default().open(storage)?;
        let rodata = open.maps.rodata_data.as_deref_mut().context("gc.bpf.c has no .rodata")?;
        load::configure!(rodata, options);
        base.lend(open.open_object_mut())?;
        let skel = open.load().map_err(load::explain)?;
        let read = Rc::default();
        let ring = ring(&skel.maps.collections, &read)?;
        let pids = options.target.pids.clone();
        Ok(Box::new(Collecting {
            ring,
            links: Vec::new(),
            skel,
            read,
            question: question.clone(),
            pids,
            runtimes: if question.cheap { Runtimes::java() } else { Runtimes::default() },
            looked: 0,
            probed: 0,
            lost: 0,
            notes: Vec::new(),
            keys: Keys::default(),
        }))
    }
}

type Read = Rc<RefCell<Vec<collection>>>;

/// The buffer of collections; what it carries ends up in `read`.
fn ring(map: &MapMut<'_>, read: &Read) -> Result<RingBuffer<'static>> {
    let to = Rc::clone(read);
    let mut builder = RingBufferBuilder::new();
    builder.add(map, move |bytes: &[u8]| {
        let mut read = to.borrow_mut();
        read.extend(bpf::read::<collection>(bytes));
        // What does not fit waits in the kernel's buffer, which counts what it has no room for.
        if read.len() < TOLD_MAX { 0 } else { -1 }
    })?;
    builder.build().context("cannot map the ring buffer")
}

struct Collecting {
    // Before the skeleton, so that it is gone first.
    ring: RingBuffer<'static>,
    links: Vec<Link>,
    skel: gc::GcSkel<'static>,
    read: Read,
    question: Question,
    /// Processes that are watched; none: all.
    pids: Vec<u32>,
    runtimes: Runtimes,
    /// When all processes were last looked at, ns of CLOCK_MONOTONIC.
    looked: u64,
    /// Files with probes.
    probed: usize,
    lost: u64,
    notes: Vec<String>,
    keys: Keys,
}

impl Gauge for Collecting {
    fn start(&mut self) -> Result<()> {
        for program in [&self.skel.progs.gc_exec, &self.skel.progs.gc_exit] {
            self.links.push(program.attach().context("cannot attach to a sched tracepoint")?);
        }
        // First what is installed: a file found in a process is out of reach once that has ended.
        let mut found = self.runtimes.installed();
        found.extend(self.look_at_all());
        self.probe(found);
        if self.probed == 0 {
            self.notes.push("no program with probes of its collector runs yet".into());
        }
        Ok(())
    }

    fn stop(&mut self) {
        self.links.clear();
    }

    fn wakeup_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(bpf::epoll_fd(&self.ring))
    }

    fn due(&self) -> Duration {
        let now = machine::monotonic_ns();
        let all = (self.looked + self.pause()).saturating_sub(now);
        let all = Duration::from_nanos(all);
        self.runtimes.until_due(now).map_or(all, |due| due.min(all))
    }

    fn drain(&mut self, into: &mut Gathered) -> Result<()> {
        let consumed = self.ring.consume();
        let read = std::mem::take(&mut *self.read.borrow_mut());
        // An error is how it is told that there is more.
        if read.len() < TOLD_MAX {
            consumed.context("cannot read the ring buffer")?;
        }
        let now = machine::monotonic_ns();
        for event in &read {
            match event.kind {
                EXEC => self.runtimes.started(event.pid, now),
                _ => self.add(event, into),
            }
        }
        let found = match now >= self.looked + self.pause() {
            true => self.look_at_all(),
            false => self.runtimes.due(now),
        };
        self.probe(found);
        into.notes.append(&mut self.notes);
        Ok(())
    }

    fn cost(&self, stats: &mut Stats) {
        let programs: Vec<_> = self.skel.object().progs_mut().collect();
        load::add_run_time(&programs.iter().collect::<Vec<_>>(), stats);
    }

    fn gather(&mut self, into: &mut Gathered) -> Result<()> {
        self.drain(into)?;
        let lost = self.skel.maps.bss_data.as_deref().map_or(0, |bss| bss.collections_lost);
        into.miss("collections lost, for want of room", lost - self.lost);
        self.lost = lost;
        let turned_away = std::mem::take(&mut self.runtimes.turned_away);
        into.miss("files of runtimes not looked at, for being too many", turned_away);
        Ok(())
    }
}

impl Collecting {
    /// Between two looks at all processes, ns. Those that start later are looked at by themselves.
    fn pause(&self) -> u64 {
        ALL.as_nanos() as u64 * if self.question.cheap { 10 } else { 1 }
    }

    fn look_at_all(&mut self) -> Vec<Found> {
        self.looked = machine::monotonic_ns();
        match &self.pids[..] {
            [] => self.runtimes.look(processes().into_iter().map(|(pid, _)| pid)),
            pids => self.runtimes.look(pids.iter().copied()),
        }
    }

    /// Sets the probes of files that are new.
    fn probe(&mut self, found: Vec<Found>) {
        for file in found {
            let Ok(open) = File::open(&file.open) else {
                self.runtimes.forget(&file);
                continue;
            };
            match self.attach(&file, &open) {
                Ok(mut links) => {
                    self.links.append(&mut links);
                    self.probed += 1;
                }
                Err(error) if error.kind() == ErrorKind::NotFound => self.tell_without(&file),
                Err(error) => {
                    let (path, language) = (&file.path, file.runtime.language);
                    self.notes.push(format!("cannot probe {path} ({language}): {error}"));
                }
            }
        }
    }

    /// Sets the probes of a file, through its descriptor: its process may end meanwhile.
    fn attach(&mut self, file: &Found, open: &File) -> libbpf_rs::Result<Vec<Link>> {
        let path = format!("/proc/self/fd/{}", open.as_raw_fd());
        let mut links = Vec::new();
        for (probe, name) in file.runtime.probes {
            let mut programs = self.skel.object_mut().progs_mut();
            let Some(program) = programs.find(|program| program.name() == *name) else { continue };
            // -1: every process that has it mapped, also those to come.
            links.push(program.attach_usdt(-1, &path, file.runtime.provider, probe)?);
        }
        Ok(links)
    }

    /// Says of a runtime that it has no probes, and what can be done: of Java always, of others
    /// where they were asked for, since most are built without.
    fn tell_without(&mut self, file: &Found) {
        let (path, language) = (&file.path, file.runtime.language);
        let Some(pid) = file.pid else { return };
        let way_out = match language {
            "java" => {
                "run it on a build that was configured with --enable-dtrace, as those of Debian, \
                 Ubuntu, Fedora and Temurin are, or read its own -Xlog:gc"
            }
            "python" => "run it on a build that was configured with --with-dtrace, as Debian's is",
            "ruby" => "run it on a build that was configured with --enable-dtrace",
            _ => "node has none since version 19; run it with --trace-gc instead",
        };
        if language == "java" || !self.pids.is_empty() {
            self.notes.push(format!(
                "{path} (process {pid}) has no probes of its collector, so that nothing is seen of \
                 it; {way_out}"
            ));
        }
    }

    fn add(&mut self, event: &collection, into: &mut Gathered) {
        let ns = event.end.saturating_sub(event.start);
        if ns < self.question.least {
            return;
        }
        let mut histogram = Histogram::default();
        histogram.add(ns);
        let by = std::mem::take(&mut self.question.by);
        into.add(self.labels(&by, event), &histogram);
        self.question.by = by;
        if self.question.each {
            let labels = self.labels(&EACH, event);
            let (time, pid) = (event.end, event.pid);
            into.occurrences.push(Occurrence { time, ns, pid, labels });
        }
    }

    fn labels(&mut self, wanted: &[Key], event: &collection) -> Vec<(Key, String)> {
        let collection { pid, tid, cgroup, .. } = *event;
        let key = latency_key { pid, tid, cgroup, ..Default::default() };
        let names = KeyNames { comm: &event.comm, thread: &event.thread };
        let mut labels = self.keys.labels(wanted, &key, names);
        for (key, value) in &mut labels {
            match key {
                Key::Collection => *value = name(event),
                Key::Heap => *value = heap(event),
                _ => {}
            }
        }
        labels
    }
}

/// What a collection is called.
fn name(event: &collection) -> String {
    let name = text(&event.name.map(|c| c as u8));
    match event.kind {
        PAUSE if name.is_empty() && event.detail != 0 => "full pause".into(),
        PAUSE if name.is_empty() => "pause".into(),
        PAUSE => name,
        CYCLE => format!("{name} (concurrent)"),
        PYTHON => format!("generation {}", event.detail),
        RUBY_MARK => "mark".into(),
        RUBY_SWEEP => "sweep".into(),
        _ => format!("kind {}", event.detail),
    }
}

/// What came of it, as far as the probes tell.
fn heap(event: &collection) -> String {
    let bytes = |count| quantity(count, "bytes");
    match event.kind {
        PYTHON => format!("{} objects collected", event.collected),
        _ if event.before == 0 && event.after == 0 => String::new(),
        _ => format!("{} to {}", bytes(event.before), bytes(event.after)),
    }
}
