//! What a profile is made of: samples, and the tables that they point into.

use std::sync::Arc;

use indexmap::IndexMap;

use super::{Info, Measure, SourceInfo, Stacks, Stats, Strings, Table, ValueType};

/// An executable file, the kernel or one of its modules, the vdso, or memory that holds JIT code.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Binary {
    /// String: path as its process sees it, or a name in brackets.
    pub path: u32,
    /// String: GNU build id in lower-case hex; empty if it has none.
    pub build_id: u32,
}

/// What kind of code a frame is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum FrameKind {
    /// Code of a file in user space.
    User,
    /// Kernel or module code.
    Kernel,
    /// Code that a runtime made in memory.
    Jit,
    /// No code: a remark of the profiler, such as where a stack was cut. Its line says what.
    Note,
}

/// One place in a program: what a sampled address becomes.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Frame {
    /// What kind of code it is.
    pub kind: FrameKind,
    /// Binary that holds the code.
    pub binary: u32,
    /// Virtual address: of the ELF file for user code, as sampled for kernel and JIT code.
    pub address: u64,
}

/// A function, named once.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Function {
    /// String: demangled name.
    pub name: u32,
    /// String: name in the symbol table; the same as `name` where nothing was demangled.
    pub system_name: u32,
    /// String: path of its source file; empty if not known.
    pub file: u32,
}

/// A function and the source line in it. A frame has several where functions were inlined.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Line {
    /// Function.
    pub function: u32,
    /// Line number; 0 if not known.
    pub line: u32,
    /// Column; 0 if not known.
    pub column: u32,
}

/// A process, with what was known of it while it was sampled. One that changes in any of this
/// becomes another: after an exec, in another cgroup, under another name.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Process {
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// String: command name.
    pub comm: u32,
    /// String: path of the executable, as the process itself sees it; empty if not known.
    pub exe: u32,
    /// String: command line, its words apart by spaces; empty if not known.
    pub cmdline: u32,
    /// Effective user id; [`super::UID_UNKNOWN`] if not known.
    pub uid: u32,
    /// String: path of the cgroup below the cgroup2 mount; empty if not known.
    pub cgroup: u32,
    /// String: the service name that the program publishes; empty if it does not.
    pub service: u32,
}

/// A thread, under the name that it had when sampled.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Thread {
    /// Its process.
    pub process: u32,
    /// Thread id in the initial pid namespace.
    pub tid: u32,
    /// String: its name.
    pub name: u32,
}

/// One sample, or several that are alike once time or CPU was set aside.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sample {
    /// ns since the recording's start; 0 where the view does not tell times apart.
    pub time: u64,
    /// CPU number; 0 where the view does not tell CPUs apart.
    pub cpu: u32,
    /// Thread.
    pub thread: u32,
    /// Stack: user frames at the root, kernel frames at the leaf.
    pub stack: u32,
    /// How many this stands for, of what the source counts: samples, or objects.
    pub count: u64,
    /// Their sum in the unit of the source: ns for `cpu`.
    pub value: u64,
}

/// Memory of a held source that is in use no more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Free {
    /// Time of the free; thread, stack, count and value of the sample of the allocation.
    pub sample: Sample,
    /// Time of the allocation, ns since the recording's start.
    pub born: u64,
}

/// Everything that samples point into.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// Every text.
    pub strings: Strings,
    /// Where code is from.
    pub binaries: Table<Binary>,
    /// Functions.
    pub functions: Table<Function>,
    /// Places in programs.
    pub frames: Table<Frame>,
    /// For each frame its lines, innermost inlined function first; empty where no name is known.
    pub lines: Vec<Box<[Line]>>,
    /// Stacks of frames.
    pub stacks: Stacks,
    /// Processes.
    pub processes: Table<Process>,
    /// Threads.
    pub threads: Table<Thread>,
    /// Of cgroups that are a container of Kubernetes, `NAMESPACE/POD/CONTAINER`: a string by a
    /// string.
    pub pods: IndexMap<u32, u32, foldhash::fast::RandomState>,
}

