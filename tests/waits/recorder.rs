//! Recordings of the workload `offcpu`, and what it says of its own waits.

use std::{collections::HashMap, path::PathBuf, process::Command};

use serde_json::Value;

use crate::common::workload::{Workshop, run};

/// Compiled as distributions do it: without frame pointers.
pub fn workload(shop: &Workshop) -> PathBuf {
    shop.build("offcpu", "offcpu", &["-O2", "-fomit-frame-pointer", "-pthread"])
}

/// What the workload says of itself.
#[derive(Default)]
pub struct Said {
    /// By function: ns in calls of it, and how many.
    pub calls: HashMap<String, (f64, f64)>,
    /// By thread: ns of its life, of its CPU time, and those that it was ready without a CPU.
    pub threads: HashMap<String, (f64, f64, f64)>,
}

impl Said {
    fn read(text: &str) -> Self {
        let mut said = Self::default();
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let number = |at: usize| words[at].parse::<f64>().unwrap();
            if words[0] == "thread" {
                let times = (number(2), number(3), number(4));
                said.threads.insert(words[1].into(), times);
            } else {
                said.calls.insert(words[0].into(), (number(1), number(2)));
            }
        }
        said
    }
}

/// A recording.
pub struct Recorded {
    file: PathBuf,
    _shop: Workshop,
}

/// Records the workload from its start to its end, by `rprof record WORDS`; what it says of itself.
pub fn record(words: &[&str], program: &[&str]) -> (Recorded, Said) {
    let shop = Workshop::new();
    let (file, workload) = (shop.path("out"), workload(&shop));
    let mut command = Command::new(env!("CARGO_BIN_EXE_rprof"));
    command.arg("record").arg("-o").arg(&file).args(words).arg("--").arg(workload).args(program);
    let said = Said::read(&run(&mut command));
    (Recorded { file, _shop: shop }, said)
}

impl Recorded {
    /// One that a test made itself, in `shop`.
    pub fn new(file: PathBuf, shop: Workshop) -> Self {
        Self { file, _shop: shop }
    }

    /// All stacks of a view, root first, and their values.
    pub fn stacks(&self, view: &[&str]) -> Vec<(Vec<String>, f64)> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rprof"));
        let text = run(command.args(["export", "-f", "folded"]).args(view).arg(&self.file));
        let read = |line: &str| {
            let (stack, value) = line.rsplit_once(' ').unwrap();
            let name = |name: &str| name.trim_end_matches("_[k]").to_owned();
            (stack.split(';').map(name).collect(), value.parse().unwrap())
        };
        text.lines().map(read).collect()
    }

    /// Sum of the values of all stacks with these functions, in this order.
    pub fn through(&self, view: &[&str], functions: &[&str]) -> f64 {
        let leads = |stack: &[String]| {
            let mut rest = stack.iter();
            functions.iter().all(|function| rest.any(|name| name == function))
        };
        let stacks = self.stacks(view);
        stacks.iter().filter(|(stack, _)| leads(stack)).map(|(_, value)| value).sum()
    }

    /// What `rprof report --json` says.
    pub fn report(&self, view: &[&str]) -> Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rprof"));
        let text =
            run(command.args(["report", "--json", "--limit", "500"]).args(view).arg(&self.file));
        serde_json::from_str(&text).unwrap()
    }

    /// What `rprof COMMAND` shows of it; the command is the first of the words.
    pub fn show(&self, words: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rprof"));
        run(command.args(words).arg(&self.file))
    }

    /// What a report says that has nothing to show.
    pub fn refuses(&self, view: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rprof"));
        let output = command.arg("report").args(view).arg(&self.file).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// How many waits have no stacks.
    pub fn unseen(&self) -> f64 {
        self.report(&[])["missed"][UNSEEN].as_f64().unwrap_or_default()
    }

    /// Asserts that nothing was lost, and that at least this share of the stacks is whole.
    pub fn assert_complete(&self, share: f64) {
        let report = self.report(&[]);
        assert_eq!(report["lost"], 0, "{report}");
        assert!(report["complete"].as_f64().unwrap() > share, "{report}");
    }
}

/// Where another test attaches to the scheduler meanwhile, some kernels do not show the ends of all
/// waits: those have no stacks.
pub const UNSEEN: &str = "waits whose end was not seen";

/// Asserts that `found` ns are `expected`, but for this share and a few samples' worth.
pub fn assert_close(found: f64, expected: f64, share: f64, what: &str) {
    let allowed = share * expected + 30e6;
    assert!((found - expected).abs() < allowed, "{what}: {found} ns, not {expected}");
}
