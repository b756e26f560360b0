//! A made-up agent that remembers what it wrote, and what a store should say of it.

use std::{collections::BTreeMap, ops::Range, path::Path, time::Duration};

use rprof::{
    model::{
        Binary, EMPTY_STACK, Frame, FrameKind, Free, Function, Info, Label, Line, Process, Sample,
        SourceInfo, Stats, Tables, Thread, ValueType,
    },
    store::{Entry, Folder, Limits, SourceState, Store, Writer},
};

pub const S: u64 = 1_000_000_000;
/// 2026-11-20T22:50:00Z: ten minutes before an hour, 70 before a day.
pub const START: u64 = 1_795_215_000 * S;
/// Samples are so far apart that rounding a time never makes it another's, ns.
pub const GRID: u64 = S / 100;
pub const LIMITS: Limits = Limits { keep: Duration::from_secs(365 * 86400), max_bytes: 1 << 40 };

/// One sample, by what it is rather than by number.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Taken {
    /// In units of [`GRID`] since the Unix epoch.
    pub time: u64,
    pub cpu: u32,
    /// Of process `thread / 3`.
    pub thread: u32,
    /// Of functions `stack / 8` and `stack`, one called by the other.
    pub stack: u32,
    pub count: u64,
    pub value: u64,
}

/// Count and value by thread and stack, both as texts.
pub type Sums = BTreeMap<(String, String), (u64, u64)>;

impl Taken {
    pub fn key(&self) -> (String, String) {
        let process = self.thread / 3;
        let stack = format!("function {};function {}", self.stack, self.stack / 8);
        (format!("process {process}: thread {} ({})", self.thread, 1000 + self.thread), stack)
    }
}

/// What samples add up to.
pub fn sums<'a>(samples: impl IntoIterator<Item = &'a Taken>) -> Sums {
    let mut sums = Sums::new();
    for sample in samples {
        let sum = sums.entry(sample.key()).or_default();
        *sum = (sum.0 + sample.count, sum.1 + sample.value);
    }
    sums
}

/// What a store says that samples add up to.
pub fn sums_of(store: &mut Store, time: &Range<u64>) -> Sums {
    let entries = store.sums("cpu", time);
    by_name(store, entries)
}

/// Entries by what they are.
pub fn by_name(store: &Store, entries: Vec<Entry>) -> Sums {
    let mut sums = Sums::new();
    for Entry { thread, stack, count, value } in entries {
        let sum = sums.entry(key(store.tables(), thread, stack)).or_default();
        *sum = (sum.0 + count, sum.1 + value);
    }
    sums
}

/// As [`Taken::key`], of what was read.
pub fn key(tables: &Tables, thread: u32, stack: u32) -> (String, String) {
    let comm = tables.label(Label::Comm, thread);
    let names: Vec<String> = tables.stack_names(stack).map(|name| name.text.into_owned()).collect();
    (format!("{comm}: {}", tables.label(Label::Thread, thread)), names.join(";"))
}

/// One recording being written to a folder.
pub struct Agent {
    writer: Option<Writer>,
    info: Info,
    source: SourceInfo,
    stats: Stats,
    tables: Tables,
    named: usize,
}

impl Agent {
    pub fn begin(folder: &Folder, start: u64) -> Self {
        let value = ValueType::new("cpu", "nanoseconds");
        Self {
            writer: Some(folder.begin(start).unwrap()),
            info: Info { start, host: "made-up".into(), ..Info::default() },
            source: SourceInfo {
                name: "cpu".into(),
                frequency: 19,
                period: S / 19,
                value,
                ..SourceInfo::default()
            },
            stats: Stats::default(),
            tables: Tables::default(),
            named: 0,
        }
    }

    /// One that records memory.
    pub fn of_heap(folder: &Folder, start: u64) -> Self {
        let source = SourceInfo {
            name: "heap".into(),
            event: "malloc".into(),
            period: 512 << 10,
            count: ValueType::new("alloc_objects", "count"),
            value: ValueType::new("alloc_space", "bytes"),
            held: true,
            ..SourceInfo::default()
        };
        Self { source, ..Self::begin(folder, start) }
    }

    /// Writes samples at a time, ns since the Unix epoch.
    pub fn commit(&mut self, at: u64, taken: &[Taken]) -> anyhow::Result<()> {
        self.commit_held(at, taken, &[])
    }

