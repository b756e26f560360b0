//! A process that writes a store until it is killed, which other tests start: it is a test of this
//! program that does nothing by itself.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
};

use nix::unistd::Gid;
use rprof::store::Folder;

use super::made::{Agent, LIMITS, Random, S, START, Taken};

/// What it is to do.
const FOLDER: &str = "RPROF_TEST_FOLDER";
const TEAR: &str = "RPROF_TEST_TEAR";

/// Samples of each commit.
pub const EACH: u64 = 20;
/// The group that may read.
pub const NOBODY: u32 = 65534;

/// What commit `number` writes.
pub fn samples_of(number: u64) -> Vec<Taken> {
    let mut random = Random(number + 1);
    let at = |random: &mut Random| START + number * 10 * S + random.below(1000) * S / 100;
    (0..EACH)
        .map(|_| {
            let at = at(&mut random);
            random.sample(at)
        })
        .collect()
}

#[test]
#[ignore = "what other tests start, and kill"]
fn writes() {
    let folder = std::env::var(FOLDER).unwrap();
    let folder = Folder::open(Path::new(&folder), LIMITS, Some(Gid::from_raw(NOBODY))).unwrap();
    let mut agent = Agent::begin(&folder, START);
    let tear: Option<u64> = std::env::var(TEAR).ok().map(|number| number.parse().unwrap());
    for number in 0.. {
        agent.commit(START + (number + 1) * 10 * S, &samples_of(number)).unwrap();
        say(&format!("committed {}", number + 1));
        if tear == Some(number + 1) {
            break;
        }
    }
    // Half of a transaction is on disk when we are killed.
    let path = std::fs::read_dir(std::env::var(FOLDER).unwrap()).unwrap();
    let mut paths = path.map(|entry| entry.unwrap().path());
    let path = paths.find(|path| path.extension().is_some_and(|end| end == "rprof")).unwrap();
    let db = rusqlite::Connection::open(path).unwrap();
    db.execute_batch(
        "PRAGMA journal_mode = TRUNCATE; PRAGMA cache_size = 1; BEGIN;
         UPDATE window SET data = zeroblob(300000);
         UPDATE dictionary SET data = zeroblob(300000);
         UPDATE meta SET value = '';",
    )
    .unwrap();
    say("torn");
    std::thread::park();
}

fn say(line: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "\n{line}").unwrap();
    out.flush().unwrap();
}

/// The process.
pub struct Writer {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Writer {
    /// Starts one that goes on, or that leaves a torn transaction after so many commits.
    pub fn start(folder: &Path, tear: Option<u64>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["writer::writes", "--exact", "--ignored", "--nocapture"]);
        command.env(FOLDER, folder).stdout(Stdio::piped()).stderr(Stdio::null());
        if let Some(number) = tear {
            command.env(TEAR, number.to_string());
        }
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Waits for a line.
    pub fn wait_for(&mut self, wanted: &str) {
        assert!(self.lines.any(|line| line.unwrap() == wanted), "the writer never says {wanted}");
    }

    /// Ends it with SIGKILL; how many commits it had told of.
    pub fn kill(mut self) -> u64 {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let told = |line: std::io::Result<String>| {
            line.unwrap().strip_prefix("committed ")?.parse::<u64>().ok()
        };
        self.lines.by_ref().filter_map(told).last().unwrap_or_default()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}
