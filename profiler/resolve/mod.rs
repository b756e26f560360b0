//! From raw stacks to a profile: which file and offset an address is, and what it is called.
//!
//! Samples and what processes did are merged in order of time, so that each address is looked up
//! in the mappings that its process had at that moment. Each distinct place becomes a frame at
//! once; its name follows from another thread, so that a large debug file never holds up the
//! reading of samples.

mod cgroup;
mod image;
mod naming;
mod process;
mod snapshot;
mod stack;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::BuildHasher,
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use anyhow::Result;

pub use self::snapshot::{Lookup, follow, status};
use self::{
    image::Images,
    naming::{Named, Naming},
    process::{Place, Processes},
    stack::RawStacks,
};
use crate::{
    bpf::STACK_DEPTH_MAX,
    collector::{Batch, RawSample, Snapshot, TaskEvent, TaskKind},
    model::{Binary, EMPTY_STACK, Frame, FrameKind, Function, Line, Sample, Tables, Thread},
    sources::Stream,
    unwind::{Counts, Loader, Region},
};

/// Nodes of the stack tree beyond which new stacks are counted, but not kept.
const STACK_NODES_MAX: usize = 8 << 20;
/// Stacks whose node is remembered; beyond, all are forgotten, which costs looking them up again.
const RESOLVED_MAX: usize = 256 << 10;

/// Bytes of stack that may wait for tables at a time; what comes beyond is followed as far as the
/// tables reach that are there.
const WAITING_BYTES_MAX: usize = 32 << 20;
/// How long to wait for tables at the end of a recording: those of a compiler take half a second.
const TABLES_WAIT: Duration = Duration::from_secs(2);

/// Name of the kernel's own binary, as perf writes it.
const KERNEL: &str = "[kernel.kallsyms]";

/// Resolves what the kernel sends.
pub struct Resolver {
    /// CLOCK_MONOTONIC at the recording's start, ns: time 0 of its samples.
    start: u64,
    tables: Tables,
    processes: Processes,
    images: Images,
    stacks: RawStacks,
    cgroups: cgroup::Cgroups,
    /// By process, state of its mappings, user stack and kernel stack.
    resolved: HashMap<(u64, u128, u128, u32), u32, foldhash::fast::RandomState>,
    loader: Loader,
    /// Processes in the kernel whose mappings have changed since.
    stale: HashSet<u32>,
    /// Samples whose stack waits for tables, by process.
    waiting: HashMap<u32, Vec<RawSample>>,
    waiting_bytes: usize,
    /// User stacks that did not reach their root, by reason.
    failed: BTreeMap<&'static str, u64>,
    truncated: u64,
    naming: Naming,
    /// Kernel frames without a name yet.
    kernel: Vec<u32>,
    /// Frames of JIT code and their processes: a perf map may name them only later.
    jit: Vec<(u32, u32)>,
    /// Frames that were named since they were last asked for.
    named: Vec<u32>,
    samples: Vec<Sample>,
    /// Stacks that were not kept, samples whose stack never came.
    missed: BTreeMap<&'static str, u64>,
}

