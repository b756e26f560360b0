//! From samples and their addresses to the model's tables: each distinct place becomes a frame,
//! each distinct stack a node, each thread a row.

use std::{
    collections::{BTreeMap, HashMap},
    hash::BuildHasher,
    sync::{Arc, Weak},
};

use symbolizer::Image;

use super::{
    Followed, Limits,
    cgroup::Cgroups,
    held::{Allocations, Held},
    hex,
    kubernetes::Pods,
    labels::Labels,
    naming::Naming,
    process::{Place, Processes},
    snapshot::status,
    stack::RawStacks,
    wakers::Wakers,
};
use crate::{
    bpf::STACK_DEPTH_MAX,
    collector::RawSample,
    model::{Binary, EMPTY_STACK, Frame, FrameKind, Process, Sample, Tables, Thread, WaitState},
};

/// Nodes of the stack tree beyond which new stacks are counted, but not kept.
const STACK_NODES_MAX: usize = 8 << 20;

/// Files and threads whose row in the tables is remembered; beyond, all are forgotten.
const RECENT_MAX: usize = 4096;

/// Name of the kernel's own binary, as perf writes it.
const KERNEL: &str = "[kernel.kallsyms]";

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// Where files and threads are in the tables: to look up their texts for each frame and each sample
/// takes longer than all else.
#[derive(Default)]
struct Recent {
    /// Start of the recording whose tables they are.
    start: u64,
    /// By where a file is in memory, which no other has while there is a weak reference.
    binaries: Map<*const Image, (Weak<Image>, u32)>,
    threads: Map<(u32, u32), RecentThread>,
}

/// A thread as it was in its last sample.
struct RecentThread {
    labels: u64,
    cgroup: u64,
    comm: [u8; 16],
    name: [u8; 16],
    thread: u32,
}

impl RecentThread {
    fn is_of(&self, sample: &RawSample, labels: u64) -> bool {
        self.labels == labels
            && self.cgroup == sample.cgroup
            && (self.comm, self.name) == (sample.comm, sample.thread)
    }
}

/// Builds the tables of a profile, and the samples that point into them.
pub struct Builder {
    /// CLOCK_MONOTONIC at the recording's start, ns: time 0 of its samples.
    pub start: u64,
    /// What samples point into.
    pub tables: Tables,
    /// Addresses of stacks, by fingerprint.
    pub stacks: RawStacks,
    cgroups: Cgroups,
    pods: Pods,
    /// What processes are labelled with.
    pub labels: Labels,
    recent: Recent,
    /// By process, state of its mappings, user stack and kernel stack. Beyond the limit all are
    /// forgotten, which costs looking them up again.
    resolved: HashMap<(u64, u128, u128, u32, u32), u32, foldhash::fast::RandomState>,
    resolved_max: usize,
    /// Who finds names.
    pub naming: Naming,
    /// Kernel frames without a name yet.
    pub kernel: Vec<u32>,
    /// Frames of JIT code and their processes: a perf map may name them only later.
    pub jit: Vec<(u32, u32)>,
    /// Frames that were named since they were last asked for.
    pub named: Vec<u32>,
    /// Who ended waits.
    wakers: Wakers,
    /// By source.
    pub sources: Vec<Kept>,
    /// Stacks that were not kept, samples whose stack never came.
    pub missed: BTreeMap<&'static str, u64>,
}

/// What was kept of one source.
#[derive(Debug, Default)]
pub struct Kept {
    /// Samples since they were last asked for.
    pub samples: Vec<Sample>,
    /// User stacks that did not reach their root, by reason.
    pub failed: BTreeMap<&'static str, u64>,
    /// User stacks that were cut at the depth limit.
    pub truncated: u64,
    /// Memory that its samples are of.
    pub held: Allocations,
}

impl Builder {
    /// One with empty tables, for samples of sources that tell of this memory.
    pub fn new(naming: Naming, sources: &[Held], limits: &Limits) -> Self {
        Self {
            start: 0,
            tables: Tables::default(),
            stacks: RawStacks::new(limits.stack_addresses),
            cgroups: Cgroups::default(),
            pods: Pods::default(),
            labels: Labels::default(),
            recent: Recent::default(),
            resolved: HashMap::default(),
            resolved_max: limits.nodes,
            naming,
            kernel: Vec::new(),
            jit: Vec::new(),
            named: Vec::new(),
            wakers: Wakers::default(),
            sources: sources
                .iter()
                .map(|kind| Kept { held: Allocations::new(*kind), ..Kept::default() })
                .collect(),
            missed: BTreeMap::new(),
        }
    }

