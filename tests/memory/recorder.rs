//! Recordings of a workload that waits to be told, and what a report says of them.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use libbpf_rs::{MapCore, MapHandle};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::common::workload::{Workshop, run, wait_until};

/// A program that goes on with each line that it is sent.
pub struct Told {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Told {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdin, stdout }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn go_on(&mut self) {
        writeln!(self.stdin.as_mut().unwrap()).unwrap();
    }

    /// Waits until it says that it is done.
    pub fn wait_until_done(&mut self) {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "done\n");
    }

    /// Waits until it prints two numbers.
    pub fn wait_for_numbers(&mut self) -> (f64, f64) {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        let numbers: Vec<f64> = line.split_whitespace().map(|word| word.parse().unwrap()).collect();
        (numbers[0], numbers[1])
    }

    /// Lets it end; it has to do so well.
    pub fn end(mut self) {
        self.stdin = None;
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}

/// `rprof record` at work.
pub struct Recorder {
    child: Child,
    folder: Workshop,
}

impl Recorder {
    pub fn start(words: &[&str]) -> Self {
        let folder = Workshop::new();
        let log = std::fs::File::create(folder.path("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_rprof"))
            .args(["-v", "record", "-o"])
            .arg(folder.path("out"))
            .args(words)
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, folder }
    }

    /// Waits until probes are set in a file whose name ends so.
    pub fn wait_until_probing(&self, file: &str) {
        self.wait_until_probing_in(1, file);
    }

    /// Waits until probes are set in such a file of so many processes.
    pub fn wait_until_probing_in(&self, processes: usize, file: &str) {
        wait_until(&format!("probes in {file}"), || {
            let probing = |line: &&str| line.contains(" probing ") && line.ends_with(file);
            (self.log().lines().filter(probing).count() >= processes).then_some(())
        });
    }

    /// Waits until it records: until the kernel has handed out so many links.
    pub fn wait_for_links(&self, count: usize) {
        let folder = format!("/proc/{}/fd", self.child.id());
        wait_until("links of BPF programs", || {
            let files = std::fs::read_dir(&folder).ok()?.flatten();
            let links = files.filter_map(|file| std::fs::read_link(file.path()).ok());
            let links = links.filter(|link| link.to_string_lossy().contains("bpf_link"));
            (links.count() >= count).then_some(())
        });
    }

    /// Entries of its map of what is held.
    pub fn held(&self) -> usize {
        let folder = format!("/proc/{}/fdinfo", self.child.id());
        let files = std::fs::read_dir(folder).unwrap().flatten();
        let texts = files.filter_map(|file| std::fs::read_to_string(file.path()).ok());
        let id = |text: String| {
            text.lines().find_map(|line| line.strip_prefix("map_id:\t")?.parse().ok())
        };
        let mut maps = texts.filter_map(id).filter_map(|id| MapHandle::from_map_id(id).ok());
        let held = maps.find(|map| map.name() == "held").unwrap();
        held.keys().count()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path("log")).unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Waits until it has ended by itself.
    pub fn wait(mut self) -> Recorded {
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.log());
        Recorded { file: self.folder.path("out"), _folder: self.folder }
    }

    /// Waits until it has ended by itself; none if it had nothing to record, or nobody: processes
    /// that were named may have ended meanwhile.
    pub fn wait_for_any(mut self) -> Option<Recorded> {
        let status = self.child.wait().unwrap();
        let empty = ["no samples", "no process"].iter().any(|what| self.log().contains(what));
        assert!(status.success() || empty, "{status}: {}", self.log());
        (!empty).then(|| Recorded { file: self.folder.path("out"), _folder: self.folder })
    }

    /// Ends it, as Ctrl-C does.
    pub fn end(self) -> Recorded {
        self.signal(Signal::SIGINT);
        self.wait()
    }
}

/// Records a command that goes on when it is told to, to its end; gives what rprof said, too.
pub fn record_command(words: &[&str], program: &Path) -> (Recorded, String) {
    let folder = Workshop::new();
    let (file, log) = (folder.path("out"), folder.path("log"));
    let mut rprof = Command::new(env!("CARGO_BIN_EXE_rprof"));
    rprof.args(["-v", "record", "-s", "heap", "-o"]).arg(&file).args(words).arg("--");
    let stderr = std::fs::File::create(&log).unwrap();
    let mut command = Told::start(rprof.arg(program).arg("10").stderr(stderr));
    command.go_on();
    command.wait_until_done();
    command.end();
    let said = std::fs::read_to_string(&log).unwrap();
    (Recorded { file, _folder: folder }, said)
}

/// A recording.
pub struct Recorded {
    file: PathBuf,
    _folder: Workshop,
}

impl Recorded {
    pub fn report(&self, view: &[&str]) -> Report {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rprof"));
        let text =
            run(command.args(["report", "--json", "--limit", "500"]).args(view).arg(&self.file));
        Report(serde_json::from_str(&text).unwrap())
    }

    /// All stacks, a line each, and their values.
    pub fn folded(&self, view: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rprof"));
        run(command.args(["export", "-f", "folded"]).args(view).arg(&self.file))
    }

    /// Bytes in use at the end; none where there is nothing to report.
    pub fn held(&self) -> f64 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rprof"));
        let output = command.args(["report", "--json"]).arg(&self.file).output().unwrap();
        let report: Option<Value> = serde_json::from_slice(&output.stdout).ok();
        report.map_or(0.0, |report| report["value"].as_f64().unwrap())
    }

    /// What a report says that has nothing to show.
    pub fn refuses(&self, view: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rprof"));
        let output = command.arg("report").args(view).arg(&self.file).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

/// What `rprof report` says.
pub struct Report(pub Value);

impl Report {
    /// Objects and bytes below a function; none if it is not there.
    pub fn of(&self, function: &str) -> (f64, f64) {
        let all = self.0["functions"].as_array().unwrap();
        let row = all.iter().find(|row| row["name"] == function);
        row.map_or((0.0, 0.0), |row| {
            (row["total"].as_f64().unwrap(), row["total_value"].as_f64().unwrap())
        })
    }

    pub fn bytes(&self) -> f64 {
        self.0["value"].as_f64().unwrap()
    }

    /// All stacks are whole, and nothing was lost.
    pub fn assert_whole(&self) {
        self.assert_complete(0.99);
    }

    /// Nothing was lost, and at least this share of the stacks is whole.
    pub fn assert_complete(&self, share: f64) {
        assert_eq!(self.0["lost"], 0, "{}", self.0);
        assert_eq!(self.0["missed"].as_object().map(serde_json::Map::len), Some(0), "{}", self.0);
        assert!(self.0["complete"].as_f64().unwrap() > share, "{}", self.0);
    }
}
