//! Recordings of programs at work, and how many of their stacks reach the root.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fmt::Write as _,
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::workload::need;
pub use crate::workload::{require_root, run, wait_until};

/// Standard deviations that luck is allowed: it needs more once in a million times.
const SIGMAS: f64 = 5.0;

/// The path of a program, if the machine has it; `package` is Debian's that it comes from.
pub fn require(program: &str, package: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    // Debian's own first: what stands before it in PATH may be a script that picks a version.
    let own = Path::new("/usr/bin").join(program);
    let mut found = std::iter::once(own)
        .chain(std::env::split_paths(&paths).map(|folder| folder.join(program)))
        .filter(|path| path.is_file());
    let found = found.next();
    need(&format!("{program}: apt-get install {package}"), found.is_some());
    found
}

/// A folder of a test's own, which is gone when the test ends.
pub struct Workshop(TempDir);

impl Workshop {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Compiles `tests/workloads/SOURCE` into `output`.
    pub fn compile(&self, compiler: &[&str], source: &str, output: &str) -> PathBuf {
        let path = self.path(output);
        let mut command = Command::new(compiler[0]);
        run(command.args(&compiler[1..]).arg("-o").arg(&path).arg(workload(source)));
        path
    }

    /// Compiles `stacks.c` as distributions do, without frame pointers, and with `flags`.
    pub fn stacks(&self, flags: &[&str]) -> PathBuf {
        let compiler = [&["cc", "-O2", "-fomit-frame-pointer", "-pthread"], flags].concat();
        self.compile(&compiler, "stacks.c", "stacks")
    }
}

/// The path of a file in `tests/workloads`.
pub fn workload(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/workloads").join(file)
}

/// A process, and what it starts, that do not outlive their test: a process group of their own.
pub struct Process(Child);

impl Process {
    pub fn start(command: &mut Command) -> Self {
        let child = command.process_group(0).spawn();
        Self(child.unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    pub fn wait(&mut self) -> ExitStatus {
        wait_until("the end of a process", || self.0.try_wait().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            // As nobody has waited for it, the number is still its own.
            let _ = killpg(Pid::from_raw(self.0.id() as i32), Signal::SIGKILL);
            let _ = self.0.wait();
        }
    }
}

/// A recording being made.
pub struct Recorder {
    process: Process,
    folder: TempDir,
    start: Instant,
    /// What was before is left out.
    from: Duration,
}

impl Recorder {
    /// Starts `rprof record -F HZ ARGS...`; what a command prints goes nowhere.
    pub fn start<S: AsRef<OsStr>>(hz: u32, args: impl IntoIterator<Item = S>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = rprof();
        command.args(["record", "-F", &hz.to_string(), "-o"]).arg(folder.path().join(FILE));
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(fs::File::create(folder.path().join("stderr")).unwrap());
        let process = Process::start(&mut command);
        Self { process, folder, start: Instant::now(), from: Duration::ZERO }
    }

    /// Ends the recording as Ctrl-C does.
    pub fn interrupt(self) -> Recording {
        kill(Pid::from_raw(self.process.id() as i32), Signal::SIGINT).unwrap();
        self.end()
    }

    /// How many samples there are by now, and how many of them came before their tables.
    fn so_far(&self) -> Option<(u64, u64)> {
        let mut report = rprof();
        let report = report.args(["report", "--json"]).arg(self.folder.path().join(FILE));
        let output = report.output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).ok()?;
        let early = report["unwind_failed"]["tables not loaded"].as_u64().unwrap_or_default();
        Some((report["samples"].as_u64()?, early))
    }

    /// Waits until there are samples in the recording.
    pub fn wait_for_samples(&self) {
        wait_until("samples in a recording being made", || self.so_far());
    }

    /// Waits until no more stacks come before their tables, and leaves out all until then: to build
    /// those of a compiler or a Java machine for the first time takes seconds where rprof itself is
    /// not optimized, in which more stacks wait than there is room for.
    pub fn wait_for_tables(&mut self) {
        let mut quiet = 0;
        let mut last = (0, u64::MAX);
        wait_until("unwind tables", || {
            thread::sleep(Duration::from_millis(500));
            let now = self.so_far()?;
            // A recording grows once a second.
            quiet = if now.1 == last.1 { quiet + u32::from(now.0 > last.0) } else { 0 };
            last = now;
            (quiet == 3).then_some(())
        });
        self.leave_out();
    }

    /// Leaves out all until now.
    pub fn leave_out(&mut self) {
        self.from = self.start.elapsed();
    }

    /// Waits until the recording ends by itself.
    pub fn end(mut self) -> Recording {
        let status = self.process.wait();
        let errors = fs::read_to_string(self.folder.path().join("stderr")).unwrap();
        assert!(status.success(), "{errors}");
        let file = self.folder.path().join(FILE);
        // rprof takes no time of nothing.
        let from = format!("{}ms", self.from.as_millis().max(1));
        let folded = run(rprof().args(["export", "-f", "folded", "--from", &from]).arg(&file));
        let report = run(rprof().args(["report", "--json"]).arg(&file));
        let report: Value = serde_json::from_str(&report).unwrap();
        let complete = report["complete"].as_f64().unwrap();
        Recording { stacks: folded.lines().map(Stack::parse).collect(), complete }
    }
}

const FILE: &str = "rprof.data";

fn rprof() -> Command {
    Command::new(env!("CARGO_BIN_EXE_rprof"))
}

/// Records a command from its start to its end.
pub fn record<S: AsRef<OsStr>>(hz: u32, command: impl IntoIterator<Item = S>) -> Recording {
    let mut args: Vec<OsString> = vec!["--".into()];
    args.extend(command.into_iter().map(|word| word.as_ref().to_owned()));
    Recorder::start(hz, args).end()
}

/// One stack, with frames from the root to the leaf.
#[derive(Clone, Debug)]
pub struct Stack {
    /// The command's name.
    pub command: String,
    /// Why it does not begin at its root, where it does not.
    pub failed: Option<String>,
    /// Functions of user space.
    pub user: Vec<String>,
    pub samples: u64,
}

impl Stack {
    fn parse(line: &str) -> Self {
        let (stack, samples) = line.rsplit_once(' ').unwrap();
        let mut frames = stack.split(';');
        let command = frames.next().unwrap_or_default().to_owned();
        let mut failed = None;
        let mut user = Vec::new();
        for frame in frames.filter(|frame| !frame.ends_with("_[k]")) {
            let frame = frame.trim_end_matches("_[i]").trim_end_matches("_[j]");
            match frame {
                "[truncated]" | "[stack lost]" => failed = Some(frame.to_owned()),
                frame if frame.starts_with("[incomplete") => failed = Some(frame.to_owned()),
                frame => user.push(frame.to_owned()),
            }
        }
        Self { command, failed, user, samples: samples.parse().unwrap() }
    }

