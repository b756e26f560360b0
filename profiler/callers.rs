//! Who called: the user stack of each event, for `rprof trace --stack`.
//!
//! The kernel sends a stack apart from its event, tables to follow it may come later, and its names
//! later still. So events wait here, in their order, until the stack of the first is named: a moment
//! as a rule, 3 s at most, and never more of them than 64 MB.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use anyhow::Result;

use crate::{
    collector::{Batch, TaskEvents},
    machine,
    model::Stats,
    resolve::{Held, Limits, Resolver},
    sources::{Base, Options},
    unwind::Loader,
};

/// How long an event waits for its stack and names, ns.
const PATIENCE: u64 = 3_000_000_000;
/// How long the end waits for those that are still to come.
const LAST_PATIENCE: Duration = Duration::from_secs(3);
/// Bytes of events that wait; beyond, the first goes with what is known.
const BYTES_MAX: usize = 64 << 20;
/// Bytes of names and stacks beyond which all are forgotten.
const TABLES_MAX: usize = 64 << 20;
/// Stacks a second that the ring buffer is made for.
pub const STACKS_A_SECOND: u64 = 50_000;
/// Locked kernel memory for unwind tables, bytes.
const UNWIND_BYTES: u64 = 256 << 20;
/// Bytes of stacks that wait for tables: all that come before a program's first are there.
const WAITING_BYTES: usize = 128 << 20;
/// How often CPUs that came online are looked for, ns.
const CPUS: u64 = 1_000_000_000;

/// What tells a stack and its event that they belong together: the thread, and when the call began.
pub type Key = (u32, u64);

/// One function of a stack.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Caller<'a> {
    /// Its name, or `[file]` where it has none.
    pub name: &'a str,
    /// Path of the file that it is in; empty if not known.
    pub file: &'a str,
}

/// An event with its source's number, and the stack if it has one, leaf first.
pub type Each<'e> = dyn FnMut(usize, &[u8], Option<&[Caller<'_>]>) -> Result<()> + 'e;

/// An event that waits.
struct Event {
    source: usize,
    record: Vec<u8>,
    key: Option<Key>,
    /// Since when, ns, CLOCK_MONOTONIC.
    since: u64,
}

/// A stack that came.
#[derive(Clone, Copy)]
struct Stack {
    node: u32,
    /// Its frames were sent to be named in this round.
    round: u64,
    /// When it came.
    at: u64,
}

/// Brings events and their stacks together.
pub struct Callers {
    tasks: TaskEvents,
    resolver: Resolver,
    stacks: HashMap<Key, Stack>,
    events: VecDeque<Event>,
    bytes: usize,
    /// The next round of names, and the last of which all answers are here.
    round: u64,
    answered: Option<u64>,
    asked: Option<u64>,
    looked: u64,
    /// Events whose stack did not come in time.
    without: u64,
}

impl Callers {
    /// Gets ready to follow and name stacks that `base` is sent.
    ///
    /// # Errors
    /// The kernel or our privileges do not allow it.
    pub fn open(base: &Base, options: &Options) -> Result<Self> {
        machine::start_workers(1)?;
        let loader = Loader::new(base.unwind_maps()?, UNWIND_BYTES)?;
        let limits = Limits { waiting_bytes: WAITING_BYTES, ..Limits::default() };
        let pids = &options.target.pids;
        let mut resolver = Resolver::new(loader, &[Held::default()], pids, &limits)?;
        resolver.begin(machine::monotonic_ns());
        // A command that is not started yet will be another program then.
        resolver.prepare(pids.iter().copied().filter(|pid| Some(*pid) != options.at_exec))?;
        Ok(Self {
            tasks: TaskEvents::open()?,
            resolver,
            stacks: HashMap::new(),
            events: VecDeque::new(),
            bytes: 0,
            round: 0,
            answered: None,
            asked: None,
            looked: 0,
            without: 0,
        })
    }

    /// Takes in an event; one without a key has no stack to wait for.
    pub fn push(&mut self, source: usize, record: &[u8], key: Option<Key>) {
        self.bytes += record.len();
        let since = machine::monotonic_ns();
        self.events.push_back(Event { source, record: record.to_vec(), key, since });
    }