    /// Begins anew with empty tables, for a recording that starts at `start`. What is known of
    /// processes, files and raw stacks stays.
    pub fn begin(&mut self, start: u64) {
        self.start = start;
        self.tables = Tables::default();
        self.resolved = HashMap::default();
        self.naming.forget();
        self.kernel = Vec::new();
        self.jit = Vec::new();
        self.named = Vec::new();
        self.wakers.clear();
        for source in &mut self.sources {
            let mut held = std::mem::take(&mut source.held);
            held.begin(start);
            *source = Kept { held, ..Kept::default() };
        }
        self.missed.clear();
    }

    /// Keeps a sample whose stack was followed here.
    pub fn keep_followed(&mut self, followed: Followed, processes: &mut Processes) {
        let Followed { mut sample, thread, process, addresses } = followed;
        let hasher = foldhash::fast::FixedState::default();
        // Apart from the kernel's fingerprints, whose lowest bit is always set.
        if sample.user_status != status::NO_STACK {
            sample.user_stack = u128::from(hasher.hash_one(&addresses)) << 1;
            self.stacks.add(std::iter::once((sample.user_stack, addresses)));
        }
        self.keep(&sample, thread, process, true, processes);
    }

    /// Keeps a sample of a thread. `process` is the sample's own, or what was set aside of it;
    /// `followed`: its stack was found here, and the kernel does not know it.
    pub fn keep(
        &mut self,
        sample: &RawSample,
        thread: u32,
        process: u32,
        followed: bool,
        processes: &mut Processes,
    ) {
        let source = usize::from(sample.source);
        if source >= self.sources.len() {
            return; // no source of ours sent it
        }
        let stack = self.stack_of(sample, process, processes);
        if Wakers::is_one(sample) {
            self.wakers.add(sample, stack);
            return;
        }
        match sample.user_status {
            status::COMPLETE | status::NO_STACK => {}
            status::TOO_DEEP => self.sources[source].truncated += 1,
            status => {
                let failed = &mut self.sources[source].failed;
                *failed.entry(status::reason(status)).or_default() += 1;
            }
        }
        let stack = if sample.waker == 0 { stack } else { self.woken(stack, sample) };
        let made = Sample {
            time: sample.time.saturating_sub(self.start),
            cpu: sample.cpu,
            thread,
            stack,
            count: sample.count,
            value: sample.weight,
        };
        self.sources[source].held.add(sample, followed, &made);
        self.sources[source].samples.push(made);
    }

    /// The thread that a sample is of, and its process, as they are at this moment.
    pub fn thread(&mut self, sample: &RawSample) -> u32 {
        self.trim_recent();
        let key = (sample.pid, sample.tid);
        if let Some(labels) = self.labels.reading(sample.pid)
            && let Some(known) = self.recent.threads.get(&key)
            && known.is_of(sample, labels)
        {
            return known.thread;
        }
        let thread = self.thread_anew(sample);
        if let Some(labels) = self.labels.reading(sample.pid) {
            let (cgroup, comm, name) = (sample.cgroup, sample.comm, sample.thread);
            let known = RecentThread { labels, cgroup, comm, name, thread };
            self.recent.threads.insert(key, known);
        }
        thread
    }

    /// Forgets what is of other tables, or too much.
    fn trim_recent(&mut self) {
        let recent = &mut self.recent;
        let full = recent.binaries.len().max(recent.threads.len()) >= RECENT_MAX;
        if recent.start != self.start || full {
            *recent = Recent { start: self.start, ..Recent::default() };
        }
    }