impl Resolver {
    /// A resolver that knows nothing yet.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn new(loader: Loader) -> Result<Self> {
        Ok(Self {
            start: 0,
            loader,
            stale: HashSet::new(),
            waiting: HashMap::new(),
            waiting_bytes: 0,
            failed: BTreeMap::new(),
            truncated: 0,
            tables: Tables::default(),
            processes: Processes::default(),
            images: Images::default(),
            stacks: RawStacks::default(),
            cgroups: cgroup::Cgroups::default(),
            resolved: HashMap::default(),
            naming: Naming::start()?,
            kernel: Vec::new(),
            jit: Vec::new(),
            named: Vec::new(),
            samples: Vec::new(),
            missed: BTreeMap::new(),
        })
    }

    /// Sets the time (ns, CLOCK_MONOTONIC) that samples count theirs from.
    pub fn set_start(&mut self, start: u64) {
        self.start = start;
    }

    /// What samples point into.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// The samples since the last call.
    pub fn take_samples(&mut self) -> Vec<Sample> {
        std::mem::take(&mut self.samples)
    }

    /// The frames that were named since the last call.
    pub fn take_named(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.named)
    }

    /// Becomes readable when there are tables to take in, which [`Resolver::add`] does.
    pub fn wakeup_fd(&self) -> BorrowedFd<'_> {
        self.loader.wakeup_fd()
    }

    /// User stacks that did not reach their root, by reason.
    pub fn failed(&self) -> &BTreeMap<&'static str, u64> {
        &self.failed
    }

    /// User stacks that were cut at the depth limit.
    pub fn truncated(&self) -> u64 {
        self.truncated
    }

    /// What there is of unwind tables in the kernel.
    pub fn tables_in_kernel(&self) -> Counts {
        self.loader.counts()
    }

    /// Things turned away at a limit, by what they are.
    pub fn missed(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.missed.iter().map(|(&what, &count)| (what, count)).chain([
            ("processes not followed", self.processes.refused),
            ("mappings not followed", self.processes.refused_mappings),
        ])
    }

    /// Adds a batch of samples and what processes did until it was drained, both in order of time.
    ///
    /// # Errors
    /// The kernel cannot be asked for stacks anew.
    pub fn add(
        &mut self,
        mut batch: Batch,
        events: Vec<TaskEvent>,
        stream: &mut dyn Stream,
    ) -> Result<()> {
        self.stacks.add(batch.stacks.drain(..));
        batch.samples.sort_by_key(|sample| sample.time);
        let mut events = events.into_iter().peekable();
        for sample in batch.samples {
            while let Some(event) = events.next_if(|event| event.time <= sample.time) {
                self.apply(event);
            }
            self.add_sample(sample);
        }
        events.for_each(|event| self.apply(event));
        self.load_tables(None)?;
        if self.stacks.is_full() {
            self.stacks.age();
            stream.forget_stacks()?;
        }
        if batch.unknown > 0 {
            *self.missed.entry("records not understood").or_default() += batch.unknown;
        }
        Ok(())
    }

    fn apply(&mut self, event: TaskEvent) {
        if matches!(event.kind, TaskKind::Map(_)) && self.loader.has(event.pid) {
            self.stale.insert(event.pid);
        }
        if matches!(event.kind, TaskKind::Exec) {
            self.loader.forget(event.pid);
        }
        if matches!(event.kind, TaskKind::Exec | TaskKind::ForkedFrom(_))
            && let Some(samples) = self.waiting.remove(&event.pid)
        {
            self.waiting.insert(self.processes.set_aside(event.pid), samples);
        }
        self.processes.apply(event);
    }

    fn add_sample(&mut self, sample: RawSample) {
        let Some(snapshot) = &sample.snapshot else { return self.keep(&sample, sample.pid) };
        let bytes = self.waiting_bytes + snapshot.stack.len();
        if bytes > WAITING_BYTES_MAX {
            let regions = self.processes.regions(sample.pid, &mut self.images);
            let ready = self.loader.prepare(&regions);
            let process = sample.pid;
            return self.follow_sample(sample, process, &regions, ready);
        }
        self.waiting_bytes = bytes;
        self.waiting.entry(sample.pid).or_default().push(sample);
    }

    /// Brings what was built into the kernel.
    fn load_tables(&mut self, timeout: Option<Duration>) -> Result<()> {
        self.loader.collect(timeout);
        self.follow_waiting(false)?;
        for pid in std::mem::take(&mut self.stale) {
            let regions = self.processes.regions(pid, &mut self.images);
            match self.loader.prepare(&regions) {
                true if self.loader.has(pid) => self.loader.publish(pid, &regions)?,
                true => {}
                false => {
                    self.stale.insert(pid);
                }
            }
        }
        Ok(())
    }

    /// Follows the stacks of samples whose tables are there by now; with `all`, of all of them.
    fn follow_waiting(&mut self, all: bool) -> Result<()> {
        for (process, samples) in std::mem::take(&mut self.waiting) {
            let regions = self.processes.regions(process, &mut self.images);
            let ready = self.loader.prepare(&regions);
            if !ready && !all {
                self.waiting.insert(process, samples);
                continue;
            }
            // One that has ended by now would only take up room. And one whose tables are not all
            // here would be followed half blind, and by nobody told when they come.
            if ready && !regions.is_empty() && !self.processes.has_ended(process) {
                self.loader.publish(process, &regions)?;
                self.stale.remove(&process);
            }
            for sample in samples {
                self.waiting_bytes -= sample.snapshot.as_ref().map_or(0, |s| s.stack.len());
                self.follow_sample(sample, process, &regions, ready);
            }
        }
        Ok(())
    }

    /// Follows the stack of a sample. `ready`: the tables of its process are all there; what was
    /// followed without one that is still to come does not count as complete.
    fn follow_sample(
        &mut self,
        mut sample: RawSample,
        process: u32,
        regions: &[Region],
        ready: bool,
    ) {
        let snapshot = sample.snapshot.take().unwrap_or_default();
        let mut blind = false;
        let mut tables = |region: &Region| {
            let table = self.loader.table(region);
            blind |= table.is_none();
            table
        };
        let (addresses, status) = follow(&snapshot, regions, &mut tables);
        let hasher = foldhash::fast::FixedState::default();
        // Apart from the kernel's fingerprints, whose lowest bit is always set.
        sample.user_stack = u128::from(hasher.hash_one(&addresses)) << 1;
        sample.user_status = if blind && !ready { status::NOT_LOADED } else { status };
        if is_in_exec(&sample, &snapshot, &addresses) {
            (sample.user_stack, sample.user_status) = (0, status::NO_STACK);
        }
        self.stacks.add(std::iter::once((sample.user_stack, addresses)));
        self.keep(&sample, process);
    }

    /// `process` is the sample's own, or what was set aside of it.
    fn keep(&mut self, sample: &RawSample, process: u32) {
        match sample.user_status {
            status::COMPLETE | status::NO_STACK => {}
            status::TOO_DEEP => self.truncated += 1,
            status => *self.failed.entry(status::reason(status)).or_default() += 1,
        }
        let state = self.processes.state_of(process);
        let key = (state, sample.user_stack, sample.kernel_stack, sample.user_status);
        let stack = match self.resolved.get(&key) {
            Some(&stack) => stack,
            None => {
                let stack = self.resolve(sample, process);
                if self.resolved.len() >= RESOLVED_MAX {
                    self.resolved.clear();
                }
                self.resolved.insert(key, stack);
                stack
            }
        };
        let thread = self.thread(sample);
        self.samples.push(Sample {
            time: sample.time.saturating_sub(self.start),
            cpu: sample.cpu,
            thread,
            stack,
            count: 1,
            value: sample.weight,
        });
    }

    fn thread(&mut self, sample: &RawSample) -> u32 {
        let cgroup = self.cgroups.path(sample.cgroup);
        let strings = &mut self.tables.strings;
        let thread = Thread {
            pid: sample.pid,
            tid: sample.tid,
            comm: strings.intern(&name_of(&sample.comm)),
            name: strings.intern(&name_of(&sample.thread)),
            cgroup: strings.intern(cgroup),
        };
        self.tables.threads.intern(thread)
    }

    /// The node of a sample's whole stack: user frames at the root, kernel frames above.
    fn resolve(&mut self, sample: &RawSample, process: u32) -> u32 {
        if self.tables.stacks.len() >= STACK_NODES_MAX {
            *self.missed.entry("stacks beyond the limit").or_default() += 1;
            return self.note(EMPTY_STACK, "[stack table full]");
        }
        let mut stack = EMPTY_STACK;
        for (fingerprint, kernel) in [(sample.user_stack, false), (sample.kernel_stack, true)] {
            if fingerprint == 0 {
                continue;
            }
            let Some(addresses) = self.stacks.get(fingerprint) else {
                *self.missed.entry("stacks never received").or_default() += 1;
                stack = self.note(stack, "[stack lost]");
                continue;
            };
            let addresses = addresses.clone();
            if let Some(note) = remark(sample.user_status, kernel, addresses.len()) {
                stack = self.note(stack, &note);
            }
            for (depth, &address) in addresses.iter().enumerate().rev() {
                // A return address may be the first byte of another function: where the call is
                // the last thing that its own does. The byte before it is in the right one.
                let address = if depth == 0 { address } else { address.wrapping_sub(1) };
                let frame = match kernel {
                    true => self.kernel_frame(address),
                    false => self.user_frame(process, sample.pid, address),
                };
                stack = self.tables.stacks.push(stack, frame);
            }
        }
        stack
    }

    /// The stack that a remark makes when put above `stack`.
    fn note(&mut self, stack: u32, text: &str) -> u32 {
        let known = self.tables.frames.len();
        let frame = self.tables.note(text);
        if frame as usize == known {
            self.named.push(frame);
        }
        self.tables.stacks.push(stack, frame)
    }

    fn kernel_frame(&mut self, address: u64) -> u32 {
        let path = self.tables.strings.intern(KERNEL);
        let binary = self.tables.binaries.intern(Binary { path, build_id: 0 });
        let known = self.tables.frames.len();
        let frame = self.tables.frame(Frame { kind: FrameKind::Kernel, binary, address });
        if frame as usize == known {
            self.kernel.push(frame);
        }
        frame
    }

    fn user_frame(&mut self, process: u32, pid: u32, address: u64) -> u32 {
        let place = self.processes.place(process, address, &mut self.images);
        let (kind, path, build_id, address) = match &place {
            Place::File { image, address } => {
                (FrameKind::User, image.path(), hex(image.build_id().unwrap_or_default()), *address)
            }
            Place::Vdso { offset } => (FrameKind::User, "[vdso]", String::new(), *offset),
            Place::Closed { path, offset } => (FrameKind::User, &**path, String::new(), *offset),
            Place::Jit => (FrameKind::Jit, "//anon", String::new(), address),
            Place::Nowhere => (FrameKind::User, "", String::new(), address),
        };
        let strings = &mut self.tables.strings;
        let build_id = strings.intern(&build_id);
        // JIT code of two processes at one address is not the same code.
        let path = match kind {
            FrameKind::Jit => strings.intern(&format!("{path}:{pid}")),
            _ => strings.intern(path),
        };
        let binary = self.tables.binaries.intern(Binary { path, build_id });
        let known = self.tables.frames.len();
        let frame = self.tables.frame(Frame { kind, binary, address });
        if frame as usize == known {
            match place {
                Place::File { image, address } => self.naming.file(image, address, frame),
                Place::Vdso { offset } => self.naming.vdso(offset, frame),
                Place::Jit => {
                    self.naming.jit(pid, address, frame);
                    self.jit.push((frame, pid));
                }
                Place::Closed { .. } | Place::Nowhere => {}
            }
        }
        frame
    }

    /// Sends frames without names to be named, and takes the names that are ready. At the end of
    /// a recording, waits for all of them, and asks perf maps once more: a Java process writes its
    /// own only when told to.
    ///
    /// # Errors
    /// The kernel refuses a map.
    pub fn name(&mut self, stream: &mut dyn Stream, end: bool) -> Result<()> {
        if end && !self.waiting.is_empty() {
            let start = Instant::now();
            while let Some(left) = TABLES_WAIT.checked_sub(start.elapsed())
                && !self.waiting.is_empty()
            {
                self.load_tables(Some(left))?;
            }
            self.follow_waiting(true)?;
        }
        self.name_kernel(stream);
        self.naming.send();
        self.take_names(end);
        if end {
            for (frame, pid) in std::mem::take(&mut self.jit) {
                if self.tables.lines(frame).is_empty() {
                    let address = self.tables.frames.get(frame).map_or(0, |frame| frame.address);
                    self.naming.jit(pid, address, frame);
                }
            }
            self.naming.send();
            self.take_names(end);
            self.loader.trim();
        }
        self.images.close_idle();
        let waits = |process| self.waiting.contains_key(&process);
        self.processes.forget_ended(waits, |pid| self.loader.forget(pid));
        Ok(())
    }

    fn take_names(&mut self, wait: bool) {
        for Named { frame, symbols } in self.naming.receive(wait) {
            let lines = symbols.iter().map(|symbol| self.line(symbol)).collect();
            self.tables.lines[frame as usize] = lines;
            self.named.push(frame);
        }
    }

    fn name_kernel(&mut self, stream: &mut dyn Stream) {
        let frames = std::mem::take(&mut self.kernel);
        let address = |frame: &u32| self.tables.frames.get(*frame).map_or(0, |frame| frame.address);
        let addresses: Vec<u64> = frames.iter().map(address).collect();
        for (frame, symbol) in frames.into_iter().zip(stream.name_kernel(&addresses)) {
            let Some(symbol) = symbol else { continue };
            let name = self.tables.strings.intern(&symbol.name);
            let file = symbol.module.map_or(0, |module| self.tables.strings.intern(&module));
            let function = Function { name, system_name: name, file };
            let function = self.tables.functions.intern(function);
            self.tables.lines[frame as usize] = [Line { function, line: 0, column: 0 }].into();
            self.named.push(frame);
        }
    }

    fn line(&mut self, symbol: &symbolizer::Symbol) -> Line {
        let strings = &mut self.tables.strings;
        let name = strings.intern(&symbol.name);
        let system_name =
            symbol.system_name.as_deref().map_or(name, |system_name| strings.intern(system_name));
        let file = symbol.file.as_deref().map_or(0, |file| strings.intern(file));
        let function = self.tables.functions.intern(Function { name, system_name, file });
        Line { function, line: symbol.line, column: symbol.column }
    }
}

/// True if the sample was taken while an exec replaced the process's memory: then the registers of
/// its caller lead nowhere any more. The old memory is gone before the records of the exec and of
/// the new memory come, so either may be missing.
fn is_in_exec(sample: &RawSample, snapshot: &Snapshot, addresses: &[u64]) -> bool {
    let astray = sample.user_status == status::NO_MAPPING && addresses.len() <= 1;
    sample.kernel_stack != 0 && (astray || snapshot.is_empty())
}

/// What is to be said at the root of a stack that does not begin there.
fn remark(user_status: u32, kernel: bool, depth: usize) -> Option<String> {
    let status = match (kernel, depth >= STACK_DEPTH_MAX) {
        (true, true) => status::TOO_DEEP,
        (true, false) => return None,
        (false, _) => user_status,
    };
    match status {
        status::COMPLETE | status::NO_STACK => None,
        status::TOO_DEEP => Some("[truncated]".into()),
        status => Some(format!("[incomplete: {}]", status::reason(status))),
    }
}

/// A name that the kernel padded with NUL.
fn name_of(bytes: &[u8; 16]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// Bytes in hexadecimal, as build ids are written.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String does not fail
        text
    })
}
