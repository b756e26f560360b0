//! `rprof latency` being run, and the programs that it watches.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::common::workload::{DEADLINE, Process, Workshop, wait_until};

/// `rprof latency NAME --json` at work.
pub struct Gauge {
    process: Process,
    folder: Workshop,
}

impl Gauge {
    /// Starts it, and waits until that many programs are attached.
    pub fn start<S: AsRef<OsStr>>(
        name: &str,
        programs: usize,
        args: impl IntoIterator<Item = S>,
    ) -> Self {
        let folder = Workshop::new();
        let output = |name| File::create(folder.path(name)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_rprof"));
        command.args(["latency", name, "--json"]).args(args).stdin(Stdio::null());
        command.stdout(output("stdout")).stderr(output("stderr"));
        let mut gauge = Self { process: Process::start(&mut command), folder };
        wait_until("attached programs", || {
            assert!(!gauge.has_ended(), "{}", gauge.errors());
            (gauge.attached() >= programs).then_some(())
        });
        gauge
    }

    /// Programs that are attached.
    pub fn attached(&self) -> usize {
        let files = fs::read_dir(format!("/proc/{}/fd", self.process.id()));
        let links = files.into_iter().flatten().flatten();
        let links = links.filter_map(|file| fs::read_link(file.path()).ok());
        links.filter(|link| link.as_os_str() == "anon_inode:bpf_link").count()
    }

    fn has_ended(&mut self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        stat.rsplit(") ").next().unwrap().starts_with('Z')
    }

    /// What it has said so far on standard error.
    pub fn errors(&self) -> String {
        fs::read_to_string(self.folder.path("stderr")).unwrap()
    }

    /// Every object that it has printed so far.
    pub fn printed(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.path("stdout")).unwrap();
        let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        lines.map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Ends it as Ctrl-C does; returns every object that it printed.
    pub fn end(mut self) -> Vec<Value> {
        self.process.signal(Signal::SIGINT);
        let status = self.process.wait();
        assert!(status.success(), "{}", self.errors());
        self.printed()
    }

    /// The same where it prints one interval.
    pub fn interval(self) -> Interval {
        let mut printed = self.end();
        printed.retain(|object| object["series"].is_array());
        assert_eq!(printed.len(), 1, "{printed:?}");
        Interval(printed.remove(0))
    }
}

/// What was measured in an interval.
pub struct Interval(pub Value);

impl Interval {
    pub fn series(&self) -> Vec<&Value> {
        for series in self.0["series"].as_array().unwrap() {
            check(series);
        }
        self.0["series"].as_array().unwrap().iter().collect()
    }

    /// The histogram with that label, if there is one.
    pub fn find(&self, key: &str, value: &str) -> Option<&Value> {
        self.series().into_iter().find(|series| series["labels"][key] == value)
    }

    /// All of that number added up.
    pub fn total(&self, field: &str) -> u64 {
        self.series().into_iter().map(|series| number(series, field)).sum()
    }
}

/// A number of a histogram.
pub fn number(series: &Value, field: &str) -> u64 {
    series[field].as_u64().unwrap()
}

/// What holds of every histogram.
fn check(series: &Value) {
    let buckets = series["buckets"].as_array().unwrap();
    let sum_of = |field: &str| {
        let products = buckets.iter().map(|b| number(b, "count") * number(b, field));
        products.sum::<u64>()
    };
    let counts: u64 = buckets.iter().map(|bucket| number(bucket, "count")).sum();
    assert_eq!(counts, number(series, "count"), "{series}");
    let sum = number(series, "sum");
    assert!(sum_of("from") <= sum && sum <= sum_of("to"), "{series}");
    let quantiles: Vec<u64> =
        ["p50", "p90", "p99", "p99.9", "max"].iter().map(|q| number(series, q)).collect();
    assert!(quantiles.is_sorted(), "{series}");
    let last = buckets.last().unwrap();
    assert!((number(last, "from")..number(last, "to")).contains(&quantiles[4]), "{series}");
}

/// A program that does as it is told, a line at a time.
pub struct Worker {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Worker {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, input, output }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Has it do something, and waits until it has; returns what it says.
    pub fn work(&mut self, line: &str) -> String {
        writeln!(self.input, "{line}").unwrap();
        self.listen()
    }

    /// Waits for it to say something. What takes too long is killed, and fails.
    pub fn listen(&mut self) -> String {
        let (done, watch) = mpsc::channel::<()>();
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        let watchdog = thread::spawn(move || {
            if watch.recv_timeout(DEADLINE) == Err(mpsc::RecvTimeoutError::Timeout) {
                let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
            }
        });
        let mut said = String::new();
        self.output.read_line(&mut said).unwrap();
        drop(done);
        watchdog.join().unwrap();
        assert!(said.ends_with('\n'), "the workload ended: {:?}", self.child.try_wait());
        said.trim_end().to_owned()
    }

    /// Waits until all of its threads wait for something.
    pub fn settle(&self) {
        wait_until("a process at rest", || {
            let stats = self.tasks("stat");
            let rest = |stat: &String| stat.rsplit(") ").next().unwrap().starts_with('S');
            stats.iter().all(|(_, stat)| rest(stat)).then_some(())
        });
        // They were seen asleep one after the other: not again within this.
        thread::sleep(Duration::from_millis(20));
    }

    /// A file of /proc for each thread, with its id.
    pub fn tasks(&self, file: &str) -> Vec<(u32, String)> {
        let folder = format!("/proc/{}/task", self.child.id());
        let tasks = fs::read_dir(folder).unwrap().map(|task| task.unwrap().path());
        let read = |path: &Path| {
            let tid = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
            (tid, fs::read_to_string(path.join(file)).unwrap())
        };
        tasks.map(|path| read(&path)).collect()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