    /// True if that function is somewhere in it.
    pub fn has(&self, name: &str) -> bool {
        self.user.iter().any(|frame| frame == name)
    }

    /// True if those functions are in it, in that order, the last at its end and the others with
    /// any frames between.
    pub fn leads(&self, chain: &[&str]) -> bool {
        let mut frames = self.user.iter();
        let all = chain.iter().all(|name| frames.any(|frame| frame == name));
        all && self.user.last().is_some_and(|leaf| chain.last() == Some(&leaf.as_str()))
    }
}

/// A recording that has ended.
#[derive(Clone, Debug)]
pub struct Recording {
    pub stacks: Vec<Stack>,
    /// The share of complete stacks in all of it, as the report says.
    pub complete: f64,
}

impl Recording {
    /// What there is of the processes or threads of that name.
    pub fn of(&self, command: &str) -> Self {
        self.clone().only(|stack| stack.command == command)
    }

    /// Only what `keep` says of it.
    pub fn only(mut self, keep: impl Fn(&Stack) -> bool) -> Self {
        self.stacks.retain(keep);
        self
    }

    /// Samples of the stacks that are so.
    pub fn count(&self, is: impl Fn(&Stack) -> bool) -> u64 {
        self.stacks.iter().filter(|stack| is(stack)).map(|stack| stack.samples).sum()
    }

    /// Asserts that there are samples, and that a `share` of the stacks, less what luck takes,
    /// reach their roots. Says how many did.
    pub fn assert_whole(&self, what: &str, share: f64) {
        let whole = self.count(|_| true);
        let broken = self.count(|stack| stack.failed.is_some());
        let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
        for stack in &self.stacks {
            if let Some(failed) = &stack.failed {
                *reasons.entry(failed).or_default() += stack.samples;
            }
        }
        let percent = 100.0 * (whole - broken) as f64 / whole.max(1) as f64;
        eprintln!("{what}: {whole} samples, {percent:.2} % complete {reasons:?}");
        let mean = whole as f64 * (1.0 - share);
        let most = mean + SIGMAS * mean.sqrt() + 1.0;
        assert!(whole >= 20, "{what}: only {whole} samples: {:?}", self.stacks);
        assert!(
            broken as f64 <= most,
            "{what}: more than {most:.0} are broken:\n{}",
            self.broken()
        );
    }

    /// Asserts that all stacks that end in the last function of `chain` lead through all of it,
    /// but for a share of `apart`, and that there are some.
    pub fn assert_chain(&self, chain: &[&str], apart: f64) {
        let leaf = chain.last().unwrap();
        let ends = |stack: &Stack| stack.user.last().is_some_and(|frame| frame == leaf);
        let (all, right) = (self.count(ends), self.count(|stack| stack.leads(chain)));
        let mean = all as f64 * apart;
        let most = mean + SIGMAS * mean.sqrt() + 1.0;
        let wrong = self.stacks.iter().find(|stack| ends(stack) && !stack.leads(chain));
        assert!(all >= 20, "only {all} samples in {leaf}: {:#?}", self.stacks);
        assert!(
            (all - right) as f64 <= most,
            "{} of {all} not by {chain:?}: {wrong:#?}",
            all - right
        );
    }

    fn broken(&self) -> String {
        let mut text = String::new();
        for stack in self.stacks.iter().filter(|stack| stack.failed.is_some()).take(20) {
            let _ = writeln!(text, "{stack:?}"); // writing to a String does not fail
        }
        text
    }
}
