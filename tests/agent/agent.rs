//! An agent that is started for a test, and what is in its store.

use std::{
    ffi::OsStr,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::workload::{Process, Workshop, run, wait_until};

/// The program; another build of it where the soak test says so.
pub fn rprof() -> Command {
    Command::new(env!("CARGO_BIN_EXE_rprof"))
}

/// A running agent, with a folder of its own.
pub struct Agent {
    process: Process,
    store: PathBuf,
    log: PathBuf,
}

impl Agent {
    /// Starts `rprof agent ARGS...` without a viewer, with windows of a second.
    pub fn start<S: AsRef<OsStr>>(shop: &Workshop, args: impl IntoIterator<Item = S>) -> Self {
        Self::with_windows(shop, "1s", args)
    }

    /// The same with windows of another length.
    pub fn with_windows<S: AsRef<OsStr>>(
        shop: &Workshop,
        window: &str,
        args: impl IntoIterator<Item = S>,
    ) -> Self {
        let mut command = rprof();
        command.args(["agent", "--listen", "none", "--window", window]).args(args);
        Self::run(shop, &mut command)
    }

    /// Runs a command that is an agent but for its store.
    pub fn run(shop: &Workshop, command: &mut Command) -> Self {
        let store = shop.path("store");
        let log = (0..).map(|n| shop.path(&format!("log-{n}"))).find(|log| !log.exists()).unwrap();
        command.arg("--store").arg(&store).stdin(Stdio::null()).stdout(Stdio::null());
        let process = Process::start(command.stderr(File::create(&log).unwrap()));
        Self { process, store, log }
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until it has said `text`.
    pub fn wait_for(&mut self, text: &str) {
        wait_until(&format!("{text:?} in the log of an agent"), || {
            assert!(self.is_alive() || self.log().contains(text), "{}", self.log());
            self.log().contains(text).then_some(())
        });
    }

    /// Waits until it samples, and what is sampled lands on disk.
    pub fn wait_for_samples(&mut self) {
        wait_until("samples in a store", || {
            assert!(self.is_alive(), "{}", self.log());
            let newest = recordings(&self.store).pop()?;
            (report(&newest)?["samples"].as_u64()? > 0).then_some(())
        });
    }

    pub fn is_alive(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap();
        !stat.rsplit(") ").next().unwrap().starts_with('Z')
    }

    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.process.wait()
    }

    /// Ends it as a service manager does; gives what it said.
    pub fn end(mut self) -> String {
        self.signal(Signal::SIGTERM);
        let status = self.wait();
        let log = self.log();
        assert!(status.success(), "{status}: {log}");
        assert!(!log.contains("panicked"), "{log}");
        log
    }

    pub fn store(&self) -> &Path {
        &self.store
    }
}

/// The recordings of a store, the oldest first.
pub fn recordings(store: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(store).into_iter().flatten().map(|file| file.unwrap().path());
    let mut files: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|ending| ending == "rprof")).collect();
    files.sort();
    files
}

/// What `rprof report --json` says of a recording or a store; none if there is nothing to read yet.
pub fn report(path: &Path) -> Option<Value> {
    let output = rprof().args(["report", "--json"]).arg(path).output().unwrap();
    serde_json::from_slice(&output.stdout).ok()
}

/// What a recording holds.
pub struct Recording {
    pub info: Value,
    pub stats: Value,
    stacks: Vec<(Vec<String>, u64, u64)>,
}

impl Recording {
    pub fn read(path: &Path) -> Self {
        let text = run(rprof().args(["export", "-f", "json"]).arg(path));
        Self::parse(&text)
    }

    /// The same while it is written: none before there is anything in it.
    pub fn so_far(path: &Path) -> Option<Self> {
        let output = rprof().args(["export", "-f", "json"]).arg(path).output().unwrap();
        output.status.success().then(|| Self::parse(std::str::from_utf8(&output.stdout).unwrap()))
    }

    fn parse(text: &str) -> Self {
        let mut file: Value = serde_json::from_str(text).unwrap();
        let name = |frame: &Value| file["frames"][frame.as_u64().unwrap() as usize]["name"].clone();
        let stack = |stack: &Value| {
            let names = stack["frames"].as_array().unwrap().iter().map(name);
            let names = names.map(|name| name.as_str().unwrap_or_default().to_owned()).collect();
            (names, stack["samples"].as_u64().unwrap(), stack["value"].as_u64().unwrap())
        };
        let stacks = file["stacks"].as_array().unwrap().iter().map(stack).collect();
        Self { info: file["info"].take(), stats: file["stats"].take(), stacks }
    }

    /// Samples of all stacks.
    pub fn samples(&self) -> u64 {
        self.stacks.iter().map(|(_, samples, _)| samples).sum()
    }

    /// Samples with that function somewhere, and what they stand for, s.
    pub fn with(&self, function: &str) -> (u64, f64) {
        let found = self.stacks.iter().filter(|(names, ..)| names.iter().any(|n| n == function));
        found.fold((0, 0.0), |(count, sum), (_, samples, value)| {
            (count + samples, sum + *value as f64 / 1e9)
        })
    }

    /// Asserts that it holds as many samples as were counted. Where another followed it, a sample at
    /// that very moment may be counted here and kept there.
    pub fn assert_counts(&self) {
        let counted = self.stats["samples"].as_u64().unwrap();
        assert!(self.samples().abs_diff(counted) <= 1, "{} of {counted}", self.samples());
        assert_eq!(self.stats["lost"], 0, "{}", self.stats);
    }

    pub fn duration(&self) -> f64 {
        self.info["duration"].as_u64().unwrap() as f64 / 1e9
    }
}

/// CPU time of a process so far, s.
pub fn cpu_seconds(pid: u32) -> f64 {
    // schedstat: time on the CPU, ns (Documentation/scheduler/sched-stats.rst).
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    text.split(' ').next().unwrap().parse::<u64>().unwrap() as f64 / 1e9
}