    fn thread_anew(&mut self, sample: &RawSample) -> u32 {
        let cgroup = self.cgroups.path(sample.cgroup);
        let labels = self.labels.get(sample.pid);
        let strings = &mut self.tables.strings;
        let process = Process {
            pid: sample.pid,
            comm: strings.intern(&name_of(&sample.comm)),
            exe: strings.intern(&labels.exe),
            cmdline: strings.intern(&labels.cmdline),
            uid: labels.uid,
            cgroup: strings.intern(cgroup),
            service: strings.intern(&labels.service),
        };
        let pod = self.pods.of(cgroup);
        if !pod.is_empty() {
            let pod = strings.intern(pod);
            self.tables.pods.insert(process.cgroup, pod);
        }
        let refused = self.pods.refused();
        if refused > 0 {
            *self.missed.entry("container configurations not understood").or_default() += refused;
        }
        let process = self.tables.processes.intern(process);
        let name = strings.intern(&name_of(&sample.thread));
        self.tables.threads.intern(Thread { process, tid: sample.tid, name })
    }

    /// The node of a sample's whole stack, which is looked up once.
    fn stack_of(&mut self, sample: &RawSample, process: u32, processes: &mut Processes) -> u32 {
        let state = processes.state_of(process);
        let (user, kernel) = (sample.user_stack, sample.kernel_stack);
        let key = (state, user, kernel, sample.user_status, sample.state);
        if let Some(&stack) = self.resolved.get(&key) {
            return stack;
        }
        let stack = self.resolve(sample, process, processes);
        if self.resolved.len() >= self.resolved_max {
            self.resolved.clear();
        }
        self.resolved.insert(key, stack);
        stack
    }

    /// The node of a sample's whole stack: user frames at the root, kernel frames above.
    fn resolve(&mut self, sample: &RawSample, process: u32, processes: &mut Processes) -> u32 {
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
                    false => {
                        self.user_frame(processes.place(process, address), sample.pid, address)
                    }
                };
                stack = self.tables.stacks.push(stack, frame);
            }
        }
        match WaitState::of(sample.state) {
            Some(state) => self.note(stack, state.note()),
            None => stack,
        }
    }

    /// A stack that waits, with that of who woke it above.
    fn woken(&mut self, stack: u32, sample: &RawSample) -> u32 {
        let mut stack = self.note(stack, "[woken by]");
        let Some(waker) = self.wakers.of(sample).cloned() else {
            *self.missed.entry("wakers whose stack came too late").or_default() += 1;
            return self.note(stack, "[stack lost]");
        };
        stack = self.note(stack, &format!("[{}]", name_of(&waker.thread)));
        let frames: Vec<u32> = self.tables.stacks.frames(waker.stack).collect();
        for frame in frames.into_iter().rev() {
            stack = self.tables.stacks.push(stack, frame);
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
        let binary = self.binary(KERNEL, "");
        let known = self.tables.frames.len();
        let frame = self.tables.frame(Frame { kind: FrameKind::Kernel, binary, address });
        if frame as usize == known {
            self.kernel.push(frame);
        }
        frame
    }

    fn user_frame(&mut self, place: Place, pid: u32, address: u64) -> u32 {
        let (kind, binary, address) = match &place {
            Place::File { image, address } => (FrameKind::User, self.file(image), *address),
            Place::Vdso { offset } => (FrameKind::User, self.binary("[vdso]", ""), *offset),
            Place::Closed { path, offset } => (FrameKind::User, self.binary(path, ""), *offset),
            // JIT code of two processes at one address is not the same code.
            Place::Jit => (FrameKind::Jit, self.binary(&format!("//anon:{pid}"), ""), address),
            Place::Nowhere => (FrameKind::User, self.binary("", ""), address),
        };
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

    fn binary(&mut self, path: &str, build_id: &str) -> u32 {
        let strings = &mut self.tables.strings;
        let (path, build_id) = (strings.intern(path), strings.intern(build_id));
        self.tables.binaries.intern(Binary { path, build_id })
    }

    /// The binary that a file is.
    fn file(&mut self, image: &Arc<Image>) -> u32 {
        self.trim_recent();
        if let Some((_, binary)) = self.recent.binaries.get(&Arc::as_ptr(image)) {
            return *binary;
        }
        let binary = self.binary(image.path(), &hex(image.build_id().unwrap_or_default()));
        self.recent.binaries.insert(Arc::as_ptr(image), (Arc::downgrade(image), binary));
        binary
    }
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