impl Tables {
    /// The index of `frame`, which is added, without a name, if it is new.
    pub fn frame(&mut self, frame: Frame) -> u32 {
        let index = self.frames.intern(frame);
        if index as usize == self.lines.len() {
            self.lines.push(Box::default());
        }
        index
    }

    /// The lines of a frame; none where no name is known.
    pub fn lines(&self, frame: u32) -> &[Line] {
        self.lines.get(frame as usize).map_or(&[], |lines| lines)
    }

    /// About how many bytes of memory the tables take, of which a recorder begins a new recording
    /// when there are too many.
    pub fn bytes(&self) -> usize {
        let lines: usize = self.lines.iter().map(|lines| size_of_val(&**lines)).sum();
        self.strings.bytes()
            + self.binaries.bytes()
            + self.functions.bytes()
            + self.frames.bytes()
            + lines
            + self.lines.capacity() * size_of::<Box<[Line]>>()
            + self.stacks.bytes()
            + self.processes.bytes()
            + self.threads.bytes()
            + self.pods.capacity() * (2 * size_of::<u32>() + 2 * size_of::<usize>())
    }

    /// The index of a remark frame that reads `text`.
    pub fn note(&mut self, text: &str) -> u32 {
        let name = self.strings.intern(text);
        let frame = self.frame(Frame { kind: FrameKind::Note, binary: 0, address: name.into() });
        let function = self.functions.intern(Function { name, system_name: name, file: 0 });
        self.lines[frame as usize] = [Line { function, line: 0, column: 0 }].into();
        frame
    }
}

/// The samples of one source, ready to be shown.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    /// Where, when and how it was recorded.
    pub info: Info,
    /// The source that the samples are from.
    pub source: SourceInfo,
    /// What was counted while recording.
    pub stats: Stats,
    /// The recording's other sources, by name.
    pub others: Vec<String>,
    /// Which of the source's values the samples have.
    pub measure: Measure,
    /// Of what is in use, only what was taken at least so long before `to`, ns.
    pub older: u64,
    /// Start of the time that is shown, ns since the recording's start.
    pub from: u64,
    /// End of the time that is shown, ns since the recording's start.
    pub to: u64,
    /// What samples point into.
    pub tables: Arc<Tables>,
    /// The samples, in no particular order unless they have times; then by time.
    pub samples: Vec<Sample>,
    /// What is in use at `to`, beside what was taken; empty unless [`super::Detail::both`] is asked
    /// for.
    pub in_use: Vec<Sample>,
    /// What was freed, by time; empty unless [`super::Detail::time`] is asked for.
    pub frees: Vec<Free>,
}

impl Profile {
    /// What the samples' counts are.
    pub fn count_type(&self) -> ValueType {
        let [count, _] = self.measure.types(&self.source);
        count
    }

    /// What the samples' values are.
    pub fn value_type(&self) -> ValueType {
        let [_, value] = self.measure.types(&self.source);
        value
    }

    /// Sum of the samples' counts.
    pub fn count(&self) -> u64 {
        self.samples.iter().map(|sample| sample.count).sum()
    }

    /// Sum of the samples' values, in the unit of the source.
    pub fn value(&self) -> u64 {
        self.samples.iter().map(|sample| sample.value).sum()
    }

    /// Counts the distinct frames without a name among those that the samples refer to.
    pub fn count_unnamed(&mut self) {
        let tables = &self.tables;
        let mut seen = vec![false; tables.stacks.len() + 1];
        let mut used = vec![false; tables.frames.len()];
        for sample in self.samples.iter().chain(&self.in_use) {
            let mut stack = sample.stack;
            while let Some((parent, frame)) = tables.stacks.node(stack) {
                if std::mem::replace(&mut seen[stack as usize], true) || parent >= stack {
                    break;
                }
                if let Some(used) = used.get_mut(frame as usize) {
                    *used = true;
                }
                stack = parent;
            }
        }
        let unnamed = |frame: &usize| used[*frame] && tables.lines(*frame as u32).is_empty();
        self.stats.unsymbolized_frames = (0..used.len()).filter(unnamed).count() as u64;
    }
}
