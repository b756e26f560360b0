//! `rprof record` at work, and what it recorded, as the outputs tell it.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::common::workload::{Process, Workshop, run, wait_until};

/// Samples a second where a test needs many.
pub const FAST: u32 = 999;

/// `rprof` with that file where it writes or reads.
fn rprof() -> Command {
    Command::new(env!("CARGO_BIN_EXE_rprof"))
}

/// A recording being made.
pub struct Recorder {
    process: Process,
    folder: Workshop,
}

impl Recorder {
    /// Starts `rprof record -o FILE ARGS...`.
    pub fn start<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Self {
        Self::start_by(rprof(), args)
    }

    /// The same by a command that runs `rprof` with the words that it is given.
    pub fn start_by<S: AsRef<OsStr>>(
        mut command: Command,
        args: impl IntoIterator<Item = S>,
    ) -> Self {
        let folder = Workshop::new();
        let output = |name| File::create(folder.path(name)).unwrap();
        command.args(["record", "-o"]).arg(folder.path(FILE)).args(args);
        command.stdin(Stdio::piped()).stdout(output("stdout")).stderr(output("stderr"));
        Self { process: Process::start(&mut command), folder }
    }

    /// Starts a recording of one process, fast.
    pub fn of(pid: u32) -> Self {
        Self::start(["-F", &FAST.to_string(), "-p", &pid.to_string()])
    }

    /// The process of `rprof record` itself.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Where the recording will be.
    pub fn file(&self) -> PathBuf {
        self.folder.path(FILE)
    }

    /// Waits until there are samples on disk; so it also waits until sampling is on.
    pub fn wait_for_samples(&self) {
        wait_until("samples in a recording being made", || {
            let report = rprof().args(["report", "--json"]).arg(self.file()).output().unwrap();
            report.status.success().then_some(())
        });
    }

    /// Waits until sampling is on, where the target may have nothing to show yet: until the kernel
    /// has handed out a BPF link for each CPU.
    pub fn wait_until_sampling(&self) {
        let folder = format!("/proc/{}/fd", self.process.id());
        let cpus = std::thread::available_parallelism().unwrap().get();
        wait_until("sampling", || {
            let files = fs::read_dir(&folder).ok()?.flatten();
            let links = files.filter_map(|file| fs::read_link(file.path()).ok());
            let links = links.filter(|link| link.as_os_str() == "anon_inode:bpf_link");
            (links.count() >= cpus).then_some(())
        });
    }

    /// What the recording being made shows by now.
    pub fn so_far(&self, view: &[&str]) -> Shown {
        Shown::parse(&run(rprof().args(["export", "-f", "json"]).args(view).arg(self.file())))
    }

    /// Waits until the recorded command has printed `text`; returns all that it printed.
    pub fn wait_for_output(&self, text: &str) -> String {
        wait_until(text, || {
            let printed = fs::read_to_string(self.folder.path("stdout")).unwrap();
            printed.contains(text).then_some(printed)
        })
    }

    /// Waits until the recording ends by itself.
    pub fn end(mut self) -> Recording {
        let status = self.process.wait();
        Recording { status, folder: self.folder }
    }

    /// Ends the recording as Ctrl-C does.
    pub fn interrupt(self) -> Recording {
        self.process.signal(Signal::SIGINT);
        let recording = self.end();
        assert!(recording.status.success(), "{}", recording.errors());
        recording
    }
}

const FILE: &str = "rprof.data";

/// Records a command from its start to its end, fast.
pub fn record<S: AsRef<OsStr>>(command: impl IntoIterator<Item = S>) -> Recording {
    record_with(&[], command)
}

/// The same with more words for rprof.
pub fn record_with<S: AsRef<OsStr>>(
    args: &[&str],
    command: impl IntoIterator<Item = S>,
) -> Recording {
    let mut words: Vec<OsString> = vec!["-F".into(), FAST.to_string().into()];
    words.extend(args.iter().map(Into::into));
    words.push("--".into());
    words.extend(command.into_iter().map(|word| word.as_ref().to_owned()));
    let recording = Recorder::start(words).end();
    assert!(recording.status.success(), "{}", recording.errors());
    recording
}

/// A recording that has ended.
pub struct Recording {
    /// How `rprof record` ended.
    pub status: ExitStatus,
    folder: Workshop,
}

impl Recording {
    pub fn file(&self) -> PathBuf {
        self.folder.path(FILE)
    }

    /// What `rprof record` said.
    pub fn errors(&self) -> String {
        fs::read_to_string(self.folder.path("stderr")).unwrap()
    }

    /// What the recorded command said.
    pub fn printed(&self) -> String {
        fs::read_to_string(self.folder.path("stdout")).unwrap()
    }