    /// Takes in what the kernel has, and hands on the events whose turn it is.
    ///
    /// # Errors
    /// The kernel refuses something, or the first that `each` has.
    pub fn step(&mut self, base: &mut Base, each: &mut Each<'_>) -> Result<()> {
        let now = machine::monotonic_ns();
        if now > self.looked + CPUS {
            self.looked = now;
            self.tasks.follow_cpus()?;
        }
        self.read(base)?;
        self.resolver.name(base, false);
        if self.resolver.is_named() {
            self.answered = self.asked;
            self.resolver.name(base, true);
            self.asked = Some(self.round);
            self.round += 1;
            if self.resolver.is_named() {
                self.answered = self.asked;
            }
        }
        self.hand_on(now, each)?;
        self.forget(now, each)
    }

    /// Waits for what is still to come, and hands on all events.
    ///
    /// # Errors
    /// As of [`Callers::step`].
    pub fn finish(&mut self, base: &mut Base, each: &mut Each<'_>) -> Result<()> {
        self.read(base)?;
        // Nothing is sent any more, so there are no buffers that could fill meanwhile.
        self.resolver.complete(base, LAST_PATIENCE, &mut |_| Ok(()))?;
        self.take_stacks();
        self.hand_on(u64::MAX, each)
    }

    /// Stacks that were lost on their way, and events whose stack did not come in time.
    pub fn lost(&self, base: &Base) -> u64 {
        let mut stats = Stats::default();
        base.count(0, &mut stats);
        stats.lost.max(self.without)
    }

    fn read(&mut self, base: &mut Base) -> Result<()> {
        let mut batch = Batch::default();
        base.drain(&mut batch)?;
        // After the samples, so that no process of theirs did anything that we do not know of.
        let events = self.tasks.drain();
        self.resolver.add(batch, events, base)?;
        self.take_stacks();
        Ok(())
    }

    fn take_stacks(&mut self) {
        let at = machine::monotonic_ns();
        for sample in self.resolver.take_samples(0) {
            let thread = self.resolver.tables().threads.get(sample.thread);
            let Some(thread) = thread else { continue };
            let stack = Stack { node: sample.stack, round: self.round, at };
            self.stacks.insert((thread.tid, sample.value), stack);
        }
    }

    /// Hands on the first events, as far as their stacks are named or may not be waited for.
    fn hand_on(&mut self, now: u64, each: &mut Each<'_>) -> Result<()> {
        while let Some(event) = self.events.front() {
            let stack = event.key.and_then(|key| self.stacks.get(&key)).copied();
            let is_named = stack.is_some_and(|stack| Some(stack.round) <= self.answered);
            let may_wait = now < event.since.saturating_add(PATIENCE) && self.bytes <= BYTES_MAX;
            if event.key.is_some() && !is_named && may_wait {
                return Ok(());
            }
            self.tell_first(stack, each)?;
        }
        Ok(())
    }

    fn tell_first(&mut self, stack: Option<Stack>, each: &mut Each<'_>) -> Result<()> {
        let Some(event) = self.events.pop_front() else { return Ok(()) };
        self.bytes -= event.record.len();
        if let Some(key) = event.key {
            self.stacks.remove(&key);
            self.without += u64::from(stack.is_none());
        }
        let tables = self.resolver.tables();
        let Some(stack) = stack else { return each(event.source, &event.record, None) };
        let frames = tables.stacks.frames(stack.node);
        let names: Vec<_> = frames
            .flat_map(|frame| tables.names(frame).map(move |name| (name.text, frame)))
            .collect();
        let callers: Vec<Caller<'_>> = names
            .iter()
            .map(|(name, frame)| Caller { name, file: tables.binary_path(*frame) })
            .collect();
        each(event.source, &event.record, Some(&callers))
    }

    /// Forgets stacks whose event will not come, and all when they are too many.
    fn forget(&mut self, now: u64, each: &mut Each<'_>) -> Result<()> {
        if self.resolver.tables().bytes() > TABLES_MAX {
            self.hand_on(u64::MAX, each)?;
            self.stacks.clear();
            self.resolver.begin(now);
        }
        if self.stacks.len() > self.events.len() {
            self.stacks.retain(|_, stack| now < stack.at.saturating_add(2 * PATIENCE));
        }
        Ok(())
    }
}