    /// The same, and what was freed: as it was taken, and when it was freed in units of [`GRID`].
    pub fn commit_held(
        &mut self,
        at: u64,
        taken: &[Taken],
        freed: &[(Taken, u64)],
    ) -> anyhow::Result<()> {
        self.write(at, taken, freed, false)
    }

    pub fn finish(mut self, at: u64) {
        self.write(at, &[], &[], true).unwrap();
        self.writer.take().unwrap().finish().unwrap();
    }

    fn write(
        &mut self,
        at: u64,
        taken: &[Taken],
        freed: &[(Taken, u64)],
        complete: bool,
    ) -> anyhow::Result<()> {
        let mut samples: Vec<Sample> = taken.iter().map(|taken| self.sample(taken)).collect();
        let mut frees: Vec<Free> = (freed.iter())
            .map(|(taken, freed)| {
                let sample = self.sample(taken);
                let time = freed * GRID - self.info.start;
                Free { sample: Sample { time, ..sample }, born: sample.time }
            })
            .collect();
        self.stats.samples += taken.len() as u64;
        (self.info.duration, self.info.complete) = (at - self.info.start, complete);
        let named: Vec<u32> = (self.named as u32..self.tables.frames.len() as u32).collect();
        self.named = self.tables.frames.len();
        let state = SourceState {
            info: &self.source,
            stats: &self.stats,
            samples: &mut samples,
            frees: &mut frees,
        };
        self.writer.as_mut().unwrap().commit(&self.info, &mut [state], &self.tables, &named)
    }

    fn sample(&mut self, taken: &Taken) -> Sample {
        let strings = &mut self.tables.strings;
        let number = taken.thread / 3;
        let process = Process {
            pid: 100 + number,
            comm: strings.intern(&format!("process {number}")),
            exe: strings.intern(&format!("/usr/bin/{number}")),
            cmdline: 0,
            uid: number,
            cgroup: strings.intern(&format!("/system.slice/unit-{number}.service")),
            service: 0,
        };
        let name = strings.intern(&format!("thread {}", taken.thread));
        let process = self.tables.processes.intern(process);
        let tid = 1000 + taken.thread;
        let thread = self.tables.threads.intern(Thread { process, tid, name });
        let caller = self.frame(taken.stack / 8);
        let leaf = self.frame(taken.stack);
        let stack = self.tables.stacks.push(EMPTY_STACK, caller);
        let stack = self.tables.stacks.push(stack, leaf);
        let time = taken.time * GRID - self.info.start;
        Sample { time, cpu: taken.cpu, thread, stack, count: taken.count, value: taken.value }
    }

    fn frame(&mut self, function: u32) -> u32 {
        let strings = &mut self.tables.strings;
        let name = strings.intern(&format!("function {function}"));
        let mangled = strings.intern(&format!("_ZN{function}E"));
        // The kernel is elsewhere after each boot: here, in each recording.
        let (kind, path, address) = match function % 5 {
            0 => (
                FrameKind::Kernel,
                "[kernel.kallsyms]",
                (u64::from(function) << 20) + self.info.start % 7,
            ),
            _ => (FrameKind::User, "/usr/bin/program", u64::from(function) * 64),
        };
        let binary = Binary { path: strings.intern(path), build_id: 0 };
        let binary = self.tables.binaries.intern(binary);
        let frame = self.tables.frame(Frame { kind, binary, address });
        let function = Function { name, system_name: mangled, file: 0 };
        let function = self.tables.functions.intern(function);
        self.tables.lines[frame as usize] = [Line { function, line: 1, column: 0 }].into();
        frame
    }
}

pub fn folder(path: &Path) -> Folder {
    Folder::open(path, LIMITS, None).unwrap()
}

/// xorshift64*: the same numbers in every run.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }

    /// A sample at a time, ns since the Unix epoch.
    pub fn sample(&mut self, at: u64) -> Taken {
        let (low, high) = (self.below(40), self.below(40));
        Taken {
            time: at / GRID,
            cpu: self.below(3) as u32,
            thread: self.below(9) as u32,
            stack: (low * high) as u32,
            count: 1,
            value: S / 19 * (1 + self.below(2)),
        }
    }
}