    /// What `rprof report --json` says.
    pub fn report(&self) -> Value {
        let text = run(rprof().args(["report", "--json"]).arg(self.file()));
        serde_json::from_str(&text).unwrap()
    }

    /// What `rprof export` writes as text in `format`.
    pub fn export(&self, format: &str, view: &[&str]) -> String {
        run(rprof().args(["export", "-f", format]).args(view).arg(self.file()))
    }

    /// What `rprof export -f pprof` writes, decoded.
    pub fn pprof(&self) -> pprof::protos::Profile {
        use pprof::protos::Message;
        use std::io::Read;
        let output = rprof().args(["export", "-f", "pprof"]).arg(self.file()).output().unwrap();
        assert!(output.status.success());
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(&output.stdout[..]).read_to_end(&mut bytes).unwrap();
        pprof::protos::Profile::decode(&bytes[..]).unwrap()
    }

    /// All of it.
    pub fn shown(&self) -> Shown {
        self.view(&[])
    }

    /// What those words of a view show.
    pub fn view(&self, view: &[&str]) -> Shown {
        Shown::parse(&self.export("json", view))
    }
}

/// What a view of a recording shows.
pub struct Shown {
    pub info: Value,
    pub stats: Value,
    /// Every frame, each once.
    pub frames: Vec<Frame>,
    pub stacks: Vec<Stack>,
}

/// Samples of one stack.
#[derive(Debug)]
pub struct Stack {
    /// Command name, or what it is grouped by.
    pub root: String,
    /// Root first, leaf last.
    pub frames: Vec<Frame>,
    pub samples: u64,
}

/// One function of a stack.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    pub name: String,
    pub kind: String,
    pub file: String,
    pub line: u64,
    pub binary: String,
}

impl Shown {
    fn parse(text: &str) -> Self {
        let mut file: Value = serde_json::from_str(text).unwrap();
        let frames: Vec<Frame> =
            file["frames"].as_array().unwrap().iter().map(Frame::parse).collect();
        let stack = |stack: &Value| Stack {
            root: stack["root"].as_str().unwrap().into(),
            frames: (stack["frames"].as_array().unwrap().iter().rev())
                .map(|index| frames[index.as_u64().unwrap() as usize].clone())
                .collect(),
            samples: stack["samples"].as_u64().unwrap(),
        };
        let stacks = file["stacks"].as_array().unwrap().iter().map(stack).collect();
        Self { info: file["info"].take(), stats: file["stats"].take(), frames, stacks }
    }

    /// Samples.
    pub fn total(&self) -> u64 {
        self.count(|_| true)
    }

    /// Samples of the stacks that are so.
    pub fn count(&self, is: impl Fn(&Stack) -> bool) -> u64 {
        self.stacks.iter().filter(|stack| is(stack)).map(|stack| stack.samples).sum()
    }

    /// Samples with that function somewhere.
    pub fn with(&self, name: &str) -> u64 {
        self.count(|stack| stack.has(name))
    }

    /// Samples in that function's own code.
    pub fn own(&self, name: &str) -> u64 {
        self.count(|stack| stack.is_in(name))
    }

    /// Samples under that root.
    pub fn under(&self, root: &str) -> u64 {
        self.count(|stack| stack.root == root)
    }

    /// Every root, once.
    pub fn roots(&self) -> Vec<&str> {
        let mut roots: Vec<&str> = self.stacks.iter().map(|stack| &*stack.root).collect();
        roots.sort_unstable();
        roots.dedup();
        roots
    }
}

impl Frame {
    fn parse(frame: &Value) -> Self {
        let text = |key| frame[key].as_str().unwrap_or_default().to_owned();
        Self {
            name: text("name"),
            kind: text("kind"),
            file: text("file"),
            line: frame["line"].as_u64().unwrap_or_default(),
            binary: text("binary"),
        }
    }
}

impl Stack {
    /// True if that function is somewhere in it.
    pub fn has(&self, name: &str) -> bool {
        self.frames.iter().any(|frame| frame.name == name)
    }

    /// True if the sample hit that function's own code, not what it called and not the kernel.
    pub fn is_in(&self, name: &str) -> bool {
        self.frames.last().is_some_and(|frame| frame.name == name)
    }

    /// True if it ends in these functions, the leaf last.
    pub fn ends_in(&self, names: &[&str]) -> bool {
        let all: Vec<&str> = self.frames.iter().map(|frame| &*frame.name).collect();
        all.ends_with(names)
    }

    /// True if the sample was taken in the kernel.
    pub fn in_kernel(&self) -> bool {
        self.frames.last().is_some_and(|frame| frame.kind == "kernel")
    }

    /// The last frame that is not the kernel's.
    pub fn user_leaf(&self) -> Option<&Frame> {
        self.frames.iter().rev().find(|frame| frame.kind != "kernel")
    }
}
